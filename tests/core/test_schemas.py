"""The JSON Schema of a job's file agrees with the check of a job's file."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from queuectl import schemas
from queuectl.core import schedules
from queuectl.core.fields import CAN_BE_SET, FIELDS, parse
from queuectl.errors import InvalidJobError
from queuectl.spool.system import zones
from tests.core.test_body import BAD, GOOD
from tests.core.test_fields import SAMPLES
from tests.spool.given import NOW

SCHEMA = schemas.load("job")
CHECK = jsonschema.Draft202012Validator(SCHEMA)
NOT_SAID = ("NUL", "half a character", "longer than", '"run_at" must be')
"""What a schema does not say: bytes and characters of a text, and what is a time."""


def test_schemas_are_valid() -> None:
    """Each is a schema itself."""
    for name in schemas.NAMES:
        jsonschema.Draft202012Validator.check_schema(schemas.load(name))


def test_schema_has_every_field() -> None:
    """The fields are those of a job, in their order, each with a description."""
    assert list(SCHEMA["properties"]) == list(FIELDS)
    assert all(field["description"] for field in SCHEMA["properties"].values())


@pytest.mark.parametrize(("field", "value", "expected"), GOOD)
def test_good_value_is_valid(field: str, value: Any, expected: Any) -> None:
    """What the check takes, up to the limits of each field, the schema allows."""
    if value is None and field == "command":
        return
    CHECK.validate({"command": "true", field: value})


@pytest.mark.parametrize("name", CAN_BE_SET)
def test_typed_value_is_valid(name: str) -> None:
    """So it does with what a typed value becomes."""
    value = parse(name, SAMPLES[name][0], NOW)
    CHECK.validate({"command": "true", name: "2030-01-20" if name == "run_at" else value})


def _is_said(field: str, value: Any, problem: str) -> bool:
    numbers = value if isinstance(value, list) else [value]
    is_whole = any(isinstance(number, float) and number.is_integer() and number > 0 for number in numbers)  # 1.0 is 1
    return not any(part in problem for part in NOT_SAID) and not is_whole


@pytest.mark.parametrize(("field", "value", "problem"), [row for row in BAD if _is_said(*row)])
def test_bad_value_is_refused(field: str, value: Any, problem: str) -> None:
    """What the check refuses for its type, its range or its form the schema refuses too."""
    assert not CHECK.is_valid({"command": "true", field: value})


SCHEDULE = jsonschema.Draft202012Validator(schemas.load("schedule"))


@pytest.mark.parametrize(
    "fields",
    [
        {"cron": "30 2 * * 1-5", "timezone": "Europe/Vienna", "catch_up": "6h", "overlap": "queue", "jitter": "10m"},
        {"every": "15m", "catch_up": "none", "cron": None, "timeout": 5, "mine": {"x": 1}},
        {"every": 90, "catch_up": "all", "overlap": "skip", "jitter": 5, "id": None},
        {"cron": "@daily", "catch_up": "last", "env": {"A": "b"}, "seats": {"gpu": 2}, "unique": "report"},
    ],
)
def test_schedule_is_valid(fields: dict[str, Any]) -> None:
    """What the check of a schedule's file takes, the schema allows."""
    schedules.parse("nightly", {"command": "true", **fields}, zones.load)
    SCHEDULE.validate({"command": "true", **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"cron": "@daily", "every": "1h"},
        {"cron": 5},
        {"every": 0},
        {"every": True},
        {"every": 1.5},
        {"every": "soon"},
        {"cron": "@daily", "timezone": 1},
        {"cron": "@daily", "catch_up": "first"},
        {"cron": "@daily", "catch_up": -1},
        {"cron": "@daily", "overlap": "stop"},
        {"cron": "@daily", "jitter": [1]},
        {"cron": "@daily", "id": "x"},
        {"cron": "@daily", "group": "x"},
        {"cron": "@daily", "run_at": "2030-01-20"},
        {"cron": "@daily", "timeout": "5"},
        {"cron": "@daily", "command": None},
    ],
)
def test_bad_schedule_is_refused(fields: dict[str, Any]) -> None:
    """What the check refuses for its type, its range or its form the schema refuses too."""
    with pytest.raises(InvalidJobError):
        schedules.parse("nightly", {"command": "true", **fields}, zones.load)
    assert not SCHEDULE.is_valid({"command": "true", **fields})


def test_schedule_has_every_field() -> None:
    """The schema of a schedule has its own fields, and those of a job."""
    assert set(schemas.load("schedule")["properties"]) == {*schedules.KEYS, *FIELDS}


def test_empty_body_is_refused() -> None:
    """A job needs a command."""
    assert not CHECK.is_valid({})
    assert CHECK.is_valid({"command": "true", "mine": {"x": 1}})
