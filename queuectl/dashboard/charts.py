"""Finished jobs over time, counted from names and drawn as SVG: done above the line, dead below it, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from queuectl.core.names import format_time
from queuectl.core.result import State
from queuectl.dashboard.markup import Html, number
from queuectl.dashboard.snapshot import View
from queuectl.spool.reading.groups import Tally

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


def count(view: View, now: datetime, step: timedelta, steps: int) -> Series:
    """Jobs that finished in each of the last `steps` spans, which begin at round times."""
    seconds = int(step.total_seconds())
    end = datetime.fromtimestamp((int(now.timestamp()) // seconds + 1) * seconds, now.tzinfo)
    since = end - step * steps
    edges = [format_time(since + step * index) for index in range(steps + 1)]
    counts = []
    for state in (State.DONE, State.DEAD):
        ranks = [view.shelves[state].rank(edge) for edge in edges]
        counts.append(tuple(after - before for before, after in pairwise(ranks)))
    return Series(since, step, *counts)


def draw(series: Series, label: str) -> Html:
    """A bar for each span. Every bar has its numbers on hover; `label` is what a screen reader says."""
    most_done, most_dead = max(series.done, default=0), max(series.dead, default=0)
    unit = (HEIGHT - 2 * _LEAST) / max(1, most_done + most_dead)
    base = HEIGHT - max(most_dead * unit + _LEAST, _ROOM) if most_dead else HEIGHT
    slot = WIDTH / len(series.done)
    bars = []
    for index, (done, dead) in enumerate(zip(series.done, series.dead, strict=True)):
        at = series.since + series.step * index
        local = at.astimezone()
        span = f"{local:%H:%M}–{local + series.step:%H:%M}"
        x = index * slot
        bars.append(f'<g><rect class="hit" x="{x:.2f}" y="0" width="{slot:.2f}" height="{HEIGHT}"/>')
        bars.append(f"<title>{span}: {number(done)} done, {number(dead)} dead</title>")
        bars.append(_bar("bar-done", x, slot, base, -_height(done, unit)))
        bars.append(_bar("bar-dead", x, slot, base + 1, _height(dead, unit)))
        bars.append("</g>")
    return Html(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'{"".join(bars)}<line class="base" x1="0" x2="{WIDTH}" y1="{base + 0.5}" y2="{base + 0.5}"/></svg>'
    )


def _height(value: int, unit: float) -> float:
    return max(_LEAST, value * unit) if value else 0.0


def _bar(kind: str, x: float, slot: float, base: float, height: float) -> str:
    if not height:
        return ""
    place = f'x="{x + slot * 0.12:.2f}" y="{base + min(0.0, height):.2f}"'
    return f'<rect class="{kind}" {place} width="{slot * 0.76:.2f}" height="{abs(height):.2f}" rx="1"/>'


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


def ticks(series: Series, number_of_ticks: int) -> Sequence[str]:
    """Local times below the chart, evenly spaced."""
    every = len(series.done) // number_of_ticks
    times = [series.since + series.step * index for index in range(0, len(series.done), every)]
    return [f"{at.astimezone():%H:%M}" for at in times]
