"""The slots of a worker: threads that each take the next job, run it to its end and settle it.

A thread blocks in waitpid, the fastest way to run short commands. What the threads and the worker's main
thread share is here, guarded by one lock; `wake` tells the main thread that something is for it to do.
"""

from __future__ import annotations

import errno
import os
import shlex
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sized
from contextlib import suppress

from queuectl.core.fields import OnMaxLog
from queuectl.core.names import PendingName, RunningName, format_time
from queuectl.core.result import CANCELLED, Result, State
from queuectl.errors import NotJsonError, SpoolError
from queuectl.spool.moves import claims
from queuectl.spool.moves.claims import Claim, RefusedError, StillRunningError
from queuectl.spool.moves.ending import end_disowned
from queuectl.spool.reading import admission
from queuectl.spool.system import files, logs, pause
from queuectl.work.executor import CANNOT_RUN, Execution, Executor, record_end, record_last_word
from queuectl.work.log_limit import LogCap, Step
from queuectl.work.schedule import Schedule
from queuectl.work.settle import Context, finish, reason_of, release, tell_passed, tell_refused

_LOOK_AGAIN = 0.02  # seconds for which a look at the pause and the free space holds good
_MOST_SKIPPED = 100  # names at a time, while the other threads wait
_HOLD_ON = 1.0  # seconds until a slot tries again what the system has just refused


