"""What a worker of a shared spool does as a part of its host: keeps the host's beat, looks after those of others, and
ends what runs here once somebody has said that this host is gone.

In a thread of its own, as the main thread may wait for a file system that hangs. A spool that is not shared has none of
this.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime

from queuectl.core.names import format_time
from queuectl.core.text import format_count
from queuectl.errors import SpoolError
from queuectl.spool.reading import query
from queuectl.spool.system import beats, clock, host, lease, logs, processes, versions
from queuectl.spool.system.beats import BEAT, LOST, Mark
from queuectl.spool.system.layout import Layout
from queuectl.work.context import Context

_LOOK = BEAT / 2
_AGAIN = 0.2  # seconds until what a slot was about to start is looked for
_PATIENCE = 30.0  # seconds until processes that do not end are left to the kernel


class GoneError(SpoolError):
    """Somebody has said that this host is gone: other hosts have its jobs."""


def begin(context: Context) -> None:
    """Before a worker takes its name: if this host is said to be gone, end what still runs of it and become another."""
    layout = context.layout
    versions.refuse_older(layout)
    own = host.here(layout)
    mark = beats.find(layout, own.name)
    if mark is not None and mark.is_gone:
        ended = _end_all(layout, own)
        host.renewed(layout)
        what = f"; ended {format_count(ended, 'job')} that still ran" if ended else ""
        text = f"this host was said to be gone, as {own.name}, by {mark.by}{what}; it is {host.here(layout).name} now"
        context.report.event("warning", None, text)


def keeper(
    context: Context, own: lease.WorkerLease, wake: Callable[[], None], look: Callable[[], None]
) -> AbstractContextManager[object]:
    """For as long as a worker works: keep the beat of its host, if the spool is shared.

    `wake` is called when the worker is to stop, since its host is gone: GoneError is raised in the end. `look` is
    called when other hosts have been said to be gone.
    """
    return Keeper(context, own, wake, look) if context.layout.shared else nullcontext()


class Keeper:
    """Of one worker."""

    def __init__(
        self, context: Context, own: lease.WorkerLease, wake: Callable[[], None], look: Callable[[], None]
    ) -> None:
        self._context, self._layout = context, context.layout
        self._lease, self._wake, self._hurry = own, wake, look
        self._host = host.here(self._layout)
        self._watch = beats.Watch(self._host)
        self._earlier = host.earlier(self._layout)
        self._lost: frozenset[str] = frozenset()
        self._gone: frozenset[str] = frozenset()
        self._is_over = threading.Event()
        self.gone_by = ""
        """Who has said that this host is gone."""

    def __enter__(self) -> Keeper:
        """Join the host's other workers; raises GoneError."""
        with host.turn(self._host):
            self._mark = beats.join(self._layout, self._lease.name)
        if self._mark.is_gone:
            raise _gone(self._host.name, self._mark.by)
        self._renewed_at = time.monotonic()
        self._say_clock()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """The worker ends, and with the last of this host, if none of its jobs runs, the host's beat.

        Raises GoneError if the host is gone.
        """
        self._is_over.set()
        self._thread.join()
        if self.gone_by:
            raise _gone(self._host.name, self.gone_by)
        with suppress(OSError), host.turn(self._host):
            if not self._has_others() and not self._has_jobs():
                mark = beats.find(self._layout, self._host.name)
                if mark is not None and not mark.is_gone:
                    beats.leave(self._layout, mark)

    def _has_others(self) -> bool:
        """Whether other workers of this host live, or have left something to judge."""
        return bool(lease.lives(self._layout) - {self._lease.name})

    def _has_jobs(self) -> bool:
        return any(self._host.is_home_of(name.worker) for name in query.running(self._layout))

    # --- the thread

    def _run(self) -> None:
        while not self._is_over.wait(_LOOK):
            try:
                self._look()
            except OSError as error:
                self._context.report.once("beat", "warning", f"this host cannot show that it lives: {error.strerror}")
            else:
                self._context.report.over("beat", "this host can show again that it lives")
            if self.gone_by:
                self._end()
                return

    def _look(self) -> None:
        seen = self._watch.look(self._layout)
        mark = seen[self._host.name][0] if self._host.name in seen else beats.find(self._layout, self._host.name)
        if mark is None:  # removed by hand
            with host.turn(self._host):
                mark = beats.join(self._layout, self._lease.name)
        if mark.is_gone:
            self.gone_by = mark.by
            return
        self._beat(mark)
        others = [each for name, each in seen.items() if name != self._host.name]
        self._note_gone(frozenset(mark.host for mark, _ in others if mark.is_gone))
        self._note_lost([mark for mark, stood in others if stood >= LOST and not mark.is_gone and not mark.has_left])
        self._bury_earlier()

    def _beat(self, mark: Mark) -> None:
        """Renew the beat, unless another worker of this host has done so a moment ago."""
        now = time.monotonic()
        if mark != self._mark:
            self._mark, self._renewed_at = mark, now
        if mark.has_left or now - self._renewed_at > BEAT - 1:
            renewed = beats.renew(self._layout, mark, self._lease.name)
            if renewed is not None:
                self._mark, self._renewed_at = renewed, now
                self._say_clock()

    def _say_clock(self) -> None:
        """For others to compare with their clocks: this is written right after the beat."""
        self._lease.say(beat=self._mark.number, beat_at=format_time(self._context.now()))

    def _note_gone(self, gone: frozenset[str]) -> None:
        if gone != self._gone:
            self._gone = gone
            self._hurry()

    def _note_lost(self, marks: list[Mark]) -> None:
        """Report which hosts have lost contact, and keep their beats in the worker's file, for commands to read."""
        lost = frozenset(map(str, marks))
        if lost == self._lost:
            return
        for mark in marks:
            if str(mark) not in self._lost:
                text = f"host {mark.host} has lost contact; if it is down for good: queuectl worker gone {mark.host}"
                self._context.report.event("warning", None, text)
        self._lost = lost
        self._lease.say(lost=sorted(lost))

    def _bury_earlier(self) -> None:
        """Say that hosts are gone which were this machine before its last boot."""
        if not self._earlier:
            return
        seen = self._watch.look(self._layout)
        for note in [*self._earlier]:
            mark, stood = seen.get(note.host, (None, 0.0))
            if mark is not None and not mark.is_gone and not mark.has_left:
                if stood < LOST or not beats.say_gone(self._layout, mark, self._lease.name):
                    continue
                text = f"{note.host} was this host before it was booted: it is gone"
                self._context.report.event("info", None, text)
                self._hurry()
            self._earlier.remove(note)
            with suppress(OSError):
                os.unlink(note.path)

    def _end(self) -> None:
        """End every job of this host at once, until the worker has ended."""
        text = f"{self.gone_by} has said that this host is gone: ending its jobs, which other hosts have by now"
        self._context.report.event("error", None, text)
        self._context.stopping = max(self._context.stopping, 1)
        while True:
            with suppress(OSError):
                _end_all(self._layout, self._host)
            self._wake()
            if self._is_over.wait(_AGAIN):
                return


