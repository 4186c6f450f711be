"""The note in a job's log that an attempt was ended by the time limit of a batch system, and does not count.

It is what makes that happen once: the next time it is the job's timeout.
"""

from __future__ import annotations

from queuectl.core.names import RunningName, format_time
from queuectl.spool.system import logs


def append(fd: int, name: RunningName) -> None:
    """Record that this attempt does not count, as a time limit has ended it."""
    logs.append_note(fd, "note", f"limited attempt={name.attempt} started_at={format_time(name.started_at)}")


def find(fd: int) -> bool:
    """Whether that has happened to the job of this log before."""
    return logs.find_note(fd, "limited attempt=") is not None
