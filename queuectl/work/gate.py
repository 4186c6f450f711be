"""Whether the groups of a job let it start: pauses, limits and seats. Ids without a dot pay nothing here.

A limit is kept by names in running/ alone, with no file of its own: who sees the group full does not claim; who has
claimed lists running/ until two listings show the same, and starts the job if there are no more than the limit. If
there are more, those that are not among the first by name give back, and these wait for that (tests/model/limit.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from queuectl.core import admission, groups
from queuectl.core.admission import Group
from queuectl.core.names import SUFFIX, RunningName
from queuectl.core.result import State
from queuectl.core.seats import Seats
from queuectl.spool.reading import query
from queuectl.spool.system import groups as group_files
from queuectl.spool.system import pause, seats
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple
from queuectl.work.report import Report

LOOK_AGAIN = 0.5
"""Seconds after which the files of groups that let no job start are looked at again, as no event tells of them."""
_GOOD_FOR = 0.02  # seconds for which what was read of a group holds good
_PATIENCE, _SOON = 1.0, 0.005  # seconds for which the first of too many wait for the others, and between their looks

Limits = dict[str, int]


class Want(NamedTuple):
    """So many seats of a group, which a job needs. `seats` is None while its files cannot be read."""

    group: str
    number: int
    seats: Seats | None
    variable: str | None = None


class Gate:
    """Of one worker; guarded by the lock of its slots, but for `find_full`, `must_wait_for` and `is_paused`."""

    def __init__(
        self, layout: Layout, now: Callable[[], datetime], report: Report, own: Mapping[str, Seats] | None = None
    ) -> None:
        """`own` are the seats of groups that the worker has itself, whatever the files of these groups say."""
        self._layout = layout
        self._own = own or {}
        self._now = now
        self._report = report
        self._read: dict[str, tuple[float, Group]] = {}  # when, in monotonic seconds, and what
        self._closed: dict[str, Group] = {}  # by their own files
        self._full: dict[str, tuple[int, frozenset[str]]] = {}  # the limit, and the names for one of which to wait
        self._seatless: set[str] = set()  # whose next job waits for a seat
        self._claiming: dict[str, str] = {}  # group -> the job of it that is between claim and start

    # --- under the lock

    def is_open(self, group: str) -> bool:
        """Whether nothing was found that keeps the jobs of the group from starting, as far as this group goes."""
        return (
            group not in self._closed
            and group not in self._full
            and group not in self._seatless
            and group not in self._claiming
        )

    def is_closed(self, id: str) -> bool:
        """Whether a group of a job keeps it from starting for another reason than seats."""
        return any(group in self._closed or group in self._full for group in groups.of(id))

    def _is_shut(self, group: str) -> bool:
        return group in self._closed or group in self._full or group in self._claiming

    @property
    def has_closed(self) -> bool:
        """Whether there is a group that only a look at its files, or at running/, will open again."""
        return bool(self._closed or self._full)

    @property
    def has_full(self) -> bool:
        """Whether jobs wait for others of their group to end."""
        return bool(self._full)

    def closed_by(self, id: str, *, needs_seats: bool = True) -> str | None:
        """The outermost group that keeps this job from starting; None if none does."""
        for group in groups.of(id):
            if not self.is_open(group) and (needs_seats or group not in self._seatless or self._is_shut(group)):
                return group
            found = self._look(group)
            if found is not None and self._close(found):
                return group
        return None

    def _look(self, group: str) -> Group | None:
        """What the files of a group say. That there are none is never remembered: a limit comes before its jobs."""
        now = time.monotonic()
        read_at, found = self._read.get(group, (float("-inf"), None))
        if now >= read_at + _GOOD_FOR:
            found = group_files.read(self._layout, group, self._now)
            if group in self._own:
                found = (found or Group(group))._replace(seats=self._own[group])
            if found is None:
                self._read.pop(group, None)
            else:
                self._read[group] = now, found
        return found

    def _close(self, found: Group) -> bool:
        """Whether its own files let no job of the group start; says so, once."""
        reasons = [*admission.of_group(found)]
        key = f"group {found.name}"
        if not reasons:
            if self._closed.pop(found.name, None) is not None:
                self._report.over(key, f"jobs of the group {found.name} can be started again")
            return False
        self._closed[found.name] = found
        if reasons[0].reason != "group":  # an empty file may be one that is being written
            self._report.once(key, "paused", f"no job of the group {found.name} is started: {reasons[0].text}")
        return True

    def begin(self, id: str) -> None:
        """A job is about to be claimed: until `end`, no other of its limited groups is."""
        for group in groups.of(id):
            found = self._look(group)
            if found is not None and (found.limit is not None or found.seats is not None):
                self._claiming[group] = id

    @property
    def is_claiming(self) -> bool:
        """Whether a job is about to be claimed for which others of its groups wait."""
        return bool(self._claiming)

    def claim_seats(self, id: str, wanted: Iterable[str]) -> str | None:
        """Likewise for groups whose seats a job needs; the one that another has begun to claim for, if there is."""
        wanted = [*wanted]
        for group in wanted:
            if self._claiming.get(group, id) != id:
                return group
        self._claiming.update(dict.fromkeys(wanted, id))
        return None

    def are_claimed(self, wanted: Iterable[str]) -> bool:
        """Whether a job that has seats of one of these groups is about to be claimed."""
        return bool(self._claiming) and any(group in self._claiming for group in wanted)

    def end(self, id: str) -> bool:
        """Its claim has come to something, or to nothing; whether others may have waited for that."""
        mine = [group for group, claimed in self._claiming.items() if claimed == id]
        for group in mine:
            del self._claiming[group]
        return bool(mine)

    def limits(self, id: str) -> Limits:
        """The limits of its groups."""
        found = ((group, self._look(group)) for group in groups.of(id))
        return {group: said.limit for group, said in found if said is not None and said.limit is not None}

    def wants(self, id: str, own: Mapping[str, int] | None) -> tuple[Want, ...]:
        """The seats that a job needs, in the order in which they are taken: one of each of its groups that has some,
        unless its own field says how many."""
        numbers = {group: 1 for group in groups.of(id) if (found := self._look(group)) and found.seats is not None}
        numbers.update(own or {})
        wanted = sorted((group for group, number in numbers.items() if number), key=lambda name: (-len(name), name))
        return tuple(self._want(group, numbers[group]) for group in wanted)

    def _want(self, group: str, number: int) -> Want:
        found = self._look(group)
        if found is None:
            return Want(group, number, Seats())
        return Want(group, number, None if found.problem else found.seats or Seats(), found.seat_env)

    def count_free(self, group: str) -> int:
        """How many seats of a group are free, as it looks; needs no lock."""
        there = self._own.get(group)
        if there is None:
            found = group_files.read(self._layout, group, self._now)
            there = found.seats if found is not None and not found.problem else None
        return 0 if there is None else there.count_free(seats.find_held(self._layout, group))

    @property
    def seatless(self) -> frozenset[str]:
        """The groups whose next job waits for a seat."""
        return frozenset(self._seatless)

    def lack_seats(self, group: str) -> None:
        """No job of this group starts until `have_seats`."""
        self._seatless.add(group)

    def have_seats(self, groups: Iterable[str]) -> bool:
        """The next jobs of these groups may have what they wait for; whether there was any."""
        found = self._seatless.intersection(groups)
        self._seatless -= found
        return bool(found)

    def fill(self, limits: Limits, waits: dict[str, frozenset[str]]) -> None:
        """These groups are full, until one of these names has gone."""
        self._full.update((group, (limits[group], names)) for group, names in waits.items())

    def left_running(self, id: str) -> bool:
        """A job has left running/; whether others of its groups waited for it."""
        end = f"-{id}{SUFFIX}"
        waits = ((group, self._full[group][1]) for group in groups.of(id) if group in self._full)
        opened = [group for group, names in waits if any(name.endswith(end) for name in names)]
        for group in opened:
            del self._full[group]
        return bool(opened)

    def look_again(self) -> bool:
        """Look at the groups that let no job start; whether one of them does now."""
        was_closed = len(self._closed) + len(self._full)
        for name in [*self._closed]:
            self._read.pop(name, None)
            found = self._look(name)
            if found is None:
                self._close(Group(name))
            else:
                self._close(found)
        if self._full:
            here = set(query.list_names(self._layout, State.RUNNING))
            for name, (limit, waits) in [*self._full.items()]:
                found = self._look(name)
                if found is None or found.limit != limit or not waits <= here:
                    del self._full[name]
        return len(self._closed) + len(self._full) < was_closed

    # --- without the lock

    def is_paused(self, id: str) -> bool:
        """Whether a group of a job is paused at this moment."""
        return any(pause.read(self._layout, self._now, group) is not None for group in groups.of(id))

    def find_full(self, limits: Limits) -> dict[str, frozenset[str]]:
        """Of these groups those that are full, with the names for one of which to wait."""
        running = self._running(limits)
        return {
            group: frozenset(running[group][:limit]) for group, limit in limits.items() if len(running[group]) >= limit
        }

    def must_wait_for(self, claimed: RunningName, limits: Limits) -> dict[str, frozenset[str]]:
        """By group, the names for one of which a claimed job must wait; none if it may start.

        RACE: another worker may claim at the same moment, and an adoption, which renames, can hide a job from one
        listing (tests/model/limit.py).
        """
        text = str(claimed)
        until = time.monotonic() + _PATIENCE
        first = self._running(limits)
        while True:
            second = self._running(limits)
            if any(_ids(first[group]) != _ids(second[group]) for group in limits):
                first = second
                continue
            over = {group: second[group] for group, limit in limits.items() if len(second[group]) > limit}
            if not over:
                return {}
            late = {
                group: names[: limits[group]] for group, names in over.items() if text not in names[: limits[group]]
            }
            if late or time.monotonic() >= until:
                return {group: frozenset(names) - {text} for group, names in (late or over).items()}
            time.sleep(_SOON)
            first = self._running(limits)

    def _running(self, limits: Limits) -> dict[str, list[str]]:
        """The names in running/ of each of these groups, in text order."""
        marks = tuple(f"-{group}." for group in limits)
        found: dict[str, list[str]] = {group: [] for group in limits}
        for text in sorted(query.list_names(self._layout, State.RUNNING)):
            if any(mark in text for mark in marks) and (name := RunningName.parse(text)) is not None:
                for group in groups.of(name.id):
                    if group in found:
                        found[group].append(text)
        return found


def _ids(names: Iterable[str]) -> set[str]:
    return {name.id for name in map(RunningName.parse, names) if name is not None}
