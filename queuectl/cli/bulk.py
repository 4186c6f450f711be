"""`queuectl enqueue -`, `--each` and `--param`: jobs in bulk, of lines, of one JSON array, or of a sweep."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from queuectl.cli.bodies import Place, describe_existing, read_lines, warn_of_directory, why_skipped
from queuectl.cli.context import existing_spool, note, open_spool, say
from queuectl.cli.later import in_order
from queuectl.core import body, charset
from queuectl.core.job import ExistingJob, Job
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError

if TYPE_CHECKING:
    from queuectl.cli.sweep import Numbering, Sweep
    from queuectl.spool.store import Spool

_LONG_INPUT = 1 << 18
"""Bytes of input from which on a terminal gets a progress bar."""


class Lines:
    """The bodies of many jobs: those of a file's lines in JSON, or of a sweep."""

    def __init__(self, progress: _Progress | None, given: Mapping[str, Any], sweep: Sweep | None) -> None:
        """Without a `sweep` each line of `progress` is a body in JSON, with the fields `given` on top."""
        self.progress = progress or _Progress(None)
        self.sweep = sweep
        self.skipped = 0
        """How many jobs were there already, and were not submitted again."""
        self.replaced = 0
        """How many got the body of a new one."""
        self._given = charset.to_body(given)

    @property
    def group(self) -> str:
        """The group that all jobs of a sweep are in; empty if there is none."""
        return self.sweep.numbering.group if self.sweep is not None else ""

    def describe_left_out(self, refused: int) -> str:
        """What to say behind the number of jobs: how many others are not among them."""
        there = f", skipped {self.skipped} that {'is' if self.skipped == 1 else 'are'} there" if self.skipped else ""
        there += f", replaced {self.replaced}" if self.replaced else ""
        return there + (f", refused {refused}" if refused else "")

    def note_existing(self, job: ExistingJob) -> None:
        """Count a job that was returned in place of a new one."""
        if job.is_replaced:
            self.replaced += 1
        else:
            self.skipped += 1

    def __iter__(self) -> Iterator[tuple[Place, Mapping[str, Any] | QueuectlError]]:
        """For each job where it is, and its body or what is wrong with it.

        Raises as `read_lines`, or AlreadyExistsError if it is not the sweep that is there.
        """
        found = self._checked()
        if self.sweep is None or not self.sweep.numbering.there:
            yield from found
            return
        from queuectl.cli.sweep import missing

        spool = existing_spool()
        assert spool is not None
        whole = [*found]
        left = missing(spool, whole, self.sweep.numbering.there)
        self.skipped = len(whole) - len(left)
        yield from left

    def with_directories(self) -> Iterator[tuple[Place, Mapping[str, Any] | QueuectlError]]:
        """The same, and each job's directory is made if its path depends on the job's values."""
        if self.sweep is None or not self.sweep.makes_directories:
            yield from self
            return
        from queuectl.cli.sweep import make_directory

        for place, fields in self:
            if not isinstance(fields, QueuectlError):
                try:
                    make_directory(fields)
                except UsageError as error:
                    yield place, error
                    continue
            yield place, fields

    def _checked(self) -> Iterator[tuple[Place, Mapping[str, Any] | QueuectlError]]:
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
        if self.sweep is not None:
            for place, fields in self.sweep:
                yield place, fields if isinstance(fields, QueuectlError) else charset.to_body(fields)
            return
        for place, found in read_lines(iter(self.progress)):
            yield place, found if isinstance(found, QueuectlError) else body.merge(found, self._given)


def open_lines(given: dict[str, Any]) -> Lines:
    """The jobs of stdin, in JSON."""
    if "id" in given:
        raise UsageError("one --id for many lines", hint="put an id into each line")
    if "unique" in given:
        raise UsageError("one --unique for many lines", hint="put a key into each line")
    stream = sys.stdin.buffer
    if stream.isatty():
        note("reading jobs, one JSON object a line; end with Ctrl-D")
    return Lines(_Progress(stream), given, None)


