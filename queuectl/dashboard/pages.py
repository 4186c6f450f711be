"""The pages: each gathers its values and leaves the rest to its template."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import bottle

from queuectl.core import body, groups, schedules
from queuectl.core.job import Job
from queuectl.core.names import format_time, is_valid_id, parse_time
from queuectl.core.result import State
from queuectl.core.text import format_size, printable
from queuectl.dashboard import charts, joblog, markup, table, timeline, wording
from queuectl.dashboard.index import AGAIN, FIRST, Selection
from queuectl.dashboard.operations import VERBS
from queuectl.dashboard.runs import facts
from queuectl.dashboard.site import Request, Site, page, problem
from queuectl.dashboard.table import Filter
from queuectl.dashboard.why import Seen
from queuectl.errors import UsageError
from queuectl.spool.reading import causes, graph, log_lines, query, shapes
from queuectl.spool.reading.explain import explain_dropped, explain_job
from queuectl.spool.system import files

_REFUSED_SHOWN = 25
_DROPPED_SHOWN = 25
_LONGEST_TEXT = 200
_BEFORE = 4096  # bytes of a log before the line that is looked for


def overview(site: Site) -> Any:
    """Counts, charts, workers, and what needs attention."""
    request = Request.of(site)
    asked = request.asked("range", "group")
    span, group = asked.get("range") or "1h", asked.get("group", "")
    if span not in charts.RANGES:
        raise UsageError(f"no such range: {printable(span[:60])!r}", f"it is one of {', '.join(charts.RANGES)}")
    group = groups.require_name(group) if group else ""
    step, steps, step_name = charts.RANGES[span]

    def draw() -> dict[str, Any]:
        view, at = request.view, request.now
        return {
            "series": charts.count(view, at, step, steps, group),
            "durations": charts.durations(view, at, step * steps, group),
            "waited": charts.waited(view, at, step * steps, site.waits, group),
            "waits": charts.waits(view, at, group),
            "by_group": charts.by_group(view, at, step * steps),
        }

    key = request.view.generation, int(request.now.timestamp()) // 60
    drawn = site.charts((span, group), key, draw, lambda found: not found["waited"].unread)

    def values() -> dict[str, Any]:
        dead = table.load(site.spool.layout, request.view, Filter("dead"), request.now, rows=6)
        return {
            "span": span,
            "group": group,
            "step_name": step_name,
            **drawn,
            "charts": charts,
            "tick_time": markup.tick,
            "next_at": {
                "scheduled": _next_at(request, FIRST),
                "retrying": _next_at(request, AGAIN),
            },
            "done_day": request.view.shelves[State.DONE].count
            - request.view.shelves[State.DONE].rank(_day_ago(request)),
            "recent_dead": dead.jobs,
            "command": table.command,
            "explain": wording,
            "free": format_size(request.view.room[0]),
            "inodes": request.view.room[1],
            "bell": site.snapshot.problem,
        }

    return page(request, "overview", "Overview", drawn["waited"].unread, values=values)


def _next_at(request: Request, tag: str) -> datetime | None:
    return _parse_time(request.view.shelves[State.PENDING].next_at(format_time(request.now), tag))


def _parse_time(text: Any) -> datetime | None:
    """The time in a name of the spool, or in a worker's file; None for anything else."""
    try:
        return parse_time(text)
    except (TypeError, ValueError):
        return None


def _day_ago(request: Request) -> str:
    return format_time(request.now - timedelta(days=1))


