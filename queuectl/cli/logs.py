"""`queuectl logs`: what jobs wrote, on stdout; where attempts begin and end, on stderr"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO

import click

from queuectl.cli.acting import ids_argument, load, locate, read_ids
from queuectl.cli.context import note, open_spool, show_error
from queuectl.cli.tail import Filter, Output, entries_of
from queuectl.core.job import Job
from queuectl.core.names import FinishedName
from queuectl.errors import QueuectlError, SpoolError, UsageError
from queuectl.spool import files
from queuectl.spool.logs import open_reading
from queuectl.spool.store import Spool

_LOOK = 0.1


@click.command()
@ids_argument()
@click.option("-f", "--follow", is_flag=True, help="Go on until the jobs have ended.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Only the output of this attempt.")
@click.option("--since", metavar="TIME", help='Only attempts that began since: 1h (ago), "9:00", ISO 8601.')
@click.option("--grep", metavar="RE", help="Only lines that this regular expression finds something in.")
@click.option("--head", type=click.IntRange(0), metavar="N", help="Only the first N lines.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines; with -f, then what follows.")
@click.option("--raw", is_flag=True, help="The log files as they are.")
@click.option("--json", "as_json", is_flag=True, help="Print the documented JSON lines instead.")
def logs(
    ids: tuple[str, ...],
    follow: bool,
    attempt: int | None,
    since: str | None,
    grep: str | None,
    head: int | None,
    tail: int | None,
    raw: bool,
    as_json: bool,
) -> None:
    """Print what jobs wrote to stdout and stderr.

    Where attempts begin and end is told on stderr. Lines of several jobs begin with their ids. A
    job that has not started yet can be followed too. On a terminal control characters are escaped.

    \b
    Example:
      queuectl logs report
      queuectl logs -f report backup
      queuectl logs report --attempt 2 > output
      queuectl logs report --tail 20 --grep 'error|warning'
    """
    wanted = Filter.of(attempt=attempt, since=since, grep=grep, head=head, tail=tail)
    if raw and (as_json or not wanted.is_empty):
        raise UsageError("--raw is the whole file", hint="leave out the other options")
    spool = open_spool()
    jobs, codes = _find(spool, read_ids(ids))
    output = Output(as_json=as_json, is_labelled=len(jobs) + len(codes) > 1)

    def show(job: Job) -> None:
        with _open(spool, job, follow) as file:
            wait = _until_ended(spool, job.id) if follow else None
            if raw:
                _copy(file, wait)
                return
            output.write(job.id, entries_of(file, wait, wanted))
            if os.fstat(file.fileno()).st_size == 0:
                note(f"nothing yet: {job.id} is {job.state}")

    if follow and len(jobs) > 1:
        codes += _follow_all(jobs, show)
    else:
        codes += [error.exit_code for job in jobs if (error := _try(show, job))]
    if codes:
        click.get_current_context().exit(codes[0])


def _find(spool: Spool, ids: list[str]) -> tuple[list[Job], list[int]]:
    """The jobs, each once, and an exit code for each that is not found, which is reported."""
    jobs: dict[str, Job] = {}
    codes: list[int] = []
    for target in locate(spool, ids):
        try:
            job = load(spool, target)
        except QueuectlError as error:
            codes.append(show_error(error))
        else:
            jobs[job.id] = job
    return list(jobs.values()), codes


def _try(show: Callable[[Job], None], job: Job) -> QueuectlError | None:
    """Show a log; what was wrong is reported, so that the others are still shown."""
    try:
        show(job)
    except QueuectlError as error:
        show_error(error)
        return error
    return None


def _open(spool: Spool, job: Job, follow: bool) -> BinaryIO:
    """A job's log; to follow one that has none yet, wait for it."""
    path = spool.layout.log(job.id)
    while follow and files.is_gone(path) and not isinstance(spool.get(job.id).name, FinishedName):
        time.sleep(_LOOK)
    return open_reading(path, job.id)


def _follow_all(jobs: list[Job], show: Callable[[Job], None]) -> list[int]:
    """Each in a thread of its own; the exit codes of those that failed, once all have ended."""
    codes: list[int] = []

    def run(job: Job) -> None:
        try:
            show(job)
        except QueuectlError as error:
            codes.append(show_error(error))
        except OSError as error:  # nobody reads any more, say
            codes.append(SpoolError(f"{error}").exit_code)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes


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
