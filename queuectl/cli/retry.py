"""`queuectl retry`"""

from __future__ import annotations

from typing import Any

import click

from queuectl.cli.context import open_spool
from queuectl.cli.targets import Verb, act
from queuectl.core.job import Job
from queuectl.core.result import State

AGAIN = "pending again"
_RETRY = Verb("retry", AGAIN, (State.DEAD, State.DONE), "dead")


@click.command()
@click.option("--edit", "is_edited", is_flag=True, help="Open each job in $EDITOR first, even an invalid one.")
@_RETRY.options()
def retry(is_edited: bool, **given: Any) -> None:
    """Start finished jobs again, from their first attempt.

    Filters select among the dead jobs, unless --state says otherwise.

    \b
    Example:
      queuectl retry report
      queuectl retry --since 1d --result timeout --dry-run
    """
    spool = open_spool()

    def again(id: str | Job) -> Job:
        if is_edited:
            from queuectl.cli.edit import edit_job, use_terminal

            use_terminal(given["ids"])
            id = edit_job(spool, id).id
        return spool.retry(id)

    act(spool, _RETRY, given, again)
