"""Changing what a job asks for: the only way in which the bytes of a job ever change.

The new body is written to tmp/ and made durable, then it and the job's file swap their names in one step
(`exchange`, renameat2(2) with RENAME_EXCHANGE). So at each instant exactly one whole file has the job's name; a
worker claims the old body or the new one, and if the job has just been claimed there is nothing to swap with.

CRASH, each tested by a kill at that step (tests/spool/test_edit.py):
before the swap the job is what it was, and tmp/ holds a file that means nothing; after it the job is
what was asked for, and tmp/ holds the old body, which means nothing either.

Where the file system cannot swap, the job is held first (out of reach of workers, in sight of people), then its
file replaced by one rename, then the hold undone. A crash there leaves the job held, whole, old or new.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from queuectl.core import body, lifecycle
from queuectl.core.job import Job
from queuectl.core.names import PendingName, RunningName, ceil_to_millisecond, format_rfc3339
from queuectl.errors import InvalidJobError, UsageError, WrongStateError
from queuectl.spool import act, files, lease, logs, query, submit, trust
from queuectl.spool.clock import now
from queuectl.spool.layout import Layout, unusable

BY_NAME = ("priority", "run_at")
"""Fields that the name of a waiting job decides."""


class Draft(NamedTuple):
    """A job's body as text for an editor, and the file that it was read from.

    A waiting job's priority and time are shown as its name has them.
    """

    job: Job
    text: str
    identity: tuple[int, int, int, int]


def set_fields(layout: Layout, id: str | Job, changes: Mapping[str, Any]) -> Job:
    """Give a waiting job other fields; None takes one away. `run_at` may be an aware datetime; of `env`, the
    variables given join those that are there, and None takes one away.

    Priority and time are in its name, so they cost one rename; anything else swaps the body. Its id cannot change.
    Raises InvalidJobError if the outcome were no runnable job, WrongStateError if it has been started.
    """
    job, name = act.find_pending(layout, id, "changed")
    asked = {key: _text_of(value) for key, value in changes.items()}
    valid = body.validate({"command": "true", **{key: value for key, value in asked.items() if key in BY_NAME}})
    others = {key: value for key, value in asked.items() if key not in BY_NAME}
    if others:
        content = _read(layout, job)
        merged = _merge(body.decode(content.data), others)
        fields = {key: value for key, value in merged.items() if value is not None}
        job = _rewrite(layout, job, fields, content.identity, sorted(others))
    if not asked.keys() & set(BY_NAME):
        return job
    run_at = (valid.run_at or now()) if "run_at" in asked else None
    priority = valid.priority if "priority" in asked else None
    target = lifecycle.reschedule(name, priority=priority, run_at=run_at)
    return _rename(layout, job, target) if others else act.move(layout, job, target)


def _merge(fields: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The body with the fields given, without the variables that are None, nor an `env` of which nothing is left."""
    merged = body.merge(fields, given)
    variables = given.get("env")
    if isinstance(variables, dict):
        gone = {name for name, text in variables.items() if text is None}
        merged["env"] = {name: text for name, text in merged["env"].items() if name not in gone} or None
    return merged


def _rename(layout: Layout, job: Job, target: lifecycle.Move) -> Job:
    """Give a job whose body was swapped its name. A worker that claims it in between runs what was asked for."""
    return act.try_move(layout, job, target) or query.find(layout, job.id)


def _text_of(value: Any) -> Any:
    return format_rfc3339(ceil_to_millisecond(value)) if isinstance(value, datetime) else value


def draft(layout: Layout, id: str | Job) -> Draft:
    """A job that is not running, for an editor; one that is no JSON is shown as it is."""
    job = query.find(layout, id)
    if isinstance(job.name, RunningName):
        raise WrongStateError(f"job {job.id} is running", "only a job that is not running can be edited")
    content = _read(layout, job)
    return Draft(job, _shown(job, content.data), content.identity)


def _read(layout: Layout, job: Job) -> files.Content:
    try:
        return files.read(job.path)
    except FileNotFoundError:
        raise _overtaken(job) from None
    except OSError as error:
        raise unusable(layout.root, error) from error


def _shown(job: Job, data: bytes) -> str:
    if job.fields is None:
        return data.decode("utf-8", "replace")
    return json.dumps({**job.fields, **_in_force(job)}, indent=2, ensure_ascii=False) + "\n"


