"""The pages on which a job is changed: its fields one by one (`set`), or its whole body as text (`edit`).

They do not refresh themselves, and a form that is refused comes back as it was typed, with what is wrong next to it:
nothing is lost to a mistake, nor to a job that was started, changed or removed in the meantime.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

import bottle

from queuectl.core import fields
from queuectl.core.fields import FIELDS
from queuectl.core.job import Job
from queuectl.core.names import format_rfc3339, is_valid_id
from queuectl.core.result import State
from queuectl.core.text import printable_output
from queuectl.dashboard import markup, wording
from queuectl.dashboard.forms import go_back
from queuectl.dashboard.operations import EDIT, SET, VERBS
from queuectl.dashboard.site import Request, Site, common, problem
from queuectl.errors import InvalidJobError, NotFoundError, NotJsonError, QueuectlError, UsageError, WrongStateError
from queuectl.spool.moves.edit import BY_NAME, Draft

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Field:
    """A field on the form: `was` is how it was shown, `typed` what it contains now, `wrong` why that is refused."""

    name: str
    label: str
    hint: str
    was: str = ""
    typed: str = ""
    wrong: str = ""

    @property
    def is_changed(self) -> bool:
        return self.typed != self.was


_FIRST = ("command", "run_at", "priority", "timeout", "max_retries", "cwd", "env")
"""The fields of a job that are seen at once; the rest can be opened."""
_REST = tuple(name for name, row in FIELDS.items() if row.label and name not in _FIRST)
_ON_FORM = {"env": "set_env"}
_FIELDS = tuple(Field(_ON_FORM.get(name, name), FIELDS[name].label, FIELDS[name].hint) for name in _FIRST + _REST)


# --- field by field


def set_page(site: Site, id: str) -> Any:
    """The form with a waiting job's current fields."""
    request = Request.of(site)
    job = site.find(id) if is_valid_id(id) else None
    if job is None:
        return _no_such_job(request, id)
    if not site.policy.may_act:
        return _read_only(request)
    if job.state is not State.PENDING:
        return problem(409, f"{id} is {job.state}", "Only a waiting job can be changed.", request)
    if job.problem is not None:
        return bottle.HTTPResponse(status=303, headers={"Location": f"{site.policy.prefix}/jobs/{id}/edit"})
    shown = [replace(field, was=text, typed=text) for field, text in _in_force(job, request.now)]
    return _show_fields(request, id, shown, is_held=job.is_held)


def _in_force(job: Job, at: datetime) -> list[tuple[Field, str]]:
    """The fields and their values; without a command or directory that a form could not return unchanged."""
    given: Mapping[str, Any] = job.fields or {}
    texts = {name: printable_output(fields.as_typed(given.get(name))) for name in fields.CAN_BE_SET}
    is_later = job.run_at is not None and job.run_at > at
    texts["run_at"] = (format_rfc3339(job.run_at) or "").replace(".000Z", "Z") if is_later else ""
    texts["priority"] = f"{job.priority}"
    cwd = (job.body.cwd if job.body is not None else None) or ""
    whole = {"command": job.command, "cwd": cwd}  # in any charset
    typed = {name: text for name, text in whole.items() if isinstance(text, str) and printable_output(text) == text}
    return [
        (field, {**texts, **typed}.get(field.name, ""))
        for field in _FIELDS
        if field.name in typed or field.name not in whole
    ]


def set_fields(site: Site) -> Any:
    """Apply what was typed, where it differs from what was shown."""
    request = Request.of(site)
    id = request.field("id")
    if not is_valid_id(id):
        return _no_such_job(request, id)
    typed = [
        replace(field, was=_text(request, f"was_{field.name}"), typed=_text(request, field.name))
        for field in _FIELDS
        if field.name in request.form
    ]
    is_held = bool(request.field("held"))
    values, wrong = _parse([field for field in typed if field.is_changed], request)
    if wrong:
        return _show_fields(request, id, _mark(typed, wrong), is_held=is_held, status=400)
    before = after = None
    try:
        if values:

            def change(job: Job) -> tuple[Job, Job]:
                site.operations.record(job, "change", request.user)
                return job, site.spool.set_fields(job, **values)

            before, after = _with_job(site, id, change)
    except InvalidJobError as error:
        wrong = {_field_of(text): _without_name(text) for text in error.problems}
        return _show_fields(request, id, _mark(typed, wrong), is_held=is_held, status=400)
    except QueuectlError as error:
        return _show_fields(request, id, typed, is_held=is_held, status=_status(error), error=error)
    if before and after:
        is_name_only = values.keys() <= set(BY_NAME)
        site.operations.note(request.session, SET, before, after, can_undo=is_name_only)
    return go_back(request, f"/jobs/{id}")


def _parse(changed: list[Field], request: Request) -> tuple[dict[str, Any], dict[str, str]]:
    """(values, what is wrong) by the fields' names."""
    values: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in changed:
        try:
            if field.name == "set_env":
                values["env"] = _parse_variables(field.typed)
            else:
                values[field.name] = fields.parse(field.name, field.typed, request.now)
        except UsageError as error:
            wrong[field.name] = "; ".join(part for part in (error.what, error.hint) if part)
    return values, wrong


def _parse_variables(text: str) -> dict[str, str | None]:
    lines = [line for line in text.split("\n") if line.strip()]
    bad = next((line for line in lines if not line.partition("=")[0].strip() or "=" not in line), None)
    if bad is not None:
        raise UsageError(f"not NAME=VALUE: {bad!r}")
    pairs = ((name.strip(), value) for name, _, value in (line.partition("=") for line in lines))
    return {name: fields.parse_variable(name, value) for name, value in pairs}


