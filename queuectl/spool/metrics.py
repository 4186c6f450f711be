"""How the queue has been doing, from the names in done/ and dead/ alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from queuectl.core.names import format_time, looks_finished, parse_time
from queuectl.core.result import State
from queuectl.spool.layout import Layout
from queuectl.spool.query import list_names


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
    durations: list[float] = []
    results: dict[str, int] = {}
    totals = {State.DONE: 0, State.DEAD: 0}
    attempts = 0
    ages = [format_time(now - timedelta(seconds=seconds)) for seconds in (60, 3600, 86400)]
    recent = [0, 0, 0]
    first = format_time(now)
    for state in totals:
        for name in filter(looks_finished, list_names(layout, state)):
            fields = name.split("-", 5)
            try:
                tries, duration = int(fields[2]), float(fields[4][:-1])
            except (IndexError, ValueError):
                continue
            totals[state] += 1
            attempts += tries
            results[fields[3]] = results.get(fields[3], 0) + 1
            if fields[3] not in ("cancelled", "invalid"):
                durations.append(duration)
            first = min(first, fields[0])
            for index, age in enumerate(ages):
                recent[index] += fields[0] >= age
    durations.sort()
    finished = sum(totals.values())
    minutes = _minutes_since(first, now)
    return Metrics(
        finished=finished,
        done=totals[State.DONE],
        dead=totals[State.DEAD],
        success_rate=totals[State.DONE] / finished if finished else None,
        attempts=attempts,
        results=dict(sorted(results.items(), key=lambda item: -item[1])),
        mean=sum(durations) / len(durations) if durations else None,
        p50=percentile(durations, 0.50),
        p95=percentile(durations, 0.95),
        longest=durations[-1] if durations else None,
        last_minute=recent[0],
        last_hour=recent[1],
        last_day=recent[2],
        per_minute=recent[1] / minutes,
    )


def _minutes_since(first: str, now: datetime) -> float:
    """From a second to an hour; an hour for a time that does not exist, in a name that only looks like ours."""
    try:
        return max(1.0, min(3600.0, (now - parse_time(first)).total_seconds())) / 60
    except ValueError:
        return 60.0


def percentile(ordered: list[float], share: float) -> float | None:
    """The smallest value that at least `share` of them do not exceed (nearest rank); None of nothing."""
    if not ordered:
        return None
    rank = -int(-share * len(ordered) // 1)
    return ordered[max(0, min(len(ordered), rank) - 1)]
