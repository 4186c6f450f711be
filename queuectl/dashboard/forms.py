"""The forms: each performs one action on the jobs it names and returns to the page it came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import bottle

from queuectl.core.job import Job
from queuectl.core.names import MAX_PRIORITY, format_time, is_valid_id, parse_time
from queuectl.core.result import State
from queuectl.core.text import format_count, printable
from queuectl.dashboard import markup, table
from queuectl.dashboard.operations import SIGNALS, VERBS, How, Verb
from queuectl.dashboard.security import cookie, is_local_path
from queuectl.dashboard.site import Request, Site, common, problem
from queuectl.dashboard.table import Filter
from queuectl.errors import UsageError

_NAMED = 20
_FIELDS = ("one", "all", "confirmed", "until", "priority", "signal", *table.FIELDS)


def act(site: Site, name: str) -> Any:
    """Act on the jobs of `id` fields, or with `all` on those of a filter.

    What cannot be undone asks first, and so does what reaches all that match. Raises UsageError, and does nothing, if
    the form makes no sense.
    """
    request = Request.of(site)
    verb = VERBS.get(name)
    if verb is None:
        return problem(404, "No such action", name, request)
    given = request.given(*_FIELDS, lists=("id",))
    how = _how(verb, given)
    wanted = wanted_of(given, request.now) if given.get("all") else None
    ids = chosen_ids([given["one"]] if given.get("one") else request.form.get("id", []))
    if wanted is None and not ids:
        return problem(400, "No job was chosen", "Select the jobs first, then choose what to do.", request)
    named = [] if wanted else [site.find(id) or id for id in ids]
    must_ask = wanted is not None or any(isinstance(job, Job) and job.state in verb.asks for job in named)
    is_answered = given.get("confirmed") and (verb.name != "kill" or how.signal)
    if must_ask and not is_answered:
        return _confirm(request, verb, given, named, wanted)
    jobs: Iterable[Job | str] = matching(request, verb, wanted) if wanted else named
    total = None if wanted else len(named)
    site.operations.carry_out(request.session, verb, jobs, total=total, how=how, by=request.user)
    return go_back(request)


def _how(verb: Verb, given: Mapping[str, str]) -> How:
    """What is given besides the jobs; raises UsageError."""
    priority, signal = given.get("priority", ""), given.get("signal", "")
    is_priority = priority.isascii() and priority.isdecimal() and int(priority[:9]) <= MAX_PRIORITY
    if verb.name == "reprioritise" and not is_priority:
        raise UsageError("invalid priority", f"it is a whole number from 0 to {MAX_PRIORITY}")
    if signal and signal not in SIGNALS:
        raise UsageError("no such signal", f"these can be sent: {' '.join(SIGNALS)}")
    return How(int(priority) if verb.name == "reprioritise" else None, SIGNALS.get(signal))


class Wanted(NamedTuple):
    """The jobs that a filter selected when its page was made, at `until`."""

    filter: Filter
    until: str


def wanted_of(given: Mapping[str, str], now: datetime) -> Wanted:
    """What a form selects; raises UsageError for a filter that makes no sense, or none: never everything instead."""
    if not given.get("state"):
        raise UsageError("all of which jobs?", "the form names no state")
    until = given.get("until") or format_time(now)
    try:
        parse_time(until)
    except ValueError:
        raise UsageError("invalid time in the field until", "reload the page that the form is on") from None
    return Wanted(Filter.parse({key: value for key, value in given.items() if key in table.FIELDS}), until)


def chosen_ids(chosen: Iterable[str]) -> list[str]:
    ids = list(dict.fromkeys(chosen))
    bad = next((id for id in ids if not is_valid_id(id)), None)
    if bad is not None:
        raise UsageError(f"not an id: {printable(bad[:100])!r}")
    return ids


def matching(request: Request, verb: Verb, wanted: Wanted) -> Iterator[Job]:
    """The jobs that the form's filter selects and the action applies to, as of when the page was made."""
    for job in table.matching(request.site.spool.layout, request.view, wanted.filter, request.now, request.site.causes):
        is_later = job.finished_at is not None and format_time(job.finished_at) > wanted.until
        if not is_later and verb.suits_job(job, request.now):
            yield job