def _mark(typed: list[Field], wrong: Mapping[str, str]) -> list[Field]:
    """The fields, each with what is wrong with it; a problem that belongs to none of them is shown with the first."""
    strays = [text for name, text in wrong.items() if name not in {field.name for field in typed}]
    marked = [replace(field, wrong=wrong.get(field.name, "")) for field in typed]
    if strays and marked:
        first = marked[0]
        marked[0] = replace(first, wrong="; ".join(filter(None, [first.wrong, *strays])))
    return marked


def _field_of(text: str) -> str:
    """Which field a problem of the job body is about: `"timeout" must be …`"""
    match = re.match(r'"(\w+)"', text)
    name = match[1] if match else ""
    return _ON_FORM.get(name, name)


def _without_name(text: str) -> str:
    return re.sub(r'^"\w+" ', "", text)


def _show_fields(
    request: Request,
    id: str,
    shown: list[Field],
    *,
    is_held: bool,
    status: int = 200,
    error: QueuectlError | None = None,
) -> Any:
    is_open = any(field.is_changed or field.wrong or field.was for field in shown if field.name in _HIDDEN)
    values = {"fields": shown, "hidden": _HIDDEN, "is_open": is_open, "is_held": is_held}
    return _show(request, "set", f"Change {id}", status, {"id": id, "error": error, **values})


_HIDDEN = frozenset(_REST)


# --- the whole of it


def edit_page(site: Site, id: str) -> Any:
    """The text of a job that is not running."""
    request = Request.of(site)
    if not site.policy.may_act:
        return _read_only(request)
    try:
        draft = _with_job(site, id, site.spool.edit)
    except NotFoundError:
        return _no_such_job(request, id)
    except QueuectlError as error:
        return problem(_status(error), error.what, error.why, request)
    return _show_text(request, id, _editable(draft.text), draft)


def edit(site: Site) -> Any:
    """Swap the job's body for the text, unless the job has changed since it was shown; then retry it, if asked to."""
    request = Request.of(site)
    id, text = request.field("id"), _text(request, "text")
    if not is_valid_id(id):
        return _no_such_job(request, id)
    draft: Draft | None = None
    try:
        draft = _with_job(site, id, site.spool.edit)
        if _version(draft) != request.field("version"):
            return _show_text(request, id, text, draft, status=409, theirs=_editable(draft.text))
        is_same = text == _editable(draft.text)
        wanted = ([] if is_same else ["edit"]) + (["retry"] if request.field("retry") else [])
        if wanted:
            site.operations.record(draft.job, ",".join(wanted), request.user)
        after = draft.job if is_same else site.spool.apply(draft, text)
        if request.field("retry"):
            retried = site.spool.retry(after)
            site.operations.note(request.session, VERBS["retry"], after, retried, can_undo=is_same)
        elif after is not draft.job:
            site.operations.note(request.session, EDIT, draft.job, after)
    except QueuectlError as error:
        return _show_text(request, id, text, draft, status=_status(error), error=error)
    return go_back(request, f"/jobs/{id}")


def _version(draft: Draft) -> str:
    """A text that changes whenever the job's file or its name does."""
    return hashlib.blake2b(f"{draft.identity} {draft.job.name}".encode(), digest_size=12).hexdigest()


def _editable(text: str) -> str:
    """A body as text that survives a form: invisible characters are escaped as in JSON."""
    return "".join(char if char in "\n\t" or char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _show_text(
    request: Request,
    id: str,
    text: str,
    draft: Draft | None,
    *,
    status: int = 200,
    error: QueuectlError | None = None,
    theirs: str | None = None,
) -> Any:
    refusal = None
    if draft is not None and (isinstance(error, (NotJsonError, InvalidJobError)) or (draft.job.problem and not error)):
        reason = ": ".join(part for part in (error.what, error.why) if part) if error else draft.job.problem
        refusal = wording.refusal(reason, text.encode("utf-8", "replace"))
    state = draft.job.state if draft else None
    values = {
        "id": id,
        "text": text,
        "version": _version(draft) if draft else request.field("version"),
        "is_finished": state in (State.DONE, State.DEAD),
        "can_set": state is State.PENDING and draft is not None and draft.job.problem is None,
        "refusal": refusal,
        "error": error,
        "theirs": theirs,
    }
    return _show(request, "edit", f"Edit {id}", status, values)


# --- both


def _with_job(site: Site, id: str, action: Callable[[Job], T]) -> T:
    """Act on the job of exactly that id; once more if it was moved just then. Raises NotFoundError."""
    for is_last in (False, True):
        job = site.find(id) if is_valid_id(id) else None
        if job is None:
            break
        try:
            return action(job)
        except WrongStateError:
            if is_last:
                raise
    raise NotFoundError(f"the spool no longer holds a job {id}", "it was pruned, dropped or removed")


def _status(error: QueuectlError) -> int:
    if isinstance(error, UsageError):
        return 400
    return 409 if isinstance(error, (WrongStateError, NotFoundError)) else 503


def _text(request: Request, name: str) -> str:
    """A field of the form with plain newlines."""
    return request.field(name).replace("\r\n", "\n")


def _read_only(request: Request) -> Any:
    return problem(403, "Read-only", "This dashboard is read-only: it does not allow changes.", request)


def _no_such_job(request: Request, id: str) -> Any:
    return problem(404, "No such job", f"The spool holds no job {id}. It may have been pruned or dropped.", request)


def _show(request: Request, template: str, title: str, status: int, values: Mapping[str, Any]) -> Any:
    shown = {**common(request), **values, "title": title, "receipts": [], "counts": request.view.counts(request.now)}
    headers = {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"}
    return bottle.HTTPResponse(markup.render(template, **shown).encode(), status=status, headers=headers)
