"""The note in a job's log that says where an attempt was sent, if it is to run on an engine and not on this machine.

It is written before the attempt is sent, so without it the attempt has not begun.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from queuectl.core.names import RunningName, format_time
from queuectl.spool.system import files, logs


class Sent(NamedTuple):
    """Where an attempt was sent: the address on its engine, the process that may start it, and the offset of the log
    after the note, where its output begins."""

    address: str
    process: str
    output_at: int


def append(fd: int, name: RunningName, address: str, process: str) -> None:
    """Record that an attempt is about to be sent to that process: from then on it may run there."""
    to = f"to={logs.quote(address)} process={logs.quote(process)}"
    logs.append_note(fd, "note", f"{_begin(name)} {to}")


def find(path: str, name: RunningName) -> Sent | None:
    """Where the attempt of a name in running/ was sent; None if it was not. Raises OSError."""
    fd = files.open_regular(path)
    try:
        found = logs.find_note(fd, f"{_begin(name)} ")
    finally:
        os.close(fd)
    return found and Sent(found[0].get("to", ""), found[0].get("process", ""), found[1])


def _begin(name: RunningName) -> str:
    return f"sent attempt={name.attempt} started_at={format_time(name.started_at)}"
