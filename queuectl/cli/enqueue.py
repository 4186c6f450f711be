"""`queuectl enqueue` and `run`: queue jobs from words, JSON, files or standard input.

Imports only what they need.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from queuectl.cli.bodies import describe_existing, is_json, read_jobs, warn_of_directory, why_skipped
from queuectl.cli.context import (
    existing_spool,
    is_handed_in,
    json_option,
    note,
    only_handed_in,
    open_spool,
    print_json,
    say,
    show_error,
    shown_in_a_line,
)
from queuectl.core import body, charset
from queuectl.core.after import RULES
from queuectl.core.fields import FIELDS
from queuectl.core.job import ExistingJob, Job
from queuectl.errors import InvalidJobError, QueuectlError, UsageError
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now

if TYPE_CHECKING:
    from queuectl.cli.bulk import Lines
    from queuectl.spool.system.layout import Layout

F = TypeVar("F", bound=Callable[..., Any])


class _Enqueue(click.Command):
    """Notices `--`, which click drops, and never takes an option of the job's command for one of queuectl's."""

    has_job = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_interspersed_args = False
        given, _, _ = self.make_parser(ctx).parse_args(list(args))
        words = given["words"] if isinstance(given.get("words"), tuple) else ()  # none is a sentinel (click 8.5)
        before = args[: len(args) - len(words)]
        is_command = bool(words) and before[-1:] == ["--"]
        is_program = not is_command and "paths" not in given and _is_program(words)
        if is_program and not ctx.resilient_parsing:
            if ":::" in words:
                from queuectl.cli.suggest import bare_colons

                raise bare_colons(words, before, ctx.command_path)
            _refuse_options(words, before, ctx.command_path)
        ctx.allow_interspersed_args = True
        rest = super().parse_args(ctx, args)
        ctx.params["is_command"] = is_command
        return rest


_AFTER = ("-a", "--after", "--after-end", "--after-failed")


def _is_program(words: tuple[str, ...]) -> bool:
    """Whether the first word is a program to run: not JSON, not `-`, not a whole command line."""
    return bool(words) and words[0] != "-" and not words[0].lstrip().startswith("{") and len(words[0].split()) == 1


def _refuse_options(words: tuple[str, ...], before: list[str], command: str) -> None:
    option = next((word for word in words[1:] if word.startswith("-") and word != "-"), None)
    if option is not None:
        import shlex

        if option == "--" and len(before) > 1 and before[-2] in _AFTER:
            ids, (_, *job) = [before[-1], *words[: words.index("--")]], words[words.index("--") :]
            line = f"{command} {shlex.join([*before[:-1], ','.join(ids), '--', *job])}"
            raise UsageError(f"{before[-2]} takes several with commas", hint=f"try: {line}")
        raise UsageError(
            f"is {option} meant for queuectl or for {words[0]}?",
            "put options of queuectl first, and -- before the command",
            f"try: {command} {shlex.join([*before, '--', *words])}",
        )


def _options(without: Collection[str]) -> Iterator[Callable[[F], F]]:
    """What a job can be given on the command line: an option for each field that has a text for it."""
    for name, field in FIELDS.items():
        if name in without:
            continue
        if name == "run_at":
            yield click.option("--at", metavar="TIME", help='When to start: "18:30", "tomorrow 09:00", ISO 8601.')
            yield click.option("--in", "in_", metavar="TIME", help="Time to wait before starting: 90, 5m, 1h30m.")
        elif field.option:
            names = (*_SHORT.get(name, ()), f"--{name.replace('_', '-')}", name)
            kind = click.Choice([word.value for word in field.kind]) if issubclass(field.kind, StrEnum) else field.kind
            metavar, is_multiple = field.metavar or None, name in ("env", "seats", *RULES)
            yield click.option(*names, type=kind, multiple=is_multiple, metavar=metavar, help=field.option)


_SHORT = {"priority": ("-p",), "group": ("-g",), "after": ("-a",)}


def job_options(command: F, without: Collection[str] = ()) -> F:
    """The options of a job, but for those of some fields."""
    for option in reversed([*_options(without)]):
        command = option(command)
    return command


@click.command(cls=_Enqueue)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[JSON... | - | -- CMD...]")
@click.option("--file", "paths", multiple=True, metavar="FILE", help="Read one job from a JSON file; repeatable.")
@click.option(
    "--each",
    "each_path",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="One job for each line of a file or stdin, {} in the command; for each row of a .csv or .tsv, {COLUMN}.",
)
@click.option("-0", "--null", "is_null", is_flag=True, help="Lines of --each end with NUL, as of find -print0.")
@click.option(
    "--param",
    "param_texts",
    multiple=True,
    metavar="NAME=VALUES",
    help="One job for each value, {NAME} in the command: a,b or 1..10 or 0..100..10; repeatable, for all combinations.",
)
@click.option("--append", "is_append", is_flag=True, help="Add jobs of --param or --each to a --group that has some.")
@click.option("--limit", metavar="N", help="How many jobs of the group may run at once, from its first one on.")
@click.option("--max-failed", metavar="N", help="Pause the group when N, or 5%, of its jobs have failed.")
@job_options
@click.option("--hold", "is_held", is_flag=True, help="Keep the jobs from starting until `queuectl release`.")
@click.option("--dry-run", "is_rehearsal", is_flag=True, help="Only print the jobs.")
@click.option("--wait", "is_awaited", is_flag=True, help="Wait for the jobs, and exit like `queuectl wait`.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the id, or of many jobs the group.")
@json_option
def enqueue(
    words: tuple[str, ...],
    paths: tuple[str, ...],
    is_held: bool,
    is_rehearsal: bool,
    quiet: bool,
    is_awaited: bool,
    is_command: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Submit jobs and print their ids. Once it returns, they survive a power cut.

    One word after -- is a command line for the shell; several words run without a shell.
    With - it reads one JSON object per line and queues the valid ones; invalid ones are reported by
    line number, and the exit code is 1. With --param and --each the command is queued once for each
    value: {NAME} is that of a parameter, {} the line, {n} the number of the job; also in --id, --cwd,
    --env, --timeout and --after. Without a command each line of --each is one.
    A job with --after starts only when the others have ended.

    \b
    Example:
      queuectl enqueue '{"command": "./report.sh", "priority": 1, "timeout": 60}'
      queuectl enqueue --in 5m --timeout 1h -- ./backup.sh /srv
      queuectl enqueue -- 'echo hello | tr a-z A-Z'
      queuectl enqueue --after extract,lr. -- ./load.sh
      generate-jobs | queuectl enqueue -
      queuectl enqueue --each commands.txt
      find . -name '*.avi' | queuectl enqueue --each - -- ffmpeg -i {} {}.webm
      queuectl enqueue -g lr --limit 5 --param lr=0.1,0.01 -- ./train --lr {lr}
    """
    batch = _Batch.of(options)
    is_bulk = words == ("-",) and not is_command and not batch.is_sweep
    given = _fields_of_sweep(**options) if batch.is_sweep else fields_of(**options)
    if paths and (is_bulk or is_command or batch.is_sweep):
        raise UsageError(f"both --file and {'-' if is_bulk else 'a command'}", hint="use one of them")
    batch.require_sweep()
    spool = existing_spool()
    if any(rule in given for rule in RULES):
        from queuectl.cli.references import name_in_full

        name_in_full(spool, given)
    jobs: list[Job] = []
    lines = _open_lines(words, is_command, given, batch, spool, quiet) if is_bulk or batch.is_sweep else None
    prepare = _prepare(lines.group if lines and lines.sweep else given.get("group", ""), batch.limit, batch.max_failed)
    given = charset.to_body(given)
    if is_rehearsal:
        from queuectl.cli.rehearsal import rehearse, rehearse_lines

        read = () if lines else read_jobs(words, paths, is_command, given, quiet or as_json)
        code = rehearse_lines(lines, as_json=as_json) if lines else rehearse(_checked_all(read, given), as_json=as_json)
    elif spool is not None and is_handed_in(spool):
        from queuectl.cli.handin import hand_in

        if as_json:
            raise UsageError("a job that is handed in has no id yet", "a worker assigns it", "leave out --json")
        if batch.is_of_group:
            raise only_handed_in(spool)
        read = () if lines else read_jobs(words, paths, is_command, given, quiet)
        found = None if lines else [body.merge(each, given) for _, each in read]
        code = hand_in(spool, found, lines, quiet=quiet, is_awaited=is_awaited, is_held=is_held)
    elif lines:
        from queuectl.cli.bulk import enqueue_lines

        jobs, code = enqueue_lines(lines, quiet, prepare=prepare, is_held=is_held, as_json=as_json)
    else:
        checked = _checked_all(read_jobs(words, paths, is_command, given, quiet or as_json), given)
        jobs, code = _enqueue_jobs(checked, quiet, prepare=prepare, is_held=is_held, as_json=as_json)
    if spool is not None and not (quiet or as_json):
        _warn_of_group(spool, given)
    if is_awaited and jobs:
        from queuectl.cli.wait import wait_for

        awaited = wait_for(open_spool(), jobs, quiet=True)
        code = code or awaited
    click.get_current_context().exit(code)


