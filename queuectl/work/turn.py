"""Whose turn it is to run Python, among the slots of a worker, which share one interpreter.

A slot whose job has ended settles it, claims the next one and starts it: some twenty system calls, at each of which it
gives up the interpreter's lock for a moment. Another slot that waits for that lock is woken each time, and mostly finds
it taken again. So a slot waits for its turn instead, of which it is told once.

It is no lock: nothing depends on it, and who has waited for long enough goes on without. So a slot that is busy for
longer, or gives up its turn too late, costs the others a little time.
"""

from __future__ import annotations

import sys
import threading

_PATIENCE = 0.02  # seconds: more than all slots need that may be in front, and no job notices it
_IS_ALONE: bool = getattr(sys, "_is_gil_enabled", lambda: True)()  # one thread at a time runs Python anyway

_lock = threading.Lock()


class _Turn(threading.local):
    waits = False
    has = False


_mine = _Turn()


def join_in() -> None:
    """Let this thread take turns from now on. Others never wait in `take`."""
    _mine.waits = _IS_ALONE


def take() -> None:
    """Wait for this thread's turn, unless that takes too long."""
    if _mine.waits and not _mine.has:
        _mine.has = _lock.acquire(timeout=_PATIENCE)


def give() -> None:
    """Let another one have its turn, before this thread waits for anything, or ends."""
    if _mine.has:
        _mine.has = False
        _lock.release()