def jobs(site: Site, *, only_dead: bool = False) -> Any:
    """One table for each state, and one for all; that of the dead letters is grouped by reason."""
    request = Request.of(site)
    wanted = Filter.parse(request.asked(*table.FIELDS))
    if only_dead and wanted.state not in ("all", "dead"):
        raise UsageError("these are the dead letters", f"jobs that are {wanted.state} have a list of their own")
    if only_dead:
        wanted = replace(wanted, state="dead")
    elif wanted.state == "dead":
        target = f"{site.policy.prefix}/dead{replace(wanted, state='all').address()}"
        return bottle.HTTPResponse(status=303, headers={"Location": target})

    since = format_time(request.now - timedelta(seconds=table.AGES[wanted.age])) if wanted.age else ""
    why = site.why(request.view, wanted.group, wanted.result, since) if only_dead else None

    @cache
    def load() -> table.Page:
        return table.load(site.spool.layout, request.view, wanted, request.now, or_last=True, causes=site.causes)

    def select() -> list[Selection]:
        return table.select(request.view, replace(wanted, line="", sort=""), request.now)

    runs = site.runs.runs(request.view, load().jobs, request.now) if wanted.state == "running" else []

    def values() -> dict[str, Any]:
        found = load()
        totals = {word: _count(request, word, wanted.group) for word in table.WORDS if word != "all"}
        state = State(wanted.state) if wanted.state in ("running", "done", "dead") else State.PENDING
        return {
            "wanted": wanted,
            "page": found,
            "listing": "/dead" if only_dead else "/jobs",
            "address": lambda **changes: _address(wanted, changes, only_dead=only_dead),
            "totals": {"all": sum(totals.values()), **totals},
            "why": why,
            "runs": {run.job.id: run for run in runs},
            "groups": sorted({*request.view.groups, *(name for job in found.jobs for name in groups.of(job.id))}),
            "group_of": lambda job: "" if schedules.parse_id(job.id) else job.id.rpartition(".")[0],
            "tick_of": lambda job: schedules.parse_id(job.id),
            "deps_of": lambda job: job.body.references if job.body else (),
            "results": sorted({"exit0", *request.view.shelves[State.DEAD].tags()} - {""}),
            "ages": table.AGES,
            "state": state if wanted.state != "all" else None,
            "command": table.command,
            "word": lambda job: table.word(job, request.now),
            "explain": wording,
            "is_live": not (wanted.text and wanted.in_logs),
            "to_search": sum(each.count for each in select()) if wanted.in_logs else 0,
            "most_sorted": table.MOST_SORTED,
            "most_causes": causes.MOST,
        }

    known = (why.looked, why.total) if why else None
    stamp = [facts(run, request.now) for run in runs], known, load().unread if wanted.line else 0
    return page(request, "jobs", "Dead letters" if only_dead else "Jobs", *stamp, values=values)


def _address(wanted: Filter, changes: dict[str, Any], *, only_dead: bool) -> str:
    """The address of the list with parts of its filter changed, from its beginning."""
    changed = replace(wanted, **{"start": 0, "at": 0, **changes})
    return f"/dead{replace(changed, state='all').address()}" if only_dead else f"/jobs{changed.address()}"


def _count(request: Request, word: str, group: str) -> int:
    """How many jobs are in a state, all of them or those of a group."""
    if group:
        return sum(each.count for each in table.select(request.view, Filter(word, group=group), request.now))
    return int(getattr(request.view.counts(request.now), word))


def job(site: Site, id: str) -> Any:
    """Everything about one job, and its log."""
    request = Request.of(site)
    asked = _Place.parse(request.asked("attempt", "find", "at", "hit", "line"))
    found = site.find(id) if is_valid_id(id) else None
    if found is None:
        return problem(404, "No such job", f"The spool holds no job {id}. It may have been pruned or dropped.", request)
    fd = site.logs.open(found.id)
    try:
        return _job(request, found, fd, asked)
    finally:
        if fd is not None:
            os.close(fd)


class _Place(NamedTuple):
    """What an address asks for of a log: the lines of an attempt, those with a text, those from an offset on, those
    around the line of a number, or around a line with a text that begins at an offset."""

    attempt: str = ""
    text: str = ""
    at: int | None = None
    hit: int | None = None
    line: int | None = None

    @classmethod
    def parse(cls, asked: Mapping[str, str]) -> _Place:
        """Raises UsageError for what makes no sense."""
        attempt, text = (asked.get(name, "").strip() for name in ("attempt", "find"))
        if attempt:
            offset("attempt", attempt)
        if len(text) > _LONGEST_TEXT:
            raise UsageError("that text is too long to search for", f"it has at most {_LONGEST_TEXT} characters")
        if asked.get("hit") and not text:
            raise UsageError("a hit of which text?", "find is the text")

        def number(name: str) -> int | None:
            given = asked.get(name, "").strip()
            return offset(name, given) if given else None

        if re.fullmatch(r":\d{1,15}", text, re.ASCII):  # typed into the search, as in less
            return cls(attempt, line=int(text[1:]))
        return cls(attempt, text, number("at"), number("hit"), number("line"))


