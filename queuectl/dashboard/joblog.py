"""Pieces of a job's log, by byte offset: nothing here reads more of it than it shows, or than its time permits.

Where output was dropped, for max-log, the file has a hole: it is reported as one, and never read.
"""

from __future__ import annotations

import os
import re
import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from queuectl.core.terminal import PLAIN, Row, Screen, Style
from queuectl.dashboard import ansi
from queuectl.dashboard.markup import Html, escape
from queuectl.spool.reading.log_lines import describe
from queuectl.spool.system import holes, logs
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.log_entries import open_copy
from queuectl.spool.system.logs import PREFIX, Mark

PIECE = 64 << 10
"""Bytes of the log that one answer shows."""
_BLOCK = 1 << 20
_SCAN_TIME = 0.15
_FIND_TIME = 0.8
MAX_MARKS = 1000
MAX_FOUND = 200
_SHOWN_OF_LINE = 2000
_MAX_HOLES = 1000
"""A log has one for each attempt; if a job has written more such lines, the rest are not distinguished."""


@dataclass(slots=True)
class Marks:
    """The lines of queuectl's own in one log, found by reading on from where the last look ended.

    `lines` is how many lines end before `scanned`, and `known` has such pairs of an offset and a number for places on
    the way there, each a block apart at most.
    """

    identity: tuple[int, int]
    scanned: int = 0
    lines: int = 0
    known: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
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
            return open_copy(self._layout.log(id))
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
            return replace(marks, found=list(marks.found), known=list(marks.known))


def _scan(fd: int, marks: Marks, deadline: float) -> None:
    """Go through complete lines only, so that one still being written is read again."""
    marks.is_complete = False
    while time.monotonic() < deadline:
        hole = holes.find(fd, marks.scanned, marks.scanned + 1)
        if hole is not None:
            marks.scanned = hole[1]
            marks.is_mid_line = True
            marks.known.append((marks.scanned, marks.lines))
            continue
        block = os.pread(fd, _BLOCK, marks.scanned)
        cut = block.rfind(b"\n")
        if cut < 0 and len(block) == _BLOCK:
            marks.scanned += len(block)
            marks.is_mid_line = True
            marks.known.append((marks.scanned, marks.lines))
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
        marks.lines += block.count(b"\n", 0, cut + 1)
        if marks.scanned - marks.known[-1][0] > _BLOCK // 4:
            marks.known.append((marks.scanned, marks.lines))
        marks.is_mid_line = False


def line_number(fd: int, marks: Marks, offset: int) -> int | None:
    """The number, from 1, of the line that begins at an offset; None if the log has not been looked through so far."""
    at, lines = marks.known[bisect_right(marks.known, (offset, _MANY)) - 1]
    if offset - at > 2 * _BLOCK:
        return None
    return lines + os.pread(fd, offset - at, at).count(b"\n") + 1


def line_offset(fd: int, marks: Marks, number: int) -> int | None:
    """Where the line of that number begins, from 1; None if there is none, or the log was not looked through so far."""
    at, lines = marks.known[bisect_right(marks.known, number - 1, key=_lines_of) - 1]
    block = os.pread(fd, 2 * _BLOCK, at)
    place = 0
    for _ in range(number - 1 - lines):
        place = block.find(b"\n", place) + 1
        if not place:
            return None
    return at + place if place < len(block) else None


def _lines_of(known: tuple[int, int]) -> int:
    return known[1]


_MANY = 1 << 62


