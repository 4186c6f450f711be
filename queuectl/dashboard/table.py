"""Which jobs a page lists: a filter, from the address, and one page of what it selects."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import urlencode

from queuectl.core import groups
from queuectl.core.folding import LONGEST
from queuectl.core.job import Job
from queuectl.core.names import format_time
from queuectl.core.result import RESULT_PATTERN, State
from queuectl.core.text import printable
from queuectl.dashboard import joblog
from queuectl.dashboard.index import AGAIN, FIRST, Listed, Selection
from queuectl.dashboard.markup import Html
from queuectl.dashboard.snapshot import View
from queuectl.dashboard.sorting import SORTS, sort
from queuectl.errors import UsageError
from queuectl.spool.reading import query
from queuectl.spool.reading.causes import CauseReader
from queuectl.spool.reading.stopped import mark_stopped
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout

ROWS = 100
WORDS = ("all", "ready", "scheduled", "retrying", "held", "waiting", "running", "done", "dead")
AGES = {"15m": 900, "1h": 3600, "24h": 86400, "7d": 604800}
_SEARCH_TIME = 0.2
_SEARCH_STEP = 500
_MAX_TEXT = 200
_START = re.compile(r"\d{1,15}", re.ASCII)
_LOG_SEARCH_TIME = 0.6
_CAUSE_TIME = 0.25
MOST_SORTED = 100_000
"""Jobs that are sorted by anything but the order of their names."""
FIELDS = ("state", "q", "in", "group", "result", "line", "age", "sort", "start", "at")
STATES = (*WORDS, "pending")


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for. `start` is how many names to skip.

    `text` is searched for in ids and commands, or, with `in_logs`, in logs, in the first of them from the offset `at`
    on. `line` is the last line of output of dead letters, folded (`causes`). `sort` is one of `SORTS`, `-` in front.
    """

    state: str = "all"
    text: str = ""
    result: str = ""
    age: str = ""
    start: int = 0
    group: str = ""
    line: str = ""
    in_logs: bool = False
    at: int = 0
    sort: str = ""

    @classmethod
    def parse(cls, asked: Mapping[str, str]) -> Filter:
        """The filter of an address or a form: empty values are left out.

        Raises UsageError for a value that makes no sense, and for a name that is not in `FIELDS`.
        """
        for name in asked:
            if name not in FIELDS:
                raise UsageError(f"no such filter: {_short(name)}", f"there are {', '.join(FIELDS)}")
        for name, choices in (("state", STATES), ("age", tuple(AGES))):
            if asked.get(name) and asked[name] not in choices:
                raise UsageError(f"no such {name}: {_short(asked[name])}", f"it is one of {', '.join(choices)}")
        text, result, start = asked.get("q", "").strip(), asked.get("result", ""), asked.get("start", "")
        if result and not re.fullmatch(RESULT_PATTERN, result, re.ASCII):
            raise UsageError(
                f"no such result: {_short(result)}",
                "it is one of exitN, signalN, timeout, lost, cancelled, invalid, skipped",
            )
        if start and not _START.fullmatch(start):
            raise UsageError(f"no such start: {_short(start)}", "it is how many jobs to skip")
        at, sort, line, place = (asked.get(name, "") for name in ("at", "sort", "line", "in"))
        if at and not _START.fullmatch(at):
            raise UsageError(f"no such place in a log: {_short(at)}", "it is a number of bytes")
        if place not in ("", "logs"):
            raise UsageError(f"no such place to search in: {_short(place)}", "it is logs, or left out")
        if sort.removeprefix("-") not in ("", *SORTS):
            raise UsageError(f"no such column to sort by: {_short(sort)}", f"it is one of {', '.join(SORTS)}")
        if len(line) > LONGEST:
            raise UsageError("that line is too long", f"it has at most {LONGEST} characters")
        if len(text) > _MAX_TEXT:
            raise UsageError("that text is too long to search for", f"it has at most {_MAX_TEXT} characters")
        group = groups.require_name(asked["group"]) if asked.get("group") else ""
        return cls(
            asked.get("state") or "all", text, result, asked.get("age", ""), int(start or 0), group, line,
            place == "logs", int(at or 0), sort,
        )  # fmt: skip

    def address(self, **changes: object) -> str:
        """The query of this filter with some parts changed; empty ones are left out."""
        new = replace(self, **changes)  # type: ignore[arg-type]
        given = new.as_fields()
        return f"?{urlencode(given, errors='replace')}" if given else ""

    def as_fields(self) -> dict[str, str]:
        """The fields of `FIELDS` that it consists of; those that say nothing are left out."""
        parts = {
            "state": self.state, "q": self.text, "in": "logs" if self.in_logs else "", "group": self.group,
            "result": self.result, "line": self.line, "age": self.age, "sort": self.sort, "start": str(self.start),
            "at": str(self.at),
        }  # fmt: skip
        return {key: value for key, value in parts.items() if value and (key, value) not in _DEFAULTS}

    @property
    def is_narrow(self) -> bool:
        return bool(self.text or self.group or self.result or self.age or self.line)


