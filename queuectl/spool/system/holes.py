"""Holes in files: parts that read as zeros and take no space. Linux, on file systems that have them.

A hole can be made while a process keeps writing after it, so output can be dropped without moving what is written in
the meantime.
"""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctypes import _NamedFuncPointer

_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02


@cache
def _fallocate() -> _NamedFuncPointer | None:
    import ctypes  # needed only to drop output

    libc = ctypes.CDLL(None, use_errno=True)
    function = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function


def punch(fd: int, start: int, end: int) -> bool:
    """Free the space of these bytes, which become zeros; False if that is not possible."""
    function = _fallocate()
    return function is not None and function(fd, _PUNCH_HOLE | _KEEP_SIZE, start, end - start) == 0


def find(fd: int, start: int, end: int) -> tuple[int, int] | None:
    """The first hole that begins between two offsets, as (start, end); None if there is none."""
    try:
        at = os.lseek(fd, start, os.SEEK_HOLE)
        size = os.fstat(fd).st_size
        if at >= min(end, size):
            return None
        try:
            return at, os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return at, size
    except (OSError, AttributeError):
        return None


def is_hole(fd: int, start: int, end: int) -> bool:
    """Whether there is no data between two offsets."""
    try:
        return os.lseek(fd, start, os.SEEK_DATA) >= end
    except (OSError, AttributeError) as error:
        return isinstance(error, OSError) and error.errno == errno.ENXIO