def offset(name: str, text: str) -> int:
    """A number in an address; raises UsageError for anything else."""
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise UsageError(f"no such {name}: {printable(text[:60])!r}", "it is a number")
    return int(text)


def _job(request: Request, found: Job, fd: int | None, asked: _Place) -> Any:
    site = request.site
    marks = site.logs.marks(found.id, fd) if fd is not None else None
    history = timeline.build(found, marks.found if marks else ())
    is_update = bool(request.environ.get("HTTP_X_QUEUECTL_UPDATE"))  # of a page that has the log, and follows it itself
    size = os.fstat(fd).st_size if fd is not None and not is_update else None
    if asked.attempt and log_range(asked.attempt, history) is None and (marks is None or marks.is_complete):
        return problem(404, f"No attempt {asked.attempt}", f"The log of {found.id} has no such attempt.", request)

    runs = site.runs.runs(request.view, [found], request.now) if found.state is State.RUNNING else []
    run = runs[0] if runs else None

    def values() -> dict[str, Any]:
        fields = found.fields
        why = explain_job(site.spool.layout, found, Seen(request.view, request.now))
        linked = graph.links_of(site.spool.layout, found.id, fields)
        return {
            "starts_at": why.starts_at if why.starts_at and why.starts_at > request.now else None,
            "job": found,
            "word": table.word(found, request.now),
            "command": table.command(found),
            "reasons": wording.sentences(why.reasons, site.spool.path, request.now, without=_said(found)),
            "meaning": wording.result(str(found.result)) if found.result else "",
            "submitted": body.show(fields) if fields is not None else None,
            "history": history[-timeline.MAX_SHOWN :],
            "hidden": max(0, len(history) - timeline.MAX_SHOWN),
            "marks": marks,
            "is_attempt": lambda entry: isinstance(entry, timeline.Attempt),
            "attempts": list(dict.fromkeys(a.number for a in history if isinstance(a, timeline.Attempt)))[-20:],
            "commands": wording.commands(found, site.spool.layout, request.now),
            "log_path": site.spool.log_path(found.id),
            "verbs": _verbs_of(found, request.now),
            "groups": groups.of(found.id),
            "run": run,
            "defaults": [*shapes.describe_defaults(why.defaults)],
            "describe_usage": log_lines.describe_usage,
            "log": _log(found, fd, history, asked, marks, is_update=is_update) if fd is not None and marks else None,
            "waits_for": [(link.dep, graph.describe_link(link, linked)) for link in linked.above(found.id)],
            "awaited_by": [link.child for link in linked.below(found.id)],
            "refusal": _refusal(site, found) if found.problem else None,
        }

    read = marks and (len(marks.found), marks.is_complete or marks.scanned)
    now_used = run and facts(run, request.now)
    return page(request, "job", found.id, str(found.name), size, read, is_update, now_used, values=values)


def _said(job: Job) -> tuple[str, ...]:
    """Reasons that the page of a job gives in its own way: since when it runs; how it ended, and why it was refused."""
    return ("ended", "invalid") if job.finished_at else ("running",) if job.started_at else ()


def _verbs_of(found: Job, at: datetime) -> list[Any]:
    """The actions for this job. Its priority has a page (`job_form`)."""
    return [verb for verb in VERBS.values() if verb.name != "reprioritise" and verb.suits_job(found, at)]


