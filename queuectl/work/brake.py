"""The brake: a group, or the whole queue, in which too many jobs have failed since it was last resumed pauses itself.

Counting lists dead/, so it is done by a thread of its own, at most once a second for each group and never for more than
a twentieth of the time; failures in between are counted then. What it writes is in force only as long as nobody has
resumed in the meantime, and it removes nothing (tests/model/brake.py).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from queuectl.core import groups
from queuectl.core.groups import MaxFailed
from queuectl.core.text import format_count
from queuectl.errors import SpoolError
from queuectl.spool.reading import failures
from queuectl.spool.system import files, pause
from queuectl.spool.system import groups as group_files

if TYPE_CHECKING:
    from datetime import datetime

    from queuectl.core.settings import Settings
    from queuectl.spool.system.layout import Layout
    from queuectl.work.hooks import Hooks
    from queuectl.work.report import Report

_INTERVAL = 1.0
_SHARE = 20


class Context(Protocol):
    """What the brake needs of the worker that it belongs to."""

    report: Report
    settings: Settings
    hooks: Hooks

    @property
    def layout(self) -> Layout: ...

    def now(self) -> datetime: ...


class Brake:
    """Of one worker. Thread-safe; costs nothing until a job fails where a brake is set."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._changed = threading.Condition()
        self._due: set[str] = set()
        self._not_before: dict[str, float] = {}
        self._thread: threading.Thread | None = None
        self._is_over = False

    def note(self, id: str) -> None:
        """A job has failed for good: let its groups be counted that have a brake, and the queue if it has one."""
        due = [group for group in groups.of(id) if self._limit_of(group) is not None]
        if self._limit_of("") is not None:
            due.append("")
        if not due:
            return
        with self._changed:
            self._due.update(due)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="brake", daemon=True)
                self._thread.start()
            self._changed.notify()

    def finish(self) -> None:
        """Count what is left to count, and stop."""
        with self._changed:
            self._is_over = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _limit_of(self, group: str) -> MaxFailed | None:
        if not group:
            return self._context.settings.max_failed
        found = group_files.read(self._context.layout, group, self._context.now)
        return found.max_failed if found is not None else None

    def _run(self) -> None:
        while (group := self._next()) is not None:
            begun = time.monotonic()
            try:
                self._count(group)
            except (OSError, SpoolError) as error:
                self._context.report.once(f"brake {group}", "warning", f"cannot count what has failed: {error}")
            took = time.monotonic() - begun
            self._not_before[group] = begun + max(_INTERVAL, _SHARE * took)

    def _next(self) -> str | None:
        """Wait for one that is due; None once all are counted and it is over."""
        with self._changed:
            while True:
                now = time.monotonic()
                waits = {group: self._not_before.get(group, 0.0) - now for group in self._due}
                if waits and (self._is_over or min(waits.values()) <= 0):
                    group = min(waits, key=waits.__getitem__)
                    self._due.discard(group)
                    return group
                if self._is_over:
                    return None
                self._changed.wait(min(waits.values(), default=None))

    def _count(self, group: str) -> None:
        """Pause if too many have failed."""
        layout, now = self._context.layout, self._context.now
        while (most := self._limit_of(group)) is not None:
            since = pause.counted_from(layout, now, group)
            failed = failures.count(layout, group, since)
            ended = failures.count_ended(layout, group, since) if most.is_share else failed
            if not most.is_reached(failed, ended) or pause.read(layout, now, group) is not None:
                return
            of = f" of {ended}" if most.is_share else ""
            reason = f"{format_count(failed, 'job')}{of} failed; max-failed is {most}"
            pause.write(layout, reason, group=group, counted=since)
            if pause.counted_from(layout, now, group) == since:
                self._report(group, reason)
                return

    def _report(self, group: str, reason: str) -> None:
        what = f"the group {group}" if group else "the queue"
        self._context.report.event("paused", None, f"{what} has paused itself: {reason}", group=group or None)
        self._context.hooks.notify("group-paused", group=group or None, reason=reason)
        files.ring(self._context.layout.bell)
