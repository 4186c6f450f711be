"""The running jobs as a table: who runs what, how long it takes and usually takes, and whether it still writes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from queuectl.core.job import Job
from queuectl.core.names import RunningName, format_time
from queuectl.core.result import State
from queuectl.dashboard.snapshot import View
from queuectl.spool.reading.progress import with_progress
from queuectl.spool.reading.usual import NEWEST, Usual, UsualReader
from queuectl.spool.system import processes
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.processes import Use

SILENT = 300.0
"""Seconds without output after which a job is called silent."""
_PATIENCE = 0.15  # seconds in which bodies are read for what is usual
_SHARED = 1.0  # seconds for which a look at the processes serves all viewers


@dataclass(frozen=True, slots=True)
class Run:
    """A running job. `host` is its worker's; `cores` how many processors it uses; `use` is None if no process of it is
    on this machine. `output_at` is when its log last grew."""

    job: Job
    host: str = ""
    elapsed: float = 0.0
    usual: Usual | None = None
    output_at: datetime | None = None
    use: Use | None = None
    cores: float | None = None

    @property
    def timeout(self) -> float | None:
        return self.job.body.timeout if self.job.body else None

    @property
    def is_late(self) -> bool:
        """Whether it has run for longer than 95 % of the jobs like it."""
        return self.usual is not None and self.elapsed > max(self.usual.p95, 1.0)

    def is_silent(self, now: datetime) -> bool:
        return self.output_at is not None and (now - self.output_at).total_seconds() > SILENT

    @property
    def share(self) -> float | None:
        """How much of its timeout, or else of what 95 % of the jobs like it take, is over: from 0 to 1."""
        limit = self.timeout or (self.usual.p95 if self.usual else None)
        return min(1.0, self.elapsed / limit) if limit else None


class RunReader:
    """Gathers what running jobs do. Thread-safe; one look at the processes serves all viewers for a second."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._usual = UsualReader(layout)
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._used: dict[str, Use] = {}
        self._cores: dict[str, float] = {}

    def runs(self, view: View, jobs: Iterable[Job], now: datetime) -> list[Run]:
        """The running ones of these jobs."""
        hosts = {worker["worker"]: f"{worker.get('host', '')}" for worker in view.workers}
        used, cores = self._look()
        deadline = time.monotonic() + _PATIENCE
        done: dict[str, Sequence[str]] = {}
        usual: dict[object, Usual | None] = {}

        def names(group: str) -> Sequence[str]:
            if group not in done:
                done[group] = view.shelves[State.DONE].select(group=group).slice(0, NEWEST)
            return done[group]

        found = []
        for job in with_progress(self._layout, jobs):
            if not isinstance(job.name, RunningName):
                continue
            token = f"{format_time(job.name.started_at)}:{job.id}"
            kind = job.id.rpartition(".")[0] or job.command
            if kind not in usual:
                usual[kind] = self._usual.usual(job, names, deadline - time.monotonic())
            found.append(
                Run(
                    job,
                    hosts.get(job.name.worker, ""),
                    max(0.0, (now - job.name.started_at).total_seconds()),
                    usual[kind],
                    self._last_output(job.id),
                    used.get(token),
                    cores.get(token),
                )
            )
        return found

    def _last_output(self, id: str) -> datetime | None:
        with suppress(OSError, OverflowError, ValueError):
            return datetime.fromtimestamp(os.lstat(self._layout.log(id)).st_mtime, UTC)
        return None

    def _look(self) -> tuple[Mapping[str, Use], Mapping[str, float]]:
        with self._lock:
            at = time.monotonic()
            passed = at - self._looked_at
            if passed >= _SHARED:
                used: dict[str, Use] = {}
                with suppress(OSError):
                    used = processes.read_use()
                self._cores = {
                    token: max(0.0, use.cpu - self._used[token].cpu) / passed
                    for token, use in used.items()
                    if token in self._used
                }
                self._used, self._looked_at = used, at
            return self._used, self._cores


def facts(run: Run, now: datetime) -> list[Any]:
    """What a page with this run depends on, in steps that a viewer would notice."""
    use = run.use and (run.use.rss >> 24, run.use.number)
    silent = run.output_at and int((now - run.output_at).total_seconds()) // 60
    return [run.job.id, run.job.progress, use, run.cores and round(run.cores, 1), silent, run.usual]
