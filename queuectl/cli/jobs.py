"""`queuectl list`, `show` and `retry`"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from typing import Any

import click

from queuectl.cli.context import (
    complete_jobs,
    for_each,
    json_option,
    note,
    open_spool,
    print_json,
    print_table,
    shown,
)
from queuectl.core.job import Job
from queuectl.core.names import PendingName
from queuectl.core.result import State
from queuectl.core.text import format_instant, format_seconds, format_when
from queuectl.errors import UsageError
from queuectl.spool.clock import now

_PENDING, _RUNNING, _DONE, _DEAD = (State.PENDING,), (State.RUNNING,), (State.DONE,), (State.DEAD,)
_ALL = (State.RUNNING, State.PENDING, State.DEAD, State.DONE)

Where = Callable[[PendingName], bool]
WORDS: dict[str, tuple[tuple[State, ...], Where | None]] = {
    "pending": (_PENDING, None),
    "ready": (_PENDING, lambda name: name.run_at <= now()),
    "scheduled": (_PENDING, lambda name: name.run_at > now() and name.attempts == 0),
    "retrying": (_PENDING, lambda name: name.run_at > now() and name.attempts > 0),
    "running": (_RUNNING, None),
    "done": (_DONE, None),
    "dead": (_DEAD, None),
    "all": (_ALL, None),
    # what other programs of this family call them
    "queued": (_PENDING, None),
    "waiting": (_PENDING, None),
    "failed": (_PENDING, lambda name: name.attempts > 0),
    "processing": (_RUNNING, None),
    "active": (_RUNNING, None),
    "completed": (_DONE, None),
    "succeeded": (_DONE, None),
    "dlq": (_DEAD, None),
}


@click.command("list")
@click.option(
    "--state",
    default="all",
    metavar="STATE",
    shell_complete=lambda ctx, param, text: [word for word in WORDS if word.startswith(text)],
    help="pending, ready, scheduled, retrying, running, done, dead or all; also processing, completed, failed.",
)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many to show.")
@click.option("--match", metavar="TEXT", help="Only jobs whose id or command holds this text.")
@json_option
def list_(state: str, limit: int, match: str | None, as_json: bool) -> None:
    """List jobs: running and pending ones in their order, finished ones newest first.

    \b
    Example:
      queuectl list --state dead --limit 5
      queuectl list --match backup --json
    """
    if state not in WORDS:
        raise UsageError(f"no state {state!r}", hint=f"states: {' '.join(list(WORDS)[:8])}")
    states, where = WORDS[state]
    jobs = list(open_spool().list(states, limit=limit + 1, match=match, where=where))
    if as_json:
        print_json([job.to_json() for job in jobs[:limit]])
        return
    print_jobs(jobs[:limit])
    if len(jobs) > limit:
        note("there are more; see --limit, --state and --match")


def print_jobs(jobs: Iterable[Job]) -> None:
    header = ("ID", "STATE", "PRI", "TRY", "WHEN", "RESULT", "COMMAND")
    rows = [
        (job.id, job.state, f"{job.priority}", f"{job.attempts}", _when(job), _result(job), command_text(job))
        for job in jobs
    ]
    if rows:
        print_table(header, rows)
    else:
        note("no such jobs")


def _when(job: Job) -> str:
    at = job.run_at or job.started_at or job.finished_at
    assert at is not None
    return format_when(at, now())


def _result(job: Job) -> str:
    if job.result is None:
        return ""
    return f"{job.result}" if job.duration is None else f"{job.result} {format_seconds(job.duration)}"


def command_text(job: Job) -> str:
    if job.command is None:
        return f"({job.problem})"
    return job.command if isinstance(job.command, str) else shlex.join(job.command)


@click.command()
@click.argument("id", shell_complete=complete_jobs())
@json_option
def show(id: str, as_json: bool) -> None:
    """Show everything about one job. The id may be shortened.

    \b
    Example:
      queuectl show report
    """
    spool = open_spool()
    job = spool.get(id)
    if as_json:
        print_json({**job.to_json(), "log": str(spool.log_path(job.id))})
        return
    for name, value in _details(job):
        click.echo(f"{name:<12} {shown(value)}".rstrip())
    click.echo(f"{'file':<12} {shown(job.path)}")
    click.echo(f"{'log':<12} {shown(str(spool.log_path(job.id)))}")


def _details(job: Job) -> Iterable[tuple[str, str]]:
    body = job.body
    yield "id", job.id
    yield "state", f"{job.state}" + (f" ({job.result})" if job.result else "")
    yield "command", command_text(job)
    yield "priority", f"{job.priority}"
    yield "attempts", f"{job.attempts}"
    for name, at in (("starts", job.run_at), ("started", job.started_at), ("finished", job.finished_at)):
        if at is not None:
            yield name, f"{format_instant(at)} ({format_when(at, now())})"
    if job.duration is not None:
        yield "took", format_seconds(job.duration)
    if job.worker is not None:
        yield "worker", job.worker
    if body is not None:
        wanted: dict[str, Any] = {
            "timeout": None if body.timeout is None else format_seconds(body.timeout),
            "max_retries": body.max_retries,
            "cwd": body.cwd,
            "env": " ".join(f"{key}={shlex.quote(value)}" for key, value in body.env.items()) or None,
        }
        yield from ((name, f"{value}") for name, value in wanted.items() if value is not None)
        yield from (("warning", warning) for warning in body.warnings)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_jobs("dead", "done"))
def retry(ids: tuple[str, ...]) -> None:
    """Start finished jobs again, from their first attempt.

    \b
    Example:
      queuectl retry report
    """
    spool = open_spool()

    def act(id: str) -> None:
        job = spool.retry(id)
        click.echo(job.id)
        note(f"{job.id} is pending again")

    for_each(ids, act)
