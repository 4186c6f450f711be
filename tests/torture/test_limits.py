"""Limits under kills, in the short form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.torture import limits


def test_limits_of_nested_groups_hold_while_workers_die(tmp_path: Path) -> None:
    """Never more of a group run at once than its limit says, and no two jobs have one seat, whoever is killed or
    stopped, and every job runs once."""
    outcome = limits.rage(tmp_path, jobs=63, kills=6, seed=1, workers=2)
    assert outcome.problems == []
    assert outcome.kills


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["limit a 1", "begin a.1 1", "begin a.2 1"], "a.2 began as number 2 of a, whose limit is 1"),
        (["limit a.b 1", "begin a.1 1", "begin a.b.2 1", "begin a.b.3 1"], "a.b.3 began as number 2 of a.b"),
        (["begin a.1 1", "begin a.1 2"], "a.1: attempt 2 began while attempt 1 ran"),
        (["begin x 1", "end x 1", "begin x 2", "end x 2"], "x ran 2 times"),
        (["seats s 2", "begin s.1 1 s="], "s.1 began without a seat of s"),
        (["seats s 2", "begin s.1 1 s=0", "begin s.2 1 s=0"], "s.2 and s.1 had seat 0 of s at once"),
        (["seats s 1", "begin s.1 1 s=0", "begin x 1 s=1"], "x began with seats 1 of s, of which 2 are taken, not 1"),
        ([], "x did not run to its end"),
    ],
)
def test_judge_finds_what_is_planted(lines: list[str], problem: str) -> None:
    """A checker that passes everything proves nothing."""
    assert any(problem in found for found in limits.judge(lines, ["x"], Counter()))
