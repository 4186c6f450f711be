"""How the queue has been doing, from the names in done/ and dead/ alone."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

from queuectl.core.names import FinishedName, format_time, parse_time, tally_finished
from queuectl.core.result import CANCELLED, INVALID, State
from queuectl.spool.layout import Layout
from queuectl.spool.query import list_raw_names


@dataclass(frozen=True, slots=True)
class Metrics:
    """Finished jobs that the spool still holds.

    `success_rate` is done / finished, None before the first. Durations are seconds of each job's last
    attempt, cancelled and refused ones left out. `last_minute`, `last_hour` and `last_day` count jobs
    that finished then; `per_minute` is the rate over the last hour, or since the first job if that is later.
    """

    finished: int
    done: int
    dead: int
    success_rate: float | None
    attempts: int
    results: dict[str, int]
    mean: float | None
    p50: float | None
    p95: float | None
    longest: float | None
    last_minute: int
    last_hour: int
    last_day: int
    per_minute: float


def measure(layout: Layout, now: datetime) -> Metrics:
    """One listing of done/ and of dead/."""
    return measure_names({state: list_raw_names(layout, state) for state in (State.DONE, State.DEAD)}, now)


def measure_names(listed: Mapping[State, Sequence[bytes]], now: datetime) -> Metrics:
    """The same, of the names in done/ and dead/ that were listed already."""
    tallies = {state: tally_finished(names) for state, names in listed.items()}
    tally = tallies[State.DONE] + tallies[State.DEAD]
    finished = tally.total()
    results: Counter[str] = Counter()
    durations: Counter[int] = Counter()
    for (_, result, duration), number in tally.items():
        results[str(result)] += number
        if result not in (CANCELLED, INVALID):
            durations[duration] += number
    ran = durations.total()
    done = tallies[State.DONE].total()
    ours = (
        names
        if tallies[state].total() == len(names)
        else [name for name in names if FinishedName.parse(os.fsdecode(name))]
        for state, names in listed.items()
    )
    recent = _Recent(chain.from_iterable(ours), now)
    return Metrics(
        finished=finished,
        done=done,
        dead=finished - done,
        success_rate=done / finished if finished else None,
        attempts=sum(attempts * number for (attempts, _, _), number in tally.items()),
        results=dict(results.most_common()),
        mean=sum(duration * number for duration, number in durations.items()) / ran / 1000 if ran else None,
        p50=percentile(durations, 0.50),
        p95=percentile(durations, 0.95),
        longest=max(durations) / 1000 if durations else None,
        last_minute=recent.count(60),
        last_hour=recent.count(3600),
        last_day=recent.count(86400),
        per_minute=recent.count(3600) / recent.minutes(finished),
    )


class _Recent:
    """When the jobs of the last day finished, as it stands in their names, which sorts as time does."""

    def __init__(self, names: Iterable[bytes], now: datetime) -> None:
        self._now = now
        oldest = format_time(now - timedelta(days=1)).encode()
        self._times = sorted(name[:20] for name in names if name >= oldest)

    def count(self, seconds: int) -> int:
        """How many finished at most so long ago."""
        return len(self._times) - bisect_left(self._times, format_time(self._now - timedelta(seconds=seconds)).encode())

    def minutes(self, finished: int) -> float:
        """An hour, or since the first of all the `finished` jobs if that is less; a second at least."""
        if not self._times or self.count(3600) < finished:
            return 60.0
        return max(1.0, min(3600.0, (self._now - parse_time(self._times[0].decode())).total_seconds())) / 60


def percentile(durations: Counter[int], share: float) -> float | None:
    """The smallest of these milliseconds, in seconds, that at least `share` do not exceed; None of nothing."""
    rank = max(1, -int(-share * durations.total() // 1))
    for duration in sorted(durations):
        rank -= durations[duration]
        if rank <= 0:
            return duration / 1000
    return None
