"""The worker: wait, claim, execute, settle.

The main thread looks: at events, listings, dropped files, orphans and timers. One thread for each slot
takes the next job, runs it and settles it; it blocks in waitpid, the fastest way to run short commands.
"""

from __future__ import annotations

import errno
import os
import selectors
import shlex
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from queuectl import __version__, config
from queuectl.core.names import PendingName, RunningName, format_time, is_ignored, looks_pending, parse_time
from queuectl.core.result import CANCELLED, Result, State
from queuectl.core.text import format_count, format_seconds
from queuectl.errors import ConfigError, NotJsonError, SpoolError
from queuectl.spool import claims, files, lease, logs, processes, prune, query, rescue
from queuectl.spool.claims import Claim, RefusedError
from queuectl.spool.trigger import Trigger
from queuectl.work.adopted import Adopted
from queuectl.work.dropbox import Dropbox
from queuectl.work.executor import CANNOT_RUN, Execution, Executor, record_end
from queuectl.work.schedule import Schedule
from queuectl.work.settle import Context, finish, release

MIN_FREE_INODES = 64
_LISTING_SHARE = 20  # of the time, listings take a twentieth at most
_BLIND_RESCAN = 1.0  # seconds between listings when no event will come
_DRAIN_LOOK = 0.25  # and when other workers' last jobs are awaited
_BATCH = 500  # dropped files adopted before the first of them may start
_PRUNE_INTERVAL = 60.0
_SOON = 1.0  # when something is to be tried again


