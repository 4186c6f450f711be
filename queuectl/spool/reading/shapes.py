"""The documented shapes of `--json`, which the dashboard's API returns too. That of jobs is in `Job.to_json`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from queuectl.core.admission import Group, Pause, own_seats
from queuectl.core.fields import FIELDS
from queuectl.core.groups import Choice
from queuectl.core.job import ExistingJob, Job
from queuectl.core.names import format_rfc3339, parse_time
from queuectl.core.result import State
from queuectl.core.seats import Seats, name_of
from queuectl.errors import QueuectlError, SpoolError
from queuectl.lazy import function
from queuectl.spool.reading.query import Counts
from queuectl.spool.system import clock, defaults
from queuectl.spool.system.defaults import Default
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.log_entries import open_reading, read_entries, size_of
from queuectl.spool.system.logs import Mark, Usage, parse_outcome
from queuectl.spool.system.seats import find_held

if TYPE_CHECKING:
    from queuectl.spool.reading.batch import Batch
    from queuectl.spool.reading.groups import Tally
    from queuectl.spool.reading.hosts import list_hosts
    from queuectl.spool.reading.metrics import Metrics
    from queuectl.spool.reading.schedules import Summary
else:
    list_hosts = function("queuectl.spool.reading.hosts", "list_hosts")

COUNTS = (
    "ready", "scheduled", "retrying", "held", "waiting", "asking", "pending", "running", "done", "dead", "dropped",
    "skipped_done", "skipped_dead",
)  # fmt: skip
_LONG_LOG = 16 << 20
"""Size of a log, in bytes, above which it is not searched for earlier attempts."""
WORKER = (
    "worker",
    "alive",
    "state",
    "host",
    "contact",
    "pid",
    "slots",
    "on",
    "started_at",
    "uptime",
    "version",
    "groups",
    "not_groups",
    "seats",
    "poll",
    "runs",
    "batch_jobs",
)


def status(
    layout: Layout,
    pause: Pause | None,
    counts: Counts,
    workers: Iterable[Mapping[str, Any]],
    free: int,
    inodes: int | None,
    groups: Iterable[Group],
    schedules: Summary | None = None,
) -> dict[str, Any]:
    """`queuectl status --json`; `groups` are those that have settings, `schedules` is None if there are none."""
    return {
        "spool": layout.root,
        "shared": layout.shared,
        "paused": pause is not None,
        "pause": pause.to_json() if pause else None,
        "counts": {name: getattr(counts, name) for name in COUNTS},
        "oldest_ready_at": format_rfc3339(counts.oldest_ready),
        "next_run_at": format_rfc3339(counts.next_run_at),
        "groups": [_closed(group) for group in groups if group.paused is not None or group.problem],
        "schedules": schedules.to_json() if schedules else None,
        "workers": [worker(each) for each in workers],
        "hosts": [each.to_json() for each in list_hosts(layout)],
        "free_bytes": free,
        "free_inodes": inodes,
    }


def worker(each: Mapping[str, Any]) -> dict[str, Any]:
    """One of `queuectl worker list --json`"""
    started_at = worker_started_at(each)
    uptime = (clock.now() - started_at).total_seconds() if started_at and each.get("alive") else None
    return {
        **{key: each.get(key) for key in WORKER},
        "batch_jobs": [dict(job) for job in each.get("batch_jobs", ())] if each.get("alive") else [],
        **dict(zip(("groups", "not_groups"), map(list, Choice.of_worker(each)), strict=True)),
        "seats": own_seats(each),
        "started_at": format_rfc3339(started_at),
        "uptime": None if uptime is None else round(max(0.0, uptime), 3),
    }


def _closed(group: Group) -> dict[str, Any]:
    """Why no job of a group is started."""
    return {
        "group": group.name,
        "paused": group.paused.to_json() if group.paused else None,
        "problem": group.problem or None,
    }


def group(layout: Layout, group: Group, tally: Tally, seen: Batch | None) -> dict[str, Any]:
    """One of `queuectl group list --json`; `seen` is how far it is, if any of its jobs may be running."""
    return {
        "group": group.name,
        **tally._asdict(),
        **({"per_minute": None, "left": None} if seen is None else seen.rates()),
        "limit": group.limit,
        "max_failed": group.max_failed,
        "seats": None if group.seats is None else _seats(layout, group.name, group.seats),
        "seat_env": group.seat_env,
        "defaults": {field: _plain(value) for field, value in group.defaults.items()},
        **_closed(group),
    }


def _seats(layout: Layout, name: str, there: Seats) -> dict[str, Any]:
    held = find_held(layout, name)
    return {
        "names": [*there],
        "total": len(there),
        "used": len(held),
        "held": [
            {"seat": name_of(lock), "job": holder.id or None, "spool": holder.spool or None}
            for lock, holder in held.items()
        ],
    }


def worker_started_at(each: Mapping[str, Any]) -> datetime | None:
    """When a worker says it started; None if it does not say."""
    try:
        return parse_time(f"{each.get('started_at')}")
    except ValueError:
        return None


def show(layout: Layout, job: Job) -> dict[str, Any]:
    """`queuectl show --json`"""
    return {
        **job.to_json(),
        "defaults": defaults_to_json(defaults_of(layout, job)),
        "log": layout.log(job.id),
        "history": _read_history(layout, job.id),
        **_links(layout, job),
    }


def defaults_of(layout: Layout, job: Job) -> dict[str, Default]:
    """The fields that a job which has not ended gets from its groups, as it does not set them itself."""
    return {} if job.state in (State.DONE, State.DEAD) else lacking(job, defaults.of_job(layout, job.id))


def lacking(job: Job, found: Mapping[str, Default]) -> dict[str, Default]:
    """Those of its groups' defaults that a job does not set itself."""
    if job.body is None:
        return {}
    return {field: each for field, each in found.items() if field != "priority" and getattr(job.body, field) is None}


