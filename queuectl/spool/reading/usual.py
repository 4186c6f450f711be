"""How long jobs like one usually take: those of its group, or those with the same command but for numbers and paths.

Durations are in the names of done jobs; commands in their bodies, of which the newest few are read once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from queuectl.core import groups
from queuectl.core.folding import fold
from queuectl.core.job import Job
from queuectl.core.names import FinishedName
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.reading.filters import command_line
from queuectl.spool.reading.metrics import percentile
from queuectl.spool.system.layout import Layout

NEWEST = 300
"""Done jobs that are looked at."""
LEAST = 3
"""Jobs of which there is no usual duration if there are fewer."""


class Usual(NamedTuple):
    """Seconds that half of `number` jobs, and 95 % of them, do not exceed; `of` is the group, empty for a command."""

    p50: float
    p95: float
    number: int
    of: str = ""


class UsualReader:
    """Knows the usual durations of jobs. Thread-safe."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._commands: dict[str, str] = {}

    def usual(self, job: Job, done: Callable[[str], Sequence[str]], patience: float = float("inf")) -> Usual | None:
        """How long jobs like this one take; None if too few like it are done, or known after `patience` seconds.

        `done` gives the names of the newest done jobs of a group (empty: of all), NEWEST at most.
        """
        for group in reversed(groups.of(job.id)):
            found = _measure((FinishedName.parse(name) for name in done(group)), group)
            if found is not None:
                return found
        wanted = fold(command_line(job))
        deadline = time.monotonic() + patience
        same = (name for name in done("") if self._command(name, deadline) == wanted)
        return _measure(map(FinishedName.parse, same), "") if wanted else None

    def _command(self, name: str, deadline: float) -> str | None:
        found = self._commands.get(name)
        if found is None and time.monotonic() < deadline:
            job = query.load(self._layout, State.DONE, name)
            found = fold(command_line(job)) if job is not None else ""
            with self._lock:
                if len(self._commands) >= 10 * NEWEST:
                    self._commands.clear()
                self._commands[name] = found
        return found


def _measure(names: Iterable[FinishedName | None], group: str) -> Usual | None:
    durations = Counter(round(name.duration * 1000) for name in names if name is not None)
    p50, p95 = percentile(durations, 0.50), percentile(durations, 0.95)
    if durations.total() < LEAST or p50 is None or p95 is None:
        return None
    return Usual(p50, p95, durations.total(), group)
