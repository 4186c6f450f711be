"""What the running jobs of a listing say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from queuectl.core.job import Job
from queuectl.core.names import RunningName
from queuectl.spool.system import progress
from queuectl.spool.system.layout import Layout


def with_progress(layout: Layout, jobs: Iterable[Job]) -> Iterator[Job]:
    """The jobs, with `progress` in the running ones that report it."""
    for job in jobs:
        text = progress.read(layout, job.name) if isinstance(job.name, RunningName) else None
        yield job if text is None else job.with_progress(text)
