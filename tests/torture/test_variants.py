"""The checker against queuectl broken on purpose: it must catch every variant, and the real one must pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import need
from tests.torture import recipe, storm, variants


@pytest.mark.parametrize("name", variants.SYMPTOMS)
def test_storm_catches_a_broken_worker(tmp_path: Path, name: str) -> None:
    """With a planted fault in its claims or locks, queuectl does that very thing wrong in a small storm."""
    need("flock")
    outcome = storm.rage(tmp_path, jobs=60, kills=4, start=variants.command(name), patience=5)
    assert [problem for problem in outcome.verdict.problems if variants.SYMPTOMS[name] in problem]


def test_storm_passes_the_real_worker_started_in_the_same_way(tmp_path: Path) -> None:
    """Nothing but the planted fault is what the storm finds wrong with a variant."""
    need("flock")
    outcome = storm.rage(tmp_path, jobs=60, kills=4, start=variants.command(variants.NONE), patience=60)
    assert outcome.verdict.problems == []


@pytest.mark.parametrize("jobs", [1, 20])
@pytest.mark.parametrize("name", ["", "no-file-fsync", "no-directory-fsync"])
def test_order_of_calls_shows_what_is_durable(tmp_path: Path, name: str, jobs: int) -> None:
    """The bytes are synced before the name, the name before the answer; a variant that leaves one out is caught."""
    need("strace")
    problems = recipe.judge(tmp_path, jobs, variants.command(name))
    assert bool(problems) == bool(name), problems
