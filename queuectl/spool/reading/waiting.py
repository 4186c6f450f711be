"""Waiting for jobs to end, on the events of the spool itself.

The trigger reports names that appear in done/ and dead/ or vanish from pending/; a job's own name there says that it
has ended, and how. Events may be lost, so all jobs are also checked at a slow interval, or a faster one without events.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from queuectl.core import groups
from queuectl.core.job import Job
from queuectl.core.names import FinishedName, RunningName
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import BrakedError, NotFoundError, QueuectlError, UsageError, WaitTimeoutError
from queuectl.spool.reading import query
from queuectl.spool.reading.itself import Itself, itself
from queuectl.spool.system import files, pause
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout

if TYPE_CHECKING:
    from queuectl.spool.system.trigger import Trigger

Ended = Job | NotFoundError
"""A job that is done or dead, or the error that it was deleted."""

_FIRST_INTERVAL = 0.02  # while the watch is being set up, in a thread of its own
_INTERVAL = 2.0
_BLIND_INTERVAL = 0.25
_LOOK_SHARE = 10  # of the time, looks that no event has asked for take a tenth at most


class _Waker:
    """Wakes one thread, from other threads and signal handlers. A pipe, as a Ctrl-C could leave a lock held."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def wake(self) -> None:
        with suppress(OSError):  # a full pipe wakes as well; a closed one has nobody to wake
            os.write(self._writing, b"!")

    def wait(self, seconds: float) -> None:
        """Until `wake` is called, or the time has passed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._reading, selectors.EVENT_READ)
            selector.select(max(0.0, seconds))
        with suppress(BlockingIOError):
            os.read(self._reading, 65536)

    def close(self) -> None:
        writing, self._writing = self._writing, -1
        os.close(writing)
        os.close(self._reading)


class Watch:
    """Watches some jobs until they have ended; close it, or use it in a `with`.

    `logs` are files whose growth, or creation, ends a `wait` as well. That may be a false alarm: the caller reads
    them and looks again.
    """

    def __init__(self, layout: Layout, jobs: Iterable[Job], *, logs: Iterable[str] = ()) -> None:
        self._layout = layout
        self._logs = frozenset(logs)
        self._unmade: set[str] = set()
        self._states = {layout.directory(state): state for state in (State.PENDING, State.DONE, State.DEAD)}
        self._events: deque[str | None] = deque()
        self._waker = _Waker()
        self._unclear: set[str] = set()
        self._is_woken = False
        self._trigger: Trigger | None = None
        self._interval = _FIRST_INTERVAL
        self._look_at = 0.0
        self.open = {job.id: job for job in jobs}
        """The jobs that have not ended, by id, as they were last seen."""

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._close_trigger()
        self._waker.close()

    def _close_trigger(self) -> None:
        trigger, self._trigger = self._trigger, None
        if trigger is not None:
            trigger.close()

    def wake(self) -> None:
        """End the current wait, or the next one; for signal handlers."""
        self._is_woken = True
        self._waker.wake()

    def add(self, jobs: Iterable[Job]) -> None:
        """Watch more jobs, from the next `wait` on. In the thread that waits, as all but `wake`."""
        added = {job.id: job for job in jobs}
        self.open |= added
        self._unclear |= added.keys()  # they may have ended while nobody listened for them

    def sleep(self, seconds: float) -> None:
        """Until `wake` is called, or the time has passed."""
        if not self._is_woken:
            self._waker.wait(seconds)
        self._is_woken = False

    def wait(self, timeout: float | None = None) -> list[Ended]:
        """The jobs that have ended since the last call.

        Empty if `timeout` seconds have passed, a log may have grown, or `wake` was called.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        ended = self._look() if self._logs or time.monotonic() >= self._look_at else self._look_at_unclear()
        while not ended and self.open and (deadline is None or time.monotonic() < deadline):
            if self._trigger is None:
                self._start()
            pause = self._look_at - time.monotonic()
            if deadline is not None:
                pause = min(pause, deadline - time.monotonic())
            self._waker.wait(pause)
            reported, has_grown = self._handle_events()
            reported += self._look_at_unclear()
            if reported:
                return reported
            if has_grown or self._is_woken:
                self._is_woken = False
                break
            if time.monotonic() >= self._look_at:
                ended = self._look()
                if self._logs:
                    break  # an event may have been lost
        return ended

    def _start(self) -> None:
        """Watch the jobs and each log; for a log that does not exist yet, its creation."""
        from queuectl.spool.system.trigger import Trigger

        self._unmade = {log for log in self._logs if files.is_gone(log)}
        parents = {os.path.dirname(log) for log in self._unmade}
        places = [*self._states, *parents, *(self._logs - self._unmade)]
        self._trigger = Trigger(self._layout, self._on_event, places)

    def _on_event(self, path: str | None) -> None:
        """Called from another thread. In a busy spool most events are about other jobs."""
        if path is not None and path not in self._logs:
            directory, _, name = path.rpartition("/")
            state = self._states.get(directory)
            if state is None or query.id_in(state, name) not in self.open:
                return
        self._events.append(path)
        self._waker.wake()

    def _handle_events(self) -> tuple[list[Ended], bool]:
        """The ends that the events report, and whether a log has grown."""
        ended: list[Ended] = []
        has_grown = False
        while self._events:
            path = self._events.popleft()
            has_grown |= path in self._logs
            directory, _, name = (path or "").rpartition("/")
            state = self._states.get(directory)
            if path is None:
                self._look_at = 0.0
            elif state is State.PENDING:
                self._unclear.add(query.id_in(state, name) or "")
            elif state is not None and (job := query.load(self._layout, state, name)) and job.id in self.open:
                del self.open[job.id]
                ended.append(job)
        return ended, has_grown

    def _look(self) -> list[Ended]:
        """Check every job: only its file, unless that has moved."""
        if not all(map(files.is_gone, self._unmade)):
            self._unmade.clear()
            self._close_trigger()  # the next one watches its growth too
            self._interval = _FIRST_INTERVAL
        begun = time.monotonic()
        self._interval = min(self._interval * 2, _BLIND_INTERVAL if self._is_blind else _INTERVAL)
        self._unclear.clear()
        self._look_at = begun + self._interval
        ended = self._look_at_jobs([*self.open.values()])
        if self._layout.shared:
            for log in self._logs:
                files.refresh(log)
            self._look_at = max(self._look_at, begun + _LOOK_SHARE * (time.monotonic() - begun))
        return ended

    @property
    def _is_blind(self) -> bool:
        """Whether there are no events, or those of other hosts may be missing."""
        return self._trigger is not None and (self._trigger.problem is not None or self._trigger.is_blind)

    def _look_at_unclear(self) -> list[Ended]:
        """Check only those that were added, and those of which an event does not say enough."""
        jobs = [self.open[id] for id in self._unclear if id in self.open]
        self._unclear.clear()
        return self._look_at_jobs(jobs) if jobs else []

    def _look_at_jobs(self, jobs: Sequence[Job]) -> list[Ended]:
        ended: list[Ended] = [job for job in jobs if isinstance(job.name, FinishedName)]
        there = [job for job in jobs if not isinstance(job.name, FinishedName)]
        # What another host has moved away may be seen for seconds where it was, but not in a listing.
        moved = [job.id for job in there if self._layout.shared or files.is_gone(job.path)]
        found = query.locate_all(self._layout, set(moved)) if moved else {}
        for id in moved:
            if id not in found:
                ended.append(NotFoundError(f"job {id} is gone", "it was removed during the wait", id=id))
                del self.open[id]
                continue
            job = query.load(self._layout, *found[id])
            if job is None:  # it has moved again
                self._interval = _FIRST_INTERVAL
                self._look_at = min(self._look_at, time.monotonic() + _FIRST_INTERVAL)
                continue
            self.open[id] = job
            if isinstance(job.name, FinishedName):
                ended.append(job)
        for item in ended:
            if isinstance(item, Job):
                self.open.pop(item.id, None)
        return sorted(ended, key=_ended_at)


