"""`queuectl enqueue -` and `--each`: jobs in bulk, one a line, or all of them in one JSON array."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from queuectl.cli.bodies import read_lines, warn_of_directory
from queuectl.cli.context import note, open_spool, say
from queuectl.core import body, charset
from queuectl.core.job import Job
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError

if TYPE_CHECKING:
    from queuectl.cli.each import Each

_LONG_INPUT = 1 << 18
"""Bytes of input from which on a terminal gets a progress bar."""


class Lines:
    """The lines of a file, and the body of a job that each gives."""

    def __init__(self, stream: BinaryIO, given: Mapping[str, Any], each: Each | None) -> None:
        """Without `each` a line is a body in JSON, with the fields `given` on top."""
        if stream.isatty():
            note(f"reading {'jobs, one JSON object a line' if each is None else 'one line a job'}; end with Ctrl-D")
        self.progress = _Progress(stream)
        self.is_json = each is None
        self._given = charset.to_body(given)
        self._each = each

    def __iter__(self) -> Iterator[tuple[str, Mapping[str, Any] | QueuectlError]]:
        """For each job what to call it (`line 3`), and its body or what is wrong with it; raises as `read_lines`."""
        for place, fields in self._read():
            if isinstance(fields, QueuectlError):
                yield place, fields
                continue
            try:
                body.validate({**fields, "cwd": None})
            except InvalidJobError as error:
                yield place, error
            else:
                yield place, fields

    def _read(self) -> Iterator[tuple[str, Mapping[str, Any] | QueuectlError]]:
        if self._each is not None:
            for number, fields in self._each.read(self.progress):
                yield f"line {number}", fields if isinstance(fields, QueuectlError) else charset.to_body(fields)
            return
        for place, found in read_lines(iter(self.progress)):
            yield place, found if isinstance(found, QueuectlError) else body.merge(found, self._given)


def open_lines(
    path: str, command: str | list[str] | None, given: dict[str, Any], *, is_null: bool, makes_ids: bool
) -> Lines:
    """Open a file (stdin for `-`) of bodies in JSON or, with a `command`, of values for its places."""
    if command is None:
        if "id" in given:
            raise UsageError("one --id for many lines", hint="put an id into each line")
        return Lines(sys.stdin.buffer, given, None)
    from queuectl.cli.each import Each

    each = Each(command, given, is_null=is_null, makes_ids=makes_ids)
    try:
        return Lines(sys.stdin.buffer if path == "-" else open(path, "rb"), given, each)
    except OSError as error:
        raise UsageError(f"cannot read {path}", error.strerror or "", "for stdin: --each -") from None


def enqueue_lines(lines: Lines, quiet: bool, *, is_held: bool = False) -> tuple[list[Job], int]:
    """Queue one job for each good line, in durable groups; report the bad ones. What was queued, and an exit code."""
    found = iter(lines)
    first = next(found, None)  # before a spool is created: it may be no text at all
    spool = open_spool(create=True)
    progress = lines.progress
    places: deque[str] = deque()
    directories: set[str] = set()
    queued: list[Job] = []
    bad = 0
    hint = ""

    def good_lines() -> Iterator[Mapping[str, Any]]:
        nonlocal bad, hint
        for place, fields in chain([first] if first else (), found):
            if isinstance(fields, QueuectlError):
                bad += 1
                hint = hint or (fields.hint if isinstance(fields, NotJsonError) else "")
                progress.say_error(place, fields)
                continue
            places.append(place)
            yield fields

    for outcome in spool.enqueue_many(good_lines(), is_held=is_held):
        place = places.popleft()
        if isinstance(outcome, QueuectlError):
            bad += 1
            progress.say_error(place, outcome)
            continue
        queued.append(outcome)
        for warning in outcome.body.warnings if outcome.body and not quiet else ():
            progress.say_line(place, f"warning: {warning}")
        if not quiet:
            warn_of_directory(outcome, partial(progress.say_line, place), known=directories)
        progress.clear()
        say(outcome.id)
    progress.clear()
    if hint and not queued:
        note(hint)
    if not quiet:
        ids = f" as {queued[0].id} to {queued[-1].id}" if len(queued) > 1 and not lines.is_json else ""
        note(f"queued {len(queued)}{ids}" + (f", refused {bad}" if bad else ""))
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
