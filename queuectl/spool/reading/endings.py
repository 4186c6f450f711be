"""Waiting for a set of jobs that grows: one thread for all of them, which calls back as each ends."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress

from queuectl.core.job import Job
from queuectl.errors import QueuectlError, SpoolError
from queuectl.spool.reading.itself import itself
from queuectl.spool.reading.waiting import Waits, Watch, require_unbraked, timed_out
from queuectl.spool.system.layout import Layout

Call = Callable[[str, Job | QueuectlError], None]
"""Called once for an id, in another thread, with the job that is done or dead, or why that will never be known."""

_LINGER = 5.0
"""Seconds that the thread stays without a job to watch, for a program that submits one after the other."""
_BRAKE = 10.0
"""Seconds between looks at whether a pause that `max-failed` has made is in the way."""


class Endings:
    """Watches the jobs that it is given and calls what was given with each, once it has ended.

    Its thread starts with the first of them and ends some time after the last, or with the program. It needs nothing
    to be closed. Any thread may use it, and a process that was forked.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._start_over()

    def _start_over(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._new: list[Job] = []
        self._forgotten: set[str] = set()
        self._calls: dict[str, list[Call]] = {}

    def add(self, jobs: Iterable[Job], call: Call) -> None:
        """Call that with each of these jobs once it has ended, or at once if it has."""
        if self._pid != os.getpid():
            self._start_over()  # the thread is in the other process
        with self._lock:
            for job in jobs:
                self._new.append(job)
                self._calls.setdefault(job.id, []).append(call)
            if self._watch is not None:
                self._watch.wake()
            elif self._new:
                self._watch = Watch(self._layout, ())
                threading.Thread(target=self._run, args=[self._watch], daemon=True, name="queuectl-endings").start()

    def forget(self, jobs: Iterable[Job], call: Call) -> None:
        """Do not call that any more, unless it is being called now."""
        with self._lock:
            for job in jobs:
                calls = self._calls.get(job.id, [])
                if call in calls:
                    calls.remove(call)
                if not calls:
                    self._calls.pop(job.id, None)
                    self._forgotten.add(job.id)
            if self._watch is not None and self._forgotten:
                self._watch.wake()

    def last_seen(self, jobs: Iterable[Job]) -> list[Job]:
        """These jobs as they were when they were last looked at."""
        watch = self._watch
        return [watch.open.get(job.id, job) if watch else job for job in jobs]

    def _run(self, watch: Watch) -> None:
        with watch:
            try:
                while self._is_needed(watch):
                    for ended in watch.wait():
                        self._report(ended.id or "", ended)
            except Exception as error:  # whatever it is, it is raised where the ends are awaited
                self._fail(error)

    def _is_needed(self, watch: Watch) -> bool:
        """Take in what was added; whether there is anything to wait for, now or within the time to linger."""
        idle_until = time.monotonic() + _LINGER
        while True:
            with self._lock:
                for id in self._forgotten - self._calls.keys():
                    watch.open.pop(id, None)
                self._forgotten.clear()
                watch.add(job for job in self._new if job.id in self._calls)
                self._new.clear()
                if watch.open:
                    return True
                if time.monotonic() >= idle_until:
                    self._watch = None
                    return False
            watch.sleep(idle_until - time.monotonic())

    def _report(self, id: str, ended: Job | QueuectlError) -> None:
        with self._lock:
            calls = self._calls.pop(id, [])
        for call in calls:
            call(id, ended)

    def _fail(self, error: Exception) -> None:
        """Report to all that wait that nothing can be known any more: the spool is gone, for one."""
        with self._lock:
            self._watch = None
            self._new.clear()
            ids = [*self._calls]
        root = self._layout.root
        reported = error if isinstance(error, QueuectlError) else SpoolError(f"cannot watch {root}", f"{error}")
        for id in ids:
            self._report(id, reported)


async def ends(
    endings: Endings, layout: Layout, jobs: Sequence[Job], timeout: float | None = None
) -> AsyncGenerator[Job | QueuectlError, None]:
    """Each of the jobs as it ends, for an event loop, which nothing here blocks; raises as `waiting.ends` does."""
    import asyncio

    itself(layout).refuse_to_wait(jobs)
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[tuple[str, Job | QueuectlError]] = asyncio.Queue()
    deadline = None if timeout is None else loop.time() + timeout

    def call(id: str, ended: Job | QueuectlError) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(arrived.put_nowait, (id, ended))

    left = {job.id: job for job in jobs}
    endings.add(left.values(), call)
    try:
        while left:
            try:
                async with asyncio.timeout(_BRAKE if deadline is None else min(_BRAKE, deadline - loop.time())):
                    id, ended = await arrived.get()
            except TimeoutError:
                open_jobs = endings.last_seen(left.values())
                require_unbraked(layout, open_jobs)
                if deadline is not None and loop.time() >= deadline:
                    raise timed_out(open_jobs, timeout) from None
            else:
                del left[id]
                yield ended
    finally:
        endings.forget(left.values(), call)


async def wait(endings: Endings, layout: Layout, waits: Waits, timeout: float | None = None) -> Job | list[Job]:
    """What `waits` asks for."""
    import asyncio

    jobs = await asyncio.to_thread(waits.find, layout)
    async with aclosing(ends(endings, layout, jobs, timeout)) as found:
        async for ended in found:
            if waits.note(ended):
                break
    return waits.answer()
