"""`queuectl show`"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from queuectl.cli.context import complete_jobs, json_option, open_spool, print_json, shown
from queuectl.core.fields import FIELDS
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import format_instant, format_seconds, format_when
from queuectl.core.values import command_text
from queuectl.spool.reading import shapes
from queuectl.spool.system.clock import now


@click.command()
@click.argument("id", shell_complete=complete_jobs())
@json_option
def show(id: str, as_json: bool) -> None:
    """Show everything about one job. The id may be shortened.

    \b
    Example:
      queuectl show report
      queuectl show report --json | jq .history
    """
    spool = open_spool()
    job = spool.get(id)
    shape = shapes.show(spool.layout, job)
    if as_json:
        print_json(shape)
        return
    for name, value in (*_details(job), *_attempts(job, shape["history"]), ("file", job.path), ("log", shape["log"])):
        click.echo(f"{name:<12} {shown(value)}".rstrip())


def _details(job: Job) -> Iterator[tuple[str, str]]:
    body = job.body
    yield "id", job.id
    remark = "held" if job.is_held else job.result
    yield "state", f"{job.state}" + (f" ({remark})" if remark else "")
    if job.owner is not None:
        yield "owner", f"{job.owner}, not the spool's owner"
    yield "command", command_text(job)
    if job.submitted_by is not None:
        yield "submitted-by", job.submitted_by
    yield "priority", f"{job.priority}"
    for name, at in (("starts", job.run_at), ("started", job.started_at), ("finished", job.finished_at)):
        if at is not None:
            yield name, f"{format_instant(at)} ({format_when(at, now())})"
    if job.duration is not None:
        yield "took", format_seconds(job.duration)
    if job.worker is not None:
        yield "worker", job.worker
    if body is not None:
        for name, field in FIELDS.items():
            value = getattr(body, name)
            if field.show is not None and value not in (None, {}):
                yield field.title or name.replace("_", "-"), field.show(value)
        yield from (("warning", warning) for warning in body.warnings)
    yield "attempts", f"{job.attempts}"


def _attempts(job: Job, history: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """The last ten attempts, one a line."""
    last = "under way" if job.state is State.RUNNING else "its end is not in the log"
    for attempt in history[-10:]:
        at = attempt["started_at"]
        started = format_instant(datetime.fromisoformat(at)) if at else "?"
        yield f"  {attempt['attempt']}", f"{started}  {attempt['result'] or last}"
