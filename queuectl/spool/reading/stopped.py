"""Which of the running jobs are stopped (`queuectl kill -s STOP`), as far as this host can see."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from queuectl.core.job import Job
from queuectl.core.names import RunningName, format_time
from queuectl.spool.system import processes


def mark_stopped(jobs: Iterable[Job]) -> list[Job]:
    """The jobs, with `is_stopped` in those that are; /proc is read once for all, and not at all if none is running."""
    found = list(jobs)
    stopped: frozenset[str] = frozenset()
    if any(isinstance(job.name, RunningName) for job in found):
        with suppress(OSError):  # out of descriptors: not known
            stopped = processes.find_stopped()
    return [job._replace(is_stopped=True) if _is_in(stopped, job) else job for job in found] if stopped else found


def _is_in(stopped: frozenset[str], job: Job) -> bool:
    return isinstance(job.name, RunningName) and f"{format_time(job.name.started_at)}:{job.id}" in stopped
