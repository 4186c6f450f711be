"""What somebody should look at: shown on every page, in its title and its icon, and by /healthz."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from queuectl.core.text import format_count, format_seconds
from queuectl.dashboard.snapshot import View


class Alarm(NamedTuple):
    """`kind` is one word for programs; `text` says it in a sentence without names of jobs, groups or paths."""

    kind: str
    text: str


def find(view: View, now: datetime, max_wait: float | None) -> list[Alarm]:
    """What is wrong now; `max_wait` is how many seconds a job may wait that could start, None for any time."""
    return [*_find(view, now, max_wait)]


def _find(view: View, now: datetime, max_wait: float | None) -> Iterator[Alarm]:
    counts = view.counts(now)
    waiting = counts.pending + counts.dropped
    if view.problem is not None:
        yield Alarm("unreadable", "the spool cannot be read")
        return
    if view.is_full:
        yield Alarm("disk", "the disk is full")
    braked = len(view.braked) + bool(view.paused and view.paused.is_brake)
    if braked:
        yield Alarm("brake", f"too many jobs have failed: {format_count(braked, 'pause')} made by max-failed")
    if waiting and not view.takers.number:
        yield Alarm("no-worker", f"no worker takes jobs, and {format_count(waiting, 'job')} waiting")
    dead, lost = dead_workers(view)
    if dead:
        yield Alarm("dead-workers", f"{format_count(dead, 'worker')} died with {format_count(lost, 'running job')}")
    waited = overdue(view, now, max_wait)
    if waited is not None:
        yield Alarm("waiting", f"a job that could start has waited for {format_seconds(waited)}")
    if view.wrong_settings:
        yield Alarm("settings", "a setting is wrong, so no worker can start")


def dead_workers(view: View) -> tuple[int, int]:
    """How many workers have died with jobs that no other worker has taken over yet, and how many jobs."""
    gone = [worker for worker in view.workers if not worker["alive"] and worker["runs"]]
    return len(gone), sum(len(worker["runs"]) for worker in gone)


def overdue(view: View, now: datetime, max_wait: float | None) -> float | None:
    """For how many seconds the job has waited that has been due longest, if that is longer than it may.

    A job of a paused group does not wait for a worker.
    """
    oldest = view.oldest_due(now) if max_wait is not None else None
    if max_wait is None or oldest is None or view.paused is not None:
        return None
    waited = (now - oldest).total_seconds()
    return waited if waited > max_wait else None
