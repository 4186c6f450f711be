"""The life of a job: one pure function for each way from one file name to the next.

Each function takes the name a job has and what happened, and returns the name to move it to.
`TRANSITIONS` is the same as a table. No two callers can choose the same name: a claim carries the
worker's own name, and everything else is chosen by the one who holds the job or its id.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from queuectl.core.names import (
    ASKING_AT,
    DEFAULT_PRIORITY,
    HELD_AT,
    WAITING_AT,
    FinishedName,
    Name,
    PendingName,
    RunningName,
    ceil_to_millisecond,
)
from queuectl.core.result import CANCELLED, INVALID, SKIPPED, Result, State
from queuectl.core.retry import RetryPolicy
from queuectl.tuples import NamedTuple

if TYPE_CHECKING:
    from random import Random


_STEP = timedelta(milliseconds=1)


class Move(NamedTuple):
    """Where a job goes: the state's directory and the name in it."""

    state: State
    name: Name


def enqueue(id: str, priority: int, run_at: datetime | None, now: datetime) -> Move:
    """A new job. Without `run_at` it is due at once; HELD_AT and WAITING_AT are times like any other."""
    return Move(State.PENDING, PendingName(priority, now if run_at is None else ceil_to_millisecond(run_at), 0, id))


def claim(name: PendingName, worker: str, now: datetime) -> Move:
    """A worker takes the job for its next attempt."""
    return Move(State.RUNNING, RunningName(now, name.priority, name.attempts + 1, worker, name.id))


def succeed(name: RunningName, result: Result, duration: float, now: datetime) -> Move:
    return Move(State.DONE, _finished(name, result, duration, now))


def fail(name: RunningName, result: Result, duration: float, policy: RetryPolicy, now: datetime, rng: Random) -> Move:
    """Back to pending after the backoff if retries are left and may help, else to the dead letters."""
    if policy.is_over(name.attempt, result):
        return give_up(name, result, duration, now)
    run_at = ceil_to_millisecond(now + timedelta(seconds=policy.backoff(name.attempt, rng)))
    return Move(State.PENDING, PendingName(name.priority, run_at, name.attempt, name.id))


def give_up(name: RunningName, result: Result, duration: float, now: datetime) -> Move:
    """To the dead letters with the result of its last attempt, however many retries are left."""
    return Move(State.DEAD, _finished(name, result, duration, now))


def release(name: RunningName, run_at: datetime | None = None) -> Move:
    """The worker gives the job back; the attempt does not count.

    `run_at` is that of its pending name, so that it keeps its place in the queue; if that is no longer known,
    the time of the claim is used.
    """
    return Move(State.PENDING, PendingName(name.priority, run_at or name.started_at, name.attempt - 1, name.id))


def adopt_running(name: RunningName, worker: str) -> Move:
    """Another worker takes over an attempt that is still running."""
    return Move(State.RUNNING, name._replace(worker=worker))


def retry_by_hand(name: Name, now: datetime) -> Move:
    """A finished job (or one whose file was moved back by hand) starts again from attempt 0."""
    return Move(State.PENDING, PendingName(name.priority, now, 0, name.id))


def reschedule(name: PendingName, *, priority: int | None = None, run_at: datetime | None = None) -> Move:
    return Move(
        State.PENDING,
        name._replace(
            priority=name.priority if priority is None else priority,
            run_at=name.run_at if run_at is None else ceil_to_millisecond(run_at),
        ),
    )


def hold(name: PendingName) -> Move:
    """It waits, with its priority and attempts, until it is released."""
    return Move(State.PENDING, name._replace(run_at=HELD_AT))


def ask(name: PendingName) -> Move:
    """It waits, with its priority and attempts, until it is known whether it has its key."""
    return Move(State.PENDING, name._replace(run_at=ASKING_AT + _STEP if name.is_held else ASKING_AT))


def wait(name: PendingName) -> Move:
    """It waits for other jobs to end."""
    return Move(State.PENDING, name._replace(run_at=WAITING_AT))


def due(name: PendingName, run_at: datetime | None, now: datetime) -> Move:
    """What it waited for has come about, or it was released: it gets its own time."""
    return Move(State.PENDING, name._replace(run_at=now if run_at is None else max(ceil_to_millisecond(run_at), now)))


def skip(name: PendingName | FinishedName, state: State, now: datetime) -> Move:
    """What it waited for cannot come about any more, or another job has its key. `state` is done, or dead if something
    that it needs is dead."""
    return Move(state, FinishedName(now, name.priority, name.attempts, SKIPPED, 0, name.id))


def bring_back(name: FinishedName) -> Move:
    """What a skipped job waits for can come about again: it waits for it again."""
    return Move(State.PENDING, PendingName(name.priority, WAITING_AT, 0, name.id))