class _Batch(NamedTuple):
    """The options that are about many jobs."""

    each_path: str | None
    is_null: bool
    param_texts: tuple[str, ...]
    is_append: bool
    if_exists: str | None
    limit: str | None
    max_failed: str | None

    @classmethod
    def of(cls, options: dict[str, Any]) -> _Batch:
        """Take these options out of all of them.

        `--if-exists` is about the group of a sweep, and not about each of its jobs, unless they have keys.
        """
        given = {name: options.pop(name) for name in cls._fields if name != "if_exists"}
        batch = cls(**given, if_exists=None)
        if not batch.is_sweep or options["unique"] is not None:
            return batch
        how = options["if_exists"]
        if how != "replace":
            options["if_exists"] = None
        return batch._replace(if_exists=how if how != "fail" else None)

    @property
    def is_sweep(self) -> bool:
        return self.each_path is not None or bool(self.param_texts)

    @property
    def is_of_group(self) -> bool:
        """Whether any of them is about the jobs or the settings of a group."""
        return self.is_append or bool(self.if_exists or self.limit or self.max_failed)

    def require_sweep(self) -> None:
        """Raise UsageError for an option that is of no use without a sweep."""
        if self.is_null and self.each_path is None:
            raise UsageError("-0 is for --each", hint="see: queuectl enqueue --help")
        if not self.is_sweep and self.is_append:
            raise UsageError("--append is for --param and --each", hint="see: queuectl enqueue --help")


