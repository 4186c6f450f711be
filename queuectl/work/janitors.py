"""What a worker looks after in addition to its jobs, each in one shape: when it runs next, and running it.

A beat of the worker runs all of them, in their order; one that has something to do sooner says when. They run in the
main thread, which ends jobs that are out of time, so what takes long goes to a thread of its own (work/tidy.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

SHARE = 20  # of the time, beats take a twentieth at most


class Janitor:
    """One of these duties. `next_at` is when it runs before the next beat, in monotonic seconds; infinity for not."""

    def __init__(self, duty: Callable[[], None]) -> None:
        self.next_at = float("inf")
        self._duty = duty

    def hurry(self, seconds: float = 0.0) -> None:
        """Let it run after so many seconds, if it does not run sooner anyway."""
        self.next_at = min(self.next_at, time.monotonic() + seconds)

    def run(self) -> None:
        self.next_at = float("inf")
        self._duty()


class Janitors:
    """All of a worker's."""

    def __init__(self, janitors: Sequence[Janitor]) -> None:
        self._janitors = janitors
        self._beat_at = float("-inf")
        self._took = 0.0

    @property
    def next_at(self) -> float:
        """When the first of them runs before the next beat, in monotonic seconds."""
        return min(janitor.next_at for janitor in self._janitors)

    def next_beat(self, interval: float) -> float:
        """When the next beat is, in monotonic seconds: `interval` after the last one, or later if that took long."""
        return self._beat_at + max(interval, SHARE * self._took)

    def beat(self) -> None:
        """Run all of them."""
        begun = time.monotonic()
        for janitor in self._janitors:
            janitor.run()
        self._beat_at = time.monotonic()
        self._took = self._beat_at - begun

    def run_due(self) -> None:
        """Run those that have something to do by now."""
        now = time.monotonic()
        for janitor in self._janitors:
            if janitor.next_at <= now:
                janitor.run()
