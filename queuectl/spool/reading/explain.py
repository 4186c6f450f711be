"""Why a job is not running: what blocks it, what is ahead of it, and an estimate of when it will start.

Reads names, one body, the workers' files, and the bytes of a file that is not a job yet. Changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from queuectl.core import body
from queuectl.core.admission import Queue, Reason, Workers, of_job, of_orphan, of_stopped, of_workers
from queuectl.core.job import Job
from queuectl.core.names import (
    FinishedName,
    PendingName,
    RunningName,
    format_rfc3339,
    format_time,
    is_ignored,
)
from queuectl.core.result import State
from queuectl.core.text import format_count, format_instant, format_seconds
from queuectl.errors import InvalidJobError, NotFoundError, NotJsonError
from queuectl.spool.reading import admission, graph, query
from queuectl.spool.reading.stopped import mark_stopped
from queuectl.spool.reading.workers import list_workers
from queuectl.spool.system import files, lease, pause, processes
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.settings import Found

_RECENT = 200
"""Number of finished jobs whose durations make the estimate."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the job of that id (or the file in pending/ that is not a job yet) is where it is.

    `reasons` are in the order in which they matter. `ahead` is how many jobs will start before it; `starts_at` an
    estimate from recent durations, None if it cannot be estimated.
    """

    id: str
    state: str
    path: str
    reasons: tuple[Reason, ...]
    ahead: int | None = None
    starts_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """The documented shape of `--json`."""
        return {
            "id": self.id,
            "state": self.state,
            "path": self.path,
            "reasons": [reason.to_json() for reason in self.reasons],
            "ahead": self.ahead,
            "starts_at": format_rfc3339(self.starts_at),
        }


def explain(layout: Layout, id: str, settings: Found) -> Explanation:
    """Why that job, or that dropped file, is not running.

    Raises NotFoundError or AmbiguousIdError.
    """
    try:
        job = query.find(layout, id)
    except NotFoundError:
        name = _find_dropped(layout, id)
        if name is None:
            raise
        return _explain_dropped(layout, name, settings.problem)
    if isinstance(job.name, PendingName):
        return _explain_pending(layout, job, job.name, settings)
    reasons = (
        _of_running(layout, job, job.name, settings.settings.max_retries)
        if isinstance(job.name, RunningName)
        else _of_ended(layout, job)
    )
    return Explanation(job.id, str(job.state), job.path, tuple(reasons))


def _explain_pending(layout: Layout, job: Job, name: PendingName, found: Found) -> Explanation:
    at, settings = now(), found.settings
    if name.is_waiting:
        return Explanation(job.id, str(job.state), job.path, tuple(graph.reasons_of(layout, job.id)))
    workers = Workers.of(list_workers(layout), job.id)
    ahead = None if name.is_held else _count_ahead(layout, name, at)
    queue = Queue(
        pause.read(layout, lambda: at), admission.read_room(layout), settings.min_free, workers, found.problem
    )
    reasons = of_job(admission.read_waiting(layout, job, name, settings.max_retries, ahead), queue, at)
    starts_at = None if ahead is None else _estimate(layout, name, reasons, ahead, workers, at)
    return Explanation(job.id, str(job.state), job.path, tuple(reasons), ahead, starts_at)


def _count_ahead(layout: Layout, name: PendingName, at: datetime) -> int:
    """How many jobs will be due by the time this one is, and are ahead of it: from their names alone."""
    mine, due = str(name).encode(), format_time(max(at, name.run_at)).encode()
    return sum(text < mine and text[4:24] <= due for names, _ in query.iterate_pending(layout) for text in names)


def _estimate(
    layout: Layout, name: PendingName, reasons: list[Reason], ahead: int, workers: Workers, at: datetime
) -> datetime | None:
    """When it will start: each slot takes its share of those ahead, each for as long as recent jobs took."""
    blockers = [
        reason
        for reason in reasons
        if reason.reason in ("paused", "group", "limit", "seats", "no-worker", "full", "invalid")
    ]
    if any(reason.until is None for reason in blockers) or not workers.slots:
        return None
    begins = max([at, name.run_at, *(reason.until for reason in blockers if reason.until)])
    free = max(0, workers.slots - workers.busy)
    if ahead < free:
        return begins
    mean = _mean_duration(layout)
    if mean is None:
        return None
    rounds = (ahead - free) // workers.slots + 1
    # Running jobs have been running for some time: half a job's, lacking a better estimate.
    return begins + timedelta(seconds=round(mean * (rounds - 0.5), 3))


def _mean_duration(layout: Layout) -> float | None:
    """Seconds that the last jobs took, by their names."""
    names = [text for state in (State.DONE, State.DEAD) for text in query.sorted_names(layout, state, _RECENT)]
    recent = [FinishedName.parse(text) for text in sorted(names, reverse=True)[:_RECENT]]
    durations = [
        name.duration for name in recent if name and name.result.kind not in ("cancelled", "invalid", "skipped")
    ]
    return sum(durations) / len(durations) if durations else None


def _of_running(layout: Layout, job: Job, name: RunningName, max_retries: int) -> Iterator[Reason]:
    limit = job.body.max_retries if job.body and job.body.max_retries is not None else max_retries
    since = format_instant(name.started_at)
    yield Reason(
        "running", f"attempt {name.attempt} of {limit + 1} has been running since {since}, under {name.worker}"
    )
    if next(mark_stopped([job])).is_stopped:
        yield of_stopped(job.id)
    try:
        is_alive = lease.is_worker_alive(layout, name.worker)
    except OSError:
        return
    if not is_alive:
        yield of_orphan(is_running=bool(processes.find(processes.token_of(name, name.worker))))


def _of_ended(layout: Layout, job: Job) -> Iterator[Reason]:
    if job.result is not None and job.result.is_skipped:
        yield from graph.reasons_of(layout, job.id)
        return
    took = f" in {format_seconds(job.duration)}" if job.duration else ""
    yield Reason("ended", f"it ended after {format_count(job.attempts, 'attempt')}: {job.result}{took}")
    if job.problem is not None:
        yield Reason("invalid", f"it is not a runnable job: {job.problem}")


# --- files that are not jobs yet


def _find_dropped(layout: Layout, text: str) -> str | None:
    """The foreign file in pending/ of that name, or whose name begins with it."""
    name = os.path.basename(text)
    foreign = [entry for entry in query.list_names(layout, State.PENDING) if PendingName.parse(entry) is None]
    exact = [entry for entry in foreign if entry in (name, f"{name}.json")]
    found = exact or [entry for entry in foreign if entry.startswith(name)]
    return found[0] if len(found) == 1 or exact else None


def _explain_dropped(layout: Layout, name: str, wrong_settings: str) -> Explanation:
    path = layout.job(State.PENDING, name)
    dropped = Reason("dropped", "no worker has adopted this file yet")
    reasons = [dropped, *_of_dropped(layout, path, name, wrong_settings)]
    return Explanation(name, "dropped", path, tuple(reasons))


def _of_dropped(layout: Layout, path: str, name: str, wrong_settings: str) -> Iterator[Reason]:
    if is_ignored(name):
        yield Reason("ignored", "its name does not end in .json, or begins with a dot: it is ignored")
        return
    workers = Workers.of(list_workers(layout))
    if not workers.number:
        yield from of_workers(workers, wrong_settings)
    try:
        found = body.parse(files.read(path).data)
    except NotJsonError as error:
        why = ": ".join(part for part in (error.what, error.why) if part)
        yield Reason("incomplete", f"{why}; a worker waits for the rest, and refuses the file if none comes")
    except InvalidJobError as error:
        yield Reason("invalid", f"it is not a runnable job and will be refused: {error.why}")
    except OSError as error:
        yield Reason("unreadable", f"it cannot be read: {error.strerror}")
    else:
        if found.id is not None and query.locate(layout, found.id):
            yield Reason("duplicate", f"the spool already holds a job {found.id}: it will be refused")
