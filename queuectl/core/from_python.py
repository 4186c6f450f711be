"""Values of a job's fields as Python programs give them -> those of its body."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from typing import Any

from queuectl.core import charset
from queuectl.core.after import RULES
from queuectl.core.fields import FIELDS
from queuectl.core.job import Job
from queuectl.core.names import ceil_to_millisecond, format_rfc3339, parse_instant, to_utc
from queuectl.errors import InvalidJobError, UsageError

_TYPED = ("timeout", "backoff_max", "max_log", "retry_on", "no_retry_on", "seats")
"""Fields that take text as it is typed on the command line, besides `run_at`."""
_CHANGED = frozenset({*_TYPED, "run_at", *RULES})


def to_body(fields: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A job body of fields that may be dates, durations, sets, bytes or paths, or text as on the command line.

    Raises InvalidJobError for a text that is none; what else is wrong with a value is for the body's own check to say.
    """
    whole = charset.to_body(fields)
    for name in whole.keys() & _CHANGED:
        try:
            whole[name] = _to_json(name, whole[name], now)
        except UsageError as error:
            raise InvalidJobError([f'"{name}" is {error.what}'], error.hint) from None
    return whole


def _to_json(name: str, value: Any, now: datetime) -> Any:
    if name == "run_at":
        return _time(value, now)
    if name in RULES:
        return _references(value)
    if isinstance(value, str):
        parse = FIELDS[name].parse
        return parse(value, now) if parse is not None else value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple | set | frozenset | range) else value


def _references(value: Any) -> Any:
    """Ids of jobs, a Job being its id; text as on the command line."""
    if isinstance(value, str | Job):
        value = value.split(",") if isinstance(value, str) else [value]
    if isinstance(value, list | tuple | set | frozenset):
        return [each.id if isinstance(each, Job) else each.strip() if isinstance(each, str) else each for each in value]
    return value


def _time(value: Any, now: datetime) -> Any:
    if isinstance(value, timedelta):
        value = now + value
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if isinstance(value, datetime):
        return format_rfc3339(ceil_to_millisecond(to_utc(value)))
    return _fixed(value, now) if isinstance(value, str) else value


def _fixed(text: str, now: datetime) -> str | None:
    """A time as a body takes it, which may be the text itself."""
    with suppress(ValueError, OverflowError):
        parse_instant(text)
        return text
    from queuectl.core.when import parse_fixed, parse_when

    with suppress(ValueError, OverflowError):
        parse_fixed(text)
        return text
    return format_rfc3339(ceil_to_millisecond(parse_when(text, now)))
