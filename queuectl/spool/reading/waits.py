"""How long ended jobs had waited to start: from the time at which each could, to its last attempt, as its log says.

A log is read once: what is found is kept by the name of the job's file, which says when and how it ended.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable

from queuectl.core.names import FinishedName
from queuectl.spool.system import files, logs
from queuectl.spool.system.layout import Layout

_KEPT = 20_000


class WaitReader:
    """Knows the waits of ended jobs. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._waits: dict[str, float | None] = {}

    def waits(self, names: Iterable[str], patience: float = float("inf")) -> tuple[list[float], int]:
        """The seconds that the jobs of these names in done/ or dead/ had waited, as far as logs say it; and how many
        logs could not be read in `patience` seconds."""
        deadline = time.monotonic() + patience
        found, unread = [], 0
        for name in names:
            if name not in self._waits:
                if time.monotonic() > deadline:
                    unread += 1
                    continue
                self._keep(name)
            waited = self._waits.get(name)
            if waited is not None:
                found.append(waited)
        return found, unread

    def _keep(self, name: str) -> None:
        waited = self._read(name)
        with self._lock:
            if len(self._waits) >= _KEPT:
                self._waits.clear()
            self._waits[name] = waited

    def _read(self, name: str) -> float | None:
        parsed = FinishedName.parse(name)
        if parsed is None:
            return None
        try:
            log = files.open_regular(self._layout.log(parsed.id))
        except OSError:
            return None
        try:
            return logs.last_use(log)[1]
        finally:
            os.close(log)
