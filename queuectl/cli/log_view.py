"""Which parts of logs are wanted, and how they are printed."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO

from queuectl.cli.context import note
from queuectl.cli.display import Display
from queuectl.core.names import format_rfc3339, parse_time
from queuectl.core.text import format_instant
from queuectl.core.when import parse_past
from queuectl.errors import NotFoundError, UsageError
from queuectl.spool.reading.log_lines import describe
from queuectl.spool.system.clock import now
from queuectl.spool.system.log_entries import read_entries
from queuectl.spool.system.logs import Mark, parse_outcome

_LONGEST_LINE = 1 << 20
_BLOCK = 1 << 16
_MARKS = 20  # lines of queuectl's that may be among the last lines of a log


@dataclass(frozen=True, slots=True)
class Piece:
    """Output of an attempt (0: unknown): whole lines if lines were asked for, else as it was written."""

    attempt: int
    data: bytes


Entry = Mark | Piece


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted of a log; None is everything."""

    attempt: int | None = None
    since: datetime | None = None
    grep: re.Pattern[bytes] | None = None
    head: int | None = None
    tail: int | None = None

    @classmethod
    def of(
        cls, *, attempt: int | None, since: str | None, grep: str | None, head: int | None, tail: int | None
    ) -> Filter:
        """From words as typed; raises UsageError."""
        if head is not None and tail is not None:
            raise UsageError("both --head and --tail", hint="use one of them")
        try:
            pattern = None if grep is None else re.compile(os.fsencode(grep))
        except re.error as error:
            raise UsageError(f"not a regular expression: {grep!r}", f"{error}") from None
        return cls(attempt, None if since is None else parse_past(since, now()), pattern, head, tail)

    @property
    def is_empty(self) -> bool:
        return self == Filter()

    @property
    def needs_lines(self) -> bool:
        return (self.grep, self.head, self.tail) != (None, None, None)

    @property
    def is_tail_alone(self) -> bool:
        return self.tail is not None and (self.attempt, self.since, self.grep) == (None, None, None)


def entries_of(file: BinaryIO, wait: Callable[[], bool] | None, wanted: Filter) -> Iterator[Entry]:
    """What is wanted of an open log, in order. Raises NotFoundError for an attempt that it does not know."""
    chooser = _Chooser(wanted)
    if wanted.tail is not None:
        if wanted.is_tail_alone:
            _seek_tail(file, wanted.tail + _MARKS)
        kept = _last(_pipeline(read_entries(file), chooser, wanted), wanted.tail)
        last = kept[-1] if kept else None
        if wait is not None and isinstance(last, Piece) and not last.data.endswith(b"\n"):
            file.seek(-len(last.data), os.SEEK_CUR)  # it is still being written
            kept.pop()
        yield from kept
    if wait is not None or wanted.tail is None:
        yield from _pipeline(read_entries(file, wait), chooser, wanted)
    chooser.require()


def _pipeline(entries: Iterable[Mark | bytes], chooser: _Chooser, wanted: Filter) -> Iterator[Entry]:
    chosen = chooser.choose(entries)
    if wanted.needs_lines:
        chosen = _by_lines(chosen)
    if wanted.grep is not None:
        chosen = _matching(chosen, wanted.grep)
    return chosen if wanted.head is None else _first(chosen, wanted.head)


class _Chooser:
    """Passes on what belongs to the attempts that are wanted, and tracks which attempt a log is at."""

    def __init__(self, wanted: Filter) -> None:
        self._wanted = wanted
        self._current = 0
        self._seen: set[int] = set()
        self._is_recent = wanted.since is None

    def choose(self, entries: Iterable[Mark | bytes]) -> Iterator[Entry]:
        for entry in entries:
            if isinstance(entry, Mark):
                self._note(entry)
                if self._is_wanted(self._current if entry.event == "dropped" else entry.attempt):
                    yield entry
            elif self._is_wanted(self._current):
                yield Piece(self._current, entry)

    def _note(self, mark: Mark) -> None:
        if mark.attempt is not None and mark.event == "start":
            self._current = mark.attempt
            self._seen.add(mark.attempt)
            since, at = self._wanted.since, _started_at(mark)
            self._is_recent = since is None or at is None or at >= since

    def _is_wanted(self, attempt: int | None) -> bool:
        return self._is_recent and self._wanted.attempt in (None, attempt)

    def require(self) -> None:
        """Raise NotFoundError if the attempt was not in the log."""
        if self._wanted.attempt is not None and self._wanted.attempt not in self._seen:
            known = ", ".join(map(str, sorted(self._seen))) or "none"
            raise NotFoundError(f"no attempt {self._wanted.attempt} in this log", f"attempts: {known}")


