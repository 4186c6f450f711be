"""The same data for programs: JSON in the shapes of `--json`, Prometheus text, plain logs, and a health check."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import bottle

from queuectl.core.admission import Group
from queuectl.core.groups import require_name
from queuectl.core.job import Job
from queuectl.core.names import is_valid_id
from queuectl.core.text import printable
from queuectl.dashboard import alarms, charts, joblog, schedule_pages, table, timeline
from queuectl.dashboard.pages import log_range, offset
from queuectl.dashboard.site import Request, Site
from queuectl.dashboard.table import Filter
from queuectl.errors import NotFoundError, QueuectlError, SpoolError, UsageError
from queuectl.spool.reading import batch, shapes
from queuectl.spool.reading.groups import Tally
from queuectl.spool.reading.query import Counts
from queuectl.spool.system.clock import now

_MOST = 1000
_NUMBER = re.compile(r"[1-9]\d*", re.ASCII)
_STATES = ("ready", "scheduled", "retrying", "held", "waiting", "running", "done", "dead")


def _json(value: Any, status: int = 200) -> Any:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-cache"}
    return bottle.HTTPResponse(json.dumps(value).encode(), status=status, headers=headers)


def _missing(id: str) -> Any:
    return _json({"error": f"no job {printable(id)[:120]}"}, 404)


def refusal(error: QueuectlError) -> Any:
    """What was asked for, shortened if long, and why it is not available."""
    status = 400 if isinstance(error, UsageError) else 404 if isinstance(error, NotFoundError) else 503
    return _json({"error": f"{printable(error.what)[:120]}: {error.why}"}, status)


def status(site: Site) -> Any:
    request = Request.of(site)
    view = request.view
    counts, groups = view.counts(request.now), view.groups.values()
    found = schedule_pages.summary(site, request)
    return _json(shapes.status(site.spool.layout, site.spool.paused(), counts, view.workers, *view.room, groups, found))


def workers(site: Site) -> Any:
    return _json([shapes.worker(worker) for worker in Request.of(site).view.workers])


def groups(site: Site) -> Any:
    """As `queuectl group list --all --json`."""
    request = Request.of(site)
    tallies, found = request.view.tallies(request.now), request.view.groups
    layout, names = site.spool.layout, sorted({*found, *tallies})
    seen = batch.look_at_active(layout, tallies, request.now)
    known = ((found.get(name, Group(name)), tallies.get(name, Tally())) for name in names)
    return _json([shapes.group(layout, group, tally, seen.get(group.name)) for group, tally in known])


def metrics(site: Site) -> Any:
    """As `queuectl metrics --json`, of all jobs or of a `group`."""
    request = Request.of(site)
    group = request.asked("group").get("group", "")
    return _json(shapes.metrics(site.metrics(request.view, require_name(group) if group else "")))


def jobs(site: Site, *, only_dead: bool = False) -> Any:
    """As `queuectl list --json`; takes the filter of the jobs page, and `limit`. Raises UsageError for invalid ones."""
    request = Request.of(site)
    asked = request.asked(*(name for name in (*table.FIELDS, "match", "limit") if not only_dead or name != "state"))
    rows, text = _limit(asked.pop("limit", "")), asked.pop("match", "")
    if text and asked.get("q"):
        raise UsageError("match and q are the same", "give one of them")
    wanted = Filter.parse(asked | ({"q": text} if text else {}) | ({"state": "dead"} if only_dead else {}))
    found = table.load(site.spool.layout, request.view, wanted, request.now, rows=rows, causes=site.causes)
    return _json([job.to_json() for job in found.jobs])


def _limit(text: str) -> int:
    if not text:
        return table.ROWS
    if not _NUMBER.fullmatch(text):
        raise UsageError(f"no such limit: {text!r}", "it is a number of jobs, 1 or more")
    return min(int(text[:7]), _MOST)


def job(site: Site, id: str) -> Any:
    found = site.find(id) if is_valid_id(id) else None
    return _json(shapes.show(site.spool.layout, found)) if found else _missing(id)


def tail(site: Site, id: str) -> Any:
    """The lines of a log from a byte offset on, as markup: what the job page appends, or inserts before its start."""
    fd = site.logs.open(id) if is_valid_id(id) else None
    if fd is None:
        return _missing(id)
    try:
        asked = Request.of(site).asked("from", "to", "least", "style")
        size = os.fstat(fd).st_size
        start, end, least = (_offset(asked, name, size) for name in ("from", "to", "least"))
        if end is not None and start is None:  # the piece before `to`
            start = joblog.line_start(fd, max(0, end - joblog.PIECE), least or 0)
        marks = site.logs.marks(id, fd)
        return _json(joblog.read_piece(fd, start or 0, end, asked.get("style", ""), marks=marks).to_json())
    finally:
        os.close(fd)


def _offset(asked: Mapping[str, str], name: str, size: int) -> int | None:
    """A place in a log, or its end if that is before it; None if it is not asked for."""
    text = asked.get(name, "")
    return min(offset(name, text), size) if text else None


def raw_log(site: Site, id: str) -> Any:
    """The bytes of a log, or of one attempt in it, if there is one; never anything that a browser would run."""
    found = site.find(id) if is_valid_id(id) else None
    fd = site.logs.open(id) if found else None
    if found is None or fd is None:
        return _missing(id)
    try:
        asked = Request.of(site).asked("attempt", "download")
        start, end = _range(asked.get("attempt", ""), found, site.logs.marks(id, fd))
    except QueuectlError as error:
        os.close(fd)
        return refusal(error)
    size = os.fstat(fd).st_size
    stop = size if end is None else min(end, size)
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(max(0, stop - start)),
        "Cache-Control": "no-store",
    }
    if "download" in asked:
        headers["Content-Disposition"] = f'attachment; filename="{id}.log"'
    return bottle.HTTPResponse(_pieces(fd, start, stop), headers=headers)


def _range(attempt: str, job: Job, marks: joblog.Marks) -> tuple[int, int | None]:
    """The offsets of an attempt in the log, or of all; raises UsageError, NotFoundError or, for now, SpoolError."""
    if not attempt:
        return 0, None
    if not _NUMBER.fullmatch(attempt):
        raise UsageError(f"no such attempt: {attempt!r}", "it is a number, 1 or more")
    if not marks.is_complete:
        raise SpoolError("the log is still being searched for attempts", "it is long; try again")
    history = timeline.build(job, marks.found)
    found = log_range(attempt, history)
    if found is None:
        known = dict.fromkeys(f"{entry.number}" for entry in history if isinstance(entry, timeline.Attempt))
        raise NotFoundError(f"no attempt {attempt} in this log", f"it has {', '.join(known) or 'none'}")
    return found


class _pieces(Iterator[bytes]):  # noqa: N801 - a function in all but that it must close its file
    def __init__(self, fd: int, start: int, stop: int) -> None:
        self._fd, self._at, self._stop = fd, start, stop

    def __next__(self) -> bytes:
        data = os.pread(self._fd, min(256 << 10, self._stop - self._at), self._at) if self._fd >= 0 else b""
        if not data:
            raise StopIteration
        self._at += len(data)
        return data

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def healthz(site: Site) -> Any:
    """200 while the spool can be read, with what is wrong; it reveals nothing that must stay private."""
    view = site.snapshot.view()
    if view.problem is not None:
        return _json({"status": "the spool cannot be read"}, 503)
    found = alarms.find(view, now(), site.policy.max_wait)
    return _json({"status": "degraded", "reasons": [alarm.kind for alarm in found]} if found else {"status": "ok"})


def prometheus(site: Site) -> Any:
    """The text format of Prometheus, version 0.0.4."""
    request = Request.of(site)
    view, counts = request.view, request.view.counts(request.now)
    found = site.metrics(view)
    lines: list[str] = []

    def metric(name: str, kind: str, help: str, *samples: tuple[str, float]) -> None:
        lines.extend((f"# HELP queuectl_{name} {help}", f"# TYPE queuectl_{name} {kind}"))
        lines.extend(
            f"queuectl_{name}{labels} {value:g}" if value < 1e6 else f"queuectl_{name}{labels} {value:.0f}"
            for labels, value in samples
        )

    metric("jobs", "gauge", "Jobs by state.", *((f'{{state="{state}"}}', getattr(counts, state)) for state in _STATES))
    metric("dropped_files", "gauge", "Files in pending/ that no worker has adopted yet.", ("", counts.dropped))
    metric(
        "oldest_ready_seconds",
        "gauge",
        "How long the job that has been due longest has waited.",
        ("", _age(counts, request)),
    )
    metric(
        "finished_jobs",
        "gauge",
        "Finished jobs that the spool holds, by result.",
        *((f'{{result="{result}"}}', count) for result, count in found.results.items() if result.isalnum()),
    )
    metric("attempts", "gauge", "Attempts of the finished jobs that the spool holds.", ("", found.attempts))
    quantiles = (
        (f'{{quantile="{q}"}}', value) for q, value in (("0.5", found.p50), ("0.95", found.p95)) if value is not None
    )
    metric("duration_seconds", "summary", "Duration of the last attempt of finished jobs.", *quantiles)
    waited = charts.waited(view, request.now, timedelta(days=1), site.waits)
    quantiles = (
        (f'{{quantile="{q}"}}', value) for q, value in (("0.5", waited.p50), ("0.95", waited.p95)) if value is not None
    )
    metric(
        "wait_seconds",
        "summary",
        f"How long the jobs of the last day had waited to start, the newest {charts.MOST_LOGS} of them.",
        *quantiles,
    )
    metric("finished_last_minute", "gauge", "Jobs that finished within a minute.", ("", found.last_minute))
    metric("workers", "gauge", "Workers that are alive.", ("", len(view.alive)))
    metric("slots", "gauge", "Jobs that the workers can run at a time that are not stopping.", ("", view.takers.slots))
    metric("paused", "gauge", "1 if the spool is paused.", ("", int(view.paused is not None)))
    metric("free_bytes", "gauge", "Free space of the spool's file system.", ("", view.room[0]))
    if view.room[1] is not None:
        metric("free_inodes", "gauge", "Free inodes of the spool's file system.", ("", view.room[1]))
    metric(
        "snapshot_age_seconds",
        "gauge",
        "Age of the listing these numbers come from.",
        ("", max(0.0, (request.now - view.taken_at).total_seconds())),
    )
    metric("up", "gauge", "1 if the spool can be read.", ("", int(view.problem is None)))
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(("\n".join(lines) + "\n").encode(), headers=headers)


def _age(counts: Counts, request: Request) -> float:
    if counts.oldest_ready is None:
        return 0.0
    return max(0.0, (request.now - counts.oldest_ready).total_seconds())
