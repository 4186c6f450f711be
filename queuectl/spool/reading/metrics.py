"""How the queue has been doing, from the names in done/ and dead/ alone."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from queuectl.core import groups
from queuectl.core.names import FinishedName, FinishedTally, format_time, parse_time
from queuectl.core.result import CANCELLED, INVALID, SKIPPED, State
from queuectl.spool.reading import query
from queuectl.spool.system import logs
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.listing import as_text, read_names

_MOST_READ = 1000
"""Number of jobs whose logs are read."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """Finished jobs that the spool still holds.

    `skipped` jobs are in neither `done` nor `dead`. `success_rate` is done / (done + dead), None before the first.
    Durations are seconds of each job's last attempt, cancelled, refused and skipped ones left out. `last_minute`,
    `last_hour` and `last_day` count jobs that finished then; `per_minute` is the rate over the last hour, or since the
    first job if that is later. `usage` is known of a group only.
    """

    finished: int
    done: int
    dead: int
    skipped: int
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
    usage: Used | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """What the last attempts of the newest of these jobs used, as far as their logs say: of how many, the most memory
    that one had and that half of them did not exceed, in bytes, and the CPU time of all of them, in seconds; and the
    seconds that half of the jobs, and 95 %, had waited at most from the time at which they could start, if known."""

    jobs: int
    largest_rss: int
    p50_rss: int
    cpu: float
    p50_wait: float | None = None
    p95_wait: float | None = None


def read_usage(layout: Layout, group: str) -> Used | None:
    """That of the newest thousand jobs of a group; reads the end of each log. None if none of them says it."""
    names = sorted(
        (text for state in (State.DONE, State.DEAD) for some in query.iterate_names(layout, state) for text in some
         if groups.is_in(query.id_in(state, text) or "", group)),
        reverse=True,
    )  # fmt: skip
    found = []
    waited: Counter[int] = Counter()
    for text in names[:_MOST_READ]:
        name = FinishedName.parse(text)
        with suppress(OSError):
            log = logs.open_existing(layout.log(name.id if name else ""))
            try:
                used, wait = logs.last_use(log)
            finally:
                os.close(log)
            found += [used] if used is not None else []
            waited.update([round(1000 * wait)] if wait is not None else [])
    if not found:
        return None
    sizes = sorted(used.max_rss for used in found)
    cpu = round(sum(used.cpu for used in found), 3)
    half = sizes[(len(sizes) - 1) // 2]
    return Used(len(found), sizes[-1], half, cpu, percentile(waited, 0.50), percentile(waited, 0.95))


def measure(layout: Layout, now: datetime, group: str = "") -> Metrics:
    """One listing of done/ and of dead/; only the jobs of a group, if one is given."""
    found = measure_names({state: _read(layout, state, group) for state in (State.DONE, State.DEAD)}, now)
    return replace(found, usage=read_usage(layout, group)) if group else found


def _read(layout: Layout, state: State, group: str) -> Iterator[bytes]:
    if not group:
        yield from read_names(layout.directory(state))
        return
    for names in query.iterate_names(layout, state):
        yield as_text([os.fsencode(name) for name in names if groups.is_in(query.id_in(state, name) or "", group)])


def measure_names(texts: Mapping[State, Iterable[bytes]], now: datetime) -> Metrics:
    """The same, from the names in done/ and dead/ in pieces of text as `read_names` yields them."""
    recent = _Recent(now)
    tallies = {}
    for state, pieces in texts.items():
        found = FinishedTally(recent.since)
        for piece in pieces:
            recent.add(found.add(piece))
        tallies[state] = found.counts
    tally = tallies[State.DONE] + tallies[State.DEAD]
    finished = tally.total()
    results: Counter[str] = Counter()
    skipped = {state: sum(n for (_, result, _), n in tallies[state].items() if result.is_skipped) for state in tallies}
    durations: Counter[int] = Counter()
    for (_, result, duration), number in tally.items():
        results[str(result)] += number
        if result not in (CANCELLED, INVALID, SKIPPED):
            durations[duration] += number
    ran = durations.total()
    done = tallies[State.DONE].total() - skipped[State.DONE]
    dead = tallies[State.DEAD].total() - skipped[State.DEAD]
    return Metrics(
        finished=finished,
        done=done,
        dead=dead,
        success_rate=done / (done + dead) if done + dead else None,
        attempts=sum(attempts * number for (attempts, _, _), number in tally.items()),
        results=dict(results.most_common()),
        mean=sum(duration * number for duration, number in durations.items()) / ran / 1000 if ran else None,
        p50=percentile(durations, 0.50),
        p95=percentile(durations, 0.95),
        longest=max(durations) / 1000 if durations else None,
        last_minute=recent.counts[60],
        last_hour=recent.counts[3600],
        last_day=recent.counts[86400],
        per_minute=recent.counts[3600] / recent.minutes(finished),
        skipped=sum(skipped.values()),
    )


class _Recent:
    """How many jobs finished in the last day, hour and minute, by the times in their names, which sort as text."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.since = now - timedelta(days=1)
        self.counts = {86400: 0, 3600: 0, 60: 0}
        self._first: bytes | None = None

    def add(self, times: list[bytes]) -> None:
        """Count these, all from `since` on."""
        self.counts[86400] += len(times)
        for seconds in (3600, 60):
            since = format_time(self._now - timedelta(seconds=seconds)).encode()[:-1]
            times = [time for time in times if time >= since]
            self.counts[seconds] += len(times)
            if seconds == 3600 and times:
                self._first = min(times) if self._first is None else min(self._first, *times)

    def minutes(self, finished: int) -> float:
        """An hour, or since the first of all the `finished` jobs if that is less; a second at least."""
        if self._first is None or self.counts[3600] < finished:
            return 60.0
        try:
            first = parse_time(f"{self._first.decode()}Z")
        except ValueError:  # a foreign file: there is no such day
            return 60.0
        return max(1.0, min(3600.0, (self._now - first).total_seconds())) / 60


def percentile(durations: Counter[int], share: float) -> float | None:
    """The smallest of these milliseconds, in seconds, that at least `share` do not exceed; None of nothing."""
    rank = max(1, -int(-share * durations.total() // 1))
    for duration in sorted(durations):
        rank -= durations[duration]
        if rank <= 0:
            return duration / 1000
    return None
