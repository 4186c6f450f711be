"""`queuectl enqueue -`: jobs in bulk, one JSON object a line."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import click

from queuectl.cli.context import note, open_spool, say
from queuectl.core import body
from queuectl.core.job import Job
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError

_LONG_INPUT = 1 << 18
"""Bytes of input from which on a terminal gets a progress bar."""


def enqueue_lines(stream: BinaryIO, given: dict[str, Any], quiet: bool) -> tuple[list[Job], int]:
    """Queue one job for each good line, in durable groups; report the bad ones. What was queued, and an exit code."""
    if "id" in given:
        raise UsageError("one --id for many lines", hint="put an id into each line")
    if stream.isatty():
        note("reading jobs, one JSON object a line; end with Ctrl-D")
    spool = open_spool(create=True)
    progress = _Progress(stream)
    numbers: deque[int] = deque()
    queued: list[Job] = []
    bad = 0

    def good_lines() -> Iterator[dict[str, Any]]:
        nonlocal bad
        for number, line in enumerate(progress, 1):
            if not line.strip():
                continue
            try:
                fields = body.merge(body.decode(line), given)
                warnings = body.validate({**fields, "cwd": None}).warnings
            except (NotJsonError, InvalidJobError) as error:
                bad += 1
                progress.say_error(number, error)
                continue
            for warning in () if quiet else warnings:
                progress.say_line(number, f"warning: {warning}")
            numbers.append(number)
            yield fields

    for outcome in spool.enqueue_many(good_lines()):
        number = numbers.popleft()
        if isinstance(outcome, QueuectlError):
            bad += 1
            progress.say_error(number, outcome)
        else:
            queued.append(outcome)
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

    def say_line(self, number: int, text: str) -> None:
        """Say something about one line of the stream."""
        self.clear()
        note(f"line {number}: {text}")

    def say_error(self, number: int, error: QueuectlError) -> None:
        """Say what is wrong with one line: in one line, or in one for each of several problems."""
        texts: Sequence[str] = ("; ".join(part for part in (error.what, error.why) if part),)
        if isinstance(error, InvalidJobError) and len(error.problems) > 1:
            texts = error.problems
        for text in texts:
            self.say_line(number, text)
