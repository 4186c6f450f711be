"""The worker: wait, look, and keep its slots supplied.

The main thread looks: at events, listings, dropped files, orphans and timers. One thread for each slot
takes the next job, runs it and settles it; it blocks in waitid, the fastest way to run short commands.
"""

from __future__ import annotations

import errno
import os
import selectors
import signal
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from queuectl import __version__
from queuectl.core.groups import ALL, Choice
from queuectl.core.names import format_time, parse_time
from queuectl.core.seats import Seats
from queuectl.core.text import format_count
from queuectl.errors import SpoolError
from queuectl.spool.moves import claims
from queuectl.spool.reading.itself import itself
from queuectl.spool.system import identity, lease, processes, progress, shared, trust, versions
from queuectl.spool.upkeep import convert, rescue
from queuectl.work import drain, gate, hosts
from queuectl.work.attempts import Attempts
from queuectl.work.context import Context
from queuectl.work.engines.adopted import Adopted
from queuectl.work.engines.engine import Engine, Run
from queuectl.work.engines.executor import Executor
from queuectl.work.intake import BLIND_RESCAN, Intake
from queuectl.work.janitors import SHARE, Janitor, Janitors
from queuectl.work.keys import Keys
from queuectl.work.notify import Ending, Notifier
from queuectl.work.poll import Poll
from queuectl.work.reload import Reload
from queuectl.work.requests import Requests
from queuectl.work.slots import Slots
from queuectl.work.ticker import Ticker
from queuectl.work.tidy import Tidy
from queuectl.work.waiting import Waiting
from queuectl.work.waker import Waker

_DRAIN_LOOK = 0.25  # seconds between beats while other workers' last jobs are awaited
_SOON = 1.0  # seconds until something that is not clear yet is looked at again
STOPPING_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
"""Those that the worker has handlers for; `install_signal_handlers` unblocks them."""