def _short(text: str) -> str:
    return repr(printable(text[:60])) + ("…" if len(text) > 60 else "")


_DEFAULTS = {("state", "all"), ("start", "0"), ("at", "0")}


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs. `total` is None if it would take reading every body; `next_start` None at the end.

    `looked` is how many names a text search went through for this page. A search in logs continues at the byte
    `next_at` of the next job's, and `hits` has, by id, the first line that matches and where it begins.
    `unread` is how many logs have not been read yet that may have the line that is asked for.
    """

    jobs: tuple[Job, ...]
    total: int | None
    start: int
    next_start: int | None
    looked: int = 0
    hits: Mapping[str, tuple[int, Html]] = field(default_factory=dict)
    next_at: int = 0
    unread: int = 0
    is_sorted: bool = True


def select(
    view: View, wanted: Filter, now: datetime, causes: CauseReader | None = None, patience: float = float("inf")
) -> list[Selection]:
    """The names that match all of a filter but its text, in the order of the page.

    For a filter with a `line`, `causes` are read for so many seconds.
    """
    found = _select(view, wanted, now)
    if wanted.line and causes is not None:
        deadline = time.monotonic() + patience
        found = [
            Listed(each.state, causes.matching(each, wanted.line, deadline - time.monotonic())[0])
            for each in found
            if each.state is State.DEAD
        ]
    if wanted.sort and sum(each.count for each in found) <= MOST_SORTED:
        found = [Listed(each.state, sort(each.state, each, wanted.sort)) for each in found]
    return found


def _select(view: View, wanted: Filter, now: datetime) -> list[Selection]:
    text = format_time(now)
    since = format_time(now - timedelta(seconds=AGES[wanted.age])) if wanted.age else ""
    found: list[Selection] = []
    for state in _states(wanted.state):
        shelf = view.shelves[state]
        if state in (State.DONE, State.DEAD):
            found.append(shelf.select(since, tag=wanted.result or None, group=wanted.group))
        elif wanted.result:
            continue
        elif wanted.state == "ready":
            found.append(shelf.due(text, since, wanted.group))
        elif wanted.state in ("scheduled", "retrying"):
            found.append(shelf.later(text, FIRST if wanted.state == "scheduled" else AGAIN, wanted.group))
        elif wanted.state == "held":
            found.append(shelf.held(wanted.group))
        elif wanted.state == "waiting":
            found.append(shelf.waiting(wanted.group))
        else:
            found.append(shelf.select(since, group=wanted.group))
    return found


def _states(word: str) -> tuple[State, ...]:
    if word == "all":
        return (State.RUNNING, State.PENDING, State.DEAD, State.DONE)
    return (
        (State.PENDING,) if word in ("ready", "scheduled", "retrying", "held", "waiting", "pending") else (State(word),)
    )


def load(
    layout: Layout,
    view: View,
    wanted: Filter,
    now: datetime,
    rows: int = ROWS,
    *,
    or_last: bool = False,
    causes: CauseReader | None = None,
) -> Page:
    """One page, or the last one if it begins beyond the end and `or_last` is true.

    Jobs that have changed state since the view was taken are left out.
    """
    selections = select(view, wanted, now, causes, _CAUSE_TIME)
    total = sum(selection.count for selection in selections)
    if wanted.text:
        found = _grep(layout, selections, wanted, rows) if wanted.in_logs else None
        found = found or _search(layout, view, selections, wanted, rows)
        return replace(found, jobs=tuple(mark_stopped(found.jobs)))
    if or_last and wanted.start >= total:
        wanted = replace(wanted, start=max(0, total - 1) // rows * rows)
    jobs = tuple(mark_stopped(job for job in _load(layout, selections, wanted.start, rows) if job))
    more = wanted.start + rows
    unread = _unread(view, wanted, now, causes)
    is_sorted = not wanted.sort or total <= MOST_SORTED
    return Page(jobs, total, wanted.start, more if more < total else None, unread=unread, is_sorted=is_sorted)


def _unread(view: View, wanted: Filter, now: datetime, causes: CauseReader | None) -> int:
    if not wanted.line or causes is None:
        return 0
    return sum(causes.matching(each, wanted.line, -1)[1] for each in _select(view, wanted, now))


def _grep(layout: Layout, selections: list[Selection], wanted: Filter, rows: int) -> Page:
    """Search logs for a text until the page is full or its time is up; the next page continues from there, if need be
    inside a log."""
    deadline = time.monotonic() + _LOG_SEARCH_TIME
    found: list[Job] = []
    hits: dict[str, tuple[int, Html]] = {}
    at, begin = wanted.start, wanted.at
    while True:
        names = list(_names(selections, at, _SEARCH_STEP))
        for state, name in names:
            line, begin = _hit(layout, state, name, wanted.text, begin, deadline)
            job = query.load(layout, state, name) if line else None
            if job is not None and line is not None:
                found.append(job)
                hits[job.id] = line
            at += begin == 0  # else its log was not read to the end
            if len(found) == rows or time.monotonic() > deadline:
                looked = at - wanted.start
                return Page(tuple(found), None, wanted.start, at, looked, hits, begin)
        if len(names) < _SEARCH_STEP:
            total = len(found) if not wanted.start and not wanted.at else None
            return Page(tuple(found), total, wanted.start, None, at - wanted.start, hits)


def _hit(
    layout: Layout, state: State, name: str, text: str, begin: int, deadline: float
) -> tuple[tuple[int, Html] | None, int]:
    """The first line of a job's log with a text, and where to continue if the time was over before its end, else 0."""
    parsed = query.parse_name(state, name)
    try:
        fd = files.open_regular(layout.log(parsed.id)) if parsed else -1
    except OSError:
        fd = -1
    if fd < 0:
        return None, 0
    try:
        found = joblog.find(fd, text, begin, most=1, patience=max(0.0, deadline - time.monotonic()))
    finally:
        os.close(fd)
    if found.lines:
        return found.lines[0], 0
    return None, found.next_at or 0


