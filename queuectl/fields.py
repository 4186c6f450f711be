"""The fields of a job as people type and read them: for `queuectl set`, and for the dashboard's form."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from typing import Any

from queuectl.config import parse_exit_codes, parse_size
from queuectl.core.body import FIELDS
from queuectl.core.when import parse_duration, parse_when
from queuectl.errors import UsageError

CAN_BE_SET = tuple(name for name in FIELDS if name not in ("id", "env", "submitted_by"))
"""The fields that `parse` knows. Variables of `env` are set one by one; an id never changes, nor who submitted it."""
_NOTHING = ("", "none")


def parse(name: str, text: str, now: datetime) -> Any:
    """A field's value for `Spool.set_fields`; None removes it. Raises UsageError.

    Whether a value is valid and in range is checked with the job body.
    """
    if name not in CAN_BE_SET:
        keys = " ".join(known.replace("_", "-") for known in CAN_BE_SET)
        raise UsageError(f"{name!r} cannot be set", hint=f"keys: {keys} env.NAME")
    if name == "command":
        return _parse_command(text)
    if text.strip().lower() in _NOTHING:
        return None
    if name == "run_at":
        return parse_when(text, now)
    if name in ("timeout", "backoff_max"):
        seconds = parse_duration(text)
        return int(seconds) if seconds.is_integer() else seconds
    if name in ("retry_on", "no_retry_on"):
        return list(parse_exit_codes(text))
    if name == "max_log":
        return parse_size(text)
    if name in ("on_lost", "on_max_log"):
        return text.strip().lower()
    return text if name == "cwd" else _parse_number(name, text)


def parse_variable(name: str, text: str) -> str | None:
    """A variable's value for the `env` of `Spool.set_fields`; None removes it. Raises UsageError."""
    if not name:
        raise UsageError("a variable has no name", hint="give env.NAME=VALUE")
    return None if text.strip().lower() == "none" else text


def _parse_command(text: str) -> Any:
    """The command line, or the array of strings if it is one in JSON."""
    if text.strip().lower() == "none":
        raise UsageError("a job needs a command", hint="to remove the job: queuectl cancel")
    if text.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return text


def _parse_number(name: str, text: str) -> float:
    try:
        return float(text) if name.startswith("backoff_") else int(text)
    except ValueError:
        raise UsageError(f"not a number: {name}={text}") from None


def shown(value: Any) -> str:
    """A field's value as `parse` takes it; empty for none."""
    if isinstance(value, list):
        return ",".join(f"{item}" for item in value)
    return "" if value is None else f"{value}"
