"""The page on which many jobs are changed at once: find and replace in a field, a preview, then retry.

Each step is a form that holds what was chosen, so nothing is kept between them, and all of it works without scripts.
"""

from __future__ import annotations

import difflib
import shlex
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import bottle

from queuectl.core import body, fields
from queuectl.core.job import Job
from queuectl.core.replacing import CAN_BE_CHANGED, replaced
from queuectl.core.result import State
from queuectl.core.text import printable
from queuectl.dashboard import markup, table
from queuectl.dashboard.forms import Wanted, chosen_ids, go_back, matching, wanted_of
from queuectl.dashboard.markup import Html, escape
from queuectl.dashboard.operations import CHANGE, EDIT
from queuectl.dashboard.site import Request, Site, common, problem
from queuectl.errors import InvalidJobError, QueuectlError, UsageError
from queuectl.spool.system.clock import now as clock_now

_SHOWN = 3
_COUNT_TIME = 2.0
_FIELDS = ("all", "until", "field", "find", "text", "step", *table.FIELDS)
_LONGEST = 20_000


class _Asked(NamedTuple):
    """What is to be replaced: in that field, by `text`."""

    field: str = "command"
    find: str = ""
    text: str = ""

    def change(self, given: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
        return replaced(given, self.field, self.find, self.text, now)


def change(site: Site) -> Any:
    """Ask what to replace, show what that does to three jobs, or do it, depending on the form's `step`.

    Raises UsageError, and does nothing, if the form makes no sense.
    """
    request = Request.of(site)
    given = request.given(*_FIELDS, lists=("id",))
    wanted = wanted_of(given, request.now) if given.get("all") else None
    ids = chosen_ids(request.form.get("id", []))
    if wanted is None and not ids:
        return problem(400, "No job was chosen", "Select the jobs first, then choose what to do.", request)
    asked = _Asked(given.get("field") or "command", *(_text(given, name) for name in ("find", "text")))
    step = given.get("step", "")
    if step not in ("", "preview", *CHANGE):
        raise UsageError(f"no such step: {printable(step[:60])!r}", f"there are preview, {', '.join(CHANGE)}")
    wrong = _problem(asked, request.now) if step else ""
    if step in CHANGE and not wrong:
        jobs = (job for job in _jobs(request, wanted, ids) if _is_changed(job, asked, request.now))
        site.operations.change(
            request.session, step, jobs, lambda given: asked.change(given, clock_now()), by=request.user
        )
        return go_back(request)
    return _show(request, wanted, ids, asked, wrong, is_preview=bool(step) and not wrong, given=given)


def _text(given: Mapping[str, str], name: str) -> str:
    text = given.get(name, "").replace("\r\n", "\n")
    if len(text) > _LONGEST:
        raise UsageError("that text is too long", f"it has at most {_LONGEST} characters")
    return text


def _problem(asked: _Asked, now: datetime) -> str:
    """Why nothing can be replaced so, in any job; empty if it can."""
    if not asked.find and asked.field == "command":
        return "Type the text to find."
    try:
        asked.change({asked.field: {} if asked.field == "env" else ""}, now)
    except UsageError as error:
        return "; ".join(part for part in (error.what, error.hint) if part)
    return ""


def _jobs(request: Request, wanted: Wanted | None, ids: list[str]) -> Iterator[Job]:
    """The jobs that were chosen and can be changed."""
    if wanted is not None:
        yield from matching(request, EDIT, wanted)
        return
    for id in ids:
        job = request.site.find(id)
        if job is not None and job.state is not State.RUNNING and job.problem is None:
            yield job


def _is_changed(job: Job, asked: _Asked, now: datetime) -> bool:
    """Whether a job is not left as it is; True for one that cannot be changed, which its outcome says then."""
    try:
        return job.fields is not None and asked.change(job.fields, now) is not None
    except QueuectlError:
        return True


class _Sample(NamedTuple):
    """A job, and the field before and after; or why it cannot be changed."""

    id: str
    before: Html
    after: Html
    wrong: str = ""


def _sample(job: Job, asked: _Asked, now: datetime) -> _Sample:
    old: Mapping[str, Any] = job.fields or {}
    try:
        new = asked.change(old, now)
        if new is not None:
            body.validate(new)
    except (UsageError, InvalidJobError) as error:
        return _Sample(job.id, _shown(old, asked.field), Html(""), "; ".join(filter(None, (error.what, error.why))))
    return _Sample(job.id, *compare(_plain(old, asked.field), _plain(new or old, asked.field)))


def _shown(given: Mapping[str, Any], field: str) -> Html:
    return Html(escape(_plain(given, field)))


def _plain(given: Mapping[str, Any], field: str) -> str:
    """The field as one text."""
    value = given.get(field)
    if field == "command" and isinstance(value, str | list):
        return value if isinstance(value, str) else shlex.join(map(str, value))
    if field == "env" and isinstance(value, dict):
        return "\n".join(f"{key}={text}" for key, text in value.items())
    return fields.as_typed(value)


def compare(before: str, after: str) -> tuple[Html, Html]:
    """Both texts as markup, with what is only in one of them marked."""
    before, after = before[:2000], after[:2000]
    old: list[str] = []
    new: list[str] = []
    for kind, first, last, start, stop in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        for found, text, tag in ((old, before[first:last], "del"), (new, after[start:stop], "ins")):
            if text:
                found.append(escape(text) if kind == "equal" else f"<{tag}>{escape(text)}</{tag}>")
    return Html("".join(old)), Html("".join(new))


def _show(
    request: Request,
    wanted: Wanted | None,
    ids: list[str],
    asked: _Asked,
    wrong: str,
    *,
    is_preview: bool,
    given: Mapping[str, str],
) -> Any:
    deadline = time.monotonic() + _COUNT_TIME
    chosen = changed = retried = 0
    samples: list[_Sample] = []
    is_all = True
    first: Job | None = None
    for job in _jobs(request, wanted, ids):
        if time.monotonic() > deadline:
            is_all = False
            break
        chosen += 1
        first = first or job
        if is_preview and _is_changed(job, asked, request.now):
            changed += 1
            retried += job.state is not State.PENDING
            if len(samples) < _SHOWN:
                samples.append(_sample(job, asked, request.now))
    text = markup.render(
        "change_many",
        **common(request),
        title="Fix and retry" if first is not None and first.state is State.DEAD else "Change many jobs",
        chosen=chosen,
        changed=changed,
        retried=retried,
        more="" if is_all else "at least ",
        samples=samples,
        example=_plain(first.fields or {}, asked.field)[:500] if first is not None else "",
        is_preview=is_preview,
        wrong=wrong,
        asked=asked,
        names=CAN_BE_CHANGED,
        label=lambda name: fields.FIELDS[name].label if name != "env" else "Variables",
        steps=CHANGE,
        kept=[(key, given[key]) for key in ("all", *table.FIELDS) if given.get(key)] + [("id", id) for id in ids],
        until=wanted.until if wanted else "",
        back=request.back,
        counts=request.view.counts(request.now),
        receipts=[],
    )
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(text.encode(), status=400 if wrong else 200, headers=headers)
