"""Pausing the queue, or a group, from a page, with a reason and a time to resume; and resuming it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import bottle

from queuectl.core import groups
from queuectl.core.result import State
from queuectl.core.when import parse_when
from queuectl.dashboard import markup
from queuectl.dashboard.forms import go_back
from queuectl.dashboard.site import Request, Site, common, problem
from queuectl.errors import QueuectlError, UsageError


def pause_page(site: Site) -> Any:
    """The form; it shows a pause in force, so that it can be changed."""
    request = Request.of(site)
    if not site.policy.may_act:
        return problem(403, "Read-only", "This dashboard is read-only: it does not allow changes.", request)
    asked = request.asked("group")
    group = groups.require_name(asked["group"]) if "group" in asked else ""
    found = site.spool.paused(group=group)
    until = found.until.strftime("%Y-%m-%dT%H:%M:%SZ") if found and found.until else ""
    return _show(request, group, found.reason if found else "", until)


def pause(site: Site) -> Any:
    """Stop workers from starting jobs, until the time given if there is one. Raises UsageError for a wrong group."""
    request = Request.of(site)
    group = _group_of(request)
    reason, until = " ".join(request.field("reason").split()), request.field("until")
    try:
        site.spool.pause(reason, _instant(until, request.now), group=group)
    except QueuectlError as error:
        return _show(request, group, request.field("reason"), until, error)
    return go_back(request)


def _group_of(request: Request) -> str:
    """The group that a form names; empty, for the whole queue, only if it has no such field."""
    return groups.require_name(request.field("group")) if "group" in request.form else ""


def _instant(text: str, now: datetime) -> datetime | None:
    if not text.strip():
        return None
    at = parse_when(text, now)
    if at <= now:
        raise UsageError(f"that time has passed: {text!r}", hint='try 30m, "18:30" or "tomorrow 09:00"')
    return at


def resume(site: Site) -> Any:
    """Let workers start jobs again; does nothing if the queue, or the group, is not paused."""
    request = Request.of(site)
    group = _group_of(request)
    try:
        site.spool.resume(group=group)
    except QueuectlError as error:
        return problem(503, error.what, error.why, request)
    return go_back(request)


def _show(request: Request, group: str, reason: str, until: str, error: QueuectlError | None = None) -> Any:
    wrong = "; ".join(filter(None, (error.what, error.why or error.hint))) if error else ""
    counts = request.view.counts(request.now)
    shown = {
        "reason": reason,
        "until": until,
        "wrong": wrong,
        "group": group,
        "title": f"Pause the group {group}" if group else "Pause the queue",
        "running": request.view.shelves[State.RUNNING].groups().get(group, 0) if group else counts.running,
        "receipts": [],
    }
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    status = 200 if error is None else 400 if isinstance(error, UsageError) else 503
    text = markup.render("pause", **common(request), **shown, counts=counts)
    return bottle.HTTPResponse(text.encode(), status=status, headers=headers)
