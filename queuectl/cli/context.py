"""Which spool a command works on, and how commands print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

import click

from queuectl.core.text import printable
from queuectl.errors import InvalidJobError, QueuectlError
from queuectl.spool.store import Spool
from queuectl.spool.system import layout


def named_spool() -> str | None:
    """The spool named by --spool or the environment."""
    return click.get_current_context().find_root().params.get("spool") or os.environ.get("QUEUECTL_SPOOL") or None


def open_spool(*, create: bool = False) -> Spool:
    """The spool of this command line.

    One that is named but does not exist is created if `create`; the fallback in the home directory always is.
    """
    named = named_spool()
    if named:
        return _say_created(Spool(named, create=create and not layout.is_spool(named)))
    return _say_created(Spool())


def existing_spool() -> layout.Layout | None:
    """The spool of this command line, if it exists."""
    path = named_spool() or layout.find()[0]
    return layout.Layout(os.path.abspath(path)) if layout.is_spool(path) else None


def is_handed_in(spool: layout.Layout) -> bool:
    """Whether this user can only hand in jobs: may add files to inbox/, but not to pending/."""
    return not os.access(spool.pending, os.W_OK) and os.access(spool.inbox, os.W_OK | os.X_OK)


def _say_created(spool: Spool) -> Spool:
    if spool.created:
        note(f"created the spool {spool.path}")
    return spool


def say(text: str, *, err: bool = False) -> None:
    """Print a line of a command that acts. If the reader is gone, the command still finishes, silently."""
    try:
        click.echo(text, err=err)
    except BrokenPipeError:
        stream = sys.stderr if err else sys.stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def note(text: str) -> None:
    """Print a message that is not data, on stderr."""
    say(printable(text), err=True)


def show_error(error: QueuectlError) -> int:
    """Print an error in at most three lines, or one for each problem of a job body; its exit code."""
    reasons = error.problems if isinstance(error, InvalidJobError) else (error.why,)
    lines = [printable(line) for line in (error.what, *reasons, error.hint) if line]
    say("queuectl: " + "\n  ".join(lines), err=True)
    return error.exit_code


def shown(text: str) -> str:
    """A job's text for stdout: escaped if a terminal shows it."""
    return printable(text) if sys.stdout.isatty() else text


def print_json(value: Any) -> None:
    """Print JSON in ASCII, which nothing on the way can garble."""
    import json

    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def print_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, wrap: bool = False) -> None:
    """Print rows below a header, without the columns that are empty.

    On a terminal the last column is cut to the width, or continues below itself if `wrap`.
    """
    cells = [tuple(printable(cell) for cell in row) for row in rows]
    used = [index for index in range(len(header)) if any(row[index] for row in cells)]
    cells = [tuple(row[index] for index in used) for row in (header, *cells)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(used) - 1)]
    room = _terminal_width() - sum(widths) - 2 * len(widths) if sys.stdout.isatty() else None
    for *left, last in cells:
        start = "".join(f"{cell:<{width}}  " for cell, width in zip(left, widths, strict=True))
        for part in _fit(last, room, wrap):
            click.echo((start + part).rstrip())
            start = " " * len(start)


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _fit(text: str, room: int | None, wrap: bool) -> list[str]:
    """The lines of a table's last cell; it gets at least ten columns."""
    if room is None or len(text) <= max(10, room):
        return [text]
    if wrap:
        import textwrap

        return textwrap.wrap(text, max(10, room))
    return [text[: max(10, room) - 1] + "…"]


def spool_to_complete(ctx: click.Context) -> Spool | None:
    """The spool that shell completion looks in. Never creates one, and fails silently."""
    try:
        with ctx:
            path = named_spool() or layout.find()[0]
        return Spool(path)
    except (QueuectlError, OSError):
        return None


def complete_jobs(*states: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Shell completion of the ids of jobs in these states (all, if none is named)."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        from queuectl.core.result import State
        from queuectl.spool.reading.query import match_ids

        wanted = tuple(State(state) for state in states) or tuple(State)
        spool = spool_to_complete(ctx)
        return sorted(match_ids(spool.layout, incomplete, wanted))[:200] if spool else []

    return complete


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead, in its documented shape.")
