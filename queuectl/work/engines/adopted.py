"""Jobs that outlived their worker: take charge of them, enforce their timeouts, settle them.

An adopted job's shell is not a child of this process, so its end is awaited through a pidfd and its
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
from functools import partial

from queuectl.core import lifecycle
from queuectl.core.fields import Body
from queuectl.core.names import RunningName
from queuectl.core.result import CANCELLED, LOST, SUCCESS, TIMEOUT, Result, State
from queuectl.spool.moves import asked, claims
from queuectl.spool.moves.ending import end_attempt_at
from queuectl.spool.reading import query
from queuectl.spool.system import files, lease, logs, processes
from queuectl.spool.system.layout import Layout
from queuectl.spool.upkeep import rescue
from queuectl.spool.upkeep.rescue import Fate, Verdict
from queuectl.work.attempts import ActiveAttempt, Attempts, output_limit_of, timeout_of
from queuectl.work.context import Context
from queuectl.work.log_limit import LogLimit
from queuectl.work.settle import finish, release

_LEFTOVERS = "leftovers"


class Orphan(ActiveAttempt):
    """An attempt whose worker has died. For the main thread only; `selector` reports a descriptor that is readable.

    That is the pidfd of the attempt's shell; or, once it is being ended, an eventfd that becomes readable when its last
    process is gone: what its shell leaves behind in its grace must not meet the next attempt.

    `reason` may also be `leftovers`: its shell has ended, and what that has left is being ended.
    """

    __slots__ = ("_descriptor", "_path", "_selector", "body", "pid", "slots", "token", "verdict")

    takes_slot = True

    def __init__(
        self, name: RunningName, token: str, body: Body | None, path: str, selector: selectors.BaseSelector
    ) -> None:
        """`path` is that of its log."""
        super().__init__(name, -1)
        self.token = token
        self.body = body
        self.slots = (body and body.slots) or 1
        self.pid: int | None = None  # of its shell, while that may live
        self.verdict: Verdict | None = None  # of one whose leftovers are being ended, if there is one already
        self._path = path
        self._selector = selector
        self._descriptor = -1

    def await_shell(self, pid: int, descriptor: int) -> None:
        """Watch its shell by that pidfd."""
        self.pid = pid
        self._await(descriptor)

    def clear(self, grace: float, verdict: Verdict | None, *, is_ours: bool) -> None:
        """Begin to end what its shell has left.

        `is_ours` spares those of other PID namespaces, where the shell may live.
        """
        self.reason, self.verdict = _LEFTOVERS, verdict
        self._in_thread(partial(processes.terminate, self.token, None, grace, is_ours=is_ours))

    def open_log(self) -> int:
        """Its log, open until `close`; raises OSError."""
        self.log = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        return self.log

    def close(self) -> None:
        """It is over: watch it no longer."""
        self.mark_over()
        if self.reason != _LEFTOVERS and not self.was_ended:
            self.reason = None  # it had ended by itself
        self._let_go()
        self.trim_log()
        if self.log >= 0:
            os.close(self.log)
            self.log = -1

    def _has_ended(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(0))

    def _in_thread(self, work: Callable[[], None]) -> None:
        all_gone = os.eventfd(0, os.EFD_CLOEXEC)
        self._let_go()
        self._await(all_gone)

        def run() -> None:
            try:
                work()
            finally:
                os.eventfd_write(all_gone, 1)

        threading.Thread(target=run, name="end", daemon=True).start()

    def _end(self, reason: str, grace: float) -> bool:
        return end_attempt_at(self._path, self.name, self.token, self.pid, reason, grace)

    def _await(self, descriptor: int) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, self)
        self._descriptor = descriptor

    def _let_go(self) -> None:
        if self._descriptor >= 0:
            self._selector.unregister(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class Adopted:
    """For the main thread only. The data of a key that `selector` reports is an Orphan that has ended: call `end`."""

    def __init__(self, context: Context, worker: str, attempts: Attempts, selector: selectors.BaseSelector) -> None:
        self._context = context
        self._layout = context.spool.layout
        self._worker = worker
        self._attempts = attempts
        self._selector = selector

    def rescue_all(self, forgotten: list[RunningName]) -> bool:
        """Take care of orphans, and of attempts of this worker that nothing runs; False if some are not clear yet."""
        host = lease.host_of(self._worker)
        orphans = rescue.find_orphans(self._layout, host, self._worker)
        is_clear = [self.rescue(name) for name in (*orphans, *forgotten)]
        if self._layout.shared:
            is_clear += [self._take(name) for name in rescue.find_gone(self._layout)]
        rescue.forget_dead_workers(self._layout, host)
        return all(is_clear)

    def rescue(self, name: RunningName) -> bool:
        """Do what an orphan's fate calls for; False if that is not clear yet."""
        if name in self._attempts:
            return True  # what it has left is being ended
        verdict = self._examine(name)
        if verdict.fate is Fate.UNCLEAR:
            return False
        if verdict.fate is Fate.ALIVE:
            return self._adopt(name, verdict)
        if verdict.fate is Fate.HEADLESS:
            self._clear(name, self._read_body(name), verdict.token, is_ours=True)
            return True
        if rescue.drop_second_name(self._layout, name):
            text = "removed a second name of its file from running/, left by a move that was half undone"
            self._context.report.event("info", name.id, text)
        elif verdict.fate is Fate.NEVER_STARTED:
            release(self._context, name, f"its worker {name.worker} died before it began")
        else:
            self._settle(name, self._read_body(name), verdict, is_ours=True)
        return True

    def _take(self, name: RunningName) -> bool:
        """Take a job of a host that is gone, and settle it as its logs say; False if they cannot be read now.

        The rename to this worker's own name is the verdict: of two that take it, one can settle it.
        CRASH: after the rename the next worker of this host finds it, as an attempt that is over (tests/hosts/).
        """
        move = lifecycle.adopt_running(name, self._worker)
        assert isinstance(move.name, RunningName)
        if not claims.settle(self._layout, name, move):
            return True
        text = f"taken from {lease.host_of(name.worker)}, which is gone"
        self._context.report.event("taken", name.id, text, attempt=name.attempt)
        verdict = self._look_into(rescue.judge_gone, move.name)
        if verdict.result != SUCCESS and asked.is_to_cancel(self._layout, move.name):
            verdict = verdict._replace(fate=Fate.ENDED, result=CANCELLED)
        if verdict.fate is not Fate.UNCLEAR:
            self._close(move.name, self._read_body(move.name), verdict, text)
        return verdict.fate is not Fate.UNCLEAR

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
            report.once("rescue", "warning", f"cannot examine the orphaned job {name.id}: {error}; trying again")
            return Verdict(Fate.UNCLEAR)
        report.over("rescue", "orphaned jobs can be examined again")
        return verdict

    def _adopt(self, name: RunningName, verdict: Verdict) -> bool:
        assert verdict.pid is not None
        descriptor = _open_process(verdict.pid, verdict.token)
        if descriptor is None:
            return False  # it has just ended, or this system has no pidfd: its end line will say
        body = self._read_body(name)
        move = lifecycle.adopt_running(name, self._worker)
        if not claims.settle(self._layout, name, move):
            os.close(descriptor)
            return True
        assert isinstance(move.name, RunningName)
        orphan = self._orphan(move.name, verdict.token, body)
        self._set_limits(orphan, verdict.pid)
        orphan.await_shell(verdict.pid, descriptor)
        if verdict.ending is None:
            with suppress(OSError):  # out of descriptors: it stays stopped until someone looks
                processes.continue_shell(verdict.pid, verdict.token)
        else:
            orphan.stop(verdict.ending, self._context.settings.grace)
        self._attempts.add(orphan)
        text = f"attempt {name.attempt} keeps running; its worker {name.worker} is gone"
        self._context.report.event("adopted", name.id, text, attempt=name.attempt)
        return True

    def _orphan(self, name: RunningName, token: str, body: Body | None) -> Orphan:
        return Orphan(name, token, body, self._layout.log(name.id), self._selector)

    def _set_limits(self, orphan: Orphan, pid: int) -> None:
        """Continue to enforce its timeout and the limit of its output."""
        settings, body, now = self._context.settings_of(orphan.name.id), orphan.body, time.monotonic()
        timeout = timeout_of(body, settings)
        if timeout is not None:
            age = processes.age(pid)  # of its shell, for the clock may have been set since
            if age is None:
                age = (self._context.now() - orphan.name.started_at).total_seconds()
            orphan.deadline = now + timeout - age
        most = output_limit_of(body, settings)
        if most is None:
            return
        try:
            log = orphan.open_log()
            attempt = logs.find_attempt(log, orphan.name)
            orphan.limit = LogLimit(*most, attempt.output_at if attempt else 0, now, log)
        except OSError:
            pass  # without a limit, as its log cannot be read

    def _read_body(self, name: RunningName) -> Body | None:
        job = query.load(self._layout, State.RUNNING, str(name))
        return job.body if job else None

    def end(self, orphan: Orphan) -> bool:
        """Settle one that has ended; False if that must wait until its log can be read."""
        orphan.close()
        self._attempts.discard(orphan)
        name, body, reason = orphan.name, orphan.body, orphan.reason
        if reason == _LEFTOVERS:
            if orphan.verdict is None:
                return self.rescue(name)
            self._close(name, body, orphan.verdict)
            return True
        verdict = Verdict(Fate.RELEASED, orphan.token)
        if reason in ("timeout", "max-log"):
            result = TIMEOUT if reason == "timeout" else Result.signal(signal.SIGTERM)
            verdict = Verdict(Fate.ENDED, orphan.token, result=result)
        elif reason != logs.ENDING_RELEASE:
            verdict = self._conclude(name)
        if verdict.fate is Fate.UNCLEAR:
            return False
        if verdict.fate is Fate.NEVER_STARTED:  # its log is gone
            verdict = Verdict(Fate.ENDED, orphan.token, result=LOST)
        self._settle(name, body, verdict, why=orphan.remark)
        return True

    def _clear(
        self, name: RunningName, body: Body | None, token: str, verdict: Verdict | None = None, *, is_ours: bool
    ) -> None:
        """End what the shell of an attempt has left, and await the last of it."""
        orphan = self._orphan(name, token, body)
        orphan.clear(self._context.settings.grace, verdict, is_ours=is_ours)
        self._attempts.add(orphan)

    def _settle(
        self, name: RunningName, body: Body | None, verdict: Verdict, *, is_ours: bool = False, why: str = ""
    ) -> None:
        """Settle an attempt that is over, once its remaining processes are gone: they must not meet the next one."""
        if verdict.is_recorded and verdict.pid is not None:
            with suppress(OSError):
                processes.continue_shell(verdict.pid, verdict.token)
        if not verdict.is_recorded and _has_left(verdict.token, is_ours=is_ours):
            self._clear(name, body, verdict.token, verdict, is_ours=is_ours)
        else:
            self._close(name, body, verdict, why)

    def _close(self, name: RunningName, body: Body | None, verdict: Verdict, why: str = "") -> None:
        """Put its end on record, if it is not, and settle it."""
        result = verdict.result or LOST
        is_released = verdict.fate is Fate.RELEASED
        if not verdict.is_recorded:
            self._note_end(name, f"result={logs.RELEASED}" if is_released else logs.format_outcome(result), why)
        if is_released:
            release(self._context, name, "its worker was stopped")
            return
        ended_at = verdict.ended_at or self._context.now()
        duration = max(0.0, (ended_at - name.started_at).total_seconds())
        finish(self._context, name, body, result, duration)

    def _note_end(self, name: RunningName, outcome: str, reason: str = "") -> None:
        """Write the end line of an attempt that is over, unless its job was settled and the next attempt has begun.

        None has as long as the job is under its name in running/: so it is, too, if its own start line is missing.
        It is written under the attempt's lock, which is free but for what the attempt may have left behind.
        """
        with suppress(OSError):
            log = logs.open_existing(self._layout.log(name.id))
            try:
                lease.lock_attempt(log, name.started_at)
                if logs.is_last_attempt(log, name) or not files.is_gone(self._layout.job(State.RUNNING, name)):
                    with logs.part_of_own(log) as part:
                        logs.append_end(part, name, outcome, reason)
            finally:
                lease.close(log)


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


def _has_left(token: str, *, is_ours: bool) -> bool:
    """Whether processes of an attempt may live."""
    try:
        return bool(processes.find(token, is_ours=is_ours))
    except OSError:  # out of descriptors: not known
        return True
