"""`queuectl explain`"""

from __future__ import annotations

from typing import Any

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, show_error, shown
from queuectl.cli.filters import filter_options, make_filter
from queuectl.cli.list import limit_of
from queuectl.cli.settings import warn_of_settings
from queuectl.cli.targets import ids_argument, is_selection, read_ids, take_groups
from queuectl.core.text import format_count, format_instant, format_when
from queuectl.errors import QueuectlError
from queuectl.spool.reading import shapes
from queuectl.spool.reading.explain import Explanation
from queuectl.spool.reading.filters import select
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now


@click.command()
@ids_argument(metavar="[ID... | -]")
@filter_options
@click.option(
    "--limit",
    type=click.IntRange(0),
    metavar="N",
    help="Explain at most N selected jobs; 0 for all. [default: 20, with --json all]",
)
@json_option
def explain(limit: int | None, as_json: bool, **given: Any) -> None:
    """Explain why jobs are not running, and when they will.

    Takes ids, names of files in pending/ that are not jobs yet, names of schedules, or filters. The
    time is estimated from how long the last jobs took.

    \b
    Example:
      queuectl explain report
      queuectl explain --state ready --limit 3
    """
    spool = open_spool()
    take_groups(spool, given)
    warn_of_settings(spool)
    code = 0
    found: list[Explanation] = []
    at_most = limit_of(limit, 20, is_table=not as_json)
    for id in _select(spool, given, at_most) if is_selection(given) else read_ids(given["ids"]):
        try:
            found.append(spool.explain(id))
        except QueuectlError as error:
            failed = show_error(error)
            code = code or failed
    if as_json:
        print_json([explanation.to_json() for explanation in found])
    else:
        for explanation in found:
            _print(explanation)
    click.get_current_context().exit(code)


def _select(spool: Spool, given: dict[str, Any], limit: int | None) -> list[str]:
    """The first ids that the filters select."""
    ids = [job.id for job in select(spool.layout, make_filter(given), limit and limit + 1)]
    if not ids:
        note("no matching jobs")
    if limit is not None and len(ids) > limit:
        note(f"there are more than {limit}; see --limit")
    return ids[:limit]


def why(spool: Spool, id: str) -> str:
    """The first reason, for a user who is waiting."""
    return spool.explain(id).reasons[0].text


def _print(found: Explanation) -> None:
    click.echo(shown(f"{found.id} is {'a schedule' if found.state == 'schedule' else found.state}"))
    for reason in found.reasons:
        click.echo(shown(f"  {reason.text}"))
    for field, text in shapes.describe_defaults(found.defaults):
        click.echo(shown(f"  {field} {text}"))
    if found.starts_at is None or found.reasons[0].reason == "due":
        return
    if found.starts_at > now():
        ahead = f", after {format_count(found.ahead, 'other job')}" if found.ahead else ""
        click.echo(f"  starts about {format_instant(found.starts_at)} ({format_when(found.starts_at, now())}){ahead}")
