"""What a worker uses apart from the jobs: time to its first job, memory, and CPU while there is nothing to do.

`first-job`: from the start of `worker start` with a long queue to the moment that the first job writes down,
against one `os.listdir` of pending/. `memory-idle` is what is resident after some jobs; `memory-backlog` is the
most that was ever resident while a long queue was read and part of it run. `idle-cpu` is what all threads
of a worker spend in a minute without events, and how often they wake; `idle-cpu-scheduled` has jobs for tomorrow.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from benchmarks import machine
from benchmarks.look import listdir
from benchmarks.measure import Meter, Take
from benchmarks.program import Queue, end, wait_for
from benchmarks.rows import Bar, Row
from benchmarks.session import Session
from benchmarks.stock import Backlog, fill_pending

_FIRST_JOB = Bar(1.5, 1.1)
_IDLE_MEMORY = Bar(40, 30, "MiB")
_BACKLOG_MEMORY = Bar(64, 40, "MiB")
_IDLE_CPU = Bar(1.0, 0.2, "ms/s")
_ENOUGH = 1_000_000
"""Jobs beside which the start of Python does not count for much."""
_SETTLE = 2.0
"""Seconds that a worker has for its start before it counts as idle."""


def first_job(session: Session) -> Iterator[Row]:
    """One urgent job in front of a long queue."""
    size = session.sizes.backlogs[-1]
    stock = session.backlog(size)
    takes = session.interleave(
        {"listdir": lambda: listdir(str(stock.queue.pending)), "start": lambda: _start(stock)}, warm=True
    )
    mine, floor = takes["start"], takes["listdir"]
    yield Row(
        name="first-job", what=f"worker start to first job, {size:,} pending", place=session.place.kind,
        value=mine.median, unit="ms", floor=floor.median, floor_what="one os.listdir of pending/",
        figure=mine.ratio(floor), bar=_FIRST_JOB if size >= _ENOUGH else None, n=len(mine.takes), cpu_us=mine.cpu * 1e6,
        floor_cpu_us=floor.cpu * 1e6, foreign=max(mine.foreign, floor.foreign), samples=mine.values,
        floor_samples=floor.values,
    )  # fmt: skip


def _start(stock: Backlog) -> Take:
    stock.top_up()
    stamp = stock.queue.path.parent / "first"
    name = f"000-20260101T000000.000Z-0-first{time.monotonic_ns()}.json"
    (stock.queue.pending / name).write_text(f'{{"command": "date +%s%N > {stamp}.part; mv {stamp}.part {stamp}"}}')
    with Meter() as meter:
        begun = time.time()
        worker = stock.queue.start_worker()
        try:
            wait_for(lambda: stamp.exists() or worker.poll() is not None, 0.005)
        finally:
            end(worker)
    took = int(stamp.read_text(encoding="ascii")) / 1e9 - begun
    stamp.unlink()
    return meter.take(took * 1e3)


def memory(session: Session) -> Iterator[Row]:
    """A worker after a few jobs, and one in front of a long queue."""
    idle = session.interleave({"idle": lambda: _idle_memory(session)})["idle"]
    yield _memory_row(session, "memory-idle", "memory of an idle worker", idle.values, _IDLE_MEMORY)
    size = session.sizes.backlogs[-1]
    stock = session.backlog(size)
    peaks = session.interleave({"peak": lambda: _peak_memory(stock, max(1, min(size, session.sizes.window) // 20))})[
        "peak"
    ]
    what = f"memory of a worker at most, {size:,} pending"
    yield _memory_row(session, "memory-backlog", what, peaks.values, _BACKLOG_MEMORY)


def _memory_row(session: Session, name: str, what: str, values: list[float], bar: Bar) -> Row:
    value = statistics.median(values)
    return Row(
        name=name, what=what, place=session.place.kind, value=value, unit="MiB", figure=value,
        figure_unit="MiB", bar=bar, n=len(values), samples=values,
    )  # fmt: skip


def _idle_memory(session: Session) -> Take:
    with session.queue() as queue:
        fill_pending(queue, min(50, session.sizes.jobs))
        with queue.worker("--count", "2") as worker:
            wait_for(lambda: not os.listdir(queue.pending) and not os.listdir(queue.running), 0.05)
            return Take(machine.memory_of(worker.pid)[0])


def _peak_memory(stock: Backlog, jobs: int) -> Take:
    stock.top_up()
    worker = stock.queue.start_worker("--count", "2")
    try:
        wait_for(lambda: len(os.listdir(stock.queue.done)) >= jobs or worker.poll() is not None, 0.05)
        return Take(machine.memory_of(worker.pid)[1])
    finally:
        end(worker)


def idle(session: Session) -> Iterator[Row]:
    """A worker without work, over the slow beat of its listings."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for name, number in (("idle-cpu", 0), ("idle-cpu-scheduled", session.sizes.scheduled)):
        with session.queue() as queue:
            fill_pending(queue, number, run_at=tomorrow)
            value, wakeups = _idle_cpu(queue, session.sizes.idle_seconds)
        what = "CPU of an idle worker" + (f", {number:,} jobs for tomorrow" if number else "")
        yield Row(
            name=name, what=what, place=session.place.kind, value=value, unit="ms/s", figure=value,
            figure_unit="ms/s", bar=None if number else _IDLE_CPU, n=1, details={"wakeups_per_s": wakeups},
        )  # fmt: skip


def _idle_cpu(queue: Queue, seconds: float) -> tuple[float, float]:
    """Milliseconds of CPU and wake-ups, both a second."""
    with queue.worker() as worker:
        time.sleep(min(_SETTLE, seconds))
        spent, woken, begun = machine.cpu_of_threads(worker.pid), machine.wakeups_of(worker.pid), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begun
        woken = machine.wakeups_of(worker.pid) - woken
        return (machine.cpu_of_threads(worker.pid) - spent) / took * 1e3, woken / took