class Slots:
    """`number` threads that run the jobs which `offer` and `install` make known.

    `others` are jobs besides theirs that count against the number; `wake` makes the main thread look now,
    `look_soon` in a moment.
    """

    def __init__(
        self,
        context: Context,
        worker: str,
        number: int,
        *,
        others: Sized,
        wake: Callable[[], None],
        look_soon: Callable[[], None],
    ) -> None:
        self.context = context
        self.layout = context.spool.layout
        self.worker = worker
        self.number = number
        self.suspects: deque[str] = deque()  # canonical names whose files cannot be read yet
        self.must_list = True  # only a listing can tell what is due
        self.sleeps_until = float("inf")  # the main thread, unless it is woken; in monotonic seconds
        self.active_at = time.monotonic()  # when a slot last had a job
        self.has_worked = False  # since the main thread last looked
        self.failure: BaseException | None = None
        self._has_rivals = False  # whether a claim or a look has just found nothing: others may take the same names
        self._cannot_claim = False  # since a claim failed that should not
        self._looked_at = float("-inf")  # when nothing spoke against starting jobs, in monotonic seconds
        self._others = others
        self._wake = wake
        self._look_soon = look_soon
        self._executor = Executor(self.layout.root, worker)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._schedule = Schedule()
        self._executions: dict[Execution, float | None] = {}  # with the deadline, in monotonic seconds
        self._ending: set[RunningName] = set()  # attempts that are being ended whose files have left them
        self._taken: set[str] = set()  # the ids of the jobs that slots claim, run and settle
        self._threads = [threading.Thread(target=self._run, name=f"slot-{n}", daemon=True) for n in range(number)]

    # --- for the main thread

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

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
            self._changed.notify_all()

    @property
    def busy(self) -> int:
        """How many have a job."""
        return len(self._taken)

    @property
    def in_between(self) -> int:
        """How many are claiming, starting, ending or settling a job, and not just waiting for its end."""
        with self._lock:
            return len(self._taken) - sum(run.reason is None for run in self._executions)

    @property
    def has_ready(self) -> bool:
        return len(self._schedule) > 0

    @property
    def next_run_at(self) -> str | None:
        """When the next later job is due, as it stands in a name."""
        return self._schedule.next_run_at

    def offer(self, names: Iterable[str]) -> None:
        """Make names known that have appeared, all at once."""
        now = format_time(self.context.now())
        with self._lock:
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
                self.must_list = True
            if self.has_ready or self.context.stopping:
                self._changed.notify_all()

    def deadlines(self) -> list[float]:
        """When a running command is out of time, or its output is to be looked at, in monotonic seconds."""
        with self._lock:
            times = [at for at in self._executions.values() if at is not None]
            return times + [run.cap.check_at for run in self._executions if run.cap is not None]

    def end_executions(self) -> None:
        """End what has run out of time, and everything if the worker is to stop at once."""
        now, grace = time.monotonic(), self.context.settings.grace
        with self._lock:
            late = [run for run, deadline in self._executions.items() if deadline is not None and deadline <= now]
            for run in late:
                self._executions[run] = None
            everything = list(self._executions) if self.context.stopping == 2 else []
            capped = [run for run in self._executions if run.cap is not None]
        for run in late:
            run.stop("timeout", grace)
        for run in everything:
            run.stop("release", grace)
        for run in capped:
            self._check_log(run, now, grace)

    def _check_log(self, run: Execution, now: float, grace: float) -> None:
        """Enforce the limit of a job's output, and say so once."""
        assert run.cap is not None
        if run.cap.check_at > now:
            return
        was_told, step = run.cap.has_passed, run.check_log(now)
        if step is Step.MUST_END:
            run.stop("max-log", grace)
        if step is not Step.NOTHING and not was_told:
            tell_passed(self.context, run.claim.name.id, run.cap, step)

    def end_disowned(self) -> None:
        """End jobs whose files somebody has moved out of running/: that has settled them."""
        with self._lock:
            executions = list(self._executions)
        for run in executions:
            if self._is_disowned(run):
                run.stop("cancelled", self.context.settings.grace)

    def _is_disowned(self, run: Execution) -> bool:
        return files.is_gone(self.layout.job(State.RUNNING, run.claim.name))

    def find_forgotten(self, names: Iterable[RunningName]) -> list[RunningName]:
        """Those that no slot runs although they are this worker's: a claim or its undoing broke off half way."""
        with self._lock:  # in which no slot begins: what is there and not taken now is nobody's
            return [
                name
                for name in names
                if name.id not in self._taken and not files.is_gone(self.layout.job(State.RUNNING, name))
            ]

    # --- the threads

    def _run(self) -> None:
        """Run one job after another. A failure that nobody foresaw stops the worker; the next one rescues its jobs."""
        try:
            while (name := self._next()) is not None:
                try:
                    claim = self._claim(name)
                    if claim is not None:
                        self._attempt(claim)
                    else:
                        self._has_rivals = True
                finally:
                    self.active_at, self.has_worked = time.monotonic(), True
                    with self._lock:
                        self._taken.discard(name.id)
        except BaseException as error:
            self.failure = error
            self.stop()
        self._wake()

    def _next(self) -> PendingName | None:
        """Wait for a job that may start now; None when the worker is to stop."""
        has_told = False
        with self._lock:
            while not self.context.stopping:
                may_start = len(self._taken) + len(self._others) < self.number and (
                    time.monotonic() < self._looked_at + _LOOK_AGAIN or self._may_start()
                )
                now = format_time(self.context.now())
                if may_start:
                    name = self._take(now)
                    if name is not None:
                        return name
                if not self.must_list and self._schedule.needs_listing(now):
                    self.must_list, has_told = True, False
                if not has_told:
                    has_told = True
                    self._wake()
                self._changed.wait()
        return None

    def _take(self, now: str) -> PendingName | None:
        """The next name that is due; none whose id a slot holds, so that no two claims choose one name.

        Such a name is kept: the slot that has just settled the job for another attempt looks again when it lets go.
        """
        busy: list[str] = []
        found = None
        gone = 0
        while found is None and (text := self._schedule.take(now)) is not None:
            if self._has_rivals and gone < _MOST_SKIPPED and files.is_gone(self.layout.job(State.PENDING, text)):
                gone += 1  # for a quarter of what a claim costs that comes to nothing
                continue
            name = PendingName.parse(text)
            if name is None:  # a dropped file that only looked like one of ours in a listing
                self.suspects.append(text)
                self._wake()
            elif name.id in self._taken:
                busy.append(text)
            else:
                found = name
        self._has_rivals = gone > 0
        for text in busy:
            self._schedule.offer(text, now)
        if found is not None:
            self._taken.add(found.id)
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

    def _claim(self, name: PendingName) -> Claim | None:
        report = self.context.report
        claim = None
        try:
            claim = claims.claim(self.layout, name, self.worker, self.context.now, self.context.trusts)
        except (NotJsonError, PermissionError):
            self.suspects.append(str(name))  # still being written, in place, under a canonical name
            self._wake()
        except StillRunningError as error:
            self._end_others(error.attempts)
        except RefusedError as error:
            report.event("refused", error.id, f"pending/{name} is no job: {error.why}", file=str(name))
            tell_refused(self.context, error.id)
        except (SpoolError, OSError) as error:
            self._cannot_claim = True
            report.once("claim", "error", f"jobs cannot be started: {error}")
            self._hold_on()
            self.must_list = True  # to find the job again, also if it has been left in running/
        if claim is not None:
            if self._cannot_claim:
                self._cannot_claim = False
                report.over("claim", "jobs can be started again")
            # RACE: the queue was paused between the look and the claim (tests/work/test_pause.py). So once a pause
            # is there and running/ is empty, nothing runs and nothing will start.
            if pause.read(self.layout, self.context.now) is not None:
                self._give_back(claim, name)
                return None
        return claim

    def _end_others(self, attempts: Iterable[RunningName]) -> None:
        """End attempts of a job whose file has left them, which keep it from starting, in a thread: no slot waits."""
        for name in attempts:
            text = f"waits until attempt {name.attempt}, which {name.worker} started, has ended"
            self.context.report.once(f"waits {name}", "waits", f"{name.id} {text}")
            with self._lock:
                is_ending = name in self._ending
                self._ending.add(name)
            if is_ending:
                continue
            threading.Thread(target=self._end_other, args=(name,), name="end", daemon=True).start()

    def _end_other(self, name: RunningName) -> None:
        try:
            with suppress(OSError):  # out of descriptors, say: it is looked at again when the job is claimed again
                end_disowned(self.layout, name, self.context.settings.grace)
        finally:
            with self._lock:
                self._ending.discard(name)

    def _give_back(self, claim: Claim, name: PendingName) -> None:
        """Undo a claim, and keep its job in mind."""
        self._looked_at = float("-inf")
        os.close(claim.log)  # first, or the next claim would find this one
        release(self.context, claim.name, "the queue is paused", claim.run_at)
        self.offer([str(name)])

    def _hold_on(self) -> None:
        """Let a moment pass before a slot tries again what the system has just refused."""
        with self._lock:
            self._changed.wait_for(lambda: self.context.stopping > 0, _HOLD_ON)

    def _attempt(self, claim: Claim) -> None:
        """Run a claimed job's command to its end, and settle it."""
        body, settings = claim.body, self.context.settings
        retries = settings.max_retries if body.max_retries is None else body.max_retries
        text = f"attempt {claim.name.attempt} of {retries + 1}: {_summary(body.command)}"
        self.context.report.event("start", claim.name.id, text, attempt=claim.name.attempt)
        if body.warnings and claim.name.attempt == 1:
            self.context.report.event("warning", claim.name.id, "; ".join(body.warnings))
        begun = time.monotonic()
        try:
            run = self._executor.start(claim)
        except OSError as error:
            self._settle_unstarted(claim, error)
            return
        try:
            most = body.max_log if body.max_log is not None else settings.max_log
            if most is not None:
                kills = (body.on_max_log or settings.on_max_log) is OnMaxLog.KILL
                run.cap = LogCap(most, kills, claim.offset, begun)
            timeout = body.timeout if body.timeout is not None else settings.timeout
            self._watch(run, None if timeout is None else begun + timeout)
            result = run.wait(settings.grace)
            duration = time.monotonic() - begun
            with self._lock:
                del self._executions[run]
            self._settle(run, result, duration)
        finally:
            os.close(claim.log)

    def _watch(self, run: Execution, deadline: float | None) -> None:
        """Hand a started command to the main thread, which ends it when its time is up."""
        with self._lock:
            self._executions[run] = deadline
            is_too_late = self.context.stopping == 2
        look_at = deadline if run.cap is None else run.cap.check_at
        if is_too_late:
            run.stop("release", self.context.settings.grace)
        elif look_at is not None and look_at < self.sleeps_until:
            self._wake()

    def _settle(self, run: Execution, result: Result, duration: float) -> None:
        name = run.claim.name
        outcome = logs.format_outcome(result)
        if run.reason == "release":
            outcome = f"result={logs.RELEASED}"
        elif run.reason == "cancelled" or (result.kind == "signal" and self._is_disowned(run)):
            outcome = logs.format_outcome(CANCELLED)
        try:
            reason = ""
            if run.cap is not None:
                run.cap.drop(run.claim.log)
                reason = reason_of(run.cap) if run.reason == "max-log" else ""
            record_end(run.claim, run.pid, outcome, reason)
        except OSError:
            pass  # a full disk: the name will tell the result
        if run.reason == "release":
            release(self.context, name, "stopped with its worker", run.claim.run_at)
        elif not finish(self.context, name, run.claim.body, result, duration):
            with suppress(OSError):
                record_last_word(run.claim)

    def _settle_unstarted(self, claim: Claim, error: OSError) -> None:
        """The command could not be started: the job's fault if it is too large, else the machine's."""
        is_its_fault = error.errno in (errno.E2BIG, errno.EINVAL, errno.ENOEXEC)
        result = Result.exit(CANNOT_RUN)
        if is_its_fault:
            with suppress(OSError):
                record_end(claim, os.getpid(), logs.format_outcome(result), f"cannot be run: {error.strerror}")
        os.close(claim.log)  # first, or the next claim would find this one
        if is_its_fault:
            finish(self.context, claim.name, claim.body, result, 0.0)
            return
        release(self.context, claim.name, f"cannot start a process: {error.strerror}", claim.run_at)
        self._hold_on()


def _summary(command: str | tuple[str, ...]) -> str:
    text = command if isinstance(command, str) else shlex.join(command)
    return text if len(text) <= 60 else f"{text[:59]}…"
