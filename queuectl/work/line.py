"""The jobs that a worker has looked at and that must wait for seats, or for several of its slots.

What the first of them need is reserved: a job behind one of them gets no seat of a group that it waits for, and no slot
while it waits for slots; jobs that need neither pass it. A job whose id says all that it needs stands in the lane of
its group; one with fields of its own is kept aside, as only reading it shows what it needs (tests/model/seats.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from queuectl.core.seats import MOST_ASIDE
from queuectl.tuples import NamedTuple

MOST = MOST_ASIDE


class Wait(NamedTuple):
    """What a pending job needs: seats by group, and slots.

    `blocks` is whether it has its seats but not its slots: then nothing behind it starts. `never` says why this worker
    cannot start it as things are, or is empty; then it reserves nothing.
    """

    needs: Mapping[str, int]
    slots: int = 1
    is_aside: bool = True
    blocks: bool = False
    never: str = ""


class Line:
    """By the names of the jobs in pending/, which sort as they start. Not thread-safe."""

    def __init__(self) -> None:
        self._waits: dict[str, Wait] = {}
        self._first: dict[str, str] = {}  # group -> the first that waits for a seat of it
        self.barrier: str | None = None
        """No job behind that name is started; None if any may be."""

    def __len__(self) -> int:
        return len(self._waits)

    def items(self) -> list[tuple[str, Wait]]:
        """Those that wait, in their order."""
        return sorted(self._waits.items(), key=lambda item: item[0])

    def is_reserved(self, group: str, text: str) -> bool:
        """Whether a job in front of that one waits for a seat of the group."""
        return group in self._first and self._first[group] < text

    def put(self, text: str, wait: Wait) -> None:
        """That job waits."""
        before = self._waits.get(text)
        if wait == before:
            return
        self._waits[text] = wait
        if before is not None or wait.blocks or len(self._waits) >= MOST:
            self._note()
        elif not wait.never:
            for group in wait.needs:
                self._first[group] = min(text, self._first.get(group, text))

    def drop(self, *texts: str) -> None:
        """Those jobs do not wait any more."""
        if [text for text in texts if self._waits.pop(text, None) is not None]:
            self._note()

    def _note(self) -> None:
        self._first = {}
        for text, wait in reversed(self.items()):
            if not wait.never:
                self._first.update(dict.fromkeys(wait.needs, text))
        self.barrier = min(self._barriers(), default=None)

    def _barriers(self) -> Iterator[str]:
        yield from (text for text, wait in self._waits.items() if wait.blocks)
        aside = [text for text, wait in self._waits.items() if wait.is_aside]
        if len(aside) >= MOST:
            yield max(aside)
