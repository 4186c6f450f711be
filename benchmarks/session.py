"""How large everything is in this run, where it happens, and what several benchmarks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Take, Takes, interleave
from benchmarks.places import Place
from benchmarks.program import Queue
from benchmarks.stock import Backlog


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. Medians are of `rounds`."""

    name: str
    rounds: int
    jobs: int  # drained
    backlogs: tuple[int, ...]  # pending jobs; the first is the floor of the others
    window: int  # jobs timed at each backlog; more than a worker keeps in memory, so that it must list again
    drops: int  # latency samples in a round
    history: tuple[int, ...]  # finished jobs, growing
    submits: int  # single durable submits in a round
    lines: int  # of `enqueue -`
    starts: int  # processes started in a round
    scheduled: int  # jobs for tomorrow while a worker idles
    idle_seconds: float
    contended: int  # jobs that several workers fight for
    workers: tuple[int, ...]
    peer_jobs: int

    @property
    def files(self) -> int:
        """The most files that exist at one time."""
        return max(sum(self.backlogs) + 2 * self.window, self.history[-1], 2 * self.lines) + 50_000


FULL = Sizes(
    "full", rounds=5, jobs=5_000, backlogs=(1_000, 10_000, 100_000, 1_000_000), window=60_000, drops=60,
    history=(1_000, 10_000, 100_000, 1_000_000), submits=200, lines=100_000, starts=10, scheduled=100_000,
    idle_seconds=60, contended=10_000, workers=(1, 2, 4, 8), peer_jobs=1_000,
)  # fmt: skip
QUICK = Sizes(
    "quick", rounds=5, jobs=1_000, backlogs=(1_000, 50_000), window=2_000, drops=15,
    history=(1_000, 100_000), submits=50, lines=5_000, starts=4, scheduled=10_000,
    idle_seconds=10, contended=1_000, workers=(1, 2, 4), peer_jobs=200,
)  # fmt: skip
TOY = Sizes(
    "toy", rounds=1, jobs=12, backlogs=(10, 30), window=10, drops=3,
    history=(30, 60), submits=3, lines=30, starts=1, scheduled=20,
    idle_seconds=0.2, contended=10, workers=(1, 2), peer_jobs=6,
)  # fmt: skip


@dataclass
class Session:
    """One run of the suite in one place."""

    sizes: Sizes
    place: Place
    patience: float = 0.0
    _kept: ExitStack = field(default_factory=ExitStack)
    _backlogs: dict[int, Backlog] = field(default_factory=dict)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._backlogs.clear()
        self._kept.close()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        with self.place.scratch() as path:
            yield path

    @contextmanager
    def queue(self) -> Iterator[Queue]:
        """A new, empty spool."""
        with self.place.scratch() as path:
            yield Queue.create(path / "spool")

    def backlog(self, size: int) -> Backlog:
        """A spool with that many pending jobs: made once, shared by the benchmarks, kept until the session ends."""
        if size not in self._backlogs:
            directory = self._kept.enter_context(self.place.scratch())
            self._backlogs[size] = Backlog(Queue.create(directory / "spool"), size)
        return self._backlogs[size]

    def interleave(self, sides: Mapping[str, Callable[[], Take]], *, warm: bool = False) -> dict[str, Takes]:
        return interleave(sides, self.sizes.rounds, patience=self.patience, warm=warm)