def _ended_at(item: Ended) -> str:
    """When a job finished, in a form to sort by; deleted jobs come first."""
    return str(item.name) if isinstance(item, Job) else ""


def ends(
    layout: Layout, jobs: Iterable[Job], timeout: float | None = None, tick: Callable[[], None] = lambda: None
) -> Iterator[Ended]:
    """Each of the jobs as it ends; raises WaitTimeoutError once `timeout` seconds have passed.

    `tick` is called every now and then, and when jobs have ended.
    Raises BrakedError once all that have not ended stand behind a pause that `max-failed` has made, and UsageError if
    this process is a part of one of them.
    """
    jobs = [*jobs]
    itself(layout).refuse_to_wait(jobs)
    deadline = None if timeout is None else time.monotonic() + timeout
    with Watch(layout, jobs) as watch:
        while True:
            rest = None if deadline is None else max(0.0, deadline - time.monotonic())
            tick()
            yield from watch.wait(_INTERVAL if rest is None else min(rest, _INTERVAL))
            if not watch.open:
                return
            require_unbraked(layout, watch.open.values())
            if deadline is not None and time.monotonic() >= deadline:
                raise timed_out([*watch.open.values()], timeout)


def timed_out(left: Sequence[Job], timeout: float | None) -> WaitTimeoutError:
    """The error for jobs that have not ended in that time."""
    is_one = len(left) == 1
    what = f"job {left[0].id} is still {left[0].state}" if is_one else f"{len(left)} jobs have not ended"
    return WaitTimeoutError(what, f"waited {timeout:g} s")


