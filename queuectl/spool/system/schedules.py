"""The files of schedules: `schedules/NAME.json`, and `schedules/NAME.past`, the mark up to which ticks are past.

The mark only moves on, and is replaced whole. Whoever deletes the job of a tick moves it on to that tick first, since
the id that kept the tick from being submitted again is then free (tests/model/ticks.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

from queuectl.core import body, groups, schedules
from queuectl.core.names import SUFFIX, format_rfc3339, parse_instant
from queuectl.core.schedules import Schedule
from queuectl.errors import NotFoundError, NotJsonError, UsageError
from queuectl.spool.system import clock, files, lease, pause, versions, zones
from queuectl.spool.system.layout import Layout, unusable
from queuectl.tuples import NamedTuple

_PAST = ".past"
_LONGEST = 100
Identity = tuple[int, int, int, int]


class Found(NamedTuple):
    """A schedule's file: what it says, or the `problem` with it; when it was last changed, its identity and owner."""

    name: str
    changed_at: datetime
    identity: Identity
    schedule: Schedule | None = None
    problem: str = ""
    owner: int = -1


def names(layout: Layout) -> list[str]:
    """Those that have a file, in text order, also if no schedule can have that name."""
    try:
        there = os.listdir(layout.schedules)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name.removesuffix(SUFFIX) for name in there if name.endswith(SUFFIX) and not name.startswith("."))


def read(layout: Layout, name: str) -> Found | None:
    """The schedule of that name; None if there is none."""
    path = layout.schedule(name)
    try:
        content = files.read(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        why = "it is not a regular file" if isinstance(error, files.NotRegularError) else error.strerror or str(error)
        return Found(name, _EPOCH, (0, 0, 0, 0), problem=f"it cannot be read: {why}")
    changed_at = clock.from_file_time(content.identity[3] / 1e9)
    found = Found(name, changed_at, content.identity, owner=content.owner)
    if not schedules.is_name(name):
        return found._replace(problem="a schedule cannot have that name")
    try:
        return found._replace(schedule=schedules.parse(name, body.decode(content.data), zones.load))
    except NotJsonError as error:
        return found._replace(problem=": ".join(filter(None, (error.what, error.why))))
    except UsageError as error:
        return found._replace(problem=error.why or error.what)


def find(layout: Layout, name: str) -> Found:
    """The same; raises NotFoundError if there is none."""
    found = read(layout, name) if schedules.is_name(name) else None
    if found is None:
        raise NotFoundError(f"no schedule {name!r}", hint="see: queuectl schedule list")
    return found


def is_unchanged(layout: Layout, found: Found) -> bool:
    """Whether the file is still the one that was read."""
    if layout.shared:
        files.refresh(layout.schedule(found.name))
    try:
        return files.identify(os.stat(layout.schedule(found.name))) == found.identity
    except FileNotFoundError:
        return False


def write(layout: Layout, name: str, data: bytes) -> None:
    """Add or replace a schedule, durably. Raises SpoolError, or WrongStateError if it is the first of the spool and an
    older version's worker would not know it."""
    try:
        versions.require(layout, "schedules")
        os.makedirs(layout.schedules, 0o700, exist_ok=True)
        files.replace(layout.schedule(name), data)
        files.sync_directory(layout.root)
    except OSError as error:
        raise unusable(layout.root, error) from error


def remove(layout: Layout, name: str) -> bool:
    """Remove a schedule and its mark; whether it was there. Its jobs stay.

    The mark goes last: who has reserved the id of a tick reads the mark, and then looks whether the file is there.
    """
    try:
        was_there = files.remove(layout.schedule(name))
        files.remove(layout.past(name))
        if was_there:
            files.sync_directory(layout.schedules)
    except OSError as error:
        raise unusable(layout.root, error) from error
    return was_there


# --- the mark


def past(layout: Layout, name: str) -> datetime | None:
    """The time up to which ticks are past; None if none is. Raises UsageError for a file that does not say it."""
    try:
        text = files.read(layout.past(name)).data[:_LONGEST].decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    try:
        return parse_instant(text)
    except (ValueError, OverflowError):
        raise UsageError(f"schedules/{name}{_PAST} is not a time", f"it says {text!r:.60}") from None


def move_past(layout: Layout, name: str, tick: datetime) -> None:
    """Move the mark on to that tick, durably, unless it is beyond it. Raises OSError, or UsageError as `past` does."""
    with lease.locked_past(layout):
        mark = past(layout, name)
        if mark is None or mark < tick:
            files.replace(layout.past(name), f"{format_rfc3339(tick)}\n".encode())


def forget_tick(layout: Layout, id: str) -> None:
    """Before the job of that id is deleted: if it is a tick of a schedule, that tick must be past. Raises OSError."""
    named = schedules.parse_id(id)
    if named is None:
        return
    name, tick = named
    if not files.is_gone(layout.schedule(name)) or not files.is_gone(layout.past(name)):
        try:
            move_past(layout, name, tick)
        except UsageError as error:
            raise OSError(0, error.what, layout.past(name)) from None


# --- what keeps ticks from being submitted


def closed_by(layout: Layout, name: str, now: Callable[[], datetime]) -> str | None:
    """The group whose pause keeps this schedule from making jobs: its own, or one around it; None if there is none."""
    return next((group for group in groups.chain(name) if pause.read(layout, now, group) is not None), None)


def counted_from(layout: Layout, found: Found, mark: datetime | None, now: Callable[[], datetime]) -> datetime:
    """The time after which ticks count, apart from those that have jobs: the latest of the mark, the last change of
    the file and the last resume."""
    resumed = max(pause.resumed_at(layout, now, group) for group in groups.chain(found.name))
    return max(mark or _EPOCH, found.changed_at, datetime.fromtimestamp(resumed / 1e9, UTC))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