def _in_force(job: Job) -> dict[str, Any]:
    """What a waiting job's name says besides its body: its priority, and its time if that lies ahead."""
    if not isinstance(job.name, PendingName):
        return {}
    is_ahead = job.run_at is not None and job.run_at > now()
    return {"priority": job.priority, **({"run_at": format_rfc3339(job.run_at)} if is_ahead else {})}


def apply(layout: Layout, edited: Draft, text: str) -> Job:
    """Put an edited text into force. The job, unchanged, if the text is.

    Raises NotJsonError or InvalidJobError for a text that is no runnable job, WrongStateError if the job has been
    started or was changed by somebody else since it was read.
    """
    if text == edited.text:
        return edited.job
    fields = body.decode(text.encode("utf-8", "surrogateescape"))
    asked = body.validate(fields)
    if asked.id not in (None, edited.job.id, (edited.job.fields or {}).get("id")):
        raise UsageError(f"the id {edited.job.id!r} cannot be changed", hint="submit another job instead")
    job = query.find(layout, edited.job.id)
    if isinstance(job.name, RunningName):
        raise WrongStateError(f"job {job.id} has been started meanwhile", "what runs cannot be changed")
    job = _rewrite(layout, job, fields, edited.identity, ["by hand"])
    name = job.name
    if not isinstance(name, PendingName):
        return job
    run_at = None
    if not name.is_held and fields.get("run_at") != _in_force(edited.job).get("run_at"):
        run_at = asked.run_at or now()
    moved = lifecycle.reschedule(name, priority=asked.priority, run_at=run_at)
    return job if moved.name == name else _rename(layout, job, moved)


def _rewrite(
    layout: Layout, job: Job, fields: dict[str, Any], identity: tuple[int, int, int, int], what: list[str]
) -> Job:
    """Swap the body of a job for these fields, if its file still is the one of that identity."""
    content = body.validate(fields)
    trust.require_own(layout, job.path, job.id)  # or the new file, the caller's own, would run as his
    data = submit.encode(fields)
    if len(data) > body.MAX_BODY:
        raise InvalidJobError([f"the job is larger than {body.MAX_BODY} bytes"])
    temporary = f"{layout.tmp}/{job.id}.{lease.random_text(8)}.json"
    try:
        files.write_new(temporary, data)
        with suppress(OSError):
            os.chmod(temporary, stat.S_IMODE(os.lstat(job.path).st_mode))
        try:
            _swap(layout, job, temporary, identity)
        finally:
            files.remove(temporary)
        files.sync_directory(os.path.dirname(job.path))
        with suppress(OSError), os.fdopen(logs.open_log(layout.log(job.id)), "rb") as log:
            changed = logs.quote(",".join(what))
            logs.append_note(log.fileno(), "note", f"edited at={format_rfc3339(now())} fields={changed}")
    except OSError as error:
        raise unusable(layout.root, error) from error
    return Job(job.state, job.name, job.path, content, fields)


def _swap(layout: Layout, job: Job, temporary: str, identity: tuple[int, int, int, int]) -> None:
    """Put the file in tmp/ in the place of the job's; raises WrongStateError if that is not the one expected."""
    if not _is(job.path, identity):
        raise _overtaken(job)
    try:
        if not files.exchange(temporary, job.path):
            raise _overtaken(job)
    except files.CannotExchangeError:
        _replace_while_held(layout, job, temporary, identity)
        return
    # RACE: somebody may have swapped between the look and the exchange (tests/spool/test_edit.py): swap back.
    if not _is(temporary, identity) and files.exchange(temporary, job.path):
        raise _overtaken(job)


def _replace_while_held(layout: Layout, job: Job, temporary: str, identity: tuple[int, int, int, int]) -> None:
    """Without an exchange: hold the job, replace its file, let it go. An instant is left in which a tool that moves
    held files by hand could lose that move."""
    path = job.path
    if isinstance(job.name, PendingName):
        path = layout.job(*lifecycle.hold(job.name))
        if not files.move(job.path, path):
            raise _overtaken(job)
    is_expected = _is(path, identity)
    if is_expected:
        files.move(temporary, path)
    if not (files.move(path, job.path) and is_expected):
        raise _overtaken(job)


def _is(path: str, identity: tuple[int, int, int, int]) -> bool:
    try:
        return files.identify(os.lstat(path)) == identity
    except FileNotFoundError:
        return False


def _overtaken(job: Job) -> WrongStateError:
    return WrongStateError(
        f"job {job.id} has just moved on", "a worker has started it, or another command changed it", "look again"
    )
