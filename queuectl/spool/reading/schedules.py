"""What there is to say of schedules: their last and next ticks, what keeps them, and who has not ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any, NamedTuple

from queuectl.core import schedules
from queuectl.core.admission import Pause
from queuectl.core.cron import Cron
from queuectl.core.names import FinishedName, Name, PendingName, RunningName, format_rfc3339
from queuectl.core.result import State
from queuectl.core.schedules import Every
from queuectl.core.text import format_instant
from queuectl.errors import NotFoundError, UsageError
from queuectl.spool.reading import query
from queuectl.spool.reading.workers import list_workers
from queuectl.spool.system import clock, pause
from queuectl.spool.system import schedules as files
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.schedules import Found

NEXT = 3
_NEVER = datetime.min.replace(tzinfo=UTC)
_PATIENCE = 1.0
_LOOK = 0.05


class Tick(NamedTuple):
    """The job of a tick."""

    tick: datetime
    state: State
    name: Name

    @property
    def result(self) -> str:
        """How it ended, or the state that it is in."""
        return str(self.name.result) if isinstance(self.name, FinishedName) else str(self.state)

    def to_json(self) -> dict[str, Any]:
        ended = self.name if isinstance(self.name, FinishedName) else None
        return {
            "tick": _second(self.tick),
            "id": self.name.id,
            "state": str(self.state),
            "result": str(ended.result) if ended else None,
            "finished_at": format_rfc3339(ended.finished_at) if ended else None,
        }


class View(NamedTuple):
    """A schedule as it is now. `last` is the newest tick that has a job, `coming` those that come next.

    `waiting_since` is the first tick since then that has come, if a worker would submit one: it does within a moment.
    `problem` says why there will be no job at all, `paused_by` is the group whose pause it is.
    """

    found: Found
    problem: str = ""
    last: Tick | None = None
    coming: tuple[datetime, ...] = ()
    waiting_since: datetime | None = None
    paused_by: str | None = None
    pause: Pause | None = None

    @property
    def name(self) -> str:
        return self.found.name

    def to_json(self) -> dict[str, Any]:
        """One of `queuectl schedule list --json`"""
        schedule = self.found.schedule
        when = schedule.when if schedule else None
        return {
            "schedule": self.name,
            "cron": when.text if isinstance(when, Cron) else None,
            "every": when.seconds if isinstance(when, Every) else None,
            "timezone": schedule.zone_name if schedule else None,
            "catch_up": schedule.catch_up if schedule else None,
            "overlap": schedule.overlap if schedule else None,
            "jitter": schedule.jitter if schedule else None,
            "delay": schedule.delay.total_seconds() if schedule else None,
            "problem": self.problem or None,
            "paused_by": self.paused_by,
            "pause": self.pause.to_json() if self.pause else None,
            "last": self.last.to_json() if self.last else None,
            "next": [_second(tick) for tick in self.coming],
            "waiting_since": _second(self.waiting_since) if self.waiting_since else None,
            "job": dict(schedule.job) if schedule else None,
        }


def _second(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def look_at_all(
    layout: Layout, now: datetime, newest: Callable[[list[str]], dict[str, Tick]] | None = None
) -> list[View]:
    """Every schedule; one listing of each directory, unless `newest` gives the newest ticks of some schedules.

    A file that is wrong may be being written: if it was just changed, it is looked at again for up to a second.
    """
    if not layout.may_have_schedules:
        return []
    ticks = find_newest(layout, now) if newest is None else newest(files.names(layout))
    until = time.monotonic() + _PATIENCE
    while True:
        found = [each for name in files.names(layout) if (each := files.read(layout, name)) is not None]
        if not any(_is_settling(each, now) for each in found) or time.monotonic() > until:
            break
        time.sleep(_LOOK)
    has_worker = any(worker["alive"] for worker in list_workers(layout))
    return [_view(layout, each, ticks.get(each.name), now, has_worker=has_worker) for each in found]


def _is_settling(found: Found, now: datetime) -> bool:
    return bool(found.problem) and abs((now - found.changed_at).total_seconds()) < _PATIENCE


def look_at(layout: Layout, name: str, now: datetime) -> View:
    """One of them; raises NotFoundError."""
    view = next((view for view in look_at_all(layout, now) if view.name == name), None)
    if view is None:
        raise NotFoundError(f"no schedule {name!r}", hint="see: queuectl schedule list")
    return view


def _view(layout: Layout, found: Found, last: Tick | None, now: datetime, *, has_worker: bool) -> View:
    if found.schedule is None:
        return View(found, found.problem, last)
    try:
        mark = files.past(layout, found.name)
    except (UsageError, OSError) as error:
        return View(found, f"{error}".replace("\n", ": "), last)
    counted = files.counted_from(layout, found, mark, lambda: now)
    group = files.closed_by(layout, found.name, lambda: now)
    since = max(counted, last.tick if last else _NEVER)
    first = next(found.schedule.ticks(since), None) if group is None else None
    is_waiting = first is not None and first <= now and (not has_worker or bool(found.schedule.due(since, now)))
    return View(
        found,
        problem=ahead(counted, now),
        last=last,
        coming=tuple(islice(found.schedule.ticks(max(since, now)), NEXT)),
        waiting_since=first if is_waiting else None,
        paused_by=group,
        pause=pause.read(layout, lambda: now, group) if group else None,
    )


def ahead(counted: datetime, now: datetime) -> str:
    """What is wrong with a schedule that counts from a time that has not come; empty for any other."""
    if counted <= now:
        return ""
    return f"no jobs before {format_instant(counted)}, as the clock was ahead or is behind"


# --- its jobs


def find_newest(layout: Layout, now: datetime | None) -> dict[str, Tick]:
    """The newest tick of each schedule that has a job, of those that are not ahead of the clock if `now` is given; one
    listing of each directory."""
    newest: dict[str, Tick] = {}
    for tick, name, state, parsed in find_ticks(layout):
        if (now is None or tick <= now) and (name not in newest or newest[name].tick < tick):
            newest[name] = Tick(tick, state, parsed)
    return newest


def find_last(layout: Layout, name: str, number: int) -> list[Tick]:
    """The newest ticks of a schedule that have jobs, the newest first."""
    found = (Tick(tick, state, parsed) for tick, of, state, parsed in find_ticks(layout) if of == name)
    return sorted(found, key=lambda each: each.tick, reverse=True)[:number]


def find_ticks(layout: Layout) -> Iterator[tuple[datetime, str, State, Name]]:
    """The jobs that are ticks by their ids: the tick, its schedule, and where the job is."""
    for state in State:
        for names in query.iterate_names(layout, state):
            for text in names:
                named = schedules.parse_id(query.id_in(state, text) or "") if text.endswith("Z.json") else None
                parsed = query.parse_name(state, text) if named else None
                if named is not None and parsed is not None:
                    yield named[1], named[0], state, parsed


def find_unfinished(layout: Layout, name: str, *, but: str = "") -> str | None:
    """The id of a job of this schedule that is running or pending; None if there is none."""
    for text in query.list_names(layout, State.RUNNING):
        running = RunningName.parse(text)
        if running is not None and running.id != but and schedules.is_of(running.id, name):
            return running.id
    for names in query.iterate_names(layout, State.PENDING):
        for text in names:
            pending = PendingName.parse(text) if f"-{name}." in text else None
            if pending is not None and pending.id != but and schedules.is_of(pending.id, name):
                return pending.id
    return None


# --- all of them in a few words


class Summary(NamedTuple):
    """What `status` says of all schedules."""

    total: int
    wrong: tuple[View, ...]
    paused: int
    next_tick: datetime | None
    waiting: int
    waiting_since: datetime | None

    def to_json(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "paused": self.paused,
            "problems": [{"schedule": view.name, "problem": view.problem} for view in self.wrong],
            "next_at": format_rfc3339(self.next_tick),
            "waiting": self.waiting,
            "waiting_since": format_rfc3339(self.waiting_since),
        }


def summarise(views: Iterable[View]) -> Summary:
    views = [*views]
    running = [view for view in views if view.paused_by is None and not view.problem]
    waiting = [view.waiting_since for view in running if view.waiting_since is not None]
    return Summary(
        total=len(views),
        wrong=tuple(view for view in views if view.problem),
        paused=sum(view.paused_by is not None for view in views),
        next_tick=min((view.coming[0] for view in running if view.coming), default=None),
        waiting=len(waiting),
        waiting_since=min(waiting, default=None),
    )


def look(layout: Layout) -> Summary:
    """The summary now."""
    return summarise(look_at_all(layout, clock.now()))
