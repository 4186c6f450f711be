"""What happened to a job, from its log's marks and its name: every attempt, and what was done by hand."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from queuectl.core.job import Job
from queuectl.core.names import parse_instant, parse_time
from queuectl.core.result import LOST, Result
from queuectl.spool.system.logs import Mark, Usage, parse_outcome

MAX_SHOWN = 50
_LONGEST = 1e10
"""Seconds that an attempt may take, by the grammar of names."""


@dataclass(slots=True)
class Attempt:
    """One attempt. `start` and `stop` are where its output is in the log (None: at its end)."""

    number: int
    started_at: datetime | None
    worker: str
    pid: str
    start: int
    stop: int | None = None
    ended_at: datetime | None = None
    duration: float | None = None
    result: Result | None = None
    is_running: bool = False
    is_released: bool = False
    used: Usage | None = None
    waited: float | None = None

    @property
    def state(self) -> str:
        if self.is_running:
            return "running"
        if self.result is None:
            return "scheduled"
        return "done" if self.result.is_success else "dead"

    @property
    def outcome(self) -> str:
        if self.is_running:
            return "running"
        return "released" if self.is_released else str(self.result or "unknown")


@dataclass(frozen=True, slots=True)
class Event:
    """Something done by hand, or a refusal, between attempts."""

    text: str
    at: datetime | None = None


def build(job: Job, marks: Sequence[tuple[int, Mark]]) -> list[Attempt | Event]:
    """Oldest first. A job can write such lines itself, so nothing in them is trusted."""
    found: list[Attempt | Event] = []
    last: Attempt | None = None
    for offset, mark in marks:
        if mark.event == "start" and mark.attempt is not None:
            if last is not None:
                last.stop = offset
            last = Attempt(
                mark.attempt,
                _time(mark, "started_at"),
                mark.fields.get("worker", ""),
                mark.fields.get("pid", ""),
                offset,
            )
            found.append(last)
        elif mark.event == "end" and last is not None and mark.attempt == last.number:
            last.result = parse_outcome(mark.fields)
            last.is_released = mark.fields.get("result") == "released"
        elif mark.event in ("note", "retry"):
            if last is not None and mark.attempt == last.number:
                last.used = mark.usage or last.used
                last.waited = mark.waited if mark.waited is not None else last.waited
                if "duration" in mark.fields:
                    _take_end(last, _time(mark, "ended_at"), mark.fields["duration"])
            if mark.event == "retry":
                found.append(Event("Retried by hand", _instant(mark.fields.get("at", ""))))
            elif mark.text.startswith("asked "):
                found.append(Event(_describe_asked(mark), _instant(mark.fields.get("at", ""))))
            elif mark.text.startswith("retry undone "):
                found.append(Event("The retry was undone", _instant(mark.fields.get("at", ""))))
        elif mark.event == "refused":
            found.append(Event(f"Refused: {mark.fields.get('reason', '')}"))
    _take_present(job, found, last)
    return found


def _describe_asked(mark: Mark) -> str:
    """`Asked to retry, by ops`"""
    by = mark.fields.get("by")
    return f"Asked to {mark.fields.get('action', '?')}{f', by {by}' if by else ''}"


def _take_present(job: Job, found: Sequence[Attempt | Event], last: Attempt | None) -> None:
    """What the job's name says about its last attempt."""
    if last is not None and found and found[-1] is last and last.number == job.attempts:
        if job.started_at is not None:
            last.is_running = last.result is None
            last.worker = job.worker or last.worker
        elif job.finished_at is not None:
            last.result = job.result
            _take_end(last, job.finished_at, str(job.duration))
    for entry in found:
        if isinstance(entry, Attempt) and not entry.is_running and entry.result is None and not entry.is_released:
            entry.result = LOST if entry is not last else None


def _take_end(attempt: Attempt, at: datetime | None, duration: str) -> None:
    attempt.ended_at = at
    try:
        seconds = float(duration)
    except ValueError:
        seconds = -1.0
    attempt.duration = seconds if 0 <= seconds <= _LONGEST else None
    if at is None and attempt.started_at is not None and attempt.duration is not None:
        with suppress(OverflowError):
            attempt.ended_at = attempt.started_at + timedelta(seconds=attempt.duration)


def _time(mark: Mark, field: str) -> datetime | None:
    try:
        return parse_time(mark.fields.get(field, ""))
    except ValueError:
        return None


def _instant(text: str) -> datetime | None:
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        return None
