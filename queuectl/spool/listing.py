"""The names in a directory of millions as text: an object for each would cost more than the kernel's own work."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Thread

_PIECE = 1 << 21  # bytes: enough for the reader to need the interpreter but seldom


def read_names(directory: str) -> Iterator[bytes]:
    """The names in a directory, in no order, in pieces of some thousands.

    In a piece a name stands between a byte up to 14 and a byte 0, as in the kernel's records (getdents64(2), where
    that byte is the kind of file); what else lies between names is no text. While one piece is looked at the next
    one is read.
    """
    read: SimpleQueue[bytes | OSError] = SimpleQueue()
    room: SimpleQueue[bool] = SimpleQueue()  # False: nobody wants more
    room.put(True)

    def read_ahead() -> None:
        try:
            for piece in _records(directory):
                read.put(piece)
                if not room.get():
                    return
            read.put(b"")
        except OSError as error:
            read.put(error)

    Thread(target=read_ahead, name="listing", daemon=True).start()
    try:
        while piece := read.get():
            if isinstance(piece, OSError):
                raise piece
            room.put(True)
            yield piece
    finally:
        room.put(False)


def as_text(names: Iterable[bytes]) -> bytes:
    """Names that were listed otherwise, in one piece."""
    return b"\0%b\0" % b"\0".join(names)


def _records(directory: str) -> Iterator[bytes]:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "getdents64"):  # glibc before 2.30
        yield as_text(os.listdir(os.fsencode(directory)))
        return
    buffer = ctypes.create_string_buffer(_PIECE)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while (size := libc.getdents64(fd, buffer, _PIECE)) != 0:
            if size > 0:
                yield ctypes.string_at(buffer, size)
            elif ctypes.get_errno() != errno.EINTR:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), directory)
    finally:
        os.close(fd)
