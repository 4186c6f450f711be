"""`queuectl list`"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import click

from queuectl.cli.columns import expand, name_of, print_csv, select_values, to_json, value_of
from queuectl.cli.context import (
    RED,
    STATE_COLOURS,
    Paint,
    color_option,
    complete_groups,
    has_colour,
    json_option,
    note,
    open_spool,
    print_json_array,
    print_table,
    shown,
)
from queuectl.cli.filters import WORDS, filter_options, make_filter
from queuectl.cli.targets import take_groups
from queuectl.core import values
from queuectl.core.job import Job
from queuectl.core.names import parse_instant
from queuectl.core.result import State
from queuectl.core.text import format_age, format_count, format_seconds
from queuectl.errors import UsageError
from queuectl.spool.reading import query
from queuectl.spool.reading.filters import Filter, select, select_names
from queuectl.spool.reading.progress import with_progress
from queuectl.spool.reading.stopped import mark_stopped
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout

SHOWN = (
    "id", "state", "priority", "attempts", "when", "result", "duration", "progress", "waits_for", "submitted_by",
    "owner", "command",
)  # fmt: skip
"""The columns of a table, unless others are asked for; the empty ones are left out."""
_EXPENDABLE = ("PRIORITY", "DURATION", "OWNER", "SUBMITTED_BY", "ATTEMPTS", "WAITS_FOR", "WHEN")
"""What a narrow terminal does not show, in this order."""
_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\0": "\0", "\\\\": "\\"}
PAINTS: dict[str, Paint] = {
    "STATE": lambda text: STATE_COLOURS.get(text, ""),
    "RESULT": lambda text: "" if text in ("", "exit0") else RED,
}


def limit_option(number: int) -> Callable[[Any], Any]:
    """--limit, as the parameter `limit`: None if it was not given."""
    return click.option(
        "--limit",
        type=click.IntRange(0),
        metavar="N",
        help=f"Show at most N; 0 for all. [default: {number} in a table, else all]",
    )


def limit_of(given: int | None, default: int, *, is_table: bool) -> int | None:
    """How many jobs to print; None for all. Only a table, which is for people, has a limit by default."""
    return (default if is_table else None) if given is None else given or None


def _complete_groups(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [f"{name}." for name in complete_groups(ctx, param, incomplete)]


@click.command("list")
@click.argument("ids", nargs=-1, metavar="[GROUP....]", shell_complete=_complete_groups)
@filter_options
@limit_option(20)
@click.option("--sort", metavar="NAME", help="Sort by a column; with a - in front, in reverse.")
@click.option("--columns", metavar="A,B,…", help="Columns: id, state, …, params, last, body.NAME.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the columns as comma-separated values.")
@click.option("--format", "template", metavar="TEXT", help=r"A line per job: '{id}\t{result}', names as for --columns.")
@color_option
@json_option
def list_(
    limit: int | None,
    sort: str | None,
    columns: str | None,
    template: str | None,
    as_csv: bool,
    color: str,
    as_json: bool,
    **given: Any,
) -> None:
    """List jobs and how they ended.

    Running and pending jobs come first, in order, then dead and then done ones, newest first. WHEN is when a job
    starts, started or ended, which --since and --until compare. Columns, --sort, --format and --where use the words
    of --json, body.NAME for a field of your own. The column params is one for each parameter of a sweep, last is the
    last line of output. GROUP. is for the jobs of a group, as --group GROUP.

    \b
    Example:
      queuectl list --state failed --since 1h
      queuectl list --match backup --sort -duration --format '{id}\\t{duration}'
      queuectl list --columns id,result,body.sweep --where body.sweep=3
      queuectl list lr. --columns id,params,result,took,last --csv
    """
    forms = {"--format": template is not None, "--json": as_json, "--csv": as_csv}
    used = [name for name, is_used in forms.items() if is_used]
    if template is not None and columns:
        used.append("--columns")
    if len(used) > 1:
        raise UsageError(f"both {used[0]} and {used[1]}", hint="use one of them")
    shown_columns = _choose_columns(columns)
    spool = open_spool()
    take_groups(spool, given)
    if given["ids"]:
        raise _not_a_group(given["ids"][0])
    wanted = make_filter(given)
    at_most = limit_of(limit, 20, is_table=not used)
    found = _sorted(spool.layout, wanted, sort) if sort else select(spool.layout, wanted, at_most and at_most + 1)
    found = with_progress(spool.layout, mark_stopped(found))
    if template is not None:
        _print_lines(found, at_most, template)
        return
    if as_csv or as_json:
        some = islice(found, at_most)
        if as_csv:
            print_csv(some, shown_columns)
        else:
            print_json_array(select_values(job, shown_columns) if columns else to_json(job) for job in some)
        if next(found, None) is not None:
            _say_there_are_more(at_most)
        return
    print_jobs(
        found, at_most, False, columns=shown_columns, empty="no matching jobs", is_coloured=has_colour(color),
        expendable=() if columns else _EXPENDABLE, is_counted="failed" in ",".join(given["state"]).split(","),
    )  # fmt: skip


def _choose_columns(text: str | None) -> Sequence[str]:
    return [name_of(word) for word in text.split(",")] if text else SHOWN


def _not_a_group(word: str) -> UsageError:
    """The error for a word that is no group."""
    if word in WORDS:
        return UsageError(f"not a group: {word}", "", f"for jobs of that state: queuectl list --state {word}")
    hint = f"for a group: queuectl list {word}.; for one job: queuectl show {word}"
    return UsageError(f"not a group: {word}", "a group ends in a dot here", hint)


def _sorted(layout: Layout, wanted: Filter, key: str) -> Iterator[Job]:
    """The selected jobs, sorted by that value, those that have none last.

    Bodies are read as the iterator advances, unless the value is in them.
    """
    name = values.name_of(key.removeprefix("-"))
    is_in_name = name in values.IN_NAME
    jobs = _without_bodies(layout, wanted) if is_in_name else select(layout, wanted)
    pairs = [(values.typed_value_of(job, name), job) for job in jobs]
    having = [pair for pair in pairs if pair[0] is not None]
    having.sort(key=lambda pair: values.sort_key(pair[0]), reverse=key.startswith("-"))
    for _, job in (*having, *(pair for pair in pairs if pair[0] is None)):
        read = query.load(layout, job.state, str(job.name)) if is_in_name else job
        if read is not None:  # else it has changed state since
            yield read


def _without_bodies(layout: Layout, wanted: Filter) -> Iterator[Job]:
    for state, text in select_names(layout, wanted):
        name = query.parse_name(state, text)
        if name is not None:
            yield Job(state, name, layout.job(state, text))


def _print_lines(jobs: Iterator[Job], limit: int | None, template: str) -> None:
    """Print a line for each job, each as soon as it is read."""
    parts = _parse_template(template)
    for job in islice(jobs, limit):
        texts = (values.as_text(value_of(job, part)) if is_name else part for part, is_name in parts)
        click.echo(shown("".join(texts)))
    if next(jobs, None) is not None:
        _say_there_are_more(limit)


def _parse_template(template: str) -> list[tuple[str, bool]]:
    """The parts of a template, in order: names of values, and texts. Raises UsageError for an unknown name."""
    parts: list[tuple[str, bool]] = []
    end = 0
    for match in re.finditer(r"\{([\w.-]+)\}|\\[tn0\\]", template):
        parts.append((template[end : match.start()], False))
        parts.append((name_of(match[1]), True) if match[1] else (_ESCAPES[match[0]], False))
        end = match.end()
    return [*parts, (template[end:], False)]


def print_jobs(
    jobs: Iterable[Job],
    limit: int | None,
    as_json: bool,
    *,
    columns: Sequence[str] = SHOWN,
    empty: str,
    expendable: Sequence[str] = _EXPENDABLE,
    is_coloured: bool = False,
    is_counted: bool = False,
) -> None:
    """Print up to `limit` of the jobs and say whether there are more; `empty` is said when there are none.

    If `is_counted`, say of a table also which are for good: the dead ones, not those that wait for a retry.
    """
    left = iter(jobs)
    if as_json:
        print_json_array(job.to_json() for job in islice(left, limit))
    else:
        some = list(islice(left, limit))
        if some:
            expanded = expand(columns, some)
            header = tuple(
                title if name.startswith(("body.", "params.")) else title.upper() for title, name in expanded.items()
            )
            rows = [tuple(_cell(job, name) for name in expanded.values()) for job in some]
            print_table(header, rows, expendable=expendable, paints=PAINTS, is_coloured=is_coloured)
        else:
            note(empty)
        if is_counted and some:
            _say_which_failed(some)
    if next(left, None) is not None:
        _say_there_are_more(limit)


def _cell(job: Job, name: str) -> str:
    """The value as a person reads it: times as how long ago, or until then."""
    value = value_of(job, name)
    if name == "state" and job.is_stopped:
        return f"{value} (stopped)"
    if name == "when" and job.is_held:
        return "held"
    if name == "when" and job.is_waiting:
        return "waiting"
    if name in ("when", "run_at", "started_at", "finished_at") and value is not None:
        return format_age(parse_instant(value), now())
    if name in ("duration", "took") and value is not None:
        return format_seconds(value)
    return values.as_text(value)


def _say_which_failed(jobs: Sequence[Job]) -> None:
    states = Counter(job.state for job in jobs)
    dead, waiting = states[State.DEAD], states[State.PENDING]
    parts = [f"{dead} dead" if dead else "", f"{waiting} pending, for another attempt" if waiting else ""]
    if dead or waiting:
        note(f"{format_count(dead + waiting, 'job')} failed: {'; '.join(filter(None, parts))}")


def _say_there_are_more(limit: int | None) -> None:
    note(f"there are more than {limit}; see --limit")
