"""A job's documented JSON shape, and what it knows from its name alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from queuectl.core import body
from queuectl.core.job import Job
from queuectl.core.names import HELD_AT, FinishedName, Name, PendingName, RunningName
from queuectl.core.result import Result, State

NOW = datetime(2026, 11, 24, 3, 43, 0, 120_000, tzinfo=UTC)
FIELDS = {"command": "echo hi", "mine": [1]}
NOTHING: dict[str, Any] = {
    "id": "a", "priority": 5, "run_at": None, "started_at": None, "finished_at": None, "worker": None, "result": None,
    "exit_code": None, "duration": None, "held": False, "waiting": False, "stopped": False, "progress": None,
    "submitted_by": None, "owner": None,
    "path": "/spool/x", "body": FIELDS, "problem": None,
}  # fmt: skip
AT = "2026-11-24T03:43:00.120Z"
SHAPES: tuple[tuple[State, Name, dict[str, Any]], ...] = (
    (State.PENDING, PendingName(5, NOW, 2, "a"), {"state": "pending", "attempts": 2, "run_at": AT}),
    (State.PENDING, PendingName(5, HELD_AT, 2, "a"), {"state": "pending", "attempts": 2, "held": True}),
    (State.RUNNING, RunningName(NOW, 5, 3, "web1.4242.k7f3", "a"),
     {"state": "running", "attempts": 3, "started_at": AT, "worker": "web1.4242.k7f3"}),
    (State.DONE, FinishedName(NOW, 5, 1, Result.exit(0), 1_500, "a"),
     {"state": "done", "attempts": 1, "finished_at": AT, "result": "exit0", "exit_code": 0, "duration": 1.5}),
    (State.DEAD, FinishedName(NOW, 5, 4, Result.exit(7), 0, "a"),
     {"state": "dead", "attempts": 4, "finished_at": AT, "result": "exit7", "exit_code": 7, "duration": 0.0}),
    (State.DEAD, FinishedName(NOW, 5, 4, Result.signal(9), 20, "a"),
     {"state": "dead", "attempts": 4, "finished_at": AT, "result": "signal9", "duration": 0.02}),
)  # fmt: skip


@pytest.mark.parametrize(("state", "name", "expected"), SHAPES, ids=[str(name) for _, name, _ in SHAPES])
def test_json_shape(state: State, name: Name, expected: dict[str, Any]) -> None:
    """A job in any state has the same keys: times in RFC 3339 UTC, durations in seconds, the unknown null."""
    job = Job(state, name, "/spool/x", body.validate(FIELDS), FIELDS)
    assert job.to_json() == {**NOTHING, **expected}
    assert json.loads(json.dumps(job.to_json())) == job.to_json()


def test_job_without_a_body() -> None:
    """A job whose file is not a job's has its problem instead of a body."""
    job = Job(State.DEAD, FinishedName(NOW, 5, 0, Result("invalid"), 0, "a"), "/spool/x", problem="not valid JSON")
    assert job.to_json()["body"] is None
    assert job.to_json()["problem"] == "not valid JSON"
    assert job.command is None


def test_command_as_given() -> None:
    """A command line stays one string, words stay words."""
    name = PendingName(5, NOW, 0, "a")
    assert Job(State.PENDING, name, "x", body.validate({"command": "a b"})).command == "a b"
    assert Job(State.PENDING, name, "x", body.validate({"command": ["a", "b"]})).command == ("a", "b")
