"""Which spool a command works on, and how commands print."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from queuectl.core import groups
from queuectl.core.text import cut, printable, width_of
from queuectl.errors import InvalidJobError, QueuectlError, SpoolError
from queuectl.spool.store import Spool
from queuectl.spool.system import layout


def named_spool() -> str | None:
    """The spool named by --spool or the environment."""
    return click.get_current_context().find_root().params.get("spool") or os.environ.get("QUEUECTL_SPOOL") or None


def open_spool(*, create: bool = False) -> Spool:
    """The spool of this command line.

    One that is named but does not exist is created if `create`; the fallback in the home directory always is.
    """
    there = existing_spool()
    if there is not None and is_handed_in(there):
        raise only_handed_in(there)
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


def only_handed_in(spool: layout.Layout) -> SpoolError:
    """The error for a user who asks for more than to hand in a job."""
    from queuectl.spool.system import trust

    what = f"you may hand in jobs to {spool.root}, and do nothing else there"
    private = "the queue, its logs and its settings are private"
    if os.access(spool.outbox, os.R_OK | os.X_OK):
        return SpoolError(what, private, f"to see what became of your jobs: {own_entries(spool)}")
    owner = trust.name_of(os.stat(spool.root).st_uid)
    why = f"{private}; ask {owner} what became of your jobs"
    return SpoolError(what, why, "to hand in a job: queuectl enqueue -- COMMAND")


def own_entries(spool: layout.Layout) -> str:
    """The command line that shows what became of the jobs that this user has handed in."""
    import shlex

    from queuectl.spool.moves.take import submitter_of, user_of

    return f"ls -l {shlex.quote(spool.outbox)}/{user_of(submitter_of(os.geteuid()))}.*"


def _say_created(spool: Spool) -> Spool:
    if spool.created:
        note(f"created the spool {spool.path}")
    return spool


_failures: list[OSError] = []


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a line of a command that acts. If it cannot be written, the command still finishes; see `unwritten`."""
    stream = sys.stderr if err else sys.stdout
    try:
        click.echo(text, err=err, nl=nl)
    except OSError as error:
        _failures.append(error)
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def unwritten() -> OSError | None:
    """Why a line could not be written that `say` was given; None if all were."""
    return _failures[0] if _failures else None


