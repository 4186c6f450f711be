"""`queuectl schedule`"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Any

import click

from queuectl.cli.context import (
    confirm,
    json_option,
    note,
    open_spool,
    print_json,
    print_table,
    say,
    show_error,
    shown,
    spool_to_complete,
)
from queuectl.cli.groups import Group
from queuectl.core import body, schedules
from queuectl.core.cron import Cron
from queuectl.core.schedules import Every, Schedule
from queuectl.core.text import format_seconds, format_when
from queuectl.errors import (
    AlreadyExistsError,
    InvalidJobError,
    NotFoundError,
    NotJsonError,
    QueuectlError,
    UsageError,
)
from queuectl.spool.moves import ticks
from queuectl.spool.reading import schedules as reading
from queuectl.spool.reading.schedules import View
from queuectl.spool.store import Spool, with_directory
from queuectl.spool.system import files, zones
from queuectl.spool.system import schedules as schedule_files
from queuectl.spool.system.clock import now

_SHOWN = 5
"""Ticks that `show` and `check` print."""


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    spool = spool_to_complete(ctx)
    there = schedule_files.names(spool.layout) if spool else []
    return [name for name in there if name.startswith(incomplete)][:200]


_name = click.argument("name", metavar="NAME", shell_complete=_complete)


@click.group(cls=Group)
def schedule() -> None:
    """Run jobs at times, again and again, while a worker runs.

    A schedule is a file, schedules/NAME.json in the spool. Each of its times becomes one job, whose id is
    the name and the time in UTC; they are the group NAME.

    \b
    Example:
      queuectl schedule add nightly --cron "30 2 * * *" -- ./backup.sh /srv
      queuectl schedule list
      queuectl list nightly.
    """


class _Add(click.Command):
    """Notices `--`, which click drops."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_command = "--" in args
        rest = super().parse_args(ctx, args)
        ctx.params["is_command"] = is_command
        return rest


def _job_options(command: Any) -> Any:
    from queuectl.cli.enqueue import job_options

    return job_options(command, without=("group", "id", "run_at"))


