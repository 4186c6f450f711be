"""The worker's part in the outbox: which jobs of other users have moved on, for the thread of the drop box to say.

Slots note what they do to such jobs, which costs a look into a set; a look at all entries at each beat, for a twentieth
of the time at most, finds what other processes have done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from queuectl.core.names import Name
from queuectl.core.outbox import TAKEN, Entry
from queuectl.core.result import State
from queuectl.spool.moves import outbox
from queuectl.spool.system.layout import Layout

_SHARE = 20
_TRY_AGAIN = 0.1


class Outbox:
    """Of one worker. `note` is for any thread; all else is for the thread of the drop box."""

    def __init__(self) -> None:
        self.ring: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._ids: set[str] = set()
        self._moved: dict[str, tuple[State, Name]] = {}
        self._looked = outbox.Looked()
        self._must_look = False
        self._note_from = self._look_from = float("-inf")

    def note(self, state: State, name: Name) -> None:
        """This worker has moved a job there."""
        if name.id in self._ids:
            with self._lock:
                self._moved[name.id] = state, name
            self.ring()

    def expect(self, id: str) -> None:
        """A taken file is about to become that job."""
        self._ids.add(id)
        self._looked.names.setdefault(id, str(Entry(id, TAKEN)))

    def made(self, state: State, name: Name) -> None:
        """A taken file has become that job, which a slot may have moved on already."""
        with self._lock:
            self._moved.setdefault(name.id, (state, name))

    def must_look(self) -> None:
        """Look at all entries; for the main thread, at each beat."""
        self._must_look = True

    def next_look(self) -> float:
        """When there is something to say, on the monotonic clock."""
        note_at = self._note_from if self._moved else float("inf")
        return min(note_at, self._look_from if self._must_look else float("inf"))

    def look(self, layout: Layout) -> None:
        """Say what is known, and look at all entries when it is time for that."""
        begun = time.monotonic()
        if begun < self.next_look():
            return
        if not outbox.has(layout):
            self._must_look, self._moved = False, {}
            return
        with self._lock:
            moved, self._moved = self._moved, {}
        if moved and not outbox.note(layout, self._looked, moved.values()):
            with self._lock:
                self._moved = moved | self._moved
            self._note_from = begun + _TRY_AGAIN
            return
        if self._must_look and begun >= self._look_from:
            self._must_look = not outbox.look(layout, self._looked, time.time())
            self._ids = set(self._looked.names)
            now = time.monotonic()
            self._look_from = now + max(_TRY_AGAIN if self._must_look else 0.0, (now - begun) * _SHARE)

    def try_again(self) -> None:
        """Look at all entries in a moment, as something has failed."""
        self._must_look = True
        self._note_from = self._look_from = time.monotonic() + 1.0

    def finish(self, layout: Layout) -> None:
        """Say what is known, before the worker ends."""
        if self._moved and outbox.has(layout):
            outbox.note(layout, self._looked, self._moved.values())
