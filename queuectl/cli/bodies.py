"""Job bodies as JSON that people type or pipe, and what to warn about once they are queued."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterator
from typing import Any

from queuectl.cli.context import note
from queuectl.core import body, charset
from queuectl.core.job import ExistingJob, Job
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError
from queuectl.tuples import NamedTuple


def decode(data: bytes, where: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The job of some JSON, or those of an array, each with what to call it."""
    try:
        if not data.lstrip().startswith(b"["):
            yield name, body.decode(data)
            return
        for number, fields in enumerate(body.decode_array(data), 1):
            yield f"job {number} of {name}", _require_object(fields, f"job {number} of {where}")
    except NotJsonError as error:
        lines = data.strip().splitlines()
        if data.lstrip().startswith((b"{ ", b"{\n")) and b'"' not in data[:4]:
            hint = "try: queuectl enqueue -- '{ …'"
        elif len(lines) > 1 and lines[0].rstrip().endswith(b"}"):
            hint = "one job a line: queuectl enqueue -"
        else:
            hint = error.hint or """try: queuectl enqueue '{"command": "echo hello"}'"""
        what = error.what if error.what.startswith("job ") else f"{where} is {error.what}"
        raise NotJsonError(what, error.why, hint) from None


def _require_object(fields: Any, where: str) -> dict[str, Any]:
    """A job of an array; raises NotJsonError for anything but an object."""
    if isinstance(fields, dict):
        return fields
    hint = 'a job is an object: {"command": ["echo", "hello"]}'
    raise NotJsonError(f"{where} is not a JSON object", hint=hint)


class Place(NamedTuple):
    """Where a job stands: the number of its line, or in an array its own; and as people read it."""

    number: int
    text: str

    @classmethod
    def of_line(cls, number: int) -> Place:
        return cls(number, f"line {number}")


def read_lines(lines: Iterator[bytes]) -> Iterator[tuple[Place, dict[str, Any] | QueuectlError]]:
    """Each job, or why it is none, with its place: of lines of JSON, or of one array over any number of lines.

    Raises NotJsonError for input that is not UTF-8 at all, or whose objects take several lines each.
    """
    is_first = True
    for number, line in enumerate(lines, 1):
        text = line.removeprefix(codecs.BOM_UTF8).strip()
        if not text:
            continue
        if is_first:
            body.require_utf8(line, "stdin is not UTF-8")
        if is_first and text == b"{":
            raise NotJsonError("stdin is not one JSON object a line", hint="try: jq -c . | queuectl enqueue -")
        if text.startswith(b"["):
            yield from _read_array(line, lines if is_first else None, number)
        else:
            yield Place.of_line(number), _decoded(line)
        is_first = False


def _read_array(
    line: bytes, rest: Iterator[bytes] | None, number: int
) -> Iterator[tuple[Place, dict[str, Any] | QueuectlError]]:
    """The jobs of an array: of the line of that number, or if it is incomplete, of it and the rest."""
    here = Place.of_line(number)
    try:
        try:
            jobs = body.decode_array(line)
        except NotJsonError:
            if rest is None:
                raise
            here = Place(number, "stdin")
            jobs = body.decode_array(line + b"".join(rest))
    except (NotJsonError, InvalidJobError) as error:
        yield here, error
        return
    for index, job in enumerate(jobs, 1):
        place = Place(index, f"job {index} of {here.text}")
        try:
            yield place, _require_object(job, "it")
        except NotJsonError as error:
            yield place, error


def _decoded(line: bytes) -> dict[str, Any] | QueuectlError:
    try:
        return body.decode(line)
    except (NotJsonError, InvalidJobError) as error:
        if not line.lstrip().startswith((b"{", b"[")):
            error.hint = "for one job a line of text: queuectl enqueue --each - [-- COMMAND {}]"
        return error


def describe_existing(job: ExistingJob) -> str:
    """What became of a new job in favour of one that was there."""
    if job.is_replaced:
        return f"replaced: {job.id} waits with the new command and options now"
    if job.key is None:
        return f"skipped: there is a job {job.id} already, which is {job.state}"
    return f"skipped: {job.id}, which is {job.state}, has the key {job.key!r}"


def warn_of_directory(job: Job, say_so: Callable[[str], None], *, known: set[str] | None = None) -> None:
    """Warn of a job whose directory is not there (yet); of each directory once, if `known` is given."""
    cwd = job.body.cwd if job.body is not None else None
    if cwd is None or (known is not None and cwd in known):
        return
    if known is not None:
        known.add(cwd)
    if not os.path.isdir(charset.encode(cwd, None)):
        say_so(f"warning: the directory {cwd} does not exist yet: without it the job fails")


def why_skipped(job: Job) -> str:
    """Why a job was skipped as soon as it was submitted."""
    from queuectl.spool.reading.graph import reasons_of
    from queuectl.spool.system.layout import Layout

    return f"{job.id} is {job.state}: {reasons_of(Layout(os.path.dirname(os.path.dirname(job.path))), job.id)[0].text}"


def read_jobs(
    words: tuple[str, ...], paths: tuple[str, ...], is_command: bool, given: dict[str, Any], quiet: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Job bodies from the command line, and where each comes from: files, JSON, or one command."""
    if paths:
        for path in (*paths, *words):
            yield from decode(_read_file(path), path, path)
    elif not is_command and words and is_json(words[0]):
        for word in words:
            yield from decode(os.fsencode(word), "the argument", "this")
    elif len(words) == 1 and _is_file_for_the_shell_to_miss(words[0], given):
        if not quiet:
            note(f"this runs the file {words[0]!r}; any other single word is a command line for the shell")
        yield "this", charset.to_body({"command": [os.fsencode(words[0])]})
    elif words:
        if not is_command and len(words) == 1 and _is_text(words[0]):
            hint = f"its job: --file {words[0]}; a job for each line: --each {words[0]}; in any case: -- {words[0]}"
            raise UsageError(f"{words[0]} is a file, and not a program", hint=hint)
        encoded = [os.fsencode(word) for word in words]
        yield "this", charset.to_body({"command": encoded[0] if len(words) == 1 else encoded})


def is_json(word: str) -> bool:
    """Whether a word is meant as JSON: an object, or an array. `[ -e x ] && y` is a command."""
    text = word.lstrip()
    if not text.startswith("["):
        return text.startswith("{")
    if text[1:].lstrip().startswith("{"):
        return True
    try:
        body.decode_array(os.fsencode(word))
    except UsageError:
        return False
    return True


def _is_text(word: str) -> bool:
    """Whether a command of one word is a file that cannot be run, and no program of that name is there."""
    if not os.path.isfile(word) or os.access(word, os.X_OK):
        return False
    import shutil

    return shutil.which(word) is None


def _is_file_for_the_shell_to_miss(word: str, given: dict[str, Any]) -> bool:
    """Whether a command of one word is the path of an executable file that the shell would take apart: it has spaces,
    say. Such a command line could only fail."""
    if "/" not in word or all(char.isalnum() or char in "@%_+=:,./-" for char in word):
        return False
    cwd = charset.encode(given.get("cwd") or "", given.get("charset"))
    path = os.path.join(cwd, os.fsencode(word))
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(body.MAX_BODY + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}", error.strerror or "") from None
