"""The forms: each performs one action on the jobs it names and returns to the page it came from."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import bottle

from queuectl.core.job import Job
from queuectl.core.names import MAX_PRIORITY, format_time, is_valid_id
from queuectl.dashboard import markup, table
from queuectl.dashboard.operations import SIGNALS, VERBS, How, Verb
from queuectl.dashboard.security import cookie, is_local_path
from queuectl.dashboard.site import Request, Site, common, problem
from queuectl.dashboard.table import Filter

_NAMED = 20


def act(site: Site, name: str) -> Any:
    """Act on the jobs of `id` fields, or with `all` on those of a filter. A final action asks for confirmation."""
    request = Request.of(site)
    verb = VERBS.get(name)
    if verb is None:
        return problem(404, "No such action", name, request)
    priority, signal = request.field("priority"), request.field("signal")
    if name == "reprioritise" and not (
        priority.isascii() and priority.isdecimal() and int(priority[:9]) <= MAX_PRIORITY
    ):
        return problem(400, "Invalid priority", f"A priority is a whole number from 0 to {MAX_PRIORITY}.", request)
    if name == "kill" and signal not in SIGNALS:
        return problem(400, "Invalid signal", f"These signals can be sent: {' '.join(SIGNALS)}.", request)
    is_all = bool(request.field("all"))
    chosen = [request.field("one")] if request.field("one") else request.form.get("id", [])
    ids = [id for id in dict.fromkeys(chosen) if is_valid_id(id)]
    if not ids and not is_all:
        return problem(400, "No job was chosen", "Select the jobs first, then choose what to do.", request)
    if (verb.is_final or is_all) and not request.field("confirmed"):
        return _confirm(request, verb, ids, is_all=is_all)
    jobs = _matching(request, verb) if is_all else _named(site, ids)
    how = How(int(priority) if name == "reprioritise" else None, SIGNALS.get(signal, SIGNALS["TERM"]))
    site.operations.carry_out(request.session, verb, jobs, total=None if is_all else len(ids), how=how)
    return go_back(request)


def _named(site: Site, ids: list[str]) -> Iterator[Job]:
    return (job for id in ids if (job := site.find(id)))


def _matching(request: Request, verb: Verb) -> Iterator[Job]:
    """The jobs that the form's filter selects and the action applies to, as of when the page was made."""
    wanted = Filter.parse({key: values[0] for key, values in request.form.items()})
    until = request.field("until") or format_time(request.now)
    for job in table.matching(request.site.spool.layout, request.view, wanted, request.now):
        is_later = job.finished_at is not None and format_time(job.finished_at) > until
        if verb.suits(job.state, is_held=job.is_held) and not is_later and (job.problem is None or verb.is_final):
            yield job


def _confirm(request: Request, verb: Verb, ids: list[str], *, is_all: bool) -> Any:
    """Show how many jobs, and which, before anything is done to them."""
    site = request.site
    if is_all:
        matching = _matching(request, verb)
        shown = list(islice(matching, _NAMED))
        count = len(shown) + sum(1 for _ in matching)
    else:
        jobs = list(_named(site, ids))
        count, shown = len(jobs), jobs[:_NAMED]
    kept = [
        (key, value)
        for key in ("all", "state", "q", "result", "age", "priority", "signal")
        for value in request.form.get(key, [])
    ]
    kept += [("id", id) for id in ids if not is_all]
    text = markup.render(
        "confirm",
        **common(request),
        title=f"{verb.label} {count:,} job{'' if count == 1 else 's'}?",
        verb=verb,
        count=count,
        shown=shown,
        command=table.command,
        kept=kept,
        until=format_time(request.now),
        back=_origin(request),
        counts=request.view.counts(request.now),
        receipts=[],
    )
    return bottle.HTTPResponse(text.encode(), headers={"Content-Type": "text/html; charset=utf-8"})


def undo(site: Site) -> Any:
    request = Request.of(site)
    if site.operations.undo(request.session, request.field("receipt")) is None:
        return problem(409, "Nothing to undo", "It was already undone, or is too old.", request)
    return go_back(request)


def dismiss(site: Site) -> Any:
    request = Request.of(site)
    site.operations.dismiss(request.session, request.field("receipt"))
    return go_back(request)


def _origin(request: Request) -> str:
    path = request.field("back")
    return path if is_local_path(path) else "/"


def go_back(request: Request, path: str = "") -> Any:
    """Redirect to that page, or back to the one with the form, once the snapshot shows what was done."""
    request.site.snapshot.view(patience=0.5, is_fresh=True)
    target = request.site.policy.prefix + (path or _origin(request))
    return bottle.HTTPResponse(status=303, headers={"Location": target})


def login_page(site: Site, *, is_wrong: bool = False) -> Any:
    request = Request.of(site)
    values = {**common(request), "next": request.query.get("next", "/"), "is_wrong": is_wrong, "title": "Log in"}
    text = markup.render("login", **values)
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(text.encode(), status=403 if is_wrong else 200, headers=headers)


def login(site: Site) -> Any:
    """Check the token once and remember that it was right."""
    request = Request.of(site)
    if site.policy.token is None or not site.policy.is_token(request.field("token")):
        return login_page(site, is_wrong=True)
    target = request.field("next")
    response = bottle.HTTPResponse(
        status=303, headers={"Location": site.policy.prefix + (target if is_local_path(target) else "/")}
    )
    response.add_header(
        "Set-Cookie", cookie(site.policy, request.environ, site.policy.auth_cookie, site.policy.proof())
    )
    return response
