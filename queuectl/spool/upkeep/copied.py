"""What a copy of a live spool lacks, before a worker starts on it: its directories were copied at different moments.

A job that moved in the meantime may have two files. The one that has got furthest is the job. Another one with the same
bytes says nothing more, and is removed; one with other bytes goes to the dead letters as a duplicate, or is left for
`fsck` to report. And a skipped job may lack edges, without which it would not follow what becomes of its cause. (One
that waits gets its edges from the slow beat.)

CRASH: all of it can be done again, and is, since the copy is not the worker's own before
(tests/spool/upkeep/test_copied.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from queuectl.core.after import condition_of
from queuectl.core.names import FinishedName, Name, PendingName, RunningName, format_time
from queuectl.core.result import State
from queuectl.errors import QueuectlError
from queuectl.spool.moves import adopt, dependents, entry
from queuectl.spool.reading import query
from queuectl.spool.reading.whereabouts import Whereabouts
from queuectl.spool.system import clock, edges, files
from queuectl.spool.system.layout import STATES, Layout


def put_in_order(layout: Layout) -> int:
    """Leave one file of each job, and give skipped ones their edges; how many had several files. Raises OSError."""
    known: set[str] = set()  # nothing else is kept of a million jobs
    twins: set[str] = set()
    skipped: list[tuple[State, str]] = []
    for state in STATES:
        for names in query.iterate_names(layout, state):
            for text in names:
                name = query.parse_name(state, text)
                if name is not None:
                    (twins if name.id in known else known).add(name.id)
                    skipped += [(state, text)] if dependents.is_skipped(name) else []
    number = sum(_leave_one(layout, id, held) for id, held in sorted(query.find_files(layout, twins).items()))
    _complete(layout, skipped)
    return number


def _leave_one(layout: Layout, id: str, held: list[tuple[State, str]]) -> bool:
    (*others, best) = sorted(held, key=_how_far)
    has_others = False
    for state, text in others:
        path = layout.job(state, text)
        try:
            before, content = os.lstat(path), files.read(path)
            kept, status = files.read(layout.job(*best)), os.lstat(layout.job(*best))
            after = os.lstat(path)
        except FileNotFoundError:
            continue
        # RACE: a second worker may have begun here, and what it moves has one file. Two names of one file are what
        # tar makes of a file that it has met twice.
        if not os.path.samestat(before, after) or (os.path.samestat(status, after) and after.st_nlink < 2):
            continue
        if content.data == kept.data:
            has_others |= files.remove(path)
        elif state is State.PENDING and (name := PendingName.parse(text)) is not None:
            reason = f"duplicate: the id {id!r} is held by {'/'.join(best)}"
            has_others |= adopt.refuse(layout, text, reason, clock.now(), name.priority) is not None
    return has_others


def _how_far(file: tuple[State, str]) -> tuple[bool, float, str]:
    """Sorts the files of one job by how far it has come: to its end, to a later attempt, to a time of its own instead
    of the one of jobs that wait or are held."""
    state, text = file
    name: Name | None = query.parse_name(state, text)
    if isinstance(name, PendingName):
        is_timed = not (name.is_waiting or name.is_held or name.is_asking)
        return False, name.attempts, format_time(name.run_at) if is_timed else ""
    if isinstance(name, RunningName):
        return False, name.attempt - 0.5, text
    return True, 0, text


def _complete(layout: Layout, skipped: Iterable[tuple[State, str]]) -> None:
    """Give skipped jobs the edges that they lack. To what the copy does not hold they are open: it may have failed."""
    where = Whereabouts(layout)
    for state, text in skipped:
        job = query.load(layout, state, text)
        if job is None or not isinstance(job.name, FinishedName) or condition_of(job.fields) is None:
            continue
        _, deps = dependents.dependencies(layout, job.id, job.fields or {})
        if len(edges.edges_of(layout, job.id, deps)) < len(deps):
            try:
                entry.again(layout, job.id, job.fields or {}, job.priority, where=where, gone_too=False)
            except QueuectlError:
                continue  # a circle, made by hand
