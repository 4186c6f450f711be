"""Jobs that outlived their worker: take charge of them, enforce their timeouts, settle them.

An adopted job's shell is no child of this process, so its end is awaited through a pidfd and its
outcome read from the end line that the shell wrote.
"""

from __future__ import annotations

import os
import select
import selectors
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from queuectl.core import lifecycle
from queuectl.core.fields import Body, OnMaxLog
from queuectl.core.names import RunningName
from queuectl.core.result import LOST, TIMEOUT, Result, State
from queuectl.spool.moves import claims
from queuectl.spool.moves.ending import end_attempt_at
from queuectl.spool.reading import query
from queuectl.spool.system import files, lease, logs, processes
from queuectl.spool.system.layout import Layout
from queuectl.spool.upkeep import rescue
from queuectl.spool.upkeep.rescue import Fate, Verdict
from queuectl.work.log_limit import LogCap, Step
from queuectl.work.settle import Context, finish, reason_of, release, tell_passed


@dataclass(slots=True, eq=False)
class _Job:
    name: RunningName
    body: Body | None
    token: str
    pid: int | None = None  # of its shell, while that may live
    deadline: float | None = None
    reason: str | None = None  # why it is being ended
    was_ended: bool = False  # and did not end by itself before that, which would make its result its own
    is_cleared: bool = False  # its shell has ended, and what that has left is being ended
    verdict: Verdict | None = None  # of one that is cleared, if there is one already
    cap: LogCap | None = None
    log: int = -1  # open while there is a cap

    @property
    def is_being_ended(self) -> bool:
        return self.reason is not None or self.is_cleared

    def close(self) -> None:
        if self.log >= 0:
            os.close(self.log)
            self.log = -1


