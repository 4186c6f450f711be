"""Writing results down: the table, the JSON file, and the generated part of benchmarks/results/README.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENT = RESULTS / "README.md"
BEGIN = "<!-- figures: begin (written by make bench) -->"
END = "<!-- figures: end -->"
_NOISY = 0.1
_HEAD = ("what", "on", "measured", "floor", "ratio", "bar", "goal", "verdict", "CPU/job", "foreign")


@dataclass(frozen=True, slots=True)
class Results:
    """The rows of one run or of several of a day, and the machine they were measured on."""

    at: str
    sizes: str
    machine: dict[str, Any]
    rows: tuple[Row, ...]

    def with_row(self, row: Row) -> Results:
        """These, with that row in the place of an older one of its name and place, else at the end."""
        rows = {(one.name, one.place): one for one in self.rows}
        rows[row.name, row.place] = row
        return replace(self, rows=tuple(rows.values()))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {"at": self.at, "sizes": self.sizes, "machine": self.machine}
        rows = ",\n  ".join(json.dumps(row.to_json(), ensure_ascii=False) for row in self.rows)
        head = json.dumps(data, ensure_ascii=False, indent=1).removesuffix("\n}")
        text = f'{head},\n "rows": [\n  {rows}\n ]\n}}\n'
        temporary = path.with_suffix(".part")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["at"], data["sizes"], data["machine"], tuple(map(Row.from_json, data["rows"])))


def file_of(machine_kind: str, sizes: str, directory: Path = RESULTS) -> Path:
    """Where today's results of this kind of machine go; smaller sizes do not mix with the full ones."""
    suffix = "" if sizes == "full" else f"-{sizes}"
    return directory / f"{datetime.now(UTC):%Y-%m-%d}-{machine_kind}{suffix}.json"


def newest(directory: Path = RESULTS) -> Path | None:
    """The newest results of full size; else the newest of any size."""
    found = sorted(directory.glob("*.json"))
    full = [path for path in found if not path.stem.endswith(("-quick", "-toy"))]
    return next(reversed(full or found), None)


def text(rows: Sequence[Row]) -> str:
    """One table of everything but the system calls, of which it has the sums, and how many rows reach what."""
    shortened = (replace(row, skipped="see below") if row.skipped else row for row in rows if not _is_detail(row))
    lines = [_HEAD, *map(_cells, shortened)]
    kept = [column for column in range(len(_HEAD)) if any(line[column] for line in lines[1:])]
    widths = {column: max(len(line[column]) for line in lines) for column in kept}
    shown = ["  ".join(line[column].ljust(widths[column]) for column in kept).rstrip() for line in lines]
    verdicts = Counter(row.verdict for row in rows)
    words = {"goal": "reach the goal", "bar": "reach the bar", "MISS": "miss the bar", "skip": "were skipped"}
    sums = ", ".join(f"{verdicts[key]} {text}" for key, text in words.items())
    skipped = [f"skipped: {row.what}: {row.skipped}" for row in rows if row.skipped]
    rule = "-" * (sum(widths.values()) + 2 * len(kept) - 2)
    return "\n".join([shown[0], rule, *shown[1:], "", *skipped, sums])


def _is_detail(row: Row) -> bool:
    return row.name.startswith(("syscall-", "step-")) and not row.name.endswith("-total")


def markdown(results: Results) -> str:
    """The generated part of benchmarks/results/README.md."""
    judged = [row for row in results.rows if not row.name.startswith(("syscall-", "step-", "peer-"))]
    about = results.machine
    commit = f" at commit {about['commit']}" if about.get("commit") else ""
    parts = [
        f"Measured {results.at}, sizes `{results.sizes}`{commit}, on {about['cores']} cores of {about['cpu']}"
        f"{' (virtual)' if about['virtual'] else ''}, {about['memory_gib']:g} GiB, Linux {about['kernel']}, "
        f"Python {about['python']}, /bin/sh is {about['shell']}.",
        _markdown_table(_HEAD, map(_cells, judged)),
    ]
    calls = [row for row in results.rows if row.name.startswith("syscall-")]
    if calls:
        parts += ["### A job by system call", *_call_tables(calls)]
    steps = [row for row in results.rows if row.name.startswith("step-")]
    if steps:
        head = ("a job's Python, by what it is for", "bytecodes", *steps[0].details)
        cells = [[row.name[5:], f"{row.value:,.0f}", *(f"{n:.0f}" for n in row.details.values())] for row in steps]
        parts += ["### A job by step", _markdown_table(head, cells)]
    others = [row for row in results.rows if row.name.startswith("peer-")]
    if others:
        parts += ["### Other queues in the same run", _markdown_table(_HEAD, map(_cells, others))]
    return "\n\n".join(parts)


def rewrite(document: Path, results: Results) -> None:
    """Put the figures between the two marks of a document; raises ValueError if it lacks them."""
    text = document.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{document} lacks the marks of the generated part")
    document.write_text(f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{after}", encoding="utf-8")


def _call_tables(rows: Sequence[Row]) -> list[str]:
    """One table for the worker's threads, one for the job's own processes."""
    found = []
    for who in dict.fromkeys(row.name.split("-")[1] for row in rows):
        mine = [row for row in rows if row.name.startswith(f"syscall-{who}-")]
        cells = ((row.name.split("-", 2)[2], f"{row.value:.2f}", f"{row.details['us']:.1f}") for row in mine)
        found.append(_markdown_table((f"call of the {who}", "calls a job", "us a job, traced"), cells))
    return found


def _markdown_table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body])


def _cells(row: Row) -> tuple[str, ...]:
    if row.skipped:
        return (row.what, row.place, "", "", "", "", "", "skip", row.skipped, "")
    bar = row.bar
    return (
        row.what,
        row.place,
        _amount(row.value, row.unit),
        "" if row.floor is None else f"{_amount(row.floor, row.unit)} ({row.floor_what})",
        "" if row.figure is None or row.figure_unit == row.unit else _figure(row.figure, row.figure_unit),
        bar.format(bar.limit) if bar else "",
        bar.format(bar.goal) if bar else "",
        row.verdict,
        _cpu(row),
        "" if not row.foreign else f"{row.foreign:.0%}{' !' if row.foreign > _NOISY else ''}",
    )


def _amount(value: float | None, unit: str) -> str:
    return "" if value is None else f"{_number(value)} {unit}"


def _figure(value: float, unit: str) -> str:
    return f"{value:.2f}x" if unit == "x" else f"{value:+.2f} {unit}" if unit == "ms more" else f"{value:.2f} {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cpu(row: Row) -> str:
    if row.cpu_us is None:
        return ""
    return f"{_number(row.cpu_us)} us" + (f" / {_number(row.floor_cpu_us)}" if row.floor_cpu_us is not None else "")