def _next_mark(block: bytes, start: int) -> int:
    at = block.find(b"\n" + PREFIX, start)
    return at + 1 if at >= 0 else -1


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of a log from offset `start` to before `stop`; `partial` is the line that continues after `stop`.

    `places` says of each line how many lines of the file are before it in this piece, and where it begins; one that
    the cursor has come back to is the last of those written there. `first` is the number of the first one, if known.
    """

    start: int
    stop: int
    size: int
    lines: tuple[Html, ...]
    partial: Html
    style: str
    places: tuple[tuple[int, int], ...] = ()
    first: int | None = None

    def numbered(self, hit: int | None = None) -> list[Html]:
        """The lines with links to them, and with the one that begins at `hit` marked."""
        return [
            _numbered(line, None if self.first is None else self.first + before, is_hit=at == hit)
            for line, (before, at) in zip(self.lines, self.places, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """What log.js takes: lines of markup, without what it puts around each, so that little is sent in addition."""
        before = [before for before, _ in self.places]
        return {
            "first": self.first,
            **({"before": before} if before != [*range(len(before))] else {}),
            "start": self.start,
            "stop": self.stop,
            "size": self.size,
            "html": "\n".join(_bare(line) for line in self.lines),
            "partial": self.partial,
            "style": self.style,
        }


def _bare(line: Html) -> str:
    return line[len("<div>") : -len("</div>")] if line.startswith("<div>") else line


def _numbered(line: Html, number: int | None, *, is_hit: bool) -> Html:
    """The markup of a line with its number in front, which log.js adds to what it gets in the same way."""
    head, text = line.split(">", 1)
    id = "hit" if is_hit else f"L{number}"
    if number is None:
        return Html(f'{head} id="hit">{text}') if is_hit else line
    return Html(f'{head} id="{id}"><a class="n" tabindex="-1" href="?line={number}#L{number}">{number}</a>{text}')


def read_piece(
    fd: int, start: int, end: int | None = None, style: str = "", *, needle: str = "", marks: Marks | None = None
) -> Piece:
    """Up to PIECE bytes of whole lines from `start`, which is where a line begins, and the holes between them.

    Each place with the `needle` is marked. With `marks`, the lines have numbers.
    """
    size = os.fstat(fd).st_size
    last = size if end is None else min(end, size)
    lines = _Lines(ansi.parse_style(style), needle)
    at, room, rest = start, PIECE, b""
    while at < last and room > 0:
        stop = min(last, at + room)
        hole = holes.find(fd, at, stop)
        if hole is not None and hole[0] == at:
            lines.add_mark(_render_hole(min(hole[1], last) - at), at)
            at = min(hole[1], last)
            continue
        data = os.pread(fd, (hole[0] if hole else stop) - at, at)
        cut = len(data) if hole else data.rfind(b"\n") + 1
        if cut == 0 and len(data) == PIECE:
            cut = _end_of_text(data)  # a line longer than a piece is shown in several
        place = at
        for raw in data[:cut].removesuffix(b"\n").split(b"\n") if cut else ():
            lines.add(raw, place)
            place += len(raw) + 1
        at += cut
        room -= len(data)
        if hole is None:
            rest = data[cut:] if stop == size else b""
            break
    look = lines.finish()
    partial, _ = ansi.render_line(rest.decode("utf-8", "replace"), look, needle) if rest else (Html(""), look)
    first = line_number(fd, marks, start) if marks is not None else None
    return Piece(start, at, size, tuple(lines.found), partial, ansi.format_style(look), tuple(lines.places), first)


class _Lines:
    """The lines of a piece as they are shown, and for each which line of the file that is."""

    def __init__(self, style: Style, needle: str = "") -> None:
        self.found: list[Html] = []
        self.places: list[tuple[int, int]] = []
        self._needle = needle
        self._screen = Screen(style=style)
        self._begun = ""  # what there is of a line that comes in several rows
        self._read = 0
        self._origins: dict[int, tuple[int, int]] = {}  # of the lines on the screen, by their numbers as shown

    def add(self, raw: bytes, at: int) -> None:
        """The line of the log that begins at that offset, without its newline."""
        origin = self._read, at
        mark = logs.parse_mark(raw) if raw.startswith(PREFIX) else None
        if mark is not None:
            self._add(_render_mark(mark), origin)
            self._screen.style = PLAIN
        else:
            rows = self._screen.feed(raw + b"\n")
            out = len(self.found) + sum(row.is_whole for row in rows)
            self._origins[out + self._screen.above - 1] = origin
            self._show(rows)
        self._read += 1

    def add_mark(self, html: Html, at: int) -> None:
        """A line that is not in the file."""
        self._add(html, (max(0, self._read - 1), at))

    def _add(self, html: Html, origin: tuple[int, int]) -> None:
        self._flush()
        self._append(html, origin)

    def finish(self) -> Style:
        """The style of what follows."""
        self._flush()
        return self._screen.style

    def _flush(self) -> None:
        self._show(self._screen.flush())
        if self._begun:
            self._show([Row([])])
        self._origins.clear()

    def _show(self, rows: list[Row]) -> None:
        for row in rows:
            self._begun += ansi.render_row(row, self._needle)
            if row.is_whole:
                before = self.places[-1] if self.places else (0, 0)
                origin = self._origins.pop(len(self.found), before)
                self._append(Html(f"<div>{self._begun or '<br>'}</div>"), origin)
                self._begun = ""

    def _append(self, html: Html, origin: tuple[int, int]) -> None:
        self.found.append(html)
        self.places.append(origin)


def _end_of_text(data: bytes) -> int:
    """How much of it ends with a whole UTF-8 character."""
    for back in range(1, 4):
        if data[-back] & 0xC0 == 0xC0:
            return len(data) - back
    return len(data)


def _render_mark(mark: Mark) -> Html:
    """A line of queuectl's, for people."""
    text = _TIME.sub(_as_time, escape(describe(mark, _format_time)))
    return Html(f'<div class="mark {escape(mark.event)}">{text}</div>')


