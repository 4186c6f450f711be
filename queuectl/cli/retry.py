"""`queuectl retry`"""

from __future__ import annotations

from typing import Any

import click

from queuectl.cli.context import open_spool
from queuectl.cli.targets import Action, Target, Verb, act
from queuectl.core.job import Job
from queuectl.core.result import State

AGAIN = "pending again"
_RETRY = Verb("retry", AGAIN, (State.DEAD, State.DONE), "dead", brings_back=True)


@click.command()
@click.option("--edit", "is_edited", is_flag=True, help="Open the jobs in $EDITOR first, even invalid ones.")
@_RETRY.options()
def retry(is_edited: bool, **given: Any) -> None:
    """Start finished jobs again, from their first attempt.

    Filters select among the dead jobs, unless --state says otherwise. With --edit, several jobs are in one file; those
    whose text is deleted there are left as they are.

    \b
    Example:
      queuectl retry report
      queuectl retry --since 1d --result timeout --dry-run
    """
    spool = open_spool()

    def edited_together(targets: list[Target]) -> tuple[list[Target], Action]:
        from queuectl.cli.edit import edit_together, use_terminal

        use_terminal(given["ids"])
        left, apply = edit_together(spool, targets)
        return left, lambda id: spool.retry(apply(id).id)

    def again(id: str | Job) -> Job:
        if is_edited:
            from queuectl.cli.edit import edit_job, use_terminal

            use_terminal(given["ids"])
            id = edit_job(spool, id).id
        return spool.retry(id)

    act(spool, _RETRY, given, again, prepare=edited_together if is_edited else None)
