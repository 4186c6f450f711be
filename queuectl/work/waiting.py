"""A worker's care for jobs that wait for others: the slow beat, in a thread of its own."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from queuectl.core.names import FinishedName
from queuectl.errors import QueuectlError
from queuectl.work.context import Context

if TYPE_CHECKING:
    from queuectl.spool.moves.dependents import Moved
    from queuectl.spool.upkeep.edges import Upkeep

_SHARE = 100  # of the time, it takes a hundredth at most
_LATER = 10.0  # seconds after which a spool is looked at in which nothing seems to wait


class Waiting:
    """For the main thread only; `look` returns soon."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._upkeep: Upkeep | None = None
        self._thread: threading.Thread | None = None
        self._took = 0.0  # seconds that the last look took at which anything had moved
        self._look_at = 0.0 if os.path.isdir(context.layout.after) else time.monotonic() + _LATER

    def look(self) -> None:
        """Do the beat if it is time to, in a thread."""
        if self._context.stopping or time.monotonic() < self._look_at or self.is_busy:
            return
        self._thread = threading.Thread(target=self._work, name="after", daemon=True)
        self._thread.start()

    def look_now(self) -> None:
        """Do it once, for a worker that is about to leave: then what still waits cannot start by itself."""
        if self._thread is not None:
            self._thread.join()
        self._work(may_skip=False)

    @property
    def is_busy(self) -> bool:
        """Whether it is looking right now."""
        return self._thread is not None and self._thread.is_alive()

    def _work(self, *, may_skip: bool = True) -> None:
        """Never fails: what cannot be done now is tried again."""
        from queuectl.spool.upkeep.edges import Upkeep  # spools in which nothing waits hardly need it

        begun = time.monotonic()
        if self._upkeep is None:
            self._upkeep = Upkeep(self._context.layout)
        try:
            found = self._upkeep.run(may_skip=may_skip)
            for moved in found or ():
                self._report(moved)
            if found is not None:
                self._took = time.monotonic() - begun
            self._context.report.over("after", "jobs that wait for others can be looked at again")
        except (OSError, QueuectlError) as error:
            self._context.report.once("after", "warning", f"cannot look at jobs that wait for others: {error}")
        self._look_at = begun + _SHARE * max(self._took, time.monotonic() - begun)

    def _report(self, moved: Moved) -> None:
        name = moved.place[1]
        if isinstance(name, FinishedName):
            self._context.report.event("skipped", moved.id, f"skipped, because of {moved.cause or 'nothing'}")
