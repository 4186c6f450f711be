"""`python -m benchmarks.plot`: pictures of the newest results, as SVG files in docs/img/.

    backlog.svg   the rate of jobs against the number of pending ones
    latency.svg   from drop to start: which share of the jobs had started after so many milliseconds
    peers.svg     queuectl and other queues, as a ratio to xargs

Each picture carries its own background and both of its colour schemes, so that it can be read in a dark page and
in a light one. No library: a picture is a few shapes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from benchmarks import report
from benchmarks.report import ROOT, Results
from benchmarks.rows import Row

IMAGES = ROOT / "docs" / "img"
_WIDTH, _HEIGHT = 760, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 64, 52
_STYLE = """
svg{--back:#ffffff;--edge:#d0d7de;--text:#1f2328;--dim:#59636e;--grid:#e4e8ec;--c0:#0969da;--c1:#bc4c00;--c2:#1a7f37;--c3:#8250df;--c4:#8c959f}
@media(prefers-color-scheme:dark){svg{--back:#0d1117;--edge:#3d444d;--text:#f0f6fc;--dim:#9198a1;--grid:#21262d;--c0:#58a6ff;--c1:#f0883e;--c2:#3fb950;--c3:#bc8cff;--c4:#6e7681}}
.back{fill:var(--back);stroke:var(--edge)}.grid{stroke:var(--grid)}.axis{stroke:var(--dim)}
text{font:13px system-ui,sans-serif;fill:var(--text)}.dim{fill:var(--dim);font-size:12px}
.title{font-size:16px;font-weight:600}
.end{text-anchor:end}.mid{text-anchor:middle}.line{fill:none;stroke-width:2.2}
.thin{stroke-dasharray:5 4;stroke-width:1.6}
"""

Point = tuple[float, float]


class Picture:
    """An SVG with a title, a plot area and, after `scale`, a mapping of values to it."""

    def __init__(self, title: str, subtitle: str, height: int = _HEIGHT) -> None:
        self.height = height
        self._parts = [
            f'<rect class="back" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
            f'<text class="title" x="20" y="28">{escape(title)}</text>',
            f'<text class="dim" x="20" y="48">{escape(subtitle)}</text>',
        ]
        self._title = title

    def scale(self, x: tuple[float, float], y: tuple[float, float], *, is_log: bool = False) -> None:
        """What the left and right, and the bottom and top edges stand for; `is_log` is for x."""
        self._is_log = is_log
        self._x0, self._x1 = (self._to_axis(edge) for edge in x)
        self._y0, self._y1 = y

    def at(self, x: float, y: float) -> Point:
        right, bottom = _WIDTH - _RIGHT, self.height - _BOTTOM
        return (
            _LEFT + (self._to_axis(x) - self._x0) / ((self._x1 - self._x0) or 1) * (right - _LEFT),
            bottom - (y - self._y0) / ((self._y1 - self._y0) or 1) * (bottom - _TOP),
        )

    def _to_axis(self, x: float) -> float:
        return math.log10(max(x, 1e-9)) if self._is_log else x

    def axes(self, xs: Iterable[tuple[float, str]], ys: Iterable[tuple[float, str]], x_label: str) -> None:
        """Marks with their texts, and a grid line for each mark of y."""
        bottom = self.height - _BOTTOM
        for value, label in ys:
            _, y = self.at(10**self._x0 if self._is_log else self._x0, value)
            self._parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
            self.text(_LEFT - 8, y + 4, label, "dim end")
        for value, label in xs:
            x, _ = self.at(value, self._y0)
            self._parts.append(f'<path class="axis" d="M{x:.1f} {bottom}v5"/>')
            self.text(x, bottom + 19, label, "dim mid")
        self._parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{_WIDTH - _RIGHT}"/>')
        self.text((_LEFT + _WIDTH - _RIGHT) / 2, self.height - 12, x_label, "dim mid")

    def line(self, points: Sequence[Point], colour: int, *, is_thin: bool = False, has_dots: bool = False) -> None:
        placed = [self.at(*point) for point in points]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in placed)
        kind = "line thin" if is_thin else "line"
        self._parts.append(f'<path class="{kind}" style="stroke:var(--c{colour})" d="M{path}"/>')
        if has_dots:
            self._parts += [f'<circle r="3.6" cx="{x:.1f}" cy="{y:.1f}" fill="var(--c{colour})"/>' for x, y in placed]

    def bar(self, x: float, y: float, width: float, height: float, colour: int) -> None:
        size = f'width="{max(width, 1):.1f}" height="{height:.1f}"'
        self._parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" {size} rx="2" style="fill:var(--c{colour})"/>')

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        self._parts.append(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')

    def legend(self, entries: Sequence[tuple[str, int]]) -> None:
        """In the lower right of the plot, one line each."""
        for index, (label, colour) in enumerate(entries):
            y = self.height - _BOTTOM - 16 - 20 * (len(entries) - 1 - index)
            self.bar(_WIDTH - 252, y - 9, 14, 10, colour)
            self.text(_WIDTH - 230, y, label)

    def render(self) -> str:
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {self.height}" role="img"'
        body = "\n".join(self._parts)
        return f"{head}>\n<title>{escape(self._title)}</title>\n<style>{_STYLE}</style>\n{body}\n</svg>\n"


def backlog(results: Results) -> str | None:
    """The rate against the backlog, a line for each file system; None without such rows."""
    series: dict[str, list[Point]] = {}
    for row in results.rows:
        if not row.name.startswith("backlog-") or row.value is None or row.floor is None:
            continue
        points = series.setdefault(row.place, [])
        if not points:
            points.append((float(row.floor_what.split()[0].replace(",", "")), row.floor))
        points.append((float(row.name.split("-")[1]), row.value))
    if not series:
        return None
    every = [point for points in series.values() for point in points]
    top, step = _marks(max(rate for _, rate in every) * 1.1)
    low, high = min(size for size, _ in every), max(size for size, _ in every)
    picture = Picture("Jobs a second, against the backlog", f"jobs of true, one worker of two slots; {_about(results)}")
    picture.scale((low * 0.8, high * 1.25), (0, top), is_log=True)
    sizes = sorted({size for size, _ in every})
    picture.axes([(size, f"{size:,.0f}") for size in sizes], [(y, f"{y:,.0f}") for y in step], "pending jobs")
    for colour, points in enumerate(series.values()):
        picture.line(points, colour, has_dots=True)
    picture.legend([(place, colour) for colour, place in enumerate(series)])
    return picture.render()


def latency(results: Results) -> str | None:
    """How the times from drop to start are distributed, each beside that of direct spawns; None without such rows."""
    names = {
        "latency-idle-p50": "idle worker",
        "latency-claim-p50": "right after a claim",
        "latency-storm-p50": "50 drops/s",
    }
    found = _of_first_place(row for row in results.rows if row.name in names and row.samples)
    if not found:
        return None
    place = found[0].place
    # 99 of 100 samples fit; the rest would squeeze them into a corner.
    end = max(row.samples[int((len(row.samples) - 1) * 0.99)] for row in found) * 1.15
    top, marks = _marks(end)
    picture = Picture(
        "From drop to start",
        f"share of the jobs that had started; dashed: the same command spawned directly; {place}, {_about(results)}",
    )
    picture.scale((0, top), (0, 1))
    shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    picture.axes([(x, f"{x:g}") for x in marks], [(y, f"{y:.0%}") for y in shares], "milliseconds")
    for colour, row in enumerate(found):
        picture.line(_steps(row.floor_samples, top), colour, is_thin=True)
        picture.line(_steps(row.samples, top), colour)
    picture.legend([(names[row.name], colour) for colour, row in enumerate(found)])
    return picture.render()


def peers(results: Results) -> str | None:
    """Ratios to xargs as bars, the fastest first; None without such rows."""
    rows = [
        row for row in results.rows
        if row.name.startswith("peer-") and not row.name.endswith("-latency") and row.figure is not None
    ]  # fmt: skip
    bare = next((row for row in results.rows if row.name == "bare-threads" and row.figure is not None), None)
    if not rows:
        return None
    entries = [(row.name.removeprefix("peer-"), row.figure or 0.0) for row in rows] + [("xargs -P2", 1.0)]
    if bare is not None and bare.figure is not None:
        entries.append(("two bare threads", bare.figure))
    entries.sort(key=lambda entry: -entry[1])
    left, height = 160, 26
    subtitle = f"as a ratio to xargs -P2; two at a time; {rows[0].place}, {_about(results)}"
    picture = Picture("Running queued jobs of true", subtitle, _TOP + height * len(entries) + 24)
    unit = (_WIDTH - left - 80) / max(ratio for _, ratio in entries)
    for index, (name, ratio) in enumerate(entries):
        y = _TOP + height * index
        picture.text(left - 10, y + 17, name, "end")
        picture.bar(left, y + 4, ratio * unit, height - 8, 0 if name == "queuectl" else 4)
        picture.text(left + ratio * unit + 8, y + 17, f"{ratio:.2f}", "dim")
    return picture.render()


def _of_first_place(rows: Iterable[Row]) -> list[Row]:
    found = list(rows)
    return [row for row in found if row.place == found[0].place]


def _steps(samples: Sequence[float], end: float) -> list[Point]:
    """The share of samples at or below each value, as a staircase up to `end`."""
    points: list[Point] = [(0.0, 0.0)]
    for index, sample in enumerate(samples):
        if sample > end:
            break
        points += [(sample, index / len(samples)), (sample, (index + 1) / len(samples))]
    return [*points, (end, points[-1][1])]


def _marks(most: float) -> tuple[float, list[float]]:
    """A round end of an axis that holds `most`, and four to six marks up to it."""
    power = 10.0 ** math.floor(math.log10(max(most, 1e-9)))
    step = next(power * part for part in (0.2, 0.25, 0.5, 1, 2) if most / (power * part) <= 6)
    number = math.ceil(most / step)
    return step * number, [step * index for index in range(number + 1)]


def _about(results: Results) -> str:
    return f"{results.machine['cores']} cores, {results.at}"


def draw(results: Results, directory: Path = IMAGES) -> list[Path]:
    """Write the pictures that the results have rows for; their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, picture in (("backlog", backlog), ("latency", latency), ("peers", peers)):
        text = picture(results)
        if text is not None:
            path = directory / f"{name}.svg"
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def main(arguments: Sequence[str]) -> int:
    """Draw the results of the file named, or the newest ones."""
    path = Path(arguments[0]) if arguments else report.newest()
    if path is None:
        print("no results yet: run make bench", file=sys.stderr)
        return 1
    print(*draw(report.Results.load(path)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
