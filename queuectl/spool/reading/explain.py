"""Why a job is not running: what blocks it, what is ahead of it, and an estimate of when it will start.

Reads names, one body, the workers' files, and the bytes of a file that is not a job yet. Changes nothing. The dashboard
asks here too, with what it has in memory in place of what would be read (`Seen`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from queuectl.core import body
from queuectl.core.admission import (
    Group,
    Pause,
    Queue,
    Reason,
    Room,
    Workers,
    of_job,
    of_orphan,
    of_pause,
    of_stopped,
    of_workers,
)
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
from queuectl.core.schedules import is_name, parse_id
from queuectl.core.seats import MOST_ASIDE
from queuectl.core.settings import Settings
from queuectl.core.text import format_count, format_instant, format_seconds, format_when
from queuectl.errors import AmbiguousIdError, InvalidJobError, NotFoundError, NotJsonError
from queuectl.spool.reading import admission, graph, query, schedules, shapes
from queuectl.spool.reading.stopped import mark_stopped
from queuectl.spool.reading.workers import list_workers
from queuectl.spool.system import beats, defaults, files, lease, pause, processes
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.clock import now
from queuectl.spool.system.defaults import Default
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.settings import Found

RECENT = 200
"""Number of finished jobs whose durations make the estimate."""

_READ = 5000
"""Number of jobs before one that are read to find out what they ask for."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the job of that id (or the file in pending/ that is not a job yet) is where it is.

    `reasons` are in the order in which they matter. `ahead` is how many jobs will start before it; `starts_at` an
    estimate from recent durations, None if it cannot be estimated. `defaults` are the fields that its groups set.
    """

    id: str
    state: str
    path: str
    reasons: tuple[Reason, ...]
    ahead: int | None = None
    starts_at: datetime | None = None
    defaults: Mapping[str, Default] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The documented shape of `--json`."""
        return {
            "id": self.id,
            "state": self.state,
            "path": self.path,
            "reasons": [reason.to_json() for reason in self.reasons],
            "ahead": self.ahead,
            "starts_at": format_rfc3339(self.starts_at),
            "defaults": shapes.defaults_to_json(self.defaults),
        }


class Seen(Protocol):
    """What is known of the spool as a whole at one moment, `at`."""

    @property
    def at(self) -> datetime: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def wrong_settings(self) -> str:
        """Why no worker could start with what is set, or empty."""

    def paused(self) -> Pause | None: ...
    def room(self) -> Room: ...
    def workers(self) -> Iterable[Mapping[str, Any]]:
        """As `list_workers` describes them."""

    def count_ahead(self, name: PendingName, until: str) -> int:
        """How many pending jobs before that one, in the order of their names, are due by that time."""

    def first_pending(self, limit: int) -> Iterable[str]:
        """Names of that many pending jobs, in their order."""

    def ended(self) -> Iterable[str]:
        """Names of the jobs that ended last."""

    def defaults(self, id: str) -> Mapping[str, Default]:
        """What the groups of a job say in place of settings."""

    def groups(self, id: str) -> Iterable[tuple[Group, int]]:
        """As `admission.read_groups`."""

    def group(self, name: str) -> Group | None:
        """The settings of a group."""


class Reader:
    """`Seen` as it is now: each of it is read when it is asked for."""

    def __init__(self, layout: Layout, settings: Found) -> None:
        self._layout = layout
        self.at = now()
        self.settings, self.wrong_settings = settings.settings, settings.problem

    def paused(self) -> Pause | None:
        return pause.read(self._layout, lambda: self.at)

    def room(self) -> Room:
        return admission.read_room(self._layout)

    def workers(self) -> Iterable[Mapping[str, Any]]:
        return list_workers(self._layout)

    def count_ahead(self, name: PendingName, until: str) -> int:
        mine, due = str(name).encode(), until.encode()
        return sum(
            text < mine and text[4:24] <= due for names, _ in query.iterate_pending(self._layout) for text in names
        )

    def first_pending(self, limit: int) -> Iterable[str]:
        return query.sorted_names(self._layout, State.PENDING, limit)

    def ended(self) -> Iterable[str]:
        return [text for state in (State.DONE, State.DEAD) for text in query.sorted_names(self._layout, state, RECENT)]

    def defaults(self, id: str) -> Mapping[str, Default]:
        return defaults.of_job(self._layout, id)

    def groups(self, id: str) -> Iterable[tuple[Group, int]]:
        return admission.read_groups(self._layout, id)

    def group(self, name: str) -> Group | None:
        return group_files.examine(self._layout, name, now)


