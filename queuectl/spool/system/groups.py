"""The settings of groups: each is a file with one value in groups/GROUP/. `echo 2 > groups/gpu/limit` sets a limit.

A value that is empty or wrong starts no job of the group: `echo` empties a file before it writes, and who then read
"no limit" would start too many.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from queuectl.core import groups, seats
from queuectl.core.admission import Group
from queuectl.core.names import is_valid_id
from queuectl.errors import ConfigError
from queuectl.spool.system import defaults, files, pause
from queuectl.spool.system.layout import Layout, unusable

PARSERS: dict[str, Callable[[str], Any]] = {
    "limit": groups.parse_limit,
    "max-failed": groups.parse_max_failed,
    "seats": seats.parse,
    "seat-env": seats.parse_variable,
}
"""The settings of a group, and what reads their texts; raises ValueError with what is wrong."""

KEYS = (*PARSERS, *defaults.KEYS)
"""These, and the defaults for its jobs."""
_OF_HOST = "seats."
"""Begins the name of a file that says the seats of one host."""

_LONGEST = 4096
PATIENCE = 1.0
"""Seconds for which a wrong value may be one that is being written."""
_LEFT = ("resumed", "held")
"""What stays in the folder of a group without settings, and says nothing then. Nobody removes the locks of `held`: who
has just opened one to lock it, like flock(1), would hold a file that nobody else finds."""
OTHER_FILES = ("paused", *_LEFT)
"""What lies in the folder of a group besides `PARSERS`."""
_LOOK = 0.05


def has_any(layout: Layout) -> bool:
    """Whether any group may have settings."""
    return os.access(layout.groups, os.F_OK)


def names(layout: Layout) -> list[str]:
    """The groups that have a folder, in text order."""
    try:
        return sorted(name for name in os.listdir(layout.groups) if groups.is_name(name))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read(layout: Layout, name: str, now: Callable[[], datetime]) -> Group | None:
    """What its files say at this moment; None if it has none."""
    try:
        there = os.listdir(layout.group(name))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Group(name, problem=f"groups/{name} cannot be read ({error.strerror})")
    values: dict[str, Any] = {}
    problem = ""
    if not set(there).difference(_LEFT):
        return None
    for key, parse in PARSERS.items():
        file = next((each for each in _of_this_host() if each in there), key) if key == "seats" else key
        if file in there:
            try:
                values[key.replace("-", "_")] = parse(_text(f"{layout.group(name)}/{file}"))
            except FileNotFoundError:
                pass
            except OSError as error:
                problem = f"groups/{name}/{file} cannot be read ({error.strerror})"
            except ValueError as error:
                problem = f"groups/{name}/{file} {error}"
    paused = pause.read(layout, now, name) if "paused" in there else None
    of_jobs, wrong = defaults.read(layout, name, there)
    return Group(name, paused=paused, problem=problem or wrong, defaults=of_jobs, **values)


def _of_this_host() -> tuple[str, str]:
    """The files that say the seats of this host alone."""
    node = os.uname().nodename
    return f"{_OF_HOST}{node}", f"{_OF_HOST}{node.partition('.')[0]}"


def examine(layout: Layout, name: str, now: Callable[[], datetime]) -> Group | None:
    """`read` for a report: a value that is wrong is looked at again for up to a second, as it may be being written."""
    until = time.monotonic() + PATIENCE
    while (group := read(layout, name, now)) is not None and group.problem and time.monotonic() < until:
        time.sleep(_LOOK)
    return group


def is_key(key: str) -> bool:
    """Whether a group has such a setting: one of `PARSERS`, a default for its jobs, or the seats of one host."""
    return key in KEYS or (key.startswith(_OF_HOST) and is_valid_id(key))


def texts(layout: Layout, name: str) -> dict[str, str]:
    """The text of each of `KEYS` that is set, whether it is right or wrong."""
    found = {}
    for key in KEYS:
        with suppress(OSError):
            found[key] = _text(f"{layout.group(name)}/{key}").strip()
    return found


def check(key: str, text: str) -> None:
    """Raise ConfigError for a value of a setting that cannot be read."""
    try:
        if key in defaults.KEYS:
            defaults.parse(key, text)
        else:
            PARSERS["seats" if key.startswith(_OF_HOST) else key](text)
    except ValueError as error:
        raise ConfigError(f"{key} {error}") from None


def write(layout: Layout, name: str, key: str, text: str) -> None:
    """Set one for which `is_key` holds. Raises ConfigError for a wrong value, SpoolError if it cannot be written."""
    check(key, text)
    try:
        os.makedirs(layout.group(name), 0o700, exist_ok=True)
        files.replace(f"{layout.group(name)}/{key}", f"{text.strip()}\n".encode())
    except OSError as error:
        raise unusable(layout.root, error) from error


def unset(layout: Layout, name: str, key: str) -> bool:
    """Remove a setting; whether it was there. Its folder goes with the last one, if the group never had seats."""
    try:
        was_there = files.remove(f"{layout.group(name)}/{key}")
    except OSError as error:
        raise unusable(layout.root, error) from error
    with suppress(OSError):
        if os.listdir(layout.group(name)) == ["resumed"]:
            files.remove(f"{layout.group(name)}/resumed")
        os.rmdir(layout.group(name))
    return was_there


def _text(path: str) -> str:
    return files.read(path).data[:_LONGEST].decode("utf-8", "replace")
