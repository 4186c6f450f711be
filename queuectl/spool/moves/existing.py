"""Submitting a job under an id that another one has: `if_exists` says what becomes of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from queuectl.core import body
from queuectl.core.job import ExistingJob, Job
from queuectl.core.names import PendingName
from queuectl.core.result import State
from queuectl.core.unique import IfExists
from queuectl.errors import AlreadyExistsError, NotFoundError, QueuectlError, WrongStateError
from queuectl.spool.moves.reserved import IdInFlightError, UnwantedError
from queuectl.spool.moves.unique import Swap
from queuectl.spool.reading import query
from queuectl.spool.system.layout import Layout

_PATIENCE = 5.0
"""Seconds for which a submit waits until it is known what becomes of another one of its id."""
_LOOK_AGAIN = 0.005


def resolve(
    layout: Layout, fields: Mapping[str, Any], error: AlreadyExistsError, swap: Swap, *, is_held: bool = False
) -> Job | QueuectlError:
    """What becomes of a job whose id is taken: the job of that id, or that error.

    Without `if_exists` a job with a key is left out for the very job of its id, if that has the key.
    """
    content = body.validate(fields)
    how = content.if_exists
    if isinstance(error, UnwantedError) or content.id is None or (how is None and content.unique is None):
        return error
    id = content.id_with("")
    try:
        job = _wait_for(layout, id, error)
        if how is None:
            has_key = content.unique is not None and _has_key(job, content.unique)
            return ExistingJob.of(job, is_replaced=False, key=content.unique) if has_key else error
        if how is IfExists.SKIP:
            return ExistingJob.of(job, is_replaced=False)
        if how is IfExists.REPLACE and job.state is State.PENDING:
            return ExistingJob.of(swap(layout, id, fields, is_held, None), is_replaced=True)
    except WrongStateError as failure:
        return AlreadyExistsError(error.what, failure.what, error.hint)
    except QueuectlError as failure:
        return failure
    return error


def _has_key(job: Job, key: str) -> bool:
    return job.body is not None and job.body.unique == key and job.state in (State.PENDING, State.RUNNING)


def _wait_for(layout: Layout, id: str, error: AlreadyExistsError) -> Job:
    """The job of that id, once another process that submits it right now has done so."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        place = query.locate(layout, id)
        job = query.load(layout, *place) if place else None
        is_asking = job is not None and isinstance(job.name, PendingName) and job.name.is_asking
        if job is not None and not is_asking:
            return job
        if not (isinstance(error, IdInFlightError) or is_asking) or time.monotonic() > deadline:
            raise error if job is None else NotFoundError(f"job {id} is being submitted", hint="try again later")
        time.sleep(_LOOK_AGAIN)
