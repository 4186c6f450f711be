"""Deleting finished jobs and their logs: the only code that does.

The log is locked while its job goes, so that nobody can reserve the id in between and lose the log to
this. CRASH: between the two the log is left alone, which frees the id just the same (tests/spool/test_prune.py).
"""

from __future__ import annotations

import os
from datetime import datetime

from queuectl.core.names import FinishedName, format_time
from queuectl.core.result import State
from queuectl.spool import files, lease, logs, query
from queuectl.spool.layout import Layout


def delete(layout: Layout, state: State, name: FinishedName) -> bool:
    """Delete a finished job and its log; False if it has moved on, or a process of it still lives."""
    path = layout.log(name.id)
    log = logs.open_log(path)
    try:
        if not lease.try_lock(log) or not files.remove(layout.job(state, name)):
            return False
        files.remove(path)
        return True
    finally:
        os.close(log)


def prune_done(layout: Layout, before: datetime) -> int:
    """Delete the done jobs that finished before that instant; how many there were."""
    limit = format_time(before)
    old = [text for names in query.iterate_names(layout, State.DONE) for text in names if text[:20] < limit]
    names = (FinishedName.parse(text) for text in old)
    return sum(delete(layout, State.DONE, name) for name in names if name is not None)
