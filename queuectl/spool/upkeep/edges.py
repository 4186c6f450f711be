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
from queuectl.core.names import PendingName, is_valid_id, looks_waiting, pending_id
from queuectl.core.result import State
from queuectl.errors import QueuectlError
from queuectl.spool.moves import dependents, entry
from queuectl.spool.moves.dependents import Dependents, Moved
from queuectl.spool.reading import query
from queuectl.spool.reading.whereabouts import Place, Whereabouts, find
from queuectl.spool.system import edges, files, lease, logs
from queuectl.spool.system.layout import STATES, Layout

_MOST_SKIPPED = 9
_COARSE = 3_000_000_000  # nanoseconds: the coarsest clock of a file system, with room


class Upkeep:
    """The beat of one worker, which remembers whose edges it has seen to be complete."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._whole: set[str] = set()  # names in pending/
        self._seen: tuple[int, ...] = ()  # the mtimes at the last beat, if they show later changes
        self._unchanged = 0  # beats in a row that found these

    def run(self, *, may_skip: bool = False) -> list[Moved] | None:
        """Do all of it once; what was moved. None if it `may_skip` a spool in which nothing has moved since the last
        beat, and has: but for one in ten, as somebody may have been in the directories of `after/`. Raises OSError."""
        changed_at = tuple(_mtime(f"{self._layout.root}/{name}") for name in (*STATES, "after"))
        if may_skip and changed_at == self._seen and self._unchanged < _MOST_SKIPPED:
            self._unchanged += 1
            return None
        self._unchanged = 0
        # Else a change to come might bear the same time.
        is_past = all(abs(time.time_ns() - each) > _COARSE for each in changed_at)
        opened, marked = _edges(self._layout)
        if self._complete_all(_children(opened, marked)):
            opened, marked = _edges(self._layout)
        moved = self._look_at(opened, marked) if opened or marked else []
        self._seen = changed_at if is_past else ()
        return moved

    def _look_at(self, opened: dict[str, set[str]], marked: dict[str, set[str]]) -> list[Moved]:
        """Clean and decide. One listing says where all are; what it may have missed is looked up again before anything
        is done because of it."""
        children = _children(opened, marked)
        places = find(self._layout, {*opened, *children})
        for child in children:
            if not may_have_edges(places.get(child)):
                clean(self._layout, child, [dep for named in (opened, marked) for dep in named if child in named[dep]])
        return Dependents(self._layout).decide(_to_decide(opened, children, places))

    def _complete_all(self, children: set[str]) -> bool:
        """Complete the waiting jobs that have not been seen whole, or have no edge now; whether there were any."""
        whole: set[str] = set()
        has_any = False
        for names, _ in query.iterate_pending(self._layout):
            for text in filter(looks_waiting, map(os.fsdecode, names)):
                if text in self._whole and pending_id(text) in children:
                    whole.add(text)
                elif (name := PendingName.parse(text)) is not None:
                    has_any = True
                    if self._complete(name):
                        whole.add(text)
        self._whole = whole
        return has_any

    def _complete(self, name: PendingName) -> bool:
        """Give a waiting job the edges that it lacks; one that waits for nothing is held. Whether it is whole."""
        path = self._layout.job(State.PENDING, name)
        try:
            data = files.read(path).data
            fields = body.decode(data)
        except (OSError, QueuectlError):
            return False
        condition, deps = dependents.dependencies(self._layout, name.id, fields)
        if condition is None:
            files.move(path, self._layout.job(*lifecycle.hold(name)))
            return False
        there = edges.edges_of(self._layout, name.id, deps)
        if condition_of(fields) is not None and len(there) < len(deps):
            try:
                entry.make_wait(self._layout, name, data)
            except QueuectlError:  # a circle, made by hand: it is held
                files.move(path, self._layout.job(*lifecycle.hold(name)))
                return False
        return True


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
            lease.close(log)


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


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


def _to_decide(opened: dict[str, set[str]], children: set[str], places: dict[str, Place]) -> list[str]:
    """The children for which the routine may have something to do."""
    has_open = {child for names in opened.values() for child in names}
    ended = {child for dep, names in opened.items() if end_of(places.get(dep)) is not End.OPEN for child in names}
    return [
        child
        for child in children
        if (place := places.get(child)) is not None
        and (child in ended or child not in has_open or dependents.is_skipped(place[1]))
    ]