def _open_lines(
    words: tuple[str, ...], is_command: bool, given: dict[str, Any], batch: _Batch, spool: Layout | None, quiet: bool
) -> Lines:
    """The jobs of `-`, or of a sweep."""
    from queuectl.cli.bulk import open_lines, open_sweep

    if not batch.is_sweep:
        return open_lines(given)
    from queuectl.cli.sweep import number

    is_line = not words and batch.each_path is not None and not batch.param_texts
    command = None if is_line else _command_of(words, is_command)
    is_numbered = spool is None or not is_handed_in(spool)
    is_skip = batch.if_exists == "skip" or (batch.if_exists is not None and "group" in given)
    numbering = number(spool, given, is_append=batch.is_append, is_skip=is_skip) if is_numbered else None
    if numbering is not None and batch.if_exists == "replace":
        numbering = numbering._replace(there={})
    texts = [*map(_in_utf8, batch.param_texts)]
    return open_sweep(command, given, texts, batch.each_path, numbering, is_null=batch.is_null, quiet=quiet)


@click.command(cls=_Enqueue)
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[JSON | -- CMD...]")
@job_options
@click.option("-q", "--quiet", is_flag=True, help="Print only the output of the command.")
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON once it has ended, instead of its output.")
def run(words: tuple[str, ...], quiet: bool, as_json: bool, is_command: bool, **options: Any) -> None:
    """Submit a job, show its output, and exit with its code.

    A worker runs it like any other job, with its retries; the output appears as the job writes it. The
    exit code is that of the last attempt, as for `wait`. Ctrl-C asks whether to detach or to cancel the
    job; without a terminal it detaches.

    \b
    Example:
      queuectl run --timeout 1h -- ./backup.sh /srv
    """
    from queuectl.cli.follow import follow

    if words == ("-",) and not is_command:
        raise UsageError("run takes one job, not from stdin", hint="for many: queuectl enqueue --wait -")
    given = charset.to_body(fields_of(**options))
    (where, found), *others = read_jobs(words, (), is_command, given, quiet)
    if others:
        raise UsageError("run takes one job", hint="for many: queuectl enqueue --wait JSON...")
    checked = _checked(body.merge(found, given), where)
    there = existing_spool()
    if any(rule in given for rule in RULES):
        from queuectl.cli.references import name_in_full

        name_in_full(there, checked)
    if there is not None and is_handed_in(there):
        raise only_handed_in(there)
    spool = open_spool(create=True)
    outcome = next(spool.enqueue_many([checked]))
    if isinstance(outcome, QueuectlError):
        raise outcome
    if not quiet:
        note(describe_existing(outcome) if isinstance(outcome, ExistingJob) else f"{outcome.id} is queued")
        _warn_of_group(spool.layout, given)
        warn_of_directory(outcome, note)
    click.get_current_context().exit(follow(spool, outcome, quiet=quiet, as_json=as_json))


