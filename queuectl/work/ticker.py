"""Submitting the ticks of schedules: a janitor that runs when the next one is due, and a thread that does the work.

Every worker does it for all schedules, whatever jobs it takes: the id of a tick decides which of them submits it. The
ticks of a schedule are submitted in order, none before the one in front of it has its job: so the newest that has one
tells which are still to come, whoever was killed in between (tests/work/test_ticker.py).
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from queuectl.errors import QueuectlError, SpoolError, UsageError
from queuectl.lazy import Lazy
from queuectl.work.context import Context
from queuectl.work.janitors import Janitor

if TYPE_CHECKING:
    from queuectl.core.schedules import Schedule
    from queuectl.spool.moves import ticks
    from queuectl.spool.reading import schedules as reading
    from queuectl.spool.system import schedules
    from queuectl.spool.system.schedules import Found
else:
    ticks, reading = Lazy("queuectl.spool.moves.ticks"), Lazy("queuectl.spool.reading.schedules")
    schedules = Lazy("queuectl.spool.system.schedules")

_NEVER = datetime.min.replace(tzinfo=UTC)
_OF_THE_SPOOL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE)
_ROUNDING = 0.001
_SETTLING = timedelta(seconds=1)  # a file that was changed within this time may still be being written
_LOOK_AGAIN = 0.2  # seconds until a tick that another process is submitting is looked at again
_PATIENCE = 10.0  # seconds after which that process has been stopped, and later ticks do not wait for it
_TRY_AGAIN = 1.0
_SHARE = 4  # times as long as a look took, it rests: looking takes a fifth of the time at most
_FIRST_LOOK = 10.0  # seconds that a worker which drains waits for it at most


class _State:
    """What a worker knows of a schedule: the last tick that it has dealt with, and one that another process has."""

    __slots__ = ("handled", "in_flight", "since")

    def __init__(self, handled: datetime) -> None:
        self.handled = handled
        self.in_flight: datetime | None = None
        self.since = 0.0


class Ticker:
    """`janitor`, `is_first_look_over` and `close` are for the main thread; `wake` is called from another."""

    def __init__(self, context: Context, wake: Callable[[], None]) -> None:
        self.janitor = Janitor(self._look)
        self._context, self._layout = context, context.spool.layout
        self._wake = wake
        self._thread: threading.Thread | None = None
        self._begun_at = time.monotonic()
        self._has_looked = False
        self._not_before = 0.0
        # The rest is the thread's own.
        self._states: dict[str, _State] = {}
        self._newest: dict[str, datetime] | None = None

    # --- for the main thread

    def _look(self) -> None:
        """Start to submit what is due; returns at once."""
        if self._context.stopping or (self._thread is not None and self._thread.is_alive()):
            return
        if not self._layout.may_have_schedules:
            self._has_looked = True
            return
        wait = self._not_before - time.monotonic()
        if wait > 0:
            self.janitor.hurry(wait)
            return
        thread = threading.Thread(target=self._run, name="schedules", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # as many threads as this user, or the container, may have
            self._context.report.once("schedules", "warning", f"schedules make no jobs: {error}")
            return
        self._thread = thread

    @property
    def is_first_look_over(self) -> bool:
        """Whether what was due when the worker started is pending by now. It is waited for only so long."""
        return self._has_looked or time.monotonic() > self._begun_at + _FIRST_LOOK

    def close(self) -> None:
        """Wait for the tick that is being submitted."""
        if self._thread is not None:
            self._thread.join(2)

    # --- the thread

    def _run(self) -> None:
        """Submit what is due, and let the janitor run when the next is. Never fails."""
        report, begun = self._context.report, time.monotonic()
        try:
            next_look = self._submit_all()
            report.over("schedules", "schedules make jobs again")
        except (OSError, SpoolError) as error:
            report.once("schedules", "warning", f"schedules make no jobs: {error}")
            next_look = _TRY_AGAIN
        took = time.monotonic() - begun
        self._newest = None
        self._has_looked = True
        self._not_before = begun + took * (1 + _SHARE)
        if next_look is not None:
            self.janitor.hurry(max(next_look, 0.0))
        self._wake()

    def _submit_all(self) -> float | None:
        """Submit what is due of all schedules; in how many seconds to look again, None if nothing is to come."""
        waits: list[float] = []
        names = schedules.names(self._layout)
        self._states = {name: state for name, state in self._states.items() if name in names}
        for name in names:
            if self._context.stopping:
                return None
            found = schedules.read(self._layout, name)
            wait = self._submit_due(found) if found is not None else None
            if wait is not None:
                waits.append(wait)
        return min(waits, default=None)

    def _submit_due(self, found: Found) -> float | None:
        """The same for one schedule. Whatever is wrong with it, the others go on."""
        report, key = self._context.report, f"schedule {found.name}"
        try:
            self._require_good(found)
            wait = self._submit_in_order(found, ticks.require_valid(found))
            report.over(key, f"the schedule {found.name} makes jobs again")
        except (QueuectlError, OSError, ValueError, OverflowError, RecursionError) as error:
            if isinstance(error, SpoolError) or (isinstance(error, OSError) and error.errno in _OF_THE_SPOOL):
                raise
            if self._context.now() - found.changed_at < _SETTLING:
                return _SETTLING.total_seconds()
            why = getattr(error, "why", "") or str(error)
            report.once(key, "warning", f"the schedule {found.name} makes no jobs: {why}")
            return None
        return wait

    def _require_good(self, found: Found) -> None:
        if found.owner >= 0 and not self._context.trusts(found.owner):
            raise UsageError(f"schedules/{found.name}.json belongs to another user")

    def _submit_in_order(self, found: Found, schedule: Schedule) -> float | None:
        name, now = found.name, self._context.now()
        mark = schedules.past(self._layout, name)
        if schedules.closed_by(self._layout, name, self._context.now) is not None:
            return None  # a beat notices when a pause ends by itself
        counted = schedules.counted_from(self._layout, found, mark, self._context.now)
        self._report_ahead(name, reading.ahead(counted, now))
        since = max(self._handled(name, now), counted)
        for tick in schedule.due(since, now):
            if self._context.stopping:
                return None
            outcome = ticks.submit_tick(self._layout, found, schedule, tick, self._context.now())
            if outcome is ticks.Outcome.CHANGED:
                return 0.0
            if outcome is ticks.Outcome.IN_FLIGHT and not self._is_stuck(name, tick):
                return _LOOK_AGAIN
            if outcome is ticks.Outcome.SKIPPED:
                what = "a job of its schedule has not ended"
                self._context.report.event("skipped", schedule.id_of(tick), what)
            if outcome in (ticks.Outcome.LEFT_OUT, ticks.Outcome.REFUSED):
                is_left_out = outcome is ticks.Outcome.LEFT_OUT
                what = "another job has its key" if is_left_out else "it would wait for what is not there"
                self._context.report.event("skipped", schedule.id_of(tick), what)
            self._states[name] = _State(tick)
        coming = next(schedule.ticks(max(now, since)), None)
        return None if coming is None else (coming - self._context.now()).total_seconds() + _ROUNDING

    def _handled(self, name: str, now: datetime) -> datetime:
        """The last tick, not ahead of the clock, that has a job or needs none; found by a listing at first, and again
        when the clock has been set back."""
        state = self._states.get(name)
        if state is None or state.handled > now:
            if self._newest is None:
                self._newest = {each: found.tick for each, found in reading.find_newest(self._layout, now).items()}
            self._states[name] = state = _State(self._newest.get(name, _NEVER))
        return state.handled

    def _is_stuck(self, name: str, tick: datetime) -> bool:
        """Whether another process has been submitting that tick for so long that it must have been stopped."""
        state = self._states[name]
        if state.in_flight != tick:
            state.in_flight, state.since = tick, time.monotonic()
        return time.monotonic() - state.since > _PATIENCE

    def _report_ahead(self, name: str, text: str) -> None:
        key = f"schedule {name} ahead"
        if text:
            self._context.report.once(key, "warning", f"the schedule {name} makes {text}")
        else:
            self._context.report.over(key, f"the schedule {name} makes jobs again")