def explain(layout: Layout, id: str, settings: Found) -> Explanation:
    """Why that job, that dropped file, or the next job of that schedule, is not running.

    Raises NotFoundError or AmbiguousIdError.
    """
    seen = Reader(layout, settings)
    try:
        job = query.find(layout, id)
    except (NotFoundError, AmbiguousIdError) as error:
        name = _find_dropped(layout, id) if isinstance(error, NotFoundError) else None
        if name is None and (view := _find_schedule(layout, id)) is not None:
            reasons = of_schedule(view, seen)
            return Explanation(view.name, "schedule", layout.schedule(view.name), tuple(reasons))
        if name is None:
            raise
        return explain_dropped(layout, name, seen)
    return explain_job(layout, job, seen)


def explain_job(layout: Layout, job: Job, seen: Seen) -> Explanation:
    """Why that job is where it is."""
    name = job.name
    if isinstance(name, PendingName):
        return _explain_pending(layout, job, name, seen)
    said = seen.defaults(job.id) if isinstance(name, RunningName) else {}
    reasons = _of_running(layout, job, name, seen, said) if isinstance(name, RunningName) else _of_ended(layout, job)
    return Explanation(job.id, str(job.state), job.path, tuple(reasons), defaults=shapes.lacking(job, said))


def _explain_pending(layout: Layout, job: Job, name: PendingName, seen: Seen) -> Explanation:
    if name.is_asking and job.body is not None and job.body.unique is not None:
        text = f"it asks for its key {job.body.unique!r}; if its submit was interrupted, a worker finishes that"
        return Explanation(job.id, str(job.state), job.path, (Reason("key", text),))
    if name.is_waiting:
        return Explanation(job.id, str(job.state), job.path, tuple(graph.reasons_of(layout, job.id)))
    at, said = seen.at, seen.defaults(name.id)
    workers = Workers.of(seen.workers(), job.id)
    ahead = None if name.is_held else seen.count_ahead(name, format_time(max(at, name.run_at)))
    queue = Queue(seen.paused(), seen.room(), seen.settings.min_free, workers, seen.wrong_settings)
    in_force = defaults.in_place(said, seen.settings)
    own = job.body.timeout if job.body else None
    groups, group = seen.groups(name.id), seen.group
    waiting = admission.read_waiting(layout, job, name, in_force.max_retries, ahead, groups, group)
    reasons = of_job(waiting._replace(timeout=in_force.timeout if own is None else own), queue, at)
    if (ahead or 0) >= MOST_ASIDE and workers.busy < workers.slots and _is_behind_many(layout, name, seen):
        text = f"{MOST_ASIDE:,} jobs before it that ask for seats or slots wait; no worker looks beyond so many"
        reasons.insert(0, Reason("line", text))
    starts_at = estimate(name, reasons, ahead, workers, at, lambda: mean_duration(seen.ended()))
    lacking = shapes.lacking(job, said)
    return Explanation(job.id, str(job.state), job.path, tuple(reasons), ahead, starts_at, lacking)


def _is_behind_many(layout: Layout, name: PendingName, seen: Seen) -> bool:
    """Whether as many jobs with seats or slots of their own wait before it as a worker keeps in mind."""
    aside, due = 0, format_time(seen.at)
    for text in seen.first_pending(_READ):
        if text >= str(name) or aside >= MOST_ASIDE:
            break
        if text[4:24] <= due and (job := query.load(layout, State.PENDING, text)) is not None and job.body is not None:
            aside += bool(job.body.seats or (job.body.slots or 1) > 1)
    return aside >= MOST_ASIDE


def estimate(
    name: PendingName,
    reasons: list[Reason],
    ahead: int | None,
    workers: Workers,
    at: datetime,
    find_mean: Callable[[], float | None],
) -> datetime | None:
    """When it will start: each slot takes its share of those ahead, each for as long as recent jobs took, which
    `find_mean` says in seconds; None if that cannot be said."""
    if ahead is None:
        return None
    blockers = [
        reason
        for reason in reasons
        if reason.reason in ("paused", "group", "limit", "seats", "line", "timeout", "no-worker", "full", "invalid")
    ]
    if any(reason.until is None for reason in blockers) or not workers.slots:
        return None
    begins = max([at, name.run_at, *(reason.until for reason in blockers if reason.until)])
    free = max(0, workers.slots - workers.busy)
    if ahead < free:
        return begins
    mean = find_mean()
    if mean is None:
        return None
    rounds = (ahead - free) // workers.slots + 1
    # Running jobs have been running for some time: half a job's, lacking a better estimate.
    return begins + timedelta(seconds=round(mean * (rounds - 0.5), 3))


def mean_duration(names: Iterable[str]) -> float | None:
    """Seconds that the last of these finished jobs took, on average."""
    recent = [FinishedName.parse(text) for text in sorted(names, reverse=True)[:RECENT]]
    durations = [
        name.duration for name in recent if name and name.result.kind not in ("cancelled", "invalid", "skipped")
    ]
    return sum(durations) / len(durations) if durations else None


