"""`queuectl hold`, `release` and `first`"""

from __future__ import annotations

from typing import Any

import click

from queuectl.cli.context import open_spool
from queuectl.cli.targets import Verb, act
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.when import parse_when
from queuectl.spool.system.clock import now

_HOLD = Verb("hold", "held", (State.PENDING,), "pending")
_FIRST = Verb("put first", "first in line", (State.PENDING,), "pending")
_RELEASE = Verb("release", "released", (State.PENDING, State.DONE, State.DEAD), "held")


@click.command()
@_HOLD.options()
def hold(**given: Any) -> None:
    """Keep waiting jobs from starting until they are released.

    \b
    Example:
      queuectl hold report
      queuectl hold --match rsync --yes
    """
    spool = open_spool()
    act(spool, _HOLD, given, spool.hold)


@click.command()
@click.option("--at", metavar="TIME", help='When they may start: "18:30", "tomorrow 09:00", 5m, ISO 8601.')
@_RELEASE.options()
def release(at: str | None, **given: Any) -> None:
    """Release held jobs, and those that wait for others.

    Without --at a job starts at the time it was submitted for, if that is still to come, else as soon
    as there is a free slot. A held job that waits for others waits again; one that waits, or was
    skipped, is let go whatever becomes of the others.

    \b
    Example:
      queuectl release report
      queuectl release --all --at "tomorrow 09:00"
    """
    spool = open_spool()
    run_at = parse_when(at, now()) if at is not None else None
    act(spool, _RELEASE, given, lambda id: spool.release(id, run_at=run_at))


@click.command()
@_FIRST.options()
def first(**given: Any) -> None:
    """Put waiting jobs first in line, in the order given.

    Jobs selected by filters keep their order. Each gets the priority of the job that was first, unless
    its own is better, and an earlier time. A held or scheduled job becomes due.

    \b
    Example:
      queuectl first report
      queuectl first --match '^deploy' --yes
    """
    spool = open_spool()
    before: Job | None = None

    def put_first(id: str | Job) -> Job:
        nonlocal before
        before = spool.first(id, ahead_of=before)
        return before

    act(spool, _FIRST, given, put_first, is_backwards=True)
