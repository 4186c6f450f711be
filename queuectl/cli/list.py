"""`queuectl list`"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, print_table, shown
from queuectl.cli.filters import filter_options, make_filter
from queuectl.core.job import Job
from queuectl.core.text import format_age, format_seconds
from queuectl.errors import UsageError
from queuectl.spool.reading import query
from queuectl.spool.reading.filters import Filter, select, select_names, time_of
from queuectl.spool.reading.stopped import mark_stopped
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout


def _when(job: Job) -> str:
    return "held" if job.is_held else format_age(time_of(job.name), now())


def _took(job: Job) -> str:
    return "" if job.duration is None else format_seconds(job.duration)


def command_text(job: Job) -> str:
    if job.command is None:
        return f"({job.problem})"
    return job.command if isinstance(job.command, str) else shlex.join(job.command)


_COLUMNS: dict[str, Callable[[Job], str]] = {
    "ID": lambda job: job.id,
    "STATE": lambda job: f"{job.state} (stopped)" if job.is_stopped else job.state,
    "PRI": lambda job: f"{job.priority}",
    "TRY": lambda job: f"{job.attempts}",
    "WHEN": _when,
    "RESULT": lambda job: f"{job.result or ''}",
    "TOOK": _took,
    "BY": lambda job: job.submitted_by or "",
    "OWNER": lambda job: job.owner or "",
    "COMMAND": command_text,
    "WORKER": lambda job: job.worker or "",
    "CWD": lambda job: (job.body and job.body.cwd) or "",
}
_SHOWN = list(_COLUMNS)[:10]
UNLIMITED = sys.maxsize - 1
"""What --limit 0 means."""
_SORTS: dict[str, Callable[[Job], Any]] = {
    "id": lambda job: job.id,
    "state": lambda job: job.state,
    "priority": lambda job: job.priority,
    "attempts": lambda job: job.attempts,
    "when": lambda job: time_of(job.name),
    "result": lambda job: str(job.result or ""),
    "took": lambda job: job.duration or 0.0,
    "command": command_text,
}
_OTHER_NAMES = {"PRIORITY": "PRI", "ATTEMPTS": "TRY", "DURATION": "TOOK", "SUBMITTED_BY": "BY"}
"""Columns by the names that --sort and --json have for them."""
_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\0": "\0", "\\\\": "\\"}


@click.command("list")
@filter_options
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, metavar="N", help="Show at most N; 0 for all."
)
@click.option("--sort", metavar="KEY", help=f"{', '.join(_SORTS)}; with a - in front, in reverse.")
@click.option("--columns", metavar="A,B,…", help="Columns of the table: id, state, …, also worker and cwd.")
@click.option("--format", "template", metavar="TEXT", help=r"A line per job: '{id}\t{result}', keys as in --json.")
@json_option
def list_(limit: int, sort: str | None, columns: str | None, template: str | None, as_json: bool, **given: Any) -> None:
    """List jobs and how they ended.

    Running and pending jobs come first, in order, then dead and then done ones, newest first. TRY is the number of
    attempts; WHEN is when a job starts, started or ended, which --since and --until compare. BY is the user who
    handed in the job through inbox/; OWNER is the owner of its file, if not the spool's owner.

    \b
    Example:
      queuectl list --state dead --since 1h --result timeout
      queuectl list --match backup --sort -took --format '{id}\\t{duration}'
    """
    if template is not None and (as_json or columns):
        raise UsageError(f"both --format and {'--json' if as_json else '--columns'}", hint="use one of them")
    shown_columns = _choose_columns(columns)
    spool, wanted = open_spool(), make_filter(given)
    limit = limit or UNLIMITED
    found = _sorted(spool.layout, wanted, sort) if sort else select(spool.layout, wanted, limit + 1)
    jobs = mark_stopped(islice(found, limit + 1))
    if template is None:
        print_jobs(jobs, limit, as_json, columns=shown_columns, empty="no matching jobs")
        return
    for job in jobs[:limit]:
        click.echo(shown(_fill(template, job)))
    _say_if_more(jobs, limit)


def _choose_columns(text: str | None) -> list[str]:
    words = [word.strip() for word in text.upper().split(",")] if text else _SHOWN
    names = [_OTHER_NAMES.get(word, word) for word in words]
    unknown = [name for name in names if name not in _COLUMNS]
    if unknown:
        raise UsageError(f"unknown column {unknown[0].lower()!r}", hint=f"columns: {' '.join(_COLUMNS).lower()}")
    return names


def _sorted(layout: Layout, wanted: Filter, key: str) -> Iterator[Job]:
    """The selected jobs, sorted by that key. Bodies are read as the iterator advances, unless the key is in them."""
    name = key.removeprefix("-")
    if name not in _SORTS:
        raise UsageError(f"cannot sort by {name!r}", hint=f"keys: {' '.join(_SORTS)}")
    is_in_body = name == "command"
    jobs = select(layout, wanted) if is_in_body else _without_bodies(layout, wanted)
    for job in sorted(jobs, key=_SORTS[name], reverse=key.startswith("-")):
        read = job if is_in_body else query.load(layout, job.state, str(job.name))
        if read is not None:  # else it has changed state since
            yield read


def _without_bodies(layout: Layout, wanted: Filter) -> Iterator[Job]:
    for state, text in select_names(layout, wanted):
        name = query.parse_name(state, text)
        if name is not None:
            yield Job(state, name, layout.job(state, text))


def _fill(template: str, job: Job) -> str:
    """A template with the job's values in it; what does not apply is empty."""
    values = {**job.to_json(), "command": command_text(job)}
    del values["body"]

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return _ESCAPES[match[0]]
        if match[1] not in values:
            raise UsageError(f"unknown field {match[1]!r}", hint=f"fields: {' '.join(values)}")
        return "" if values[match[1]] is None else f"{values[match[1]]}"

    return re.sub(r"\{(\w+)\}|\\[tn0\\]", value, template)


def print_jobs(
    jobs: list[Job], limit: int, as_json: bool, *, columns: Sequence[str] = (), without: Sequence[str] = (), empty: str
) -> None:
    """Print up to `limit` of the jobs and say whether there are more; `empty` is said when there are none."""
    names = [name for name in columns or _SHOWN if name not in without]
    if as_json:
        print_json([job.to_json() for job in jobs[:limit]])
    elif jobs:
        print_table(tuple(names), [tuple(_COLUMNS[name](job) for name in names) for job in jobs[:limit]])
    else:
        note(empty)
    _say_if_more(jobs, limit)


def _say_if_more(jobs: list[Job], limit: int) -> None:
    if len(jobs) > limit:
        note(f"there are more than {limit}; see --limit")
