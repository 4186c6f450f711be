"""Following one job to its end: what `queuectl run` does once the job is queued."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from queuectl.cli.context import note, print_json, show_error
from queuectl.cli.display import Display
from queuectl.cli.wait import code_of, describe
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.errors import QueuectlError
from queuectl.spool.reading.waiting import Watch
from queuectl.spool.store import Spool
from queuectl.spool.system.log_entries import open_reading, read_entries
from queuectl.spool.system.logs import Mark, parse_outcome

_INTERRUPTED = 130
_SOON = 1.0
"""Seconds after which a user waiting for the start is shown why."""


def follow(spool: Spool, job: Job, *, quiet: bool, as_json: bool) -> int:
    """Show a job's output as it comes until it ends; the exit code. Ctrl-C detaches, or cancels on request."""
    try:
        ended = _stream(spool, job, quiet, as_json)
    except KeyboardInterrupt:
        return _interrupted(spool, job)
    except QueuectlError as error:
        return show_error(error)
    if as_json:
        print_json(ended.to_json())
    elif not quiet and ended.state is not State.DONE:
        note(describe(ended))
    return code_of(ended)


def _stream(spool: Spool, job: Job, quiet: bool, as_json: bool) -> Job:
    """Copy the output to stdout; the job as it ended. Raises NotFoundError if it is deleted."""
    path = spool.layout.log(job.id)
    with spool.watch([job], logs=[] if as_json else [path]) as watch, _interrupts(watch) as interrupts:
        display = Display(is_live=True)
        ended = _Ending(spool, watch, interrupts, quiet, display)
        if as_json:
            while ended.is_awaited():
                pass
        else:
            with open_reading(path, job.id) as log:
                for entry in read_entries(log, ended.is_awaited):
                    if isinstance(entry, Mark):
                        display.finish()
                        _print_mark(entry, quiet)
                    else:
                        display.write(entry)
            display.finish()
    return ended.job


@contextmanager
def _interrupts(watch: Watch) -> Iterator[list[int]]:
    """The first Ctrl-C is recorded in the list, and wakes; a second one raises KeyboardInterrupt at once.

    An exception from a signal handler may be swallowed where it is raised: in an import, say (Python 3.11).
    """
    caught: list[int] = []

    def record(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        watch.wake()

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, record)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


class _Ending:
    """Blocks until there is more to read, and knows when there will be no more."""

    def __init__(self, spool: Spool, watch: Watch, interrupts: list[int], quiet: bool, display: Display) -> None:
        self._spool = spool
        self._watch = watch
        self._interrupts = interrupts
        self._explain_at = float("inf") if quiet else time.monotonic() + _SOON
        self._display = display
        self._is_over = False
        self.job: Job

    def is_awaited(self) -> bool:
        """Wait for more of the log, or the end; False once the job had ended before the last look."""
        if self._is_over:
            return False
        self._display.pause()
        pause = self._explain_at - time.monotonic()
        for outcome in self._watch.wait(None if pause == float("inf") else max(0.0, pause)):
            if isinstance(outcome, QueuectlError):
                raise outcome
            self.job, self._is_over = outcome, True
        if self._interrupts and not self._is_over:
            raise KeyboardInterrupt
        if not self._is_over and time.monotonic() >= self._explain_at:
            self._explain_at = float("inf")
            self._explain()
        return True

    def _explain(self) -> None:
        """Print why it has not started, if it has not."""
        job = next(iter(self._watch.open.values()))
        if job.state is State.PENDING and not job.attempts:
            from queuectl.cli.explain import why

            note(f"{job.id} is waiting: {why(self._spool, job.id)}")


def _print_mark(mark: Mark, quiet: bool) -> None:
    """Report the start of each attempt after the first, and each failure."""
    if quiet:
        return
    if mark.event == "start" and (mark.attempt or 1) > 1:
        note(f"-- attempt {mark.attempt}")
    elif mark.event == "end" and (result := parse_outcome(mark.fields)) and not result.is_success:
        note(f"-- attempt {mark.attempt} ended: {result}")


def _interrupted(spool: Spool, job: Job) -> int:
    """After Ctrl-C: cancel the job if the user wants that, else leave it running."""
    if sys.stdin.isatty() and sys.stderr.isatty() and _wants_to_cancel(job):
        from queuectl.cli.settings import warn_of_settings

        try:
            warn_of_settings(spool)
            return code_of(spool.cancel(job.id))
        except QueuectlError as error:
            return show_error(error)
    note(f"{job.id} keeps running; see: queuectl logs -f {job.id}")
    return _INTERRUPTED


def _wants_to_cancel(job: Job) -> bool:
    """Ask; a second Ctrl-C means no."""
    try:
        answer: str = click.prompt(
            f"\n{job.id}: [d]etach, or [c]ancel it?",
            default="d",
            type=click.Choice(["d", "c", "detach", "cancel"]),
            show_choices=False,
            err=True,
        )
    except (click.Abort, KeyboardInterrupt):
        return False
    return answer.startswith("c")
