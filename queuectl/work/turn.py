"""Whose turn it is to run Python, among the slots of a worker, which share one interpreter.

A slot whose job has ended settles it, claims the next one and starts it: some twenty system calls, at each of which it
gives up the interpreter's lock for a moment. Another slot that waits for that lock is woken each time, and mostly finds
it taken again. So a slot waits for its turn instead, and is woken once.

A turn guards nothing: a slot that has waited long enough goes on without it. So one that keeps its turn for too long
costs the others a little time, and nothing else.
"""

from __future__ import annotations

import sys
import threading

_PATIENCE = 0.02  # seconds: longer than a hundred slots need, and too short for a job to notice
_HAS_GIL: bool = getattr(sys, "_is_gil_enabled", lambda: True)()  # without it slots run at the same time

_lock = threading.Lock()


class _Turn(threading.local):
    waits = False
    has = False


_mine = _Turn()


def join_in() -> None:
    """Let this thread take turns from now on. Others never wait in `take`."""
    _mine.waits = _HAS_GIL


def take() -> None:
    """Wait for this thread's turn, unless that takes too long."""
    if _mine.waits and not _mine.has:
        _mine.has = _lock.acquire(timeout=_PATIENCE)


def give() -> None:
    """End this thread's turn, if it has one: before it waits for anything, or ends."""
    if _mine.has:
        _mine.has = False
        _lock.release()
