"""`queuectl logs`: what jobs wrote, on stdout; where attempts begin and end, on stderr"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

import click

from queuectl.cli.context import note, open_spool, show_error
from queuectl.cli.display import Display
from queuectl.cli.filters import is_given, job_filter_options, make_filter
from queuectl.cli.log_view import Filter, Output, entries_of
from queuectl.cli.targets import ids_argument, is_selection, load, locate, read_ids, take_groups
from queuectl.core.job import Job
from queuectl.core.names import FinishedName
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import NotFoundError, QueuectlError, UsageError
from queuectl.spool.reading.filters import Filter as Jobs
from queuectl.spool.reading.filters import select
from queuectl.spool.reading.itself import itself
from queuectl.spool.reading.waiting import Watch
from queuectl.spool.store import Spool
from queuectl.spool.system import files
from queuectl.spool.system.log_entries import open_reading, size_of

_SOON = 1.0
"""Seconds after which a job of a followed group is shown once it has started."""


@click.command()
@ids_argument(metavar="[ID... | -]")
@job_filter_options
@click.option("-f", "--follow", is_flag=True, help="Keep printing until the jobs have ended.")
@click.option("--attempt", type=click.IntRange(1), metavar="N", help="Only the output of this attempt.")
@click.option("--since", metavar="TIME", help='Only attempts that started since: 1h (ago), "9:00", ISO 8601.')
@click.option("--grep", metavar="RE", help="Only lines that match this regular expression.")
@click.option("--head", type=click.IntRange(0), metavar="N", help="Only the first N lines.")
@click.option("--tail", type=click.IntRange(0), metavar="N", help="Only the last N lines, and with -f all that follow.")
@click.option("--raw", is_flag=True, help="Print the log files unchanged.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON lines instead, in their documented shape.")
def logs(
    follow: bool,
    attempt: int | None,
    since: str | None,
    grep: str | None,
    head: int | None,
    tail: int | None,
    raw: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Print what jobs wrote to stdout and stderr.

    The start and end of each attempt are reported on stderr. Lines of several jobs begin with their
    ids. Filters select jobs that have started. A job that has not can be followed too. Of a group, -f
    shows what runs and what starts later, until nothing is left to run. A terminal gets what it would
    show in the end; --raw and other programs get what was written.

    \b
    Example:
      queuectl logs report
      queuectl logs -f report backup
      queuectl logs report --attempt 2 > output
      queuectl logs report --tail 20 --grep 'error|warning'
      queuectl logs -f lr.
      queuectl logs --state failed --tail 5
    """
    wanted = Filter.of(attempt=attempt, since=since, grep=grep, head=head, tail=tail)
    if raw and (as_json or not wanted.is_empty):
        raise UsageError("--raw is the whole file", hint="leave out the other options")
    spool = open_spool()
    take_groups(spool, given)
    is_selected = is_selection(given)
    selected = make_filter(given)
    in_groups = () if is_given({**given, "groups": ()}) else selected.groups
    if is_selected:
        jobs, codes = _select(spool, selected, follow=follow, in_groups=bool(in_groups)), list[int]()
    else:
        jobs, codes = _find(spool, read_ids(given["ids"]))
    output = Output(as_json=as_json, is_labelled=len(jobs) + len(codes) > 1 or bool(in_groups))

    def show(job: Job, wait: Callable[[], bool] | None) -> None:
        with open_reading(spool.layout.log(job.id), job.id) as file:
            if raw:
                _copy(file, wait)
                return
            display = output.display(job.id, is_live=wait is not None)
            output.write(job.id, entries_of(file, wait and _pausing(display, wait), wanted), display)
            if size_of(file) == 0:
                has_ended = isinstance(job.name, FinishedName)
                note(f"the log of {job.id} is empty" if has_ended else f"nothing yet: {job.id} is {job.state}")

    if follow:
        itself(spool.layout).refuse_to_wait(jobs)
        codes += _follow_groups(spool, in_groups, jobs, show) if in_groups else _follow(spool, jobs, show)
    else:
        codes += [error.exit_code for job in jobs if (error := _try(show, job))]
    if codes:
        click.get_current_context().exit(codes[0])


def _select(spool: Spool, wanted: Jobs, *, follow: bool, in_groups: bool) -> list[Job]:
    """The jobs that have started, by their ids; to follow, those that are not held, and of groups have not ended."""
    if follow and in_groups:
        wanted = Jobs((State.RUNNING, State.PENDING), groups=wanted.groups)
    found = sorted(select(spool.layout, wanted), key=lambda job: job.id)
    jobs = [job for job in found if not job.is_held] if follow else [job for job in found if _has_begun(job)]
    if len(jobs) < len(found):
        what = "held" if follow else "not started yet"
        note(f"{format_count(len(found) - len(jobs), 'job')} {what}")
    elif not found:
        note("nothing is left to run" if follow and in_groups else "no matching jobs")
    return jobs


def _has_begun(job: Job) -> bool:
    return job.state is not State.PENDING or job.attempts > 0


def _find(spool: Spool, ids: list[str]) -> tuple[list[Job], list[int]]:
    """The jobs, each once, and an exit code for each that was not found, after reporting it."""
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


def _try(show: Callable[[Job, None], None], job: Job) -> QueuectlError | None:
    """Show a log; an error is reported, so that the others are still shown."""
    try:
        show(job, None)
    except QueuectlError as error:
        show_error(error)
        return error
    return None


