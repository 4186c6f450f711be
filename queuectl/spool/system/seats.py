"""The locks of seats: `groups/G/held/NAME+K` is locked as long as a job has that seat, or a process of it lives.

They are flock(2)s of descriptors that the job's processes inherit, so a job keeps its seats when its worker is killed.
A file holds the id and the spool of the job that took the seat last, and one to which `held` is a link may belong to
the spools of several users. Seats are counted and taken under the lock `turn`, which nobody waits for.

Closing a file that was open for writing is what wakes those who watch the directory; to look, a file is only read.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import suppress

from queuectl.core.seats import Seats
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

_TURN = "turn"
_TRIES, _SOON = 25, 0.0002  # of a lock that somebody who only looks may have for a moment; seconds between them
_LOWEST = 10  # descriptors below are left to the commands of jobs, which use them by number
_LONGEST = 4096


class Taken(NamedTuple):
    """Seats of a group that this process holds: the names of their locks, and a descriptor of each."""

    group: str
    locks: tuple[str, ...]
    descriptors: tuple[int, ...]


class Holder(NamedTuple):
    """The job that has a seat, as far as is known: its id, and its spool."""

    id: str
    spool: str


def find_held(layout: Layout, group: str) -> dict[str, Holder]:
    """The locks that are held, whatever the list of seats says, each with who holds it. Disturbs and wakes nobody."""
    directory = layout.held(group)
    try:
        names = sorted(name for name in os.listdir(directory) if name != _TURN and not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {}
    for name in names:
        try:
            fd = files.open_regular(f"{directory}/{name}")
        except (FileNotFoundError, files.NotRegularError):
            continue
        try:
            if not _lock(fd, fcntl.LOCK_SH):
                id, _, spool = os.pread(fd, _LONGEST, 0).decode("utf-8", "surrogateescape").strip().partition(" ")
                found[name] = Holder(id, spool)
        finally:
            os.close(fd)
    return found


def take(layout: Layout, group: str, seats: Seats, number: int, id: str) -> Taken | None:
    """So many seats of a group, or None if they cannot all be had now; raises OSError if nobody can say.

    CRASH: the locks go with this process, or with the last that inherited them.
    """
    directory = layout.held(group)
    os.makedirs(directory, 0o700, exist_ok=True)
    turn = _open(directory, _TURN)
    try:
        if not _lock(turn, fcntl.LOCK_EX):
            return None
        held = find_held(layout, group)
        if seats.count_free(held) < number:
            return None
        return _take(
            directory, group, [lock for lock in seats.locks if lock not in held], number, f"{id} {layout.root}"
        )
    finally:
        fcntl.flock(turn, fcntl.LOCK_UN)
        os.close(turn)


def _take(directory: str, group: str, free: list[str], number: int, holder: str) -> Taken | None:
    taken: dict[str, int] = {}
    try:
        for lock in free:
            fd = _open(directory, lock)
            if not _try(fd):
                os.close(fd)
                continue
            taken[lock] = fd
            data = f"{holder}\n".encode("utf-8", "surrogateescape")
            with suppress(OSError):  # a full disk: the lock is what counts
                os.pwrite(fd, data, 0)
                os.ftruncate(fd, len(data))
            if len(taken) == number:
                return Taken(group, tuple(taken), tuple(taken.values()))
    except OSError:
        _unlock(taken.values())
        raise
    _unlock(taken.values())
    return None


def give_back(layout: Layout, taken: Iterable[Taken]) -> None:
    """Free seats, whoever has inherited their descriptors, and wake those who wait for them."""
    for each in taken:
        _unlock(each.descriptors)
        with suppress(OSError):  # a daemon that keeps a descriptor open keeps its closing from waking anybody
            os.close(os.open(f"{layout.held(each.group)}/{_TURN}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW))


def _unlock(descriptors: Iterable[int]) -> None:
    for fd in descriptors:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


def _open(directory: str, name: str) -> int:
    """A descriptor for writing; who may write to the directory may write to a file that is made.

    A file that is there is not opened to be created: in a sticky directory the kernel refuses that to other users.
    """
    path = f"{directory}/{name}"
    try:
        low = files.open_file(path, os.O_RDWR)
    except FileNotFoundError:
        try:
            low = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            os.fchmod(low, os.stat(directory).st_mode & 0o666)
        except FileExistsError:
            low = files.open_file(path, os.O_RDWR)
    high: int = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
    os.close(low)
    return high


def _try(fd: int) -> bool:
    """Lock an open file; False if another holds it. Who only looks at it holds it for a moment, and not alone."""
    for _ in range(_TRIES):
        if _lock(fd, fcntl.LOCK_EX):
            return True
        if not _lock(fd, fcntl.LOCK_SH):
            return False
        time.sleep(_SOON)
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def _lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
