"""The routes of the dashboard and what answers each of them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import bottle

from queuectl.dashboard import api, audit, change_many, forms, group_pages, job_form, pages, pausing, schedule_pages
from queuectl.dashboard.security import Guard, Policy
from queuectl.dashboard.server import Application
from queuectl.dashboard.site import Request, Site, bad_request, problem
from queuectl.dashboard.snapshot import Snapshot
from queuectl.errors import UsageError
from queuectl.spool.store import Spool

STATIC = os.path.join(os.path.dirname(__file__), "static")

GET: dict[str, Callable[..., Any]] = {
    "/": pages.overview,
    "/jobs": pages.jobs,
    "/jobs/<id>": pages.job,
    "/jobs/<id>/set": job_form.set_page,
    "/jobs/<id>/edit": job_form.edit_page,
    "/jobs/<id>/log": api.raw_log,
    "/jobs/<id>/tail": api.tail,
    "/dead": functools.partial(pages.jobs, only_dead=True),
    "/refused": pages.refused,
    "/workers": pages.workers,
    "/groups": group_pages.groups_page,
    "/groups/<id>/set": group_pages.settings_page,
    "/schedules": schedule_pages.schedules_page,
    "/pause": pausing.pause_page,
    "/login": forms.login_page,
    "/api/status": api.status,
    "/api/jobs": api.jobs,
    "/api/jobs/<id>": api.job,
    "/api/jobs/<id>/log": api.raw_log,
    "/api/dead": functools.partial(api.jobs, only_dead=True),
    "/api/workers": api.workers,
    "/api/groups": api.groups,
    "/api/schedules": schedule_pages.as_data,
    "/api/metrics": api.metrics,
    "/metrics": api.prometheus,
    "/healthz": api.healthz,
}
POST: dict[str, Callable[..., Any]] = {
    "/actions/undo": forms.undo,
    "/actions/dismiss": forms.dismiss,
    "/actions/set": job_form.set_fields,
    "/actions/edit": job_form.edit,
    "/actions/change": change_many.change,
    "/actions/pause": pausing.pause,
    "/actions/resume": pausing.resume,
    "/actions/group": group_pages.save,
    "/actions/schedule-run": schedule_pages.run_now,
    "/actions/<name>": forms.act,
    "/login": forms.login,
}


def make(spool: Spool, policy: Policy, snapshot: Snapshot) -> Application:
    """The whole dashboard as one guarded WSGI application."""
    site = Site(spool, policy, snapshot)
    app = bottle.Bottle()
    app.default_error_handler = functools.partial(_say_error, site)
    for method, routes in (("GET", GET), ("POST", POST)):
        for path, answer in routes.items():
            app.route(path, method, functools.partial(_answer, answer, site))
    app.route("/static/<name>", "GET", _static)
    app.route("/favicon.svg", "GET", _favicon)
    return Guard(app, policy)


_FAILED = "The dashboard failed", "Its terminal says why. The other pages still work."
_ERRORS = {
    400: ("This request makes no sense", ""),
    404: ("No such page", "The address may be mistyped, or from another version."),
    405: ("Not possible here", "This page does not accept this kind of request."),
}


def _answer(answer: Callable[..., Any], site: Site, **parts: str) -> Any:
    """The answer, or why the request makes no sense."""
    try:
        given = answer(site, **parts)
        audit.note(given, bottle.request.environ)
        return given
    except UsageError as error:
        request = Request.of(site)
        path = request.environ["PATH_INFO"]
        is_data = path.startswith("/api/") or path.endswith(("/tail", "/log"))
        return api.refusal(error) if is_data else bad_request(error, request)


def _say_error(site: Site, error: Any) -> bytes:
    """Errors as a page for browsers, else in plain text; internal failures are reported only on stderr."""
    environ = bottle.request.environ
    is_data = environ["PATH_INFO"].startswith(("/api/", "/static/"))
    if not is_data and "text/html" in environ.get("HTTP_ACCEPT", "") and "queuectl.csrf" in environ:
        title, text = _ERRORS.get(error.status_code, _FAILED)
        page = problem(error.status_code, title, text, Request.of(site))
        bottle.response.headers.update(page.headers)
        return bytes(page.body)
    bottle.response.content_type = "text/plain; charset=utf-8"
    texts = {
        400: "This request makes no sense.",
        404: "There is no such page.",
        405: "This page does not accept this kind of request.",
    }
    return f"{texts.get(error.status_code, 'The dashboard failed to answer; its terminal says why.')}\n".encode()


def _static(name: str) -> Any:
    found = _files().get(name)
    if found is None:
        raise bottle.HTTPError(404)
    kind = "text/css" if name.endswith(".css") else "text/javascript"
    headers = {"Content-Type": f"{kind}; charset=utf-8", "Cache-Control": "max-age=86400"}
    return bottle.HTTPResponse(found, headers=headers)


@functools.cache
def _files() -> dict[str, bytes]:
    """The styles and scripts, which are small."""
    found = {}
    for name in os.listdir(STATIC):
        if name.endswith((".css", ".js")):
            with open(os.path.join(STATIC, name), "rb") as file:
                found[name] = file.read()
    return found


def _favicon() -> Any:
    """The tab's icon, with the number of dead jobs that the page asks for."""
    text = bottle.request.query.get("dead", "0")
    alarm = bottle.request.query.get("alarm") == "1"
    dead = int(text) if text.isdecimal() and text.isascii() and len(text) < 12 else 0
    shown = f"{dead}" if dead < 100 else "99+" if dead < 1000 else f"{min(dead // 1000, 99)}k"
    size = 12 if len(shown) < 3 else 10
    font = f'font-family="sans-serif" font-weight="700" font-size="{size}" text-anchor="middle" fill="#fff"'
    label = f'<text x="20.5" y="28.5" {font}>{shown}</text>'
    mark = f'<rect x="9" y="17" width="23" height="15" rx="7" fill="#d92d20"/>{label}'
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">'
        '<rect width="32" height="32" rx="8" fill="BACKGROUND"/>'
        '<g fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"><path d="M8 10h16M8 16h10M8 22h5"/></g>'
        f"{mark if dead else ''}</svg>"
    )
    svg = svg.replace("BACKGROUND", "#b42318" if alarm else "#4f46e5")
    headers = {"Content-Type": "image/svg+xml", "Cache-Control": "max-age=86400"}
    return bottle.HTTPResponse(svg.encode(), headers=headers)
