"""`queuectl enqueue -` and `--each`: jobs in bulk, one a line, or all of them in one JSON array."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from queuectl.cli.bodies import Place, read_lines, warn_of_directory
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

    def __iter__(self) -> Iterator[tuple[Place, Mapping[str, Any] | QueuectlError]]:
        """For each job where it is, and its body or what is wrong with it; raises as `read_lines`."""
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

    def _read(self) -> Iterator[tuple[Place, Mapping[str, Any] | QueuectlError]]:
        if self._each is not None:
            for number, fields in self._each.read(self.progress):
                yield Place.of_line(number), fields if isinstance(fields, QueuectlError) else charset.to_body(fields)
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


def enqueue_lines(lines: Lines, quiet: bool, *, is_held: bool = False, as_json: bool = False) -> tuple[list[Job], int]:
    """Queue one job for each good line, in durable groups; report the bad ones. What was queued, and an exit code.

    With `as_json` the outcome of each line is printed as soon as it is known, in one array.
    """
    found = iter(lines)
    first = next(found, None)  # before a spool is created: it may be no text at all
    spool = open_spool(create=True)
    report = _JsonReport() if as_json else _Report(lines, quiet)
    places: deque[Place] = deque()
    queued: list[Job] = []
    bad = 0
    hint = ""

    def good_lines() -> Iterator[Mapping[str, Any]]:
        nonlocal bad, hint
        for place, fields in chain([first] if first else (), found):
            if isinstance(fields, QueuectlError):
                bad += 1
                hint = hint or (fields.hint if isinstance(fields, NotJsonError) else "")
                report.say(place, fields)
                continue
            places.append(place)
            yield fields

    for outcome in spool.enqueue_many(good_lines(), is_held=is_held):
        if isinstance(outcome, QueuectlError):
            bad += 1
        else:
            queued.append(outcome)
        report.say(places.popleft(), outcome)
    if hint and not queued:
        note(hint)
    report.finish(queued, bad)
    return queued, 1 if bad else 0


class _Report:
    """What becomes of each line, for people: ids on stdout, the rest on stderr."""

    def __init__(self, lines: Lines, quiet: bool) -> None:
        self._lines = lines
        self._progress = lines.progress
        self._quiet = quiet
        self._directories: set[str] = set()

    def say(self, place: Place, outcome: Job | QueuectlError) -> None:
        if isinstance(outcome, QueuectlError):
            self._progress.say_error(place, outcome)
            return
        for warning in outcome.body.warnings if outcome.body and not self._quiet else ():
            self._progress.say_line(place, f"warning: {warning}")
        if not self._quiet:
            warn_of_directory(outcome, partial(self._progress.say_line, place), known=self._directories)
        self._progress.clear()
        say(outcome.id)

    def finish(self, queued: Sequence[Job], refused: int) -> None:
        self._progress.clear()
        if not self._quiet:
            is_sweep = len(queued) > 1 and not self._lines.is_json
            ids = f" as {queued[0].id} to {queued[-1].id}" if is_sweep else ""
            note(f"queued {len(queued)}{ids}" + (f", refused {refused}" if refused else ""))


class _JsonReport:
    """The same as one JSON array on stdout, each outcome as soon as it is known."""

    def __init__(self) -> None:
        self._before = "["

    def say(self, place: Place, outcome: Job | QueuectlError) -> None:
        from queuectl.spool.reading import shapes

        say(self._before + json.dumps(shapes.submitted(outcome, line=place.number)), nl=False)
        self._before = ", "

    def finish(self, queued: Sequence[Job], refused: int) -> None:
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

    def say_line(self, place: Place, text: str) -> None:
        """Say something about one job of the stream."""
        self.clear()
        note(f"{place.text}: {text}")

    def say_error(self, place: Place, error: QueuectlError) -> None:
        """Say what is wrong with one line: in one line, or in one for each of several problems."""
        texts: Sequence[str] = ("; ".join(part for part in (error.what, error.why) if part),)
        if isinstance(error, InvalidJobError) and len(error.problems) > 1:
            texts = error.problems
        for text in texts:
            self.say_line(place, text)
