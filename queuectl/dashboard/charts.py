"""Ended jobs over time, how long they took, and how long they had waited or others wait: counted and drawn as SVG.

All is counted from names, but for the waits of ended jobs, which are in their logs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from heapq import merge, nsmallest
from itertools import islice, pairwise

from queuectl.core.names import FinishedName, PendingName, format_time
from queuectl.core.result import State
from queuectl.dashboard.markup import Html, number
from queuectl.dashboard.snapshot import View
from queuectl.spool.reading.groups import Tally
from queuectl.spool.reading.metrics import percentile
from queuectl.spool.reading.waits import WaitReader

WIDTH, HEIGHT = 600, 120
_LEAST = 3.0  # the height of a bar of one among thousands
_ROOM = 10.0  # the space below the line if there is anything


@dataclass(frozen=True, slots=True)
class Series:
    """Counts for equal spans of time, oldest first; `since` is where the first one begins."""

    since: datetime
    step: timedelta
    done: tuple[int, ...]
    dead: tuple[int, ...]

    @property
    def total_done(self) -> int:
        return sum(self.done)

    @property
    def total_dead(self) -> int:
        return sum(self.dead)


RANGES = {
    "1h": (timedelta(minutes=1), 60, "1 min"),
    "24h": (timedelta(minutes=30), 48, "30 min"),
    "7d": (timedelta(hours=4), 42, "4 h"),
}
"""For each range that can be chosen: the span of a bar, how many bars, and that span in words."""
_MOST_NAMES = 20_000  # whose durations or waits are counted
MOST_LOGS = 2_000
"""Ended jobs whose waits are counted."""
_PATIENCE = 0.15  # seconds in which their logs are read; those that were read are known the next time
_STEPS = (0.1, 0.3, 1, 3, 10, 30, 60, 180, 600, 1800, 3600, 10800)
_STEP_NAMES = (
    "0.1 s",
    "0.3 s",
    "1 s",
    "3 s",
    "10 s",
    "30 s",
    "1 min",
    "3 min",
    "10 min",
    "30 min",
    "1 h",
    "3 h",
    "more",
)


def count(view: View, now: datetime, step: timedelta, steps: int, group: str = "") -> Series:
    """Jobs (of a group) that finished in each of the last `steps` spans, which begin at round times."""
    seconds = int(step.total_seconds())
    end = datetime.fromtimestamp((int(now.timestamp()) // seconds + 1) * seconds, now.tzinfo)
    since = end - step * steps
    edges = [format_time(since + step * index) for index in range(steps + 1)]
    counts = []
    for state in (State.DONE, State.DEAD):
        shelf = view.shelves[state]
        if group:
            counts.append(tuple(shelf.select(*span, group=group).count for span in pairwise(edges)))
            continue
        ranks = [shelf.rank(edge) for edge in edges]
        counts.append(tuple(after - before for before, after in pairwise(ranks)))
    return Series(since, step, *counts)


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many jobs took up to each of `_STEPS` seconds, and more; half of them, and 95 %, took `p50` and `p95` at
    most. `is_part`: only so many of the newest were counted, if not all; `unread` logs could not be read in time."""

    counts: tuple[int, ...]
    p50: float | None
    p95: float | None
    is_part: int = 0
    unread: int = 0

    @property
    def total(self) -> int:
        return sum(self.counts)


def durations(view: View, now: datetime, span: timedelta, group: str = "") -> Histogram:
    """How long the last attempts of the jobs took that were done within that time."""
    found = view.shelves[State.DONE].select(format_time(now - span), group=group)
    parsed = map(FinishedName.parse, found.slice(0, _MOST_NAMES))
    return _histogram((name.duration for name in parsed if name is not None), found.count, _MOST_NAMES)


def waited(view: View, now: datetime, span: timedelta, reader: WaitReader, group: str = "") -> Histogram:
    """How long the jobs had waited that ended within that time, before their last attempts; those whose logs say it."""
    since = format_time(now - span)
    ended = [view.shelves[state].select(since, group=group) for state in (State.DONE, State.DEAD)]
    newest = merge(*(each.slice(0, MOST_LOGS) for each in ended), reverse=True)
    seconds, unread = reader.waits(islice(newest, MOST_LOGS), _PATIENCE)
    return replace(_histogram(seconds, sum(each.count for each in ended), MOST_LOGS), unread=unread)


def waits(view: View, now: datetime, group: str = "") -> Histogram:
    """How long the jobs have waited that could start now."""
    found = view.shelves[State.PENDING].due(format_time(now), group=group)
    parsed = map(PendingName.parse, found.slice(0, _MOST_NAMES))
    seconds = ((now - name.run_at).total_seconds() for name in parsed if name is not None)
    return _histogram(seconds, found.count, _MOST_NAMES)


def _histogram(seconds: Iterable[float], total: int, most: int) -> Histogram:
    measured = Counter(max(0, round(1000 * each)) for each in seconds)
    counts = [0] * (len(_STEPS) + 1)
    for milliseconds, number_ in measured.items():
        counts[bisect_left(_STEPS, milliseconds / 1000)] += number_
    part = most if total > most else 0
    return Histogram(tuple(counts), percentile(measured, 0.50), percentile(measured, 0.95), part)


def by_group(view: View, now: datetime, span: timedelta, most: int = 8) -> list[tuple[str, int, int]]:
    """(group, done, dead) within that time, of the groups with the most dead jobs, then with the most done ones."""
    since = format_time(now - span)
    done, dead = (view.shelves[state].groups_since(since) for state in (State.DONE, State.DEAD))
    names = nsmallest(most, done.keys() | dead.keys(), key=lambda name: (-dead.get(name, 0), -done.get(name, 0), name))
    return [(name, done.get(name, 0), dead.get(name, 0)) for name in names]


