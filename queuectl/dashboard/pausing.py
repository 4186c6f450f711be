"""Pausing the queue from a page, with a reason and a time to resume; and resuming it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import bottle

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
    found = site.spool.paused()
    until = found.until.strftime("%Y-%m-%dT%H:%M:%SZ") if found and found.until else ""
    return _show(request, found.reason if found else "", until)


def pause(site: Site) -> Any:
    """Stop workers from starting jobs, until the time given if there is one."""
    request = Request.of(site)
    reason, until = " ".join(request.field("reason").split()), request.field("until")
    try:
        site.spool.pause(reason, _instant(until, request.now))
    except QueuectlError as error:
        return _show(request, request.field("reason"), until, error)
    return go_back(request)


def _instant(text: str, now: datetime) -> datetime | None:
    if not text.strip():
        return None
    at = parse_when(text, now)
    if at <= now:
        raise UsageError(f"that time has passed: {text!r}", hint='try 30m, "18:30" or "tomorrow 09:00"')
    return at


def resume(site: Site) -> Any:
    """Let workers start jobs again; does nothing if the queue is not paused."""
    request = Request.of(site)
    try:
        site.spool.resume()
    except QueuectlError as error:
        return problem(503, error.what, error.why, request)
    return go_back(request)


def _show(request: Request, reason: str, until: str, error: QueuectlError | None = None) -> Any:
    wrong = "; ".join(filter(None, (error.what, error.why or error.hint))) if error else ""
    counts = request.view.counts(request.now)
    shown = {"reason": reason, "until": until, "wrong": wrong, "title": "Pause the queue", "receipts": []}
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    status = 200 if error is None else 400 if isinstance(error, UsageError) else 503
    text = markup.render("pause", **common(request), **shown, counts=counts)
    return bottle.HTTPResponse(text.encode(), status=status, headers=headers)