class Worker:
    """Runs the jobs of a spool until it is told to stop or, with `drain`, until none is left.

    `slots` jobs run at a time; jobs adopted from dead workers count. `flags` are fields of Settings that
    override the spool's.
    """

    def __init__(
        self, context: Context, *, slots: int = 1, drain: bool = False, flags: dict[str, Any] | None = None
    ) -> None:
        self.context = context
        self.layout = context.spool.layout
        self.slots = slots
        self._drain = drain
        self._flags = flags or {}
        self._settings_seen: object = None
        context.is_stopping = lambda: self._stopping > 0

        self._work = threading.Condition()  # guards what slots and main thread share, down to _stopping
        self._schedule = Schedule()
        self._executions: dict[Execution, float | None] = {}  # with the deadline, in monotonic seconds
        self._suspects: deque[str] = deque()
        self._busy = 0
        self._taken: set[str] = set()  # the ids of the jobs that slots claim, run and settle
        self._must_list = True
        self._failure: BaseException | None = None
        self._stopping = 0  # 0 no, 1 finish what runs, 2 end it

        self._rung: deque[str | None] = deque()
        self._sleeps_until = float("inf")
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._listed_at = float("-inf")
        self._listing_took = 0.0
        self._prune_at = 0.0
        self._look_again_at: float | None = None
        self._dropbox = Dropbox(context)

    # --- life

    def run(self) -> None:
        """Work until told to stop or drained. Raises SpoolError if the spool is lost."""
        host = socket.gethostname()
        info = {
            "slots": self.slots,
            "version": __version__,
            "started_at": format_time(self.context.now()),
            "boot_id": lease.boot_id(),
            "pid_namespace": processes.pid_namespace(),
        }
        with lease.WorkerLease(self.layout, host, info) as own:
            self._host = lease.host_of(own.name)
            self.name = own.name
            self._run()

    def _run(self) -> None:
        self._executor = Executor(self.layout.root, self.name)
        self._trigger = Trigger(self.layout, self._ring)
        claims.keep_ballast(self.layout)
        self._say("worker", f"{self.name} runs {format_count(self.slots, 'job')} at a time from {self.layout.root}")
        threads = [threading.Thread(target=self._slot, name=f"slot-{n}", daemon=True) for n in range(self.slots)]
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_r, selectors.EVENT_READ)
            self._adopted = Adopted(self.context, self.name, selector)
            for thread in threads:
                thread.start()
            try:
                self._look()
                while not self._is_finished():
                    self._wait(selector)
                    self._look()
            finally:
                self._trigger.close()
                with self._work:
                    self._stopping = max(self._stopping, 1)
                    self._work.notify_all()
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        self._say("worker", f"{self.name} has stopped")

    def stop(self, *, now: bool = False) -> None:
        """Stop claiming and let running jobs finish; the second time, or with `now`, end and release them."""
        self._stopping = 2 if now or self._stopping else 1
        self._wake()

    def install_signal_handlers(self) -> None:
        """SIGTERM, SIGINT and SIGHUP stop the worker; a second one, or SIGQUIT, at once."""
        for number in (signal.SIGTERM, signal.SIGQUIT):  # which `worker stop` sends
            signal.signal(number, lambda caught, _: self.stop(now=caught == signal.SIGQUIT))
        for number in (signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
                signal.signal(number, lambda *_: self.stop())

    def _say(self, event: str, text: str) -> None:
        self.context.report.event(self.context.now(), event, None, text)

    # --- waiting

    def _ring(self, path: str | None) -> None:
        """Called by the trigger's thread."""
        self._rung.append(path)
        self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # a full pipe wakes as well
            os.write(self._wake_w, b"!")

    def _wait(self, selector: selectors.BaseSelector) -> None:
        """Sleep until a bell, a signal, the end of an adopted job, or the next time that matters."""
        for key, _ in selector.select(self._pause()):
            if key.fd == self._wake_r:
                with suppress(BlockingIOError):
                    os.read(self._wake_r, 65536)
            elif not self._adopted.end(key.fd):
                self._look_soon()

    def _pause(self) -> float:
        """Seconds until the next time that matters."""
        now = time.monotonic()
        self._sleeps_until = now
        times = [self._next_listing(), *self._adopted.deadlines()]
        times += [at for at in (self._look_again_at, self._dropbox.next_look()) if at is not None]
        with self._work:
            if self._stopping == 0:
                if self._must_list:
                    return 0
                run_at = self._schedule.next_run_at
                if run_at is not None:
                    times.append(now + (parse_time(run_at) - self.context.now()).total_seconds())
            times += [at for at in self._executions.values() if at is not None]
            self._sleeps_until = min(times)
        return max(0.0, self._sleeps_until - now)

    def _next_listing(self) -> float:
        """When pending/ is to be listed again, whatever happens."""
        interval = self.context.settings.rescan
        if self._trigger.problem is not None:
            interval = min(interval, _BLIND_RESCAN)
        if self._drain and not (self._busy or len(self._schedule) or self._schedule.next_run_at):
            interval = min(interval, _DRAIN_LOOK)
        return self._listed_at + max(interval, _LISTING_SHARE * self._listing_took)

    def _is_finished(self) -> bool:
        with self._work:
            if self._busy or len(self._adopted):
                return False
            if self._stopping:
                return True
            if not self._drain or len(self._schedule) or self._must_list:
                return False
        return self._is_spool_empty()

    def _is_spool_empty(self) -> bool:
        """Whether a fresh look finds nothing pending and nothing running, under this worker or any other."""
        if any(not is_ignored(name) for name in query.list_names(self.layout, State.PENDING)):
            return False
        return not any(RunningName.parse(name) for name in query.list_names(self.layout, State.RUNNING))

    # --- looking

    def _look(self) -> None:
        """Everything the main thread does each time it wakes."""
        now = time.monotonic()
        if self._stopping == 1:
            text = f"{format_count(self._busy + len(self._adopted), 'running job')} may finish; stop again to put back"
            self.context.report.once("stopping", self.context.now(), "stopping", text)
        self._end_executions(now)
        self._hear()
        if self._must_list or now >= self._next_listing():
            self._list_everything()
        elif self._look_again_at is not None and now >= self._look_again_at:
            self._look_again_at = None
            self._rescue()
        self._adopt_drops(self._dropbox.due())
        with self._work:
            self._schedule.advance(format_time(self.context.now()))
            if len(self._schedule) or self._stopping:
                self._work.notify_all()

    def _end_executions(self, now: float) -> None:
        """End what has run out of time, and everything if the worker is to stop at once."""
        grace = self.context.settings.grace
        with self._work:
            late = [run for run, deadline in self._executions.items() if deadline is not None and deadline <= now]
            for run in late:
                self._executions[run] = None
            everything = list(self._executions) if self._stopping == 2 else []
        for run in late:
            run.stop("timeout", grace)
        for run in everything:
            run.stop("release", grace)
        self._adopted.expire()
        if self._stopping == 2:
            self._adopted.end_all("release")

    def _hear(self) -> None:
        """Take in what the bell and the slots told."""
        drops: list[str] = []
        offers: list[str] = []
        while self._suspects:
            drops.append(self._suspects.popleft())
        while self._rung:
            path = self._rung.popleft()
            directory, _, name = (path or "").rpartition("/")
            if path is None:
                self._must_list = True
            elif path == self.layout.config:
                self._reload_settings()
            elif directory != self.layout.pending or is_ignored(name):
                continue
            elif PendingName.parse(name) is None or name in self._dropbox:
                drops.append(name)
            else:
                offers.append(name)
        text_now = format_time(self.context.now())
        with self._work:
            for name in offers:
                self._schedule.offer(name, text_now)
        self._adopt_drops(drops)

    def _adopt_drops(self, names: list[str]) -> None:
        """Adopt in batches, so that of files that lie there together the most urgent starts first."""
        for start in range(0, len(names), _BATCH):
            canonical = self._look_at_drops(names[start : start + _BATCH])
            with self._work:
                for name in canonical:
                    self._schedule.offer(name, format_time(self.context.now()))
                self._work.notify_all()

    def _look_at_drops(self, names: list[str]) -> list[str]:
        """The canonical names of those that can be claimed now."""
        if self._stopping:
            return []
        return [canonical for name in names if (canonical := self._dropbox.look(name)) is not None]

    def _list_everything(self) -> None:
        """The slow beat: look at the whole spool, the watch and the settings, whatever was or was not heard."""
        begun = time.monotonic()
        self._reload_settings()
        self._check_trigger()
        foreign: list[str] = []
        fresh = Schedule()
        self._must_list = False
        try:
            names = query.iterate_names(self.layout, State.PENDING)
            fresh.refill(self._claimable(names, foreign), format_time(self.context.now()))
            self._dropbox.keep_only(set(foreign))
            drops = [name for name in foreign if name not in self._dropbox]
            for name in self._look_at_drops(drops[:_BATCH]):
                fresh.offer(name, format_time(self.context.now()))
            with self._work:
                self._schedule = fresh
            self._rescue()
            self._end_disowned()
            self._prune()
        except FileNotFoundError as error:
            raise SpoolError(f"the spool {self.layout.root} is gone", f"{error.filename} does not exist") from error
        self._listed_at = time.monotonic()
        self._listing_took = self._listed_at - begun
        self._adopt_drops(drops[_BATCH:])

    def _claimable(self, names: Iterable[str], foreign: list[str]) -> Iterator[str]:
        """The names that can be claimed; those of files to adopt or to wait for are added to `foreign`."""
        waiting = set(self._dropbox)
        for name in names:
            if looks_pending(name) and name not in waiting:
                yield name
            elif not is_ignored(name):
                foreign.append(name)

    def _reload_settings(self) -> None:
        try:
            status = os.stat(self.layout.config)
            seen: object = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = None
        if seen == self._settings_seen:
            return
        self._settings_seen = seen
        now = self.context.now()
        try:
            self.context.settings = config.load(self.layout, self._flags)
            self.context.report.over("config", now, "config.toml is well again")
        except ConfigError as error:
            self.context.report.once("config", now, "warning", f"the settings stay as they were: {error}")

    def _check_trigger(self) -> None:
        if self._trigger.is_alive:
            return
        had_problem = self._trigger.problem is not None
        if not had_problem:
            self._say("warning", "the watch on the spool has died; starting it again")
        self._trigger.open()
        now, problem = self.context.now(), self._trigger.problem
        if problem is not None:
            text = f"no file events ({problem}): looking every {_BLIND_RESCAN:g} s instead"
            self.context.report.once("trigger", now, "warning", text)
        self._must_list = True

    def _rescue(self) -> None:
        """Take care of the running jobs whose workers are gone."""
        if self._stopping:
            return
        for name in (*rescue.find_orphans(self.layout, self._host, self.name), *self._find_forgotten()):
            if not self._adopted.rescue(name):
                self._look_soon()
        rescue.forget_dead_workers(self.layout, self._host)

    def _find_forgotten(self) -> list[RunningName]:
        """Jobs under this worker's own name that it does not run: a claim or its undoing broke off half way."""
        mine = rescue.find_held(self.layout, self.name)
        with self._work:  # in which no slot begins: what is there and not taken now is nobody's
            return [
                name
                for name in mine
                if name.id not in self._taken
                and name not in self._adopted
                and not files.is_gone(self.layout.job(State.RUNNING, name))
            ]

    def _end_disowned(self) -> None:
        """End jobs whose files somebody has moved out of running/: that has settled them."""
        with self._work:
            executions = list(self._executions)
        for run in executions:
            if files.is_gone(self.layout.job(State.RUNNING, run.claim.name)):
                run.stop("cancelled", self.context.settings.grace)
        self._adopted.end_disowned()

    def _prune(self) -> None:
        """Delete, in a thread of its own, what is kept no longer."""
        keep = self.context.settings.keep_done
        if keep is None or self._stopping or time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + _PRUNE_INTERVAL
        before = self.context.now() - timedelta(seconds=keep)

        def work() -> None:
            pruned = prune.prune_done(self.layout, before)
            if pruned:
                self._say("pruned", f"{format_count(pruned, 'job')} done more than {format_seconds(keep)} ago")

        threading.Thread(target=work, name="prune", daemon=True).start()

    def _look_soon(self) -> None:
        at = time.monotonic() + _SOON
        self._look_again_at = at if self._look_again_at is None else min(at, self._look_again_at)

    # --- slots

    def _slot(self) -> None:
        """Run one job after another. A failure that nobody foresaw stops the worker; the next one rescues its jobs."""
        try:
            while (text := self._next()) is not None:
                try:
                    claim = self._claim(text)
                    if claim is not None:
                        self._attempt(claim)
                finally:
                    with self._work:
                        self._busy -= 1
                        self._taken.discard(_id_of(text))
        except BaseException as error:
            self._failure = error
            self.stop()
        self._wake()

    def _next(self) -> str | None:
        """Wait for a job that may start now; None when the worker is to stop."""
        has_told = False
        with self._work:
            while not self._stopping:
                if self._busy + len(self._adopted) < self.slots and self._may_start():
                    text = self._take(format_time(self.context.now()))
                    if text is not None:
                        self._busy += 1
                        return text
                if not self._must_list and self._schedule.needs_listing(format_time(self.context.now())):
                    self._must_list, has_told = True, False
                if not has_told:
                    has_told = True
                    self._wake()
                self._work.wait()
        return None

    def _take(self, now: str) -> str | None:
        """The next name that is due; none whose id a slot holds, so that no two claims choose one name."""
        while (text := self._schedule.take(now)) is not None:
            id = _id_of(text)
            if id not in self._taken:
                self._taken.add(id)
                return text
        return None

    def _may_start(self) -> bool:
        """Whether the queue is not paused, and there is room to record how a job ends."""
        report, now = self.context.report, self.context.now()
        if self.context.spool.is_paused():
            report.once("paused", now, "paused", f"no job is started while {self.layout.paused} exists")
            return False
        report.over("paused", now, "no longer paused")
        try:
            free, inodes = claims.room(self.layout)
        except SpoolError as error:
            report.once("room", now, "error", str(error))
            self._look_soon()
            return False
        least = self.context.settings.min_free
        if free < least or (inodes is not None and inodes < MIN_FREE_INODES):
            text = f"no job is started: {free >> 20} MiB and {inodes} inodes are free, min-free is {least >> 20} MiB"
            report.once("room", now, "warning", text)
            self._look_soon()
            return False
        report.over("room", now, "there is room again")
        return True

    def _claim(self, text: str) -> Claim | None:
        report = self.context.report
        claim = None
        try:
            claim = claims.claim(self.layout, text, self.name, self.context.now)
        except (NotJsonError, PermissionError):
            self._suspects.append(text)  # still being written, in place, under a canonical name
            self._wake()
        except RefusedError as error:
            report.event(self.context.now(), "refused", error.id, f"pending/{text} is no job: {error.why}", file=text)
        except (SpoolError, OSError) as error:
            report.once("claim", self.context.now(), "error", f"jobs cannot be started: {error}")
            self._hold_on()
            self._must_list = True  # to find the job again, also if it has been left in running/
        if claim is not None:
            report.over("claim", self.context.now(), "jobs can be started again")
        return claim

    def _hold_on(self) -> None:
        """Let a moment pass before a slot tries again what the system has just refused."""
        with self._work:
            self._work.wait_for(lambda: self._stopping > 0, _SOON)

    def _attempt(self, claim: Claim) -> None:
        """Run a claimed job's command to its end, and settle it."""
        body, settings = claim.body, self.context.settings
        limit = body.policy(settings.policy).max_retries + 1
        text = f"attempt {claim.name.attempt} of {limit}: {_summary(body.command)}"
        self.context.report.event(self.context.now(), "start", claim.name.id, text, attempt=claim.name.attempt)
        begun = time.monotonic()
        try:
            try:
                run = self._executor.start(claim)
            except OSError as error:
                self._settle_unstarted(claim, error)
                return
            timeout = body.timeout if body.timeout is not None else settings.timeout
            self._watch(run, None if timeout is None else begun + timeout)
            result = run.wait()
            duration = time.monotonic() - begun
            with self._work:
                del self._executions[run]
            self._settle(run, result, duration)
        finally:
            os.close(claim.log)

    def _watch(self, run: Execution, deadline: float | None) -> None:
        """Hand a started command to the main thread, which ends it when its time is up."""
        with self._work:
            self._executions[run] = deadline
            is_too_late = self._stopping == 2
        if is_too_late:
            run.stop("release", self.context.settings.grace)
        elif deadline is not None and deadline < self._sleeps_until:
            self._wake()

    def _settle(self, run: Execution, result: Result, duration: float) -> None:
        name = run.claim.name
        outcome = logs.format_outcome(result)
        if run.reason == "release":
            outcome = f"result={logs.RELEASED}"
        elif run.reason == "cancelled":
            outcome = logs.format_outcome(CANCELLED)
        with suppress(OSError):  # a full disk: the name will tell the result
            record_end(run.claim, run.pid, outcome)
        if run.reason == "release":
            release(self.context, name, "stopped with its worker", run.claim.run_at)
        else:
            finish(self.context, name, run.claim.body, result, duration)

    def _settle_unstarted(self, claim: Claim, error: OSError) -> None:
        """The command could not be started: the job's fault if it is too large, else the machine's."""
        if error.errno in (errno.E2BIG, errno.EINVAL, errno.ENOEXEC):
            result = Result.exit(CANNOT_RUN)
            with suppress(OSError):
                record_end(claim, os.getpid(), logs.format_outcome(result), f"cannot be run: {error.strerror}")
            finish(self.context, claim.name, claim.body, result, 0.0)
            return
        release(self.context, claim.name, f"cannot start a process: {error.strerror}", claim.run_at)
        self._hold_on()


def _id_of(text: str) -> str:
    name = PendingName.parse(text)
    return name.id if name else text


def _summary(command: str | tuple[str, ...]) -> str:
    text = command if isinstance(command, str) else shlex.join(command)
    return text if len(text) <= 60 else f"{text[:59]}…"