class Adopted:
    """For the main thread only. `selector` tells of a descriptor of a job that has ended; then call `end`.

    That is the pidfd of the job's shell; or, once the job is being ended, an eventfd that tells when its last process
    is gone: what its shell leaves behind in its grace must not meet the next attempt.
    """

    def __init__(self, context: Context, worker: str, selector: selectors.BaseSelector) -> None:
        self._context = context
        self._layout = context.spool.layout
        self._worker = worker
        self._selector = selector
        self._jobs: dict[int, _Job] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, name: RunningName) -> bool:
        return any(job.name == name for job in self._jobs.values())

    @property
    def is_ending(self) -> bool:
        """Whether some job is being ended, which it takes this process to finish."""
        return any(job.is_being_ended for job in self._jobs.values())

    def deadlines(self) -> list[float]:
        times = [job.deadline for job in self._jobs.values() if job.deadline is not None]
        return times + [job.cap.check_at for job in self._jobs.values() if job.cap is not None]

    def rescue(self, name: RunningName) -> bool:
        """Do what an orphan's fate calls for; False if that is not clear yet."""
        if name in self:
            return True  # what it has left is being ended
        verdict = self._examine(name)
        if verdict.fate is Fate.UNCLEAR:
            return False
        if verdict.fate is Fate.ALIVE:
            return self._adopt(name, verdict)
        if verdict.fate is Fate.HEADLESS:
            self._clear(_Job(name, self._read_body(name), verdict.token), is_ours=True)
            return True
        if rescue.drop_second_name(self._layout, name):
            text = "its file stood in running/ as well, as half of its move had been undone; that name is removed"
            self._context.report.event("info", name.id, text)
        elif verdict.fate is Fate.NEVER_STARTED:
            release(self._context, name, f"its worker {name.worker} died before it began")
        else:
            self._settle(name, self._read_body(name), verdict, is_ours=True)
        return True

    def _examine(self, name: RunningName) -> Verdict:
        return self._look_into(rescue.examine, name)

    def _conclude(self, name: RunningName) -> Verdict:
        return self._look_into(rescue.conclude, name)

    def _look_into(self, look: Callable[[Layout, RunningName], Verdict], name: RunningName) -> Verdict:
        """What became of it. Evidence that cannot be read leaves that unclear."""
        report = self._context.report
        try:
            verdict = look(self._layout, name)
        except OSError as error:
            report.once("rescue", "warning", f"cannot tell what became of {name.id}: {error}; looking again")
            return Verdict(Fate.UNCLEAR)
        report.over("rescue", "what became of jobs can be told again")
        return verdict

    def _adopt(self, name: RunningName, verdict: Verdict) -> bool:
        assert verdict.pid is not None
        descriptor = _open_process(verdict.pid, verdict.token)
        if descriptor is None:
            return False  # it has just ended, or this system has no pidfd: its end line will tell
        body = self._read_body(name)
        move = lifecycle.adopt_running(name, self._worker)
        if not claims.settle(self._layout, name, move):
            os.close(descriptor)
            return True
        assert isinstance(move.name, RunningName)
        job = _Job(move.name, body, verdict.token, verdict.pid, self._deadline(name, body, verdict.pid))
        self._cap(job)
        self._await(descriptor, job)
        if verdict.ending is None:
            with suppress(OSError):  # out of descriptors: it stays stopped until somebody looks
                processes.continue_shell(verdict.pid, verdict.token)
        else:
            self._stop(descriptor, job, verdict.ending)
        text = f"attempt {name.attempt} goes on; its worker {name.worker} is gone"
        self._context.report.event("adopted", name.id, text, attempt=name.attempt)
        return True

    def _cap(self, job: _Job) -> None:
        """Go on enforcing the limit of its output."""
        body, settings = job.body, self._context.settings
        limit = body.max_log if body and body.max_log is not None else settings.max_log
        if limit is None:
            return
        try:
            job.log = os.open(self._layout.log(job.name.id), os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            attempt = logs.find_attempt(job.log, job.name)
            offset = attempt.output_at if attempt else 0
            kills = ((body and body.on_max_log) or settings.on_max_log) is OnMaxLog.KILL
            job.cap = LogCap(limit, kills, offset, time.monotonic(), job.log)
        except OSError:
            job.close()

    def _check_log(self, descriptor: int, job: _Job, cap: LogCap, now: float) -> None:
        if cap.check_at > now:
            return
        was_told, step = cap.has_passed, cap.check(job.log, now)
        if step is Step.MUST_END and not job.is_being_ended:
            self._stop(descriptor, job, "max-log")
        if step is not Step.NOTHING and not was_told:
            tell_passed(self._context, job.name.id, cap, step)

    def _deadline(self, name: RunningName, body: Body | None, pid: int) -> float | None:
        """When its time is up: counted from its shell's own start, for the clock may have been set since."""
        timeout = body.timeout if body and body.timeout is not None else self._context.settings.timeout
        if timeout is None:
            return None
        age = processes.age(pid)
        if age is None:
            age = (self._context.now() - name.started_at).total_seconds()
        return time.monotonic() + timeout - age

    def _read_body(self, name: RunningName) -> Body | None:
        job = query.load(self._layout, State.RUNNING, str(name))
        return job.body if job else None

    def expire(self) -> None:
        """End the jobs whose time is up, and keep the output of all of them within its limit."""
        now = time.monotonic()
        for descriptor, job in list(self._jobs.items()):
            if job.deadline is not None and job.deadline <= now:
                self._stop(descriptor, job, "timeout")
            if job.cap is not None:
                self._check_log(descriptor, job, job.cap, now)

    def end_all(self, reason: str) -> None:
        """End them all; `reason` is `release`."""
        for descriptor, job in list(self._jobs.items()):
            if not job.is_being_ended:
                self._stop(descriptor, job, reason)

    def end_disowned(self) -> None:
        """End the jobs whose files somebody has moved away."""
        for descriptor, job in list(self._jobs.items()):
            if not job.is_being_ended and files.is_gone(self._layout.job(State.RUNNING, job.name)):
                self._stop(descriptor, job, "cancelled")

    def _stop(self, descriptor: int, job: _Job, reason: str) -> None:
        """End every process of a job, without waiting for it; nothing if its shell has ended: that result counts."""
        job.deadline = None
        if _has_ended(descriptor):
            return
        job.reason = reason
        self._forget(descriptor)
        self._terminate(job)

    def _terminate(self, job: _Job) -> None:
        """End every process of a job in a thread, and await the last."""
        pid, reason, path = job.pid, job.reason or "", self._layout.log(job.name.id)

        def end(grace: float) -> None:
            job.was_ended = end_attempt_at(path, job.name, job.token, pid, reason, grace)

        self._in_thread(job, end)

    def _clear(self, job: _Job, *, is_ours: bool) -> None:
        """End what the shell of a job has left in a thread, and await the last.

        `is_ours` spares those of other PID namespaces, where the shell may live.
        """
        job.is_cleared = True
        self._in_thread(job, lambda grace: processes.terminate(job.token, None, grace, is_ours=is_ours))

    def _in_thread(self, job: _Job, end: Callable[[float], None]) -> None:
        all_gone = os.eventfd(0, os.EFD_CLOEXEC)
        grace = self._context.settings.grace

        def work() -> None:
            try:
                end(grace)
            finally:
                os.eventfd_write(all_gone, 1)

        self._await(all_gone, job)
        threading.Thread(target=work, name="end", daemon=True).start()

    def _await(self, descriptor: int, job: _Job) -> None:
        self._jobs[descriptor] = job
        self._selector.register(descriptor, selectors.EVENT_READ)

    def _forget(self, descriptor: int) -> _Job:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        return self._jobs.pop(descriptor)

    def end(self, descriptor: int) -> bool:
        """Settle the job that has ended; False if that must wait until its log can be read."""
        job = self._forget(descriptor)
        if job.cap is not None:
            job.cap.drop(job.log)
        job.close()
        if job.is_cleared:
            if job.verdict is None:
                return self.rescue(job.name)
            self._close(job.name, job.body, job.verdict)
            return True
        reason = job.reason if job.was_ended else None
        verdict = Verdict(Fate.RELEASED, job.token)
        if reason in ("timeout", "max-log"):
            result = TIMEOUT if reason == "timeout" else Result.signal(signal.SIGTERM)
            verdict = Verdict(Fate.ENDED, job.token, result=result)
        elif reason != logs.ENDING_RELEASE:
            verdict = self._conclude(job.name)
        if verdict.fate is Fate.UNCLEAR:
            return False
        if verdict.fate is Fate.NEVER_STARTED:  # its log is gone
            verdict = Verdict(Fate.ENDED, job.token, result=LOST)
        why = reason_of(job.cap) if job.cap is not None and reason == "max-log" else ""
        self._settle(job.name, job.body, verdict, why=why)
        return True

    def _settle(
        self, name: RunningName, body: Body | None, verdict: Verdict, *, is_ours: bool = False, why: str = ""
    ) -> None:
        """Settle an attempt that is over, once what it has left is gone, which must not meet the next one."""
        if verdict.is_recorded and verdict.pid is not None:
            with suppress(OSError):
                processes.continue_shell(verdict.pid, verdict.token)
        if not verdict.is_recorded and _has_left(verdict.token, is_ours=is_ours):
            self._clear(_Job(name, body, verdict.token, verdict=verdict), is_ours=is_ours)
        else:
            self._close(name, body, verdict, why)

    def _close(self, name: RunningName, body: Body | None, verdict: Verdict, why: str = "") -> None:
        """Put its end on record, if it is not, and settle it."""
        result = verdict.result or LOST
        is_released = verdict.fate is Fate.RELEASED
        if not verdict.is_recorded:
            self._note_end(name, f"result={logs.RELEASED}" if is_released else logs.format_outcome(result), why)
        if is_released:
            release(self._context, name, "stopped with its worker")
            return
        ended_at = verdict.ended_at or self._context.now()
        duration = max(0.0, (ended_at - name.started_at).total_seconds())
        finish(self._context, name, body, result, duration)

    def _note_end(self, name: RunningName, outcome: str, reason: str = "") -> None:
        """Write the end line of an attempt that is over, unless its job was settled and the next attempt has begun.

        It is written under the attempt's lock, which is free but for what the attempt may have left behind.
        """
        with suppress(OSError):
            log = logs.open_existing(self._layout.log(name.id))
            try:
                lease.lock_attempt(log, name.started_at)
                if logs.is_last_attempt(log, name):
                    logs.append_end(log, name, outcome, reason)
            finally:
                os.close(log)


def _open_process(pid: int, token: str) -> int | None:
    """A pidfd of the process that carries the token; None if it has ended or cannot be looked at.

    RACE: the number may have gone to another process just before (tests/work/test_adopted.py), so it is asked again.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None
    with suppress(OSError):
        if processes.is_shell(pid, token):
            return descriptor
    os.close(descriptor)
    return None


def _has_ended(descriptor: int) -> bool:
    """Whether the process of a pidfd has."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def _has_left(token: str, *, is_ours: bool) -> bool:
    """Whether processes of an attempt may live."""
    try:
        return bool(processes.find(token, is_ours=is_ours))
    except OSError:  # out of descriptors: not known
        return True
