"""Deleting finished jobs with their logs, and what crashes left in tmp/: the only code that does.

Everything up to one name, the cut, is deleted: names in done/ and dead/ begin with the time at which the
job ended, so the oldest go first. The cut is found from names alone (and from sizes, if the space is
limited), in a few listings and in flat memory.

Of the ticks of a schedule the newest stays, and so do those that are ahead of the clock: the mark, which is moved on
before one is deleted, must not be ahead itself (tests/model/ticks.py).

A job's log is locked while the job is deleted, so that nobody can reserve the id in between and lose the log.
CRASH: between the two only the log is left, which frees the id just the same (tests/spool/moves/test_prune.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from queuectl.core import groups
from queuectl.core.names import FinishedName, format_time, looks_finished
from queuectl.core.result import State
from queuectl.lazy import Lazy
from queuectl.spool.reading import query
from queuectl.spool.system import clock, edges, files, lease, logs
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

if TYPE_CHECKING:
    from queuectl.core import schedules as ticks
    from queuectl.core.settings import Rule
    from queuectl.spool.reading import schedules as reading
    from queuectl.spool.system import log_parts, schedules
else:
    log_parts = Lazy("queuectl.spool.system.log_parts")
    ticks, schedules = Lazy("queuectl.core.schedules"), Lazy("queuectl.spool.system.schedules")
    reading = Lazy("queuectl.spool.reading.schedules")

STALE = 86400.0
"""Age in seconds at which a file in tmp/ counts as left behind by its writer."""
_KEPT_IN_TMP = ("ballast", "config.lock", "prune.lock", "past.lock")
_NEVER = datetime.min.replace(tzinfo=UTC)
_LEVELS = (8, 13, 20, None)  # of a name: its day, minute, millisecond, all of it


class Pruned(NamedTuple):
    """How many jobs were (or would be) deleted, and the disk space that they and their logs took."""

    jobs: int = 0
    size: int = 0


def prune(layout: Layout, state: State, rule: Rule, *, group: str = "", dry_run: bool = False) -> Pruned:
    """Delete the jobs of one state (and of a group) that a rule does not keep, with their logs.

    A job that still has a live process is kept, and so is one that is moved in the meantime, or for which others wait.
    """
    cut = find_cut(layout, state, rule, group)
    total = Pruned()
    if cut is None:
        return total
    is_kept = _spare_ticks(layout, state, cut, group, is_dry=dry_run)
    # Names may be deleted while a listing continues (POSIX readdir): nothing is kept in memory.
    for text in _names(layout, state, group):
        if text > cut or (name := FinishedName.parse(text)) is None or is_kept(name.id):
            continue
        if edges.waiting_for(layout, name.id):
            continue
        size = _size_of(layout, state, text)
        if dry_run or delete(layout, state, name):
            total = Pruned(total.jobs + 1, total.size + size)
    return total


def delete(layout: Layout, state: State, name: FinishedName) -> bool:
    """Delete a finished job and its log; False if it has changed state, still has a live process, or came through
    inbox/ and its taken file is still there: the worker that finishes that file must find the id taken (`take`)."""
    path = layout.log(name.id)
    log, is_new = _open(path)
    try:
        is_ours = lease.lock_whole(log)
        is_free = is_ours and files.is_gone(layout.taken_file(name.id))
        if is_free and name.id.endswith("Z"):
            schedules.forget_tick(layout, name.id)
        is_gone = is_free and files.remove(layout.job(state, name))
        # RACE: of several pruners, the second may find the log gone and create one, and a third lock that before it
        # does (tests/spool/moves/test_prune.py).
        if is_gone or (is_ours and (is_new or _is_nobodys(layout, log, name.id))):
            logs.remove(path)
        return is_gone
    finally:
        lease.close(log)


def _is_nobodys(layout: Layout, log: int, id: str) -> bool:
    """Whether a log that is locked is as a crash leaves it, and no job's."""
    return not os.fstat(log).st_size and query.locate(layout, id) is None


