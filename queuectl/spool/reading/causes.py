"""Why dead letters failed: grouped by result and by their last line of output, in which numbers and paths are folded.

Of one that was skipped, the line names the job because of which it was; of one that was refused, it says why.

The line is in the log of each job, so this reads as many logs as there are dead letters, once: what is found is kept by
the file's name, which says when and how the job ended. What has not been read yet when the time is over is counted.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from queuectl.core.folding import LONGEST, fold, unfold
from queuectl.core.names import format_rfc3339, parse_time
from queuectl.core.result import SKIPPED, State
from queuectl.spool.reading import query
from queuectl.spool.reading.filters import command_line
from queuectl.spool.reading.output import read_cause, read_last_line, read_refusal
from queuectl.spool.system.layout import Layout

MOST = 100_000
"""Dead letters that are looked at, the newest ones."""
NOTHING = "(no output)"
"""The line of a job that has written nothing."""
_SAMPLE = 10  # of the jobs of a cause, whose commands are read
_KEPT = 20_000  # of these
_COMMANDS = 3
_SKIPPED = str(SKIPPED)
_INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Cause:
    """Dead letters that failed alike. `line` is folded, `example` is that of the newest of them, `id`.

    `commands` are the most frequent ones among the newest, folded. `said` and `ran` are line and commands with those
    words as they are that the newest share.
    """

    result: str
    line: str
    count: int
    first: datetime | None
    last: datetime | None
    id: str
    example: str
    commands: tuple[str, ...]
    said: str
    ran: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """One of `queuectl dlq causes --json`"""
        return {
            "result": self.result, "line": self.line, "count": self.count, "first_at": format_rfc3339(self.first),
            "last_at": format_rfc3339(self.last), "id": self.id, "example": self.example,
            "commands": [*self.commands],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Causes:
    """The causes, the most frequent first, of `looked` of `total` dead letters; there are `kinds` of them in all."""

    found: tuple[Cause, ...]
    kinds: int
    looked: int
    total: int

    @property
    def is_complete(self) -> bool:
        return self.looked == self.total


class Name(NamedTuple):
    """The parts of a name in dead/ that matter here, as text; empty where a foreign file has none."""

    at: str
    result: str
    id: str

    @classmethod
    def parse(cls, text: str) -> Name:
        at, _, _, result, _, id = (*text.removesuffix(".json").split("-", 5), "", "", "", "", "")[:6]
        return cls(at, result, id)


class _Pile:
    """What is counted of one cause, from the newest name to the oldest."""

    def __init__(self, newest: str) -> None:
        self.count = 0
        self.newest = self.oldest = newest
        self.names: list[str] = []

    def add(self, name: str) -> None:
        self.count += 1
        self.oldest = name
        if len(self.names) < _SAMPLE:
            self.names.append(name)


class _Sample(NamedTuple):
    """Of one dead letter: its last line, its command, and that folded."""

    line: str
    command: str
    folded: str


class CauseReader:
    """Reads the last lines of dead letters, and remembers them. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._lines: dict[str, str] = {}
        self._same: dict[str, str] = {}
        self._samples: dict[str, _Sample] = {}

    def causes(self, names: Iterable[str], most: int, patience: float = float("inf")) -> Causes:
        """The `most` frequent causes of the dead letters of these names in dead/, which are given newest first, as far
        as they are known after `patience` seconds."""
        piles: dict[tuple[str, str], _Pile] = {}
        deadline = time.monotonic() + patience
        total = looked = 0
        for total, name in enumerate(names, 1):  # noqa: B007 - the last number is the total
            line = self._line(name, deadline)
            if line is None:
                continue
            looked += 1
            key = Name.parse(name).result, line
            pile = piles.get(key)
            if pile is None:
                pile = piles[key] = _Pile(name)
            pile.add(name)
        ordered = sorted(piles.items(), key=lambda item: (-item[1].count, item[0]))
        found = tuple(self._describe(*key, pile) for key, pile in ordered[:most])
        return Causes(found, len(piles), looked, total)

    def matching(self, names: Iterable[str], line: str, patience: float = float("inf")) -> tuple[list[str], int]:
        """Those of the names whose jobs had that folded line last, and how many were not looked at for want of time."""
        deadline = time.monotonic() + patience
        found, left = [], 0
        for name in names:
            said = self._line(name, deadline)
            if said is None:
                left += 1
            elif said == line:
                found.append(name)
        return found, left

    def _line(self, name: str, deadline: float) -> str | None:
        """The folded last line; None if it is not known and the time is over."""
        line = self._lines.get(name)
        if line is None and time.monotonic() < deadline:
            _, result, id = Name.parse(name)
            text = self._skipped(id) if result == _SKIPPED else fold(self._read(result, id), id) or NOTHING
            with self._lock:
                if len(self._lines) >= 2 * MOST:
                    self._lines.clear()
                    self._same.clear()
                line = self._lines[name] = self._same.setdefault(text, text)
        return line

    def _read(self, result: str, id: str) -> str:
        """The last line of its output, or why it was refused."""
        return read_refusal(self._layout, id) if result == _INVALID else read_last_line(self._layout, id)

    def _skipped(self, id: str) -> str:
        cause = read_cause(self._layout, id)
        return f"because of {cause}" if cause else NOTHING

    def _describe(self, result: str, line: str, pile: _Pile) -> Cause:
        newest = Name.parse(pile.newest)
        known = [self._sample(name) for name in pile.names]
        said = line
        if result != _SKIPPED and line != NOTHING:
            said = unfold(line, [sample.line for sample in known])
        counted = Counter(sample.folded for sample in known if sample.folded).most_common(_COMMANDS)
        commands = tuple(command for command, _ in counted)
        ran = (unfold(command, [each.command for each in known if each.folded == command]) for command in commands)
        return Cause(
            result, line, pile.count, _time(Name.parse(pile.oldest).at), _time(newest.at), newest.id,
            line if result == _SKIPPED else known[0].line, commands, said, tuple(ran),
        )  # fmt: skip

    def _sample(self, name: str) -> _Sample:
        found = self._samples.get(name)
        if found is None:
            job = query.load(self._layout, State.DEAD, name)
            command = command_line(job) if job is not None else ""
            line = self._read(*Name.parse(name)[1:])[:1000]
            found = _Sample(line, command[:LONGEST], fold(command, job.id) if job is not None else "")
            with self._lock:
                if len(self._samples) >= _KEPT:
                    self._samples.clear()
                self._samples[name] = found
        return found


def _time(text: str) -> datetime | None:
    try:
        return parse_time(text)
    except ValueError:
        return None
