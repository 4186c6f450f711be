"""The types of a job's fields as keywords of Python, one key for each row of `FIELDS`.

Type checkers read them, and `check` does when a program has given some; a command of milliseconds imports none.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from types import UnionType
from typing import Any, Literal, Required, TypedDict, Union, get_args, get_origin, get_type_hints

from queuectl.core.job import Job

Command = str | bytes | Sequence[str | bytes | os.PathLike[str]]
Path = str | bytes | os.PathLike[str]
Duration = float | str | timedelta
"""Seconds, or text as on the command line: `10m`, `1h30m`."""
Codes = Collection[int] | str
"""Exit codes, or text as on the command line: `75,111`, `64-78`."""


References = str | Job | Sequence[str | Job]
"""A job or its id, or a group with a dot at its end; or several of these."""


class _Fields(TypedDict, total=False):
    """What can be given with a job, and changed while it is waiting; None is the same as not given."""

    priority: int | None
    run_at: datetime | date | timedelta | str | None
    timeout: Duration | None
    max_retries: int | None
    backoff_base: float | None
    backoff_max: Duration | None
    backoff_jitter: float | None
    retry_on: Codes | None
    no_retry_on: Codes | None
    on_lost: Literal["retry", "dead"] | None
    max_log: int | str | None
    on_max_log: Literal["drop", "kill"] | None
    seats: Mapping[str, int] | str | None
    slots: int | None
    after: References | None
    after_end: References | None
    after_failed: References | None
    cwd: Path | None


class JobFields(_Fields, total=False):
    """The keywords of `Spool.enqueue`."""

    id: str | None
    group: str | None
    unique: str | None
    if_exists: Literal["skip", "replace", "fail"] | None
    env: Mapping[str, str | bytes] | None
    params: Mapping[str, Any] | None
    charset: Literal["utf-8", "latin-1"] | None
    submitted_by: str | None


class JobBody(JobFields):
    """A job for `Spool.enqueue_many`; derive a class from it for fields of your own."""

    command: Required[Command]


class JobChanges(_Fields, total=False):
    """The keywords of `Spool.set_fields`; None removes a field, or a variable."""

    command: Command
    env: Mapping[str, str | bytes | None] | None


def check(what: str, kind: type, given: Mapping[str, Any]) -> None:
    """Raise TypeError, as for a call of `what`, unless these are keywords of that kind with values of their types."""
    types = _types_of(kind)
    for name, value in given.items():
        if name not in types:
            raise TypeError(f"{what}() got an unexpected keyword argument {name!r}{_meant(name, types)}")
        if isinstance(value, bool) or not isinstance(value, types[name]):
            wanted = " or ".join(each.__name__ for each in types[name] if each is not type(None))
            raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


@cache
def _types_of(kind: type) -> dict[str, tuple[type, ...]]:
    return {name: tuple(dict.fromkeys(_classes(hint))) for name, hint in get_type_hints(kind).items()}


def _classes(hint: Any) -> list[type]:
    """What `isinstance` asks for, of an annotation."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return [each for part in get_args(hint) for each in _classes(part)]
    if origin is Literal:
        return [str]
    if hint is float:
        return [int, float]
    kind: type = origin or hint
    return [kind]


def _meant(name: str, types: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    from queuectl.core.foreign import FIELDS_HERE

    close = get_close_matches(name.lower(), types, n=1, cutoff=0.7)
    here = FIELDS_HERE.get(name.lower()) or (f"did you mean {close[0]!r}?" if close else "")
    return f"; {here}" if here else ""
