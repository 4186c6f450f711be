"""`queuectl dlq`: the dead letters"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import click

from queuectl.cli.context import color_option, has_colour, json_option, note, open_spool, print_json, print_table
from queuectl.cli.filters import filter_options, make_filter
from queuectl.cli.groups import Group
from queuectl.cli.list import SHOWN, limit_of, limit_option, print_jobs
from queuectl.cli.retry import AGAIN
from queuectl.cli.targets import Verb, act, drop_job
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import format_age
from queuectl.errors import NotFoundError, WrongStateError
from queuectl.spool.reading.filters import select, select_names
from queuectl.spool.reading.query import find
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now

_RETRY = Verb("retry", AGAIN, (State.DEAD,), "dead", brings_back=True)
_DROP = Verb("drop", "dropped", (State.DEAD,), "dead")


@click.group(cls=Group)
def dlq() -> None:
    """List, explain, retry or drop dead letters.

    Dead letters are the jobs that failed for good: they ran out of retries, they were cancelled, or
    their files were not runnable jobs. What was skipped because of one of these is among them too, and comes
    back with it.

    \b
    Example:
      queuectl dlq list
      queuectl dlq causes
      queuectl dlq retry --all
    """


@dlq.command("list")
@filter_options
@limit_option(50)
@color_option
@json_option
def list_(limit: int | None, color: str, as_json: bool, **given: Any) -> None:
    """List the dead letters, newest first.

    \b
    Example:
      queuectl dlq list
      queuectl dlq list --result failed
      queuectl dlq list --result timeout --json | jq -r '.[].id'
    """
    wanted = make_filter(given, (State.DEAD,), "dead")
    at_most = limit_of(limit, 50, is_table=not as_json)
    found = select(open_spool().layout, wanted, at_most and at_most + 1)
    columns = [name for name in SHOWN if name not in ("state", "priority")]
    jobs = _Noting(found)
    print_jobs(jobs, at_most, as_json, columns=columns, empty="no dead letters", is_coloured=has_colour(color))
    if jobs.has_skipped and not as_json:
        note("skipped ones come back when their cause is retried; to leave them out: --result failed")


class _Noting:
    """Jobs, and whether any of those that were listed was skipped."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._jobs = jobs
        self.has_skipped = False

    def __iter__(self) -> Iterator[Job]:
        for job in self._jobs:
            self.has_skipped |= job.result is not None and job.result.is_skipped
            yield job


@dlq.command("causes")
@filter_options
@limit_option(20)
@json_option
def causes(limit: int | None, as_json: bool, **given: Any) -> None:
    """Say why jobs failed: dead letters that ended alike, counted.

    Those are alike that have the same result and the same last line of output, apart from numbers (N), paths (/…) and
    the job's id (ID). Of more than 100,000 dead letters the newest are looked at.

    \b
    Example:
      queuectl dlq causes
      queuectl dlq causes --since 1h --group gpu --json
    """
    from queuectl.spool.reading.causes import MOST, CauseReader

    spool = open_spool()
    wanted = make_filter(given, (State.DEAD,), "dead")
    names = (name for _, name in select_names(spool.layout, wanted))
    at_most = limit_of(limit, 20, is_table=not as_json)
    found = CauseReader(spool.layout).causes(islice(names, MOST), MOST if at_most is None else at_most)
    if as_json:
        print_json([cause.to_json() for cause in found.found])
        return
    if not found.found:
        note("no dead letters")
        return
    at = now()
    rows = [
        (f"{cause.count}", cause.result, format_age(cause.last, at) if cause.last else "", cause.id, cause.said)
        for cause in found.found
    ]
    print_table(("COUNT", "RESULT", "LAST", "NEWEST", "LAST LINE"), rows)
    if found.kinds > len(found.found):
        note(f"{found.kinds - len(found.found)} more; to see them: --limit 0")


@dlq.command("retry")
@_RETRY.options()
def retry(every: bool, **given: Any) -> None:
    """Start dead jobs again, from their first attempt.

    \b
    Example:
      queuectl dlq retry job-fail
      queuectl dlq retry --all
    """
    spool = open_spool()
    if every:
        given["yes"] = True  # starting them again loses nothing
    act(spool, _RETRY, {**given, "every": every}, lambda id: spool.retry(_find_dead(spool, id)))


def _find_dead(spool: Spool, id: str | Job) -> Job:
    """The dead letter of that id, or the only one whose id begins so; raises WrongStateError for another job."""
    if isinstance(id, Job):
        return id if id.state is State.DEAD else _find_dead(spool, id.id)
    try:
        return find(spool.layout, id, (State.DEAD,))
    except NotFoundError:
        job = find(spool.layout, id)
    raise WrongStateError(f"job {job.id} is {job.state}", "this applies only to dead jobs")


@dlq.command("drop")
@_DROP.options()
def drop(**given: Any) -> None:
    """Delete dead jobs and their logs for good.

    Their ids are printed, and can be used again.

    \b
    Example:
      queuectl dlq drop job-fail
      queuectl dlq drop --until 30d --match nightly
    """
    spool = open_spool()
    act(spool, _DROP, given, lambda id: drop_job(spool, _find_dead(spool, id)))
