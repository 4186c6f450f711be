"""`queuectl enqueue` for users who may only hand in jobs, through inbox/."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from queuectl.cli.bulk import Lines
from queuectl.cli.context import note, only_handed_in, own_entries, show_error
from queuectl.core import body
from queuectl.errors import QueuectlError, UsageError
from queuectl.spool.moves import dropbox
from queuectl.spool.store import with_directory
from queuectl.spool.system.layout import Layout


def hand_in(
    spool: Layout,
    jobs: Iterable[Mapping[str, Any]] | None,
    lines: Lines | None,
    *,
    quiet: bool,
    is_awaited: bool,
    is_held: bool = False,
) -> int:
    """Put jobs (those of `lines`, if given) into inbox/; the exit code. A worker assigns their ids."""
    if is_awaited:
        raise only_handed_in(spool)
    if is_held:
        raise UsageError("you can hand in jobs here, but not hold them", hint="leave out --hold")
    code = number = 0
    found: Iterable[Mapping[str, Any] | QueuectlError] = _unwrap(lines) if lines else jobs or ()
    for fields in found:
        try:
            if isinstance(fields, QueuectlError):
                raise fields
            if fields.get("id") is not None:
                raise UsageError("a job that is handed in gets its id from the worker", hint="leave out its id")
            name = dropbox.hand_in(spool, with_directory(fields))
        except QueuectlError as error:
            failed = show_error(error)
            code = 1 if lines else code or failed
            continue
        number += 1
        if not quiet:
            for warning in body.validate({**fields, "cwd": None}).warnings:
                note(f"warning: {warning}")
        if not quiet and not lines:
            note(f"handed in as inbox/{name}; a worker will take it")
            _say_how_to_see(spool, "it", f"grep -l {name} {shlex.quote(spool.outbox)}/*")
    if not number and not code:
        raise UsageError("nothing to hand in", hint="try: queuectl enqueue -- echo hello")
    if lines and not quiet:
        note(f"handed in {number}; a worker will take them")
        _say_how_to_see(spool, "them", own_entries(spool))
    return code


def _say_how_to_see(spool: Layout, which: str, line: str) -> None:
    """Name the command line that shows what becomes of jobs, if there is an outbox."""
    if os.access(spool.outbox, os.R_OK | os.X_OK):
        note(f"to see what becomes of {which}: {line}")


def _unwrap(lines: Lines) -> Iterator[Mapping[str, Any] | QueuectlError]:
    for place, fields in lines.with_directories():
        if isinstance(fields, QueuectlError):
            yield UsageError(f"{place.text}: {fields.what}", fields.why, fields.hint)
        else:
            yield fields
