"""The log of a job in order, as people and programs read it: its output, and the lines of queuectl's in between."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

from queuectl.errors import SpoolError
from queuectl.lazy import Lazy
from queuectl.spool.system import files, holes, logs
from queuectl.spool.system.logs import PREFIX, Mark

if TYPE_CHECKING:
    from queuectl.spool.system import log_parts
else:
    log_parts = Lazy("queuectl.spool.system.log_parts")

_BLOCK = 1 << 16


def read_entries(  # noqa: C901 - one loop over one state
    file: BinaryIO, wait: Callable[[], bool] | None = None
) -> Iterator[Mark | bytes]:
    """The log in order: pieces of output exactly as written, and a Mark for each line of queuectl's.

    At the end of the file `wait`, if given, is called: True means to look again, False that nothing
    more will come. Memory stays flat however long a log or a line is.
    """
    held = False  # a newline that belongs to the output unless an end line follows
    at_line_start = True
    while True:
        line = _read_piece(file)
        if isinstance(line, Mark):
            if held:
                yield b"\n"
            held = at_line_start = False
            yield line
            continue
        if not line or (wait is not None and at_line_start and _may_become_mark(line)):
            file.seek(-len(line), os.SEEK_CUR)
            if held and wait is not None:  # an end line is written along with its newline: this one is output
                held = False
                yield b"\n"
            if wait is not None and wait():
                continue
            if not line:
                break
            line = file.read(len(line))
        mark = logs.parse_mark(line) if at_line_start and line.startswith(PREFIX) else None
        if mark is not None:
            if held and mark.event != "end":
                yield b"\n"
            held = False
            yield from _judged(file, mark)
            continue
        at_line_start = line.endswith(b"\n")
        piece = (b"\n" if held else b"") + line
        held = at_line_start
        if held:
            piece = piece[:-1]
        if piece:
            yield piece
    if held:
        yield b"\n"


def _judged(file: BinaryIO, mark: Mark) -> Iterator[Mark]:
    """The mark, unless it is the submit's; `late` for an end line after another host had settled the attempt."""
    if mark.event == "submit":
        return
    if mark.event == "end" and files.is_any_shared() and isinstance(file, log_parts.Whole):
        which = f"attempt={mark.attempt} started_at={mark.fields.get('started_at')} "
        if any(logs.has_end_line(later, which) for later in file.raw.later()):
            mark = Mark("late", {**mark.fields, "host": file.raw.owner()}, mark.text)
    yield mark


def _read_piece(file: BinaryIO) -> bytes | Mark:
    """The next line, or a block of it, up to where output was dropped; then a mark for that."""
    line = file.readline(_BLOCK)
    if b"\0" not in line:
        return line
    try:
        fd, start = file.fileno(), file.tell() - len(line)
    except OSError:  # not a real file
        return line
    raw_position = os.lseek(fd, 0, os.SEEK_CUR)
    hole = holes.find(fd, start, start + len(line))
    os.lseek(fd, raw_position, os.SEEK_SET)  # where the file's buffer expects it
    if hole is None:
        return line
    if hole[0] > start:
        file.seek(hole[0])
        return line[: hole[0] - start]
    file.seek(hole[1])
    size = hole[1] - start
    return Mark("dropped", {"bytes": str(size)}, f"{size} bytes of output, for max-log")


def _may_become_mark(line: bytes) -> bool:
    """Whether it is the beginning of a line of queuectl's that is still being written."""
    return line[-1:] != b"\n" and len(line) < _BLOCK and PREFIX.startswith(line[: len(PREFIX)])


def open_reading(path: str, id: str) -> BinaryIO:
    """A log opened for reading, never through a link; raises SpoolError if there is none, or not a regular file."""
    try:
        if files.shared_root(path):
            return log_parts.open_whole(path)
        return os.fdopen(files.open_regular(path), "rb")
    except OSError as error:
        raise SpoolError(f"the log of {id} cannot be read", f"{path}: {error.strerror}") from error


def open_copy(path: str) -> int:
    """A descriptor of a log for reading; of a copy, if it has several parts. Raises OSError."""
    return log_parts.copy_whole(path) if files.shared_root(path) else files.open_regular(path)


def size_of(file: BinaryIO) -> int:
    """Bytes on disk of what `open_reading` gave."""
    if files.is_any_shared() and isinstance(file, log_parts.Whole):
        return file.raw.size()
    return os.fstat(file.fileno()).st_blocks * 512
