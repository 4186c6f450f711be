"""The protocol of a job's life holds in every order of steps and kills, within the bounds of the scenes."""

from __future__ import annotations

import pytest

from tests.model import scenes
from tests.model.__main__ import is_needed
from tests.model.checker import Step, explore
from tests.model.job import check
from tests.model.protocol import FULL, INVARIANTS, Protocol


@pytest.mark.parametrize("title", scenes.SMALL)
def test_protocol_breaks_no_invariant_in_a_small_scene(title: str) -> None:
    """Every state that the scene can reach keeps every invariant, and the job can still end."""
    report = check(FULL, scenes.SMALL[title])

    assert report.broken == {}
    assert report.is_complete


@pytest.mark.parametrize("decision", Protocol._fields)
def test_protocol_without_one_decision_breaks_an_invariant(decision: str) -> None:
    """Each decision of the protocol is needed, and the model finds what goes wrong without it."""
    assert is_needed(decision)


def test_needed_scenes_hold_with_the_whole_protocol() -> None:
    """What breaks without a decision does not break with it, in the scenes that are small enough to explore here."""
    for need in scenes.NEEDED.values():
        report = check(FULL, need.scene, 5_000, behind=need.behind)
        assert need.broken not in report.broken


def test_invariants_are_each_broken_by_some_omission() -> None:
    """No invariant is so weak that nothing can break it; I2 is that of the renames, of which each is one step."""
    assert {need.broken for need in scenes.NEEDED.values()} == set(INVARIANTS) - {"I2"}


def test_explore_gives_a_shortest_trace_and_finds_where_progress_ends() -> None:
    """The trace to a broken invariant is a shortest one; a state without a way to a goal is stuck."""

    def steps(state: int) -> list[Step[int]]:
        return [Step("add", state + 1), Step("double", state * 2), Step("undo", state - 1, is_progress=False)]

    report = explore(
        1, lambda state: steps(state) if 0 < state < 8 else [], lambda state: "seven" if state == 7 else ""
    )

    assert report.traces == {"seven": ["add", "add", "double", "add"]}
    assert report.stuck is None

    cornered = explore(
        1, lambda state: steps(state) if 0 < state < 8 else [], lambda _: "", is_goal=lambda state: state == 8
    )
    assert cornered.stuck == ["undo"]