def _load(layout: Layout, selections: list[Selection], start: int, limit: int) -> Iterator[Job | None]:
    for state, name in _names(selections, start, limit):
        yield query.load(layout, state, name)


def _names(selections: list[Selection], start: int, limit: int) -> Iterator[tuple[State, str]]:
    """Names of the selections, one after the other, from the `start`th on."""
    for selection in selections:
        if start >= selection.count:
            start -= selection.count
            continue
        page = selection.slice(start, limit)
        yield from ((selection.state, name) for name in page)
        start = 0
        limit -= len(page)
        if limit <= 0:
            return


def _search(layout: Layout, view: View, selections: list[Selection], wanted: Filter, rows: int) -> Page:
    """Search for a text until the page is full or its time is up; the next page continues from there.

    A text that is an id finds its job first, however far down it is.
    """
    deadline = time.monotonic() + _SEARCH_TIME
    place = view.find(wanted.text) if not wanted.start else None
    is_meant = place is not None and place[0] in _states(wanted.state) and _is_in_group(wanted)
    exact = query.load(layout, *place) if place and is_meant else None
    found: list[Job] = [exact] if exact else []
    at = wanted.start
    while True:
        names = list(_names(selections, at, _SEARCH_STEP))
        for state, name in names:
            job = query.load(layout, state, name)
            at += 1
            if job is not None and matches(job, wanted.text) and not (exact and job.id == exact.id):
                found.append(job)
                if len(found) == rows:
                    return Page(tuple(found), None, wanted.start, at, at - wanted.start)
        if len(names) < _SEARCH_STEP:
            return Page(tuple(found), len(found) if not wanted.start else None, wanted.start, None, at - wanted.start)
        if time.monotonic() > deadline:
            return Page(tuple(found), None, wanted.start, at, at - wanted.start)


def _is_in_group(wanted: Filter) -> bool:
    """Whether the job of the id that is searched for is in the group."""
    return not wanted.group or groups.is_in(wanted.text, wanted.group)


def matches(job: Job, text: str) -> bool:
    """Whether the id or the command contains the text, ignoring case."""
    low = text.lower()
    return low in job.id.lower() or low in command(job).lower()


def command(job: Job) -> str:
    """The command as one text; for an invalid job, why it is invalid."""
    if job.command is None:
        return f"({job.problem})"
    return job.command if isinstance(job.command, str) else shlex.join(job.command)


def matching(
    layout: Layout, view: View, wanted: Filter, now: datetime, causes: CauseReader | None = None
) -> Iterator[Job]:
    """Every job that a filter selects, on all pages; bodies are read as the iterator advances."""
    for selection in select(view, replace(wanted, start=0), now, causes):
        for name in selection:
            if wanted.in_logs and wanted.text:
                line, _ = _hit(layout, selection.state, name, wanted.text, 0, float("inf"))
                if line is None:
                    continue
            job = query.load(layout, selection.state, name)
            if job is not None and (not wanted.text or wanted.in_logs or matches(job, wanted.text)):
                yield job


def word(job: Job, now: datetime) -> str:
    """The state as people call it: pending is ready, scheduled, retrying, held or waiting."""
    if job.is_held:
        return "held"
    if job.is_waiting:
        return "waiting"
    if job.run_at is None:
        return str(job.state)
    if job.run_at <= now:
        return "ready"
    return "retrying" if job.attempts else "scheduled"
