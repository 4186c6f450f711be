"""Several worker processes under one: it starts them, starts another for each that dies, and ends with the last.

A process that ends well (it was stopped, has drained, was idle) is not replaced. If the supervisor itself is
killed, its workers notice that their leash is cut, and stop as if they had been asked to.

The first process of a PID namespace, as in a container, inherits every process whose parent has died, and has to wait
for each. A worker cannot do that: its threads wait for jobs of its own. So there a single worker has a supervisor too.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from queuectl.core.text import format_count, format_seconds
from queuectl.work import forked
from queuectl.work.notify import Ending, Notifier
from queuectl.work.report import Report

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_GOOD_LIFE = 60.0  # seconds after which a death is not taken for a failure to start
_PASSED_ON = {
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGINT: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,
    signal.SIGQUIT: signal.SIGQUIT,
    signal.SIGUSR1: signal.SIGUSR1,
}


@dataclass(slots=True)
class _Place:
    """One of the processes: its pid while it lives, else when the next is started (None: never)."""

    pid: int | None = None
    started_at: float = 0.0
    start_at: float | None = 0.0
    pause: float = _FIRST_PAUSE


class Supervisor:
    """For a process without other threads."""

    def __init__(
        self, number: int, work: Callable[[int], int], report: Report, notifier: Notifier, *, is_init: bool = False
    ) -> None:
        """`work` is called in each process; it gets its end of the leash, and returns the exit code.

        With `is_init` a process that ends with an exit code is not replaced, only one that was killed.
        """
        self._places = [_Place() for _ in range(number)]
        self._work = work
        self._report = report
        self._notifier = notifier
        self._caught: deque[int] = deque()
        self._is_stopping = False
        self._is_init = is_init
        self._code = int(Ending.DONE)

    def run(self) -> int:
        """Until every process has ended well, or ended after a signal to stop; the exit code, as for `Ending`."""
        self._leash, self._held = os.pipe2(os.O_CLOEXEC)
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._catch_signals()
        if not self._is_init:
            self._say("worker", f"process {os.getpid()} keeps {format_count(len(self._places), 'worker')} running")
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_r, selectors.EVENT_READ)
            self._start_due()
            self._notifier.ready(f"keeps {format_count(len(self._places), 'worker')} running")
            while any(place.pid is not None or place.start_at is not None for place in self._places):
                selector.select(self._pause())
                with suppress(BlockingIOError):
                    os.read(self._wake_r, 65536)
                self._notifier.beat()
                self._pass_on()
                self._reap()
                self._start_due()
        self._notifier.stopping()
        if not self._is_init:
            self._say("worker", f"process {os.getpid()} has stopped")
        return self._code

    def _say(self, event: str, text: str) -> None:
        self._report.event(event, None, text)

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup, or a shell's background job
                signal.signal(number, lambda caught, _: self._caught.append(caught))

    def _pause(self) -> float | None:
        times = [place.start_at for place in self._places if place.start_at is not None]
        times += [at for at in (self._notifier.next_beat,) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _pass_on(self) -> None:
        """Pass the signals that this process got on to every other."""
        while self._caught:
            number = _PASSED_ON[signal.Signals(self._caught.popleft())]
            self._is_stopping = True
            for place in self._places:
                place.start_at = None
                if place.pid is not None:
                    os.kill(place.pid, number)  # not waited for yet, so the pid is still its own

    def _reap(self) -> None:
        """Wait for all that have ended: worker processes, and what was left to this process by others."""
        now = time.monotonic()
        while (ended := _wait_for_any()) is not None:
            pid, code = ended
            place = next((place for place in self._places if place.pid == pid), None)
            if place is None:
                continue
            place.pid = None
            is_well = code in tuple(Ending) or (self._is_init and code > 0)
            if is_well:
                self._code = max(self._code, code)
            if is_well or self._is_stopping:
                continue
            place.pause = _FIRST_PAUSE if now - place.started_at > _GOOD_LIFE else min(place.pause * 2, _LONGEST_PAUSE)
            place.start_at = now + place.pause
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            text = f"worker process {pid} ended with {how}; starting another in {format_seconds(place.pause)}"
            self._say("warning", text)

    def _start_due(self) -> None:
        now = time.monotonic()
        for place in self._places:
            if place.start_at is not None and place.start_at <= now:
                place.start_at, place.started_at = None, now
                try:
                    place.pid = self._fork()
                except OSError as error:
                    place.start_at = now + place.pause
                    self._report.once("fork", "error", f"cannot start a process: {error.strerror}")

    def _fork(self) -> int:
        """A process that works, in a group of its own: a terminal's Ctrl-C is for the supervisor to pass on."""
        sys.stdout.flush()
        sys.stderr.flush()
        handled = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)  # until the child has handlers of its own
        pid = os.fork()
        if not pid:
            forked.end_with(self._work_alone)
        signal.pthread_sigmask(signal.SIG_SETMASK, handled)
        return pid

    def _work_alone(self) -> int:
        """The exit code of a process that was just forked, and keeps nothing of the supervisor but the leash."""
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *_PASSED_ON):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        for descriptor in (self._held, self._wake_r, self._wake_w):
            os.close(descriptor)
        return self._work(self._leash)


def _wait_for_any() -> tuple[int, int] | None:
    """Pid and exit code of a child that has ended; None if none has."""
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None
