"""What the attempts of a job have written, from its log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from queuectl.core.names import parse_time
from queuectl.core.result import Result
from queuectl.errors import NotFoundError
from queuectl.spool.system import files, logs
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.log_entries import open_reading, read_entries
from queuectl.spool.system.logs import PREFIX, Mark, parse_outcome

_TAIL = 1 << 14
"""Bytes at the end of a log that are searched for the last line of output."""


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


def read_last_line(layout: Layout, id: str) -> str:
    """The last line that is not blank of the last attempt's output, without colours and as a terminal would show it.

    Empty if there is none in the last 16 KiB of the log, or no log that can be read.
    """
    try:
        fd = files.open_regular(layout.log(id))
    except OSError:
        return ""
    try:
        tail = os.pread(fd, _TAIL, max(0, os.fstat(fd).st_size - _TAIL))
    finally:
        os.close(fd)
    for line in reversed(tail.split(b"\n")):
        if line.startswith(PREFIX):
            if line.startswith(PREFIX + b"start "):
                return ""
        elif line.strip() and (text := _as_shown(line)):
            return text
    return ""


def read_cause(layout: Layout, id: str) -> str:
    """The job because of which a job was skipped, as the last line of its log says; empty if that does not say."""
    _, fields = _read_last_mark(layout, id)
    return fields.get("because", "") if "skipped_at" in fields else ""


def read_refusal(layout: Layout, id: str) -> str:
    """Why a file was refused, as the last line of its log says; empty if that does not say."""
    event, fields = _read_last_mark(layout, id)
    return fields.get("reason", "") if event == "refused" else ""


def _read_last_mark(layout: Layout, id: str) -> tuple[str, Mapping[str, str]]:
    try:
        log = files.open_regular(layout.log(id))
    except OSError:
        return "", {}
    try:
        return logs.last_line(log)
    finally:
        os.close(log)


def _as_shown(line: bytes) -> str:
    if line.isascii() and (text := line.decode().rstrip()).isprintable():
        return text
    from queuectl.core.terminal import Screen

    screen = Screen(1)
    rows = [*screen.feed(line), *screen.flush()]
    return rows[-1].encode(has_colours=False).rstrip() if rows else ""


def _attempt(start: Mark, end: Mark | None, data: bytes) -> AttemptLog:
    try:
        started_at = parse_time(start.fields.get("started_at", ""))
    except ValueError:
        started_at = None
    result = parse_outcome(end.fields) if end is not None else None
    return AttemptLog(
        start.attempt, started_at, start.fields.get("worker"), result, data.decode("utf-8", "backslashreplace")
    )