def defaults_to_json(found: Mapping[str, Default]) -> dict[str, Any]:
    """Those of a job, each with the group that says it."""
    return {field: {"value": _plain(default.value), "group": default.group} for field, default in found.items()}


def describe_defaults(found: Mapping[str, Default]) -> Iterator[tuple[str, str]]:
    """The field and the value with where it comes from, for people."""
    for name, default in found.items():
        field = FIELDS[name]
        value = "none" if default.value is None or field.show is None else field.show(default.value)
        yield field.title or name, f"{value}  from groups/{default.group}/{name.replace('_', '-')}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _links(layout: Layout, job: Job) -> dict[str, Any]:
    """What the job waits for, or has waited for, and what waits for it."""
    from queuectl.spool.reading import graph

    seen = graph.links_of(layout, job.id, job.fields)
    return {
        "waits_for": [{**link.to_json(), "text": graph.describe_link(link, seen)} for link in seen.above(job.id)],
        "awaited_by": [link.child for link in seen.below(job.id)],
    }


def _read_history(layout: Layout, id: str) -> list[dict[str, Any]]:
    """The attempts recorded in the job's log; none if there is no log, or a very long one."""
    attempts: list[dict[str, Any]] = []
    try:
        with open_reading(layout.log(id), id) as log:
            entries = read_entries(log) if size_of(log) <= _LONG_LOG else ()
            for mark in entries:
                if isinstance(mark, Mark) and mark.event == "start":
                    attempts.append(_begin(mark))
                elif isinstance(mark, Mark) and mark.event == "end" and attempts:
                    attempts[-1]["result"] = str(parse_outcome(mark.fields) or mark.fields.get("result"))
                elif isinstance(mark, Mark) and attempts and attempts[-1]["attempt"] == mark.attempt:
                    attempts[-1].update(mark.usage._asdict() if mark.usage is not None else {})
                    attempts[-1]["waited"] = mark.waited if mark.waited is not None else attempts[-1]["waited"]
    except SpoolError:
        pass
    return attempts


def _begin(mark: Mark) -> dict[str, Any]:
    try:
        started_at = format_rfc3339(parse_time(mark.fields.get("started_at", "")))
    except ValueError:
        started_at = None
    begun = {"attempt": mark.attempt, "started_at": started_at, "worker": mark.fields.get("worker"), "result": None}
    return {**begun, **dict.fromkeys(Usage._fields), "waited": None}


def metrics(found: Metrics) -> dict[str, Any]:
    """`queuectl metrics --json`"""
    return asdict(found)


def submitted(outcome: Job | QueuectlError, *, id: str | None = None, line: int | None = None) -> dict[str, Any]:
    """One of `enqueue --json`: the outcome for the job of that id, or of that line."""
    if isinstance(outcome, QueuectlError):
        return {"id": id, "ok": False, "error": str(outcome), "existing": None, "job": None, "line": line}
    existing = ("replaced" if outcome.is_replaced else "skipped") if isinstance(outcome, ExistingJob) else None
    return {"id": outcome.id, "ok": True, "error": None, "existing": existing, "job": outcome.to_json(), "line": line}