@schedule.command("add", cls=_Add)
@_name
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[JSON | -- CMD...]")
@click.option("--cron", metavar="EXPR", help='When, as in a crontab: "30 2 * * 1-5", @daily.')
@click.option("--every", metavar="TIME", help="Instead of --cron: 30s, 15m, 6h, counted from 1970 in UTC.")
@click.option("--timezone", metavar="ZONE", help="Where --cron is meant. [default: the zone of this machine]")
@click.option("--catch-up", metavar="WHAT", help="What was missed: none, last, all, or last if missed by up to 6h.")
@click.option("--overlap", metavar="WHAT", help="While the last job has not ended: skip (the default) or queue.")
@click.option("--jitter", metavar="TIME", help="Start each job later, by up to this and always by the same time.")
@_job_options
@click.option("--replace", "is_replaced", is_flag=True, help="Replace a schedule of that name.")
@click.option("-q", "--quiet", is_flag=True, help="Print only the name.")
@json_option
def add(
    name: str,
    words: tuple[str, ...],
    is_command: bool,
    is_replaced: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Add a schedule: the command, and when to run it.

    One word after -- is a command line for the shell; several words run without a shell. What came before
    it was added is not made up for.

    \b
    Example:
      queuectl schedule add nightly --cron "30 2 * * *" -- ./backup.sh /srv
      queuectl schedule add poll --every 15m --timeout 5m -- ./poll
      queuectl schedule add report --cron "0 8 * * 1-5" --catch-up 6h -- ./report
    """
    own = {key: value for key in schedules.KEYS if (value := options.pop(key)) is not None}
    if not own.keys() & {"cron", "every"}:
        _refuse_times(words)
    schedules.require_name(name)
    fields = _read_fields(words, is_command, options, own)
    if fields.get("cron") and not fields.get("timezone"):
        fields["timezone"] = zones.local_name()
    fields = with_directory(fields)
    made = _checked(name, fields)
    _require_coming(made)
    spool = open_spool(create=True)
    if not is_replaced and not files.is_gone(spool.layout.schedule(name)):
        raise AlreadyExistsError(
            f"there is a schedule {name}",
            hint=f"to change it: queuectl schedule edit {name}; to replace it: --replace",
        )
    _write(spool, name, fields)
    if as_json:
        print_json(reading.look_at(spool.layout, name, now()).to_json())
        return
    say(name)
    if not quiet:
        for warning in made.body.warnings:
            note(f"warning: {warning}")
        _say_times(made)
        _warn(spool, made)


def _refuse_times(words: tuple[str, ...]) -> None:
    """Raise UsageError for times that are words, not the value of an option."""
    if not (words and words[0].lstrip().startswith("{")):
        from queuectl.cli.suggest import times_as_words

        error = times_as_words(click.get_current_context())
        if error is not None:
            raise error


def _read_fields(
    words: tuple[str, ...], is_command: bool, options: dict[str, Any], own: dict[str, Any]
) -> dict[str, Any]:
    """The fields of the file, from the command line or from JSON on it."""
    from queuectl.cli.bodies import read_jobs
    from queuectl.cli.enqueue import fields_of
    from queuectl.core import charset

    given = charset.to_body(fields_of(at=None, in_=None, **options))
    if not words:
        raise UsageError("nothing to run", hint='try: queuectl schedule add NAME --cron "30 2 * * *" -- COMMAND')
    (_, found), *others = read_jobs(words, (), is_command, given, True)
    if others:
        raise UsageError("a schedule has one job", hint="add the others under names of their own")
    merged = body.merge(found, given)
    if ("cron" in own) != ("every" in own):  # it is instead of what the JSON says
        merged = {key: value for key, value in merged.items() if key not in ("cron", "every")}
    return {**merged, **own}


def _checked(name: str, fields: dict[str, Any]) -> Schedule:
    return schedules.parse(name, fields, zones.load)


def _require_coming(made: Schedule) -> None:
    if next(made.ticks(now()), None) is None:
        raise UsageError(f"{made.when} never comes", hint="see: queuectl schedule check EXPR")


def _write(spool: Spool, name: str, fields: dict[str, Any]) -> None:
    from queuectl.core import charset

    whole = charset.to_body(fields)
    try:
        data = f"{body.show(whole)}\n".encode()
    except UnicodeEncodeError:  # a lone surrogate in a field of the user's own
        data = body.encode(whole)
    schedule_files.write(spool.layout, name, data)
    files.ring(spool.layout.bell)


def _say_times(made: Schedule) -> None:
    first = next(made.ticks(now()), None)
    when = f"next {_local(first, made.zone)} ({format_when(first, now())})" if first else "it never comes"
    zone = f", {made.zone_name} time" if isinstance(made.when, Cron) else ""
    note(f"{made.when.explain()}{zone}; {when}")


def _warn(spool: Spool, made: Schedule) -> None:
    """Say what a person may not have thought of."""
    from queuectl.core.groups import chain

    if made.catch_up == "all" and made.overlap == "skip":
        note("of ticks that are caught up all but the first are skipped while it waits; to run each: --overlap queue")
    paused = next((group for group in chain(made.name) if spool.paused(group=group) is not None), None)
    if paused is not None:
        note(f"the group {paused} is paused, so it makes no jobs; to continue: queuectl resume --group {paused}")
    if not any(worker["alive"] for worker in spool.workers()):
        note("no worker is running, so no job is made; start one: queuectl worker start")


def _local(at: datetime, zone: tzinfo) -> str:
    """A time in the zone of its schedule: `2026-11-30 02:30 +0100`."""
    here = at.astimezone(zone)
    return here.strftime("%Y-%m-%d %H:%M:%S %z" if here.second else "%Y-%m-%d %H:%M %z")


# --- showing


@schedule.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the schedules, with their last and next times.

    RESULT is how the last job ended; NEXT has the next three times, in the zone of the schedule.

    \b
    Example:
      queuectl schedule list
      queuectl schedule list --json | jq '.[] | select(.last.result == "exit1")'
    """
    spool = open_spool()
    views = reading.look_at_all(spool.layout, now())
    if as_json:
        print_json([view.to_json() for view in views])
        return
    if not views:
        note('no schedules; to add one: queuectl schedule add NAME --cron "30 2 * * *" -- COMMAND')
        return
    header = ("SCHEDULE", "WHEN", "ZONE", "LAST", "RESULT", "STATE", "NEXT")
    print_table(header, [_row(view) for view in views], expendable=("ZONE", "LAST"))
    for view in views:
        if view.problem:
            note(f"{view.name}: {view.problem}")
    waiting = [view for view in views if view.waiting_since]
    if waiting and not any(worker["alive"] for worker in spool.workers()):
        since = min(view.waiting_since for view in waiting if view.waiting_since)
        note(f"{len(waiting)} due, the first {format_when(since, now())}; no worker is running: queuectl worker start")


def _row(view: View) -> tuple[str, ...]:
    made = view.found.schedule
    state = "wrong" if view.problem else "paused" if view.paused_by else "due" if view.waiting_since else ""
    if made is None:
        return view.name, "", "", _short(view.last.tick, None) if view.last else "", _result(view), state, ""
    zone = made.zone_name if isinstance(made.when, Cron) else ""
    last = _short(view.last.tick, made.zone) if view.last else "never"
    coming = "" if view.paused_by else "  ".join(_short(tick, made.zone) for tick in view.coming)
    return view.name, str(made.when), zone, last, _result(view), state, coming


def _result(view: View) -> str:
    return view.last.result if view.last else ""


def _short(at: datetime, zone: tzinfo | None) -> str:
    here = at.astimezone(zone)
    year = "" if here.year == now().astimezone(zone).year else "%Y-"
    return here.strftime(f"{year}%m-%d %H:%M:%S" if here.second else f"{year}%m-%d %H:%M")


@schedule.command("show")
@_name
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one schedule, its last jobs and its next times.

    \b
    Example:
      queuectl schedule show nightly
    """
    spool = open_spool()
    view = reading.look_at(spool.layout, name, now())
    if as_json:
        print_json(view.to_json())
        return
    lines = [("schedule", view.name), ("file", spool.layout.schedule(name))]
    made = view.found.schedule
    if view.problem:
        lines.append(("problem", view.problem))
    if made is not None:
        lines += _describe(made)
    if view.pause is not None:
        from queuectl.cli.pause import describe_pause

        lines.append(("paused", f"{describe_pause(view.pause)}, by the group {view.paused_by}"))
        lines += [("", view.pause.reason)] if view.pause.reason else []
    if view.waiting_since:
        lines.append(("due", f"since {_local(view.waiting_since, made.zone if made else None) if made else ''}"))
    for number, each in enumerate(reading.find_last(spool.layout, name, _SHOWN)):
        lines.append(
            ("" if number else "last", f"{_local(each.tick, made.zone) if made else each.name.id}  {each.result}")
        )
    if made is not None:
        lines += _next_lines(made, max(now(), view.coming[0] if view.coming and view.problem else now()))
    for key, text in lines:
        click.echo(shown(f"{key:<10} {text}".rstrip()))


def _describe(made: Schedule) -> Iterable[tuple[str, str]]:
    import shlex

    yield "when", f"{made.when}: {made.when.explain()}"
    if isinstance(made.when, Cron):
        yield "timezone", made.zone_name
    command = made.body.command
    yield "command", command if isinstance(command, str) else shlex.join(command)
    catch_up = made.catch_up
    yield "catch-up", catch_up if isinstance(catch_up, str) else f"last, if missed by up to {format_seconds(catch_up)}"
    yield "overlap", made.overlap
    if made.jitter:
        yield (
            "jitter",
            f"{format_seconds(made.jitter)}: each job starts {format_seconds(made.delay.total_seconds())} later",
        )


def _next_lines(made: Schedule, after: datetime) -> list[tuple[str, str]]:
    from itertools import islice

    coming = [*islice(made.ticks(after), _SHOWN)]
    lines = [f"{_local(tick, made.zone)}  {format_when(tick, now())}" for tick in coming]
    return [("" if number else "next", line) for number, line in enumerate(lines)] or [("next", "never")]


@schedule.command("check")
@click.argument("expression", metavar="EXPR")
@click.option("--timezone", metavar="ZONE", help="Where it is meant. [default: the zone of this machine]")
@json_option
def check(expression: str, timezone: str | None, as_json: bool) -> None:
    """Explain an expression of cron, with its next five times.

    A time such as 15m, as --every takes it, is explained as well.

    \b
    Example:
      queuectl schedule check "30 2 * * 1-5"
      queuectl schedule check @daily --timezone Europe/Vienna
      queuectl schedule check 15m
    """
    is_time = len(expression.split()) == 1 and not expression.startswith("@")
    when = schedules.parse_every(expression) if is_time else Cron(expression)
    zone_name = timezone or zones.local_name()
    job = {"command": "true", "every" if isinstance(when, Every) else "cron": expression, "timezone": zone_name}
    made = _checked("check", job)
    lines = _next_lines(made, now())
    if as_json:
        from itertools import islice

        coming = [f"{tick:%Y-%m-%dT%H:%M:%SZ}" for tick in islice(made.ticks(now()), _SHOWN)]
        print_json({"expression": str(when), "explained": when.explain(), "timezone": zone_name, "next": coming})
        return
    click.echo(f"{'when':<10} {when.explain()}")
    if isinstance(when, Cron):
        click.echo(f"{'timezone':<10} {zone_name}")
    for key, text in lines:
        click.echo(f"{key:<10} {text}")


# --- acting


@schedule.command("run")
@_name
@click.option("-q", "--quiet", is_flag=True, help="Print only the id.")
def run(name: str, quiet: bool) -> None:
    """Submit a job of a schedule now, and print its id.

    Its times do not change. While the schedule is paused such a job waits as well.

    \b
    Example:
      queuectl schedule run nightly
      queuectl logs -f $(queuectl schedule run -q nightly)
    """
    spool = open_spool()
    found = schedule_files.find(spool.layout, name)
    other = reading.find_unfinished(spool.layout, name)
    job = ticks.run_now(spool.layout, found, now())
    say(job.id)
    paused = schedule_files.closed_by(spool.layout, name, now)
    if paused and not quiet:
        note(f"it waits, as the group {paused} is paused; to continue: queuectl resume --group {paused}")
    if other and not quiet:
        note(f"{other} has not ended; both may run at once")
    if not quiet and not any(worker["alive"] for worker in spool.workers()):
        note("no worker is running; start one: queuectl worker start")


@schedule.command("pause")
@_name
@click.argument("reason", nargs=-1, metavar="[REASON...]")
@click.option("--until", metavar="TIME", help='When to resume automatically: 30m, "18:30", ISO 8601.')
@json_option
def pause(name: str, reason: tuple[str, ...], until: str | None, as_json: bool) -> None:
    """Pause a schedule: it makes no jobs, and none of them starts.

    This is the same as `pause --group NAME`.

    \b
    Example:
      queuectl schedule pause nightly --until "tomorrow 09:00" new disks
    """
    from queuectl.cli.pause import pause_group

    spool = open_spool()
    schedule_files.find(spool.layout, name)
    pause_group(spool, name, reason, until, as_json)


@schedule.command("resume")
@_name
@json_option
def resume(name: str, as_json: bool) -> None:
    """Resume a schedule that is paused.

    This is the same as `resume --group NAME`. What came in the meantime is not made up for.

    \b
    Example:
      queuectl schedule resume nightly
    """
    from queuectl.cli.pause import resume_group

    spool = open_spool()
    schedule_files.find(spool.layout, name)
    resume_group(spool, name, as_json)


@schedule.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)
def remove(names: tuple[str, ...]) -> None:
    """Remove schedules; jobs that they have made stay.

    \b
    Example:
      queuectl schedule remove nightly
    """
    spool = open_spool()
    for name in names:
        if "/" in name or not schedule_files.remove(spool.layout, name):
            raise NotFoundError(f"no schedule {name!r}", hint="see: queuectl schedule list")
        note(f"removed {name}; its jobs stay: queuectl list {name}.")
    files.ring(spool.layout.bell)


@schedule.command("edit")
@_name
def edit(name: str) -> None:
    """Open a schedule in your editor ($VISUAL, $EDITOR).

    What came before the change is not made up for.

    \b
    Example:
      queuectl schedule edit nightly
    """
    from queuectl.cli.edit import edit_text, require_editor

    spool = open_spool()
    found = schedule_files.find(spool.layout, name)
    require_editor()
    before = text = files.read(spool.layout.schedule(name)).data.decode("utf-8", "surrogateescape")
    while True:
        text = edit_text(text, ".json")
        if text == before:
            note(f"{name}: nothing changed")
            return
        try:
            data = text.encode("utf-8", "surrogateescape")
            made = _checked(name, body.decode(data))
            break
        except (NotJsonError, InvalidJobError) as error:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise _kept(name, text, error) from None
            show_error(error)
            if not confirm("edit it again?", default=True):
                raise _kept(name, text, error) from None
    if not schedule_files.is_unchanged(spool.layout, found):
        raise _kept(name, text, QueuectlError(f"{name} was changed in the meantime", "nothing is saved"))
    schedule_files.write(spool.layout, name, data)
    files.ring(spool.layout.bell)
    _say_times(made)


def _kept(name: str, text: str, error: QueuectlError) -> QueuectlError:
    from queuectl.cli.edit import keep_text

    error.hint = f"your text is in {keep_text(name, text)}"
    return error
