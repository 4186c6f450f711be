"""Gathers what speaks against starting jobs; `queuectl.core.admission` decides by it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from queuectl.core import admission, groups
from queuectl.core.admission import Group, Need, Queue, Reason, Room, Waiting
from queuectl.core.job import Job
from queuectl.core.names import PendingName
from queuectl.core.result import Result, State
from queuectl.core.seats import Seats
from queuectl.errors import SpoolError
from queuectl.spool.reading import query
from queuectl.spool.system import files, lease, logs, pause, seats
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout, unusable


def room(layout: Layout) -> tuple[int, int | None]:
    """Free bytes and inodes for this user; inodes are None if the file system does not count them."""
    try:
        stat = os.statvfs(layout.running)
    except OSError as error:
        raise unusable(layout.root, error) from error
    return stat.f_bavail * stat.f_frsize, stat.f_favail if stat.f_files else None


def read_room(layout: Layout) -> Room:
    """The same as a fact, which may be why it cannot be found out."""
    try:
        return Room(*room(layout))
    except SpoolError as error:
        return Room(0, None, f"{error.what}: {error.why}")


def for_slot(layout: Layout, clock: Callable[[], datetime], min_free: int) -> Reason | None:
    """What keeps a free slot of a worker from starting any job; None if nothing does.

    At most one look at the file `paused`, and one at the free space.
    """
    paused = pause.read(layout, clock)
    found = Queue(paused) if paused is not None else Queue(None, read_room(layout), min_free)
    return next(iter(admission.of_queue(found)), None)


def read_waiting(
    layout: Layout,
    job: Job,
    name: PendingName,
    max_retries: int,
    ahead: int | None,
    of_groups: Iterable[tuple[Group, int]] | None = None,
    find_group: Callable[[str], Group | None] | None = None,
) -> Waiting:
    """The facts about a pending job, from its file and its log. `max_retries` is the setting of that name.

    If they are known, `of_groups` is what `read_groups` finds, and `find_group` gives the settings of a group: then
    nothing waits for a value that may be being written.
    """
    own = job.body.max_retries if job.body else None
    return Waiting(
        name,
        max_retries if own is None else own,
        job.problem,
        _may_be_running(layout, name),
        _last_result(layout, name) if name.attempts else None,
        ahead,
        tuple(read_groups(layout, name.id) if of_groups is None else of_groups),
        tuple(read_needs(layout, name.id, job.body.seats if job.body else None, find_group)),
        (job.body.slots if job.body else None) or 1,
    )


def read_needs(
    layout: Layout,
    id: str,
    own: Mapping[str, int] | None,
    find_group: Callable[[str], Group | None] | None = None,
) -> Iterator[Need]:
    """The seats that a job needs, which its own field may say."""

    def examine(group: str) -> Group | None:
        return group_files.examine(layout, group, now)

    look = find_group or examine
    found = {group: look(group) for group in (*groups.of(id), *(own or ()))}
    numbers = {group: 1 for group in groups.of(id) if (said := found[group]) is not None and said.seats is not None}
    for group, number in {**numbers, **(own or {})}.items():
        said = found[group]
        there = said.seats if said is not None and said.seats is not None else Seats()
        held = seats.find_held(layout, group)
        yield Need(group, number, len(there), there.count_free(held), tuple(holder.id for holder in held.values()))


def read_groups(layout: Layout, id: str) -> Iterator[tuple[Group, int]]:
    """Those groups of a job that have settings, the outermost first, each with how many jobs of it run."""
    for name in groups.of(id):
        found = group_files.examine(layout, name, now)
        if found is not None:
            running = (query.parse_name(State.RUNNING, text) for text in query.list_names(layout, State.RUNNING))
            yield found, sum(groups.is_in(job.id, name) for job in running if job is not None)


def _may_be_running(layout: Layout, name: PendingName) -> bool:
    try:
        return lease.is_running(layout.log(name.id))
    except OSError:
        return False


def _last_result(layout: Layout, name: PendingName) -> Result | None:
    """How its last attempt ended, if its log says so."""
    try:
        fd = files.open_regular(layout.log(name.id))
    except OSError:
        return None
    try:
        return logs.outcome_of(fd, name.attempts)
    finally:
        os.close(fd)
