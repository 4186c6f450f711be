"""Results as a table, as JSON, as the generated part of a document, and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import machine, plot, report
from benchmarks.report import Results
from benchmarks.rows import Bar, Row

_RATE = Bar(0.9, 1.2, at_least=True)


def _results(*rows: Row) -> Results:
    return Results("2026-01-01", "toy", machine.describe(), rows)


def _row(name: str = "drain", figure: float = 1.0, place: str = "tmpfs", **more: Any) -> Row:
    whole: dict[str, Any] = {
        "name": name, "what": f"what of {name}", "place": place, "value": 1234.0, "unit": "jobs/s", "floor": 1000.0,
        "floor_what": "1,000 pending", "figure": figure, "bar": _RATE, "n": 5, **more,
    }  # fmt: skip
    return Row(**whole)


@pytest.mark.parametrize(
    ("bar", "figure", "verdict"),
    [
        (_RATE, 1.2, "goal"), (_RATE, 0.9, "bar"), (_RATE, 0.89, "MISS"),
        (Bar(1.5, 1.1), 1.1, "goal"), (Bar(1.5, 1.1), 1.5, "bar"), (Bar(1.5, 1.1), 1.51, "MISS"),
    ],
)  # fmt: skip
def test_figure_is_judged_by_bar_and_goal(bar: Bar, figure: float, verdict: str) -> None:
    """Both marks belong to what reaches them."""
    assert bar.verdict(figure) == verdict


def test_table_shows_ratio_bar_goal_and_verdict() -> None:
    """One line for each row, and how many reach what."""
    text = report.text([_row(figure=1.0), Row(name="x", what="what of x", skipped="no strace here")])
    line = next(line for line in text.splitlines() if line.startswith("what of drain"))
    assert "1.00x" in line
    assert ">= 0.9x" in line
    assert ">= 1.2x" in line
    assert " bar" in line
    assert "no strace here" in text
    assert text.endswith("0 reach the goal, 1 reach the bar, 0 miss the bar, 1 were skipped")


def test_results_survive_the_file(tmp_path: Path) -> None:
    """What is read is what was written, and rows measured again replace the old ones in place."""
    path = tmp_path / "results" / "x.json"
    first = _results(_row("a"), _row("b"), _row("b", place="disk"))
    first.save(path)
    assert Results.load(path) == first
    merged = Results.load(path).with_row(_row("b", figure=2.0)).with_row(_row("c"))
    assert [(row.name, row.place, row.figure) for row in merged.rows] == [
        ("a", "tmpfs", 1.0), ("b", "tmpfs", 2.0), ("b", "disk", 1.0), ("c", "tmpfs", 1.0),
    ]  # fmt: skip


def test_document_is_rewritten_only_between_its_marks(tmp_path: Path) -> None:
    """What people wrote around it stays, however often it is done."""
    document = tmp_path / "doc.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    for _ in range(2):
        report.rewrite(document, _results(_row(), _row("syscall-worker-rename", unit="a job", details={"us": 3.0})))
    text = document.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n")
    assert text.endswith(f"{report.END}\nafter\n")
    assert "old" not in text
    assert text.count("| what of drain |") == 1
    assert "| rename | 1234.00 | 3.0 |" in text


def test_document_without_marks_is_left_alone(tmp_path: Path) -> None:
    """Nothing is guessed."""
    document = tmp_path / "doc.md"
    document.write_text("text")
    with pytest.raises(ValueError, match="marks"):
        report.rewrite(document, _results(_row()))
    assert document.read_text() == "text"


def test_project_has_the_marks() -> None:
    """`make bench` finds its place in benchmarks/results/README.md."""
    text = report.DOCUMENT.read_text(encoding="utf-8")
    assert text.index(report.BEGIN) < text.index(report.END)


def test_pictures_are_well_formed(tmp_path: Path) -> None:
    """Each is XML that a browser can show, in both colour schemes; one without rows is not drawn."""
    samples: dict[str, Any] = {"samples": [1.0, 2.0, 3.0], "floor_samples": [0.5, 0.7, 0.9]}
    results = _results(
        _row("backlog-100000"), _row("backlog-1000000"), _row("backlog-100000", place="ext4"), _row("bare-threads"),
        _row("latency-idle-p50", **samples), _row("latency-storm-p50", **samples),
        _row("peer-queuectl"), _row("peer-nq", figure=0.2), _row("peer-nq-latency"),
    )  # fmt: skip
    paths = plot.draw(results, tmp_path)
    assert [path.name for path in paths] == ["backlog.svg", "latency.svg", "peers.svg"]
    for path in paths:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
        assert "prefers-color-scheme:dark" in path.read_text()
        assert "nan" not in path.read_text().lower()
    assert plot.draw(_results(), tmp_path / "none") == []
