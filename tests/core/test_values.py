"""What can be asked of a job by name, and the conditions of `--where`."""

from __future__ import annotations

from typing import Any

import pytest

from queuectl.core import values
from queuectl.core.job import Job
from queuectl.core.names import HELD_AT, FinishedName, PendingName
from queuectl.core.result import Result, State
from queuectl.core.values import Condition
from queuectl.errors import UsageError
from tests.spool.given import NOW

BODY = {
    "command": ["echo", "a b"],
    "timeout": 60,
    "sweep": 3,
    "rate": 0.5,
    "name": "3",
    "on": True,
    "off": False,
    "none": None,
    "tags": ["gpu", 7],
    "a": {"b": {"c": "deep"}, "b.c": "dotted"},
    "Camel-Case": 1,
    "grid": {"x": 1},
}
JOB = Job(State.DEAD, FinishedName(NOW, 10, 2, Result.exit(7), 1500, "j"), "/j", None, BODY, "a problem")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "j"), ("state", "dead"), ("priority", 10), ("attempts", 2), ("result", "exit7"), ("exit_code", 7),
        ("exit-code", 7), ("DURATION", 1.5), ("timeout", 60), ("body.timeout", 60), ("cwd", None), ("worker", None),
        ("command", "(a problem)"), ("body.command.1", "a b"), ("body.a.b.c", "dotted"), ("body.tags.1", 7),
        ("body.tags.2", None), ("body.tags.x", None), ("body.sweep.x", None), ("body.Camel-Case", 1),
        ("body.camel", None),
        ("when", "2026-11-24T03:43:00.000Z"), ("run_at", None), ("finished_at", "2026-11-24T03:43:00.000Z"),
    ],
)  # fmt: skip
def test_value(name: str, value: Any) -> None:
    """Each name has the value of `--json`; what is not there is None."""
    assert values.value_of(JOB, values.name_of(name)) == value


def test_names_are_those_of_json() -> None:
    """Every key of a job's JSON is a name, and has the value that it has there."""
    for key, value in JOB.to_json().items():
        assert values.value_of(JOB, values.name_of(key)) == value
    held = Job(State.PENDING, PendingName(10, HELD_AT, 0, "h"), "/h")
    assert (values.value_of(held, "when"), values.value_of(held, "held"), values.value_of(held, "body.x")) == (
        None, True, None,
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "x", "last", "id.x", "body.", ".body", "body..x.", "résumé"])
def test_unknown_name(text: str) -> None:
    """A name that no job can have is refused, not taken for one that this job lacks."""
    if text == "body..x.":
        assert values.value_of(JOB, values.name_of(text)) is None
        return
    with pytest.raises(UsageError, match="unknown field"):
        values.name_of(text)


@pytest.mark.parametrize(
    ("typed", "is_met"),
    [
        ("body.sweep=3", True), ("body.sweep==3", True), ("body.sweep = 3", True), ("body.sweep=3.0", True),
        ("body.sweep=4", False), ("body.sweep=three", False), ("body.sweep!=4", True), ("body.sweep!=3", False),
        ("body.name=3", True), ("body.name=3.0", False), ("body.rate=.5", True), ("body.rate<1", True),
        ("body.on=true", True), ("body.on=True", True), ("body.on=1", False), ("body.off=false", True),
        ("body.on>0", False), ("body.none=", True), ("body.none=null", True), ("body.nope=", True),
        ("body.nope!=", False),
        ("body.nope=x", False), ("body.nope!=x", True), ("body.nope<1", False), ("body.nope>=0", False),
        ("body.tags=gpu", True),
        ("body.tags=7", True), ("body.tags=cpu", False), ('body.tags=["gpu", 7]', True),
        ('body.grid={"x": 1}', True),
        ("body.grid=x", False), ("body.grid.x=1", True), ("timeout>=60", True), ("timeout>60", False),
        ("timeout<=59", False), ("timeout<x", False), ("state=dead", True), ("result!=exit0", True),
        ("finished_at>2026-11-24", True),
        ("body.name=a=b", False), ("body.sweep<10", True), ("body.sweep=1e400", False),
        (f"body.sweep<{'9' * 5000}", True),
    ],
)  # fmt: skip
def test_condition(typed: str, is_met: bool) -> None:
    """Numbers are compared as numbers, texts as texts; what is missing equals nothing but an empty text."""
    assert Condition.parse(typed).takes(JOB) is is_met
