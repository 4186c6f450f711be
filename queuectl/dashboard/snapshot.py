"""One snapshot of the spool for all viewers, refreshed in a thread of its own.

The trigger (watchdog) and the viewers' requests make it look again; a look lists only directories that have
changed since, and looks take at most a tenth of the time, however large the spool. While there are no requests,
nothing is scanned. Everything is listed at a slow interval, because an event may be lost or a directory's time wrong.
"""

from __future__ import annotations

import os
import threading
import time
import traceback
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from queuectl.core import groups
from queuectl.core.admission import Group, Pause, Room, Workers, of_room
from queuectl.core.names import format_time, parse_time
from queuectl.core.result import State
from queuectl.core.settings import Settings
from queuectl.dashboard import index
from queuectl.dashboard.index import AGAIN, FIRST, Shelf
from queuectl.errors import QueuectlError
from queuectl.spool.reading import admission, query
from queuectl.spool.reading.groups import Tally
from queuectl.spool.reading.query import Counts
from queuectl.spool.store import Spool
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.clock import now
from queuectl.spool.system.trigger import Trigger

SHARE = 0.1
"""The largest share of the time that looking may take."""
RESCAN = 30.0
_BLIND_RESCAN = 2.0  # where there may be no events of what other hosts do
_LOOK = 0.4  # seconds for which a look is recent enough for a viewer
_PATIENCE = 0.25  # seconds that a viewer waits for a newer one
_IDLE = 60.0  # seconds after the last viewer until the trigger is ignored
_SETTLED = 100_000_000  # ns after a directory's last change until its time is certain to show the next one


@dataclass(frozen=True, slots=True)
class View:
    """The spool at one moment. `generation` changes when anything but the time changes.

    `groups` are those that have settings.
    """

    generation: int
    taken_at: datetime
    shelves: dict[State, Shelf]
    paused: Pause | None = None
    workers: tuple[dict[str, Any], ...] = ()
    room: tuple[int, int | None] = (0, None)
    settings: Settings = field(default_factory=Settings)
    wrong_settings: str = ""
    problem: str | None = None
    groups: dict[str, Group] = field(default_factory=dict)
    _counts: dict[str, Counts] = field(default_factory=dict)
    _tallies: dict[str, dict[str, Tally]] = field(default_factory=dict)

    @property
    def alive(self) -> list[dict[str, Any]]:
        return [worker for worker in self.workers if worker["alive"]]

    @property
    def takers(self) -> Workers:
        """The workers that take jobs, and how many live but are stopping."""
        return Workers.of(self.workers)

    @property
    def is_full(self) -> bool:
        """Whether no job is started for want of free space."""
        return any(of_room(Room(*self.room), self.settings.min_free))

    def is_same_as(self, other: View) -> bool:
        """Whether both show the same; free space counts in steps that a viewer would notice."""
        return self._shown() == other._shown() and all(
            shelf is other.shelves[state] for state, shelf in self.shelves.items()
        )

    def _shown(self) -> tuple[object, ...]:
        settings = self.settings, self.wrong_settings
        return self.paused, self.groups, self.workers, self.problem, self.room[0] >> 26, self.is_full, settings

    @property
    def braked(self) -> list[Group]:
        """The groups that have paused themselves."""
        return [group for group in self.groups.values() if group.paused is not None and group.paused.is_brake]

    def oldest_due(self, at: datetime) -> datetime | None:
        """Since when the job that has been due longest could have started; those of paused groups could not."""
        paused = {group.name for group in self.groups.values() if group.paused is not None}
        if not paused:
            return self.counts(at).oldest_ready
        outer = [name for name in paused if not any(each in paused for each in groups.of(f"{name}.x") if each != name)]
        return _parse(self.shelves[State.PENDING].oldest_due(format_time(at), outer))

    def tallies(self, at: datetime) -> dict[str, Tally]:
        """How many jobs of each group there are at that second, as `queuectl group list` counts them."""
        text = format_time(at.replace(microsecond=0))
        found = self._tallies.get(text)
        if found is None:
            found = self._tally(text)
            self._tallies.clear()
            self._tallies[text] = found
        return found

    def _tally(self, text: str) -> dict[str, Tally]:
        counts = {state: shelf.groups() for state, shelf in self.shelves.items()}
        due = self.shelves[State.PENDING].groups_due(text)
        names = {name for found in counts.values() for name in found}
        return {
            name: Tally(
                ready=due.get(name, 0),
                waiting=counts[State.PENDING].get(name, 0) - due.get(name, 0),
                running=counts[State.RUNNING].get(name, 0),
                done=counts[State.DONE].get(name, 0),
                dead=counts[State.DEAD].get(name, 0),
            )
            for name in names
        }

    def counts(self, at: datetime) -> Counts:
        """What `queuectl status` counts, at that moment."""
        text = format_time(at)
        found = self._counts.get(text)
        if found is None:
            found = self._count(text)
            self._counts.clear()
            self._counts[text] = found
        return found

    def _count(self, text: str) -> Counts:
        pending = self.shelves[State.PENDING]
        oldest, next_at = pending.soonest(text)
        return Counts(
            ready=pending.due(text).count,
            scheduled=pending.later(text, FIRST).count,
            retrying=pending.later(text, AGAIN).count,
            running=self.shelves[State.RUNNING].count,
            done=self.shelves[State.DONE].count,
            dead=self.shelves[State.DEAD].count,
            dropped=pending.foreign,
            oldest_ready=_parse(oldest),
            next_run_at=_parse(next_at),
            held=pending.held().count,
            waiting=pending.waiting().count,
            skipped_done=self.shelves[State.DONE].select(tag="skipped").count,
            skipped_dead=self.shelves[State.DEAD].select(tag="skipped").count,
        )

    def find(self, id: str) -> tuple[State, str] | None:
        """Where the job of that id was."""
        for state in (State.RUNNING, State.PENDING, State.DEAD, State.DONE):
            name = self.shelves[state].find(id)
            parsed = query.parse_name(state, name) if name else None
            if name and parsed and parsed.id == id:
                return state, name
        return None


