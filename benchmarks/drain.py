"""How fast jobs of `true` are run, with a short queue and with long ones.

`drain`: from the first finished job to the last, against `seq N | xargs -P2 -I{} sh -c true`, which records
nothing. `drain-exit`: the whole command instead, with the worker's start and exit in it. `bare-threads`: what
the machine itself could do, two threads that spawn the same shell and wait for it. `c-program`: the same system calls
for each job as queuectl makes, by two threads of a C program, `floor.c`: what is between this and `drain` is Python.

`backlog-N`: the rate with N jobs pending against that with 1,000, over so many jobs that the worker has to list
the directory again in between. The CPU time of these rows has the worker's start in it.
"""

from __future__ import annotations

import os
import shutil
import statistics
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.measure import Meter, Take, Takes
from benchmarks.program import FailedError, end, rate, run, wait_for
from benchmarks.rows import Bar, Row
from benchmarks.session import Session
from benchmarks.stock import Backlog

_DRAIN = Bar(0.9, 1.2, at_least=True)
_BACKLOG = {100_000: Bar(0.9, 1.0, at_least=True), 1_000_000: Bar(0.8, 1.0, at_least=True)}
_ENOUGH = 5_000
"""Jobs beside which the start of a worker does not count for much."""
_SHELL = ["sh", "-c", "true"]


def drain(session: Session) -> Iterator[Row]:
    """Jobs queued by `enqueue -`, run by `worker start --count 2 --drain`."""
    jobs = session.sizes.jobs
    with session.scratch() as directory:
        program = _compile(directory)
        sides = {
            "xargs": lambda: xargs(jobs),
            "drain": lambda: _drain(session, jobs, is_whole=False),
            "drain-exit": lambda: _drain(session, jobs, is_whole=True),
            "bare-threads": lambda: bare(jobs),
        }
        if program is not None:
            sides["c-program"] = lambda: _drain_in_c(session, jobs, program)
        takes = session.interleave(sides)
    what = {
        "drain": f"drain {jobs:,} jobs, first to last",
        "drain-exit": f"drain {jobs:,} jobs, with the worker's start and exit",
        "bare-threads": "two threads that only spawn and wait",
        "c-program": "a C program that makes the system calls of a job",
    }
    for name, text in what.items():
        if name not in takes:
            yield Row(name=name, what=text, place=session.place.kind, skipped="there is no C compiler (cc) here")
            continue
        bar = _DRAIN if name == "drain" or (name == "drain-exit" and jobs >= _ENOUGH) else None
        yield compared(session, name, text, takes[name], takes["xargs"], "xargs -P2", bar)


def compared(
    session: Session, name: str, what: str, mine: Takes, floor: Takes, floor_what: str, bar: Bar | None
) -> Row:
    """A row of rates of jobs."""
    return Row(
        name=name, what=what, place=session.place.kind, value=mine.median, unit="jobs/s",
        floor=floor.median, floor_what=floor_what, figure=mine.ratio(floor), bar=bar, n=len(mine.takes),
        cpu_us=mine.cpu * 1e6, floor_cpu_us=floor.cpu * 1e6, foreign=max(mine.foreign, floor.foreign),
        samples=mine.values, floor_samples=floor.values,
    )  # fmt: skip


def _drain(session: Session, jobs: int, *, is_whole: bool) -> Take:
    with session.queue() as queue:
        queue.enqueue(b'{"command": "true"}\n' * jobs)
        with Meter() as meter:
            code = queue.run_worker("--count", "2", "--drain")
        times = queue.finished()
        if code or len(times) != jobs:
            raise FailedError(f"the worker ended with {code}, and {len(times)} of {jobs} jobs done")
        return meter.take(jobs / meter.wall if is_whole else rate(times), jobs)


def _compile(directory: Path) -> Path | None:
    """The C program, made from its source; None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = directory / "floor"
    run([compiler, "-O2", "-pthread", str(Path(__file__).with_name("floor.c")), "-o", str(program)])
    return program


def _drain_in_c(session: Session, jobs: int, program: Path) -> Take:
    with session.queue() as queue:
        queue.enqueue(b'{"command": "true"}\n' * jobs)
        with Meter() as meter:
            run([str(program), str(queue.path)])
        if len(queue.finished()) != jobs:
            raise FailedError(f"the C program has not run all of {jobs} jobs")
        return meter.take(jobs / meter.wall, jobs)


def xargs(jobs: int) -> Take:
    """The floor: a shell for each job, two at a time, and nothing recorded."""
    with Meter() as meter:
        run(["sh", "-c", f"seq {jobs} | xargs -P2 -I{{}} sh -c true"])
    return meter.take(jobs / meter.wall, jobs)


def bare(jobs: int) -> Take:
    """Two threads that spawn the shell and wait: the most that two slots can do here."""
    left = iter(range(jobs))

    def slot() -> None:
        for _ in left:
            os.waitpid(os.posix_spawn("/bin/sh", _SHELL, os.environ), 0)

    threads = [threading.Thread(target=slot) for _ in range(2)]
    with Meter() as meter:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return meter.take(jobs / meter.wall, jobs)


def backlog(session: Session) -> Iterator[Row]:
    """Part of a long queue, run by `worker start --count 2`, which is then stopped."""
    sizes = session.sizes.backlogs
    sides = {size: session.backlog(size) for size in sizes}
    for size in sizes[1:]:
        takes = session.interleave(
            {
                "short": partial(_run_some, sides[sizes[0]], session.sizes.window),
                "long": partial(_run_some, sides[size], session.sizes.window),
            }
        )
        what = f"drain with {size:,} pending"
        bar = _BACKLOG.get(size)
        yield compared(session, f"backlog-{size}", what, takes["long"], takes["short"], f"{sizes[0]:,} pending", bar)


def _run_some(stock: Backlog, window: int) -> Take:
    """The rate over a window of jobs; a short queue is run several times, and its median run counts."""
    jobs = min(stock.size, window)
    takes = [_run_once(stock, jobs) for _ in range(max(1, min(5, window // jobs)))]
    cpu = statistics.median(take.cpu for take in takes)
    return Take(statistics.median(take.value for take in takes), cpu, max(take.foreign for take in takes))


def _run_once(stock: Backlog, jobs: int) -> Take:
    stock.top_up()
    with stock.queue.reported() as ended, Meter() as meter:
        worker = stock.queue.start_worker("--count", "2")
        try:
            wait_for(lambda: ended() >= jobs or worker.poll() is not None, 0.1)
        finally:
            end(worker)
    times = stock.queue.finished()
    if len(times) < jobs:
        raise FailedError(f"the worker ended with {worker.returncode} after {len(times)} of {jobs} jobs")
    return meter.take(rate(times[:jobs]), len(times))
