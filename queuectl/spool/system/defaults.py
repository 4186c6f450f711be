"""Files of groups that are defaults for their jobs: `echo 600 > groups/net/timeout`.

A job's own field goes first, then its longest group, then the settings of the spool. Nothing is read for a job whose
id has no dot. A value that is wrong starts no job of the group (`groups.read`); for jobs that run already it is looked
at again for up to a second, as it may be being written, and ignored after that.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar

from queuectl.core import groups
from queuectl.core.names import DEFAULT_PRIORITY, MAX_PRIORITY
from queuectl.errors import QueuectlError
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

KEYS = (
    "priority",
    "timeout",
    "max-retries",
    "backoff-base",
    "backoff-max",
    "backoff-jitter",
    "retry-on",
    "no-retry-on",
    "on-lost",
    "max-log",
    "on-max-log",
)
"""The names of these files: settings of the spool, and `priority`, which counts when a job is submitted."""

_PATIENCE = 1.0
_LOOK = 0.05
_LONGEST = 4096
_Values = TypeVar("_Values", bound=tuple[Any, ...])


class Default(NamedTuple):
    """A value, and the group whose file says it."""

    value: Any
    group: str


def parse(key: str, text: str) -> Any:
    """The value of one of these files; raises ValueError with what is wrong."""
    text = text.strip()
    if not text:
        raise ValueError("is empty")
    if key == "priority":
        if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= MAX_PRIORITY):
            raise ValueError(f"is not a whole number from 0 to {MAX_PRIORITY}: {text[:40]!r}")
        return int(text)
    from queuectl.core.settings import KEYS as SETTINGS

    try:
        return SETTINGS[key].parse(text)
    except QueuectlError as error:
        raise ValueError(f"is wrong: {error.what}") from None


def read(layout: Layout, group: str, there: Collection[str]) -> tuple[dict[str, Any], str]:
    """The values by their fields, and what is wrong with one of them, or "". `there` is what lies in its folder."""
    found: dict[str, Any] = {}
    problem = ""
    for key in KEYS:
        if key not in there:
            continue
        try:
            text = files.read(f"{layout.group(group)}/{key}").data[:_LONGEST].decode("utf-8", "replace")
            found[key.replace("-", "_")] = parse(key, text)
        except FileNotFoundError:
            pass
        except OSError as error:
            problem = f"groups/{group}/{key} cannot be read ({error.strerror})"
        except ValueError as error:
            problem = f"groups/{group}/{key} {error}"
    return found, problem


def describe(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Such values by their fields, as they are typed: `timeout`, `600`."""
    from queuectl.core.settings import as_text

    for field, value in values.items():
        is_whole = isinstance(value, float) and value.is_integer()
        yield field.replace("_", "-"), as_text(int(value) if is_whole else value)


def of_job(layout: Layout, id: str) -> dict[str, Default]:
    """What its groups say, by field; the inner group wins."""
    found: dict[str, Default] = {}
    for group in groups.of(id):
        try:
            there = os.listdir(layout.group(group))
        except OSError:
            continue
        if not there:
            continue
        values, problem = read(layout, group, there)
        until = time.monotonic() + _PATIENCE
        while problem and time.monotonic() < until:
            time.sleep(_LOOK)
            values, problem = read(layout, group, there)
        found.update((field, Default(value, group)) for field, value in values.items())
    return found


def applied(layout: Layout, id: str, values: _Values) -> _Values:
    """These settings, or this retry policy, with what the groups of a job say in their place."""
    return in_place(of_job(layout, id), values) if "." in id else values


def in_place(found: Mapping[str, Default], values: _Values) -> _Values:
    """These settings, or this retry policy, with those of `of_job` in their place."""
    if not found:
        return values
    own = {field: default.value for field, default in found.items() if field in values._fields}  # type: ignore[attr-defined]
    if own.get("no_retry_on", ()) is None:
        own["no_retry_on"] = ()
    replaced: _Values = values._replace(**own)  # type: ignore[attr-defined]
    return replaced


def priorities(layout: Layout) -> Callable[[str], int]:
    """The priority of a new job of that id that has none of its own. Each folder is read once."""
    known: dict[str, int | None] = {}
    has_any = os.access(layout.groups, os.F_OK)

    def find(id: str) -> int:
        if not has_any or "." not in id:
            return DEFAULT_PRIORITY
        for group in reversed(groups.of(id)):
            if group not in known:
                known[group] = _priority(layout, group)
            if (found := known[group]) is not None:
                return found
        return DEFAULT_PRIORITY

    return find


def _priority(layout: Layout, group: str) -> int | None:
    values, _ = read(layout, group, ("priority",))
    return values.get("priority")