_TIME = re.compile(r"\b(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d) UTC\b", re.ASCII)


def _as_time(found: re.Match[str]) -> str:
    """A time as an element, which the page's script shows in the zone that was chosen."""
    return f'<time class="clock" data-show="full" datetime="{found[1]}T{found[2]}Z">{found[0]}</time>'


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


def find(
    fd: int, text: str, start: int, end: int | None = None, *, most: int | None = None, patience: float = _FIND_TIME
) -> Found:
    """The lines with `text`, in any case, from `start` on: `most` of them, and what is found in `patience` seconds."""
    needle = text.encode("utf-8", "replace").lower()
    size = os.fstat(fd).st_size
    stop = size if end is None else min(end, size)
    deadline = time.monotonic() + patience
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
            if len(lines) == (most or MAX_FOUND):
                return Found(tuple(lines), at + offset)
            lines.append(
                (at + offset, ansi.render_line(_around(raw, needle).decode("utf-8", "replace"), PLAIN, text)[0])
            )
        at += max(cut, 1)
        if at < stop and time.monotonic() > deadline:
            return Found(tuple(lines), at)
    return Found(tuple(lines), None)


def next_line(fd: int, at: int) -> int:
    """Where the line after the one at an offset begins, or as far on as is looked."""
    data = os.pread(fd, _BLOCK, at)
    end = data.find(b"\n")
    return at + (end + 1 if end >= 0 else len(data))


def find_before(fd: int, text: str, stop: int, least: int = 0, *, patience: float = _FIND_TIME) -> int | None:
    """Where the last line before `stop`, which is where a line begins, that has the text begins; None if there is none
    from `least` on, or none was found in time."""
    needle = text.encode("utf-8", "replace").lower()
    deadline = time.monotonic() + patience
    end = stop
    while end > least and time.monotonic() < deadline:
        start = max(least, end - _BLOCK)
        block = os.pread(fd, min(stop, end + len(needle) - 1) - start, start)
        at = block.lower().rfind(needle)
        if at >= 0:
            return _line_begin(fd, start + at, least)
        end = start
    return None


def _line_begin(fd: int, offset: int, least: int) -> int:
    """Where the line at an offset begins, or a piece before it if it is very long."""
    start = max(least, offset - PIECE)
    return start + os.pread(fd, offset - start, start).rfind(b"\n") + 1


def _around(raw: bytes, needle: bytes) -> bytes:
    """The line, or of a very long one the part with the text."""
    if len(raw) <= _SHOWN_OF_LINE:
        return raw
    at = max(0, raw.lower().find(needle) - 100)
    return raw[at : at + _SHOWN_OF_LINE]


def _matches(block: bytes, needle: bytes) -> Iterator[tuple[int, bytes]]:
    low = block.lower()
    at = low.find(needle)
    while at >= 0:
        start = block.rfind(b"\n", 0, at) + 1
        end = block.find(b"\n", at)
        end = len(block) if end < 0 else end
        yield start, block[start:end]
        at = low.find(needle, end)
