"""`queuectl pause`, `resume` and `drain`"""

from __future__ import annotations

import os
import shlex
from datetime import datetime
from typing import Any

import click

from queuectl.cli.context import json_option, note, one_group, one_group_option, open_spool, print_json
from queuectl.core import groups
from queuectl.core.admission import Pause
from queuectl.core.names import is_valid_id
from queuectl.core.text import format_count, format_instant
from queuectl.core.when import parse_duration, parse_when
from queuectl.errors import UsageError
from queuectl.spool.reading.groups import Tally, count
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
@one_group_option
@json_option
def pause(reason: tuple[str, ...], until: str | None, group: str, as_json: bool) -> None:
    """Stop workers from starting jobs until you resume. Running jobs continue.

    The reason is shown by `status`. A second pause replaces the first. With --group, jobs of that group are not
    started; others are.

    \b
    Example:
      queuectl pause moving the database
      queuectl pause --until 30m
      queuectl pause --group gpu new driver
    """
    group = one_group(group)
    spool = _open("pause", reason, group)
    pause_group(spool, group, reason, until, as_json)
    if not group and len(reason) == 1 and is_valid_id(reason[0]):
        _warn_of_name(spool, reason[0])


def pause_group(spool: Spool, group: str, reason: tuple[str, ...], until: str | None, as_json: bool) -> None:
    """Pause a group, or the queue for "", and report it."""
    _pause(spool, " ".join(reason), until, group)
    _report(spool, as_json, group)


def _open(verb: str, reason: tuple[str, ...], group: str) -> Spool:
    """The spool; raises UsageError for a reason that is a group, or begins with one that there is.

    Who typed `pause gpu.` did not mean the whole queue.
    """
    name = reason[0][:-1] if reason and not group and reason[0].endswith(".") else ""
    is_meant = groups.is_name(name) and (len(reason) == 1 or _is_known(open_spool(create=True), name))
    if is_meant:
        raise UsageError(
            f"{' '.join(reason)} would be the reason for which every job waits", "nothing is paused",
            f"to {verb} the group: {shlex.join(['queuectl', verb, '--group', name, *reason[1:]])}",
        )  # fmt: skip
    return open_spool(create=True)


def _is_known(spool: Spool, group: str) -> bool:
    """Whether a group has settings or jobs."""
    return os.path.isdir(spool.layout.group(group)) or bool(count(spool.layout, group))


def _warn_of_name(spool: Spool, name: str) -> None:
    """Say what was paused to whoever meant the job or the group of a name."""
    if locate(spool.layout, name):
        note(f"this pauses every job, not only {name}; for that: queuectl hold {name}")
    elif _is_known(spool, name):
        note(f"this pauses every job, not only those of {name}; for that: queuectl pause --group {name}")


def _pause(spool: Spool, reason: str, until: str | None, group: str) -> None:
    at: datetime | None = parse_when(until, now()) if until is not None else None
    if at is not None and at <= now():
        raise UsageError(f"that time has passed: {until!r}", hint="try: --until 30m")
    spool.pause(reason, at, group=group)


def _report(spool: Spool, as_json: bool, group: str) -> None:
    found = spool.paused(group=group)
    running = _count_running(spool, group)
    if as_json:
        print_json(_to_json(found, running, group))
    elif found:
        note(f"{f'the group {group} is ' if group else ''}paused {describe_pause(found)}")
        if found.reason:
            note(f"reason: {found.reason}")
        if running:
            note(f"{format_count(running, 'job')} still running; running jobs may finish")


def _count_running(spool: Spool, group: str) -> int:
    return count(spool.layout, group).get(group, Tally()).running if group else spool.counts().running


def _to_json(pause: Pause | None, running: int, group: str) -> dict[str, Any]:
    return {"paused": pause.to_json() if pause else None, "running": running, "group": group or None}


@click.command()
@one_group_option
@json_option
def resume(group: str, as_json: bool) -> None:
    """Let workers start jobs again, all or those of a group.

    \b
    Example:
      queuectl resume
      queuectl resume --group gpu
    """
    resume_group(open_spool(), one_group(group), as_json)


def resume_group(spool: Spool, group: str, as_json: bool) -> None:
    """Resume a group, or the queue for "", and report it."""
    was_paused = spool.resume(group=group)
    if as_json:
        print_json(_to_json(spool.paused(group=group), _count_running(spool, group), group))
    elif group:
        note(f"group {group} resumed" if was_paused else f"the group {group} was not paused")
    else:
        note("queue resumed" if was_paused else "the queue was not paused")


@click.command()
@click.argument("reason", nargs=-1, metavar="[REASON...]")
@_until_option
@click.option("--timeout", metavar="TIME", help="Longest time to wait: 90, 5m, 1h30m. Then the exit code is 5.")
@one_group_option
@json_option
def drain(reason: tuple[str, ...], until: str | None, timeout: str | None, group: str, as_json: bool) -> None:
    """Pause, and wait until no job is running.

    Once it returns, nothing (of the group) runs and nothing will start until you resume. Workers stay up.

    \b
    Example:
      queuectl drain --timeout 10m && ./backup-database && queuectl resume
    """
    group = one_group(group)
    spool = _open("drain", reason, group)
    seconds = parse_duration(timeout) if timeout is not None else None
    if reason or until or spool.paused(group=group) is None:
        _pause(spool, " ".join(reason) or "drained", until, group)
    own = itself(spool.layout)
    around = [name.id for name in own.find(spool.layout) if not group or groups.is_in(name.id, group)]
    if around and not as_json:
        note(f"not waiting for {' and '.join(around)}, which this command is a part of")
    running = _count_running(spool, group) - len(around)
    if running > 0 and not as_json:
        note(f"paused; waiting for {format_count(running, 'running job')}")
        _warn_of_orphans(spool)
    spool.wait_until_idle(seconds, group=group)
    _report(spool, as_json, group)


def _warn_of_orphans(spool: Spool) -> None:
    lost = sum(len(worker["runs"]) for worker in spool.workers() if not worker["alive"])
    if lost:
        note(f"{format_count(lost, 'job')} of dead workers: only a worker can settle them; start one")
