"""The transitions of the design as one table, in the same order: event, the name before, the move."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import lifecycle
from queuectl.core.lifecycle import TRANSITIONS, Move
from queuectl.core.names import ASKING_AT, HELD_AT, WAITING_AT, FinishedName, Name, PendingName, RunningName
from queuectl.core.result import CANCELLED, INVALID, LOST, SKIPPED, SUCCESS, TIMEOUT, Result, State
from queuectl.core.retry import RetryPolicy

NOW = datetime(2026, 11, 24, 3, 43, tzinfo=UTC)
EARLIER = NOW - timedelta(seconds=90)
LATER = NOW + timedelta(hours=1)
ME, OTHER = "web1.4242.k7f3", "web2.17.abcd"
POLICY = RetryPolicy(max_retries=3, backoff_base=2.0, backoff_max=3600.0)
FAILED = Result.exit(1)

WAITING = PendingName(10, EARLIER, 0, "a")
WAITING_AGAIN = PendingName(10, EARLIER, 2, "a")
HELD = PendingName(10, HELD_AT, 2, "a")
ASKING = PendingName(10, ASKING_AT, 0, "a")
AWAITING = PendingName(10, WAITING_AT, 0, "a")
SKIPPED_NAME = FinishedName(EARLIER, 10, 0, SKIPPED, 0, "a")
URGENT = PendingName(0, LATER, 0, "a")
FRONT = PendingName(3, EARLIER, 0, "b")
FIRST = RunningName(EARLIER, 10, 1, ME, "a")
THIRD = RunningName(EARLIER, 10, 3, ME, "a")
LAST = RunningName(EARLIER, 10, 4, ME, "a")
DONE = FinishedName(EARLIER, 10, 1, SUCCESS, 500, "a")
DEAD = FinishedName(EARLIER, 10, 4, FAILED, 500, "a")


class NoJitter(random.Random):
    """Draws zero, so that a backoff is exactly what its policy says."""

    def random(self) -> float:
        return 0.0


RNG = NoJitter()


class Row(NamedTuple):
    """One way on from a name."""

    event: str
    before: Name | None
    move: Callable[[], Move]
    state: State
    after: Name


TABLE = (
    Row("enqueue", None, lambda: lifecycle.enqueue("a", 10, None, NOW), State.PENDING, PendingName(10, NOW, 0, "a")),
    Row("enqueue", None, lambda: lifecycle.enqueue("a", 1, LATER, NOW), State.PENDING, PendingName(1, LATER, 0, "a")),
    Row("adopt", None, lambda: lifecycle.enqueue("a", 10, EARLIER, NOW), State.PENDING,
        PendingName(10, EARLIER, 0, "a")),
    Row("take", None, lambda: lifecycle.enqueue("a", 10, None, NOW), State.PENDING,
        PendingName(10, NOW, 0, "a")),
    Row("claim", WAITING, lambda: lifecycle.claim(WAITING, ME, NOW), State.RUNNING, RunningName(NOW, 10, 1, ME, "a")),
    Row("claim", WAITING_AGAIN, lambda: lifecycle.claim(WAITING_AGAIN, ME, NOW), State.RUNNING,
        RunningName(NOW, 10, 3, ME, "a")),
    Row("succeed", FIRST, lambda: lifecycle.succeed(FIRST, SUCCESS, 12.3, NOW), State.DONE,
        FinishedName(NOW, 10, 1, SUCCESS, 12_300, "a")),
    Row("fail, retries left", FIRST, lambda: lifecycle.fail(FIRST, FAILED, 1.5, POLICY, NOW, RNG), State.PENDING,
        PendingName(10, NOW + timedelta(seconds=2), 1, "a")),
    Row("fail, retries left", THIRD, lambda: lifecycle.fail(THIRD, TIMEOUT, 1.5, POLICY, NOW, RNG), State.PENDING,
        PendingName(10, NOW + timedelta(seconds=8), 3, "a")),
    Row("fail, none left", LAST, lambda: lifecycle.fail(LAST, FAILED, 1.5, POLICY, NOW, RNG), State.DEAD,
        FinishedName(NOW, 10, 4, FAILED, 1_500, "a")),
    Row("fail, none left", FIRST, lambda: lifecycle.fail(FIRST, TIMEOUT, 1.5, RetryPolicy(0), NOW, RNG), State.DEAD,
        FinishedName(NOW, 10, 1, TIMEOUT, 1_500, "a")),
    Row("fail, none left", FIRST, lambda: lifecycle.fail(FIRST, FAILED, 1.5, RetryPolicy(no_retry_on={1}), NOW, RNG),
        State.DEAD, FinishedName(NOW, 10, 1, FAILED, 1_500, "a")),
    Row("release", THIRD, lambda: lifecycle.release(THIRD), State.PENDING, PendingName(10, EARLIER, 2, "a")),
    Row("adopt running", THIRD, lambda: lifecycle.adopt_running(THIRD, OTHER), State.RUNNING,
        RunningName(EARLIER, 10, 3, OTHER, "a")),
    Row("rescue, ended well", THIRD, lambda: lifecycle.succeed(THIRD, SUCCESS, 1.5, NOW), State.DONE,
        FinishedName(NOW, 10, 3, SUCCESS, 1_500, "a")),
    Row("rescue, lost or failed", FIRST, lambda: lifecycle.fail(FIRST, LOST, 1.5, POLICY, NOW, RNG), State.PENDING,
        PendingName(10, NOW + timedelta(seconds=2), 1, "a")),
    Row("retry by hand", DEAD, lambda: lifecycle.retry_by_hand(DEAD, NOW), State.PENDING, PendingName(10, NOW, 0, "a")),
    Row("retry by hand", DONE, lambda: lifecycle.retry_by_hand(DONE, NOW), State.PENDING, PendingName(10, NOW, 0, "a")),
    Row("reschedule", WAITING_AGAIN, lambda: lifecycle.reschedule(WAITING_AGAIN, priority=0), State.PENDING,
        PendingName(0, EARLIER, 2, "a")),
    Row("reschedule", WAITING_AGAIN, lambda: lifecycle.reschedule(WAITING_AGAIN, run_at=LATER), State.PENDING,
        PendingName(10, LATER, 2, "a")),
    Row("hold", WAITING_AGAIN, lambda: lifecycle.hold(WAITING_AGAIN), State.PENDING, HELD),
    Row("wait", HELD, lambda: lifecycle.wait(HELD), State.PENDING, PendingName(10, WAITING_AT, 2, "a")),
    Row("due", AWAITING, lambda: lifecycle.due(AWAITING, None, NOW), State.PENDING, PendingName(10, NOW, 0, "a")),
    Row("due", AWAITING, lambda: lifecycle.due(AWAITING, LATER, NOW), State.PENDING, PendingName(10, LATER, 0, "a")),
    Row("due", AWAITING, lambda: lifecycle.due(AWAITING, EARLIER, NOW), State.PENDING, PendingName(10, NOW, 0, "a")),
    Row("skip, to dead", AWAITING, lambda: lifecycle.skip(AWAITING, State.DEAD, NOW), State.DEAD,
        FinishedName(NOW, 10, 0, SKIPPED, 0, "a")),
    Row("skip, to done", SKIPPED_NAME, lambda: lifecycle.skip(SKIPPED_NAME, State.DONE, NOW), State.DONE,
        FinishedName(NOW, 10, 0, SKIPPED, 0, "a")),
    Row("bring back", SKIPPED_NAME, lambda: lifecycle.bring_back(SKIPPED_NAME), State.PENDING, AWAITING),
    Row("let go", HELD, lambda: lifecycle.reschedule(HELD, run_at=NOW), State.PENDING, PendingName(10, NOW, 2, "a")),
    Row("ask for its key", None, lambda: lifecycle.ask(WAITING), State.PENDING, ASKING),
    Row("ask for its key", HELD, lambda: lifecycle.ask(HELD), State.PENDING,
        PendingName(10, ASKING_AT + timedelta(milliseconds=1), 2, "a")),
    Row("ask again", DONE, lambda: lifecycle.ask(PendingName(10, NOW, 0, "a")), State.PENDING, ASKING),
    Row("has its key", ASKING, lambda: lifecycle.reschedule(ASKING, run_at=NOW), State.PENDING,
        PendingName(10, NOW, 0, "a")),
    Row("skip", ASKING, lambda: lifecycle.skip(ASKING, State.DONE, NOW), State.DONE,
        FinishedName(NOW, 10, 0, SKIPPED, 0, "a")),
    Row("first in line", WAITING_AGAIN, lambda: lifecycle.first(WAITING_AGAIN, FRONT, NOW), State.PENDING,
        PendingName(3, EARLIER - timedelta(milliseconds=1), 2, "a")),
    Row("first in line", URGENT, lambda: lifecycle.first(URGENT, FRONT, NOW), State.PENDING,
        PendingName(0, NOW, 0, "a")),
    Row("first in line", WAITING, lambda: lifecycle.first(WAITING, None, NOW), State.PENDING, WAITING),
    Row("first in line", HELD, lambda: lifecycle.first(HELD, None, NOW), State.PENDING, PendingName(10, NOW, 2, "a")),
    Row("cancel", WAITING_AGAIN, lambda: lifecycle.cancel(WAITING_AGAIN, NOW), State.DEAD,
        FinishedName(NOW, 10, 2, CANCELLED, 0, "a")),
    Row("cancel", THIRD, lambda: lifecycle.cancel(THIRD, NOW), State.DEAD,
        FinishedName(NOW, 10, 3, CANCELLED, 90_000, "a")),
    Row("cancel, its end on record", THIRD, lambda: lifecycle.give_up(THIRD, Result.exit(1), 1.5, NOW), State.DEAD,
        FinishedName(NOW, 10, 3, Result.exit(1), 1500, "a")),
    Row("undo, in pending", HELD, lambda: lifecycle.undo(State.PENDING, WAITING_AGAIN), State.PENDING, WAITING_AGAIN),
    Row("undo a retry", WAITING, lambda: lifecycle.undo(State.DEAD, DEAD), State.DEAD, DEAD),
    Row("undo running it again", WAITING, lambda: lifecycle.undo(State.DONE, DONE), State.DONE, DONE),
    Row("undo a cancel", DEAD, lambda: lifecycle.undo(State.PENDING, WAITING_AGAIN), State.PENDING, WAITING_AGAIN),
    Row("refuse", None, lambda: lifecycle.refuse("a", NOW), State.DEAD, FinishedName(NOW, 10, 0, INVALID, 0, "a")),
    Row("refuse", WAITING, lambda: lifecycle.refuse("a", NOW, 5), State.DEAD, FinishedName(NOW, 5, 0, INVALID, 0, "a")),
    Row("skip a tick", None, lambda: lifecycle.skip_new("a", 5, NOW), State.DONE,
        FinishedName(NOW, 5, 0, SKIPPED, 0, "a")),
)  # fmt: skip

KINDS = {PendingName: {State.PENDING}, RunningName: {State.RUNNING}, FinishedName: {State.DONE, State.DEAD}}


@pytest.mark.parametrize("row", TABLE, ids=[f"{number} {row.event}" for number, row in enumerate(TABLE)])
def test_transition(row: Row) -> None:
    """The move leads to the state and to exactly the name that the table says."""
    assert row.move() == Move(row.state, row.after)


def test_table_is_the_codes() -> None:
    """Rows here and rows in the code are the same events in the same order, with the same ends."""
    assert list(dict.fromkeys(row.event for row in TABLE)) == [transition.event for transition in TRANSITIONS]
    by_event = {transition.event: transition for transition in TRANSITIONS}
    for row in TABLE:
        transition = by_event[row.event]
        assert row.state is transition.target
        assert row.before is None or KINDS[type(row.before)] & set(transition.source)


def test_codes_table_names_its_functions() -> None:
    """Every function named in the table exists, and every public function of the module is in the table."""
    functions = {
        name
        for name, value in vars(lifecycle).items()
        if inspect.isfunction(value) and value.__module__ == lifecycle.__name__ and not name.startswith("_")
    }
    assert {transition.function for transition in TRANSITIONS} == functions


@pytest.mark.parametrize("row", TABLE, ids=[f"{number} {row.event}" for number, row in enumerate(TABLE)])
def test_name_fits_its_directory(row: Row) -> None:
    """A move's name is one that its directory's parser takes, with the job's id."""
    move = row.move()
    assert move.state in KINDS[type(move.name)]
    assert type(move.name).parse(str(move.name)) == move.name
    assert move.name.id == "a"


