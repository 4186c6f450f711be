"""The table of a job's fields: what each row has, and how it reads text."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from queuectl.core import body
from queuectl.core.fields import CAN_BE_SET, FIELDS, Body, as_typed, parse, parse_variable
from queuectl.errors import UsageError
from tests.spool.given import NOW

SAMPLES: dict[str, tuple[str, Any]] = {
    "command": ('["echo", "a b"]', ["echo", "a b"]),
    "priority": ("7", 7),
    "run_at": ("in 5m", NOW + timedelta(minutes=5)),
    "timeout": ("1h30m", 5400),
    "max_retries": ("0", 0),
    "backoff_base": ("1.5", 1.5),
    "backoff_max": ("500ms", 0.5),
    "backoff_jitter": ("0", 0.0),
    "retry_on": ("75,64-66", [64, 65, 66, 75]),
    "no_retry_on": ("1", [1]),
    "on_lost": ("Dead", "dead"),
    "max_log": ("64K", 65536),
    "on_max_log": ("kill", "kill"),
    "seats": ("gpu=2,mem=0", {"gpu": 2, "mem": 0}),
    "slots": ("4", 4),
    "cwd": ("/srv/a b", "/srv/a b"),
    "after": ("extract,lr.", ["extract", "lr."]),
    "after_end": ("a", ["a"]),
    "after_failed": ("afternotok:7:8", ["7", "8"]),
}
"""A text for each field that can be typed, and the value that it means."""


def test_fields_of_the_table_are_those_of_a_body() -> None:
    """Every field of a job has an attribute of `Body` and a row of `FIELDS`, in one order."""
    assert tuple(FIELDS) == Body._fields[:-1]
    assert Body._fields[-1] == "warnings"
    assert set(CAN_BE_SET) == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_typed_field_passes_its_own_check(name: str) -> None:
    """What is typed for a field is read as a value that its check takes, and that reads the same when typed again."""
    text, value = SAMPLES[name]
    assert parse(name, text, NOW) == value
    if name == "run_at":
        return
    body.validate({"command": "true", name: value})
    if name != "command":
        assert parse(name, as_typed(value), NOW) == value


@pytest.mark.parametrize("name", [name for name in CAN_BE_SET if name != "command"])
def test_typed_field_can_be_taken_away(name: str) -> None:
    """`none` and nothing at all take a field away; a job without a command is refused."""
    assert parse(name, " None ", NOW) is parse(name, "", NOW) is None
    with pytest.raises(UsageError, match="needs a command"):
        parse("command", "none", NOW)


@pytest.mark.parametrize("name", ["priority", "max_retries", "backoff_base", "backoff_jitter"])
def test_typed_number_must_be_one(name: str) -> None:
    """Text that is not a number is refused with the field's name."""
    with pytest.raises(UsageError, match=f"not a number: {name}=x"):
        parse(name, "x", NOW)


@pytest.mark.parametrize("name", ["id", "group"])
def test_fields_that_name_a_job_never_change(name: str) -> None:
    """And the error says what to do instead."""
    with pytest.raises(UsageError, match=f"a job keeps its {name}") as caught:
        parse(name, "x", NOW)
    assert "enqueue" in caught.value.hint


@pytest.mark.parametrize("name", ["env", "submitted_by", "no_such"])
def test_fields_that_cannot_be_typed(name: str) -> None:
    """They are refused, with the names of those that can."""
    with pytest.raises(UsageError, match="cannot be set") as caught:
        parse(name, "x", NOW)
    assert "priority" in caught.value.hint


def test_variables_are_typed_one_by_one() -> None:
    """A value may be empty or hold anything; `none` takes the variable away, and it needs a name."""
    assert [parse_variable("A", text) for text in ("", "b=c", "NONE")] == ["", "b=c", None]
    with pytest.raises(UsageError, match="no name"):
        parse_variable("", "x")


@pytest.mark.parametrize("name", CAN_BE_SET)
def test_field_that_can_be_set_is_on_the_form(name: str) -> None:
    """Its row has a label, and a hint of what to type."""
    assert FIELDS[name].label
    assert FIELDS[name].hint
