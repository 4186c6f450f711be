"""Which spool a command means, and how it says things."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from queuectl.core.text import printable
from queuectl.errors import QueuectlError
from queuectl.spool import layout
from queuectl.spool.store import Spool


def open_spool(*, create: bool = False) -> Spool:
    """The spool that this command line means.

    One that is named but not there is made if `create`; the one of last resort is always made.
    """
    context = click.get_current_context()
    named = context.find_root().obj or os.environ.get("QUEUECTL_SPOOL")
    if named:
        return _say_created(Spool(named, create=create and not layout.is_spool(named)))
    found = layout.discover()
    if found:
        return Spool(found)
    home = layout.state_home_spool()
    return _say_created(Spool(home, create=not layout.is_spool(home)))


def _say_created(spool: Spool) -> Spool:
    if spool.created:
        note(f"created the spool {spool.path}")
    return spool


def note(text: str) -> None:
    """Say something that is not data."""
    click.echo(printable(text), err=True)


def shown(text: str) -> str:
    """A job's text for stdout: escaped if a terminal shows it."""
    return printable(text) if sys.stdout.isatty() else text


def print_json(value: Any) -> None:
    """Print JSON in ASCII, which nothing on the way can garble."""
    import json

    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def print_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> int:
    """Print rows below a header, the last column cut to the terminal's width; how many rows there were."""
    cells = [header, *(tuple(printable(cell) for cell in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header) - 1)]
    room = None
    if sys.stdout.isatty():
        import shutil

        room = max(10, shutil.get_terminal_size().columns - sum(widths) - 2 * len(widths))
    for row in cells:
        left = "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False))
        last = row[-1] if room is None or len(row[-1]) <= room else row[-1][: room - 1] + "…"
        click.echo((left + last).rstrip())
    return len(cells) - 1


def for_each(ids: Iterable[str], action: Callable[[str], None]) -> None:
    """Act on each id; an id that fails is reported and the rest still done. Exits with the first failure's code."""
    from queuectl.cli.main import show_error

    code = 0
    for id in ids:
        try:
            action(id)
        except QueuectlError as error:
            code = code or show_error(error)
    if code:
        click.get_current_context().exit(code)


def complete_jobs(*states: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Shell completion of the ids of jobs in these states (all, if none is named)."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from queuectl.core.result import State
        from queuectl.spool.query import match_ids

        try:
            with ctx:
                spool = open_spool()
            wanted = tuple(State(state) for state in states) or tuple(State)
            return sorted(match_ids(spool.layout, incomplete, wanted))[:200]
        except (QueuectlError, OSError):
            return []

    return complete


json_option = click.option("--json", "as_json", is_flag=True, help="Print the documented JSON shape instead.")
