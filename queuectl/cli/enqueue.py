"""`queuectl enqueue`: from words, JSON, files or standard input to queued jobs. Imports only what that needs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import click

from queuectl.cli.context import note, open_spool
from queuectl.core import body
from queuectl.core.job import Job
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError

_LONG_INPUT = 1 << 18


@click.command()
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[JSON | - | -- CMD...]")
@click.option("--file", "paths", multiple=True, metavar="FILE", help="A file with one job as JSON; may be repeated.")
@click.option("--id", "id", help="The job's id; refused if the spool holds it already.")
@click.option("-p", "--priority", type=int, help="0 to 999, lower runs first; 10 if not given.")
@click.option("--at", metavar="TIME", help='When to start: "18:30", "tomorrow 09:00", ISO 8601.')
@click.option("--in", "in_", metavar="TIME", help="How long to wait first: 90, 5m, 1h30m.")
@click.option("--timeout", metavar="TIME", help="The longest an attempt may take.")
@click.option("--max-retries", type=int, metavar="N", help="Retries after the first attempt.")
@click.option("--cwd", metavar="DIR", help="Where to run; this directory if not given.")
@click.option("--env", multiple=True, metavar="NAME[=VALUE]", help="A variable to set; without VALUE, its value here.")
@click.option("-q", "--quiet", is_flag=True, help="Print the id and nothing else.")
def enqueue(words: tuple[str, ...], paths: tuple[str, ...], quiet: bool, **options: Any) -> None:
    """Submit jobs and print their ids. When it answers, they would survive a power cut.

    One word after -- is a command line for the shell; several words run as they are.
    With - it reads one JSON object a line and queues the good ones; bad ones are reported by
    their line number, and the exit code is 1.

    \b
    Example:
      queuectl enqueue '{"command": "python report.py", "priority": 1, "timeout": 60}'
      queuectl enqueue --in 5m --timeout 1h -- ./backup.sh /srv
      queuectl enqueue -- 'echo hello | tr a-z A-Z'
      generate-jobs | queuectl enqueue -
    """
    given = _fields_of(**options)
    if words == ("-",):
        if paths:
            raise UsageError("both - and --file", hint="use one of them")
        _enqueue_lines(sys.stdin.buffer, given, quiet)
        return
    jobs = [{**fields, **given} for fields in _read_jobs(words, paths)]
    if not jobs:
        raise UsageError("nothing to queue", hint="try: queuectl enqueue -- echo hello")
    if len(jobs) > 1 and "id" in given:
        raise UsageError("one --id for several jobs")
    spool = open_spool(create=True)
    failed = None
    for outcome in spool.enqueue_many(jobs):
        if isinstance(outcome, QueuectlError):
            failed = failed or outcome
            continue
        _say_queued(outcome, quiet)
    if failed is not None:
        raise failed


def _fields_of(
    *,
    id: str | None,
    priority: int | None,
    at: str | None,
    in_: str | None,
    timeout: str | None,
    max_retries: int | None,
    cwd: str | None,
    env: tuple[str, ...],
) -> dict[str, Any]:
    """The options as fields of a job body."""
    fields: dict[str, Any] = {"id": id, "priority": priority, "max_retries": max_retries, "cwd": cwd}
    if at is not None or in_ is not None:
        fields["run_at"] = _run_at(at, in_)
    if timeout is not None:
        from queuectl.core.when import parse_duration

        seconds = parse_duration(timeout)
        fields["timeout"] = int(seconds) if seconds.is_integer() else seconds
    if env:
        fields["env"] = dict(_variable(text) for text in env)
    return {key: value for key, value in fields.items() if value is not None}


def _run_at(at: str | None, in_: str | None) -> str:
    from datetime import timedelta

    from queuectl.core.names import format_rfc3339
    from queuectl.core.when import parse_duration, parse_when
    from queuectl.spool.clock import now

    if at is not None and in_ is not None:
        raise UsageError("both --at and --in", hint="use one of them")
    moment = parse_when(at, now()) if at is not None else now() + timedelta(seconds=parse_duration(in_ or ""))
    return format_rfc3339(moment) or ""


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        if name not in os.environ:
            raise UsageError(f"--env {name}: there is no such variable here", hint=f"give it a value: --env {name}=…")
        value = os.environ[name]
    return name, value


def _read_jobs(words: tuple[str, ...], paths: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Job bodies from the command line: files, JSON objects, or one command."""
    if paths:
        for path in (*paths, *words):
            yield _decode(_read_file(path), path)
    elif words and all(word.lstrip().startswith("{") for word in words):
        for word in words:
            yield _decode(os.fsencode(word), "the argument")
    elif words:
        yield {"command": words[0] if len(words) == 1 else list(words)}


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(body.MAX_BODY + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}", error.strerror or "") from None


def _decode(data: bytes, where: str) -> dict[str, Any]:
    try:
        return body.decode(data)
    except NotJsonError as error:
        why = ": ".join(part for part in (error.what, error.why) if part)
        raise NotJsonError(f"{where} is no job", why, """a job is: '{"command": "echo hello"}'""") from None


def _say_queued(job: Job, quiet: bool) -> None:
    """The id on stdout; what a person wants to know besides on stderr."""
    click.echo(job.id)
    if quiet or job.body is None:
        return
    for warning in job.body.warnings:
        note(f"warning: {warning}")
    if job.run_at is not None and job.body.run_at is not None:
        from queuectl.core.text import format_instant, format_when
        from queuectl.spool.clock import now

        note(f"starts at {format_instant(job.run_at)} ({format_when(job.run_at, now())})")


def _enqueue_lines(stream: BinaryIO, given: dict[str, Any], quiet: bool) -> None:
    """Queue one job for each good line, in durable groups; report the bad ones."""
    if "id" in given:
        raise UsageError("one --id for many lines", hint="put an id into each line")
    spool = open_spool(create=True)
    numbers: list[int] = []
    bad = 0

    def complain(number: int, error: QueuectlError) -> None:
        nonlocal bad
        bad += 1
        note(f"line {number}: {'; '.join(part for part in (error.what, error.why) if part)}")

    def good_lines() -> Iterator[dict[str, Any]]:
        for number, line in enumerate(_with_progress(stream), 1):
            if not line.strip():
                continue
            try:
                fields = {**body.decode(line), **given}
                body.validate({**fields, "cwd": None})
            except (NotJsonError, InvalidJobError) as error:
                complain(number, error)
                continue
            numbers.append(number)
            yield fields

    queued = 0
    for index, outcome in enumerate(spool.enqueue_many(good_lines())):
        if isinstance(outcome, QueuectlError):
            complain(numbers[index], outcome)
        else:
            queued += 1
            click.echo(outcome.id)
    if not quiet:
        note(f"queued {queued}" + (f", refused {bad}" if bad else ""))
    if bad:
        click.get_current_context().exit(1)


def _with_progress(stream: BinaryIO) -> Iterable[bytes]:
    """The lines of a stream, with a bar on the terminal if it is a long file."""
    try:
        size = os.fstat(stream.fileno()).st_size
    except OSError:
        size = 0
    if size < _LONG_INPUT or not sys.stderr.isatty():
        yield from stream
        return
    with click.progressbar(length=size, label="queueing", file=sys.stderr) as bar:
        for line in stream:
            yield line
            bar.update(len(line))
