"""Every benchmark, by the name that `--only` takes, and how a run of them goes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks import contention, drain, footprint, latency, look, peers, steps, submit, syscalls
from benchmarks.places import NAMES, NoPlaceError, place
from benchmarks.program import FailedError, StuckError
from benchmarks.rows import Row, reason_of
from benchmarks.session import Session, Sizes
from benchmarks.stock import NoRoomError


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A group of rows. `places` are those where it says something."""

    name: str
    run: Callable[[Session], Iterator[Row]]
    places: tuple[str, ...] = NAMES


SUITE = (
    Benchmark("drain", drain.drain),
    Benchmark("latency", latency.latency),
    Benchmark("full-group", latency.full_group),
    Benchmark("enqueue-api", submit.api),
    Benchmark("enqueue-key", submit.key),
    Benchmark("enqueue-lines", submit.lines),
    Benchmark("enqueue-process", submit.process),
    Benchmark("idle", footprint.idle, ("tmpfs",)),
    Benchmark("contention", contention.contention),
    Benchmark("syscalls", syscalls.syscalls, ("tmpfs",)),
    Benchmark("steps", steps.steps, ("tmpfs",)),
    Benchmark("instructions", steps.instructions, ("tmpfs",)),
    Benchmark("look", look.look),
    # The last three share a spool with a million pending jobs, which the others are better off without.
    Benchmark("backlog", drain.backlog),
    Benchmark("first-job", footprint.first_job),
    Benchmark("memory", footprint.memory, ("tmpfs",)),
)
PEERS = Benchmark("peers", peers.peers, ("tmpfs",))


def run(
    benchmarks: Sequence[Benchmark], sizes: Sizes, places: Sequence[str] = NAMES, patience: float = 0.0
) -> Iterator[Row]:
    """Every benchmark in every place it is for; what cannot be measured is a row that says why."""
    for name in places:
        here = [benchmark for benchmark in benchmarks if name in benchmark.places]
        if not here:
            continue
        try:
            with place(name, files=sizes.files) as found, Session(sizes, found, patience) as session:
                for benchmark in here:
                    yield from run_one(benchmark, session)
        except NoPlaceError as error:
            for benchmark in here:
                yield Row(name=benchmark.name, what=f"every row of {benchmark.name}", place=name, skipped=str(error))


def run_one(benchmark: Benchmark, session: Session) -> Iterator[Row]:
    begun = time.monotonic()
    print(f"# {benchmark.name} on {session.place.kind} ...", file=sys.stderr, end="", flush=True)
    try:
        yield from benchmark.run(session)
    except (NoRoomError, FailedError, StuckError, OSError, subprocess.SubprocessError) as error:
        what = f"the rest of {benchmark.name}"
        yield Row(name=benchmark.name, what=what, place=session.place.kind, skipped=reason_of(error))
    print(f" {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
