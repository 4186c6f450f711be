"""Locks of the open file description on bytes of a file (fcntl(2), F_OFD_SETLK), and files that have nothing but locks.

They go with the last descriptor of that description, which children inherit.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

from queuectl.spool.system import files
from queuectl.tuples import NamedTuple

LAST_BYTE = (1 << 63) - 1
_FLOCK = struct.Struct("@hhqqi4x")  # struct flock: l_type, l_whence, l_start, l_len, l_pid
_LOWEST = 10  # descriptors below are left to the commands of jobs, which use them by number


def take(fd: int, start: int, length: int) -> bool:
    """Lock bytes of a file for this open description; length 0 is all that follow. False if another has any of them."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
    except (BlockingIOError, PermissionError):  # EAGAIN or EACCES: POSIX allows either
        return False
    return True


class Held(NamedTuple):
    """The bytes of a lock, both included."""

    first: int
    last: int


def find(fd: int, start: int, length: int) -> Held | None:
    """A lock that another open description has on some of these bytes; None if there is none."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
    kind, _, first, found, _ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    if kind == fcntl.F_UNLCK:
        return None
    return Held(first, first + found - 1 if found else LAST_BYTE)


def open_file(place: str) -> int:
    """A descriptor of a file for locks, which is made if it is not there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        low = os.open(place, flags, 0o600)
    except FileNotFoundError:  # the host's memory was cleared
        os.makedirs(os.path.dirname(place), 0o700, exist_ok=True)
        low = os.open(place, flags, 0o600)
    high: int = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _LOWEST)
    os.close(low)
    return high


def remove(place: str) -> None:
    """Remove a file of locks, unless anything is locked in it."""
    with suppress(OSError):
        fd = os.open(place, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if take(fd, 0, 0) and files.is_open(fd, place):
                os.unlink(place)
        finally:
            os.close(fd)
