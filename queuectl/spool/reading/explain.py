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
from queuectl.core.job import Job
from queuectl.core.names import (
    FinishedName,
    PendingName,
    RunningName,
    format_rfc3339,
    format_time,
    is_ignored,
)
from queuectl.core.result import Result, State
from queuectl.core.text import format_count, format_instant, format_seconds, format_size, format_when
from queuectl.errors import InvalidJobError, NotFoundError, NotJsonError, SpoolError
from queuectl.spool.reading import admission, query
from queuectl.spool.system import files, lease, logs, pause, processes
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout

_RECENT = 200
"""Number of finished jobs whose durations make the estimate."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that keeps a job from running: a word for programs, a text for people, when it will be over."""

    reason: str
    text: str
    until: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return {"reason": self.reason, "text": self.text, "until": format_rfc3339(self.until)}


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


@dataclass(frozen=True, slots=True)
class _Workers:
    """Workers that take jobs: how many, their slots, and the jobs in those; and how many live, but are stopping."""

    number: int
    slots: int
    busy: int
    stopping: int


def explain(layout: Layout, id: str, min_free: int, max_retries: int, wrong_settings: str) -> Explanation:
    """Why that job, or that dropped file, is not running. The two settings are those in force; `wrong_settings` is
    why no worker could start with what is set, or empty.

    Raises NotFoundError or AmbiguousIdError.
    """
    try:
        job = query.find(layout, id)
    except NotFoundError:
        name = _find_dropped(layout, id)
        if name is None:
            raise
        return _explain_dropped(layout, name, wrong_settings)
    if isinstance(job.name, PendingName):
        return _explain_pending(layout, job, job.name, min_free, max_retries, wrong_settings)
    reasons = _of_running(layout, job, job.name, max_retries) if isinstance(job.name, RunningName) else _of_ended(job)
    return Explanation(job.id, str(job.state), job.path, tuple(reasons))


def _explain_pending(
    layout: Layout, job: Job, name: PendingName, min_free: int, max_retries: int, wrong_settings: str
) -> Explanation:
    at = now()
    workers = _count_workers(layout)
    ahead = None if name.is_held else _count_ahead(layout, name, at)
    reasons = [*_of_job(layout, job, name, max_retries, at), *_of_queue(layout, workers, min_free, wrong_settings, at)]
    if ahead:
        reasons.append(Reason("behind", f"{format_count(ahead, 'job')} before it"))
    if not reasons:
        reasons.append(Reason("due", "due now; waiting for a worker to pick it up"))
    starts_at = None if ahead is None else _estimate(layout, name, reasons, ahead, workers, at)
    return Explanation(job.id, str(job.state), job.path, tuple(reasons), ahead, starts_at)


def _of_job(layout: Layout, job: Job, name: PendingName, max_retries: int, at: datetime) -> Iterator[Reason]:
    """What its own name and bytes say."""
    if job.problem is not None:
        yield Reason("invalid", f"it is not a runnable job and will be refused: {job.problem}")
    if _waits_for_itself(layout, name):
        text = "an attempt that was cancelled, or whose file was moved, may still be running: its lock is held"
        yield Reason("running", text)
    if name.is_held:
        yield Reason("held", f"it is held; to release it: queuectl release {name.id}")
    elif name.run_at > at and name.attempts:
        limit = job.body.max_retries if job.body and job.body.max_retries is not None else max_retries
        last = _last_result(layout, name)
        text = f"retry {name.attempts} of {limit} {format_when(name.run_at, at)}" + (f", after {last}" if last else "")
        yield Reason("retry", text, name.run_at)
    elif name.run_at > at:
        text = f"scheduled for {format_instant(name.run_at)} ({format_when(name.run_at, at)})"
        yield Reason("scheduled", text, name.run_at)


def _waits_for_itself(layout: Layout, name: PendingName) -> bool:
    try:
        return lease.is_running(layout.log(name.id))
    except OSError:
        return False


