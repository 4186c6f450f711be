"""The note in a job's log that says who asked for an action on it, in the dashboard.

    #queuectl note asked attempt=4 at=2026-11-24T03:43:00.120Z action=retry by="ops"

It is written before the action, so what the action adds to the log comes after it; nothing depends on it. `attempt` is
how many attempts were made so far, `by` the name of the token, empty without one.
"""

from __future__ import annotations

import os
from contextlib import suppress

from queuectl.core.job import Job
from queuectl.core.names import format_rfc3339
from queuectl.spool.system import logs
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout


def append(layout: Layout, job: Job, action: str, by: str) -> None:
    """Record it; does nothing if the job has no log, or the disk is full."""
    with suppress(OSError):
        log = logs.open_existing(layout.log(job.id))
        try:
            text = f"asked attempt={job.attempts} at={format_rfc3339(now())} action={action} by={logs.quote(by)}"
            logs.append_note(log, "note", text, is_running=job.started_at is not None)
        finally:
            os.close(log)
