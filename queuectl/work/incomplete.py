"""Dropped files that do not parse yet, and how long each has been waited for.

A file that does not parse is looked at again on the next event about it and after a pause that
doubles; once it has lain unchanged for the settle time it is refused. Time is monotonic seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 10.0


@dataclass(slots=True)
class _Waiting:
    signature: tuple[int, int, int] | None
    unchanged_since: float
    look_at: float
    pause: float


class Incomplete:
    """Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiting] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def due(self, now: float) -> list[str]:
        """The names to look at again."""
        return [name for name, waiting in self._waiting.items() if waiting.look_at <= now]

    def next_look(self) -> float | None:
        return min((waiting.look_at for waiting in self._waiting.values()), default=None)

    def wait(self, name: str, path: str, now: float, settle: float) -> bool:
        """Keep waiting for a file that did not parse; False once it has been unchanged for `settle` seconds."""
        signature = _signature(path)
        waiting = self._waiting.get(name)
        if waiting is None or waiting.signature != signature:
            waiting = self._waiting[name] = _Waiting(signature, now, now, _FIRST_PAUSE)
        if now - waiting.unchanged_since >= settle:
            return False
        waiting.look_at = min(now + waiting.pause, waiting.unchanged_since + settle)
        waiting.pause = min(waiting.pause * 2, _LONGEST_PAUSE)
        return True

    def shelve(self, name: str, now: float) -> None:
        """Look again only after a long pause: the file can be neither read nor moved."""
        self._waiting[name] = _Waiting(None, now, now + _LONGEST_PAUSE, _LONGEST_PAUSE)

    def forget(self, name: str) -> None:
        self._waiting.pop(name, None)

    def keep_only(self, names: set[str]) -> None:
        """Forget files that are gone."""
        for name in [name for name in self._waiting if name not in names]:
            del self._waiting[name]


def _signature(path: str) -> tuple[int, int, int] | None:
    """What changes when a file is written to or replaced; None if it is gone."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
