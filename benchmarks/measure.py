"""Timing, and comparing with a floor: interleaved rounds, medians, ratios within a round.

Absolute figures say more about the machine than about the program, so what is compared is timed in turn,
round after round, in alternating order, and a ratio is the median of the ratios of single rounds. A round in
which other processes took much of the machine is repeated if there is time; which rounds count is decided by that
share alone, never by what they measured.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

from benchmarks import machine

CALM = 0.1
"""The share of the machine that others may take in a round that counts, if calmer ones can be had."""


@dataclass(frozen=True, slots=True)
class Take:
    """One timed run of one side.

    `cpu`: user and system seconds of all it ran, divided by the jobs if there are any; `foreign`: others' share of
    the machine; `samples`: what `value` is the median of, if the run has many.
    """

    value: float
    cpu: float = 0.0
    foreign: float = 0.0
    samples: tuple[float, ...] = ()


class Meter:
    """Wall time, own CPU time and other processes' share of the machine, of a `with` block.

    Own are this process, the children it has waited for, and those of `pids` (with what they have waited for).
    """

    wall = cpu = foreign = 0.0

    def __init__(self, *pids: int) -> None:
        self._pids = pids

    def __enter__(self) -> Meter:
        self._busy, self._own, self._begun = machine.busy_seconds(), self._own_cpu(), time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.wall = time.perf_counter() - self._begun
        self.cpu = self._own_cpu() - self._own
        others = machine.busy_seconds() - self._busy - self.cpu
        # The machine's clock ticks in hundredths of a second: shorter blocks cannot be distinguished.
        self.foreign = max(0.0, others / (self.wall * machine.CORES)) if self.wall > 0.1 else 0.0

    def _own_cpu(self) -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used) + sum(map(machine.cpu_of_tree, self._pids))

    def take(self, value: float, jobs: int = 1) -> Take:
        return Take(value, self.cpu / jobs, self.foreign)


@dataclass(frozen=True, slots=True)
class Takes:
    """What one side gave in the rounds that count."""

    takes: tuple[Take, ...]

    @property
    def values(self) -> list[float]:
        return [take.value for take in self.takes]

    @property
    def samples(self) -> list[float]:
        return sorted(sample for take in self.takes for sample in take.samples)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def cpu(self) -> float:
        return statistics.median(take.cpu for take in self.takes)

    @property
    def foreign(self) -> float:
        return max(take.foreign for take in self.takes)

    def ratio(self, floor: Takes) -> float:
        """The median of each round's ratio to the floor of the same round."""
        return statistics.median(mine / its for mine, its in zip(self.values, floor.values, strict=True))


def interleave(
    sides: Mapping[str, Callable[[], Take]], rounds: int, *, patience: float = 0.0, warm: bool = False
) -> dict[str, Takes]:
    """Run every side once in each of `rounds` rounds, in alternating order.

    With `patience`, waits up to so many seconds before a round for others to leave the machine alone, and runs up
    to twice as many rounds until enough of them were calm. With `warm`, a first round does not count.
    """
    if warm:
        for side in sides.values():
            side()
    done: list[dict[str, Take]] = []
    most = 2 * rounds if patience else rounds
    while len(done) < rounds or (sum(map(_is_calm, done)) < rounds and len(done) < most):
        machine.wait_until_calm(patience)
        order = list(sides) if len(done) % 2 == 0 else list(sides)[::-1]
        done.append({name: sides[name]() for name in order})
    kept = sorted(done, key=_foreign)[:rounds]
    return {name: Takes(tuple(one[name] for one in kept)) for name in sides}


def _foreign(one: Mapping[str, Take]) -> float:
    return max(take.foreign for take in one.values())


def _is_calm(one: Mapping[str, Take]) -> bool:
    return _foreign(one) <= CALM


def quantile(samples: Iterable[float], share: float) -> float:
    """The value below which that share of the samples lies, between neighbours in proportion."""
    ordered: Sequence[float] = sorted(samples)
    position = (len(ordered) - 1) * share
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)