class Worker:
    """Runs the jobs of a spool until it is stopped.

    Or, with `drain`, until none is left that can start by itself; or, with `idle_exit`, until it has had none for so
    many seconds; or until the other end of the pipe `leash` is closed. Jobs run on `engine`, without one as processes
    of this machine. `slots` jobs run at a time; jobs adopted from dead workers count. It starts only jobs that `choice`
    takes, and adopts any; `seats` are those that it has itself. `flags` are fields of Settings that override the
    spool's. Unless it `trusts_anyone`, it refuses a spool that other users could write to. It looks every `poll_every`
    seconds for what happens there; else on events, and by itself where other hosts cause none.
    """

    def __init__(
        self,
        context: Context,
        *,
        slots: int = 1,
        choice: Choice = ALL,
        seats: Mapping[str, Seats] | None = None,
        drain: bool = False,
        idle_exit: float | None = None,
        leash: int | None = None,
        notifier: Notifier | None = None,
        flags: dict[str, Any] | None = None,
        trusts_anyone: bool = False,
        engine: Engine | None = None,
        poll_every: float | None = None,
    ) -> None:
        self.context = context
        self._engine = engine
        self.slots = slots
        self.choice = choice
        self._seats = seats or {}
        self._drain = drain
        self._idle_exit = idle_exit
        self._leash = leash
        self._notifier = notifier or Notifier()
        self._trusts_anyone = trusts_anyone
        self._poll_every = poll_every
        self._is_detaching = False
        self._has_drained = False
        self._said_poll: str | float | None = None
        self._itself = itself(context.layout)
        self._waker = Waker()
        self._attempts = Attempts(context, self._waker.wake_before)
        self._reload = Janitor(Reload(context, flags or {}).reload)
        self._rescue = Janitor(self._rescue_all)

    # --- life

    def run(self) -> Ending:
        """Work until stopped or drained; how that ended.

        Raises SpoolError if the spool is lost or not safe.
        """
        if not self._trusts_anyone:
            trust.require_safe(self.context.layout)
        if not self.context.layout.shared and convert.share_if_idle(self.context.layout) is False:
            text = "other hosts can mount this spool, but not work on it; see: queuectl doctor"
            self._say("warning", text)
        progress.make_place(self.context.layout)
        host = os.uname().nodename
        info = {
            "slots": self.slots,
            "version": __version__,
            "format": versions.FORMAT,
            "started_at": format_time(self.context.now()),
            "boot_id": identity.boot_id(),
            "pid_namespace": processes.pid_namespace(),
            "groups": self.choice.only,
            "not_groups": self.choice.others,
            **({"seats": {group: [*there] for group, there in self._seats.items()}} if self._seats else {}),
            **(self._engine.describe() if self._engine is not None else {}),
        }
        if self.context.layout.shared:
            hosts.begin(self.context)
        with lease.WorkerLease(self.context.layout, host, info) as own:
            self._lease = own
            if self._engine is not None:
                own.make_durable()
            self.context.report.worker = own.name
            with hosts.keeper(self.context, own, self._waker.wake, self._look_for_gone):
                own.is_kept = self._run() > 0
            if self._is_detaching:
                return Ending.DETACHED
            return Ending.LEFT if self._has_drained and self._say_what_is_left() else Ending.DONE

    def _look_for_gone(self) -> None:
        """A host is said to be gone: its jobs are to be taken."""
        self._rescue.hurry()
        self._waker.wake()

    @property
    def name(self) -> str:
        """The worker's name, which is in the names of the jobs that it runs."""
        return self._lease.name

    def _run(self) -> int:
        """How many jobs it has left to the next worker."""
        of_groups = f" of {self.choice}" if self.choice.is_limited else ""
        if self._engine is None:
            what = f"{self.name} runs {format_count(self.slots, 'job')} at a time{of_groups}"
        else:
            what = f"{self.name} runs jobs{of_groups} on {self._engine.describe()['on']}"
        with selectors.DefaultSelector() as selector:
            selector.register(self._waker, selectors.EVENT_READ)
            if self._leash is not None:
                selector.register(self._leash, selectors.EVENT_READ)
            self._assemble(selector)
            claims.keep_ballast(self.context.layout)
            self._say("worker", f"{what} from {self.context.layout.root}")
            self._slots.start()
            self._runner.open(self.context, self.name, self)
            try:
                hosts.through_outages(self.context.layout, self._look, self._note_outage)
                self._notifier.ready(what)
                hosts.through_outages(self.context.layout, partial(self._work, selector), self._note_outage)
            finally:
                self._notifier.stopping()
                self._intake.close()
                self._poll.close()
                self._ticker.close()
                self._slots.stop()
        left = self._slots.busy + self._attempts.without_slot if self._is_detaching else 0
        if not left:
            self._slots.join()
            left = self._slots.left
        self._runner.close(leaves=left > 0 or self._is_detaching)
        remain = f"; {format_count(left, 'job')} left to the next worker" if left else ""
        self.context.brake.finish()
        if self.context.stopping < 2:
            self.context.hooks.finish()
        self._say("worker", f"{self.name} has stopped{remain}")
        return left

    def _work(self, selector: selectors.BaseSelector) -> None:
        while not self._is_finished():
            self._wait(selector)
            self._look()

    def _note_outage(self, error: OSError | SpoolError) -> None:
        self._slots.report_refusal(error)
        time.sleep(_SOON)

    def _assemble(self, selector: selectors.BaseSelector) -> None:
        """The parts that need the worker's name; events are heard from now on."""
        context, attempts = self.context, self._attempts
        self._adopted = Adopted(context, self.name, attempts, selector)
        self._runner = self._engine or Executor(context.layout.root, self.name)
        number = self.slots if self._engine is None else 0
        self._slots = Slots(context, self.name, number, attempts, self._waker, self._runner, self.choice, self._seats)
        self._disowned = Janitor(attempts.end_disowned)
        self._poll = Poll(context, self.name, self._poll_every)
        others = {context.layout.config: self._reload.run, context.layout.bell: self._hear_bell}
        self._intake = Intake(context, self._slots, self._waker, others, selector)
        self._groups = Janitor(self._intake.look_at_groups)
        self._requests = Requests(context, attempts) if context.layout.shared else None
        self._work_listed = Janitor(self._look_for_work)
        self._ticker = Ticker(context, self._waker.wake)
        self._waiting = Waiting(context)
        self._janitors = Janitors(
            [
                self._reload,
                Janitor(self._look_for_events),
                Janitor(context.hooks.refresh),
                Janitor(self._intake.check_trigger),
                self._work_listed,
                Janitor(Keys(context).look),
                self._rescue,
                self._disowned,
                self._groups,
                Janitor(self._waiting.look),
                Janitor(Tidy(context).tidy),
                Janitor(self._intake.dropbox.look),
                self._ticker.janitor,
            ]
        )

    # --- what an engine asks for

    def resize(self, number: int, widest: int, real: int) -> None:
        """The engine has so many slots from now on."""
        self._slots.resize(number, widest)
        self._lease.say(slots=real, widest=widest)

    def say(self, **facts: Any) -> None:
        """Add this to the worker's file."""
        self._lease.say(**facts)

    def attend(self, run: Run, begun: float) -> None:
        """Await and settle an attempt that the engine has taken over."""
        self._slots.attend(run, begun)

    # --- being stopped

    def stop(self, *, now: bool = False) -> None:
        """Stop claiming and let running jobs finish; the second time, or with `now`, end and release them."""
        self.context.stopping = 2 if now or self.context.stopping else 1
        self._waker.wake()

    def detach(self) -> None:
        """Stop as soon as nothing is being claimed or settled; running jobs continue, and the next worker adopts them.

        CRASH: dying on the way leaves the same to the next worker (tests/work/test_detach.py).
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

    def _wait(self, selector: selectors.BaseSelector) -> None:
        """Sleep until a bell, a signal, the end of an adopted job, or the next time that matters."""
        for key, _ in selector.select(self._pause()):
            if key.fileobj is self._waker:
                self._waker.clear()
            elif key.data is self._intake.trigger:
                self._intake.trigger.hear()
            elif key.fd == self._leash:
                selector.unregister(self._leash)
                if not self.context.stopping:  # else that would be the second time
                    self.stop()
            elif self._adopted.end(key.data):
                self._attempts.note_end()
            else:
                self._rescue.hurry(_SOON)

    def _pause(self) -> float:
        """Seconds until the next time that matters."""
        now = time.monotonic()
        self._waker.sleeps_until = now  # whatever begins in the meantime wakes this thread
        times = [self._next_beat(), self._janitors.next_at, self._attempts.next_look, self._waker.wake_at]
        others = (self._intake.next_look(), self._idle_until(), self._notifier.next_beat)
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

    def _next_beat(self) -> float:
        """When the janitors run again, whatever happens."""
        interval = self.context.settings.rescan
        if self._intake.trigger.problem is not None:
            interval = min(interval, BLIND_RESCAN)
        if (
            self._drain
            and not self._slots.busy
            and (drain.is_paused_for_good(self.context) or not (self._slots.has_ready or self._slots.next_run_at))
        ):
            interval = min(interval, _DRAIN_LOOK)
        return self._janitors.next_beat(interval)

    def _idle_for(self) -> float:
        """Seconds since it last had anything to do."""
        return 0.0 if self._slots.busy else time.monotonic() - self._attempts.active_at

    def _look_for_work(self) -> None:
        """List what is pending, if it may have changed, and plan for the next time where no event says so."""
        begun = time.monotonic()
        self._intake.list_pending()
        if self._requests is not None:
            self._requests.look()
        interval = self._poll.interval(self._idle_for())
        if interval < self.context.settings.rescan:
            if self._slots.has_full_groups:  # a job of another host may have ended
                self._groups.run()
            self._work_listed.hurry(max(interval, SHARE * (time.monotonic() - begun)))

    def _look_for_events(self) -> None:
        """Find out whether changes by other hosts are heard, and say so if that has changed."""
        self._poll.try_again()
        if self._said_poll != self._poll.name:
            self._said_poll = self._poll.name
            self._lease.say(poll=self._said_poll)
            how = shared.describe_poll(self._poll.name) or "learns of changes by other hosts from events"
            self._say("worker", f"{self.name} {how}")

    def _idle_until(self) -> float | None:
        """When it will have been idle for long enough to exit; None if it has something to do, or stays anyway."""
        if self._idle_exit is None or self._slots.busy or self._attempts.without_slot:
            return None
        if self._waker.must_list or self._intake.is_expecting:
            return None
        if self._slots.has_ready and not self.context.spool.is_paused():
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
        if not self._drain or self._waker.must_list:
            return False
        is_paused = drain.is_paused_for_good(self.context)
        if self._slots.has_ready and not is_paused:
            return False
        is_looked = self._intake.dropbox.is_first_look_over and self._ticker.is_first_look_over
        self._has_drained = is_looked and self._can_nothing_start(is_paused=is_paused)
        return self._has_drained

    def _can_nothing_start(self, *, is_paused: bool) -> bool:
        """RACE: another worker may have settled a job, and not yet moved what waits for it: look oneself. And what is
        being looked at may wait again that was skipped, as in a copy of a spool (tests/work/test_drain.py)."""
        never = self._slots.places.never
        for is_last in (False, True):
            if not drain.can_nothing_start(self.context, self._itself, self.choice, never, is_paused=is_paused):
                return False
            if is_last or not (self._waiting.is_busy or drain.has_waiting(self.context)):
                return True
            self._waiting.look_now()
        return True

    def _say_what_is_left(self) -> bool:
        """Name the jobs that a drained worker leaves; whether there are any."""
        left = drain.describe_left(self.context, self.choice, self._slots.places.never)
        for text in left:
            self._say("warning", text)
        return bool(left)

    # --- reading

    def _look(self) -> None:
        """Everything the main thread does each time it wakes."""
        self._waker.begin()
        self._notifier.beat()
        if self.context.stopping:
            self._lease.say_stopping(self.context.now())
        if self.context.stopping == 1 and not self._is_detaching:
            running = self._slots.busy + self._attempts.without_slot
            what = f"waiting for {format_count(running, 'running job')}; stop again to end and release what runs"
            text = what if running else ""
            self.context.report.once("stopping", "stopping", text)
        self._attempts.enforce()
        self._intake.hear()
        try:
            if self._waker.must_list or time.monotonic() >= self._next_beat():
                self._janitors.beat()
            else:
                self._janitors.run_due()
        except FileNotFoundError as error:
            root = self.context.layout.root
            raise SpoolError(f"the spool {root} is gone", f"{error.filename} does not exist") from error
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._slots.report_refusal(error)
            time.sleep(_SOON)  # jobs that end in the meantime give some back
        self._intake.adopt_due()
        if self._slots.has_closed_groups:
            self._groups.hurry(gate.LOOK_AGAIN)
            self._intake.await_places()
        self._slots.advance()
        self._note_idleness()

    def _hear_bell(self) -> None:
        """A command has done something of which no event tells: cancelled a running job, or changed a group or a
        schedule."""
        self._disowned.hurry()
        self._groups.hurry()
        self._ticker.janitor.hurry()

    def _note_idleness(self) -> None:
        """Call the hook for idleness, once, when it has run jobs and has none left."""
        if self._slots.busy or self._attempts.without_slot or self._slots.has_ready or self._waker.must_list:
            return
        if self._attempts.has_worked:
            self._attempts.has_worked = False
            self.context.hooks.notify("idle")

    def _rescue_all(self) -> None:
        """Take care of the running jobs whose workers are gone."""
        if self.context.stopping:
            return
        forgotten = self._slots.find_forgotten(rescue.find_held(self.context.layout, self.name))
        is_clear = self._adopted.rescue_all(forgotten)
        if not (self._runner.rescue() and is_clear):
            self._rescue.hurry(_SOON)
