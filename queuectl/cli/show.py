"""`queuectl show`"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from queuectl.cli.context import json_option, open_spool, print_json, show_error, shown
from queuectl.cli.targets import ids_argument, load, locate, read_ids
from queuectl.core.fields import FIELDS
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import format_instant, format_seconds, format_when
from queuectl.core.values import command_text
from queuectl.errors import QueuectlError
from queuectl.spool.reading import shapes
from queuectl.spool.reading.log_lines import describe_usage
from queuectl.spool.reading.progress import with_progress
from queuectl.spool.reading.stopped import mark_stopped
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.logs import Usage

_NAMED = 10


@click.command()
@ids_argument()
@json_option
def show(ids: tuple[str, ...], as_json: bool) -> None:
    """Show everything about jobs. An id may be shortened.

    Of one job --json prints an object, of several an array.

    \b
    Example:
      queuectl show report
      queuectl show report --json | jq .history
    """
    spool = open_spool()
    code = 0
    found: list[Job] = []
    wanted = read_ids(ids)
    for target in locate(spool, wanted):
        try:
            found.append(load(spool, target))
        except QueuectlError as error:
            failed = show_error(error)
            code = code or failed
    found = [*with_progress(spool.layout, mark_stopped(found))]
    shapes_of = [shapes.show(spool.layout, job) for job in found]
    if as_json and (shapes_of or len(wanted) != 1):
        print_json(shapes_of[0] if len(wanted) == 1 else shapes_of)
    elif not as_json:
        for number, (job, shape) in enumerate(zip(found, shapes_of, strict=True)):
            if number:
                click.echo()
            _print(spool.layout, job, shape)
    click.get_current_context().exit(code)


def _print(layout: Layout, job: Job, shape: dict[str, Any]) -> None:
    for name, value in (
        *_details(layout, job),
        *_links(shape),
        *_attempts(job, shape["history"]),
        ("file", job.path),
        ("log", shape["log"]),
    ):
        click.echo(f"{name:<12} {shown(value)}".rstrip())


def _details(layout: Layout, job: Job) -> Iterator[tuple[str, str]]:
    body = job.body
    yield "id", job.id
    remark = "held" if job.is_held else "waiting" if job.is_waiting else "stopped" if job.is_stopped else job.result
    yield "state", f"{job.state}" + (f" ({remark})" if remark else "")
    if job.owner is not None:
        yield "owner", f"{job.owner}, not the spool's owner"
    if job.progress is not None:
        yield "progress", job.progress
    yield "command", command_text(job)
    if job.submitted_by is not None:
        yield "submitted_by", job.submitted_by
    yield "priority", f"{job.priority}"
    for name, at in (("run_at", job.run_at), ("started_at", job.started_at), ("finished_at", job.finished_at)):
        if at is not None:
            yield name, f"{format_instant(at)} ({format_when(at, now())})"
    if job.duration is not None:
        yield "duration", format_seconds(job.duration)
    if job.worker is not None:
        yield "worker", job.worker
    if body is not None:
        for name, field in FIELDS.items():
            value = getattr(body, name)
            if field.show is not None and value not in (None, {}):
                yield field.title or name, field.show(value)
        yield from shapes.describe_defaults(shapes.defaults_of(layout, job))
        yield from (("warning", warning) for warning in body.warnings)
    yield "attempts", f"{job.attempts}"


def _links(shape: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What it waits for, and what waits for it."""
    links = {"waits_for": [link["text"] for link in shape["waits_for"]], "awaited_by": shape["awaited_by"]}
    for name, texts in links.items():
        if texts:
            more = f", … ({len(texts)} in all)" if len(texts) > _NAMED else ""
            yield name, ", ".join(texts[:_NAMED]) + more


def _attempts(job: Job, history: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The last ten attempts, one a line."""
    last = "under way" if job.state is State.RUNNING else "its end is not in the log"
    for attempt in history[-10:]:
        at = attempt["started_at"]
        started = format_instant(datetime.fromisoformat(at)) if at else "?"
        used = f"  {_usage(attempt)}" if attempt["max_rss"] is not None else ""
        yield f"  {attempt['attempt']}", f"{started}  {attempt['result'] or last}{used}"


def _usage(attempt: dict[str, Any]) -> str:
    """What an attempt used."""
    return describe_usage(Usage(*(attempt[name] for name in Usage._fields)))
