"""`queuectl top`: the queue, its workers and running jobs, live on a terminal"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from queuectl.cli.context import one_group, one_group_option, open_spool
from queuectl.cli.pause import describe_pause
from queuectl.core import groups
from queuectl.core.admission import Pause, of_group
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import format_age, format_count, format_seconds, format_size, printable
from queuectl.core.values import command_text
from queuectl.errors import UsageError
from queuectl.spool.reading import admission, shapes
from queuectl.spool.reading.filters import Filter, select
from queuectl.spool.reading.groups import Tally, count, read_all
from queuectl.spool.reading.progress import with_progress
from queuectl.spool.reading.query import Counts
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now
from queuectl.spool.system.groups import names

if TYPE_CHECKING:
    from curses import window

_SHARE = 10  # looking takes a tenth of the time at most
_ENOUGH = 200  # jobs of a state that any screen can show
_MOST_CLOSED = 3
_GROUP_WORDS = ("ready", "waiting", "done", "dead")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a screen shows, as of `at`; `counts` are those of the group, if it shows only one.

    `closed` says which groups are paused, say, and why.
    """

    at: datetime
    path: str
    pause: Pause | None
    counts: Counts | Tally
    workers: Sequence[dict[str, Any]]
    lost: Sequence[str]
    free: int
    running: Sequence[Job]
    waiting: Sequence[Job]
    ended: Sequence[Job]
    group: str = ""
    closed: Sequence[str] = ()


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between updates.",
)
@one_group_option
def top(interval: float, group: str) -> None:
    """Show running jobs, the queue and the workers, live.

    q quits, any other key updates at once. Shows as much as fits: running jobs first, the
    longest-running on top, then those that come next, then those that ended last.

    \b
    Example:
      queuectl top
      queuectl top --group gpu
    """
    group = one_group(group)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("top needs a terminal", hint="for scripts: queuectl status --json, or status --watch")
    spool = open_spool()
    import curses

    _require_cursor()
    curses.wrapper(lambda screen: _run(screen, spool, interval, group))


def _require_cursor() -> None:
    """Raises UsageError unless the terminal is a known one that can move its cursor."""
    import curses

    with suppress(curses.error):
        curses.setupterm()
        if curses.tigetstr("cup"):
            return
    term = os.environ.get("TERM", "")
    hint = "set TERM to the type of the terminal; on any: queuectl status --watch"
    raise UsageError(f"top cannot draw on a terminal of type {term!r}", hint=hint)


def _run(screen: window, spool: Spool, interval: float, group: str) -> None:
    """Look and draw until q is pressed; a resize redraws what was last seen."""
    import curses

    with suppress(curses.error):  # a terminal without colours
        curses.use_default_colors()
    with suppress(curses.error):  # or that cannot hide its cursor
        curses.curs_set(0)
    while True:
        begun = time.monotonic()
        seen = look(spool, group)
        next_look = time.monotonic() + max(interval, _SHARE * (time.monotonic() - begun))
        while (left := next_look - time.monotonic()) > 0:
            _draw(screen, seen)
            screen.timeout(max(1, round(left * 1000)))
            key = screen.getch()
            if key in (ord("q"), ord("Q")):
                return
            if key not in (-1, curses.KEY_RESIZE):
                break


def _draw(screen: window, seen: Snapshot) -> None:
    import curses

    height, width = screen.getmaxyx()
    screen.erase()
    for row, (text, is_heading) in enumerate(lines_of(seen, max(0, width - 1), height)):
        try:
            screen.addnstr(row, 0, text, max(0, width - 1), curses.A_REVERSE if is_heading else curses.A_NORMAL)
        except curses.error:  # the terminal has shrunk since
            break
    screen.refresh()


def look(spool: Spool, group: str = "") -> Snapshot:
    """What there is to see now, of all jobs or of a group."""
    at = now()
    found = [
        each
        for each in read_all(spool.layout, names(spool.layout), at).values()
        if not group or _is_near(each.name, group)
    ]

    def jobs(state: State, limit: int) -> Iterator[Job]:
        return select(spool.layout, Filter((state,), groups=(group,) if group else ()), limit)

    return Snapshot(
        at=at,
        path=str(spool.path),
        pause=spool.paused(),
        counts=count(spool.layout, group, at).get(group, Tally()) if group else spool.counts(),
        workers=list(spool.workers()),
        lost=[each.advice for each in spool.hosts() if each.advice],
        free=admission.room(spool.layout)[0],
        running=list(with_progress(spool.layout, jobs(State.RUNNING, _ENOUGH))),
        waiting=list(jobs(State.PENDING, _ENOUGH)),
        ended=sorted(
            (*jobs(State.DEAD, 50), *jobs(State.DONE, 50)), key=lambda job: job.finished_at or now(), reverse=True
        ),
        group=group,
        closed=[reason.text for each in found for reason in of_group(each)],
    )


def _is_near(name: str, group: str) -> bool:
    """Whether what keeps jobs of that group from starting concerns jobs of `group`."""
    return name in groups.chain(group) or groups.is_in(name, group)


