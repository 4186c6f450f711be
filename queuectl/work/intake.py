"""What the main thread of a worker takes in: events, listings and dropped files. Slots learn of jobs from here.

An event only says "look"; no decision rests on what it says, and a listing finds what no event reported.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping
from selectors import BaseSelector

from queuectl.core.names import PENDING_LOOSE, FinishedName, PendingName, format_time, is_ignored, pending_id
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system import groups, seats
from queuectl.spool.system.listing import decode
from queuectl.spool.system.trigger import Trigger
from queuectl.work.context import Context
from queuectl.work.dropbox import Dropbox
from queuectl.work.drops import Drops
from queuectl.work.incomplete import QUIET
from queuectl.work.schedule import FIRST_WINDOW, WINDOW, Schedule
from queuectl.work.slots import Slots
from queuectl.work.waker import Waker

BLIND_RESCAN = 1.0
"""Seconds between listings when no event will come."""
_LIST_ANYWAY = 10  # beats
_COARSE = 3_000_000_000  # nanoseconds: the coarsest clock of a file system, with room
_BATCH = 500  # dropped files adopted before the first of them may start


class Intake:
    """For the main thread only."""

    def __init__(
        self,
        context: Context,
        slots: Slots,
        waker: Waker,
        others: Mapping[str, Callable[[], None]],
        selector: BaseSelector,
    ) -> None:
        """Opens the watch on the spool, which is heard when the selector says so: no other thread is on the way from an
        event to a job. `others` says what to do at an event of a path that is not a job's."""
        self.context = context
        self.layout = context.spool.layout
        self._slots = slots
        self._waker = waker
        self._others = others
        self._drops = Drops(context)
        self._rung: deque[tuple[str | None, bool]] = deque()  # paths, and whether they were renamed there
        self._unseen: list[str] = []  # dropped files that the last listing found and nobody has looked at
        self._changed_at: int | None = None  # the mtime of pending/ when it was listed, if that shows later changes
        self._unlisted: int | None = None  # how often pending/ was not listed since; None before the first time
        self._ends: Trigger | None = None  # while jobs wait for others of their group to end
        self._seats: tuple[frozenset[str], Trigger] | None = None  # while jobs wait for seats of these groups
        self._has_seat_rung = False
        self.dropbox = Dropbox(context, self._ring, waker.wake)
        self.trigger = Trigger(self.layout, self._note, moved=self._note_moved, selector=selector)

    def close(self) -> None:
        """Hear no more events, and take nothing more from inbox/."""
        self.trigger.close()
        self.dropbox.close()
        self._watch_ends(False)
        self._watch_seats(frozenset())

    def _note(self, path: str | None) -> None:
        self._rung.append((path, False))

    def _note_moved(self, path: str) -> None:
        self._rung.append((path, True))

    def _ring(self, path: str | None) -> None:
        """Called by another thread."""
        self._note(path)
        self._waker.wake()

    # --- events

    def hear(self) -> None:
        """Take in what events and slots have reported."""
        drops: dict[str, None] = {}  # each once, however many events it has had
        placed: set[str] = set()
        offers: list[str] = []
        while self._waker.suspects:
            drops[self._waker.suspects.popleft()] = None
        while self._rung:
            path, is_moved = self._rung.popleft()
            directory, _, name = (path or "").rpartition("/")
            if path is None:
                self._waker.must_list = True
            elif path in self._others:
                self._others[path]()
            elif directory != self.layout.pending or is_ignored(name):
                continue
            else:
                (placed.add if is_moved else placed.discard)(name)  # it was changed since, so its writer is there
                if PendingName.parse(name) is None or name in self._drops:
                    drops[name] = None
                else:
                    offers.append(name)
        if self._has_seat_rung:
            self._has_seat_rung = False
            self._slots.look_at_places()
        if self._slots.has_full_groups:
            for name in offers:  # those that come back for another attempt
                self._slots.note_left(pending_id(name))
        self._slots.offer(offers, placed)
        self._adopt([*drops], placed)

    def check_trigger(self) -> None:
        """Start the watch on the spool again if it has died; report what keeps events away."""
        report, trigger = self.context.report, self.trigger
        if trigger.overflows:
            text = "the kernel has dropped file events (see fs.inotify.max_queued_events); listing pending/ instead"
            report.once("overflow", "warning", text)
        if trigger.is_alive:
            return
        if trigger.problem is None:
            report.event("warning", None, "the watch on the spool has died; starting it again")
        trigger.open()
        if trigger.problem is not None:
            text = f"no file events ({trigger.problem}); listing the spool every {BLIND_RESCAN:g} s instead"
            report.once("trigger", "warning", text)
        self._waker.must_list = True

    # --- groups

    def look_at_groups(self) -> None:
        """Find out whether groups that kept jobs from starting still do."""
        self._slots.look_at_groups()
        self._watch_ends(self._slots.has_full_groups)
        self._watch_seats(self._slots.places.groups)

    def await_places(self) -> None:
        """Hear of jobs that end in other workers, and of seats that are freed, if any are waited for."""
        if self._slots.has_full_groups:
            self._watch_ends(True)
        if awaited := self._slots.places.groups:
            self._watch_seats(awaited)
            self._slots.let_pass()

    def _watch_ends(self, is_wanted: bool) -> None:
        if is_wanted and self._ends is None:
            places = [self.layout.directory(state) for state in (State.DONE, State.DEAD)]
            self._ends = Trigger(self.layout, self._note_end, places)
            self._slots.look_at_groups()  # at what has ended before
        elif not is_wanted and self._ends is not None:
            self._ends.close()
            self._ends = None

    def _watch_seats(self, wanted: frozenset[str]) -> None:
        """Hear of seats of these groups, whose jobs may be those of other spools."""
        there = frozenset(group for group in wanted if os.path.isdir(seats.directory_of(self.layout, group)))
        watched = self._seats[0] if self._seats is not None else frozenset()
        if there == watched:
            return
        if self._seats is not None:
            self._seats[1].close()
            self._seats = None
        if there:
            places = [seats.directory_of(self.layout, group) for group in sorted(there)]
            self._seats = there, Trigger(self.layout, self._note_seat, places)
            self._slots.look_at_places()  # at what was freed before

    def _note_seat(self, _: str | None) -> None:
        """Called by another thread."""
        self._has_seat_rung = True
        self._waker.wake()

    def _note_end(self, path: str | None) -> None:
        """Called by another thread with the path of a file in done/ or dead/."""
        name = FinishedName.parse(os.path.basename(path or ""))
        if name is not None:
            self._slots.note_left(name.id)

    # --- dropped files

    def next_look(self) -> float | None:
        """When a dropped file is to be looked at again, in monotonic seconds; None if none is waited for."""
        return self._drops.next_look()

    @property
    def is_expecting(self) -> bool:
        """Whether a dropped file may become a job within a moment."""
        return self._drops.is_soon

    def adopt_due(self) -> None:
        """Look at the dropped files that a listing has left, and at those that have been waited for long enough."""
        unseen, self._unseen = self._unseen, []
        self._adopt(unseen)
        self._adopt(self._drops.due())

    def _adopt(self, names: list[str], placed: Container[str] = ()) -> None:
        """Adopt in batches, so that of several files the most urgent starts first."""
        for start in range(0, len(names), _BATCH):
            self._slots.offer(self._look_at(names[start : start + _BATCH], placed))
            self._slots.advance()

    def _look_at(self, names: list[str], placed: Container[str] = ()) -> list[str]:
        """The canonical names of those that can be claimed now."""
        return [] if self.context.stopping else self._drops.look_at(names, placed)

    # --- listings

    def list_pending(self) -> None:
        """List pending/ if it must be listed, or may have changed: what is due, what comes later, what was dropped."""
        if not (self._waker.must_list or self._may_have_changed()):
            return
        changed_at = os.stat(self.layout.pending).st_mtime_ns
        is_past = abs(time.time_ns() - changed_at) > _COARSE  # else a change to come might bear the same time
        is_first, self._unlisted = self._unlisted is None, 0
        self._changed_at = changed_at if is_past else None
        self._waker.must_list = False
        foreign: list[str] = []
        fresh = Schedule(FIRST_WINDOW if is_first else WINDOW, self._slots.choice)
        lanes = {*self._slots.lanes, *groups.names(self.layout)}
        foreign += fresh.refill(self._claimable(foreign), format_time(self.context.now()), lanes=lanes)
        if fresh.is_crowded:
            foreign = []
            listing = self._claimable(foreign)
            foreign += fresh.refill(listing, format_time(self.context.now()), is_strict=True, lanes=lanes)
        foreign = [name for name in foreign if not is_ignored(name)]
        self._drops.keep_only(set(foreign))
        drops = [name for name in foreign if name not in self._drops]
        found = self._look_at(drops[:_BATCH])
        if is_first and self._drops.is_soon:  # so that of what a worker finds when it starts the most urgent is first
            time.sleep(QUIET)
            found += self._look_at(self._drops.due())
        for name in found:
            fresh.offer(name, format_time(self.context.now()))
        self._slots.install(fresh)
        self._unseen = drops[_BATCH:]

    def _may_have_changed(self) -> bool:
        """Whether a name may have come to pending/ or gone since it was listed, as its own mtime says.

        Listed anyway at every tenth question, for file systems that keep no such time, and at each in a shared spool,
        where this host may learn of it 30 s late.
        """
        if self.layout.shared:
            return True
        self._unlisted = (self._unlisted or 0) + 1
        return self._unlisted >= _LIST_ANYWAY or os.stat(self.layout.pending).st_mtime_ns != self._changed_at

    def _claimable(self, foreign: list[str]) -> Iterator[list[bytes]]:
        """What looks like ours in pending/; all others, and the names of files that are waited for, go to `foreign`."""
        waiting = set(map(os.fsencode, self._drops))
        for names, others in query.iterate_pending(self.layout, PENDING_LOOSE):
            foreign += decode(others)
            if waiting:
                foreign += decode([name for name in names if name in waiting])
                names = [name for name in names if name not in waiting]  # noqa: PLW2901 - what is left of them
            yield names