def _spare_ticks(layout: Layout, state: State, cut: str, group: str, *, is_dry: bool) -> Callable[[str], bool]:
    """What says of an id whether it is a tick of a schedule that is not to be deleted now. The mark of each schedule is
    moved on to the last of those that are, once for all."""
    if not layout.may_have_schedules:
        return lambda _: False
    newest, now = reading.find_newest(layout, None), clock.now()
    last: dict[str, datetime] = {}
    for text in _names(layout, state, group):
        named = ticks.parse_id(query.id_in(state, text) or "") if text <= cut else None
        if named is not None and named[0] in newest and named[1] < newest[named[0]].tick and named[1] <= now:
            last[named[0]] = max(named[1], last.get(*named))
    for name, tick in last.items() if not is_dry else ():
        schedules.forget_tick(layout, f"{name}.{tick:%Y%m%dT%H%M%S}Z")

    def is_kept(id: str) -> bool:
        named = ticks.parse_id(id)
        return named is not None and named[0] in schedule_names and named[1] > last.get(named[0], _NEVER)

    schedule_names = {*schedules.names(layout)}
    return is_kept


def _open(path: str) -> tuple[int, bool]:
    """A job's log, and whether this call created it."""
    while True:
        with suppress(FileExistsError):
            return logs.open_log(path, exclusive=True), True
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC), False


def find_cut(layout: Layout, state: State, rule: Rule, group: str = "") -> str | None:
    """The last name (of a group) that a rule does not keep, as text to compare names with; None if it keeps all."""
    cuts: list[str | None] = []
    if rule.since is not None:
        cuts.append(format_time(rule.since))  # shorter than any name of that instant, so it is kept
    if rule.count is not None:
        cuts.append(_cut_of(lambda: _names(layout, state, group), rule.count, lambda _: 1))
    if rule.size is not None:
        cuts.append(
            _cut_of(lambda: _names(layout, state, group), rule.size, lambda text: _size_of(layout, state, text))
        )
    return max((cut for cut in cuts if cut is not None), default=None)


def _cut_of(names: Callable[[], Iterator[str]], budget: int, weight: Callable[[str], int]) -> str | None:
    """The newest name that does not fit into a budget that is spent on the newest names first; None if all fit.

    Sums up by day, then by minute within the day where the budget ends, and so on: memory stays flat.
    """
    inside = ""
    for length in _LEVELS:
        sums: dict[str, int] = {}
        for text in names():
            if text.startswith(inside):
                sums[text[:length]] = sums.get(text[:length], 0) + weight(text)
        found = None
        for key in sorted(sums, reverse=True):
            if sums[key] > budget:
                found = key
                break
            budget -= sums[key]
        if found is None:
            # All within `inside` fit by now: jobs were deleted or shrank. Older ones do not.
            return inside or None
        inside = found
    return inside


def _names(layout: Layout, state: State, group: str) -> Iterator[str]:
    for names in query.iterate_names(layout, state):
        ours = filter(looks_finished, names)
        yield from (name for name in ours if groups.is_in(query.id_in(state, name) or "", group)) if group else ours


def _size_of(layout: Layout, state: State, text: str) -> int:
    """The disk space of a job's file and log, all parts of it, if they exist."""
    name = FinishedName.parse(text)
    paths = [layout.job(state, text)]
    if name is not None:
        log = layout.log(name.id)
        paths += log_parts.paths(log) if layout.shared else [log]
    size = 0
    for path in paths:
        with suppress(OSError):
            size += os.lstat(path).st_blocks * 512
    return size


def _is_token(layout: Layout, path: str) -> bool:
    from queuectl.spool.moves import tokens

    return tokens.is_named(layout, path)


def clear_tmp(layout: Layout, now: datetime) -> int:
    """Remove files of tmp/ that have not been touched for a day; how many there were.

    Uses ctime, which no copying program sets back.
    """
    removed = 0
    with os.scandir(layout.tmp) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                is_stale = now.timestamp() - status.st_ctime > STALE and not entry.is_dir(follow_symlinks=False)
                if (
                    is_stale
                    and entry.name not in _KEPT_IN_TMP
                    and not (layout.shared and _is_token(layout, entry.path))
                ):
                    removed += files.remove(entry.path)
    return removed
