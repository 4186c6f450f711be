"""Why a job does not start: the one list of reasons."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from queuectl.core.admission import (
    MIN_FREE_INODES,
    Pause,
    Queue,
    Reason,
    Room,
    Waiting,
    Workers,
    of_job,
    of_queue,
    of_room,
)
from queuectl.core.names import HELD_AT, PendingName
from queuectl.core.result import Result
from tests.spool.given import NOW

IDLE = Workers(1, 2, 0, 0)
LATER = NOW + timedelta(hours=1)
ROOM = Room(1 << 30, 1000)


def due(**facts: Any) -> Waiting:
    return Waiting(PendingName(10, NOW, 0, "x"), 3)._replace(**facts)


def words(job: Waiting, queue: Queue) -> list[str]:
    return [reason.reason for reason in of_job(job, queue, NOW)]


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        (Queue(None, ROOM, 0, IDLE), ["due"]),
        (Queue(Pause(NOW), ROOM, 0, IDLE), ["paused"]),
        (Queue(None, ROOM, ROOM.free, IDLE), ["due"]),
        (Queue(None, ROOM, ROOM.free + 1, IDLE), ["full"]),
        (Queue(None, Room(1 << 30, MIN_FREE_INODES - 1), 0, IDLE), ["full"]),
        (Queue(None, Room(1 << 30, None), 0, IDLE), ["due"]),
        (Queue(None, Room(0, None, "no such spool"), 0, IDLE), ["full"]),
        (Queue(None, ROOM, 0, Workers(1, 2, 2, 0)), ["busy"]),
        (Queue(None, ROOM, 0, Workers(0, 0, 0, 1)), ["no-worker"]),
        (Queue(None, ROOM, 0, Workers(0, 0, 0, 0), "grace: not a number"), ["settings", "no-worker"]),
        (Queue(None, ROOM, 0, IDLE, "grace: not a number"), ["due"]),
        (Queue(Pause(NOW), ROOM, 1 << 40, Workers(0, 0, 0, 0)), ["paused", "full", "no-worker"]),
        (Queue(), ["due"]),
    ],
)
def test_queue_reasons(queue: Queue, expected: list[str]) -> None:
    """What keeps all jobs from starting comes in order of importance; what was not examined is not a reason."""
    assert words(due(), queue) == expected


@pytest.mark.parametrize(
    ("job", "expected"),
    [
        (due(), ["due"]),
        (due(ahead=0), ["due"]),
        (due(ahead=2), ["behind"]),
        (due(problem="torn"), ["invalid"]),
        (due(is_running=True), ["running"]),
        (due(name=PendingName(10, HELD_AT, 1, "x")), ["held"]),
        (due(name=PendingName(10, LATER, 0, "x")), ["scheduled"]),
        (due(name=PendingName(10, LATER, 1, "x")), ["retry"]),
        (due(name=PendingName(10, NOW, 1, "x")), ["due"]),
        (due(problem="torn", is_running=True, name=PendingName(10, LATER, 0, "x"), ahead=1),
         ["invalid", "running", "scheduled", "behind"]),
    ],
)  # fmt: skip
def test_job_reasons(job: Waiting, expected: list[str]) -> None:
    """What keeps one job from starting comes first, then those before it; with nothing in its way it is due."""
    assert words(job, Queue(None, ROOM, 0, IDLE)) == expected


def test_reasons_that_end_by_themselves() -> None:
    """A pause and a retry say when they are over, and a retry how the last attempt ended."""
    (paused,) = of_queue(Queue(Pause(NOW, LATER, "lunch")))
    assert (paused.until, paused.text.endswith(": lunch")) == (LATER, True)
    again = due(name=PendingName(10, LATER, 2, "x"), max_retries=5, last=Result.exit(7))
    (retry,) = of_job(again, Queue(), NOW)
    assert retry == Reason("retry", "retry 2 of 5 in 1 h 00 m, after exit7", LATER)


def test_workers_of_counts_those_that_take_jobs() -> None:
    """Dead workers do not count, stopping ones only as such; one that names no number of slots has one."""
    described = [
        {"state": "working", "alive": True, "slots": 3, "runs": ["a", "b"]},
        {"state": "idle", "alive": True, "runs": []},
        {"state": "stopping", "alive": True, "slots": 9, "runs": ["c"]},
        {"state": "gone", "alive": False, "slots": 9, "runs": ["d"]},
    ]
    assert Workers.of(described) == Workers(2, 4, 2, 1, largest=3)


@pytest.mark.parametrize(
    ("room", "text"),
    [
        (Room(1 << 20, 5000), "the disk is full: 1.0 MiB free, min-free is 16.0 MiB"),
        (Room(1 << 30, 1), "the disk is full: 1 inode free; no job starts below 64"),
    ],
)
def test_full_disk_is_full_of_bytes_or_of_inodes(room: Room, text: str) -> None:
    """What there is too little of is named, with the limit."""
    (reason,) = of_room(room, 16 << 20)
    assert reason.text == text


def test_workers_on_a_batch_system_have_slots_as_soon_as_there_are_jobs() -> None:
    """A job that no batch job could take is named, by its slots or its timeout; others wait for one to begin."""
    fleet = {"state": "idle", "alive": True, "runs": [], "batch": "Slurm", "widest": 2, "slots": 0, "longest": 3575.0}
    none = Workers.of([{**fleet, "batch_jobs": [{"state": "queued"}, {"state": "stopping"}]}])
    assert (none.largest, none.coming, none.longest) == (2, 1, 3575.0)
    reasons = of_job(due(slots=3, timeout=3600), Queue(workers=none), NOW)
    assert [reason.reason for reason in reasons] == ["slots", "timeout", "busy"]
    assert "the largest worker has 2" in reasons[0].text
    assert "queuectl set x timeout=3575s" in reasons[1].text
    assert reasons[2].text == "no Slurm job runs now, 1 queued or starting"
    assert Workers.of([fleet, {**fleet, "longest": None}]).longest is None
    local = {"state": "idle", "alive": True, "runs": [], "slots": 1}
    assert Workers.of([fleet, local]).longest is None


def test_workers_of_an_engine_have_as_many_slots_as_it_has_now() -> None:
    """None at all, perhaps; and a job has to fit on one of its machines."""
    bridge = {"state": "idle", "alive": True, "runs": [], "on": "tcp://10.0.0.1:8786"}
    assert Workers.of([{**bridge, "slots": 8, "widest": 2}])[1] == 8
    assert Workers.of([{**bridge, "slots": 8, "widest": 2}]).largest == 2
    none = Workers.of([{**bridge, "slots": 0, "widest": 1000}])
    assert (none.slots, none.largest) == (0, 0)
    (reason,) = of_job(due(slots=3), Queue(workers=none), NOW)
    assert reason.text == "no worker of the engine has joined, so there are no slots"
