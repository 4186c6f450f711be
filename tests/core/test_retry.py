"""Backoff: exponential, capped, with jitter on top; and when to give up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core.result import LOST, TIMEOUT, Result
from queuectl.core.retry import JITTER, PERMANENT, TEMPORARY, OnLost, RetryPolicy


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
def test_retries_are_given_up_when_used_up(max_retries: int, attempts: int, exhausted: bool) -> None:
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


def test_jitter_is_a_setting() -> None:
    """None at all, or up to as much again."""
    assert RetryPolicy(backoff_jitter=0).backoff(3, Drawing(0.99)) == 8
    assert RetryPolicy(backoff_jitter=1).backoff(3, Drawing(0.5)) == 12


QMAIL = RetryPolicy(permanent_codes=PERMANENT, temporary_codes=TEMPORARY)


@pytest.mark.parametrize(
    ("policy", "retried", "final"),
    [
        (RetryPolicy(), {1, 75, 100, 111, 255}, set()),
        (RetryPolicy(no_retry_on={2, 64}), {1, 75, 100}, {2, 64}),
        (RetryPolicy(retry_on={75}), {75}, {1, 100, 111}),
        (RetryPolicy(retry_on={75, 76}, no_retry_on={75}), {76}, {1, 75}),
        (RetryPolicy(retry_on=set()), set(), {1, 75}),
        (QMAIL, {1, 75, 111}, {100}),
        (RetryPolicy(retry_on={5}, permanent_codes={100}, temporary_codes={111}), {5, 111}, {1, 100}),
        (RetryPolicy(retry_on={100}, permanent_codes={100}), {100}, {1}),
        (RetryPolicy(no_retry_on={111}, temporary_codes={111}), {1}, {111}),
    ],
)  # fmt: skip
def test_exit_codes_that_say_whether_to_retry(policy: RetryPolicy, retried: set[int], final: set[int]) -> None:
    """The job's own lists come first, then what codes mean to the spool; `retry_on` leaves out all others."""
    assert {code for code in retried | final if policy.is_permanent(Result.exit(code))} == final


@pytest.mark.parametrize("result", [Result.signal(9), TIMEOUT, LOST])
def test_exit_codes_say_nothing_about_other_ends(result: Result) -> None:
    """Signals, timeouts and lost attempts are retried whatever codes are listed."""
    assert not RetryPolicy(retry_on={1}, no_retry_on=range(1, 256)).is_permanent(result)


def test_lost_attempt_may_be_the_last() -> None:
    """With on_lost = dead an attempt whose outcome is unknown is not repeated; all else is."""
    policy = RetryPolicy(on_lost=OnLost.DEAD)
    assert policy.is_permanent(LOST)
    assert not any(map(policy.is_permanent, (TIMEOUT, Result.exit(1), Result.signal(15))))