def confirm(question: str, *, default: bool = False) -> bool:
    """Ask on the terminal; an empty line is the default, anything else but yes is no."""
    click.echo(f"{question} {'[Y/n]' if default else '[y/N]'}: ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer:  # Ctrl-D
        click.echo(err=True)
        return False
    return answer.strip().lower() in (("y", "yes", "") if default else ("y", "yes"))


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


def shown_in_a_line(text: str) -> str:
    """The same, cut to the width of the terminal."""
    return cut(printable(text), _terminal_width()) if sys.stdout.isatty() else text


def print_json(value: Any) -> None:
    """Print JSON in ASCII, which nothing on the way can garble."""
    import json

    click.echo(json.dumps(value, indent=2 if sys.stdout.isatty() else None))


def print_json_array(values: Iterable[Any]) -> None:
    """Print an array as `print_json` does; in a pipe, each value as soon as it comes, however many there are."""
    import json

    if sys.stdout.isatty():
        print_json([*values])
        return
    before = "["
    for value in values:
        click.echo(before + json.dumps(value), nl=False)
        before = ", "
    click.echo("[]" if before == "[" else "]")


Paint = Callable[[str], str]
"""The colour of a cell, as the number that SGR has for it; empty for none."""
RED, GREEN, YELLOW, BLUE = "31", "32", "33", "34"
STATE_COLOURS = {"running": BLUE, "done": GREEN, "dead": RED, "retrying": YELLOW, "held": YELLOW}


def has_colour(when: str = "auto") -> bool:
    """Whether to print in colour: `always`, `never`, or `auto`, on a terminal that has colours.

    By NO_COLOR (any text) `auto` has none, as https://no-color.org asks for.
    """
    if when != "auto":
        return when == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def painted(text: str, colour: str, is_coloured: bool) -> str:
    """The text in a colour, if it has one and colours are wanted."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and is_coloured else text


def print_table(
    header: tuple[str, ...],
    rows: Iterable[tuple[str, ...]],
    *,
    wrap: bool = False,
    expendable: Sequence[str] = (),
    paints: Mapping[str, Paint] | None = None,
    is_coloured: bool = False,
) -> None:
    """Print rows below a header, without the columns that are empty. On a terminal no line is wider than it.

    There the last column is cut to the width, or continues below itself if `wrap`. Where that leaves it too little,
    the `expendable` columns are left out one after the other, and then the widest ones are cut. `paints` gives the
    colours of columns.
    """
    cells = [tuple(printable(cell) for cell in row) for row in rows]
    used = [index for index in range(len(header)) if any(row[index] for row in cells)]
    room = _terminal_width() if sys.stdout.isatty() else None
    widths = {index: max(width_of(row[index]) for row in (header, *cells)) for index in used}
    if room is not None:
        widths = _fit(header, widths, room, expendable)
    *left, last = widths
    rest = None if room is None else widths[last]
    for number, row in enumerate((header, *cells)):
        start = blank = ""
        for index in left:
            text, column = cut(row[index], widths[index]), (paints or {}).get(header[index])
            padding = " " * (widths[index] - width_of(text) + _GAP)
            colour = column(row[index]) if column and number else ""
            start += painted(text, colour, is_coloured) + padding
            blank += " " * widths[index] + " " * _GAP
        for part in _lines_of(row[last], rest, wrap):
            click.echo((start + part).rstrip(), color=is_coloured or None)  # which click would drop in a pipe
            start = blank


_GAP = 2
_ENOUGH = 16  # columns for the last cell, before others give way to it
_LEAST = 4


def _fit(header: tuple[str, ...], natural: Mapping[int, int], room: int, expendable: Sequence[str]) -> dict[int, int]:
    """The width of each column that is shown; the last one gets what the others leave."""
    widths = dict(natural)
    last = next(reversed(widths))
    enough = min(widths[last], _ENOUGH)

    def left() -> int:
        return room - sum(width + _GAP for index, width in widths.items() if index != last)

    for name in expendable:
        if left() < enough:
            widths = {index: width for index, width in widths.items() if header[index] != name or index == last}
    for least in (12, _LEAST, 1):
        while left() < min(enough, least) and (wide := [i for i in widths if i != last and widths[i] > least]):
            widths[max(wide, key=widths.__getitem__)] -= 1
    while left() < 1 and len(widths) > 1:
        del widths[next(index for index in reversed(widths) if index != last)]
    return {**widths, last: max(1, left())}


def _terminal_width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _lines_of(text: str, room: int | None, wrap: bool) -> list[str]:
    """The lines of a table's last cell."""
    if room is None or width_of(text) <= room:
        return [text]
    if wrap:
        import textwrap

        return textwrap.wrap(text, room, break_on_hyphens=False)
    return [cut(text, room)]


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
        from queuectl.cli.id_completion import MOST
        from queuectl.core.result import State
        from queuectl.spool.reading.query import some_ids

        wanted = tuple(State(state) for state in states) or tuple(State)
        spool = spool_to_complete(ctx)
        return some_ids(spool.layout, incomplete, wanted, MOST) if spool else []

    return complete


def complete_groups(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Shell completion of the groups that jobs are in, or that have settings."""
    from queuectl.spool.reading.groups import find_names

    spool = spool_to_complete(ctx)
    return [name for name in find_names(spool.layout) if name.startswith(incomplete)][:200] if spool else []


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead, in its documented shape.")
color_option = click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Show states in colour; auto: on a terminal, unless NO_COLOR is set.",
)
one_group_option = click.option(
    "-g", "--group", metavar="GROUP", default="", shell_complete=complete_groups, help="Only the jobs of this group."
)
"""For commands that take a group and no other filter, as the parameter `group`: see `one_group`."""


def one_group(text: str) -> str:
    """The name of the group that was given, also as `gpu.`; empty if none was. Raises UsageError."""
    return groups.require_name(text.removesuffix(".")) if text else ""
