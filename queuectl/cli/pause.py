"""`queuectl pause`, `resume` and `drain`"""

from __future__ import annotations

from datetime import datetime

import click

from queuectl.cli.context import json_option, note, open_spool, print_json
from queuectl.core.admission import Pause
from queuectl.core.names import is_valid_id
from queuectl.core.text import format_count, format_instant
from queuectl.core.when import parse_duration, parse_when
from queuectl.errors import UsageError
from queuectl.spool.reading.itself import itself
from queuectl.spool.reading.query import locate
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now

_until_option = click.option("--until", metavar="TIME", help='When to resume automatically: 30m, "18:30", ISO 8601.')


def describe_pause(pause: Pause) -> str:
    """`since …, until …`, for people."""
    return f"since {format_instant(pause.since)}" + (f", until {format_instant(pause.until)}" if pause.until else "")


@click.command()
@click.argument("reason", nargs=-1, metavar="[REASON...]")
@_until_option
@json_option
def pause(reason: tuple[str, ...], until: str | None, as_json: bool) -> None:
    """Stop workers from starting jobs until you resume. Running jobs continue.

    The reason is shown by `status`. A second pause replaces the first.

    \b
    Example:
      queuectl pause moving the database
      queuectl pause --until 30m
    """
    spool = open_spool(create=True)
    _pause(spool, " ".join(reason), until)
    _report(spool, as_json)
    if len(reason) == 1 and is_valid_id(reason[0]) and locate(spool.layout, reason[0]):
        note(f"this pauses every job, not only {reason[0]}; for that: queuectl hold {reason[0]}")


def _pause(spool: Spool, reason: str, until: str | None) -> None:
    at: datetime | None = parse_when(until, now()) if until is not None else None
    if at is not None and at <= now():
        raise UsageError(f"that time has passed: {until!r}", hint="try: --until 30m")
    spool.pause(reason, at)


def _report(spool: Spool, as_json: bool) -> None:
    found = spool.paused()
    if as_json:
        print_json({"paused": found.to_json() if found else None, "running": spool.counts().running})
    elif found:
        running = spool.counts().running
        note(f"paused {describe_pause(found)}")
        if found.reason:
            note(f"reason: {found.reason}")
        if running:
            note(f"{format_count(running, 'job')} still running; running jobs may finish")


@click.command()
@json_option
def resume(as_json: bool) -> None:
    """Let workers start jobs again.

    \b
    Example:
      queuectl resume
    """
    spool = open_spool()
    was_paused = spool.resume()
    if as_json:
        print_json({"paused": None, "running": spool.counts().running})
    else:
        note("queue resumed" if was_paused else "the queue was not paused")


@click.command()
@click.argument("reason", nargs=-1, metavar="[REASON...]")
@_until_option
@click.option("--timeout", metavar="TIME", help="Longest time to wait: 90, 5m, 1h30m. Then the exit code is 5.")
@json_option
def drain(reason: tuple[str, ...], until: str | None, timeout: str | None, as_json: bool) -> None:
    """Pause, and wait until no job is running.

    Once it returns, nothing runs and nothing will start until you resume. Workers stay up.

    \b
    Example:
      queuectl drain --timeout 10m && ./backup-database && queuectl resume
    """
    spool = open_spool(create=True)
    seconds = parse_duration(timeout) if timeout is not None else None
    if reason or until or not spool.is_paused():
        _pause(spool, " ".join(reason) or "drained", until)
    own = itself(spool.layout)
    is_within = own.find(spool.layout) is not None
    if is_within and not as_json:
        note(f"not waiting for {own.id}, which this command is a part of")
    running = spool.counts().running - is_within
    if running > 0 and not as_json:
        note(f"paused; waiting for {format_count(running, 'running job')}")
        _warn_of_orphans(spool)
    spool.wait_until_idle(seconds)
    _report(spool, as_json)


def _warn_of_orphans(spool: Spool) -> None:
    lost = sum(len(worker["runs"]) for worker in spool.workers() if not worker["alive"])
    if lost:
        note(f"{format_count(lost, 'job')} of dead workers: only a worker can settle them; start one")
