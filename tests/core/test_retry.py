"""Backoff: exponential, capped, with jitter on top; and when to give up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core.retry import JITTER, RetryPolicy


class Drawing(random.Random):
    """Draws always the same number."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def random(self) -> float:
        return self.number


@pytest.mark.parametrize(
    ("max_retries", "attempts", "exhausted"),
    [(0, 1, True), (1, 1, False), (1, 2, True), (3, 3, False), (3, 4, True), (3, 400, True)],
)
def test_when_to_give_up(max_retries: int, attempts: int, exhausted: bool) -> None:
    """A job has one attempt more than it has retries."""
    assert RetryPolicy(max_retries).is_exhausted(attempts) is exhausted


@pytest.mark.parametrize(
    ("base", "cap", "attempts", "seconds"),
    [
        (2.0, 3600.0, 1, 2.0), (2.0, 3600.0, 2, 4.0), (2.0, 3600.0, 11, 2048.0), (2.0, 3600.0, 12, 3600.0),
        (1.0, 3600.0, 50, 1.0), (0.0, 3600.0, 3, 0.0), (0.5, 3600.0, 2, 0.25), (10.0, 5.0, 1, 5.0), (2.0, 0.0, 3, 0.0),
        (2.0, 3600.0, 999_999, 3600.0), (1e6, 60.0, 999_999, 60.0), (1e300, 60.0, 2, 60.0), (0.5, 60.0, 999_999, 0.0),
    ],
)  # fmt: skip
def test_backoff(base: float, cap: float, attempts: int, seconds: float) -> None:
    """The wait is base ** attempts up to the cap, however large the power."""
    assert RetryPolicy(3, base, cap).backoff(attempts, Drawing(0.0)) == seconds


def test_jitter() -> None:
    """The draw lengthens the wait by up to a tenth, also at the cap, so that jobs do not return in step."""
    assert RetryPolicy().backoff(3, Drawing(0.5)) == pytest.approx(8 * 1.05)
    assert RetryPolicy().backoff(30, Drawing(0.5)) == pytest.approx(3600 * 1.05)


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.integers(1, 999_999), st.integers())
def test_bounds(base: float, cap: float, attempts: int, seed: int) -> None:
    """A wait is never below zero, and never above the cap and its jitter."""
    assert 0 <= RetryPolicy(3, base, cap).backoff(attempts, random.Random(seed)) <= cap * (1 + JITTER)


@given(st.floats(1, 100), st.integers(1, 100))
def test_waits_never_shrink(base: float, attempts: int) -> None:
    """Without jitter, each wait is at least as long as the one before."""
    policy = RetryPolicy(3, base, 3600.0)
    assert policy.backoff(attempts, Drawing(0.0)) <= policy.backoff(attempts + 1, Drawing(0.0))
