"""Listing directories of millions of files, by patterns over the kernel's records: far cheaper than one by one."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from threading import Thread

_PIECE = 1 << 21  # bytes: large enough that the reading thread seldom needs the interpreter
_FIRST_PIECE = 1 << 16  # enough for most directories, as filling the other with zeros takes longer than reading them
_HEAD = struct.Struct("=QqHB")  # of a record: inode, offset, length of the record, kind; the name and a byte 0 follow
_DOTS = 48  # bytes of the records of `.` and `..`
_LONG = 230  # bytes of a name whose record is longer than 255, so that its length may be mistaken for a kind
_REGULAR = 8  # the kind of a regular file, if the file system reports it


_begun: dict[str, Iterator[bytes]] = {}
_BEFORE = b"\x18\0\b"  # what precedes a regular file's name: the length of its record, its kind


def read_names(directory: str) -> Iterator[bytes]:
    """The names in a directory, in no order, in pieces of some thousands.

    In a piece each name is between a byte up to 14 and a byte 0, as in the kernel's records (getdents64(2), where
    that byte is the kind of file); what is between names is not text. While one piece is processed the next one is
    read.
    """
    return _begun.pop(directory, None) or _begin(directory)


def begin(directory: str) -> None:
    """Start reading a directory for the next `read_names` of it, which then raises what goes wrong.

    What nobody reads keeps a thread: this is for commands that end at once.
    """
    _begun[directory] = _begin(directory)


def _begin(directory: str) -> Iterator[bytes]:
    read: SimpleQueue[bytes | BaseException] = SimpleQueue()
    room: SimpleQueue[bool] = SimpleQueue()  # False: no more is wanted
    room.put(True)

    def read_ahead() -> None:
        try:
            for piece in _records(directory):
                read.put(piece)
                if not room.get():
                    return
            read.put(b"")
        except BaseException as error:  # raised again by the reader
            read.put(error)

    def pieces() -> Iterator[bytes]:
        try:
            while piece := read.get():
                if isinstance(piece, BaseException):
                    raise piece
                room.put(True)
                yield piece
        finally:
            room.put(False)

    try:
        Thread(target=read_ahead, name="listing", daemon=True).start()
    except RuntimeError:  # the thread limit of this user, or the container
        return _records(directory)
    return pieces()


def read_split(directory: str, pattern: str, with_text: bytes = b"") -> Iterator[tuple[list[bytes], list[bytes]]]:
    """The names in a directory, in no order, in pieces of some thousands: those of a kind, and all others.

    `pattern` begins with the three bytes before a name in its record (names.PENDING_AMONG), has one group, the name,
    and ends with a byte 0. Pieces in which `with_text` does not occur are left out.
    """
    compiled = re.compile(pattern.encode())
    for piece in read_names(directory):
        if with_text not in piece:
            continue
        found = compiled.findall(piece)
        others: list[bytes] = []
        if not _is_all(piece, found) or max(map(len, found), default=0) > _LONG:
            names = _walk(piece)
            found = [name for name in names if compiled.fullmatch(b"%b%b\0" % (_BEFORE, name), len(_BEFORE) - 1)]
            others = list(set(names).difference(found, (b".", b"..")))
        yield found, others


def decode(names: list[bytes]) -> list[str]:
    """Many names, each as `os.fsdecode` returns it."""
    return os.fsdecode(b"\0".join(names)).split("\0") if names else []


def as_text(names: Iterable[bytes]) -> bytes:
    """Names from another listing, in one piece."""
    return b"\0%b\0" % b"\0".join(names)


def _records(directory: str) -> Iterator[bytes]:
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "getdents64"):  # glibc before 2.30
        yield b"".join(map(_record, os.listdir(os.fsencode(directory))))
        return
    buffer = ctypes.create_string_buffer(min(_FIRST_PIECE, _PIECE))
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while (size := libc.getdents64(fd, buffer, len(buffer))) != 0:
            if size > 0:
                yield ctypes.string_at(buffer, size)
                if len(buffer) < _PIECE and size > len(buffer) // 2:
                    buffer = ctypes.create_string_buffer(_PIECE)
            elif ctypes.get_errno() != errno.EINTR:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), directory)
    finally:
        os.close(fd)


def _record_length(length: int) -> int:
    """Size of the record of a name of that length: the kernel pads it to a multiple of 8, on every file system."""
    return (_HEAD.size + length + 1 + 7) // 8 * 8


def _record(name: bytes) -> bytes:
    """A record as the kernel writes it."""
    length = _record_length(len(name))
    return (_HEAD.pack(0, 0, length, _REGULAR) + name).ljust(length, b"\0")


def _is_all(piece: bytes, names: list[bytes]) -> bool:
    """Whether a piece of records holds only these names, by their lengths, and `.` and `..`, which come first."""
    dots = _DOTS if piece.startswith(b".\0", _HEAD.size) else 0
    return dots + sum(_record_length(size) * number for size, number in Counter(map(len, names)).items()) == len(piece)


def _walk(piece: bytes) -> list[bytes]:
    """The names in records, one by one."""
    names = []
    at = 0
    while at < len(piece):
        _, _, length, _ = _HEAD.unpack_from(piece, at)
        start = at + _HEAD.size
        names.append(piece[start : piece.index(b"\0", start)])
        at += length
    return names
