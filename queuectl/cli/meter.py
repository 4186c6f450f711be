"""A group's progress as people see it: a bar that is drawn again on a terminal, elsewhere a line for a change."""

from __future__ import annotations

import os
import shutil
import time
from typing import TextIO

from queuectl.core.text import format_seconds, printable
from queuectl.spool.reading import batch
from queuectl.spool.reading.batch import Batch
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout

_BAR = 24  # columns at most
_LEAST_BAR = 8
_SHARE = 10  # looking takes a tenth of the time at most
_TERMINAL_PAUSE, _LINE_PAUSE = 0.1, 1.0  # seconds between two looks


def in_words(seen: Batch) -> str:
    """The counts, the rate and the estimate."""
    return ", ".join([f"{seen.done} of {seen.total} done", *_details(seen)])


def _details(seen: Batch) -> list[str]:
    """All but how many are done."""
    words = ("failed", "cancelled", "skipped", "running", "held")
    parts = [f"{getattr(seen, word)} {word}" for word in words if getattr(seen, word)]
    if seen.per_minute is not None:
        parts.append(f"{format_rate(seen.per_minute)} a minute")
    if seen.left is not None:
        parts.append(f"about {format_seconds(seen.left)} left")
    elif seen.reason is not None:
        parts.append(printable(seen.reason))
    return parts


def format_rate(per_minute: float) -> str:
    """With one decimal if it is small."""
    return f"{per_minute:.{0 if per_minute >= 10 else 1}f}"


def as_bar(seen: Batch, width: int) -> str:
    """A line of at most `width` columns: # for those that have ended, ! for the failed ones among them."""
    words = "  ".join([f"{seen.ended}/{seen.total}", *_details(seen)])
    size = min(_BAR, width - len(seen.group) - len(words) - 6)
    if size < _LEAST_BAR:
        return f"{seen.group}  {words}"[: max(0, width)]
    full = size * seen.ended // max(1, seen.total)
    bad = min(full, -(-size * seen.failed // max(1, seen.total)))
    bar = "#" * (full - bad) + "!" * bad
    return f"{seen.group} [{bar:.<{size}}]  {words}"


class Meter:
    """Shows how far a group is, on one stream, whenever `update` is called and something has changed."""

    def __init__(self, layout: Layout, group: str, stream: TextIO) -> None:
        self._layout, self._group, self._stream = layout, group, stream
        self._is_terminal = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._next = 0.0
        self._shown: Batch | None = None
        self._width = 0  # of what is drawn

    def update(self, *, is_last: bool = False) -> None:
        """Look, and show what has changed; not more often than is worth it, unless it `is_last`."""
        begun = time.monotonic()
        if begun < self._next and not is_last:
            return
        seen = batch.look(self._layout, self._group, now())
        ended = time.monotonic()
        self._next = ended + max(_TERMINAL_PAUSE if self._is_terminal else _LINE_PAUSE, _SHARE * (ended - begun))
        if self._is_terminal:
            self._draw(as_bar(seen, shutil.get_terminal_size().columns - 1))
            self._end_line(is_last)
        elif self._shown is None or not seen.is_like(self._shown):
            self._say(f"{seen.group}: {in_words(seen)}\n")
        self._shown = seen

    def clear(self) -> None:
        """Make room for a line of others."""
        if self._width:
            self._say("\r" + " " * self._width + "\r")
            self._width = 0

    def _draw(self, text: str) -> None:
        self._say("\r" + text.ljust(self._width))
        self._width = len(text)

    def _end_line(self, is_last: bool) -> None:
        if is_last:
            self._say("\n")
            self._width = 0

    def _say(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
