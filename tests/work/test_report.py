"""What a worker says, and to whom."""

from __future__ import annotations

import io
import json

from queuectl.work.report import Report


class Gone(io.StringIO):
    """A reader that has gone away."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_text_is_one_line_that_a_terminal_only_shows() -> None:
    """Control characters and newlines of a job's texts are escaped or folded."""
    stream = io.StringIO()
    Report("text", stream).event("start", "x", "attempt 1 of 1: echo \x1b[31m\nrm\u202e")
    (line,) = stream.getvalue().splitlines()
    assert "\\x1b[31m rm\\u202e" in line


def test_quiet_reports_problems_only() -> None:
    """A dead letter is reported, a success is not."""
    stream = io.StringIO()
    report = Report("quiet", stream)
    for event in ("start", "done", "retry", "dead", "refused", "warning"):
        report.event(event, "x", "text")
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["dead", "refused", "warning"]


def test_json_lines_carry_the_facts() -> None:
    """One object a line, with the time, the event, the job and the facts as data."""
    stream = io.StringIO()
    Report("json", stream).event("done", "x", "exit0 in 0.1 s", attempt=1, result="exit0")
    event = json.loads(stream.getvalue())
    assert {key: event[key] for key in ("event", "job", "attempt", "result")} == {
        "event": "done", "job": "x", "attempt": 1, "result": "exit0",
    }  # fmt: skip
    assert event["at"].endswith("Z")


def test_reader_that_went_away_stops_nothing() -> None:
    """The jobs matter more than the report."""
    Report("text", Gone()).event("done", "x", "exit0")


def test_report_once_repeats_only_after_it_was_over() -> None:
    """A condition that lasts is reported at its beginning and its end."""
    stream = io.StringIO()
    report = Report("text", stream)
    for _ in range(3):
        report.once("full", "warning", "full")
    for _ in range(3):
        report.over("full", "room again")
    report.once("full", "warning", "full")
    assert [line.split("  ")[-1].strip() for line in stream.getvalue().splitlines()] == ["full", "room again", "full"]
