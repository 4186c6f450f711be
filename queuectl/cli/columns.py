"""The columns of `queuectl list`: what `values` has, `last`, and one for each parameter in the place of `params`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import click

from queuectl.cli.context import shown
from queuectl.core import values
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.spool.reading import output
from queuectl.spool.system.layout import Layout

LAST = "last"
"""The last line of output, a column that is not read from the job's file."""


def name_of(text: str) -> str:
    """As `values.name_of`; besides those names there is `last`, which the log has."""
    return LAST if text.strip().lower() == LAST else values.name_of(text)


def value_of(job: Job, name: str) -> values.Value:
    """As `values.value_of`, also for `last`; None if there is no such line."""
    return _last_line(job) if name == LAST else values.value_of(job, name)


def _last_line(job: Job) -> str | None:
    if job.state is State.PENDING and not job.attempts:
        return None
    return output.read_last_line(Layout(os.path.dirname(os.path.dirname(job.path))), job.id) or None


def to_json(job: Job) -> dict[str, Any]:
    """The documented shape of a job; for one with parameters also these, and the last line."""
    params = values.value_of(job, "params") if job.body is not None and job.body.params else None
    return job.to_json() if params is None else {**job.to_json(), "params": params, LAST: _last_line(job)}


def select_values(job: Job, columns: Sequence[str]) -> dict[str, Any]:
    """These values alone, as --json has them."""
    return {name: value_of(job, name) for name in columns}


def expand(columns: Sequence[str], jobs: Sequence[Job]) -> dict[str, str]:
    """The columns by their headings: for `params` one of each parameter that any of the jobs has."""
    if "params" not in columns:
        return {name: name for name in columns}
    names = dict.fromkeys(name for job in jobs if job.body is not None for name in job.body.params)
    expanded: dict[str, str] = {}
    for column in columns:
        if column != "params":
            expanded[column] = column
        else:
            expanded.update({f"params.{name}" if name in columns else name: f"params.{name}" for name in names})
    return expanded


def print_csv(jobs: Iterable[Job], columns: Sequence[str]) -> None:
    """Print a heading and a line for each job, with the values of --format.

    Each is printed as soon as it is read, unless `params` is among the columns: its headings are known at the end.
    """
    import csv
    from types import SimpleNamespace

    found: Iterable[Job] = [*jobs] if "params" in columns else jobs
    expanded = expand(columns, found if isinstance(found, list) else ())
    writer = csv.writer(SimpleNamespace(write=partial(click.echo, nl=False)), lineterminator="\n")
    writer.writerow([*expanded])
    for job in found:
        writer.writerow([shown(values.as_text(value_of(job, name))) for name in expanded.values()])
