"""The slow beat of jobs that wait for others: what crashes, `mv` and `rm` by hand, and backups have left.

It runs the routine for every child of which an edge does not lead to a job that has not ended, gives a waiting child
that lacks an edge of its body a new one, and removes edges of jobs that neither wait nor are held nor skipped. One
listing of each directory answers for all of them; nothing is done of which that alone would be the reason
(`dependents`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from queuectl.core import body, lifecycle
from queuectl.core.after import End, condition_of, end_of
from queuectl.core.names import PendingName, is_valid_id, looks_waiting
from queuectl.core.result import State
from queuectl.errors import QueuectlError
from queuectl.spool.moves import dependents, entry
from queuectl.spool.moves.dependents import Dependents, Moved
from queuectl.spool.reading import query
from queuectl.spool.reading.whereabouts import Place, Whereabouts
from queuectl.spool.system import edges, files, lease, logs
from queuectl.spool.system.layout import Layout

_COARSE = 3_000_000_000  # nanoseconds: the coarsest clock of a file system, with room


class Upkeep:
    """The beat of one worker, which remembers whose edges it has seen to be complete."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._whole: set[str] = set()  # names in pending/
        self._changed_at: int | None = None  # the mtime of pending/ when it was listed, if that shows later changes

    def run(self) -> list[Moved]:
        """Do all of it once; what was moved. Raises OSError."""
        opened, marked = _edges(self._layout)
        children = _children(opened, marked)
        changed_at = os.stat(self._layout.pending).st_mtime_ns
        if changed_at != self._changed_at:
            is_past = abs(time.time_ns() - changed_at) > _COARSE  # else a change to come might bear the same time
            waiting = _waiting(self._layout)
            self._whole.intersection_update(map(str, waiting))
            for name in waiting:
                if str(name) not in self._whole or name.id not in children:
                    self._complete(name)
            self._changed_at = changed_at if is_past else None
            opened, marked = _edges(self._layout) if waiting else (opened, marked)
        if not opened and not marked:
            return []
        children = _children(opened, marked)
        where = dependents.whereabouts(self._layout)
        where.expect({*opened, *children})
        places = {id: where.look(id) for id in {*opened, *children}}
        for child in children:
            if not may_have_edges(places[child]):
                clean(self._layout, child, [dep for named in (opened, marked) for dep in named if child in named[dep]])
        return Dependents(self._layout).decide(_to_decide(opened, children, places))

    def _complete(self, name: PendingName) -> None:
        """Give a waiting job the edges that it lacks; one that waits for nothing is held."""
        path = self._layout.job(State.PENDING, name)
        try:
            data = files.read(path).data
            fields = body.decode(data)
        except (OSError, QueuectlError):
            return
        condition, deps = dependents.dependencies(self._layout, name.id, fields)
        if condition is None:
            files.move(path, self._layout.job(*lifecycle.hold(name)))
            return
        there = edges.edges_of(self._layout, name.id, deps)
        if condition_of(fields) is not None and len(there) < len(deps):
            try:
                entry.make_wait(self._layout, name, data)
            except QueuectlError:  # a circle, made by hand: it is held
                files.move(path, self._layout.job(*lifecycle.hold(name)))
                return
        self._whole.add(str(name))


def clean(layout: Layout, child: str, deps: Iterable[str]) -> bool:
    """Remove the edges of a job that does not wait; whether it does not.

    RACE: of one that is nowhere, only while its log is locked: who submits it holds that until it is published
    (tests/spool/upkeep/test_edges.py).
    """
    try:
        log = logs.open_existing(layout.log(child))
    except FileNotFoundError:
        log = -1
    try:
        if (log >= 0 and not lease.lock_id(log)) or may_have_edges(Whereabouts(layout).look_unlocked(child)):
            return False
        edges.forget(layout, child, deps)
        return True
    finally:
        if log >= 0:
            os.close(log)


def _waiting(layout: Layout) -> list[PendingName]:
    found: list[PendingName] = []
    for names, _ in query.iterate_pending(layout):
        texts = filter(looks_waiting, map(os.fsdecode, names))
        found += filter(None, map(PendingName.parse, texts))
    return found


def _edges(layout: Layout) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """The children of each dependency, with an open edge and with a fulfilled one."""
    opened: dict[str, set[str]] = {}
    marked: dict[str, set[str]] = {}
    for dep in edges.dependencies(layout):
        names = edges.names(layout, dep)
        if not names:
            edges.remove_empty(layout, dep)
        for name in names:
            child = name.removesuffix(edges.MARK)
            if not is_valid_id(child):
                continue  # somebody else's file, which `fsck` reports
            (opened if child == name else marked).setdefault(dep, set()).add(child)
        for child in opened.get(dep, set()) & marked.get(dep, set()):
            # CRASH: a backup can show both names of one edge, and what is fulfilled stays so
            # (tests/spool/upkeep/test_edges.py).
            edges.mark(layout, dep, child)
            opened[dep].discard(child)
    return opened, marked


def _children(opened: dict[str, set[str]], marked: dict[str, set[str]]) -> set[str]:
    return {child for names in (*opened.values(), *marked.values()) for child in names}


def may_have_edges(place: Place | None) -> bool:
    """Whether a job that is there waits, is held or was skipped."""
    if place is None:
        return False
    _, name = place
    return (
        dependents.is_waiting(name) or dependents.is_skipped(name) or (isinstance(name, PendingName) and name.is_held)
    )


def _to_decide(opened: dict[str, set[str]], children: set[str], places: dict[str, Place | None]) -> list[str]:
    """The children for which the routine may have something to do."""
    has_open = {child for names in opened.values() for child in names}
    ended = {child for dep, names in opened.items() if end_of(places[dep]) is not End.OPEN for child in names}
    return [
        child
        for child in children
        if (place := places[child]) is not None
        and (child in ended or child not in has_open or dependents.is_skipped(place[1]))
    ]
