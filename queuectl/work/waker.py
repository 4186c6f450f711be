"""How the other threads of a worker get the attention of its main thread, which sleeps in a `select`."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress


class Waker:
    """A pipe that wakes the main thread, and what that is to do then. Thread-safe; signal handlers may call `wake`.

    The main thread selects on the pipe, calls `clear` when it is readable, and `begin` before it looks at anything.
    """

    def __init__(self) -> None:
        self.must_list = True
        """Whether all of the spool is to be looked at: only a listing can say which jobs are due."""
        self.suspects: deque[str] = deque()
        """Canonical names in pending/ whose files cannot be read yet, or are too new."""
        self.sleeps_until = float("inf")
        """When the main thread wakes up by itself, in monotonic seconds."""
        self.wake_at = float("inf")
        """When it must, because another thread has asked for that."""
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        return self._reader

    def wake(self) -> None:
        """Make the main thread look now."""
        with suppress(OSError):  # a full pipe wakes as well
            os.write(self._writer, b"!")

    def wake_before(self, at: float) -> None:
        """Make it look now if it sleeps beyond that moment, so that it plans for it."""
        if at < self.sleeps_until:
            self.wake()

    def wake_in(self, seconds: float) -> None:
        """Make it look after so many seconds at the latest, counted from its next look at the clock."""
        self.wake_at = min(self.wake_at, time.monotonic() + seconds)

    def clear(self) -> None:
        """Forget that it was woken."""
        with suppress(BlockingIOError):
            os.read(self._reader, 65536)

    def begin(self) -> None:
        """A look begins, and with it all that was asked for."""
        self.wake_at = float("inf")
