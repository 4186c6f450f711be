"""Where jobs are, looked up again and again: by the name that a job was last seen under, which is one lookup, and only
if it has left that by a listing, one for all jobs that are not known.

A job that moves backwards can be missed by any number of listings (tests/model/looks.py). So *gone* is said of a job
only if a listing that was made while its log was locked did not show it either, or if it has no log; while that lock
cannot be had, it has not ended.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from queuectl.core.names import Name, PendingName
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system import files, lease
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

Place = tuple[State, Name]

_MOST = 200_000  # names remembered
_AT_ONCE = 200  # logs locked
_MOMENT = 1.0  # seconds for which a job that was found to be gone counts as gone
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class _Gone(NamedTuple):
    """When a job was found to be gone, in monotonic seconds, and its log then; None if it had none."""

    at: float
    log: tuple[int, int, int] | None


class Whereabouts:
    """Of the jobs of one spool; what it remembers is never believed without a look. Threads may share one."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[str, Place] = {}
        self._gone: dict[str, _Gone] = {}
        self._expected: set[str] = set()

    def note(self, id: str, place: Place) -> None:
        """That job was just seen there, or may be there."""
        if len(self._known) > _MOST:
            self._known.clear()
        self._known[id] = place

    def is_known(self, id: str) -> bool:
        """Whether the job was there when it was last looked up."""
        return id in self._known

    def order(self, id: str) -> tuple[bool, str]:
        """Sorts jobs that have not ended by when they may end, as far as their names say."""
        place = self._known.get(id)
        return (True, "") if place is None else (place[0] is State.PENDING, str(place[1]))

    def expect(self, ids: Iterable[str]) -> None:
        """These will be looked up: the next listing looks for all of them."""
        self._expected.update(ids)

    def expect_nothing(self) -> None:
        self._expected.clear()

    def is_there(self, id: str, place: Place) -> bool:
        """Whether the job still has that very name: one lookup."""
        return not files.is_gone(self._layout.job(*place))

    def look(self, id: str) -> Place | None:
        """Where a job is now; None if it is gone. Raises OSError if that cannot be determined."""
        place = self._known.get(id)
        if place is not None and self.is_there(id, place):
            return place
        if self._is_gone(id):
            return None
        wanted = {id, *self._expected}
        self._expected.clear()
        found, missing = self._list(wanted)
        found |= self._confirm(missing)
        return found.get(id)  # and not what is remembered: another thread may have looked since, and missed it

    def look_unlocked(self, id: str) -> Place | None:
        """Where a job is as two listings show it; for whoever holds the lock of its log."""
        return self._list({id})[0].get(id)

    def _is_gone(self, id: str) -> bool:
        gone = self._gone.get(id)
        if gone is None or self._sign(id) != gone.log:
            return False  # another job has the id, or it has come back
        return gone.log is None or time.monotonic() - gone.at < _MOMENT

    def _sign(self, id: str) -> tuple[int, int, int] | None:
        """What changes when a log is replaced or written to."""
        try:
            status = os.lstat(self._layout.log(id))
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size, status.st_ctime_ns

    def _list(self, ids: Collection[str]) -> tuple[dict[str, Place], list[str]]:
        """List for these, twice if need be: a job that is moved backwards between two listings is missed by the first.
        Where they are, and those of which it is not known yet whether they are gone."""
        found: dict[str, Place] = {}
        without_log: set[str] = set()
        for _ in range(2):
            left = {id for id in ids if id not in found}
            without_log = {id for id in left if files.is_gone(self._layout.log(id))}
            if left:
                found.update(find(self._layout, left))
        for id in ids:
            self._gone.pop(id, None)
            if id in found:
                self.note(id, found[id])
                continue
            self._known.pop(id, None)
            if id in without_log:
                self._gone[id] = _Gone(time.monotonic(), None)
        return found, [id for id in ids if id not in found and id not in without_log]

    def _confirm(self, ids: list[str]) -> dict[str, Place]:
        """Find out what became of jobs that no listing has shown, and that have logs: where they are, if anywhere.

        RACE: who holds a job's log may be moving it (tests/spool/reading/test_whereabouts.py).
        """
        places: dict[str, Place] = {}
        for start in range(0, len(ids), _AT_ONCE):
            locked: dict[str, int] = {}
            try:
                for id in ids[start : start + _AT_ONCE]:
                    log = self._open(id)
                    if log is None or lease.lock_whole(log):
                        locked[id] = -1 if log is None else log
                    else:
                        lease.close(log)
                        places[id] = State.PENDING, PendingName(0, _LONG_AGO, 0, id)  # not known: it has not ended
                        self.note(id, places[id])
                found, missing = self._list({*locked}) if locked else ({}, [])
                places |= found
                self._gone.update({id: _Gone(time.monotonic(), self._sign(id)) for id in missing})
            finally:
                for log in locked.values():
                    if log >= 0:
                        lease.close(log)
        return places

    def _open(self, id: str) -> int | None:
        """Its log; None if there is none, or what is there is no log."""
        try:
            return os.open(self._layout.log(id), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR, errno.ENXIO):
                return None
            raise


def find(layout: Layout, ids: Collection[str]) -> dict[str, Place]:
    """Where these jobs are, by one listing of each directory; what moves in the meantime may be missing."""
    found: dict[str, Place] = {}
    if len(ids) == 1:
        (id,) = ids
        place = query.locate_once(layout, id)
        return {id: place} if place is not None else {}
    for id, places in query.find_files(layout, ids).items():
        state, text = places[-1]
        name = query.parse_name(state, text)
        if name is not None:
            found[id] = state, name
    return found