def _confirm(
    request: Request, verb: Verb, given: Mapping[str, str], named: list[Job | str], wanted: Wanted | None
) -> Any:
    """Show how many jobs, and which, before anything is done to them."""
    if wanted is not None:
        found = matching(request, verb, wanted)
        shown = list(islice(found, _NAMED))
        count = len(shown) + sum(1 for _ in found)
    else:
        jobs = [job for job in named if isinstance(job, Job) and verb.suits_job(job, request.now)]
        count, shown = len(jobs), jobs[:_NAMED]
    hidden = [(key, given[key]) for key in ("all", *table.FIELDS, "priority") if given.get(key)]
    hidden += [("id", job if isinstance(job, str) else job.id) for job in named]
    is_again = verb.name == "retry" and any(job.state is State.DONE for job in shown)
    text = markup.render(
        "confirm",
        **common(request),
        title=f"Run {format_count(count, 'job')} again?" if is_again else verb.ask(count),
        label="Run" if is_again else verb.label,
        verb=verb,
        warning=verb.warning if any(job.state in verb.asks for job in shown) else "",
        count=count,
        others=len(named) - count if wanted is None else 0,
        shown=shown,
        command=table.command,
        signals=SIGNALS if verb.name == "kill" else (),
        signal=given.get("signal", ""),
        kept=hidden,
        until=wanted.until if wanted else "",
        back=request.back,
        counts=request.view.counts(request.now),
        receipts=[],
    )
    return bottle.HTTPResponse(text.encode(), headers={"Content-Type": "text/html; charset=utf-8"})


def undo(site: Site) -> Any:
    request = Request.of(site)
    if site.operations.undo(request.session, request.field("receipt"), by=request.user) is None:
        return problem(409, "Nothing to undo", "It was already undone, or is too old.", request)
    return go_back(request)


def dismiss(site: Site) -> Any:
    request = Request.of(site)
    site.operations.dismiss(request.session, request.field("receipt"))
    return go_back(request)


def go_back(request: Request, path: str = "") -> Any:
    """Redirect to that page, or back to the one with the form, once the snapshot shows what was done."""
    request.site.snapshot.view(patience=0.5, is_fresh=True)
    target = request.site.policy.prefix + (path or request.back)
    return bottle.HTTPResponse(status=303, headers={"Location": target})


def login_page(site: Site, *, is_wrong: bool = False) -> Any:
    request = Request.of(site)
    try:
        target = request.asked("next").get("next") or "/"
    except UsageError:  # who has no token is shown nothing but this page
        target = "/"
    values = {**common(request), "next": target, "is_wrong": is_wrong, "title": "Log in"}
    text = markup.render("login", **values)
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(text.encode(), status=403 if is_wrong else 200, headers=headers)


def login(site: Site) -> Any:
    """Check the token once and remember that it was right."""
    request = Request.of(site)
    policy, address = site.policy, request.environ.get("REMOTE_ADDR", "")
    left = policy.attempts.left(address)
    if left:
        return problem(429, "Too many wrong tokens", f"Try again in {left:.0f} seconds.", request)
    name = policy.name_of(request.field("token"))
    if name is None:
        policy.attempts.note_wrong(address)
        return login_page(site, is_wrong=True)
    target = request.field("next")
    response = bottle.HTTPResponse(
        status=303, headers={"Location": site.policy.prefix + (target if is_local_path(target) else "/")}
    )
    response.add_header(
        "Set-Cookie", cookie(site.policy, request.environ, policy.auth_cookie, policy.proof(policy.tokens[name]))
    )
    return response