def open_sweep(
    command: str | list[str] | None,
    given: dict[str, Any],
    texts: Sequence[str],
    path: str | None,
    numbering: Numbering | None,
    *,
    is_null: bool,
    quiet: bool,
) -> Lines:
    """The jobs of a command with places for the parameters of some texts, and for the values of a file (`-`: stdin).

    Without a command each line of the file is one.
    """
    from queuectl.cli.sweep import Rows, Sweep
    from queuectl.core import params

    values = params.parse(texts)
    if path is None:
        return Lines(None, given, _noted(Sweep(command, given, values, None, numbering), quiet))
    try:
        stream = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115 - read until the command ends
    except OSError as error:
        raise UsageError(f"cannot read {path}", error.strerror or "", "for stdin: --each -") from None
    if stream.isatty():
        note("reading one line a job; end with Ctrl-D")
    progress = _Progress(stream)
    rows = Rows(stream, progress, path, is_null=is_null)
    return Lines(progress, given, _noted(Sweep(command, given, values, rows, numbering), quiet))


def _noted(sweep: Sweep, quiet: bool) -> Sweep:
    """The same, after a warning of braces in its command that look like a misspelt place."""
    for stray, close in () if quiet else sweep.strays.items():
        note(f"warning: {{{stray}}} stays as it is; did you mean {{{close}}}?")
    return sweep


def enqueue_lines(
    lines: Lines,
    quiet: bool,
    *,
    prepare: Callable[[Spool], None],
    is_held: bool = False,
    as_json: bool = False,
) -> tuple[list[Job], int]:
    """Queue each good job, in durable groups; report the bad ones. What was queued, and an exit code.

    `prepare` is called before the first of them. With `as_json` the outcome of each is printed as soon
    as it is known, in one array.
    """
    found = lines.with_directories()
    if lines.sweep is None:
        found = in_order(found, existing_spool())
    first = next(found, None)  # before a spool is created: it may be no text at all
    spool = open_spool(create=True)
    report = _JsonReport() if as_json else Report(lines, quiet)
    places: deque[Place] = deque()
    queued: list[Job] = []
    bad = 0
    hint = ""
    is_prepared = False

    def good_lines() -> Iterator[Mapping[str, Any]]:
        nonlocal bad, hint, is_prepared
        for place, fields in chain([first] if first else (), found):
            if isinstance(fields, QueuectlError):
                bad += 1
                hint = hint or (fields.hint if isinstance(fields, NotJsonError) else "")
                report.say(place, fields)
                continue
            if not is_prepared:
                prepare(spool)
                is_prepared = True
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


class Report:
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
        if isinstance(outcome, ExistingJob):
            self._lines.note_existing(outcome)
            if not self._quiet:
                self._progress.say_line(place, describe_existing(outcome))
        elif outcome.result is not None and not self._quiet:
            self._progress.say_line(place, why_skipped(outcome))
        for warning in outcome.body.warnings if outcome.body and not self._quiet else ():
            self._progress.say_line(place, f"warning: {warning}")
        if not self._quiet:
            warn_of_directory(outcome, partial(self._progress.say_line, place), known=self._directories)
        if self._quiet and self._lines.group:
            return
        self._progress.clear()
        say(outcome.id)

    def finish(self, queued: Sequence[Job], refused: int) -> None:
        self._progress.clear()
        queued = [job for job in queued if not isinstance(job, ExistingJob)]
        if not self._quiet:
            is_sweep = len(queued) > 1 and self._lines.sweep is not None
            ids = f" as {queued[0].id} to {queued[-1].id}" if is_sweep else ""
            note(f"queued {len(queued)}{ids}{self._lines.describe_left_out(refused)}")
        elif self._lines.group and (queued or self._lines.skipped):
            say(f"{self._lines.group}.")


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

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream = stream
        try:
            self._size = os.fstat(stream.fileno()).st_size if stream is not None else 0
        except OSError:
            self._size = 0
        self._is_shown = self._size >= _LONG_INPUT and sys.stderr.isatty()

    def __iter__(self) -> Iterator[bytes]:
        if self._stream is None:
            return
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
