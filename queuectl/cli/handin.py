"""`queuectl enqueue` for users who may only hand in jobs, through inbox/."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

from queuectl.cli.bodies import read_lines
from queuectl.cli.context import note, show_error
from queuectl.core import body
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError
from queuectl.spool.moves import dropbox
from queuectl.spool.store import with_directory
from queuectl.spool.system.layout import Layout


def hand_in(
    spool: Layout, jobs: Iterable[dict[str, Any]] | None, given: dict[str, Any], *, quiet: bool, is_awaited: bool
) -> int:
    """Put jobs (those of stdin, one a line, if None) into inbox/; the exit code. A worker assigns their ids."""
    if is_awaited:
        raise UsageError("you can hand in jobs here, but not wait for them", hint="leave out --wait")
    code = number = 0
    found: Iterable[dict[str, Any] | QueuectlError] = _lines(given) if jobs is None else jobs
    for fields in found:
        try:
            if isinstance(fields, QueuectlError):
                raise fields
            if fields.get("id") is not None:
                raise UsageError("a job that is handed in gets its id from the worker", hint="leave out its id")
            name = dropbox.hand_in(spool, with_directory(fields))
        except QueuectlError as error:
            failed = show_error(error)
            code = 1 if jobs is None else code or failed
            continue
        number += 1
        if not quiet:
            for warning in body.validate({**fields, "cwd": None}).warnings:
                note(f"warning: {warning}")
        if not quiet and jobs is not None:
            note(f"handed in as inbox/{name}; a worker will take it")
    if not number and not code:
        raise UsageError("nothing to hand in", hint="try: queuectl enqueue -- echo hello")
    if jobs is None and not quiet:
        note(f"handed in {number}; a worker will take them")
    return code


def _lines(given: dict[str, Any]) -> Iterator[dict[str, Any] | QueuectlError]:
    for place, job in read_lines(iter(sys.stdin.buffer)):
        try:
            if isinstance(job, QueuectlError):
                raise job
            fields = body.merge(job, given)
            body.validate({**fields, "cwd": None})
            yield fields
        except (NotJsonError, InvalidJobError) as error:
            yield UsageError(f"{place}: {error.what}", error.why)
