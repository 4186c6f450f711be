"""`queuectl status`"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from queuectl.cli.context import (
    STATE_COLOURS,
    color_option,
    complete_groups,
    has_colour,
    json_option,
    open_spool,
    painted,
    print_json,
    shown,
)
from queuectl.cli.pause import describe_pause
from queuectl.core import groups
from queuectl.core.admission import Group, Pause, of_group
from queuectl.core.text import format_count, format_seconds, format_size, format_when, printable
from queuectl.errors import NotFoundError, UsageError
from queuectl.spool.reading import admission, shapes
from queuectl.spool.reading.groups import examine_all
from queuectl.spool.reading.query import Counts
from queuectl.spool.store import Spool
from queuectl.spool.system import files
from queuectl.spool.system.clock import now

if TYPE_CHECKING:
    from queuectl.spool.reading.batch import Batch
    from queuectl.spool.reading.schedules import Summary

_INTERVAL = 2.0
_SHARE = 10  # looking takes a tenth of the time at most


@click.command()
@click.argument("of", required=False, metavar="[GROUP.]", shell_complete=complete_groups)
@click.option("-g", "--group", metavar="GROUP", shell_complete=complete_groups, help="How far the jobs of a group are.")
@click.option("--watch", is_flag=True, help="Repeat until Ctrl-C; of a group, until its jobs have ended.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    help="Time between updates, with --watch. [default: 2]",
)
@color_option
@json_option
def status(of: str | None, group: str | None, watch: bool, interval: float | None, color: str, as_json: bool) -> None:
    """Show job counts, workers and free space.

    With a group, show how far its jobs are.
    Ready jobs are due; scheduled ones wait for their time, retrying ones for their next attempt.
    Of a group it estimates, from how long its last jobs took, when all will have ended. With --watch it then follows
    them to their end, with a line for each change, or a bar on a terminal, and exits like `queuectl wait`.

    \b
    Example:
      queuectl status
      queuectl status --json | jq .counts.ready
      queuectl status --watch
      queuectl status lr.
    """
    if interval is not None and not watch:
        raise UsageError("--interval is for --watch", hint="give both of them")
    name = _group_of(of, group)
    spool = open_spool()
    if not watch:
        if name is None:
            _show(spool, as_json, has_colour(color))
        else:
            _look(spool, name, as_json)
        return
    is_terminal = sys.stdout.isatty()
    last = None
    while True:
        begun = time.monotonic()
        if is_terminal and not as_json:
            click.clear()
        if name is None:
            _show(spool, as_json, has_colour(color))
            if not as_json and not is_terminal:
                click.echo()
        else:
            last = _look(spool, name, as_json, last)
            if not (last.running or last.waiting):
                click.get_current_context().exit(int(last.is_bad))
        sys.stdout.flush()
        took = time.monotonic() - begun
        time.sleep(max(interval or _INTERVAL, _SHARE * took))


def _group_of(of: str | None, group: str | None) -> str | None:
    """The group that is meant; None for the whole queue."""
    if of is not None and group is not None:
        raise UsageError(f"both {of} and --group", hint="name one group")
    if of is not None and not of.endswith("."):
        raise UsageError(f"not a group: {of!r}", hint=f"try: queuectl status {of}. or, for a job, queuectl show {of}")
    return None if of is None and group is None else groups.require_name((of or group or "").removesuffix("."))


def _look(spool: Spool, group: str, as_json: bool, last: Batch | None = None) -> Batch:
    """Look once, and print, but no line for people that says the same as the last."""
    from queuectl.cli import meter
    from queuectl.spool.reading import batch

    seen = batch.look(spool.layout, group, now())
    if not seen.total:
        raise NotFoundError(f"no job is in the group {group}", hint="see: queuectl group list --all")
    if as_json:
        print_json(seen.to_json())
    elif sys.stdout.isatty():
        import shutil

        click.echo(meter.as_bar(seen, shutil.get_terminal_size().columns - 1))
    elif last is None or not seen.is_like(last):
        click.echo(f"{seen.group}: {meter.in_words(seen)}")
    return seen


def _show(spool: Spool, as_json: bool, is_coloured: bool) -> None:
    """Look once, and print."""
    counts, workers = spool.counts(), list(spool.workers())
    free, inodes = admission.room(spool.layout)
    groups = examine_all(spool.layout, now)
    schedules = _look_at_schedules(spool)
    if as_json:
        print_json(shapes.status(spool.layout, spool.paused(), counts, workers, free, inodes, groups, schedules))
        return
    alive = [worker for worker in workers if worker["alive"]]
    remarks = {
        "ready": f"the oldest has waited {_age(counts)}" if counts.oldest_ready else "",
        "scheduled": f"the next starts {format_when(counts.next_run_at, now())}" if counts.next_run_at else "",
        "held": "to release them: queuectl release",
        "waiting": "for other jobs; see: queuectl graph",
        "asking": "for their keys; a worker finishes that if their submit was interrupted",
        "done": f"{counts.skipped_done} of them skipped" if counts.skipped_done else "",
        "dead": "; ".join(_of_dead(counts)),
    }
    click.echo(shown(f"spool      {spool.path}"))
    _print_stops(spool.paused(), groups)
    if not counts.scheduled and counts.retrying:
        remarks["retrying"] = remarks.pop("scheduled")
    for name in ("ready", "scheduled", "retrying", "held", "waiting", "asking", "running", "done", "dead"):
        if name in ("held", "waiting", "asking") and not getattr(counts, name):
            continue
        number = getattr(counts, name)
        line = painted(f"{name:<10} {number:<8}", STATE_COLOURS.get(name, "") if number else "", is_coloured)
        click.echo(f"{line} {remarks.get(name, '')}".rstrip(), color=is_coloured or None)
    if counts.dropped:
        click.echo(f"dropped    {counts.dropped:<8} files in pending/ that no worker has adopted yet")
    if counts.ignored:
        name = counts.ignored_name if len(counts.ignored_name) <= 16 else f"{counts.ignored_name[:15]}…"
        click.echo(f"ignored    {counts.ignored:<8} in pending/, such as {printable(name)}; see: queuectl fsck")
    if schedules is not None:
        _print_schedules(schedules, has_worker=bool(alive))
    if not alive:
        hint = "start one: queuectl worker start" if counts.pending or counts.dropped or schedules else ""
        click.echo(f"workers    {'none':<8} {hint}".rstrip())
    for worker in alive:
        slots = format_count(worker.get("slots", 0), "slot")
        stops = ", stopping" if worker["state"] == "stopping" else ""
        click.echo(f"worker     {worker['worker']}  {slots}, runs {len(worker['runs'])}{stops}")
    lost = sum(len(worker["runs"]) for worker in workers if not worker["alive"])
    if lost:
        click.echo(f"orphaned   {lost:<8} jobs of dead workers; the next worker takes them over")
    room = "" if inodes is None else f", {inodes} inodes"
    click.echo(f"free       {format_size(free)}{room}")


def _of_dead(counts: Counts) -> Iterator[str]:
    if counts.skipped_dead:
        yield f"{counts.skipped_dead} of them skipped"
    if counts.dead:
        yield "see: queuectl dlq list"


def _look_at_schedules(spool: Spool) -> Summary | None:
    """What to say of the schedules; None if there are none."""
    if files.is_gone(spool.layout.schedules):
        return None
    from queuectl.spool.reading.schedules import look

    found = look(spool.layout)
    return found if found.total else None


def _print_schedules(found: Summary, *, has_worker: bool) -> None:
    said = []
    if found.waiting_since is not None:
        since = format_when(found.waiting_since, now())
        wait = "" if has_worker else ", and no worker is there to make their jobs"
        said.append(f"{found.waiting} due, the first {since}{wait}")
    elif found.next_tick is not None:
        no_worker = "" if has_worker else ", if a worker runs by then"
        said.append(f"the next makes a job {format_when(found.next_tick, now())}{no_worker}")
    said += [f"{found.paused} paused"] if found.paused else []
    click.echo(f"{'schedules':<10} {found.total:<8} {'; '.join(said)}".rstrip())
    for view in found.wrong:
        click.echo(shown(f"{'schedule':<10} {view.name} makes no jobs: {view.problem}"))


def _print_stops(pause: Pause | None, groups: list[Group]) -> None:
    """Why no jobs are started, or none of a group."""
    if pause is not None:
        click.echo(shown(f"paused     {describe_pause(pause)}"))
        if pause.reason:
            click.echo(shown(f"           {pause.reason}"))
        click.echo("           no jobs are started; to continue: queuectl resume")
    for reason in (reason for group in groups for reason in of_group(group)):
        click.echo(shown(f"group      {reason.text}"))


def _age(counts: Counts) -> str:
    assert counts.oldest_ready is not None
    return format_seconds(max(0.0, (now() - counts.oldest_ready).total_seconds()))
