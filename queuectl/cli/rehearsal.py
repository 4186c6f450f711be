"""`queuectl enqueue --dry-run`: the jobs that would be queued."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from queuectl.cli.bulk import Lines, Report
from queuectl.cli.context import note, print_json_array
from queuectl.core import body
from queuectl.core.text import format_count, printable
from queuectl.errors import QueuectlError


def rehearse(jobs: Iterable[Mapping[str, Any]], *, as_json: bool) -> int:
    """Print the jobs; the exit code."""
    number = 0

    def counted() -> Iterator[Mapping[str, Any]]:
        nonlocal number
        for fields in jobs:
            number += 1
            yield fields

    _print(counted(), as_json=as_json)
    note(f"would queue {format_count(number, 'job')}")
    return 0


def rehearse_lines(lines: Lines, *, as_json: bool) -> int:
    """Print the good jobs of lines or of a sweep, and what is wrong with the others; the exit code."""
    number = bad = 0
    report = Report(lines, quiet=False)

    def good_ones() -> Iterator[Mapping[str, Any]]:
        nonlocal number, bad
        for place, fields in lines:
            if isinstance(fields, QueuectlError):
                bad += 1
                report.say(place, fields)
            else:
                number += 1
                yield fields

    _print(good_ones(), as_json=as_json)
    where = f" in the group {lines.group}" if lines.group else ""
    if lines.sweep is not None and lines.sweep.numbering.is_new:
        where = " in a new group, which then gets another name"
    note(f"would queue {format_count(number, 'job')}{where}{lines.describe_left_out(bad)}")
    return 1 if bad else 0


def _print(jobs: Iterable[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the id (`-` for one that is made when the job is queued) and the command of each, or the bodies."""
    if as_json:
        print_json_array(dict(fields) for fields in jobs)
        return
    for fields in jobs:
        content = body.validate({**fields, "cwd": None})
        id = content.id_with("") if content.id else "-"
        command = content.command if isinstance(content.command, str) else shlex.join(content.command)
        click.echo(f"{id}  {printable(command)}")
