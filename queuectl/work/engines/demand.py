"""What the pending jobs ask for that could start now if there were room on the engine.

Reads names, and of the first jobs the bodies, once each; a spool that has not changed is not listed again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from queuectl.core import groups
from queuectl.core.fields import Body
from queuectl.core.groups import Choice
from queuectl.core.names import PendingName, RunningName, format_time, is_pending, pending_id
from queuectl.core.result import State
from queuectl.spool.reading import admission, query
from queuectl.spool.system import groups as group_files
from queuectl.spool.system import seats
from queuectl.work.context import Context
from queuectl.work.terms import Ask, Terms

_LIST_AGAIN = 5.0  # seconds after which pending/ is listed although its time says that nothing has changed
_SHARE = 20  # a listing that takes a second is made every so many seconds at most
_MOST_READ = 5000  # names that are looked at; those of full groups among them ask for nothing


class Demand:
    """Of the jobs that one worker takes."""

    def __init__(self, context: Context, choice: Choice, terms: Terms) -> None:
        self._context = context
        self._layout = context.layout
        self._choice = choice
        self._terms = terms
        self._names: list[str] = []  # of jobs that are taken, in the order in which they start
        self._listed_at, self._took, self._changed_at = float("-inf"), 0.0, -1
        self._asks: dict[str, tuple[Ask, Body] | None] = {}

    def look(self, most: int) -> list[Ask]:
        """What the first of these jobs ask for, up to so many slots in all."""
        if admission.for_slot(self._layout, self._context.now, self._context.settings.min_free) is not None:
            return []
        self._list()
        now = format_time(self._context.now())
        due = [name for name in self._names if name[4:24] <= now][:_MOST_READ]
        self._asks = {name: self._asks[name] for name in due if name in self._asks}
        room = _Room(self._context, self._terms.own_seats)
        found: list[Ask] = []
        slots = 0
        for name in due:
            if slots >= most:
                break
            about = self._read(name)
            if about is None or not room.take(pending_id(name), about[1]):
                continue
            slots += about[0].slots
            found.append(about[0])
        return found

    def _list(self) -> None:
        began = time.monotonic()
        if began < self._listed_at + self._took * _SHARE:
            return
        changed_at = os.stat(self._layout.directory(State.PENDING)).st_mtime_ns
        if changed_at == self._changed_at and began < self._listed_at + _LIST_AGAIN:
            return
        names = filter(is_pending, query.list_names(self._layout, State.PENDING))
        self._names = sorted(name for name in names if self._choice.takes(pending_id(name)))
        self._changed_at, self._listed_at = changed_at, began
        self._took = time.monotonic() - began

    def _read(self, name: str) -> tuple[Ask, Body] | None:
        """What that job asks for; None if it is gone, or cannot be run, here or at all."""
        if name not in self._asks:
            parsed, job = PendingName.parse(name), query.load(self._layout, State.PENDING, name)
            about = None
            if parsed is not None and job is not None and job.body is not None:
                ask = self._terms.ask_of(parsed.id, job.body)
                about = None if self._terms.why_never(ask) else (ask, job.body)
            self._asks[name] = about
        return self._asks[name]


class _Room:
    """What the groups leave for jobs that are not claimed yet, at one moment."""

    def __init__(self, context: Context, not_theirs: frozenset[str]) -> None:
        """The seats of the groups `not_theirs` are not looked at."""
        self._context = context
        self._not_theirs = not_theirs
        self._running: list[str] | None = None
        self._left: dict[str, float] = {}  # by group: so many more may run
        self._free: dict[str, int] = {}  # likewise: so many seats are free
        self._has_seats: dict[str, bool] = {}

    def take(self, id: str, body: Body) -> bool:
        """Whether there is room for another such job, which is taken then."""
        if "." not in id and not body.seats:
            return True
        within = groups.of(id)
        needs = {group: 1 for group in within if self._seats(group)}
        needs.update(body.seats or {})
        needs = {group: number for group, number in needs.items() if group not in self._not_theirs}
        if any(self._may_run(group) < 1 for group in within):
            return False
        if any(self._seats_free(group) < number for group, number in needs.items()):
            return False
        for group in within:
            self._left[group] -= 1
        for group, number in needs.items():
            self._free[group] -= number
        return True

    def _may_run(self, group: str) -> float:
        if group not in self._left:
            self._look(group)
        return self._left[group]

    def _seats(self, group: str) -> bool:
        if group not in self._has_seats:
            self._look(group)
        return self._has_seats[group]

    def _seats_free(self, group: str) -> int:
        if group not in self._free:
            self._look(group)
        return self._free[group]

    def _look(self, group: str) -> None:
        layout = self._context.layout
        found = group_files.read(layout, group, self._context.now)
        left, free, has_seats = float("inf"), 0, False
        if found is not None:
            if found.paused is not None or found.problem:
                left = 0
            elif found.limit is not None:
                left = found.limit - sum(groups.is_in(id, group) for id in self._running_ids())
            if found.seats is not None:
                has_seats, free = True, found.seats.count_free(seats.find_held(layout, group))
        self._left[group], self._free[group], self._has_seats[group] = left, free, has_seats

    def _running_ids(self) -> Iterator[str]:
        if self._running is None:
            names = map(RunningName.parse, query.list_names(self._context.layout, State.RUNNING))
            self._running = [name.id for name in names if name is not None]
        yield from self._running
