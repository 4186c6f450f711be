"""`queuectl logs`"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import BinaryIO

import click

from queuectl.cli.context import complete_jobs, note, open_spool
from queuectl.core.names import FinishedName, parse_time
from queuectl.core.text import format_instant, printable_output
from queuectl.errors import NotFoundError
from queuectl.spool.logs import Mark, open_reading, parse_outcome, read_entries
from queuectl.spool.store import Spool

_LOOK = 0.1


@click.command()
@click.argument("id", shell_complete=complete_jobs())
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Only the output of this attempt.")
@click.option("--raw", is_flag=True, help="The log file as it is.")
def logs(id: str, follow: bool, attempt: int | None, raw: bool) -> None:
    """Print what a job wrote to stdout and stderr.

    Where attempts begin and end is told on stderr. On a terminal control characters are escaped.

    \b
    Example:
      queuectl logs report
      queuectl logs -f report
      queuectl logs report --attempt 2 > output
    """
    spool = open_spool()
    job = spool.get(id)
    wait = _until_ended(spool, job.id) if follow else None
    with open_reading(spool.layout.log(job.id), job.id) as file:
        if raw:
            _copy(file, wait)
        else:
            _print(file, wait, attempt)
            if file.tell() == 0:
                note(f"nothing yet: {job.id} is {job.state}")


def _until_ended(spool: Spool, id: str) -> Callable[[], bool]:
    """Asked at the end of the log: wait a moment; False once the job had ended before the last look."""
    ended = False

    def wait() -> bool:
        nonlocal ended
        if ended:
            return False
        ended = isinstance(spool.get(id).name, FinishedName)
        if not ended:
            sys.stdout.flush()
            time.sleep(_LOOK)
        return True

    return wait


def _copy(file: BinaryIO, wait: Callable[[], bool] | None) -> None:
    while True:
        while data := file.read(1 << 16):
            sys.stdout.buffer.write(data)
        sys.stdout.flush()
        if wait is None or not wait():
            return


def _describe(mark: Mark) -> str:
    """A line of queuectl's as people read it."""
    if mark.event == "start":
        try:
            at = format_instant(parse_time(mark.fields.get("started_at", "")))
        except ValueError:
            at = "?"
        return f"attempt {mark.attempt} started at {at} by {mark.fields.get('worker')}"
    if mark.event == "end":
        return f"attempt {mark.attempt} ended: {parse_outcome(mark.fields) or mark.fields.get('result')}"
    return f"{mark.event} {mark.text}"


def _print(file: BinaryIO, wait: Callable[[], bool] | None, only: int | None) -> None:
    """Output to stdout, the lines of queuectl to stderr."""
    is_terminal = sys.stdout.isatty()
    current, seen = 0, set()
    for entry in read_entries(file, wait):
        if isinstance(entry, Mark):
            sys.stdout.flush()
            if entry.attempt is not None and entry.event == "start":
                current = entry.attempt
                seen.add(current)
            if only is None or entry.attempt == only:
                note(f"-- {_describe(entry)}")
        elif only is None or current == only:
            if is_terminal:
                sys.stdout.write(printable_output(entry.decode("utf-8", "replace")))
            else:
                sys.stdout.buffer.write(entry)
    sys.stdout.flush()
    if only is not None and only not in seen:
        raise NotFoundError(
            f"no attempt {only} in this log", f"attempts: {', '.join(map(str, sorted(seen))) or 'none'}"
        )
