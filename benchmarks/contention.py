"""Several workers of one slot each on one queue: what do they lose when another was first?

`contend-N`: the CPU time that N workers spend in claims that come to nothing, and in looks at names that are
gone, in percent of all that they and their jobs spend. Each worker is the real command, with a stopwatch around
the functions that do that; the wall clock cannot show it, as more workers than cores gain and lose for other
reasons. How the rate grows with N is in `workers_x`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import PYTHON
from benchmarks.measure import Meter, Take
from benchmarks.program import ENVIRONMENT, FailedError, Queue, end, rate
from benchmarks.rows import Bar, Row
from benchmarks.session import Session
from benchmarks.stock import fill_pending

_ROOT = Path(__file__).parent.parent
_BAR = Bar(5.0, 1.0, "%")


def contention(session: Session) -> Iterator[Row]:
    """The same jobs for 1, 2, 4 and 8 workers."""
    jobs = session.sizes.contended
    lost: dict[int, list[dict[str, float]]] = {workers: [] for workers in session.sizes.workers}

    def side(workers: int) -> Take:
        with session.queue() as queue:
            fill_pending(queue, jobs)
            with Meter() as meter:
                counts = _run(queue, workers)
            times = queue.finished()
        if len(times) != jobs:
            raise FailedError(f"{len(times)} of {jobs} jobs done by {workers} workers")
        lost[workers].append(
            {
                "lost_percent": sum(one["lost"] for one in counts) / jobs * 100,
                "cost_percent": sum(one["seconds"] for one in counts) / meter.cpu * 100,
            }
        )
        return meter.take(rate(times), jobs)

    sides = {str(workers): lambda workers=workers: side(workers) for workers in lost}
    takes = session.interleave(sides)
    alone = takes[str(session.sizes.workers[0])]
    for workers in session.sizes.workers:
        mine = takes[str(workers)]
        cost = statistics.median(one["cost_percent"] for one in lost[workers])
        yield Row(
            name=f"contend-{workers}", what=f"{workers} workers of 1 slot, {jobs:,} jobs: cost of lost races",
            place=session.place.kind, value=mine.median, unit="jobs/s", floor=alone.median,
            floor_what="one worker", figure=cost, figure_unit="%", bar=_BAR if workers > 1 else None,
            n=len(mine.takes), cpu_us=mine.cpu * 1e6, floor_cpu_us=alone.cpu * 1e6,
            foreign=max(mine.foreign, alone.foreign),
            details={
                "lost_races_percent": statistics.median(one["lost_percent"] for one in lost[workers]),
                "workers_x": mine.ratio(alone),
            },
            samples=mine.values, floor_samples=alone.values,
        )  # fmt: skip


def _run(queue: Queue, workers: int) -> list[dict[str, float]]:
    """Start the workers together, wait for all, and gather what each says it lost."""
    reports = [queue.path.parent / f"lost-{number}" for number in range(workers)]
    with open(queue.path.parent / "report", "ab") as report:
        running = [
            subprocess.Popen(
                [PYTHON, "-m", "benchmarks.contention", str(path), str(queue.path)],
                env={**ENVIRONMENT, "PYTHONPATH": str(_ROOT)},
                cwd=queue.path.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=report,
            )
            for path in reports
        ]
    try:
        codes = [process.wait() for process in running]
    finally:
        for process in running:
            end(process)
    if any(codes):
        raise FailedError(f"workers ended with {codes}")
    return [json.loads(path.read_text(encoding="ascii")) for path in reports]


def _worker(report: str, spool: str) -> None:
    """In a process of its own: `queuectl worker start --drain` with a stopwatch around what finds a job gone."""
    from queuectl.cli.main import main
    from queuectl.spool.moves import claims
    from queuectl.spool.system import files

    seconds: list[float] = []

    def timed(function: Callable[..., Any], is_lost: Callable[[Any], bool]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            begun = time.thread_time()
            found = function(*arguments)
            if is_lost(found):
                seconds.append(time.thread_time() - begun)
            return found

        return call

    claims.claim = timed(claims.claim, lambda found: found is None)
    files.is_gone = timed(files.is_gone, bool)  # asked of names that other workers may have taken
    sys.argv = ["queuectl", "--spool", spool, "worker", "start", "--drain"]
    try:
        main()
    finally:
        with open(report, "w", encoding="ascii") as file:
            json.dump({"lost": len(seconds), "seconds": sum(seconds)}, file)


if __name__ == "__main__":
    _worker(*sys.argv[1:])
