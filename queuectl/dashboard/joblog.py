"""Pieces of a job's log, by byte offset: nothing here reads more of it than it shows, or than its time permits.

Where output was dropped, for max-log, the file has a hole: it is reported as one, and never read.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from queuectl.core.terminal import PLAIN, Row, Screen, Style
from queuectl.dashboard import ansi
from queuectl.dashboard.markup import Html, escape
from queuectl.spool.reading.log_lines import describe
from queuectl.spool.system import files, holes, logs
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.logs import PREFIX, Mark

PIECE = 64 << 10
"""Bytes of the log that one answer shows."""
_BLOCK = 1 << 20
_SCAN_TIME = 0.15
_FIND_TIME = 0.8
MAX_MARKS = 1000
MAX_FOUND = 200
_MAX_HOLES = 1000
"""A log has one for each attempt; if a job has written more such lines, the rest are not distinguished."""


@dataclass(slots=True)
class Marks:
    """The lines of queuectl's own in one log, found by reading on from where the last look ended."""

    identity: tuple[int, int]
    scanned: int = 0
    size: int = 0
    is_mid_line: bool = False
    is_complete: bool = False
    found: list[tuple[int, Mark]] = field(default_factory=list)


class LogReader:
    """Reads the logs of one spool. Thread-safe; remembers the marks of those looked at last."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._marks: OrderedDict[str, Marks] = OrderedDict()

    def open(self, id: str) -> int | None:
        """A descriptor; None if there is no log, or it is not a regular file."""
        try:
            return files.open_regular(self._layout.log(id))
        except OSError:
            return None

    def marks(self, id: str, fd: int) -> Marks:
        """The marks so far; those of a huge log are found bit by bit, one request after another."""
        status = os.fstat(fd)
        with self._lock:
            marks = self._marks.get(id)
            if marks is None or marks.identity != (status.st_dev, status.st_ino) or status.st_size < marks.scanned:
                marks = self._marks[id] = Marks((status.st_dev, status.st_ino))
            self._marks.move_to_end(id)
            while len(self._marks) > 64:
                self._marks.popitem(last=False)
            marks.size = status.st_size
            _scan(fd, marks, time.monotonic() + _SCAN_TIME)
            return replace(marks, found=list(marks.found))


def _scan(fd: int, marks: Marks, deadline: float) -> None:
    """Go through complete lines only, so that one still being written is read again."""
    marks.is_complete = False
    while time.monotonic() < deadline:
        hole = holes.find(fd, marks.scanned, marks.scanned + 1)
        if hole is not None:
            marks.scanned = hole[1]
            marks.is_mid_line = True
            continue
        block = os.pread(fd, _BLOCK, marks.scanned)
        cut = block.rfind(b"\n")
        if cut < 0 and len(block) == _BLOCK:
            marks.scanned += len(block)
            marks.is_mid_line = True
            continue
        if cut < 0:
            marks.is_complete = True
            return
        at = 0 if block.startswith(PREFIX) and not marks.is_mid_line else _next_mark(block, 0)
        while 0 <= at <= cut:
            end = block.index(b"\n", at)
            mark = logs.parse_mark(block[at : end + 1])
            if mark is not None:
                marks.found.append((marks.scanned + at, mark))
            at = _next_mark(block, end)
        del marks.found[:-MAX_MARKS]
        marks.scanned += cut + 1
        marks.is_mid_line = False


def _next_mark(block: bytes, start: int) -> int:
    at = block.find(b"\n" + PREFIX, start)
    return at + 1 if at >= 0 else -1


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of a log from offset `start` to before `stop`; `partial` is the line that continues after `stop`."""

    start: int
    stop: int
    size: int
    lines: tuple[Html, ...]
    partial: Html
    style: str

    def to_json(self) -> dict[str, Any]:
        return {
            "start": self.start,
            "stop": self.stop,
            "size": self.size,
            "html": "".join(self.lines),
            "partial": self.partial,
            "style": self.style,
        }


def read_piece(fd: int, start: int, end: int | None = None, style: str = "") -> Piece:
    """Up to PIECE bytes of whole lines from `start`, which is where a line begins, and the holes between them."""
    size = os.fstat(fd).st_size
    last = size if end is None else min(end, size)
    lines = _Lines(ansi.parse_style(style))
    at, room, rest = start, PIECE, b""
    while at < last and room > 0:
        stop = min(last, at + room)
        hole = holes.find(fd, at, stop)
        if hole is not None and hole[0] == at:
            lines.add_mark(_render_hole(min(hole[1], last) - at))
            at = min(hole[1], last)
            continue
        data = os.pread(fd, (hole[0] if hole else stop) - at, at)
        cut = len(data) if hole else data.rfind(b"\n") + 1
        if cut == 0 and len(data) == PIECE:
            cut = _end_of_text(data)  # a line longer than a piece is shown in several
        for raw in data[:cut].removesuffix(b"\n").split(b"\n") if cut else ():
            lines.add(raw)
        at += cut
        room -= len(data)
        if hole is None:
            rest = data[cut:] if stop == size else b""
            break
    look = lines.finish()
    partial, _ = ansi.render_line(rest.decode("utf-8", "replace"), look) if rest else (Html(""), look)
    return Piece(start, at, size, tuple(lines.found), partial, ansi.format_style(look))