def require_unbraked(layout: Layout, jobs: Collection[Job]) -> None:
    """Raise BrakedError if none of these jobs can end before somebody resumes what has paused itself."""
    brakes: dict[str, str] = {}
    for job in jobs:
        brake = next((name for name in ("", *groups.of(job.id)) if _is_braked(layout, name, brakes)), None)
        if brake is None or job.state is not State.PENDING:
            return
    name, reason = next((name, reason) for name, reason in brakes.items() if reason)
    what = f"the group {name}" if name else "the queue"
    raise BrakedError(
        f"{format_count(len(jobs), 'job')} cannot start: {what} has paused itself", reason,
        f"to continue: queuectl resume{f' --group {name}' if name else ''}",
    )  # fmt: skip


def _is_braked(layout: Layout, group: str, brakes: dict[str, str]) -> bool:
    if group not in brakes:
        found = pause.read(layout, now, group)
        brakes[group] = (found.reason or "max-failed") if found is not None and found.is_brake else ""
    return bool(brakes[group])


def _running_besides(layout: Layout, own: Itself, group: str) -> list[RunningName]:
    found = filter(None, map(RunningName.parse, query.list_names(layout, State.RUNNING)))
    return [name for name in found if not own.runs(name) and (not group or groups.is_in(name.id, group))]


def wait_until_idle(layout: Layout, timeout: float | None = None, group: str = "") -> None:
    """Wait until no job (of a group) is running, under any worker; raises WaitTimeoutError after `timeout` seconds.

    The job that this process is a part of does not count. A job that leaves running/ appears in another directory,
    which wakes the wait.
    """
    from queuectl.spool.system.trigger import Trigger

    deadline = None if timeout is None else time.monotonic() + timeout
    own = itself(layout)
    waker = _Waker()
    interval = _FIRST_INTERVAL
    trigger = None
    try:
        while running := _running_besides(layout, own, group):
            rest = float("inf") if deadline is None else deadline - time.monotonic()
            if rest <= 0:
                raise WaitTimeoutError(f"{format_count(len(running), 'job')} still running", f"waited {timeout:g} s")
            if trigger is None:
                places = [layout.directory(state) for state in (State.PENDING, State.DONE, State.DEAD)]
                trigger = Trigger(layout, lambda _: waker.wake(), places)
            is_blind = trigger.problem is not None or trigger.is_blind
            interval = min(interval * 2, _BLIND_INTERVAL if is_blind else _INTERVAL)
            waker.wait(min(interval, rest))
    finally:
        if trigger is not None:
            trigger.close()
        waker.close()


class Waits:
    """What a wait was asked for, and what has come of it: one job, all of several, or any of them."""

    def __init__(self, ids: Sequence[str | Job], *, is_one: bool, is_any: bool) -> None:
        if is_any and not ids:
            raise UsageError("no job to wait for")
        self._ids = ids
        self._is_first_alone = is_one or is_any
        self._is_any = is_any
        self._jobs: list[Job] = []
        self._ended: dict[str, Job] = {}

    def run(self, layout: Layout, timeout: float | None) -> Job | list[Job]:
        """Wait; the job or jobs. Raises as `ends` does, and NotFoundError for a job that was deleted."""
        for ended in ends(layout, self.find(layout), timeout):
            if self.note(ended):
                break
        return self.answer()

    def find(self, layout: Layout) -> list[Job]:
        """The jobs to wait for."""
        self._jobs = [query.find(layout, id) for id in self._ids]
        return self._jobs

    def note(self, ended: Job | QueuectlError) -> bool:
        """Note a job that has ended; whether that is enough. Raises the error of one whose end will not be known."""
        if isinstance(ended, QueuectlError):
            raise ended
        self._ended[ended.id] = ended
        return self._is_any

    def answer(self) -> Job | list[Job]:
        """Those that have ended."""
        if self._is_first_alone:
            return next(iter(self._ended.values()))
        return [self._ended[job.id] for job in self._jobs]