def first(name: PendingName, front: PendingName | None, now: datetime) -> Move:
    """In front of `front`, the job that is first in line (None if no other is due), at its priority or better."""
    if front is None or name.priority < front.priority:
        return Move(State.PENDING, name._replace(run_at=now if name.is_held else min(name.run_at, now)))
    run_at = max(front.run_at, datetime.min.replace(tzinfo=now.tzinfo) + _STEP) - _STEP
    return Move(State.PENDING, name._replace(priority=front.priority, run_at=run_at))


def undo(state: State, name: PendingName | FinishedName) -> Move:
    """A job that was retried, cancelled or moved within pending/ by hand gets the name again that it had before.

    That name was its own, and only who has what it was moved to can move it.
    """
    return Move(state, name)


def cancel(name: PendingName | RunningName, now: datetime) -> Move:
    if isinstance(name, RunningName):
        duration = max(0.0, (now - name.started_at).total_seconds())
        return Move(State.DEAD, _finished(name, CANCELLED, duration, now))
    return Move(State.DEAD, FinishedName(now, name.priority, name.attempts, CANCELLED, 0, name.id))


def refuse(id: str, now: datetime, priority: int = DEFAULT_PRIORITY) -> Move:
    """A file that is not a runnable job."""
    return Move(State.DEAD, FinishedName(now, priority, 0, INVALID, 0, id))


def skip_new(id: str, priority: int, now: datetime) -> Move:
    """A job that is left out, and is on record as that: a tick of a schedule whose last job has not ended."""
    return Move(State.DONE, FinishedName(now, priority, 0, SKIPPED, 0, id))


def _finished(name: RunningName, result: Result, duration: float, now: datetime) -> FinishedName:
    return FinishedName(now, name.priority, name.attempt, result, max(0, round(duration * 1000)), name.id)


class Transition(NamedTuple):
    """A row of the table: the event, the states it leads from and to, and its function."""

    event: str
    source: tuple[State | None, ...]
    target: State
    function: str


TRANSITIONS = (
    Transition("enqueue", (None,), State.PENDING, "enqueue"),
    Transition("adopt", (State.PENDING,), State.PENDING, "enqueue"),
    Transition("take", (None,), State.PENDING, "enqueue"),
    Transition("claim", (State.PENDING,), State.RUNNING, "claim"),
    Transition("succeed", (State.RUNNING,), State.DONE, "succeed"),
    Transition("fail, retries left", (State.RUNNING,), State.PENDING, "fail"),
    Transition("fail, none left", (State.RUNNING,), State.DEAD, "fail"),
    Transition("release", (State.RUNNING,), State.PENDING, "release"),
    Transition("adopt running", (State.RUNNING,), State.RUNNING, "adopt_running"),
    Transition("rescue, ended well", (State.RUNNING,), State.DONE, "succeed"),
    Transition("rescue, lost or failed", (State.RUNNING,), State.PENDING, "fail"),
    Transition("retry by hand", (State.DEAD, State.DONE), State.PENDING, "retry_by_hand"),
    Transition("reschedule", (State.PENDING,), State.PENDING, "reschedule"),
    Transition("hold", (State.PENDING,), State.PENDING, "hold"),
    Transition("wait", (State.PENDING,), State.PENDING, "wait"),
    Transition("due", (State.PENDING,), State.PENDING, "due"),
    Transition("skip, to dead", (State.PENDING, State.DONE), State.DEAD, "skip"),
    Transition("skip, to done", (State.PENDING, State.DEAD), State.DONE, "skip"),
    Transition("bring back", (State.DONE, State.DEAD), State.PENDING, "bring_back"),
    Transition("let go", (State.PENDING,), State.PENDING, "reschedule"),
    Transition("ask for its key", (State.PENDING, State.RUNNING, None), State.PENDING, "ask"),
    Transition("ask again", (State.DEAD, State.DONE), State.PENDING, "ask"),
    Transition("has its key", (State.PENDING,), State.PENDING, "reschedule"),
    Transition("skip", (State.PENDING,), State.DONE, "skip"),
    Transition("first in line", (State.PENDING,), State.PENDING, "first"),
    Transition("cancel", (State.PENDING, State.RUNNING), State.DEAD, "cancel"),
    Transition("cancel, its end on record", (State.RUNNING,), State.DEAD, "give_up"),
    Transition("undo, in pending", (State.PENDING,), State.PENDING, "undo"),
    Transition("undo a retry", (State.PENDING,), State.DEAD, "undo"),
    Transition("undo running it again", (State.PENDING,), State.DONE, "undo"),
    Transition("undo a cancel", (State.DEAD,), State.PENDING, "undo"),
    Transition("refuse", (State.PENDING, None), State.DEAD, "refuse"),
    Transition("skip a tick", (None,), State.DONE, "skip_new"),
)