class _Lines:
    """The lines of a piece as they are shown."""

    def __init__(self, style: Style) -> None:
        self.found: list[Html] = []
        self._screen = Screen(style=style)
        self._begun = ""  # what there is of a line that comes in several rows

    def add(self, raw: bytes) -> None:
        """A line of the log, without its newline."""
        mark = logs.parse_mark(raw) if raw.startswith(PREFIX) else None
        if mark is not None:
            self.add_mark(_render_mark(mark))
            self._screen.style = PLAIN
        else:
            self._show(self._screen.feed(raw + b"\n"))

    def add_mark(self, html: Html) -> None:
        self._flush()
        self.found.append(html)

    def finish(self) -> Style:
        """The style of what follows."""
        self._flush()
        return self._screen.style

    def _flush(self) -> None:
        self._show(self._screen.flush())
        if self._begun:
            self._show([Row([])])

    def _show(self, rows: list[Row]) -> None:
        for row in rows:
            self._begun += ansi.render_row(row)
            if row.is_whole:
                self.found.append(Html(f"<div>{self._begun or '<br>'}</div>"))
                self._begun = ""


def _end_of_text(data: bytes) -> int:
    """How much of it ends with a whole UTF-8 character."""
    for back in range(1, 4):
        if data[-back] & 0xC0 == 0xC0:
            return len(data) - back
    return len(data)


def _render_mark(mark: Mark) -> Html:
    """A line of queuectl's, for people."""
    return Html(f'<div class="mark {escape(mark.event)}">{escape(describe(mark, _format_time))}</div>')


def _format_time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _render_hole(size: int) -> Html:
    """The mark for dropped output."""
    return Html(f'<div class="mark dropped">… {size:,} bytes dropped …</div>')


def line_start(fd: int, offset: int, least: int = 0) -> int:
    """Where a line begins at or after `offset`, unless none does within a piece; for a hole, its beginning."""
    if offset <= least:
        return least
    hole = _hole_at(fd, offset, least)
    if hole is not None:
        return hole[0]
    data = os.pread(fd, PIECE, offset - 1)
    at = data.find(b"\n")
    return offset + at if at >= 0 else offset


def _hole_at(fd: int, offset: int, least: int) -> tuple[int, int] | None:
    """The hole that contains an offset, searched for from `least` on."""
    at = least
    for _ in range(_MAX_HOLES):
        hole = holes.find(fd, at, offset + 1)
        if hole is None or hole[1] > offset:
            return hole
        at = hole[1]
    return None


@dataclass(frozen=True, slots=True)
class Found:
    """Lines that contain a text: (offset, line) each. `next_at` is where to continue, None at the end."""

    lines: tuple[tuple[int, Html], ...]
    next_at: int | None


def find(fd: int, text: str, start: int, end: int | None = None) -> Found:
    """The lines with `text`, in any case, from `start` on: as many as fit a page, and its time."""
    needle = text.encode("utf-8", "replace").lower()
    size = os.fstat(fd).st_size
    stop = size if end is None else min(end, size)
    deadline = time.monotonic() + _FIND_TIME
    lines: list[tuple[int, Html]] = []
    at = start
    while at < stop:
        hole = holes.find(fd, at, min(stop, at + _BLOCK))
        if hole is not None and hole[0] == at:
            at = hole[1]
            continue
        block = os.pread(fd, (hole[0] if hole else min(stop, at + _BLOCK)) - at, at)
        cut = block.rfind(b"\n") + 1
        if hole is not None or cut == 0 or at + len(block) >= stop:
            cut = len(block)
        for offset, raw in _matches(block[:cut], needle):
            if len(lines) == MAX_FOUND:
                return Found(tuple(lines), at + offset)
            lines.append((at + offset, ansi.render_line(raw[:2000].decode("utf-8", "replace"), PLAIN)[0]))
        at += max(cut, 1)
        if at < stop and time.monotonic() > deadline:
            return Found(tuple(lines), at)
    return Found(tuple(lines), None)


def _matches(block: bytes, needle: bytes) -> Iterator[tuple[int, bytes]]:
    low = block.lower()
    at = low.find(needle)
    while at >= 0:
        start = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        end = len(block) if end < 0 else end
        yield start, block[start:end]
        at = low.find(needle, end)
