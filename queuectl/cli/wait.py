"""`queuectl wait`, and how a job's end becomes an exit code."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, show_error, shown_in_a_line
from queuectl.cli.filters import NAMES, filter_options, is_given, make_filter
from queuectl.cli.targets import ids_argument, is_selection, read_ids, take_groups
from queuectl.core.job import Job
from queuectl.core.names import FinishedName, Name
from queuectl.core.result import State
from queuectl.core.text import format_age, format_count, format_seconds
from queuectl.core.values import command_text
from queuectl.errors import BrakedError, NotFoundError, QueuectlError, WaitTimeoutError
from queuectl.spool.reading.filters import Filter, select
from queuectl.spool.reading.itself import itself
from queuectl.spool.reading.waiting import ends
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now

if TYPE_CHECKING:
    from queuectl.cli.meter import Meter

TIMED_OUT = 124
"""The code of a job that timed out, as for timeout(1)."""


@click.command()
@ids_argument(metavar="[ID... | -]")
@click.option("--all", "every", is_flag=True, help="Every job that is running or waiting now, except held ones.")
@filter_options
@click.option("--any", "any_one", is_flag=True, help="Return as soon as one of them ends.")
@click.option("--timeout", metavar="TIME", help="Longest time to wait: 90, 5m, 1h30m. Then the exit code is 5.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@json_option
def wait(any_one: bool, timeout: str | None, quiet: bool, as_json: bool, **given: Any) -> None:
    """Wait until jobs are done or dead, and exit with their code.

    For one job, or with --any, the code is the job's: that of its command, 124 if it timed out,
    128 + N if signal N ended it, 1 if it was cancelled, lost or invalid. For several it is 0 if all
    succeeded, else 1. Prints each job as it ends. A job that waits leaves itself out.

    Filters select jobs in every state: one that has ended already counts as much as one that still runs, so
    leave out what ended earlier with --since, which keeps all that have not ended. Held jobs are not waited
    for, except with --state held. The code is 3 if no job matches, or - reads no ids. For a
    group, stderr shows how far it is: as a bar on a terminal, elsewhere as a line when that changes.

    \b
    Example:
      queuectl wait report && echo "it is there"
      queuectl wait --any --timeout 1h one two
      queuectl wait --match '^resize-' --since 1d
      queuectl wait lr.
    """
    spool = open_spool()
    take_groups(spool, given)
    is_selected = is_selection(given)
    found = _select(spool, given, quiet=quiet) if is_selected else [*spool.get_all(read_ids(given["ids"]))]
    jobs = _without_itself(spool, list({job.id: job for job in found}.values()), is_named=not is_selected)
    if not jobs:
        if as_json and not quiet:
            print_json([])
        click.get_current_context().exit(0 if found else _none_match(spool, given, is_selected=is_selected))
    terms: dict[str, Any] = {"any_one": any_one, "timeout": _seconds(timeout), "quiet": quiet, "as_json": as_json}
    if not given["groups"] or any_one:
        click.get_current_context().exit(wait_for(spool, jobs, **terms))
    click.get_current_context().exit(_wait_for_group(spool, given, jobs, terms, {job.id for job in found}))


def _wait_for_group(spool: Spool, given: dict[str, Any], jobs: list[Job], terms: dict[str, Any], seen: set[str]) -> int:
    """Wait for jobs of a group, and for those that join it in the meantime; 0 if all succeeded, else a failure.

    `seen` are the ids of those that are in it now.
    """
    code = 0
    terms["meter"] = meter = None if terms["quiet"] else _meter_of(spool, given)
    deadline = None if terms["timeout"] is None else time.monotonic() + terms["timeout"]
    while jobs and code in (0, 1):
        if deadline is not None:
            terms["timeout"] = max(0.0, deadline - time.monotonic())
        failed = wait_for(spool, jobs, **terms, is_many=True)
        code = code or failed
        seen |= {job.id for job in jobs}
        jobs = [job for job in _select(spool, given, quiet=True) if job.id not in seen]
    if meter is not None:
        meter.update(is_last=True)
    return code


def _meter_of(spool: Spool, given: dict[str, Any]) -> Meter | None:
    """What shows on stderr how far a group is; None for several, and for a part of one."""
    if len(given["groups"]) > 1 or any(given[name] for name in NAMES if name != "groups"):
        return None
    from queuectl.cli.meter import Meter

    return Meter(spool.layout, given["groups"][0], sys.stderr)


_LEFT = "running,pending"


def _select(spool: Spool, given: dict[str, Any], *, quiet: bool) -> list[Job]:
    """The jobs that the filters select, without held ones unless those are asked for; says what may surprise."""
    found = list(select(spool.layout, _filter(given)))
    is_for_held = "held" in ",".join(given["state"]).split(",")
    jobs = [job for job in found if is_for_held or not job.is_held]
    held = [job.id for job in found if job.is_held and not is_for_held]
    if held and not quiet:
        note(f"not waiting for {format_count(len(held), 'held job')}: {_some(held)}")
    ended = [job.finished_at for job in jobs if job.finished_at is not None]
    if ended and not quiet and not given["state"]:
        since = "" if len(ended) == len(jobs) else f"; to wait for the others alone: --state {_LEFT}"
        note(f"{len(ended)} of {len(jobs)} ended before, the first {format_age(min(ended), now())}{since}")
    return jobs


def _filter(given: dict[str, Any]) -> Filter:
    """What the options select: with --all alone, the jobs that are left.

    --since leaves out those that ended earlier and no others: what has not ended will end later than that.
    """
    is_all_left = given["every"] and not is_given(given)
    wanted = make_filter({**given, "state": (_LEFT,)} if is_all_left else given)
    since, where = wanted.since, wanted.where
    if since is None:
        return wanted

    def takes(name: Name) -> bool:
        return not (isinstance(name, FinishedName) and name.finished_at < since) and (where is None or where(name))

    return replace(wanted, since=None, where=takes)


def _none_match(spool: Spool, given: dict[str, Any], *, is_selected: bool) -> int:
    """Say that there is nothing to wait for; the exit code. An empty queue is what --all waits for."""
    if not is_selected:
        return show_error(NotFoundError("no ids on stdin", "there is nothing to wait for"))
    if given["every"] and not is_given(given):
        note("no job is running or waiting")
        return 0
    if next(select(spool.layout, _filter(given), 1), None) is not None:
        return show_error(NotFoundError("nothing to wait for", "only held jobs match", "see: queuectl release --help"))
    return show_error(NotFoundError("no job matches", hint="see what there is: queuectl list"))


def _some(ids: list[str]) -> str:
    return ", ".join(ids[:3]) + (", …" if len(ids) > 3 else "")


def _without_itself(spool: Spool, jobs: list[Job], *, is_named: bool) -> list[Job]:
    """The jobs without the one that this command is a part of; raises UsageError if that is the only one named."""
    own = itself(spool.layout)
    others = [job for job in jobs if not own.runs(job.name)]
    if len(others) < len(jobs):
        if is_named and not others:
            own.refuse_to_wait(jobs)
        ids = " and ".join(job.id for job in jobs if own.runs(job.name))
        note(f"not waiting for {ids}, which this command is a part of")
    return others


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    from queuectl.core.when import parse_duration

    return parse_duration(text)


def wait_for(
    spool: Spool,
    jobs: list[Job],
    *,
    any_one: bool = False,
    timeout: float | None = None,
    quiet: bool = False,
    as_json: bool = False,
    is_many: bool = False,
    meter: Meter | None = None,
) -> int:
    """Wait for jobs and report each as it ends; the exit code that `queuectl wait` promises.

    With `is_many` one job is treated as several are. A `meter` is kept up to date.
    """
    ended: list[Job] = []
    code = 0
    try:
        outcomes = (
            spool.ends(jobs, timeout=timeout) if meter is None else ends(spool.layout, jobs, timeout, meter.update)
        )
        for outcome in outcomes:
            if meter is not None:
                meter.clear()
            if isinstance(outcome, QueuectlError):
                failed = show_error(outcome)
                code = code or failed
            else:
                ended.append(outcome)
                if not quiet and not as_json:
                    command = f"  {command_text(outcome)}" if len(jobs) > 1 else ""
                    click.echo(shown_in_a_line(describe(outcome) + command))
            if any_one:
                break
    except (WaitTimeoutError, BrakedError) as error:
        if meter is not None:
            meter.clear()
        code = show_error(error)
    if as_json and not quiet:
        print_json([job.to_json() for job in ended])
    if code:
        return code
    if (len(jobs) == 1 and not is_many) or any_one:
        return code_of(ended[0])
    return 0 if all(map(_is_good, ended)) else 1


def describe(job: Job) -> str:
    """A finished job in a line: its id, how it ended, and how long its last attempt took."""
    took = f" in {format_seconds(job.duration)}" if job.duration else ""
    return f"{job.id} {job.result}{took}"


def _is_good(job: Job) -> bool:
    return code_of(job) == 0


def code_of(job: Job) -> int:
    """The exit code for how a job ended. One that was skipped although nothing had failed has ended well."""
    result = job.result
    if result is None:
        return 1
    if result.is_skipped:
        return 0 if job.state is State.DONE else 1
    if result.kind == "exit":
        return result.code or 0
    if result.kind == "signal":
        return 128 + (result.code or 0)
    return TIMED_OUT if result.kind == "timeout" else 1
