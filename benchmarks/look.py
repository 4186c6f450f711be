"""What it costs to look at a spool with a long history: `status`, `metrics` and `list --limit 20` as processes,
against one `os.listdir` of done/ in a process that runs already.

The histories grow; only the largest is judged, the smaller ones show how the cost grows. At a thousand jobs
it is that of starting Python.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator

from benchmarks.measure import Meter, Take
from benchmarks.program import Queue
from benchmarks.rows import Bar, Row
from benchmarks.session import Session
from benchmarks.stock import fill_done

_BAR = Bar(1.5, 1.1)
_ENOUGH = 1_000_000
"""Jobs beside which the start of Python does not count for much."""
_COMMANDS = {"status": ("status",), "metrics": ("metrics",), "list": ("list", "--limit", "20")}


def look(session: Session) -> Iterator[Row]:
    """Three commands at each size of done/."""
    with session.queue() as queue:
        made = 0
        for size in session.sizes.history:
            fill_done(queue, size - made, first=made)
            made = size
            yield from _look_at(session, queue, size)


def _look_at(session: Session, queue: Queue, size: int) -> Iterator[Row]:
    def command(*words: str) -> Take:
        with Meter() as meter:
            queue.run(*words)
        return meter.take(meter.wall * 1e3)

    sides = {name: lambda words=words: command(*words) for name, words in _COMMANDS.items()}
    takes = session.interleave({"listdir": lambda: listdir(str(queue.done)), **sides}, warm=True)
    floor = takes["listdir"]
    for name, words in _COMMANDS.items():
        mine = takes[name]
        yield Row(
            name=f"{name}-{size}", what=f"{' '.join(words)} with {size:,} done", place=session.place.kind,
            value=mine.median, unit="ms", floor=floor.median, floor_what="one os.listdir of done/",
            figure=mine.ratio(floor), bar=_BAR if size >= _ENOUGH else None, n=len(mine.takes),
            cpu_us=mine.cpu * 1e6, floor_cpu_us=floor.cpu * 1e6, foreign=max(mine.foreign, floor.foreign),
            samples=mine.values, floor_samples=floor.values,
        )  # fmt: skip


def listdir(path: str) -> Take:
    """One listing, in milliseconds; what the last one left in memory is gone first."""
    gc.collect()
    with Meter() as meter:
        begun = time.perf_counter()
        os.listdir(path)
        took = time.perf_counter() - begun
    return meter.take(took * 1e3)
