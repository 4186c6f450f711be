"""A worker's care for jobs that wait for others: the slow beat, in a thread of its own."""

from __future__ import annotations

import threading
import time

from queuectl.core.names import FinishedName
from queuectl.errors import QueuectlError
from queuectl.spool.moves.dependents import Moved
from queuectl.spool.upkeep.edges import Upkeep
from queuectl.work.context import Context

_SHARE = 100  # of the time, it takes a hundredth at most


class Waiting:
    """For the main thread only; `look` returns soon."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._upkeep = Upkeep(context.spool.layout)
        self._thread: threading.Thread | None = None
        self._look_at = 0.0

    def look(self) -> None:
        """Do the beat if it is time to, in a thread."""
        if self._context.stopping or time.monotonic() < self._look_at or self._is_busy:
            return
        self._thread = threading.Thread(target=self._work, name="after", daemon=True)
        self._thread.start()

    def look_now(self) -> None:
        """Do it once, for a worker that is about to leave: then what still waits cannot start by itself."""
        if self._thread is not None:
            self._thread.join()
        self._work()

    @property
    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        """Never fails: what cannot be done now is tried again."""
        begun = time.monotonic()
        try:
            for moved in self._upkeep.run():
                self._report(moved)
            self._context.report.over("after", "jobs that wait for others can be looked at again")
        except (OSError, QueuectlError) as error:
            self._context.report.once("after", "warning", f"cannot look at jobs that wait for others: {error}")
        self._look_at = begun + _SHARE * (time.monotonic() - begun)

    def _report(self, moved: Moved) -> None:
        name = moved.place[1]
        if isinstance(name, FinishedName):
            self._context.report.event("skipped", moved.id, f"skipped, because of {moved.cause or 'nothing'}")
