"""`queuectl group`"""

from __future__ import annotations

import click

from queuectl.cli.context import complete_groups, json_option, note, open_spool, print_json, print_table, shown
from queuectl.cli.groups import Group
from queuectl.cli.meter import format_rate
from queuectl.cli.pause import describe_pause
from queuectl.core import admission, groups
from queuectl.core.admission import Group as Settings
from queuectl.core.seats import Seats, name_of
from queuectl.core.text import format_count, format_seconds
from queuectl.errors import NotFoundError, UsageError
from queuectl.spool.reading import batch, shapes
from queuectl.spool.reading.batch import Batch
from queuectl.spool.reading.groups import Tally, count, find_oldest, read_all
from queuectl.spool.store import Spool
from queuectl.spool.system import defaults, files
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.clock import now
from queuectl.spool.system.seats import Holder, find_held

_COLUMNS = ("ready", "waiting", "running", "done", "dead")


@click.group(cls=Group)
def group() -> None:
    """Show groups of jobs, and limit how many of a group run at once.

    A job is in every group that its id names before a dot: gpu.train.7 is in gpu and gpu.train. A setting of a
    group is a file, groups/GROUP/KEY in the spool.

    \b
    Example:
      queuectl group set gpu limit=2
      queuectl enqueue -g gpu -- ./train.py
      queuectl group list
    """


@group.command("list")
@click.option("--all", "every", is_flag=True, help="Also groups of one job without settings.")
@json_option
def list_(every: bool, as_json: bool) -> None:
    """List the groups that have settings or several jobs.

    \b
    Example:
      queuectl group list
    """
    spool = open_spool()
    tallies = count(spool.layout, now=now())
    found = read_all(spool.layout, {*group_files.names(spool.layout), *tallies}, now())
    names = sorted({*found, *(name for name, tally in tallies.items() if every or tally.total > 1)})
    seen = batch.look_at_active(spool.layout, {name: tallies[name] for name in names if name in tallies}, now())
    rows = [(found.get(name, Settings(name)), tallies.get(name, Tally()), seen.get(name)) for name in names]
    if as_json:
        print_json([shapes.group(spool.layout, *row) for row in rows])
    elif rows:
        ahead = ("GROUP", *(column.upper() for column in _COLUMNS))
        header = (*ahead, "PER_MINUTE", "LEFT", "LIMIT", "SEATS", "MAX_FAILED", "STATE")
        print_table(header, [_row(spool, *row) for row in rows])
    else:
        note("no groups: the id of a job in one begins with its name and a dot; see: queuectl enqueue --group")


def _row(spool: Spool, group: Settings, tally: Tally, seen: Batch | None) -> tuple[str, ...]:
    limit = "" if group.limit is None else str(group.limit)
    brake = group.max_failed or ""
    seats = "" if group.seats is None else f"{len(find_held(spool.layout, group.name))}/{len(group.seats)}"
    return (group.name, *map(str, tally), *_rates(seen).values(), limit, seats, brake, _state(group, tally))


def _show_seats(spool: Spool, name: str, seats: Seats) -> None:
    held = find_held(spool.layout, name)
    click.echo(f"{'seats':<10} {seats}, {len(held)} of {len(seats)} held")
    for lock, holder in held.items():
        click.echo(shown(f"{'':<10} {name_of(lock)}: {holder.id or 'held by hand'}{_elsewhere(spool, holder)}"))


def _rates(seen: Batch | None) -> dict[str, str]:
    """How many end in a minute and how long the rest takes, as far as that is known, else empty."""
    rate, left = (None, None) if seen is None else (seen.per_minute, seen.left)
    return {
        "per minute": "" if rate is None else format_rate(rate),
        "left": "" if left is None else format_seconds(left),
    }


def _state(group: Settings, tally: Tally) -> str:
    """What keeps its jobs from starting, in a word or two."""
    if group.problem:
        return group.problem
    if group.paused is not None:
        return f"paused: {group.paused.reason}" if group.paused.reason else "paused"
    return "full" if group.limit is not None and tally.running >= group.limit else ""


