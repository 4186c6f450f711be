"""The commands in the documents work, and prints what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import session
from tests.docs.markdown import RUNNABLE, Block, blocks, commands, label
from tests.support import need

PROGRAMS = {"bash", "dash", "make", "node", "parallel", "rsync", "sync", "systemd-analyze"}
"""Programs that documents use and a machine may lack."""


@pytest.mark.parametrize("document", RUNNABLE, ids=label)
def test_document_does_what_it_says(document: Path, tmp_path: Path) -> None:
    """Every block of a document that can be run is run, in order, in one shell and one fresh directory."""
    home = tmp_path / "home"
    home.mkdir()
    found = blocks(document.read_text())
    need(*sorted({program for block in found for program in _programs_of(block)}))
    problems = session.problems_of(found, home)
    assert not problems, f"{label(document)}\n" + "\n\n".join(problems)


def _programs_of(block: Block) -> set[str]:
    """The programs of `PROGRAMS` that a block calls."""
    if block.language == "bash" and block.file is None:
        return {"bash"}
    words = {command.text.split()[0] for command in commands(block)} if block.language == "console" else set()
    return words & PROGRAMS


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("id  exit0 in 0.002 s", "id exit0 in 1 m 02 s"),
        ("20261124T034312.420Z-010-1-exit0-12.300s-report.json", "20270101T000000.000Z-010-1-exit0-0.001s-report.json"),
        ("first\n…\nlast", "first\nsecond\nthird\nlast"),
        ("first\n…\nlast", "first\nlast"),
    ],
)
def test_output_may_differ_in_what_is_volatile(expected: str, actual: str) -> None:
    """Times, durations, column widths and lines left out are not differences."""
    assert session.is_match(expected, actual)


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ("exit0 in 0.002 s", "exit1 in 0.002 s"),
        ("first\nlast", "first\nsecond\nlast"),
        ("first", ""),
        ("010-20261124T034300.000Z-0-report.json", "011-20261124T034300.000Z-0-report.json"),
    ],
)
def test_other_differences_are_found(expected: str, actual: str) -> None:
    """What a document promises is compared, not skipped."""
    assert not session.is_match(expected, actual)


def test_failing_command_is_found(tmp_path: Path) -> None:
    """A command that fails, or that ends the shell, fails its document and those after it."""
    text = "```console\n$ echo good\ngood\n$ false\n```\n```sh\nexit 3\n```\n```console\n$ echo never\nnever\n```\n"
    problems = session.problems_of(blocks(text), tmp_path)
    assert [problem.split(":")[0] for problem in problems] == ["line 4", "line 7", "line 10"]


def test_hanging_command_is_found(tmp_path: Path) -> None:
    """A document that does not end is stopped with all that it runs, and the command that hangs is named first."""
    text = "```console\n$ echo good\ngood\n$ echo so far; sleep 600\n$ echo never\nnever\n```\n"
    problems = session.problems_of(blocks(text), tmp_path, timeout=3)
    assert [problem.split(":")[0] for problem in problems] == ["line 4", "line 5"]
    assert "so far" in problems[0]
