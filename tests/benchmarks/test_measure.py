"""What the figures are made of: rounds, ratios, quantiles."""

from __future__ import annotations

import pytest

from benchmarks.measure import Meter, Take, interleave, quantile


def test_sides_take_turns_in_alternating_order() -> None:
    """Whatever drifts in the machine meets both sides alike."""
    order: list[str] = []

    def side(name: str) -> Take:
        order.append(name)
        return Take(1.0)

    interleave({"a": lambda: side("a"), "b": lambda: side("b")}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_ratio_is_the_median_of_the_ratios_of_rounds() -> None:
    """Not the ratio of medians: a slow round is slow for both."""
    mine, floor = iter([10.0, 200.0, 30.0]), iter([10.0, 100.0, 10.0])
    takes = interleave({"floor": lambda: Take(next(floor)), "mine": lambda: Take(next(mine))}, 3)
    assert takes["mine"].ratio(takes["floor"]) == 2.0


def test_noisy_rounds_are_repeated_and_calm_ones_count() -> None:
    """Which rounds count depends on what others did, never on what was measured."""
    rounds = iter([(1.0, 0.5), (2.0, 0.0), (3.0, 0.4), (4.0, 0.01), (9.0, 0.0)])

    def side() -> Take:
        value, foreign = next(rounds)
        return Take(value, foreign=foreign)

    takes = interleave({"only": side}, 2, patience=1e-9)
    assert sorted(takes["only"].values) == [2.0, 4.0]


def test_repeating_ends_when_it_is_never_calm() -> None:
    """Twice the rounds at most."""
    count = 0

    def side() -> Take:
        nonlocal count
        count += 1
        return Take(1.0, foreign=0.9)

    assert len(interleave({"only": side}, 3, patience=1e-9)["only"].takes) == 3
    assert count == 6


@pytest.mark.parametrize(("share", "value"), [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0), (0.99, 3.97)])
def test_quantiles_lie_between_neighbours(share: float, value: float) -> None:
    """In proportion, and whatever the order of the samples."""
    assert quantile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(value)


def test_meter_counts_its_own_cpu() -> None:
    """Work done in the block is its own."""
    with Meter() as meter:
        sum(range(2_000_000))
    assert 0 < meter.cpu <= meter.wall * 1.5