def draw(series: Series, label: str) -> Html:
    """A bar for each span, with an axis. Every bar has its numbers in a title, which charts.js shows for touch and keys
    too; `label` is what a screen reader says."""
    most_done, most_dead = max(series.done, default=0), max(series.dead, default=0)
    unit = (HEIGHT - 2 * _LEAST) / max(1, most_done + most_dead)
    base = HEIGHT - max(most_dead * unit + _LEAST, _ROOM) if most_dead else HEIGHT - 1.0
    slot = 100 / len(series.done)
    bars = []
    for index, (done, dead) in enumerate(zip(series.done, series.dead, strict=True)):
        at = (series.since + series.step * index).astimezone()
        until = at + series.step
        day = f"{at:%a} " if series.step >= timedelta(hours=1) else ""
        span = f"{day}{at:%H:%M}–{until:%H:%M}"
        bars.append(_group(index, slot, f"{span}: {number(done)} done, {number(dead)} dead"))
        bars.append(_bar("bar-done", index, slot, base, -_height(done, unit)))
        bars.append(_bar("bar-dead", index, slot, base + 1, _height(dead, unit)))
        bars.append("</g>")
    marks = [(base, "0")]
    if most_done:
        marks.append((base - most_done * unit, number(most_done)))
    if most_dead and most_dead * unit > _ROOM:
        marks.append((base + most_dead * unit, number(most_dead)))
    return _plot(bars, marks, base, label)


def draw_histogram(found: Histogram, label: str) -> Html:
    """A bar for each step of time, with its name below."""
    most = max(found.counts)
    unit = (HEIGHT - 2 * _LEAST) / max(1, most)
    slot = 100 / len(found.counts)
    base = HEIGHT - 1.0
    bars = []
    for index, count_ in enumerate(found.counts):
        bars.append(_group(index, slot, f"{step_name(index)}: {number(count_)}"))
        bars.append(_bar("bar-time", index, slot, base, -_height(count_, unit)))
        bars.append("</g>")
    marks = [(base, "0"), *([(base - most * unit, number(most))] if most else [])]
    return _plot(bars, marks, base, label, [name if index % 2 == 0 else "" for index, name in enumerate(_STEP_NAMES)])


def step_name(index: int) -> str:
    """`up to 1 s`, or `more than 3 h`"""
    return f"up to {_STEP_NAMES[index]}" if index < len(_STEPS) else f"more than {_STEP_NAMES[index - 1]}"


def _group(index: int, slot: float, title: str) -> str:
    return (
        f'<g><title>{title}</title><rect class="hit" x="{index * slot:.3f}%" y="0" width="{slot:.3f}%" '
        f'height="{HEIGHT}"/>'
    )


def _plot(
    bars: Sequence[str], marks: Sequence[tuple[float, str]], base: float, label: str, names: Sequence[str] = ()
) -> Html:
    """The bars, with names below, and with lines at the marks, whose texts are in front.

    Widths are in percent, so nothing is stretched.
    """
    height = HEIGHT + (22 if names else 6)
    below = "".join(
        f'<text class="name" x="{100 * (index + 0.5) / len(names):.2f}%" y="{HEIGHT + 17}">{name}</text>'
        for index, name in enumerate(names)
        if name
    )
    lines = "".join(f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>' for y, _ in marks)
    texts = "".join(f'<text x="100%" y="{max(9.0, y + 4):.1f}">{text}</text>' for y, text in marks)
    return Html(
        f'<div class="plot"><svg class="axis" height="{height}" aria-hidden="true">{texts}</svg>'
        f'<svg class="chart" height="{height}" role="img" tabindex="0" aria-label="{label}">{lines}{"".join(bars)}'
        f'<line class="base" x1="0" x2="100%" y1="{base + 0.5:.1f}" y2="{base + 0.5:.1f}"/>{below}</svg></div>'
    )


def _height(value: int, unit: float) -> float:
    return max(_LEAST, value * unit) if value else 0.0


def _bar(kind: str, index: int, slot: float, base: float, height: float) -> str:
    if not height:
        return ""
    place = f'x="{(index + 0.12) * slot:.3f}%" y="{base + min(0.0, height):.2f}"'
    return f'<rect class="{kind}" {place} width="{slot * 0.76:.3f}%" height="{abs(height):.2f}" rx="1"/>'


def rows(series: Series) -> list[tuple[datetime, int, int]]:
    """(when it began, done, dead) of each span with any job, the newest first: the chart as a table."""
    spans = enumerate(zip(series.done, series.dead, strict=True))
    found = [(series.since + series.step * index, done, dead) for index, (done, dead) in spans if done or dead]
    return found[::-1]


def bar(tally: Tally) -> Html:
    """The jobs of a group in one bar: what has ended, what runs, what is still to come. The numbers stand below it."""
    shown = [(state, getattr(tally, state)) for state in ("done", "dead", "running", "ready", "waiting")]
    parts, at = [], 0.0
    least = _LEAST * sum(1 for _, number in shown if number)
    for state, number_ in shown:
        width = _LEAST + (WIDTH - least) * number_ / tally.total if number_ else 0.0
        if width:
            parts.append(f'<rect class="part-{state}" x="{at:.2f}" y="0" width="{width:.2f}" height="8"/>')
        at += width
    return Html(
        f'<svg class="group-bar" viewBox="0 0 {WIDTH} 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="part-none" x="0" y="0" width="{WIDTH}" height="8"/>{"".join(parts)}</svg>'
    )


def ticks(series: Series, number_of_ticks: int) -> Sequence[datetime]:
    """Times below the chart, evenly spaced."""
    every = max(1, len(series.done) // number_of_ticks)
    return [series.since + series.step * index for index in range(0, len(series.done), every)]
