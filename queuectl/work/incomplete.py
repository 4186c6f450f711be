"""Dropped files that may not be finished, and how long each has been waited for.

A file that was written or changed a moment ago is left alone until it has been quiet for a while: its writer may come
back to it by name. One that does not parse is looked at again on the next event about it and after a pause that
doubles; once it has been unchanged for the settle time it is refused. Time is monotonic seconds, unless it is said to
be another.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator

QUIET = 0.25
"""Seconds for which a file must not have changed, unless it was renamed or linked into its place."""
_COARSE = 2.0  # seconds between two ticks of the coarsest clock of a file system
_ROUNDING = 0.001
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 10.0

_Signature = tuple[int, int, int, int]


class _Waiting:
    __slots__ = ("look_at", "pause", "signature", "unchanged_since")

    def __init__(self, signature: _Signature | None, unchanged_since: float, look_at: float, pause: float) -> None:
        self.signature = signature
        self.unchanged_since = unchanged_since
        self.look_at = look_at
        self.pause = pause


class Incomplete:
    """Not thread-safe. All but `keep_only` costs the same however many files there are."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}
        self._looks: list[tuple[float, str]] = []  # a heap; those that say another time than `_waiting` mean nothing

    def __contains__(self, name: str) -> bool:
        return name in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def due(self, now: float, most: int | None = None) -> list[str]:
        """The names to look at again, up to `most` of them; what is not looked at then is due again in a while."""
        found: list[str] = []
        while (most is None or len(found) < most) and (at := self.next_look()) is not None and at <= now:
            _, name = heapq.heappop(self._looks)
            self._waiting[name].look_at = now + _LONGEST_PAUSE
            found.append(name)
        for name in found:
            heapq.heappush(self._looks, (now + _LONGEST_PAUSE, name))
        return found

    def next_look(self) -> float | None:
        while self._looks:
            at, name = self._looks[0]
            if name in self._waiting and self._waiting[name].look_at == at:
                return at
            heapq.heappop(self._looks)
        return None

    def is_busy(self, name: str, path: str, now: float, clock: float) -> bool:
        """Whether a file was written, or changed in any way, so recently that its writer may return to it.

        It is then waited for. The file system's time of the change (ctime) is compared with `clock`, in seconds since
        1970. Where that time is in the future, or in whole seconds, what counts is how long the file has been seen
        unchanged; so this ends whatever the clocks do. A file with another name was linked here, and is whole.
        """
        try:
            status = os.lstat(path)
        except OSError:
            return False  # the next to open it finds out
        age = clock - status.st_ctime
        is_coarse = status.st_ctime_ns % 1_000_000_000 == 0
        if status.st_nlink > 1 or age >= QUIET + _COARSE * is_coarse:
            return False
        waiting = self._remember(name, _sign(status), now)
        rest = waiting.unchanged_since + QUIET - now
        if rest <= 0:
            return False
        if age >= 0 and not is_coarse:
            rest = min(rest, QUIET - age + _ROUNDING)
        self._look_at(name, waiting, now + rest)
        return True

    def wait(self, name: str, path: str, now: float, settle: float) -> bool:
        """Keep waiting for a file that did not parse; False once it has been unchanged for `settle` seconds."""
        try:
            signature = _sign(os.lstat(path))
        except OSError:
            signature = None
        waiting = self._remember(name, signature, now)
        if now - waiting.unchanged_since >= settle:
            return False
        self._look_at(name, waiting, min(now + waiting.pause, waiting.unchanged_since + settle))
        waiting.pause = min(waiting.pause * 2, _LONGEST_PAUSE)
        return True

    def shelve(self, name: str, now: float) -> None:
        """Look again only after a long pause: the file can be neither read nor moved."""
        waiting = self._waiting[name] = _Waiting(None, now, now, _LONGEST_PAUSE)
        self._look_at(name, waiting, now + _LONGEST_PAUSE)

    def forget(self, name: str) -> None:
        self._waiting.pop(name, None)

    def keep_only(self, names: set[str]) -> None:
        """Forget files that are gone."""
        for name in [name for name in self._waiting if name not in names]:
            del self._waiting[name]

    def _remember(self, name: str, signature: _Signature | None, now: float) -> _Waiting:
        """What is known of a file; if that has changed, it begins again."""
        waiting = self._waiting.get(name)
        if waiting is None or waiting.signature != signature:
            waiting = self._waiting[name] = _Waiting(signature, now, now, _FIRST_PAUSE)
        return waiting

    def _look_at(self, name: str, waiting: _Waiting, at: float) -> None:
        waiting.look_at = at
        heapq.heappush(self._looks, (at, name))


def _sign(status: os.stat_result) -> _Signature:
    """What changes when a file is written to, changed or replaced."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
