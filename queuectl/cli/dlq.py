"""`queuectl dlq`: the dead letters"""

from __future__ import annotations

import click

from queuectl.cli.context import complete_jobs, for_each, json_option, note, open_spool, print_json, print_table
from queuectl.cli.jobs import command_text
from queuectl.core.result import State
from queuectl.core.text import format_when
from queuectl.errors import QueuectlError, UsageError
from queuectl.spool.clock import now


@click.group()
def dlq() -> None:
    """Look at the dead letters (jobs that gave up), retry them, or drop them."""


@dlq.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="How many to show.")
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List the dead letters, newest first.

    \b
    Example:
      queuectl dlq list
    """
    jobs = list(open_spool().list((State.DEAD,), limit=limit + 1))
    if as_json:
        print_json([job.to_json() for job in jobs[:limit]])
    elif jobs:
        rows = [
            (
                job.id,
                f"{job.result}",
                f"{job.attempts}",
                format_when(job.finished_at or now(), now()),
                command_text(job),
            )
            for job in jobs[:limit]
        ]
        print_table(("ID", "RESULT", "TRIES", "WHEN", "COMMAND"), rows)
        if len(jobs) > limit:
            note("there are more; see --limit")
    else:
        note("no dead letters")


@dlq.command("retry")
@click.argument("ids", nargs=-1, metavar="ID...", shell_complete=complete_jobs("dead"))
@click.option("--all", "every", is_flag=True, help="All dead letters that can run.")
def retry(ids: tuple[str, ...], every: bool) -> None:
    """Start dead jobs again, from their first attempt.

    \b
    Example:
      queuectl dlq retry job-fail
      queuectl dlq retry --all
    """
    if bool(ids) == every:
        raise UsageError("name the jobs, or use --all", hint="see: queuectl dlq list")
    spool = open_spool()
    left = 0
    if every:
        for job in list(spool.list((State.DEAD,))):
            try:
                click.echo(spool.retry(job.id).id)
            except QueuectlError as error:
                left += 1
                note(f"{job.id} stays dead: {error.what}: {error.why}")
        if left:
            click.get_current_context().exit(1)
        return

    def act(id: str) -> None:
        click.echo(spool.retry(id).id)

    for_each(ids, act)


@dlq.command("drop")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_jobs("dead"))
def drop(ids: tuple[str, ...]) -> None:
    """Delete dead jobs and their logs for good.

    \b
    Example:
      queuectl dlq drop job-fail
    """
    spool = open_spool()
    for_each(ids, lambda id: click.echo(spool.drop(id).id))
