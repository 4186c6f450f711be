"""`queuectl dlq`: the dead letters"""

from __future__ import annotations

import click

from queuectl.cli.context import complete_jobs, for_each, json_option, open_spool
from queuectl.cli.jobs import AGAIN, print_jobs
from queuectl.core.job import Job
from queuectl.core.names import FinishedName
from queuectl.core.result import State
from queuectl.errors import UsageError
from queuectl.spool.query import resolve
from queuectl.spool.store import Spool


@click.group()
def dlq() -> None:
    """Look at the dead letters, retry or drop them.

    Dead letters are the jobs that gave up: their retries are used up, they were cancelled, or
    their files were no runnable jobs.

    \b
    Example:
      queuectl dlq list
      queuectl dlq retry --all
    """


@dlq.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, metavar="N", help="How many to show; 50 if not given.")
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List the dead letters, newest first.

    \b
    Example:
      queuectl dlq list
      queuectl dlq list --json | jq -r '.[].id'
    """
    jobs = list(open_spool().list((State.DEAD,), limit=limit + 1))
    print_jobs(jobs, limit, as_json, without=("STATE", "PRI"), empty="no dead letters")


@dlq.command("retry")
@click.argument("ids", nargs=-1, metavar="[ID...]", shell_complete=complete_jobs("dead"))
@click.option("--all", "every", is_flag=True, help="Every dead letter that can run.")
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
    letters = [job.id for job in spool.list((State.DEAD,))] if every else ids
    for_each(letters, lambda id: _retry_dead(spool, id), AGAIN)


def _retry_dead(spool: Spool, id: str) -> Job:
    """Retry a dead letter; a job in another state is none, whatever its id."""
    _, name = resolve(spool.layout, id, (State.DEAD,))
    found = FinishedName.parse(name)
    return spool.retry(found.id if found else id)


@dlq.command("drop")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=complete_jobs("dead"))
def drop(ids: tuple[str, ...]) -> None:
    """Delete dead jobs and their logs for good.

    Their ids are printed, and free again.

    \b
    Example:
      queuectl dlq drop job-fail
    """
    for_each(ids, open_spool().drop, "dropped")
