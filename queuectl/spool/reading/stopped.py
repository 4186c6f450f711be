"""Which of the running jobs are stopped (`queuectl kill -s STOP`), as far as this host can see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from queuectl.core.job import Job
from queuectl.core.names import RunningName, format_time
from queuectl.spool.system import processes


def mark_stopped(jobs: Iterable[Job]) -> Iterator[Job]:
    """The jobs, with `is_stopped` in those that are; /proc is read once, when the first running one comes."""
    stopped: frozenset[str] | None = None
    for job in jobs:
        if not isinstance(job.name, RunningName):
            yield job
            continue
        if stopped is None:
            stopped = frozenset()
            with suppress(OSError):  # out of descriptors: not known
                stopped = processes.find_stopped()
        is_stopped = f"{format_time(job.name.started_at)}:{job.id}" in stopped
        yield job.as_stopped() if is_stopped else job
