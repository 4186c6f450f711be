"""`queuectl enqueue -`: jobs in bulk, one JSON object a line, or all of them in one JSON array."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

import click

from queuectl.cli.bodies import read_lines, warn_of_directory
from queuectl.cli.context import note, open_spool, say
from queuectl.core import body
from queuectl.core.job import Job
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError

_LONG_INPUT = 1 << 18
"""Bytes of input from which on a terminal gets a progress bar."""


def enqueue_lines(stream: BinaryIO, given: dict[str, Any], quiet: bool) -> tuple[list[Job], int]:
    """Queue one job for each good line, or object of an array, in durable groups; report the bad ones. What was queued,
    and an exit code."""
    if "id" in given:
        raise UsageError("one --id for many lines", hint="put an id into each line")
    if stream.isatty():
        note("reading jobs, one JSON object a line; end with Ctrl-D")
    progress = _Progress(stream)
    found = read_lines(iter(progress))
    first = next(found, None)  # before a spool is created: it may be no text at all
    spool = open_spool(create=True)
    places: deque[str] = deque()
    queued: list[Job] = []
    directories: set[str] = set()
    bad = 0

    def good_jobs() -> Iterator[dict[str, Any]]:
        nonlocal bad
        for place, job in chain([first] if first else (), found):
            try:
                if isinstance(job, QueuectlError):
                    raise job
                fields = body.merge(job, given)
                warnings = body.validate({**fields, "cwd": None}).warnings
            except (NotJsonError, InvalidJobError) as error:
                bad += 1
                progress.say_error(place, error)
                continue
            for warning in () if quiet else warnings:
                progress.say_line(place, f"warning: {warning}")
            places.append(place)
            yield fields

    for outcome in spool.enqueue_many(good_jobs()):
        place = places.popleft()
        if isinstance(outcome, QueuectlError):
            bad += 1
            progress.say_error(place, outcome)
        else:
            queued.append(outcome)
            if not quiet:
                warn_of_directory(outcome, partial(progress.say_line, place), known=directories)
            progress.clear()
            say(outcome.id)
    progress.clear()
    if not quiet:
        note(f"queued {len(queued)}" + (f", refused {bad}" if bad else ""))
    return queued, 1 if bad else 0


class _Progress:
    """The lines of a stream, with a bar on the terminal if it is a long file."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        try:
            self._size = os.fstat(stream.fileno()).st_size
        except OSError:
            self._size = 0
        self._is_shown = self._size >= _LONG_INPUT and sys.stderr.isatty()

    def __iter__(self) -> Iterator[bytes]:
        if not self._is_shown:
            yield from self._stream
            return
        with click.progressbar(length=self._size, label="queueing", file=sys.stderr) as bar:
            for line in self._stream:
                yield line
                bar.update(len(line))

    def clear(self) -> None:
        """Make room on the terminal for a line of text; the bar comes back below it."""
        if self._is_shown:
            click.echo("\r\x1b[K", nl=False, err=True)

    def say_line(self, place: str, text: str) -> None:
        """Say something about one job of the stream."""
        self.clear()
        note(f"{place}: {text}")

    def say_error(self, place: str, error: QueuectlError) -> None:
        """Say what is wrong with one line: in one line, or in one for each of several problems."""
        texts: Sequence[str] = ("; ".join(part for part in (error.what, error.why) if part),)
        if isinstance(error, InvalidJobError) and len(error.problems) > 1:
            texts = error.problems
        for text in texts:
            self.say_line(place, text)
