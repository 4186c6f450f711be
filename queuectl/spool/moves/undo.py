"""Undoing what was done to one job by hand: a retry, a cancel while it waited, or a change of its name in pending/.

The job gets back the very name that it had, and so its place, its attempts and its result. What has happened since is
never undone: only the file that the action left, under the name that it left, and with the same fields, is moved. It is
locked for that as for a change of its body (`edit`), so a change is seen or comes too late.

CRASH: before the rename nothing has happened, after it all but the line in the log (tests/spool/moves/test_undo.py).
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from queuectl.core import body, lifecycle
from queuectl.core.job import Job
from queuectl.core.names import FinishedName, PendingName, RunningName, format_rfc3339
from queuectl.errors import QueuectlError, WrongStateError
from queuectl.spool.moves import dependents, edit, entry, holders, unique
from queuectl.spool.system import files, logs
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout, unusable

_PATIENCE = 1.0
"""Seconds for which an undo waits for a change of the job's body."""


class MovedError(WrongStateError):
    """The job no longer has the name that is to be undone: it has started, or was moved or deleted."""

    def __init__(self, id: str) -> None:
        super().__init__(f"{id} was left as it is", "it has started, or was moved or deleted since")


def undo(layout: Layout, before: Job, after: Job) -> Job:
    """Move a job that an action moved from `before` to `after` back; the job as it is then.

    Raises WrongStateError (MovedError if it no longer has that name), and leaves the job as it is, if it has started,
    ended, been moved, edited or deleted since, if it was running before or was given another id, or if its former name
    is taken.
    """
    if isinstance(before.name, RunningName) or isinstance(after.name, RunningName):
        raise WrongStateError(f"{after.id} cannot be put back", "what has run cannot be undone")
    if before.id != after.id:
        raise WrongStateError(f"{after.id} cannot be put back", f"it was {before.id}, and has got its own id since")
    if (before.state, before.name) == (after.state, after.name):
        return after
    move = lifecycle.undo(before.state, before.name)
    try:
        with edit.locked(after, time.monotonic() + _PATIENCE) as content:
            if content is None:
                raise MovedError(after.id)
            if _fields(content.data) != before.fields:
                raise WrongStateError(f"{after.id} was left as it is", "it was edited since")
            if isinstance(before.name, PendingName) and isinstance(after.name, FinishedName):
                holders.require_free(layout, after)
            # RACE: no change of its body from here on; a claim decides by its rename (tests/spool/moves/test_undo.py).
            if not _move(layout, after, move):
                raise MovedError(after.id)
    except FileExistsError:
        raise WrongStateError(f"{after.id} was left as it is", f"there is another {move.state}/{move.name}") from None
    except OSError as error:
        raise unusable(layout.root, error) from error
    if isinstance(before.name, FinishedName):
        _note(layout, before.id)
    _inform(layout, before, after, move)
    return Job(before.state, before.name, layout.job(*move), before.body, before.fields, before.problem, before.owner)


def _move(layout: Layout, after: Job, move: lifecycle.Move) -> bool:
    """Give the job its former name; one with a key that had ended asks for that first."""
    if not (isinstance(move.name, PendingName) and isinstance(after.name, FinishedName)):
        return files.move_new(after.path, layout.job(*move))
    if after.body is None or after.body.unique is None:
        return files.move_new(after.path, layout.job(*move))
    with os.fdopen(logs.open_log(layout.log(after.id)), "rb") as log:
        unique.bring_back(layout, after, log.fileno(), move)
    return True


def _inform(layout: Layout, before: Job, after: Job, move: lifecycle.Move) -> None:
    """Let those know that wait for the job, and let it wait again if it did."""
    if isinstance(before.name, FinishedName) or isinstance(after.name, FinishedName):
        dependents.inform(layout, before.id, move)
    if dependents.is_waiting(before.name):  # its edges went when it was cancelled or released
        entry.make_wait(layout, before.name, body.encode(before.fields or {}))  # type: ignore[arg-type]


def _fields(data: bytes) -> dict[str, object] | None:
    try:
        return body.decode(data)
    except QueuectlError:
        return None


def _note(layout: Layout, id: str) -> None:
    """Record in the log that the retry in front of this line was undone. Nothing depends on it."""
    with suppress(OSError):
        log = logs.open_existing(layout.log(id))
        try:
            logs.append_note(log, "note", f"retry undone at={format_rfc3339(now())}")
        finally:
            os.close(log)
