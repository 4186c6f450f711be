"""Schedules under kills, in the short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import ticks


def test_every_tick_runs_once_while_workers_die_and_prune_deletes(tmp_path: Path) -> None:
    """None is lost and none runs twice, whoever is killed or stopped, with jobs deleted a second after their end."""
    outcome = ticks.rage(tmp_path, seconds=8, workers=4)
    assert outcome.problems == []
    assert outcome.kills
    assert outcome.pruned


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([("2030-01-01T00:00:01Z", "1"), ("2030-01-01T00:00:01Z", "1")], "began 2 times with attempt 1"),
        ([("2030-01-01T00:00:01Z", "1"), ("2030-01-01T00:00:03Z", "1")], "00:00:02 is missing"),
        ([], "no tick ran"),
    ],
)
def test_judge_finds_what_is_planted(lines: list[tuple[str, str]], problem: str) -> None:
    """A checker that passes everything proves nothing."""
    assert any(problem in found for found in ticks.judge(lines))