def _log(
    found: Job, fd: int, history: list[Any], asked: _Place, marks: joblog.Marks, *, is_update: bool
) -> dict[str, Any]:
    """The part of the log that the address asks for: its end, an attempt, a place, or the lines with a text."""
    attempt, text, at, hit, line = asked
    start, end = log_range(attempt, history) or (0, None)
    shown: dict[str, Any] = {
        "attempt": attempt, "find": text, "at": at, "hit": hit, "line": line, "first": start, "end": end, "found": None,
        "piece": None, "follows": False, "is_update": is_update, "marks": marks, "next": None, "previous": None,
    }  # fmt: skip
    if is_update:
        return shown
    if text and hit is None:
        hits = joblog.find(fd, text, max(start, at or 0), end)
        lines = [(place, joblog.line_number(fd, marks, place), html) for place, html in hits.lines]
        return {**shown, "found": hits, "found_lines": lines}
    size = os.fstat(fd).st_size
    last = size if end is None else min(end, size)
    if line is not None:
        at = joblog.line_offset(fd, marks, line)
        shown["is_missing"] = at is None
    if hit is not None:
        after = joblog.find(fd, text, joblog.next_line(fd, hit), end, most=1).lines
        shown["next"] = after[0][0] if after else None
        shown["previous"] = joblog.find_before(fd, text, hit, start)
    middle = hit if hit is not None else at if line is not None else None
    wanted = max(start, middle - _BEFORE) if middle is not None else at if at is not None else last - joblog.PIECE
    begin = joblog.line_start(fd, min(wanted, size), start)
    piece = joblog.read_piece(fd, begin, end, needle=text, marks=marks)
    follows = end is None and at is None and hit is None and found.state in (State.RUNNING, State.PENDING)
    shown["at"] = begin if at is not None or hit is not None else None
    return {**shown, "piece": piece, "follows": follows}


def log_range(attempt: str, history: list[Any]) -> tuple[int, int | None] | None:
    """Where the output of an attempt begins and ends in the log; None if it is not there."""
    for entry in reversed(history):
        if isinstance(entry, timeline.Attempt) and str(entry.number) == attempt:
            return entry.start, entry.stop
    return None


def workers(site: Site) -> Any:
    """The workers, and what each runs."""
    request = Request.of(site)

    def values() -> dict[str, Any]:
        names = request.view.shelves[State.RUNNING].select().slice(0, 2000)
        running = {parsed.id: parsed for name in names if (parsed := query.parse_name(State.RUNNING, name))}

        def command(id: str) -> str:
            found = query.load(site.spool.layout, State.RUNNING, str(running[id])) if id in running else None
            return table.command(found)[:300] if found else ""

        return {
            "running": running,
            "command_of": command,
            "since": lambda worker: markup.when(_parse_time(worker.get("started_at")), request.now),
        }

    return page(request, "workers", "Workers", values=values)


def refused(site: Site) -> Any:
    """Files that are not jobs, each with what is wrong and where; and those that no worker has taken yet."""
    request = Request.of(site)
    start = Filter.parse(request.asked("start")).start

    def values() -> dict[str, Any]:
        wanted = Filter("dead", result="invalid", start=start)
        found = table.load(site.spool.layout, request.view, wanted, request.now, _REFUSED_SHOWN, or_last=True)
        seen, others = Seen(request.view, request.now), request.view.shelves[State.PENDING].others
        dropped = [explain_dropped(site.spool.layout, name, seen) for name in others[:_DROPPED_SHOWN]]
        return {
            "dropped": [
                (each, wording.sentences(each.reasons, site.spool.path, request.now, without=("dropped",)))
                for each in dropped
            ],
            "hidden": len(others) - len(dropped),
            "page": found,
            "wanted": wanted,
            "files": [(each, _refusal(site, each), _refused_name(site, each)) for each in found.jobs],
        }

    return page(request, "refused", "Refused files", values=values)


def _refusal(site: Site, found: Job) -> wording.Refusal:
    data = b""
    with suppress(OSError):
        data = files.read(found.path).data
    refusal = wording.refusal(found.problem, data)
    if found.problem is None and (mark := _refused_mark(site, found.id)):
        return replace(refusal, reason=mark.get("reason") or refusal.reason)
    return refusal


def _refused_name(site: Site, found: Job) -> str:
    return _refused_mark(site, found.id).get("file", "")


def _refused_mark(site: Site, id: str) -> dict[str, str]:
    fd = site.logs.open(id)
    if fd is None:
        return {}
    try:
        marks = site.logs.marks(id, fd).found
    finally:
        os.close(fd)
    return next((mark.fields for _, mark in reversed(marks) if mark.event == "refused"), {})