def _follow(spool: Spool, jobs: list[Job], show: Callable[[Job, Callable[[], bool]], None]) -> list[int]:
    """Several each in a thread of its own; the exit codes of those that failed, once all have ended.

    Raises OSError as soon as nobody reads the output.
    """
    outcomes: SimpleQueue[QueuectlError | OSError | None] = SimpleQueue()

    def follow(job: Job) -> None:
        wait = follower.waiter(job)
        while files.is_gone(spool.layout.log(job.id)) and wait():  # a job that was dropped has none at first
            pass
        show(job, wait)

    def run(job: Job) -> None:
        try:
            follow(job)
            outcomes.put(None)
        except (QueuectlError, OSError) as error:
            outcomes.put(error)

    codes: list[int] = []
    with _Follower.of(spool, jobs) as follower:
        if len(jobs) == 1:
            follow(jobs[0])
            return codes
        for job in jobs:
            threading.Thread(target=run, args=(job,), daemon=True).start()
        for _ in jobs:
            outcome = outcomes.get()
            if isinstance(outcome, QueuectlError):
                codes.append(show_error(outcome))
            elif outcome is not None:
                raise outcome
    return codes


def _follow_groups(
    spool: Spool,
    groups: tuple[str, ...],
    jobs: list[Job],
    show: Callable[[Job, Callable[[], bool]], None],
) -> list[int]:
    """Follow each job of these groups from its start on, in a thread of its own, until none is left that may run."""
    outcomes: SimpleQueue[QueuectlError | OSError | None] = SimpleQueue()
    begun: set[str] = set()

    def run(job: Job) -> None:
        try:
            with _Follower.of(spool, [job]) as follower:
                show(job, follower.waiter(job))
            outcomes.put(None)
        except (QueuectlError, OSError) as error:
            outcomes.put(error)

    def begin(jobs: Iterable[object]) -> None:
        for job in jobs:
            if isinstance(job, Job) and job.id not in begun:
                begun.add(job.id)
                threading.Thread(target=run, args=(job,), daemon=True).start()

    codes: list[int] = []
    over = 0
    with spool.watch(jobs) as watch:
        while over < len(begun) or watch.open:
            running = [*select(spool.layout, Jobs((State.RUNNING,), groups=groups))]
            begin(running)
            watch.open.update((job.id, job) for job in running if job.id not in watch.open)
            begin(watch.wait(_SOON) if watch.open else ())
            with suppress(Empty):
                while True:
                    outcome = outcomes.get(block=not watch.open, timeout=_SOON)
                    over += 1
                    if isinstance(outcome, QueuectlError):
                        codes.append(show_error(outcome))
                    elif outcome is not None:
                        raise outcome
    return codes


class _Follower:
    """Lets threads that have read their logs to the end sleep until there may be more; they share one watch."""

    def __init__(self, watch: Watch, jobs: list[Job]) -> None:
        self._watch = watch
        self._followed = {job.id for job in jobs}
        self._ended: set[str] = {job.id for job in jobs if isinstance(job.name, FinishedName)}
        self._gone: set[str] = set()
        self._wakes = 0
        self._is_over = False
        self._problem: Exception | None = None
        self._changed = threading.Condition()

    @classmethod
    @contextmanager
    def of(cls, spool: Spool, jobs: list[Job]) -> Iterator[_Follower]:
        with spool.watch(jobs, logs=[spool.layout.log(job.id) for job in jobs]) as watch:
            follower = cls(watch, jobs)
            thread = threading.Thread(target=follower._run, daemon=True)
            thread.start()
            try:
                yield follower
            finally:
                follower._is_over = True
                watch.wake()
                thread.join()

    def _run(self) -> None:
        try:
            self._notify()
        except (QueuectlError, OSError) as error:
            with self._changed:
                self._problem = error
                self._changed.notify_all()

    def _notify(self) -> None:
        while self._watch.open and not self._is_over:
            ended = {outcome.id for outcome in self._watch.wait() if isinstance(outcome, Job)}
            with self._changed:
                self._ended |= ended
                self._gone = self._followed - self._ended - self._watch.open.keys()
                self._wakes += 1
                self._changed.notify_all()

    def waiter(self, job: Job) -> Callable[[], bool]:
        """A function to call at the end of the log: it sleeps until there may be more; False once the job had ended

        Raises NotFoundError if the job was deleted.
        """
        seen = 0
        has_ended = False

        def wait() -> bool:
            nonlocal seen, has_ended
            if has_ended:
                return False
            with self._changed:
                self._changed.wait_for(lambda: self._wakes > seen or job.id in self._ended or self._problem)
                if self._problem is not None:
                    raise self._problem
                seen, has_ended = self._wakes, job.id in self._ended
                if job.id in self._gone:
                    raise NotFoundError(f"job {job.id} is gone", "it was removed while its log was followed")
            return True

        return wait


def _pausing(display: Display, wait: Callable[[], bool]) -> Callable[[], bool]:
    def wait_for_more() -> bool:
        display.pause()
        return wait()

    return wait_for_more


def _copy(file: BinaryIO, wait: Callable[[], bool] | None) -> None:
    while True:
        while data := file.read(1 << 16):
            sys.stdout.buffer.write(data)
        sys.stdout.flush()
        if wait is None or not wait():
            return
