"""The kernel's own limit of file events that wait to be read, lowered while something starts under it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")


def missing() -> str | None:
    """Why the limit cannot be set here; None if it can."""
    return None if os.access(LIMIT, os.W_OK) else f"{LIMIT} cannot be set"


@contextmanager
def queue_of(number: int) -> Iterator[None]:
    """Inotify instances that are made while it lasts keep the limit, so it may be short; one test at a time sets it."""
    with LIMIT.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = LIMIT.read_text()
        LIMIT.write_text(f"{number}")
        try:
            yield
        finally:
            LIMIT.write_text(before)
