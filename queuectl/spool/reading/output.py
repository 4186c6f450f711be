"""What the attempts of a job have written, from its log, for Python programs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from queuectl.core.names import parse_time
from queuectl.core.result import Result
from queuectl.errors import NotFoundError
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.logs import Mark, open_reading, parse_outcome, read_entries


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """One attempt in a job's log; what that does not say is None.

    `result` is None while it is under way, and if its worker gave the job back.
    """

    attempt: int | None
    started_at: datetime | None
    worker: str | None
    result: Result | None
    output: str


def read_all(layout: Layout, id: str) -> list[AttemptLog]:
    """The attempts of the job of exactly this id, in order. Raises SpoolError if its log cannot be read."""
    found: list[tuple[Mark, Mark | None, list[bytes]]] = []
    with open_reading(layout.log(id), id) as log:
        for entry in read_entries(log):
            if isinstance(entry, bytes):
                if found:
                    found[-1][2].append(entry)
            elif entry.event == "start":
                found.append((entry, None, []))
            elif entry.event == "end" and found:
                found[-1] = (found[-1][0], entry, found[-1][2])
    return [_attempt(start, end, b"".join(pieces)) for start, end, pieces in found]


def read(layout: Layout, id: str, attempt: int | None) -> str:
    """The output of an attempt, by default the last; raises as `read_all` does, and NotFoundError."""
    found = read_all(layout, id)
    if attempt is None:
        return found[-1].output if found else ""
    numbered = [each for each in found if each.attempt == attempt]
    if not numbered:
        raise NotFoundError(f"the log of {id} has no attempt {attempt}")
    return numbered[-1].output


def _attempt(start: Mark, end: Mark | None, data: bytes) -> AttemptLog:
    try:
        started_at = parse_time(start.fields.get("started_at", ""))
    except ValueError:
        started_at = None
    result = parse_outcome(end.fields) if end is not None else None
    return AttemptLog(
        start.attempt, started_at, start.fields.get("worker"), result, data.decode("utf-8", "backslashreplace")
    )