def _gone(name: str, by: str) -> GoneError:
    return GoneError(
        f"this host is gone, as {name}: {by} has said so",
        "its jobs were ended here, and other hosts have taken them",
        "to work on: queuectl worker start",
    )


def _end_all(layout: Layout, own: host.Host) -> int:
    """Kill what runs of this host, and record in each log until when it ran; how many attempts there were."""
    ended = processes.end_all(f"{own.name}.", _PATIENCE)
    now = format_time(clock.now())
    for token in ended:
        attempt = processes.parse_token(token)
        if attempt is not None:
            _, started_at, id = attempt
            with suppress(OSError):
                _note(layout, id, started_at, f"host={own.name} until={now}")
    return len(ended)


def _note(layout: Layout, id: str, started_at: datetime, text: str) -> None:
    """Write a note into the part of a log that has the start of that attempt, which is this host's."""
    from queuectl.spool.system import log_parts  # only in a shared spool

    for path in reversed(log_parts.paths(layout.log(id))):
        log = logs.open_existing(path)
        try:
            start = logs.find_start(log, started_at)
            if start is not None:
                which = f"attempt={start.attempt} started_at={format_time(started_at)}"
                logs.append_note(log, "note", f"gone {which} {text}")
                return
        finally:
            os.close(log)


def through_outages(layout: Layout, act: Callable[[], None], note: Callable[[OSError | SpoolError], None]) -> None:
    """Do it; and in a shared spool do it again for as long as its file server cannot be reached, each time with a note.

    What was under way then is left as it is, for the worker to find (`Slots.find_forgotten`).
    """
    while True:
        try:
            act()
        except (OSError, SpoolError) as error:
            cause = error if isinstance(error, OSError) else error.__cause__
            if not layout.shared or not isinstance(cause, OSError) or isinstance(cause, FileNotFoundError):
                raise
            note(error)
        else:
            return