def _parse(text: str | None) -> datetime | None:
    try:
        return parse_time(text) if text else None
    except ValueError:
        return None


class Snapshot:
    """Hands out the newest `View`. Thread-safe; `close` ends its thread."""

    def __init__(self, spool: Spool, *, share: float = SHARE, rescan: float = RESCAN) -> None:
        self._spool = spool
        self._share = share
        self._rescan = min(rescan, _BLIND_RESCAN) if spool.shared else rescan
        self._changed = threading.Condition()
        self._asked = True
        self._rung = False
        self._closing = False
        self._looks_begun = 0
        self._looks_done = 0
        self._last_look = 0.0
        self._last_full = 0.0
        self._last_asked = time.monotonic()
        self._cost = 0.0
        self._seen: dict[State, int | None] = {}
        self._wrong: dict[str, float] = {}
        self._view = View(0, now(), {state: index.build(state, (), None) for state in State})
        self._look(full=True)
        self._trigger = Trigger(spool.layout, self._ring)
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why there are no events, if there are none."""
        return self._trigger.problem

    def close(self) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._trigger.close()

    def view(self, *, patience: float = _PATIENCE, is_fresh: bool = False) -> View:
        """The newest view, waiting up to `patience` seconds for one that is fresh.

        With `is_fresh`, fresh means that it was begun after this call: it shows what the caller has just done.
        """
        with self._changed:
            at = time.monotonic()
            self._last_asked = at
            if not is_fresh and at - self._last_look < _LOOK:
                return self._view
            wanted = self._looks_begun + 1
            self._asked = True
            self._changed.notify_all()
            if is_fresh or self._cost * 2 < patience:
                self._changed.wait_for(lambda: self._looks_done >= wanted or self._closing, patience)
            return self._view

    def _ring(self, _path: str | None) -> None:
        with self._changed:
            self._rung = True
            if time.monotonic() - self._last_asked < _IDLE:
                self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_wanted, self._rescan)
                if self._closing:
                    return
                # Let events accumulate, and keep to the share of the time.
                due = self._last_look + max(self._cost * (1 / self._share - 1), 0.0 if self._asked else _LOOK / 2)
                while not self._closing and time.monotonic() < due:
                    self._changed.wait(due - time.monotonic())
                is_idle = time.monotonic() - self._last_asked > _IDLE
            if not is_idle:
                self._look(full=time.monotonic() - self._last_full >= self._rescan)
            if not self._trigger.is_alive and not is_idle:
                self._trigger.open()

    def _is_wanted(self) -> bool:
        is_watched = time.monotonic() - self._last_asked < _IDLE
        return self._closing or self._asked or (self._rung and is_watched)

    def _look(self, *, full: bool) -> None:
        with self._changed:
            self._asked = self._rung = False
            self._looks_begun += 1
            begun = self._looks_begun
        start = time.monotonic()
        view = self._take(full=full)
        with self._changed:
            self._view = view
            self._looks_done = begun
            self._last_look = time.monotonic()
            self._cost = self._last_look - start
            if full:
                self._last_full = self._last_look
            self._changed.notify_all()

    def _take(self, *, full: bool) -> View:
        old = self._view
        shelves, problem = dict(old.shelves), None
        paused, workers, room = old.paused, old.workers, old.room
        settings, wrong_settings, in_groups = old.settings, old.wrong_settings, old.groups
        try:
            for state in (State.RUNNING, State.PENDING, State.DONE, State.DEAD):
                shelves[state] = self._list(state, shelves[state], full=full)
            paused = self._spool.paused()
            workers = tuple(self._spool.workers())
            room = admission.room(self._spool.layout)
            found = self._spool.examine_settings()
            settings, wrong_settings = found.settings, found.problem
            in_groups = self._read_groups(old.groups)
        except OSError as error:
            problem = f"{error.filename or self._spool.path}: {error.strerror or error}"
        except QueuectlError as error:
            problem = error.why or error.what
        except Exception as error:  # whatever it is, the next look may succeed: without looks all pages would stay old
            traceback.print_exc()
            problem = str(error)
        new = View(old.generation, now(), shelves, paused, workers, room, settings, wrong_settings, problem, in_groups)
        return new if new.is_same_as(old) else replace(new, generation=old.generation + 1)

    def _read_groups(self, old: dict[str, Group]) -> dict[str, Group]:
        """What the files of each group say; a wrong value, which may be one that is being written, once it has been
        seen for a second."""
        layout = self._spool.layout
        found = {name: group_files.read(layout, name, now) for name in group_files.names(layout)}
        read = {name: group for name, group in found.items() if group is not None}
        at = time.monotonic()
        self._wrong = {name: self._wrong.get(name, at) for name, group in read.items() if group.problem}
        for name, since in self._wrong.items():
            if at < since + group_files.PATIENCE:
                read[name] = old.get(name, read[name]._replace(problem=""))
        return read

    def _list(self, state: State, old: Shelf, *, full: bool) -> Shelf:
        """The state's directory, listed only if its time shows that it has changed."""
        path = self._spool.layout.directory(state)
        changed_at = os.stat(path).st_mtime_ns
        if not full and self._seen.get(state) == changed_at and not self._spool.shared:  # else it may be known late
            return old
        is_settled = time.time_ns() - changed_at > _SETTLED
        shelf = index.build(state, query.list_names(self._spool.layout, state), old)
        self._seen[state] = changed_at if is_settled else None
        return old if shelf.is_same_as(old) else shelf
