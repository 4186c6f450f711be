"""The slots of a worker: threads that each take the next job, run it to its end and settle it.

A thread blocks in waitid, the fastest way to run short commands. Which jobs are next and which are taken is shared
with the worker's main thread, guarded by one lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping

from queuectl.core.fields import Body
from queuectl.core.groups import ALL, Choice
from queuectl.core.names import PendingName, RunningName, format_time
from queuectl.core.result import State
from queuectl.core.seats import Seats
from queuectl.errors import NotJsonError, SpoolError
from queuectl.spool.moves import claims
from queuectl.spool.moves.claims import Claim, RefusedError, StillRunningError, TooNewError
from queuectl.spool.reading import admission
from queuectl.spool.system import files, lease, pause
from queuectl.spool.system.layout import unusable
from queuectl.work import hosts, turn
from queuectl.work.attempts import Attempts
from queuectl.work.bell import Bell
from queuectl.work.context import Context
from queuectl.work.course import see_through, settle_unstarted, start
from queuectl.work.engines.engine import Engine, Run
from queuectl.work.gate import Gate, Limits
from queuectl.work.incomplete import QUIET
from queuectl.work.line import MOST
from queuectl.work.places import Places
from queuectl.work.schedule import Schedule
from queuectl.work.settle import give_back, notify_refused, release
from queuectl.work.waker import Waker

_LOOK_AGAIN = 0.02  # seconds for which a check of the pause and the free space is valid
_MOST_SKIPPED = 100  # names at a time, while the other threads wait
_SOON = 1.0  # seconds until the main thread looks again, while there is no room
_MOST_PLACED = 10_000
_HOLD_ON = 1.0  # seconds until a slot tries again what the system has just refused
_RECOVERED = 10.0  # seconds without a refusal after which it is over: with few descriptors some jobs start in between


class Slots:
    """`number` threads that run the jobs which `offer` and `install` make known.

    What is in `attempts` without a slot counts against the number.
    """

    def __init__(
        self,
        context: Context,
        worker: str,
        number: int,
        attempts: Attempts,
        waker: Waker,
        engine: Engine,
        choice: Choice = ALL,
        seats: Mapping[str, Seats] | None = None,
    ) -> None:
        """Only jobs that this choice takes are started, by this engine. `seats` are the worker's own."""
        self.context = context
        self.choice = choice
        self.layout = context.spool.layout
        self.worker = worker
        self.number = number
        self.failure: BaseException | None = None
        self.left = 0
        """How many attempts it has left to the next worker, as what became of them could not be known."""
        self._has_rivals = False  # whether a claim or a look has just found nothing: others may take the same names
        self._claim_failed_at: float | None = None  # since a claim failed that should not, in monotonic seconds
        self._looked_at = float("-inf")  # when nothing spoke against starting jobs, in monotonic seconds
        self._attempts = attempts
        self._waker = waker
        self._engine = engine
        self._lock = threading.RLock()  # guards what follows
        self._bell = Bell(self._lock)  # rings when a slot may find something to do
        self._stopped = threading.Condition(self._lock)
        self._schedule = Schedule(choice=choice)
        self._gate = Gate(self.layout, context.now, context.report, seats)
        self._placed: set[str] = set()  # names of files that were renamed to them
        self._taken: dict[str, str] = {}  # the jobs that slots claim, run and settle: their ids, the names they had
        self.places = Places(
            self.layout, context.now, self._gate, self._lock, number, self._count_busy, self._wait_for, self._offer,
            engine.terms,
        )  # fmt: skip
        self._threads = self._make_threads(number)

    # --- for the main thread

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _make_threads(self, number: int) -> list[threading.Thread]:
        return [threading.Thread(target=self._run, name=f"slot-{n}", daemon=True) for n in range(number)]

    def resize(self, number: int, widest: int) -> None:
        """From now on there are so many slots, and a job may take so many of them. What runs is not affected."""
        with self._lock:
            self.number = number
            self.places.resize(number, widest)
            new = [] if self.context.stopping else self._make_threads(number - len(self._threads))
            for thread in new:
                thread.start()  # with the lock: `join` comes after `stop`, and must not find one that has not begun
            self._threads += new
            self._bell.ring_for_all()
        if self.places.are_awaited:
            self.look_at_places()

    def attend(self, run: Run, begun: float) -> None:
        """Await and settle an attempt that was taken over, in a thread of its own."""
        self._attempts.add(run)

        def attend() -> None:
            try:
                self._see_through(run, begun)
            except BaseException as error:
                self.failure = error
                self.stop()
            self._attempts.note_end()
            self._waker.wake()

        threading.Thread(target=attend, name="attend", daemon=True).start()

    def join(self) -> None:
        """Wait for every thread to end; raises what one of them failed of."""
        for thread in self._threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Let the threads end with their jobs."""
        with self._lock:
            self.context.stopping = max(self.context.stopping, 1)
            self._bell.ring_for_all()
            self._stopped.notify_all()

    @property
    def busy(self) -> int:
        """How many have a job."""
        return len(self._taken)

    @property
    def in_between(self) -> int:
        """How many attempts are being claimed, started, ended or settled, and do not just run."""
        with self._lock:
            return len(self._taken) + self._attempts.without_slot - self._attempts.undisturbed

    @property
    def has_ready(self) -> bool:
        """Whether jobs are known that are due and that no group keeps from starting."""
        return len(self._schedule) > 0 or (bool(self._schedule.lanes) and self._has_open())

    def _has_open(self) -> bool:
        with self._lock:
            return self._schedule.has_open(self._gate.is_open)

    @property
    def has_closed_groups(self) -> bool:
        """Whether something keeps jobs from starting until groups, running/ or seats are looked at again."""
        return self._gate.has_closed or self.places.are_awaited

    @property
    def has_full_groups(self) -> bool:
        """Whether jobs wait for others of their group to end."""
        return self._gate.has_full

    @property
    def lanes(self) -> tuple[str, ...]:
        """The groups whose jobs a listing is to keep apart."""
        return self._schedule.lanes

    def look_at_groups(self) -> None:
        """Find out whether groups that kept jobs from starting still do."""
        with self._lock:
            if self._gate.look_again():
                self._bell.ring_for_all()
        if self.places.are_awaited:
            self.places.clear()
            self.look_at_places()

    def look_at_places(self) -> None:
        """Find out whether jobs can have the seats and slots that they wait for."""
        self.places.look()
        with self._lock:
            self._bell.ring_for_all()

    def let_pass(self) -> None:
        """Let jobs start that say that they need no seat, in groups whose next job waits for one."""
        seatless = self._gate.seatless
        if not seatless:
            return
        with self._lock:
            apart = self._schedule.first_apart(seatless, MOST)
        found = self.places.find_passing(apart, seatless)
        with self._lock:
            for text in found:
                self._schedule.let_pass(text)
            if found:
                self._bell.ring_for_all()

    def _count_busy(self) -> int:
        return len(self._taken) + self._attempts.slots_without

    def _offer(self, text: str) -> None:
        """A job that was kept aside may start now."""
        self._schedule.offer(text, format_time(self.context.now()))

    def _wait_for(self, name: PendingName, group: str) -> None:
        """A job waits for this group in its lane.

        RACE: its id stays taken until the slot that has looked at it is done with it: another slot could start the job,
        and what that had been given would be freed by the first (tests/work/test_places.py).
        """
        self._schedule.set_apart(group)
        self._offer(str(name))

    def note_left(self, id: str) -> None:
        """A job has left running/, whoever ran it."""
        with self._lock:
            if self._gate.left_running(id):
                self._bell.ring_for_all()

    @property
    def next_run_at(self) -> str | None:
        """When the next later job is due, in the form of a file name."""
        return self._schedule.next_run_at

    def offer(self, names: Iterable[str], placed: Iterable[str] = ()) -> None:
        """Make names known that have appeared, all at once. Those that were renamed into place need no pause."""
        now = format_time(self.context.now())
        with self._lock:
            if len(self._placed) > _MOST_PLACED:
                self._placed.clear()  # which costs those that are new a pause
            self._placed.update(placed)
            for name in names:
                self._schedule.offer(name, now)

    def install(self, schedule: Schedule) -> None:
        """Replace what is known by the outcome of a listing."""
        with self._lock:
            self._schedule = schedule

    def advance(self) -> None:
        """Let the threads see what is due by now."""
        now = format_time(self.context.now())
        with self._lock:
            self._schedule.advance(now)
            if self._schedule.is_beyond_horizon(now):
                self._waker.must_list = True
            if self.context.stopping or (self._schedule.lanes and self._has_open()):
                self._bell.ring_for_all()
            else:
                self._bell.ring(len(self._schedule))

    def report_refusal(self, error: SpoolError | OSError) -> None:
        """Report once that the system refuses what it takes to start jobs, until it has not for a while."""
        self._claim_failed_at = time.monotonic()
        problem = error if isinstance(error, SpoolError) else unusable(self.layout.root, error)
        why = "; ".join(part for part in (problem.why, problem.hint) if part)
        self.context.report.once("claim", "error", f"cannot start jobs: {why}")

    def find_forgotten(self, names: Iterable[RunningName]) -> list[RunningName]:
        """Those that nothing runs although they are this worker's: a claim or its undoing broke off half way."""
        with self._lock:  # in which no slot begins: what is there and not taken now is nobody's
            return [
                name
                for name in names
                if name.id not in self._taken
                and name not in self._attempts
                and not files.is_gone(self.layout.job(State.RUNNING, name))
            ]

    # --- the threads

    def _run(self) -> None:
        """Run one job after another. An unexpected failure stops the worker; the next one rescues its jobs."""
        turn.join_in()
        try:
            hosts.through_outages(self.layout, self._run_all, self._note_outage)
        except BaseException as error:
            self.failure = error
            self.stop()
        turn.give()
        self._waker.wake()

    def _note_outage(self, error: OSError | SpoolError) -> None:
        self.report_refusal(error)
        self._hold_on()

    def _run_all(self) -> None:
        """Run one job after another, until the worker is to stop."""
        while (name := self._next()) is not None:
            claim = None
            try:
                claim = self._claim(name)
                if claim is not None:
                    self._attempt(claim)
                else:
                    self._has_rivals = True
            finally:
                has_freed = self.places.free(name.id)
                self._attempts.note_end()
                with self._lock:
                    self._taken.pop(name.id, None)
                    if self._schedule.lanes and self._gate.left_running(name.id):
                        self._bell.ring_for_all()
                if self.places.are_awaited and (has_freed or claim is not None):
                    self.look_at_places()

    def _next(self) -> PendingName | None:
        """Wait for a job that may start now; None when the worker is to stop."""
        has_woken = False
        with self._lock:
            while not self.context.stopping:
                may_start = self.places.in_use < self.number and (
                    time.monotonic() < self._looked_at + _LOOK_AGAIN or self._may_start()
                )
                now = format_time(self.context.now())
                if may_start:
                    name = self._take(now)
                    if name is not None:
                        return name
                if not self._waker.must_list and self._schedule.needs_listing(now, self._gate.is_open):
                    self._waker.must_list, has_woken = True, False
                if not has_woken:
                    has_woken = True
                    self._waker.wake()
                turn.give()
                self._bell.wait()
        return None

    def _take(self, now: str) -> PendingName | None:
        """The next name that is due; none whose id a slot holds, so that no two claims choose one name.

        Such a name is kept: the slot that has just settled the job for another attempt looks again after that.
        """
        busy: list[str] = []
        found = None
        gone = 0
        while found is None and (text := self._schedule.take(now, self._gate.is_open)) is not None:
            if self.places.is_behind(text):
                busy.append(text)
                break
            if self._has_rivals and gone < _MOST_SKIPPED and files.is_gone(self.layout.job(State.PENDING, text)):
                gone += 1  # for a quarter of what a claim costs that comes to nothing
                continue
            name = PendingName.parse(text)
            if name is None:  # a dropped file that only looked like one of ours in a listing
                self._waker.suspects.append(text)
                self._waker.wake()
            elif name.id in self._taken:
                busy.append(text)
            elif "." in name.id and (group := self.places.closed_by(name)) is not None:
                self._schedule.set_apart(group)
                self._schedule.offer(text, now)
                self._waker.wake()  # who drains has one job less to wait for
            else:
                found = name
                self._taken[name.id] = text
        self._has_rivals = gone > 0
        for text in busy:
            self._schedule.offer(text, now)
        if found is not None and "." in found.id:
            self._gate.begin(found.id)
        return found

    def _may_start(self) -> bool:
        """Whether the queue is not paused, and there is room to record how a job ends."""
        report = self.context.report
        reason = admission.for_slot(self.layout, self.context.now, self.context.settings.min_free)
        if reason is not None and reason.reason == "paused":
            report.once("paused", "paused", f"no job is started: {reason.text}")
            return False
        report.over("paused", "no longer paused")
        if reason is not None:
            report.once("room", "warning", f"no job is started: {reason.text}")
            self._look_soon()
            return False
        report.over("room", "there is room again")
        self._looked_at = time.monotonic()
        return True

    def _look_soon(self) -> None:
        """Have another look in a moment, as no event will say that there is room again."""
        self._waker.wake_in(_SOON)

    def _claim(self, name: PendingName) -> Claim | None:
        """Take a job that may start now; None if it was not to be had, or may not start after all."""
        limits: Limits = {}
        if "." in name.id:
            with self._lock:
                limits = self._gate.limits(name.id)
        try:
            if limits and (full := self._gate.find_full(limits)):
                self._wait_for_places(name, limits, full)
                return None
            claim = self._rename(name)
            return None if claim is None or self._must_not_start(claim, name, limits) else claim
        finally:
            self._end_claim(name.id)

    def _end_claim(self, id: str) -> None:
        """Let those be claimed that have waited for that."""
        if not self._gate.is_claiming:
            return
        with self._lock:
            has_ended = self._gate.end(id)
        if has_ended and self.places.are_awaited:
            self.places.look()
        if has_ended:
            with self._lock:
                self._bell.ring_for_all()

    def _wait_for_places(self, name: PendingName, limits: Limits, full: dict[str, frozenset[str]]) -> None:
        """Keep a job in mind whose groups are full."""
        now = format_time(self.context.now())
        with self._lock:
            self._gate.fill(limits, full)
            for group in full:
                self._schedule.set_apart(group)
            self._schedule.offer(str(name), now)
        self._waker.wake()  # to watch for what ends elsewhere

    def _rename(self, name: PendingName) -> Claim | None:
        """Claim a job, and report why that comes to nothing, if it should not."""
        report = self.context.report
        claim, quiet, text = None, QUIET, self._taken.get(name.id) or str(name)
        if text in self._placed:
            self._placed.discard(text)
            quiet = 0.0
        try:
            claim = claims.claim(
                self.layout, name, self.worker, self.context.now, self.context.trusts, quiet, self._admit, text
            )
        except (NotJsonError, PermissionError, TooNewError):
            self._waker.suspects.append(str(name))  # still being written, in place, under a canonical name
            self._waker.wake()
        except StillRunningError as error:
            self._attempts.end_left(error.attempts)
        except RefusedError as error:
            report.event("refused", error.id, f"pending/{name} is not a valid job: {error.why}", file=str(name))
            notify_refused(self.context, error.id)
        except (SpoolError, OSError) as error:
            self.report_refusal(error)
            self._hold_on()
            self._waker.must_list = True  # to find the job again, also if it has been left in running/
        failed_at = self._claim_failed_at
        if claim is not None and failed_at is not None and time.monotonic() > failed_at + _RECOVERED:
            self._claim_failed_at = None
            report.over("claim", "jobs can be started again")
        return claim

    def _admit(self, name: PendingName, body: Body) -> bool:
        """Whether a job that is about to be claimed has the seats and slots that it needs."""
        if self.places.admit(name, body):
            return True
        self._waker.wake()  # to watch for what is freed elsewhere
        return False

    def _must_not_start(self, claim: Claim, name: PendingName, limits: Limits) -> bool:
        """Whether the queue, or a group of the job, is paused, or one of these limits is passed: then the claim is
        undone.

        RACE: it was paused between the look and the claim (tests/work/test_pause.py). So once a pause is there and no
        job that it concerns is in running/, none runs and none will start.
        """
        full: dict[str, frozenset[str]] = {}
        try:
            if pause.read(self.layout, self.context.now) is not None:
                self._looked_at = float("-inf")
                why = "the queue is paused"
            elif "." in name.id and self._gate.is_paused(name.id):
                why = "its group is paused"
            elif not limits or not (full := self._gate.must_wait_for(claim.name, limits)):
                return False
        except OSError:
            lease.close(claim.log)  # nobody looks after it any more: rescue finds it when its lock is free
            raise
        lease.close(claim.log)  # first, or the next claim would find this one
        if full:
            give_back(self.context, claim.name, claim.run_at)
            self._wait_for_places(name, limits, full)
        else:
            release(self.context, claim.name, why, claim.run_at)
            self.offer([str(name)])
        return True

    def _hold_on(self) -> None:
        """Let a moment pass before a slot tries again what the system has just refused."""
        turn.give()
        with self._lock:
            self._stopped.wait_for(lambda: self.context.stopping > 0, _HOLD_ON)

    def _attempt(self, claim: Claim) -> None:
        """Run a claimed job's command to its end, and settle it."""
        begun = time.monotonic()
        try:
            run = start(self.context, self._engine, claim, self.places.given(claim.name.id), begun)
        except OSError as error:
            if settle_unstarted(self.context, claim, error):
                self._hold_on()
            return
        self._attempts.add(run)
        self._see_through(run, begun)

    def _see_through(self, run: Run, begun: float) -> None:
        if not see_through(self.context, self._attempts, self._engine, run, begun):
            self.left += 1