def _command_of(words: tuple[str, ...], is_command: bool) -> str | list[str]:
    """The command of a sweep."""
    if not words or (words == ("-",) and not is_command):
        raise UsageError(
            "--param needs a command",
            hint="try: queuectl enqueue --param x=1..10 -- COMMAND {x}, or --each FILE -- COMMAND {}",
        )
    if not is_command and is_json(words[0]):
        raise UsageError("--each and --param take a command, not a job in JSON", hint="put it behind --: -- COMMAND {}")
    return _in_utf8(words[0]) if len(words) == 1 else [*map(_in_utf8, words)]


def _prepare(group: str, limit: str | None, max_failed: str | None) -> Callable[[Spool], None]:
    """What to do with the spool before the first job: set the limits of the group.

    Raises UsageError if there is none, or a limit is wrong.
    """
    texts = {"limit": limit, "max-failed": max_failed}
    wanted = {key: text for key, text in texts.items() if text is not None}
    if not wanted:
        return lambda _: None
    if not group:
        hint = "say which one: --group NAME; for all jobs: queuectl worker start --count N, queuectl config"
        raise UsageError(f"--{next(iter(wanted))} is for a group", hint=hint)
    from queuectl.core.groups import require_name
    from queuectl.spool.system import groups as group_files

    require_name(group)
    for key, text in wanted.items():
        group_files.check(key, text)

    def write(spool: Spool) -> None:
        for key, text in wanted.items():
            group_files.write(spool.layout, group, key, text)

    return write


def _checked_all(found: Iterable[tuple[str, dict[str, Any]]], given: dict[str, Any]) -> list[dict[str, Any]]:
    """The bodies of jobs, each with the place it was found in; raises InvalidJobError if one of them is invalid."""
    jobs = [_checked(body.merge(fields, given), where) for where, fields in found]
    if not jobs:
        raise UsageError(
            "nothing to queue",
            hint="try: queuectl enqueue -- echo hello; for the lines of stdin: --each, or - for JSON",
        )
    if len(jobs) > 1 and "id" in given:
        raise UsageError("one --id for several jobs", hint="put an id into each of them")
    if len(jobs) > 1 and "unique" in given:
        raise UsageError("one --unique for several jobs", hint="put a key into each of them")
    return jobs


def _enqueue_jobs(
    jobs: list[dict[str, Any]], quiet: bool, *, prepare: Callable[[Spool], None], is_held: bool, as_json: bool
) -> tuple[list[Job], int]:
    """Queue jobs; those that were, and an exit code."""
    queued: list[Job] = []
    code = 0
    outcomes_shown: list[dict[str, Any]] = []
    spool = open_spool(create=True)
    prepare(spool)
    outcomes = spool.enqueue_many(jobs, is_held=is_held)
    for fields, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, QueuectlError):
            failed = outcome.exit_code if as_json else show_error(outcome)
            code = code or failed
        else:
            queued.append(outcome)
            if not as_json:
                _say_queued(outcome, quiet)
        if as_json:
            from queuectl.spool.reading import shapes

            outcomes_shown.append(shapes.submitted(outcome, id=fields.get("id")))
    if as_json:
        print_json(outcomes_shown)
    return queued, code