def _by_lines(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Output in whole lines (without a newline only at the end of an attempt, or if very long)."""
    rest = Piece(0, b"")
    for entry in entries:
        if isinstance(entry, Mark):
            if rest.data:
                yield rest
            rest = Piece(0, b"")
            yield entry
            continue
        *lines, last = (rest.data + entry.data).split(b"\n")
        yield from (Piece(entry.attempt, line + b"\n") for line in lines)
        rest = Piece(entry.attempt, last)
        if len(last) > _LONGEST_LINE:
            yield rest
            rest = Piece(entry.attempt, b"")
    if rest.data:
        yield rest


def _matching(entries: Iterable[Entry], pattern: re.Pattern[bytes]) -> Iterator[Entry]:
    return (entry for entry in entries if isinstance(entry, Mark) or pattern.search(entry.data.rstrip(b"\n")))


def _first(entries: Iterable[Entry], number: int) -> Iterator[Entry]:
    for entry in entries:
        if isinstance(entry, Piece):
            if number == 0:
                return
            number -= 1
        yield entry


def _last(entries: Iterable[Entry], number: int) -> deque[Entry]:
    """The last lines, with the marks between and behind them."""
    kept: deque[Entry] = deque()
    lines = 0
    for entry in entries:
        kept.append(entry)
        lines += isinstance(entry, Piece)
        while lines > number:
            lines -= isinstance(kept.popleft(), Piece)
    return kept


def _seek_tail(file: BinaryIO, lines: int) -> None:
    """Go to the beginning of a line with at least so many behind it, or to the beginning."""
    end = file.seek(0, os.SEEK_END)
    found = 0
    while end > 0 and found <= lines:
        start = max(0, end - _BLOCK)
        file.seek(start)
        block = file.read(end - start)
        newlines = block.count(b"\n")
        if found + newlines > lines or not any(block):  # a hole has no lines
            break
        found, end = found + newlines, start
    file.seek(0 if end <= 0 else start)
    if file.tell() > 0:
        file.readline()


def _started_at(mark: Mark) -> datetime | None:
    try:
        return parse_time(mark.fields.get("started_at", ""))
    except ValueError:
        return None


class Output:
    """Prints entries: output to stdout, marks to stderr; or both as JSON lines. Thread-safe by entries."""

    def __init__(self, *, as_json: bool, is_labelled: bool) -> None:
        """`is_labelled` lines begin with the id of their job."""
        self._as_json = as_json
        self._is_labelled = is_labelled
        self._lock = threading.Lock()

    def display(self, id: str, *, is_live: bool) -> Display:
        """What the output of that job is shown by."""
        return Display(f"{id} | " if self._is_labelled else "", is_live=is_live)

    def write(self, id: str, entries: Iterator[Entry], display: Display) -> None:
        if self._as_json or self._is_labelled:
            entries = _by_lines(entries)
        for entry in entries:
            if isinstance(entry, Mark) and entry.usage is not None:
                continue  # `show` says that
            with self._lock:
                if self._as_json:
                    sys.stdout.buffer.write(json.dumps(_to_json(id, entry)).encode() + b"\n")
                elif isinstance(entry, Mark):
                    display.finish()
                    text = describe(entry, format_instant)
                    note(f"-- {id}: {text}" if self._is_labelled else f"-- {text}")
                else:
                    display.write(entry.data)
        with self._lock:
            display.finish()


def _to_json(id: str, entry: Entry) -> dict[str, Any]:
    """The documented shape of a line of `--json`."""
    shape: dict[str, Any] = dict.fromkeys(
        ("job", "event", "attempt", "text", "started_at", "worker", "result", "bytes")
    )
    if isinstance(entry, Piece):
        text = entry.data.removesuffix(b"\n").decode("utf-8", "replace")
        return {**shape, "job": id, "event": "output", "attempt": entry.attempt or None, "text": text}
    fields, size = entry.fields, entry.fields.get("bytes", "")
    found = {
        "job": id,
        "event": entry.event,
        "attempt": entry.attempt,
        "started_at": format_rfc3339(_started_at(entry)),
        "worker": fields.get("worker"),
        "bytes": int(size) if size.isdecimal() else None,
    }
    if entry.event == "end":
        found["result"] = f"{parse_outcome(fields) or fields.get('result')}"
        found["text"] = fields.get("reason")
    elif entry.event not in ("start", "dropped"):
        found["text"] = entry.text
    return {**shape, **found}