@given(st.integers(1, 20), st.integers(0, 20), st.floats(0, 1e6))
def test_failure_leads_on_until_retries_are_used_up(attempt: int, max_retries: int, duration: float) -> None:
    """A job gets exactly one attempt and its retries; each wait is at least its backoff, never shorter."""
    policy = RetryPolicy(max_retries)
    running = RunningName(EARLIER, 10, attempt, ME, "a")
    move = lifecycle.fail(running, FAILED, duration, policy, NOW, random.Random(attempt))
    assert (move.state is State.DEAD) == (attempt > max_retries)
    if isinstance(move.name, PendingName):
        assert move.name.attempts == attempt
        assert (move.name.run_at - NOW).total_seconds() >= min(3600, 2**attempt)


def test_claim_and_its_release_leave_no_trace() -> None:
    """A released job has as many attempts as before, and has lost no place to later ones."""
    claimed = lifecycle.claim(WAITING_AGAIN, ME, NOW).name
    assert isinstance(claimed, RunningName)
    released = lifecycle.release(claimed).name
    assert isinstance(released, PendingName)
    assert (released.attempts, released.priority, released.id) == (2, 10, "a")
    assert released.run_at <= NOW


def test_run_at_between_milliseconds_becomes_the_later_one() -> None:
    """A run_at between two milliseconds is moved to the later one."""
    at = LATER + timedelta(microseconds=1)
    expected = LATER + timedelta(milliseconds=1)
    for move in (lifecycle.enqueue("a", 10, at, NOW), lifecycle.reschedule(WAITING, run_at=at)):
        assert move.name == PendingName(10, expected, 0, "a")


@pytest.mark.parametrize("duration", [-5.0, -0.0001, 0.0, 0.0004])
def test_clock_that_went_back_gives_no_negative_duration(duration: float) -> None:
    """A duration below zero, or too short to write, is zero."""
    assert lifecycle.succeed(FIRST, SUCCESS, duration, NOW).name == FinishedName(NOW, 10, 1, SUCCESS, 0, "a")
    before_its_start = EARLIER - timedelta(hours=1)
    cancelled = lifecycle.cancel(FIRST, before_its_start).name
    assert cancelled == FinishedName(before_its_start, 10, 1, CANCELLED, 0, "a")
