"""Jobs that ask for their keys, and whose submitters are gone: a worker's beat asks for them.

Without `unique/`, which the first job with a key makes, nothing is looked for.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from queuectl.lazy import function
from queuectl.work.context import Context

if TYPE_CHECKING:
    from queuectl.spool.moves.unique import Swap

SWAP: Swap = function("queuectl.spool.moves.replace", "swap")
_CLEAR_INTERVAL = 3600.0
_SHARE = 50  # of the time, the listings take a fiftieth at most


class Keys:
    """For the main thread only."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._look_at = 0.0
        self._clear_at = time.monotonic() + _CLEAR_INTERVAL

    def look(self) -> None:
        """Ask for jobs that were left asking."""
        layout = self._context.layout
        begun = time.monotonic()
        if self._context.stopping or begun < self._look_at or not os.path.isdir(layout.unique):
            return
        from queuectl.spool.moves import unique

        for name in unique.find_asking(layout):
            job = unique.finish(layout, name, SWAP)
            if job is not None:
                self._context.report.event("asked", name.id, f"it had no answer about its key; now it is {job.state}")
        self._look_at = begun + _SHARE * (time.monotonic() - begun)
        if begun >= self._clear_at:
            self._clear_at = begun + _CLEAR_INTERVAL
            unique.clear(layout, self._context.now())
