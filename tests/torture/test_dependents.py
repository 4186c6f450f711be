"""Many dependencies, in their short form; the long one is in `python -m tests.torture`."""

from __future__ import annotations

from pathlib import Path

from tests.torture import dependents


def test_child_submitted_as_its_dependency_ends_is_never_stuck(tmp_path: Path) -> None:
    """Whichever of the two processes looks last sees what the other has done; no worker's beat is needed."""
    assert dependents.at_one_moment(tmp_path, 100) == []


def test_work_grows_with_the_number_of_dependencies() -> None:
    """A fan-in, a fan-out, a chain, and a chain that is skipped and comes back take as many calls a job at any size."""
    _, problems = dependents.grow(250)
    assert problems == []
