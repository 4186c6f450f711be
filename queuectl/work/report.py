"""What a worker says: one line for every event, for people, for journals (JSON lines), or quietly."""

from __future__ import annotations

import json
import sys
import threading
import time
from functools import lru_cache
from typing import Any, TextIO

from queuectl.core.names import format_rfc3339
from queuectl.core.text import printable
from queuectl.spool.system import clock

_NO_JOB = " " * 14
_PROBLEMS = {"dead", "refused", "lost", "warning", "error"}


@lru_cache(maxsize=1)
def _local_time(second: int, form: str) -> str:
    """Of seconds since 1970."""
    return time.strftime(form, time.localtime(second))


class Report:
    """Thread-safe. A reader that went away never stops the worker."""

    worker: str | None = None
    """The name of the worker, once it has one."""

    def __init__(
        self, style: str = "text", stream: TextIO | None = None, *, is_labelled: bool = False, is_dated: bool = False
    ) -> None:
        """`style` is `text`, `quiet` (problems only) or `json`; `is_labelled` lines of text begin with the worker,
        those that are `is_dated` with the day."""
        self._style = style
        self._is_labelled = is_labelled
        self._time = "%Y-%m-%d %H:%M:%S" if is_dated else "%H:%M:%S"
        self._stream = stream or sys.stderr
        self._must_flush = not getattr(self._stream, "line_buffering", False)
        self._lock = threading.Lock()
        self._said: set[str] = set()

    def event(self, event: str, job: str | None, text: str, **fields: Any) -> None:
        """`text` says what happened just now, how long it took and what comes next; `fields` the same as data."""
        if self._style == "quiet" and event not in _PROBLEMS:
            return
        if self._style == "json":
            head = {"at": format_rfc3339(clock.now()), "worker": self.worker, "event": event, "job": job}
            line = json.dumps({**head, **fields, "message": text})
        else:
            at = _local_time(int(time.time()), self._time)
            if self._is_labelled:
                at = f"{at}  {self.worker or '-':<13}"
            line = f"{at}  {event.ljust(8)} {job.ljust(14) if job else _NO_JOB} {text}".rstrip()
            if not line.isprintable():
                line = printable(line.replace("\n", " "))
        with self._lock:
            try:
                self._stream.write(line + "\n")
                if self._must_flush:
                    self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody listens any more; the jobs matter more

    def once(self, key: str, event: str, text: str) -> None:
        """Say something that would otherwise be said again and again, until `over` is called for its key."""
        with self._lock:
            is_new = key not in self._said
            self._said.add(key)
        if is_new:
            self.event(event, None, text)

    def over(self, key: str, text: str) -> None:
        """Say that what `once` said is over, if it was said."""
        with self._lock:
            was_said = key in self._said
            self._said.discard(key)
        if was_said:
            self.event("info", None, text)