def _of_running(
    layout: Layout, job: Job, name: RunningName, seen: Seen, said: Mapping[str, Default]
) -> Iterator[Reason]:
    max_retries = defaults.in_place(said, seen.settings).max_retries
    limit = job.body.max_retries if job.body and job.body.max_retries is not None else max_retries
    since = format_instant(name.started_at)
    yield Reason(
        "running", f"attempt {name.attempt} of {limit + 1} has been running since {since}, under {name.worker}"
    )
    if next(mark_stopped([job])).is_stopped:
        yield of_stopped(job.id)
    if layout.shared:
        yield from _of_host(layout, name)
    try:
        is_alive = lease.is_worker_alive(layout, name.worker)
    except OSError:
        return
    if not is_alive and not (layout.shared and beats.is_gone(layout, lease.host_of(name.worker))):
        yield of_orphan(is_running=bool(processes.find(processes.token_of(name, name.worker))))


def _of_host(layout: Layout, name: RunningName) -> Iterator[Reason]:
    """What is to be known of the host on which a job runs, in a spool that several share."""
    from queuectl.spool.reading.hosts import GONE, list_hosts

    for each in list_hosts(layout):
        if each.host == lease.host_of(name.worker) and each.advice:
            yield Reason("lost-contact", each.advice)
        elif each.host == lease.host_of(name.worker) and each.contact == GONE:
            yield Reason("host-gone", f"its host {each.host} is gone: the next worker of any host takes it")


def _of_ended(layout: Layout, job: Job) -> Iterator[Reason]:
    if job.result is not None and job.result.is_skipped:
        tick = parse_id(job.id)
        if tick is not None:
            skipped = f"a tick of the schedule {tick[0]} that was left out, as a job of it had not ended"
            yield Reason("skipped", f"{skipped}; to run it anyway: queuectl retry {job.id}")
        elif job.body is not None and job.body.unique is not None:
            why = "it was not started, as another job had its key"
            yield Reason("skipped", f"{why}; see: queuectl logs --raw {job.id}")
        else:
            yield from graph.reasons_of(layout, job.id)
        return
    took = f" in {format_seconds(job.duration)}" if job.duration else ""
    yield Reason("ended", f"it ended after {format_count(job.attempts, 'attempt')}: {job.result}{took}")
    if job.problem is not None:
        yield Reason("invalid", f"it is not a runnable job: {job.problem}")


# --- schedules


def _find_schedule(layout: Layout, text: str) -> schedules.View | None:
    """The schedule of that name, or the one of which that is a tick."""
    name, _ = parse_id(text) or (text.removesuffix("."), None)
    if files.is_gone(layout.schedules) or not is_name(name):
        return None
    return next((view for view in schedules.look_at_all(layout, now()) if view.name == name), None)


def of_schedule(view: schedules.View, seen: Seen) -> Iterator[Reason]:
    """What keeps it from making jobs, and when it makes the next."""
    if view.problem:
        yield Reason("invalid", f"it makes no jobs: {view.problem}")
    if view.pause is not None:
        yield of_pause(view.pause, view.paused_by or "")
    yield from of_workers(Workers.of(seen.workers())._replace(busy=0), "")
    if view.waiting_since is not None:
        yield Reason("due", f"due since {format_instant(view.waiting_since)}")
    elif view.coming and view.pause is None and not view.problem:
        first = view.coming[0]
        yield Reason(
            "scheduled", f"makes its next job at {format_instant(first)} ({format_when(first, seen.at)})", first
        )


# --- files that are not jobs yet


def _find_dropped(layout: Layout, text: str) -> str | None:
    """The foreign file in pending/ of that name, or whose name begins with it."""
    name = os.path.basename(text)
    foreign = [entry for entry in query.list_names(layout, State.PENDING) if PendingName.parse(entry) is None]
    exact = [entry for entry in foreign if entry in (name, f"{name}.json")]
    found = exact or [entry for entry in foreign if entry.startswith(name)]
    return found[0] if len(found) == 1 or exact else None


def explain_dropped(layout: Layout, name: str, seen: Seen) -> Explanation:
    """Why no worker has adopted that file in pending/, which is not a job yet."""
    path = layout.job(State.PENDING, name)
    dropped = Reason("dropped", "no worker has adopted this file yet")
    return Explanation(name, "dropped", path, (dropped, *_of_dropped(layout, path, name, seen)))


def _of_dropped(layout: Layout, path: str, name: str, seen: Seen) -> Iterator[Reason]:
    if is_ignored(name):
        yield Reason("ignored", "its name does not end in .json, or begins with a dot: it is ignored")
        return
    workers = Workers.of(seen.workers())
    if not workers.number:
        yield from of_workers(workers, seen.wrong_settings)
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
