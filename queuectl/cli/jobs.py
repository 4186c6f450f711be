"""`queuectl list` and `retry`"""

from __future__ import annotations

import shlex
from collections.abc import Callable

import click

from queuectl.cli.context import complete_jobs, for_each, json_option, note, open_spool, print_json, print_table
from queuectl.core.job import Job
from queuectl.core.names import PendingName
from queuectl.core.result import State
from queuectl.core.text import format_age, format_seconds
from queuectl.errors import UsageError
from queuectl.spool.clock import now

_PENDING, _RUNNING, _DONE, _DEAD = (State.PENDING,), (State.RUNNING,), (State.DONE,), (State.DEAD,)
_ALL = (State.RUNNING, State.PENDING, State.DEAD, State.DONE)

AGAIN = "pending again"
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
@click.option("--limit", type=click.IntRange(1), default=20, metavar="N", help="How many to show; 20 if not given.")
@click.option("--match", metavar="TEXT", help="Only jobs whose id or command holds this text.")
@json_option
def list_(state: str, limit: int, match: str | None, as_json: bool) -> None:
    """List jobs, with what they are and how they ended.

    Running and pending ones come in their order, finished ones newest first. TRY is the number of
    attempts; WHEN is when a job starts, started or ended.

    \b
    Example:
      queuectl list --state dead --limit 5
      queuectl list --match backup --json
    """
    if state not in WORDS:
        raise UsageError(f"no state {state!r}", hint=f"states: {' '.join(list(WORDS)[:8])}")
    states, where = WORDS[state]
    jobs = list(open_spool().list(states, limit=limit + 1, match=match, where=where))
    print_jobs(jobs, limit, as_json, empty="no such jobs")


def print_jobs(jobs: list[Job], limit: int, as_json: bool, *, without: tuple[str, ...] = (), empty: str) -> None:
    """Print up to `limit` of the jobs and say whether there are more; `empty` is said when there are none."""
    columns = {name: column for name, column in _COLUMNS.items() if name not in without}
    if as_json:
        print_json([job.to_json() for job in jobs[:limit]])
    elif jobs:
        print_table(tuple(columns), [tuple(column(job) for column in columns.values()) for job in jobs[:limit]])
    else:
        note(empty)
    if len(jobs) > limit:
        note(f"there are more than {limit}; see --limit")


def _when(job: Job) -> str:
    at = job.run_at or job.started_at or job.finished_at
    return format_age(at, now()) if at else ""


def _took(job: Job) -> str:
    return "" if job.duration is None else format_seconds(job.duration)


def command_text(job: Job) -> str:
    if job.command is None:
        return f"({job.problem})"
    return job.command if isinstance(job.command, str) else shlex.join(job.command)


_COLUMNS: dict[str, Callable[[Job], str]] = {
    "ID": lambda job: job.id,
    "STATE": lambda job: job.state,
    "PRI": lambda job: f"{job.priority}",
    "TRY": lambda job: f"{job.attempts}",
    "WHEN": _when,
    "RESULT": lambda job: f"{job.result or ''}",
    "TOOK": _took,
    "COMMAND": command_text,
}


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_jobs("dead", "done"))
def retry(ids: tuple[str, ...]) -> None:
    """Start finished jobs again, from their first attempt.

    \b
    Example:
      queuectl retry report
    """
    for_each(ids, open_spool().retry, AGAIN)