def _fields_of_sweep(*, timeout: str | None, **options: Any) -> dict[str, Any]:
    """The options as fields of a body with places, which its timeout and what it waits for may have too."""
    conditions = {str(rule): [*options[rule]] for rule in RULES if any("{" in text for text in options[rule])}
    options.update(dict.fromkeys(conditions, ()))
    if timeout is None or "{" not in timeout:
        return {**fields_of(timeout=timeout, **options), **conditions}
    return {**fields_of(**options), "timeout": timeout, **conditions}


def fields_of(
    *, at: str | None, in_: str | None, env: tuple[str, ...], seats: tuple[str, ...], **options: Any
) -> dict[str, Any]:
    """The options as fields of a job body."""
    conditions = {rule: options.pop(rule) for rule in RULES}
    given = {name: value for name, value in {**options, "seats": ",".join(seats) or None}.items() if value is not None}
    if any(conditions.values()):
        from queuectl.cli.references import condition

        given.update(condition(conditions))
    for name, value in given.items():
        parse = FIELDS[name].parse
        if parse is not None and isinstance(value, str):
            given[name] = parse(value, now())
    if at is not None or in_ is not None:
        given["run_at"] = _run_at(at, in_)
    if env:
        given["env"] = {_in_utf8(name): _in_utf8(value) for name, value in map(_variable, env)}
    if "cwd" in given:
        given["cwd"] = _in_utf8(given["cwd"])
    return given


def _in_utf8(text: str) -> str:
    """An argument as it would be in a UTF-8 locale, whatever this one is."""
    return os.fsencode(text).decode("utf-8", "surrogateescape")


def _run_at(at: str | None, in_: str | None) -> str:
    from datetime import timedelta

    from queuectl.core.names import format_rfc3339
    from queuectl.core.when import parse_duration, parse_when

    if at is not None and in_ is not None:
        raise UsageError("both --at and --in", hint="use one of them")
    moment = parse_when(at, now()) if at is not None else now() + timedelta(seconds=parse_duration(in_ or ""))
    return format_rfc3339(moment) or ""


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        if name not in os.environ:
            raise UsageError(f"--env {name}: not set in this environment", hint=f"give it a value: --env {name}=…")
        value = os.environ[name]
    return name, value


def _warn_of_group(spool: Layout, given: dict[str, Any]) -> None:
    """Say that --group has no settings, if a group of nearly that name has some."""
    if "group" not in given:
        return
    from queuectl.core.groups import find_slip
    from queuectl.spool.system import groups as group_files

    slip = find_slip(given["group"], group_files.names(spool))
    if slip is not None:
        note("warning: the group {} has no settings; did you mean {}, which has?".format(*slip))


def _checked(fields: dict[str, Any], where: str) -> dict[str, Any]:
    """Refuse a job that cannot run before anything is queued, or a spool created for it."""
    try:
        body.validate({**fields, "cwd": None})
    except InvalidJobError as error:
        error.what = f"{where} is not a runnable job"
        raise
    return fields


def _say_queued(job: Job, quiet: bool) -> None:
    """Print the id on stdout, and what else a person wants to know on stderr."""
    say(job.id)
    if isinstance(job, ExistingJob) and not quiet:
        note(describe_existing(job))
    if quiet or job.body is None:
        return
    for warning in job.body.warnings:
        note(f"warning: {warning}")
    warn_of_directory(job, note)
    if job.is_held:
        note(f"held; to let it start: queuectl release {job.id}")
    elif job.is_waiting:
        note(f"waits for {shown_in_a_line(' '.join(job.body.references))}")
    elif job.result is not None:
        if not isinstance(job, ExistingJob):
            note(why_skipped(job))
    elif job.run_at is not None and job.body.run_at is not None:
        from queuectl.core.text import format_instant, format_when

        is_late = job.run_at <= now()
        if is_late and isinstance(job, ExistingJob):
            return
        starts = "starts at once; was due at" if is_late else "starts at"
        note(f"{starts} {format_instant(job.run_at)} ({format_when(job.run_at, now())})")
