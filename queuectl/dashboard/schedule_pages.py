"""The page of the schedules, what it does, and the same as data."""

from __future__ import annotations

import json
import os
import shlex
from datetime import datetime
from typing import Any

import bottle

from queuectl.core import schedules
from queuectl.dashboard import wording
from queuectl.dashboard.forms import go_back
from queuectl.dashboard.markup import Html
from queuectl.dashboard.site import Request, Site, page, problem
from queuectl.dashboard.why import Seen
from queuectl.errors import NotFoundError, QueuectlError, SpoolError
from queuectl.spool.moves import ticks
from queuectl.spool.reading import query
from queuectl.spool.reading import schedules as reading
from queuectl.spool.reading.explain import of_schedule
from queuectl.spool.reading.schedules import Summary, Tick, View
from queuectl.spool.system import files
from queuectl.spool.system import schedules as schedule_files

_SAID = ("paused", "scheduled")
"""Reasons that the page gives in its own way."""


def schedules_page(site: Site) -> Any:
    """Every schedule with its last and next times, and what keeps it from making jobs."""
    request = Request.of(site)
    views = _look(site, request)
    key = [(view.found.identity, view.problem, view.paused_by, view.coming, view.waiting_since) for view in views]
    seen = Seen(request.view, request.now)

    def why(view: View) -> list[Html]:
        return wording.sentences(of_schedule(view, seen), site.spool.path, request.now, without=_SAID)

    def values() -> dict[str, Any]:
        return {"views": views, "command": _command, "why": why}

    return page(request, "schedules", "Schedules", key, values=values)


def as_data(site: Site) -> Any:
    """As `queuectl schedule list --json`."""
    views = _look(site, Request.of(site))
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(json.dumps([view.to_json() for view in views]).encode(), headers=headers)


def summary(site: Site, request: Request) -> Summary | None:
    """What `queuectl status` says of them; None if there are none."""
    views = _look(site, request)
    return reading.summarise(views) if views else None


def run_now(site: Site) -> Any:
    """Submit a job of a schedule, whose log says who asked for it, and show it."""
    request = Request.of(site)
    given = request.given("schedule")
    layout = site.spool.layout
    try:
        job = ticks.run_now(layout, schedule_files.find(layout, given.get("schedule", "")), request.now)
    except NotFoundError as error:
        return problem(404, "No such schedule", error.what, request)
    except SpoolError as error:
        return problem(503, error.what, error.why, request)
    except QueuectlError as error:
        return problem(409, error.what, error.why, request)
    site.operations.record(job, "run", request.user)
    request.form["id"] = [job.id]  # for the audit line
    return go_back(request, f"/jobs/{job.id}")


def _look(site: Site, request: Request) -> list[View]:
    layout = site.spool.layout
    if files.is_gone(layout.schedules):
        return []
    return reading.look_at_all(layout, request.now, lambda names: _newest(request, names))


def _newest(request: Request, names: list[str]) -> dict[str, Tick]:
    """The newest ticks of these schedules, from the names in memory."""
    found: dict[str, Tick] = {}
    for name in names:
        for state, shelf in request.view.shelves.items():
            for text in shelf.select(group=name) if schedules.is_name(name) else ():
                tick = _tick_of(os.fspath(text), name)
                if tick is None or tick > request.now or (name in found and found[name].tick >= tick):
                    continue
                parsed = query.parse_name(state, text)
                if parsed is not None:
                    found[name] = Tick(tick, state, parsed)
    return found


def _tick_of(text: str, name: str) -> datetime | None:
    """The tick that a file's name ends with, if it is one of that schedule."""
    if not text.endswith("Z.json"):
        return None
    named = schedules.parse_id(text[text.rindex(f"-{name}.") + 1 :].removesuffix(".json"))
    return named[1] if named is not None and named[0] == name else None


def _command(view: View) -> str:
    """The command in one line."""
    if view.found.schedule is None:
        return ""
    command = view.found.schedule.body.command
    return command if isinstance(command, str) else shlex.join(command)
