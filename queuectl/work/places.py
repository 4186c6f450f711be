"""Seats and slots: what a job needs of its host and of its worker, taken before it is claimed, and freed when it ends.

Jobs without fields of their own, in groups without seats, pass with a comparison or two.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from queuectl.core import body as bodies
from queuectl.core import groups
from queuectl.core.fields import Body
from queuectl.core.names import PendingName, pending_id
from queuectl.core.result import State
from queuectl.core.seats import MAX_TAKEN, show, variable_of
from queuectl.core.text import format_count
from queuectl.errors import QueuectlError
from queuectl.spool.system import files, seats
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.seats import Taken
from queuectl.tuples import NamedTuple
from queuectl.work.gate import Gate, Want
from queuectl.work.line import Line, Wait
from queuectl.work.terms import Terms

_MOST_READ = 10_000


class Given(NamedTuple):
    """Descriptors that the processes of a job are to inherit, and variables that they are to have."""

    descriptors: tuple[int, ...]
    variables: Mapping[str, str]


class Places:
    """Those of one worker with so many slots. Thread-safe; what is said to need the lock is called with it held.

    `count_busy` says how many jobs have a slot, each counted once. `set_apart` gives a job back to its group's lane,
    `offer` one that was kept aside to the schedule; both have the lock. `terms` are those of its engine, if it has any.
    """

    def __init__(
        self,
        layout: Layout,
        now: Callable[[], datetime],
        gate: Gate,
        lock: threading.RLock,
        number: int,
        count_busy: Callable[[], int],
        set_apart: Callable[[PendingName, str], None],
        offer: Callable[[str], None],
        terms: Terms | None = None,
    ) -> None:
        self._layout = layout
        self._now = now
        self._gate = gate
        self._lock = lock
        self._number = self._widest = number
        self._count_busy = count_busy
        self._set_apart = set_apart
        self._offer = offer
        self._terms = terms
        self._line = Line()
        self._taken: dict[str, list[tuple[Want, Taken]]] = {}  # by the id of a job that is taken
        self._without_seats: dict[str, bool] = {}  # whether jobs that were read say that they need none
        self._more: dict[str, int] = {}  # likewise: how many slots it has beyond one

    def resize(self, number: int, widest: int) -> None:
        """The worker has so many slots from now on, and a job may take so many of them; needs the lock."""
        self._number, self._widest = number, widest

    # --- what others ask

    @property
    def in_use(self) -> int:
        """Slots that are taken; needs the lock."""
        return self._count_busy() + sum(self._more.values()) if self._more else self._count_busy()

    def is_behind(self, text: str) -> bool:
        """Whether a job must let one that waits in front of it start first; needs the lock."""
        return self._line.barrier is not None and text > self._line.barrier

    @property
    def are_awaited(self) -> bool:
        """Whether jobs wait for seats or slots."""
        return bool(self._line) or bool(self._gate.seatless)

    @property
    def groups(self) -> frozenset[str]:
        """The groups for whose seats jobs wait."""
        if not self.are_awaited:
            return frozenset()
        with self._lock:
            return self._gate.seatless.union(*(wait.needs for _, wait in self._line.items()))

    @property
    def never(self) -> dict[str, str]:
        """The names of jobs that this worker cannot start as things are, each with why."""
        if not self._line:
            return {}
        with self._lock:
            return {text: wait.never for text, wait in self._line.items() if wait.never}

    # --- before the claim

    def admit(self, name: PendingName, body: Body) -> bool:
        """Take what a job needs that is about to be claimed; False if it must wait, and is kept in mind."""
        if self._terms is not None and not self._comes_to_terms(name, body, self._terms):
            return False
        if body.seats is None and body.slots is None and "." not in name.id:
            return True
        text, slots = str(name), body.slots or 1
        with self._lock:
            wants = self._gate.wants(name.id, body.seats)
            if self._terms is not None and self._terms.own_seats:
                wants = tuple(want for want in wants if want.group not in self._terms.own_seats)
            if not wants and slots == 1:
                return True
            is_aside = body.seats is not None or body.slots is not None
            wait = Wait(
                {want.group: want.number for want in wants}, slots, is_aside, never=self._why_never(wants, slots)
            )
            if wait.never:
                self._line.put(text, wait)
                return False
            reserved = next((group for group in wait.needs if self._line.is_reserved(group, text)), None)
            if (group := reserved or self._gate.claim_seats(name.id, wait.needs)) is not None:
                self._let_wait(name, wait, group)
                return False
        lacking = next((want for want in wants if not self._has(want)), None)
        if lacking is not None:
            self._let_wait(name, wait, lacking.group)
            self.look()  # RACE: what has become free since then has rung already (tests/work/test_places.py)
            return False
        with self._lock:
            if self.in_use + slots - 1 > self._number:
                self._line.put(text, wait._replace(blocks=True))
                return False
            if slots > 1:
                self._more[name.id] = slots - 1
        taken = self._take(name.id, wants)
        if isinstance(taken, str):
            with self._lock:
                self._more.pop(name.id, None)
            self._let_wait(name, wait, taken)
            return False
        with self._lock:
            self._line.drop(text)
            if taken:
                self._taken[name.id] = taken
        return True

    def _comes_to_terms(self, name: PendingName, body: Body, terms: Terms) -> bool:
        """Whether the engine has a place for a job; else it waits for one, aside."""
        ask = terms.ask_of(name.id, body)
        if terms.has_place_for(ask):
            if self._line:
                with self._lock:
                    self._line.drop(str(name))
            return True
        with self._lock:
            self._line.put(str(name), Wait({}, ask.slots, never=terms.why_never(ask), ask=ask))
        return False

    def _why_never(self, wants: tuple[Want, ...], slots: int) -> str:
        """Why this worker cannot start a job as things are, however long it waits; empty if it can."""
        if slots > self._widest:
            return f"as it asks for {slots} slots of its worker, and this one has {self._widest}"
        if sum(want.number for want in wants) > MAX_TAKEN:
            return f"as it asks for more than {MAX_TAKEN} seats"
        for group, number, there, _ in wants:
            if there is not None and number > len(there):
                has = f"{len(there)} of them" if there else "none"
                return f"as it asks for {format_count(number, 'seat')} of {group}, which has {has}"
        return ""

    def _has(self, want: Want) -> bool:
        """Whether so many seats are free, as it looks."""
        if want.seats is None:
            return False
        return want.seats.count_free(seats.find_held(self._layout, want.group)) >= want.number

    def _let_wait(self, name: PendingName, wait: Wait, group: str) -> None:
        with self._lock:
            self._line.put(str(name), wait)
            if not wait.is_aside:
                self._gate.lack_seats(group)
                self._set_apart(name, group)

    def _take(self, id: str, wants: tuple[Want, ...]) -> list[tuple[Want, Taken]] | str:
        """All of these seats; or the group of which they could not be had, and then none is kept."""
        found: list[tuple[Want, Taken]] = []
        try:
            for want in wants:
                there = want.seats
                taken = None if there is None else seats.take(self._layout, want.group, there, want.number, id)
                if taken is None:
                    self._give_back(found)
                    return want.group
                found.append((want, taken))
        except BaseException:
            self._give_back(found)
            raise
        return found

    def _give_back(self, found: Iterable[tuple[Want, Taken]]) -> None:
        seats.give_back(self._layout, (taken for _, taken in found))

    # --- while it runs, and after that

    def given(self, id: str) -> Given | None:
        """What the job of that id gets with its seats; None if it has none.

        If two groups name one variable, it names the seats of the inner one.
        """
        mine = self._taken.get(id)
        if mine is None:
            return None
        found: dict[str, str] = {}
        for want, taken in reversed(mine):
            there = want.seats.locks if want.seats else []
            value = show(sorted(taken.locks, key=there.index))
            found[variable_of(want.group)] = value
            if want.variable:
                found[want.variable] = value
        return Given(tuple(fd for _, taken in mine for fd in taken.descriptors), found)

    def free(self, id: str) -> bool:
        """The job of that id has ended, or did not start; whether it had taken anything but one slot."""
        had_seats, had_slots = id in self._taken, id in self._more
        if had_seats:
            self._give_back(self._taken.pop(id))
        if had_slots:
            with self._lock:
                del self._more[id]
        return had_seats or had_slots

    # --- those that need no seat of their group

    def closed_by(self, name: PendingName) -> str | None:
        """The outermost group that keeps a job from starting; None if none does; needs the lock."""
        return self._gate.closed_by(name.id, needs_seats=not self._without_seats.get(str(name)))

    def find_passing(self, texts: list[str], seatless: frozenset[str]) -> list[str]:
        """Those of these jobs that say that they need no seat of any of these groups that they are in."""
        if len(self._without_seats) > _MOST_READ:
            self._without_seats.clear()
        for text in texts:
            if text not in self._without_seats:
                self._without_seats[text] = self._needs_none(text, seatless)
        return [text for text in texts if self._without_seats[text]]

    def _needs_none(self, text: str, seatless: frozenset[str]) -> bool:
        try:
            own = bodies.parse(files.read(self._layout.job(State.PENDING, text)).data).seats
        except (QueuectlError, OSError):
            return False  # which the claim will say
        mine = seatless.intersection(groups.of(pending_id(text)))
        return own is not None and not any(own.get(group, 1) for group in mine)

    # --- those that wait

    def clear(self) -> None:
        """Forget jobs that have left pending/."""
        if self._line:
            with self._lock:
                waiting = self._line.items()
            gone = [text for text, _ in waiting if files.is_gone(self._layout.job(State.PENDING, text))]
            with self._lock:
                self._line.drop(*gone)

    def look(self) -> None:
        """Let those start that can have what they wait for.

        All of their groups are opened for that, also those that jobs behind them have closed, whose seats they reserve;
        these jobs find out again that they must wait.
        """
        awaited = self.groups
        if not awaited and not self._line:
            return
        free = {group: self._gate.count_free(group) for group in awaited}
        with self._lock:
            kept: set[str] = set()
            opened: set[str] = set()
            for text, wait in self._line.items():
                if self._is_waiting(text, wait, free):
                    kept.update(() if wait.is_aside else wait.needs)
                elif files.is_gone(self._layout.job(State.PENDING, text)):
                    self._line.drop(text)  # another worker has it, and those behind it are not to wait for it
                else:
                    opened.update(groups.of(pending_id(text)))
                    if wait.is_aside:
                        self._offer(text)
            self._gate.have_seats(self._gate.seatless - (kept - opened))

    def _is_waiting(self, text: str, wait: Wait, free: Mapping[str, int]) -> bool:
        """Whether there is no point in looking at a job again; needs the lock."""
        if self._gate.is_closed(pending_id(text)):  # it waits in its lane, and reserves nothing
            self._line.drop(text)
            return False
        if wait.ask is not None and self._terms is not None:
            return not self._terms.has_place_for(wait.ask)
        if wait.slots > self._widest:
            return True
        if self._gate.are_claimed(wait.needs):  # the end of that is another look
            return True
        has_seats = all(
            free.get(group, 0) >= number and not self._line.is_reserved(group, text)
            for group, number in wait.needs.items()
        )
        return not has_seats if not wait.blocks else has_seats and self.in_use + wait.slots > self._number
