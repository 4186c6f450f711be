"""The attempt that this process belongs to, if a job started it: what waits for that would wait for itself.

The environment says which one it is. If the worker of that attempt was itself started by a job, the process is a part
of that one too. A process that outlives its attempt belongs to none, even if the job runs again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from queuectl.core.job import Job
from queuectl.core.names import Name, RunningName, format_time
from queuectl.core.result import State
from queuectl.errors import UsageError
from queuectl.spool.reading import query
from queuectl.spool.system import processes
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.processes import TOKEN
from queuectl.tuples import NamedTuple


class Itself(NamedTuple):
    """An attempt, or (with an empty id) none."""

    id: str
    started_at: str
    outer: tuple[tuple[str, str], ...] = ()
    """The ids and times of the attempts around it, which wait for its worker."""

    def runs(self, name: Name | None) -> bool:
        """Whether that is the name in running/, under whatever worker, of an attempt that this process is a part of."""
        if not isinstance(name, RunningName):
            return False
        return (name.id, format_time(name.started_at)) in ((self.id, self.started_at), *self.outer)

    def find(self, layout: Layout) -> list[RunningName]:
        """The names in running/ of the attempts that this process is a part of, the one that started first before."""
        names = map(RunningName.parse, sorted(query.list_names(layout, State.RUNNING)) if self.id else ())
        return [name for name in names if name is not None and self.runs(name)]

    def refuse_to_wait(self, jobs: Iterable[Job]) -> None:
        """Raises UsageError if its job is among them."""
        own = next((job for job in jobs if self.runs(job.name)), None)
        if own is not None:
            raise UsageError(f"job {own.id} would wait for itself", "this command is a part of it")


def itself(layout: Layout) -> Itself:
    """The attempt of a job of this spool that started this process."""
    parts = os.environ.get(TOKEN, "").split(":")
    try:
        if len(parts) == 3 and os.path.samefile(os.environ.get("QUEUECTL_SPOOL", ""), layout.root):
            outer = [token.split(":") for token in processes.outer_tokens()]
            return Itself(parts[2], parts[1], tuple((words[2], words[1]) for words in outer if len(words) == 3))
    except OSError:
        pass
    return Itself("", "")
