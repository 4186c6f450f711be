"""`queuectl enqueue -`: jobs in bulk, one JSON object a line."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import click

from queuectl.cli.context import note, open_spool, say
from queuectl.cli.enqueue import shape_of
from queuectl.core import body
from queuectl.core.job import Job
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError

_LONG_INPUT = 1 << 18
"""Bytes of input from which on a terminal gets a progress bar."""


def enqueue_lines(stream: BinaryIO, given: dict[str, Any], quiet: bool, as_json: bool = False) -> tuple[list[Job], int]:
    """Queue one job for each good line, in durable groups; report the bad ones. What was queued, and an exit code.

    With `as_json` the outcome of each line is printed as soon as it is known, in one array.
    """
    if "id" in given:
        raise UsageError("one --id for many lines", hint="put an id into each line")
    if stream.isatty():
        note("reading jobs, one JSON object a line; end with Ctrl-D")
    spool = open_spool(create=True)
    progress = _Progress(stream)
    report = _JsonReport() if as_json else _Report(progress, quiet)
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
                report.say(number, error)
                continue
            report.warn(number, warnings)
            numbers.append(number)
            yield fields

    for outcome in spool.enqueue_many(good_lines()):
        if isinstance(outcome, QueuectlError):
            bad += 1
        else:
            queued.append(outcome)
        report.say(numbers.popleft(), outcome)
    report.finish(len(queued), bad)
    return queued, 1 if bad else 0


class _Report:
    """What becomes of each line, for people: ids on stdout, the rest on stderr."""

    def __init__(self, progress: _Progress, quiet: bool) -> None:
        self._progress = progress
        self._quiet = quiet

    def warn(self, number: int, warnings: Iterable[str]) -> None:
        for warning in () if self._quiet else warnings:
            self._progress.say_line(number, f"warning: {warning}")

    def say(self, number: int, outcome: Job | QueuectlError) -> None:
        if isinstance(outcome, QueuectlError):
            self._progress.say_error(number, outcome)
        else:
            self._progress.clear()
            say(outcome.id)

    def finish(self, queued: int, refused: int) -> None:
        self._progress.clear()
        if not self._quiet:
            note(f"queued {queued}" + (f", refused {refused}" if refused else ""))


class _JsonReport:
    """The same as one JSON array on stdout, each outcome as soon as it is known."""

    def __init__(self) -> None:
        self._before = "["

    def warn(self, number: int, warnings: Iterable[str]) -> None:
        """Nothing: the array has no place for what is no outcome."""

    def say(self, number: int, outcome: Job | QueuectlError) -> None:
        say(self._before + json.dumps(shape_of(outcome, line=number)), nl=False)
        self._before = ", "

    def finish(self, queued: int, refused: int) -> None:
        say("[]" if self._before == "[" else "]")


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