def lines_of(seen: Snapshot, width: int, height: int) -> list[tuple[str, bool]]:
    """The lines of a screen of that size, and which of them are headings."""
    head = list(_summary(seen, width))
    room = max(0, height - len(head))
    workers = [_worker(worker, seen.at) for worker in seen.workers]
    has_progress = any(job.progress for job in seen.running)
    parts = [
        (_running_header(has_progress), [_running(job, seen.at, has_progress) for job in seen.running]),
        (("NEXT", "ATTEMPTS", "STARTS", "PRIORITY", "COMMAND"), [_waiting(job, seen.at) for job in seen.waiting]),
        (("ENDED", "ATTEMPTS", "WHEN", "RESULT", "COMMAND"), [_ended(job, seen.at) for job in seen.ended]),
        (("WORKERS", "SLOTS", "UP", "VERSION", "RUNS"), workers),
    ]
    shares = _share(room, [len(rows) for _, rows in parts])
    found = [(text, False) for text in head]
    for (header, rows), share in zip(parts, shares, strict=True):
        if share:
            found += _table(header, rows[: share - 1], width)
    return [(text[:width], is_heading) for text, is_heading in found[:height]]


def _share(room: int, sizes: list[int]) -> list[int]:
    """How many lines each table gets, its heading included: an equal part each, then what others leave."""
    wanted = [size + 1 if size else 0 for size in sizes]
    present = sum(1 for want in wanted if want)
    given = [min(want, room // present) if present else 0 for want in wanted]
    for index, want in enumerate(wanted):  # those above take what is left
        extra = min(want - given[index], room - sum(given))
        given[index] += max(0, extra)
    return [share if share > 1 else 0 for share in given]


def _summary(seen: Snapshot, width: int) -> Iterator[str]:
    counts = seen.counts
    clock = seen.at.astimezone().strftime("%H:%M:%S")
    alive = [worker for worker in seen.workers if worker["alive"]]
    slots = sum(worker.get("slots", 0) for worker in alive)
    room = max(1, width - len(clock) - 1)
    what = f"{printable(seen.path)}  group {seen.group}" if seen.group else printable(seen.path)
    yield f"{_fit(what, room):<{room}} {clock}"
    counters = [f"running {counts.running} of {format_count(slots, 'slot')}"]
    words = ("ready", "scheduled", "retrying", "done", "dead") if isinstance(counts, Counts) else _GROUP_WORDS
    counters += [f"{word} {getattr(counts, word)}" for word in words]
    yield from _wrap(counters, width)
    remarks = [format_count(len(alive), "worker"), f"{format_size(seen.free)} free"]
    if isinstance(counts, Counts) and counts.oldest_ready:
        waited = max(0.0, (seen.at - counts.oldest_ready).total_seconds())
        remarks.append(f"the oldest ready job has waited {format_seconds(waited)}")
    yield from _wrap(remarks, width)
    if seen.pause:
        why = f": {printable(seen.pause.reason)}" if seen.pause.reason else ""
        yield f"PAUSED {describe_pause(seen.pause)}{why}"
    yield from (printable(text) for text in (*seen.lost, *seen.closed[:_MOST_CLOSED]))
    if len(seen.closed) > _MOST_CLOSED:
        yield f"and {len(seen.closed) - _MOST_CLOSED} more; see: queuectl group list"
    yield ""


def _wrap(parts: Sequence[str], width: int) -> Iterator[str]:
    """The parts in as many lines as they need, none of them broken."""
    line = ""
    for part in parts:
        if line and len(line) + 3 + len(part) > width:
            yield line
            line = ""
        line += f"   {part}" if line else part
    yield line


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]], width: int) -> list[tuple[str, bool]]:
    """A heading line and rows in columns; the last column is cut to the width."""
    cells = [tuple(printable(cell) for cell in row) for row in rows]
    limit = max(12, width // 4)
    widths = [min(limit, max(len(row[column]) for row in (header, *cells))) for column in range(len(header) - 1)]

    def line(row: tuple[str, ...]) -> str:
        fitted = [f"{_fit(cell, size):<{size}}" for cell, size in zip(row, widths, strict=False)]
        return "  ".join([*fitted, row[-1]])[:width]

    return [(f"{line(header):<{width}}", True), *((line(row), False) for row in cells)]


def _fit(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"


def _running_header(has_progress: bool) -> tuple[str, ...]:
    return ("RUNNING", "ATTEMPTS", "SINCE", "WORKER", *(("PROGRESS",) if has_progress else ()), "COMMAND")


def _running(job: Job, at: datetime, has_progress: bool) -> tuple[str, ...]:
    since = format_seconds(max(0.0, (at - job.started_at).total_seconds())) if job.started_at else ""
    progress = (job.progress or "",) if has_progress else ()
    return job.id, f"{job.attempts}", since, job.worker or "", *progress, command_text(job)


def _waiting(job: Job, at: datetime) -> tuple[str, ...]:
    starts = "now" if job.run_at is None or job.run_at <= at else format_age(job.run_at, at)
    return job.id, f"{job.attempts}", starts, f"{job.priority}", command_text(job)


def _ended(job: Job, at: datetime) -> tuple[str, ...]:
    when = format_age(job.finished_at, at) if job.finished_at else ""
    return job.id, f"{job.attempts}", when, f"{job.result or ''}", command_text(job)


def _worker(worker: dict[str, Any], at: datetime) -> tuple[str, ...]:
    started_at = shapes.worker_started_at(worker)
    up = format_age(started_at, at).removesuffix(" ago") if started_at else "?"
    if worker["state"] in ("gone", "stopping"):
        up = worker["state"]
    return (
        worker["worker"],
        f"{worker.get('slots', '?')}",
        up,
        f"{worker.get('version', '?')}",
        " ".join(worker["runs"]) or "-",
    )