def _last_result(layout: Layout, name: PendingName) -> Result | None:
    """How its last attempt ended, if its log says so."""
    try:
        fd = os.open(layout.log(name.id), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return logs.outcome_of(fd, name.attempts)
    finally:
        os.close(fd)


def _of_queue(layout: Layout, workers: _Workers, min_free: int, wrong_settings: str, at: datetime) -> Iterator[Reason]:
    """What keeps any job from starting."""
    paused = pause.read(layout, lambda: at)
    if paused is not None:
        until = f", until {format_instant(paused.until)}" if paused.until else ""
        why = f": {paused.reason}" if paused.reason else "; to continue: queuectl resume"
        yield Reason(
            "paused", f"the queue has been paused since {format_instant(paused.since)}{until}{why}", paused.until
        )
    if not workers.number:
        yield from _of_no_worker(workers, wrong_settings)
    elif workers.busy >= workers.slots:
        yield Reason(
            "busy", f"all {format_count(workers.slots, 'slot')} of {format_count(workers.number, 'worker')} busy"
        )
    try:
        free, inodes = admission.room(layout)
    except SpoolError as error:
        yield Reason("full", f"{error.what}: {error.why}")
        return
    if free < min_free or (inodes is not None and inodes < admission.MIN_FREE_INODES):
        left = "" if inodes is None else f" and {inodes} inodes"
        yield Reason("full", f"the disk is full: {format_size(free)}{left} free, min-free is {format_size(min_free)}")


def _of_no_worker(workers: _Workers, wrong_settings: str) -> Iterator[Reason]:
    if wrong_settings:  # running workers keep the settings they had
        yield Reason("settings", f"no worker can start: {wrong_settings}")
    why = "all workers are stopping" if workers.stopping else "no worker is alive"
    yield Reason("no-worker", f"{why}; to start one: queuectl worker start")


def _count_workers(layout: Layout) -> _Workers:
    number = slots = busy = stopping = 0
    runs: dict[str, int] = {}
    for text in query.list_names(layout, State.RUNNING):
        if name := RunningName.parse(text):
            runs[name.worker] = runs.get(name.worker, 0) + 1
    for entry in os.listdir(layout.workers):
        worker = entry.removesuffix(".json")
        try:
            is_alive = lease.is_worker_alive(layout, worker)
        except OSError:
            is_alive = True
        info = lease.read_worker(layout, worker)
        if is_alive and info.get("stopping_at"):
            stopping += 1
        elif is_alive:
            own_slots = info.get("slots")
            number, slots = number + 1, slots + (own_slots if isinstance(own_slots, int) else 1)
            busy += runs.get(worker, 0)
    return _Workers(number, slots, busy, stopping)


def _count_ahead(layout: Layout, name: PendingName, at: datetime) -> int:
    """How many jobs will be due by the time this one is, and are ahead of it: from their names alone."""
    mine, due = str(name).encode(), format_time(max(at, name.run_at)).encode()
    return sum(text < mine and text[4:24] <= due for names, _ in query.iterate_pending(layout) for text in names)


def _estimate(
    layout: Layout, name: PendingName, reasons: list[Reason], ahead: int, workers: _Workers, at: datetime
) -> datetime | None:
    """When it will start: each slot takes its share of those ahead, each for as long as recent jobs took."""
    blockers = [reason for reason in reasons if reason.reason in ("paused", "no-worker", "full", "invalid")]
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
    durations = [name.duration for name in recent if name and name.result.kind not in ("cancelled", "invalid")]
    return sum(durations) / len(durations) if durations else None


def _of_running(layout: Layout, job: Job, name: RunningName, max_retries: int) -> Iterator[Reason]:
    limit = job.body.max_retries if job.body and job.body.max_retries is not None else max_retries
    since = format_instant(name.started_at)
    yield Reason(
        "running", f"attempt {name.attempt} of {limit + 1} has been running since {since}, under {name.worker}"
    )
    try:
        is_alive = lease.is_worker_alive(layout, name.worker)
    except OSError:
        return
    if not is_alive:
        found = processes.find(processes.token_of(name, name.worker))
        gone = (
            "its worker is gone, its processes are still running" if found else "its worker and its processes are gone"
        )
        yield Reason("orphaned", f"{gone}; the next worker on its host takes it over")


def _of_ended(job: Job) -> Iterator[Reason]:
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
    dropped = Reason("dropped", "it is a file that no worker has taken in yet")
    reasons = [dropped, *_of_dropped(layout, path, name, wrong_settings)]
    return Explanation(name, "dropped", path, tuple(reasons))


def _of_dropped(layout: Layout, path: str, name: str, wrong_settings: str) -> Iterator[Reason]:
    if is_ignored(name):
        yield Reason("ignored", "its name does not end in .json, or begins with a dot: it is ignored")
        return
    workers = _count_workers(layout)
    if not workers.number:
        yield from _of_no_worker(workers, wrong_settings)
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
