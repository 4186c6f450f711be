"""The worker: wait, look, and keep its slots supplied.

The main thread looks: at events, listings, dropped files, orphans and timers. One thread for each slot
takes the next job, runs it and settles it; it blocks in waitpid, the fastest way to run short commands.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from queuectl import __version__, config
from queuectl.core.names import PENDING_LOOSE, PendingName, RunningName, format_time, is_ignored, looks_held, parse_time
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import ConfigError, SpoolError
from queuectl.spool.moves import claims
from queuectl.spool.reading import query
from queuectl.spool.system import lease, processes, trust
from queuectl.spool.system.listing import decode
from queuectl.spool.system.trigger import Trigger
from queuectl.spool.upkeep import rescue
from queuectl.work.adopted import Adopted
from queuectl.work.attempts import Attempts
from queuectl.work.context import Context
from queuectl.work.dropbox import Dropbox
from queuectl.work.drops import Drops
from queuectl.work.notify import Notifier
from queuectl.work.schedule import FIRST_WINDOW, WINDOW, Schedule
from queuectl.work.slots import Slots
from queuectl.work.tidy import Tidy
from queuectl.work.waker import Waker

_LISTING_SHARE = 20  # of the time, listings take a twentieth at most
_BLIND_RESCAN = 1.0  # seconds between listings when no event will come
_DRAIN_LOOK = 0.25  # and when other workers' last jobs are awaited
_LIST_ANYWAY = 10  # beats
_COARSE = 3_000_000_000  # nanoseconds: the coarsest clock of a file system, with room
_BATCH = 500  # dropped files adopted before the first of them may start
_SOON = 1.0  # when something is to be tried again
STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
"""Those that the worker has handlers for; `install_signal_handlers` unblocks them."""


class Worker:
    """Runs the jobs of a spool until it is told to stop.

    Or, with `drain`, until none is left; or, with `idle_exit`, until it has had none for so many seconds; or until
    the other end of the pipe `leash` is closed. `slots` jobs run at a time; jobs adopted from dead workers count.
    `flags` are fields of Settings that override the spool's. Unless it `trusts_anyone`, it
    refuses a spool that other users could write to.
    """

    def __init__(
        self,
        context: Context,
        *,
        slots: int = 1,
        drain: bool = False,
        idle_exit: float | None = None,
        leash: int | None = None,
        notifier: Notifier | None = None,
        flags: dict[str, Any] | None = None,
        trusts_anyone: bool = False,
    ) -> None:
        self.context = context
        self.layout = context.spool.layout
        self.slots = slots
        self._drain = drain
        self._idle_exit = idle_exit
        self._leash = leash
        self._notifier = notifier or Notifier()
        self._is_detaching = False
        self._trusts_anyone = trusts_anyone
        self._flags = flags or {}
        self._settings_seen: object = None
        self._rung: deque[str | None] = deque()
        self._waker = Waker()
        self._attempts = Attempts(context, self._waker.wake_before)
        self._listed_at = float("-inf")
        self._listing_took = 0.0
        self._changed_at: int | None = None  # the mtime of pending/ when it was listed, if that tells of changes
        self._unlisted = 0
        self._look_again_at: float | None = None
        self._drops = Drops(context)
        self._dropbox = Dropbox(context, self._ring, self._waker.wake)
        self._tidy = Tidy(context)

    # --- life

    def run(self) -> None:
        """Work until told to stop or drained. Raises SpoolError if the spool is lost or not safe."""
        if not self._trusts_anyone:
            trust.require_safe(self.layout)
        host = os.uname().nodename
        info = {
            "slots": self.slots,
            "version": __version__,
            "started_at": format_time(self.context.now()),
            "boot_id": lease.boot_id(),
            "pid_namespace": processes.pid_namespace(),
        }
        with lease.WorkerLease(self.layout, host, info) as own:
            self._host = lease.host_of(own.name)
            self.name = self.context.report.worker = own.name
            self._lease = own
            own.is_kept = self._run() > 0

    def _run(self) -> int:
        """How many jobs it has left to the next worker."""
        self._trigger = Trigger(self.layout, self._ring)
        claims.keep_ballast(self.layout)
        self._say("worker", f"{self.name} runs {format_count(self.slots, 'job')} at a time from {self.layout.root}")
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            if self._leash is not None:
                selector.register(self._leash, selectors.EVENT_READ)
            self._adopted = Adopted(self.context, self.name, self._attempts, selector)
            self._slots = Slots(self.context, self.name, self.slots, self._attempts, self._waker)
            self._slots.start()
            try:
                self._look()
                self._notifier.ready(f"{self.name} runs {format_count(self.slots, 'job')} at a time")
                while not self._is_finished():
                    self._wait(selector)
                    self._look()
            finally:
                self._notifier.stopping()
                self._trigger.close()
                self._dropbox.close()
                self._slots.stop()
        left = self._slots.busy + self._attempts.without_slot if self._is_detaching else 0
        if not left:
            self._slots.join()
        goes_on = f"; {format_count(left, 'job')} left to the next worker" if left else ""
        if self.context.stopping < 2:
            self.context.hooks.finish()
        self._say("worker", f"{self.name} has stopped{goes_on}")
        return left

    def stop(self, *, now: bool = False) -> None:
        """Stop claiming and let running jobs finish; the second time, or with `now`, end and release them."""
        self.context.stopping = 2 if now or self.context.stopping else 1
        self._waker.wake()

    def detach(self) -> None:
        """Stop as soon as nothing is being claimed or settled; running jobs go on, and the next worker adopts them.

        CRASH: to die on the way leaves no less to the next worker (tests/work/test_detach.py).
        """
        self._is_detaching = True
        self.context.stopping = self.context.stopping or 1
        self._waker.wake()

    def install_signal_handlers(self) -> None:
        """SIGTERM, SIGINT and SIGHUP stop the worker; a second one, or SIGQUIT, at once; SIGUSR1 detaches it."""
        signal.signal(signal.SIGUSR1, lambda *_: self.detach())
        for number in (signal.SIGTERM, signal.SIGQUIT):  # which `worker stop` sends
            signal.signal(number, lambda caught, _: self.stop(now=caught == signal.SIGQUIT))
        for number in (signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
                signal.signal(number, lambda *_: self.stop())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING_SIGNALS)

    def _say(self, event: str, text: str) -> None:
        self.context.report.event(event, None, text)

    # --- waiting

    def _ring(self, path: str | None) -> None:
        """Called by the trigger's thread."""
        self._rung.append(path)
        self._waker.wake()

    def _wait(self, selector: selectors.BaseSelector) -> None:
        """Sleep until a bell, a signal, the end of an adopted job, or the next time that matters."""
        for key, _ in selector.select(self._pause()):
            if key.fileobj is self._waker:
                self._waker.clear()
            elif key.fd == self._leash:
                selector.unregister(self._leash)
                if not self.context.stopping:  # else that would be the second time
                    self.stop()
            elif self._adopted.end(key.data):
                self._attempts.note_end()
            else:
                self._look_soon()

    def _pause(self) -> float:
        """Seconds until the next time that matters."""
        now = time.monotonic()
        self._waker.sleeps_until = now  # whatever begins meanwhile wakes this thread
        times = [self._next_listing(), self._attempts.next_look, self._waker.wake_at]
        others = (self._look_again_at, self._drops.next_look(), self._idle_until(), self._notifier.next_beat)
        times += [at for at in others if at is not None]
        if not self.context.stopping:
            if self._waker.must_list:
                return 0
            pause = self.context.spool.paused()
            if pause is not None and pause.until is not None:
                times.append(now + (pause.until - self.context.now()).total_seconds())
            run_at = self._slots.next_run_at
            if run_at is not None:
                times.append(now + (parse_time(run_at) - self.context.now()).total_seconds())
        self._waker.sleeps_until = until = min(times)
        return max(0.0, until - now)

    def _next_listing(self) -> float:
        """When pending/ is to be listed again, whatever happens."""
        interval = self.context.settings.rescan
        if self._trigger.problem is not None:
            interval = min(interval, _BLIND_RESCAN)
        if self._drain and not (self._slots.busy or self._slots.has_ready or self._slots.next_run_at):
            interval = min(interval, _DRAIN_LOOK)
        return self._listed_at + max(interval, _LISTING_SHARE * self._listing_took)

    def _idle_until(self) -> float | None:
        """When it will have been idle for long enough to exit; None if it has something to do, or stays anyway."""
        if self._idle_exit is None or self._slots.busy or self._attempts.without_slot:
            return None
        if self._waker.must_list or (self._slots.has_ready and not self.context.spool.is_paused()):
            return None
        return self._attempts.active_at + self._idle_exit

    def _is_finished(self) -> bool:
        if self._is_detaching:
            return self._slots.in_between == 0
        if self._slots.busy or self._attempts.without_slot:
            return False
        if self.context.stopping:
            return True
        idle_until = self._idle_until()
        if idle_until is not None and time.monotonic() >= idle_until:
            return True
        if not self._drain or self._slots.has_ready or self._waker.must_list or not self._dropbox.is_first_look_over:
            return False
        return self._is_spool_empty()

    def _is_spool_empty(self) -> bool:
        """Whether a fresh look finds nothing running, under this worker or any other, and only held jobs pending."""
        pieces = query.iterate_names(self.layout, State.PENDING, 100)  # of a million for later one is enough
        if any(not is_ignored(name) and not looks_held(name) for names in pieces for name in names):
            return False
        return not any(RunningName.parse(name) for name in query.list_names(self.layout, State.RUNNING))

    # --- looking

    def _look(self) -> None:
        """Everything the main thread does each time it wakes."""
        self._waker.begin()
        now = time.monotonic()
        self._notifier.beat()
        if self.context.stopping:
            self._lease.say_stopping(self.context.now())
        if self.context.stopping == 1 and not self._is_detaching:
            running = self._slots.busy + self._attempts.without_slot
            text = f"{format_count(running, 'running job')} may finish; stop again to put back" if running else ""
            self.context.report.once("stopping", "stopping", text)
        self._attempts.enforce()
        self._hear()
        if self._waker.must_list or now >= self._next_listing():
            self._list_everything()
        elif self._look_again_at is not None and now >= self._look_again_at:
            self._look_again_at = None
            self._rescue()
        self._adopt_drops(self._drops.due())
        self._slots.advance()
        self._note_idleness()

    def _note_idleness(self) -> None:
        """Tell once when it has run jobs and has none any more."""
        if self._slots.busy or self._attempts.without_slot or self._slots.has_ready or self._waker.must_list:
            return
        if self._attempts.has_worked:
            self._attempts.has_worked = False
            self.context.hooks.tell("idle")

    def _hear(self) -> None:
        """Take in what the bell and the slots told."""
        drops: list[str] = []
        offers: list[str] = []
        must_end = False
        while self._waker.suspects:
            drops.append(self._waker.suspects.popleft())
        while self._rung:
            path = self._rung.popleft()
            directory, _, name = (path or "").rpartition("/")
            if path is None:
                self._waker.must_list = True
            elif path == self.layout.config:
                self._reload_settings()
            elif path == self.layout.bell:
                must_end = True
            elif directory != self.layout.pending or is_ignored(name):
                continue
            elif PendingName.parse(name) is None or name in self._drops:
                drops.append(name)
            else:
                offers.append(name)
        self._slots.offer(offers)
        self._adopt_drops(drops)
        if must_end:
            self._attempts.end_disowned()

    def _adopt_drops(self, names: list[str]) -> None:
        """Adopt in batches, so that of files that lie there together the most urgent starts first."""
        for start in range(0, len(names), _BATCH):
            self._slots.offer(self._look_at_drops(names[start : start + _BATCH]))
            self._slots.advance()

    def _look_at_drops(self, names: list[str]) -> list[str]:
        """The canonical names of those that can be claimed now."""
        return [] if self.context.stopping else self._drops.look_at(names)

    def _list_everything(self) -> None:
        """The slow beat: look at the whole spool, the watch and the settings, whatever was or was not heard."""
        begun = time.monotonic()
        self._reload_settings()
        self.context.hooks.refresh()
        self._check_trigger()
        drops: list[str] = []
        try:
            if self._waker.must_list or self._may_have_changed():
                drops = self._list_pending()
            self._rescue()
            self._attempts.end_disowned()
            self._tidy.tidy()
            self._dropbox.look()
        except FileNotFoundError as error:
            raise SpoolError(f"the spool {self.layout.root} is gone", f"{error.filename} does not exist") from error
        self._listed_at = time.monotonic()
        self._listing_took = self._listed_at - begun
        self._adopt_drops(drops)

    def _may_have_changed(self) -> bool:
        """Whether a name may have come to pending/ or gone since it was listed, as its own mtime tells.

        Listed anyway at every tenth question, for file systems that keep no such time.
        """
        self._unlisted += 1
        return self._unlisted >= _LIST_ANYWAY or os.stat(self.layout.pending).st_mtime_ns != self._changed_at

    def _list_pending(self) -> list[str]:
        """Learn what is due and what comes later; the dropped files that are still to be looked at."""
        changed_at = os.stat(self.layout.pending).st_mtime_ns
        is_past = abs(time.time_ns() - changed_at) > _COARSE  # else a change to come might bear the same time
        self._changed_at, self._unlisted = changed_at if is_past else None, 0
        self._waker.must_list = False
        foreign: list[str] = []
        fresh = Schedule(FIRST_WINDOW if self._listed_at < 0 else WINDOW)
        foreign += fresh.refill(self._claimable(foreign), format_time(self.context.now()))
        if fresh.is_crowded:
            foreign = []
            foreign += fresh.refill(self._claimable(foreign), format_time(self.context.now()), is_strict=True)
        foreign = [name for name in foreign if not is_ignored(name)]
        self._drops.keep_only(set(foreign))
        drops = [name for name in foreign if name not in self._drops]
        for name in self._look_at_drops(drops[:_BATCH]):
            fresh.offer(name, format_time(self.context.now()))
        self._slots.install(fresh)
        return drops[_BATCH:]

    def _claimable(self, foreign: list[str]) -> Iterator[list[bytes]]:
        """What looks like ours in pending/; all others, and the names of files that are waited for, go to `foreign`."""
        waiting = set(map(os.fsencode, self._drops))
        for names, others in query.iterate_pending(self.layout, PENDING_LOOSE):
            foreign += decode(others)
            if waiting:
                foreign += decode([name for name in names if name in waiting])
                names = [name for name in names if name not in waiting]  # noqa: PLW2901 - what is left of them
            yield names

    def _reload_settings(self) -> None:
        try:
            status = os.stat(self.layout.config)
            seen: object = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = None
        if seen == self._settings_seen:
            return
        self._settings_seen = seen
        try:
            self.context.settings = config.load(self.layout, self._flags)
            self.context.hooks.refresh()
            self.context.report.over("config", "config.toml is well again")
            for unknown in config.examine(self.layout).unknown:
                self._say("warning", f"{unknown.what}; {unknown.hint}")
        except ConfigError as error:
            self.context.report.once("config", "warning", f"the settings stay as they were: {error}")

    def _check_trigger(self) -> None:
        if self._trigger.overflows:
            text = "the kernel has dropped file events (see fs.inotify.max_queued_events): pending/ is listed instead"
            self.context.report.once("overflow", "warning", text)
        if self._trigger.is_alive:
            return
        had_problem = self._trigger.problem is not None
        if not had_problem:
            self._say("warning", "the watch on the spool has died; starting it again")
        self._trigger.open()
        problem = self._trigger.problem
        if problem is not None:
            text = f"no file events ({problem}): looking every {_BLIND_RESCAN:g} s instead"
            self.context.report.once("trigger", "warning", text)
        self._waker.must_list = True

    def _rescue(self) -> None:
        """Take care of the running jobs whose workers are gone."""
        if self.context.stopping:
            return
        for name in (*rescue.find_orphans(self.layout, self._host, self.name), *self._find_forgotten()):
            if not self._adopted.rescue(name):
                self._look_soon()
        rescue.forget_dead_workers(self.layout, self._host)

    def _find_forgotten(self) -> list[RunningName]:
        """Jobs under this worker's own name that it does not run: a claim or its undoing broke off half way."""
        return self._slots.find_forgotten(rescue.find_held(self.layout, self.name))

    def _look_soon(self) -> None:
        at = time.monotonic() + _SOON
        self._look_again_at = at if self._look_again_at is None else min(at, self._look_again_at)
