"""The groups of a spool: which there are, and how many jobs of each are waiting, running, done or dead."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

from queuectl.core import groups
from queuectl.core.admission import Group
from queuectl.core.names import FinishedName, Name, RunningName, format_time
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.layout import STATES, Layout

_LOOK = 0.05  # seconds


class Tally(NamedTuple):
    """How many jobs of a group there are. `waiting` are those that are not due yet, or held."""

    ready: int = 0
    waiting: int = 0
    running: int = 0
    done: int = 0
    dead: int = 0

    @property
    def total(self) -> int:
        return sum(self)


def find_names(layout: Layout) -> list[str]:
    """Every group that has a job or a setting, in text order."""
    return sorted({*count(layout), *group_files.names(layout)})


def count(layout: Layout, only: str | None = None, now: datetime | None = None) -> dict[str, Tally]:
    """The groups that have jobs, each with its tally; one listing of each directory. Or only that group."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    moment = format_time(now) if now is not None else ""
    for state in STATES:
        for name, id in _ids(layout, state, only):
            column = state.value if state is not State.PENDING else "ready" if name[4:24] <= moment else "waiting"
            for group in groups.of(id) if only is None else (only,):
                found[group][column] += 1
    return {group: Tally(**counts) for group, counts in found.items()}


def find_oldest(layout: Layout, group: str) -> str | None:
    """The id of its job that is due, was started or has ended before all others; None without any."""
    found = ((state, name) for state in STATES for name, _ in _ids(layout, state, group))
    parsed = (query.parse_name(state, name) for state, name in found)
    first = min(((_moment(name), name.id) for name in parsed if name is not None), default=None)
    return first[1] if first else None


def _moment(name: Name) -> datetime:
    if isinstance(name, FinishedName):
        return name.finished_at
    return name.started_at if isinstance(name, RunningName) else name.run_at


def _ids(layout: Layout, state: State, only: str | None) -> Iterator[tuple[str, str]]:
    """The names that look like ours in a directory, each with its id, of those whose id has a dot."""
    mark = f"-{only}." if only else "."
    for names in query.iterate_names(layout, state):
        for name in names:
            id = query.id_in(state, name) if mark in name else None
            if id is None or "." not in id or (only is not None and not groups.is_in(id, only)):
                continue
            if query.parse_name(state, name) is not None:
                yield name, id


def examine_all(layout: Layout, now: Callable[[], datetime]) -> list[Group]:
    """What the files of every group say that has any, for a report: values that are wrong are looked at again for up to
    a second, as they may be being written."""
    until = time.monotonic() + group_files.PATIENCE
    while True:
        found = [group for name in group_files.names(layout) if (group := group_files.read(layout, name, now))]
        if not any(group.problem for group in found) or time.monotonic() >= until:
            return found
        time.sleep(_LOOK)


def read_all(layout: Layout, names: Iterable[str], now: datetime) -> dict[str, Group]:
    """What the files of these groups say; those without any are left out."""
    found = {name: group_files.read(layout, name, lambda: now) for name in names}
    return {name: group for name, group in found.items() if group is not None}
