"""Waking the slots that have nothing to do, no more of them than there are jobs."""

from __future__ import annotations

import threading


class Bell:
    """For threads that wait while they hold a lock, with which all of its methods are called.

    A thread that wakes for nothing keeps others from the interpreter, and that is when a job is waiting to be started.
    """

    def __init__(self, lock: threading.RLock) -> None:
        self._rung = threading.Condition(lock)
        self._asleep = 0
        self._coming = 0  # have been woken, and have not had the lock since

    def wait(self) -> None:
        """Sleep until it rings."""
        self._asleep += 1
        self._rung.wait()
        self._coming -= 1

    def ring(self, number: int) -> None:
        """Let so many come, with those that are coming already."""
        number = min(number - self._coming, self._asleep)
        if number > 0:
            self._wake(number)

    def ring_for_all(self) -> None:
        """Let all look again who are asleep now."""
        self._wake(self._asleep)

    def _wake(self, number: int) -> None:
        self._asleep -= number
        self._coming += number
        self._rung.notify(number)
