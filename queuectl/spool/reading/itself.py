"""The attempt that this process belongs to, if a job started it: what waits for that would wait for itself.

The environment says which one it is. A process that outlives its attempt belongs to none, even if the job runs again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from queuectl.core.job import Job
from queuectl.core.names import Name, RunningName, format_time
from queuectl.core.result import State
from queuectl.errors import UsageError
from queuectl.spool.reading import query
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.processes import TOKEN


class Itself(NamedTuple):
    """An attempt, or (with an empty id) none."""

    id: str
    started_at: str

    def runs(self, name: Name | None) -> bool:
        """Whether that is its name in running/, under whatever worker."""
        return isinstance(name, RunningName) and name.id == self.id and format_time(name.started_at) == self.started_at

    def find(self, layout: Layout) -> RunningName | None:
        """Its name in running/; None if it is over, or none."""
        names = map(RunningName.parse, query.list_names(layout, State.RUNNING) if self.id else ())
        return next((name for name in names if self.runs(name)), None)

    def refuse_to_wait(self, jobs: Iterable[Job]) -> None:
        """Raises UsageError if its job is among them."""
        if any(self.runs(job.name) for job in jobs):
            raise UsageError(f"job {self.id} would wait for itself", "this command is a part of it")


def itself(layout: Layout) -> Itself:
    """The attempt of a job of this spool that started this process."""
    parts = os.environ.get(TOKEN, "").split(":")
    try:
        if len(parts) == 3 and os.path.samefile(os.environ.get("QUEUECTL_SPOOL", ""), layout.root):
            return Itself(parts[2], parts[1])
    except OSError:
        pass
    return Itself("", "")
