"""`queuectl explain`"""

from __future__ import annotations

import click

from queuectl import config
from queuectl.cli.acting import ids_argument, read_ids
from queuectl.cli.context import json_option, open_spool, print_json, show_error, shown
from queuectl.core.text import format_count, format_instant, format_when
from queuectl.errors import QueuectlError
from queuectl.spool.clock import now
from queuectl.spool.explain import Explanation
from queuectl.spool.store import Spool


@click.command()
@ids_argument()
@json_option
def explain(ids: tuple[str, ...], as_json: bool) -> None:
    """Say why jobs are not running, and when they will.

    Takes ids, and names of files in pending/ that are no jobs yet. The time is an estimate from how
    long the last jobs took.

    \b
    Example:
      queuectl explain report
    """
    spool = open_spool()
    code = 0
    found: list[Explanation] = []
    for id in read_ids(ids):
        try:
            found.append(_explain(spool, id))
        except QueuectlError as error:
            failed = show_error(error)
            code = code or failed
    if as_json:
        print_json([explanation.to_json() for explanation in found])
    else:
        for explanation in found:
            _print(explanation)
    click.get_current_context().exit(code)


def _explain(spool: Spool, id: str) -> Explanation:
    settings = config.load(spool.layout)
    return spool.explain(id, min_free=settings.min_free, max_retries=settings.max_retries)


def why(spool: Spool, id: str) -> str:
    """The first reason, for somebody who waits."""
    return _explain(spool, id).reasons[0].text


def _print(found: Explanation) -> None:
    click.echo(shown(f"{found.id} is {found.state}"))
    for reason in found.reasons:
        click.echo(shown(f"  {reason.text}"))
    if found.starts_at is None or found.reasons[0].reason == "due":
        return
    if found.starts_at > now():
        ahead = f", after {format_count(found.ahead, 'other job')}" if found.ahead else ""
        click.echo(f"  starts about {format_instant(found.starts_at)} ({format_when(found.starts_at, now())}){ahead}")
