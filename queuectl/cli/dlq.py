"""`queuectl dlq`: the dead letters"""

from __future__ import annotations

from typing import Any

import click

from queuectl.cli.context import json_option, open_spool
from queuectl.cli.groups import Group
from queuectl.cli.list import UNLIMITED, print_jobs
from queuectl.cli.retry import AGAIN
from queuectl.cli.targets import Verb, act
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.spool.reading.query import find
from queuectl.spool.store import Spool

_RETRY = Verb("retry", AGAIN, (State.DEAD,), "dead")
_DROP = Verb("drop", "dropped", (State.DEAD,), "dead")


@click.group(cls=Group)
def dlq() -> None:
    """List, retry or drop dead letters.

    Dead letters are the jobs that failed for good: they ran out of retries, they were cancelled, or
    their files were not runnable jobs.

    \b
    Example:
      queuectl dlq list
      queuectl dlq retry --all
    """


@dlq.command("list")
@click.option(
    "--limit", type=click.IntRange(0), default=50, show_default=True, metavar="N", help="Show at most N; 0 for all."
)
@json_option
def list_(limit: int, as_json: bool) -> None:
    """List the dead letters, newest first.

    \b
    Example:
      queuectl dlq list
      queuectl dlq list --json | jq -r '.[].id'
    """
    limit = limit or UNLIMITED
    jobs = list(open_spool().list((State.DEAD,), limit=limit + 1))
    print_jobs(jobs, limit, as_json, without=("STATE", "PRI"), empty="no dead letters")


@dlq.command("retry")
@_RETRY.options()
def retry(every: bool, **given: Any) -> None:
    """Start dead jobs again, from their first attempt.

    \b
    Example:
      queuectl dlq retry job-fail
      queuectl dlq retry --all
    """
    spool = open_spool()
    if every:
        given["yes"] = True  # starting them again loses nothing
    act(spool, _RETRY, {**given, "every": every}, lambda id: spool.retry(_find_dead(spool, id)))


def _find_dead(spool: Spool, id: str | Job) -> Job:
    """The dead letter of that id; a job in another state does not count."""
    if isinstance(id, Job):
        return id if id.state is State.DEAD else _find_dead(spool, id.id)
    return find(spool.layout, id, (State.DEAD,))


@dlq.command("drop")
@_DROP.options()
def drop(**given: Any) -> None:
    """Delete dead jobs and their logs for good.

    Their ids are printed, and can be used again.

    \b
    Example:
      queuectl dlq drop job-fail
      queuectl dlq drop --until 30d --match nightly
    """
    spool = open_spool()
    act(spool, _DROP, given, lambda id: spool.drop(_find_dead(spool, id)))