@group.command("show")
@click.argument("name", metavar="GROUP", shell_complete=complete_groups)
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the jobs and settings of one group.

    \b
    Example:
      queuectl group show gpu
    """
    spool = open_spool()
    group, tally = _find(spool, name)
    if as_json:
        print_json(shapes.group(spool.layout, group, tally, _look(spool, group.name, tally)))
        return
    click.echo(f"{'group':<10} {group.name}")
    for column, number in zip(_COLUMNS, tally, strict=True):
        click.echo(f"{column:<10} {number}")
    for word, text in _rates(_look(spool, group.name, tally)).items():
        if text:
            click.echo(f"{word:<10} {text}")
    if group.limit is not None:
        click.echo(f"{'limit':<10} {group.limit}")
    if group.seats is not None:
        _show_seats(spool, group.name, group.seats)
    if group.seat_env is not None:
        click.echo(f"{'seat-env':<10} {group.seat_env}")
    if group.max_failed is not None:
        click.echo(f"{'max-failed':<10} {group.max_failed}")
    for key, text in defaults.describe(group.defaults):
        click.echo(f"{key:<10} {text}  for jobs that do not set it")
    if group.paused is not None:
        click.echo(shown(f"{'paused':<10} {describe_pause(group.paused)}"))
    for reason in admission.of_group(group, tally.running):
        click.echo(shown(f"{'':<10} {reason.text}"))


def _look(spool: Spool, name: str, tally: Tally) -> Batch | None:
    return batch.look_at_active(spool.layout, {name: tally}, now()).get(name)


def _elsewhere(spool: Spool, holder: Holder) -> str:
    return f" of {holder.spool}" if holder.spool and holder.spool != spool.layout.root else ""


def _find(spool: Spool, text: str) -> tuple[Settings, Tally]:
    """A group that has settings or jobs; raises NotFoundError for any other."""
    name = groups.require_name(text.removesuffix("."))
    tally = count(spool.layout, name, now()).get(name, Tally())
    group = group_files.examine(spool.layout, name, now)
    if group is None and not tally.total:
        raise NotFoundError(f"no group {name}", "no job is in it, and it has no settings", "see: queuectl group list")
    return group or Settings(name), tally


def _complete_setting(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [f"{key}=" for key in group_files.KEYS if key.startswith(incomplete)]


@group.command("set")
@click.argument("name", metavar="GROUP", shell_complete=complete_groups)
@click.argument("settings", nargs=-1, required=True, metavar="KEY=VALUE...", shell_complete=_complete_setting)
@json_option
def set_(name: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Change settings of a group: its limits, seats and defaults.

    limit is how many jobs of the group may run at once, on all workers together; 0 starts none. When max-failed jobs
    (or 5% of those that end) have failed since the group was last resumed, the group pauses itself. seats are things
    of this host of which each job gets one: a number, or names with a comma (seats.HOST: of that host);
    seat-env is a variable that names them to the job, as QUEUECTL_SEAT_GROUP does.

    priority (of jobs to come), timeout, max-retries, backoff-base, backoff-max, backoff-jitter, retry-on,
    no-retry-on, on-lost, max-log and on-max-log hold for jobs that do not set them; the inner group goes first.

    \b
    Example:
      queuectl group set gpu limit=2 max-failed=10
      queuectl group set gpu seats=4 seat-env=CUDA_VISIBLE_DEVICES
      queuectl group set net limit=none timeout=10m max-retries=8
    """
    group_name = groups.require_name(name.removesuffix("."))
    pairs = [_parse(group_name, text, settings) for text in settings]
    spool = open_spool(create=True)
    for key, value in pairs:
        if value.lower() == "none":
            group_files.unset(spool.layout, group_name, key)
        else:
            group_files.write(spool.layout, group_name, key, value)
    _report(spool, group_name, as_json)


def _parse(group: str, text: str, settings: tuple[str, ...]) -> tuple[str, str]:
    """A key and its value, checked before anything is written."""
    key, equals, value = text.partition("=")
    if not equals and len(settings) == 1 and key.isdecimal():
        raise UsageError(f"{text} of what?", hint=f"did you mean: queuectl group set {group} limit={text}")
    key = _require_key(key, f"queuectl group set {group} {{}}={value or 'VALUE'}")
    if not equals:
        given = settings[1] if len(settings) == 2 and settings[0] == text and "=" not in settings[1] else "2"
        hint = f"try: queuectl group set {group} {key}={given}, or queuectl group unset {group} {key}"
        raise UsageError(f"{text} has no value", hint=hint)
    if value.lower() != "none":
        group_files.check(key, value)
    return key, value


def _require_key(text: str, line: str = "") -> str:
    """The key that was meant. Raises UsageError, with what may have been meant in place of the `{}` of a line."""
    key = text.lower().replace("_", "-")
    if key == "paused":
        raise UsageError("paused is not set this way", hint="try: queuectl pause --group GROUP")
    if key.startswith("seats."):
        key = f"seats.{text.partition('.')[2]}"  # a host's name as it was typed
    if not group_files.is_key(key):
        from queuectl.cli.suggest import find_setting

        meant = find_setting(key)
        hint = f"did you mean: {line.format(meant)}" if meant and line else f"settings: {' '.join(group_files.KEYS)}"
        raise UsageError(f"no such setting of a group: {text!r}", hint=hint)
    return key


@group.command("unset")
@click.argument("name", metavar="GROUP", shell_complete=complete_groups)
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@json_option
def unset(name: str, keys: tuple[str, ...], as_json: bool) -> None:
    """Remove settings of a group.

    \b
    Example:
      queuectl group unset gpu limit
    """
    group_name = groups.require_name(name.removesuffix("."))
    wanted = [_require_key(key) for key in keys]
    spool = open_spool()
    for key in wanted:
        if not group_files.unset(spool.layout, group_name, key):
            note(f"{group_name} had no {key}")
    _report(spool, group_name, as_json)


def _report(spool: Spool, name: str, as_json: bool) -> None:
    """Show what is set now, and whom it concerns; workers look at once."""
    files.ring(spool.layout.bell)
    group = group_files.read(spool.layout, name, now) or Settings(name)
    tally = count(spool.layout, name, now()).get(name, Tally())
    if as_json:
        print_json(shapes.group(spool.layout, group, tally, _look(spool, name, tally)))
        return
    values = ((key, getattr(group, key.replace("-", "_"))) for key in group_files.PARSERS)
    said = " ".join(
        [
            *(f"{key}={value}" for key, value in values if value is not None),
            *(f"{key}={text}" for key, text in defaults.describe(group.defaults)),
        ]
    )
    note(f"{name}: {said or 'no settings'}; {_concerned(spool, name, tally)}")


def _concerned(spool: Spool, name: str, tally: Tally) -> str:
    if not tally.total:
        return "no job is in it yet"
    left = tally.ready + tally.waiting + tally.running
    oldest = f", the oldest {find_oldest(spool.layout, name)}" if tally.total > 1 else ""
    return f"{format_count(tally.total, 'job')} in it{oldest}, {left} of them not ended"
