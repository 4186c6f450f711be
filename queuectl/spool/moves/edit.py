"""Changing a job's body: the only way in which the bytes of a job ever change.

A change locks the job's file (flock), and only then reads it, so of two changes the second waits, and is applied to
the result of the first. The new body is written to tmp/, made durable and locked in the same way; then it and the
job's file swap their names in one step (`exchange`, renameat2(2) with RENAME_EXCHANGE). So at each instant exactly one
complete file has the job's name; a worker claims the old body or the new one, and if the job has just been claimed
there is nothing to swap with. **Nothing is ever swapped back**: what has had the job's name may be running.

Workers never take these locks. A claim that has read the old body sees that it moved another file than it read, and
gives the job back (`claims`). So what was acknowledged is what runs.

CRASH, each tested by a kill at that step (tests/spool/moves/test_edit.py): a lock vanishes with its holder. Before the
swap the job is unchanged, and tmp/ holds a file without meaning; after it the job is changed, and tmp/ holds the old
body, which has no meaning either.

If the file system cannot swap, the job is held first (workers ignore it, people see it), then its file is replaced by
one rename, then it is released. A crash there leaves the job held, complete, old or new.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, NamedTuple

from queuectl.core import body, charset, lifecycle
from queuectl.core.after import RULES
from queuectl.core.job import Job
from queuectl.core.names import PendingName, RunningName, ceil_to_millisecond, format_rfc3339, id_from_file_name
from queuectl.errors import AlreadyExistsError, InvalidJobError, UsageError, WaitTimeoutError, WrongStateError
from queuectl.spool.moves import by_hand, entry, submit
from queuectl.spool.reading import query
from queuectl.spool.system import edges, files, logs, trust
from queuectl.spool.system.clock import now
from queuectl.spool.system.identity import random_text
from queuectl.spool.system.layout import Layout, unusable

BY_NAME = ("priority", "run_at")
"""Fields that are in the name of a waiting job."""
_PATIENCE = 10.0
"""Seconds for which a change waits for other changes of the same job."""
_LOOK_AGAIN = 0.005

Identity = tuple[int, int, int, int]


class Draft(NamedTuple):
    """A job's body as text for an editor, and the file that it was read from.

    A waiting job's priority and time are those of its name.
    """

    job: Job
    text: str
    identity: Identity


def set_fields(layout: Layout, id: str | Job, changes: Mapping[str, Any]) -> Job:
    """Change fields of a waiting job; None removes one. `run_at` may be an aware datetime; variables of `env` are
    added to those of the job, and None removes one.

    Priority and time are in its name, so they cost one rename; anything else swaps the body. Its id cannot change.
    Concurrent changes are all applied, one after the other: each follows the job while it is waiting.
    Raises InvalidJobError if the result would not be a runnable job, WrongStateError if it has started,
    WaitTimeoutError if others keep changing it.
    """
    job, name = by_hand.find_pending(layout, id, "changed")
    if changes.keys() & {*RULES}:
        return _set_condition(layout, job, name, changes)
    if name.is_waiting and "run_at" in changes:
        return _set_later(layout, job, changes)
    asked = charset.to_body({key: _text_of(value) for key, value in changes.items()})
    valid = body.validate({"command": "true", **{key: value for key, value in asked.items() if key in BY_NAME}})
    others = {key: value for key, value in asked.items() if key not in BY_NAME}
    if "unique" in others:
        raise UsageError("a waiting job keeps its key", hint="cancel it, and submit another one")
    run_at = (valid.run_at or now()) if "run_at" in asked else None
    priority = valid.priority if "priority" in asked else None

    def merged(content: files.Content) -> dict[str, Any]:
        fields = _merge(body.decode(content.data), others)
        return {key: value for key, value in fields.items() if value is not None}

    def renamed(name: PendingName) -> lifecycle.Move:
        return lifecycle.reschedule(name, priority=priority, run_at=run_at)

    if others:
        change = Change(merged, renamed if asked.keys() & set(BY_NAME) else None, sorted(others))
        return apply_change(layout, job, change, lambda id: by_hand.find_pending(layout, id, "changed")[0])
    while True:
        moved = by_hand.try_move(layout, job, renamed(name))
        if moved is not None:
            return moved
        job, name = by_hand.find_pending(layout, job.id, "changed")  # it has another name now, or is not pending


def _set_later(layout: Layout, job: Job, changes: Mapping[str, Any]) -> Job:
    """Change a job that waits for others: a time goes into its body, to be its own once it no longer waits."""
    asked = charset.to_body({key: _text_of(value) for key, value in changes.items()})
    valid = body.validate({"command": "true", **{key: value for key, value in asked.items() if key in BY_NAME}})

    def merged(content: files.Content) -> dict[str, Any]:
        inside = {key: value for key, value in asked.items() if key != "priority"}
        fields = _merge(body.decode(content.data), inside)
        return {key: value for key, value in fields.items() if value is not None}

    def renamed(name: PendingName) -> lifecycle.Move:
        priority = valid.priority if "priority" in asked else None
        # RACE: it may have got its own time in the meantime, by the old body.
        return lifecycle.reschedule(name, priority=priority, run_at=None if name.is_waiting else valid.run_at or now())

    change = Change(merged, renamed, sorted(asked))
    return apply_change(layout, job, change, lambda id: by_hand.find_pending(layout, id, "changed")[0])


def _set_condition(layout: Layout, job: Job, name: PendingName, changes: Mapping[str, Any]) -> Job:
    """Change what a job waits for; see `change_condition`."""
    none: dict[str, Any] = {str(rule): None for rule in RULES}
    fields = {**(job.fields or {}), **none, **changes}
    change = ConditionChange(
        fields, lambda held: _set_fields(layout, held, {**none, **changes}), lifecycle.hold(name), is_held=name.is_held
    )
    return change_condition(layout, job, name, change)


class ConditionChange(NamedTuple):
    """A change of what a job waits for: its new fields, how they get into the body of the job, the move to where it
    cannot start while that is done, and whether it is to be held afterwards; its own time if it waits for nothing."""

    fields: Mapping[str, Any]
    rewrite: Callable[[Job], Job]
    park: lifecycle.Move
    is_held: bool
    run_at: datetime | None = None


def change_condition(layout: Layout, job: Job, name: PendingName, change: ConditionChange) -> Job:
    """Change what a job waits for: hold it, make the new edges, swap the body, release it.

    Raises CircleError, or NotFoundError for what is not there; then nothing has changed.
    CRASH: it stays held, with the old body or the new one, and all edges of both
    (tests/spool/moves/test_dependents.py).
    """
    was_held, old_fields, fields = name.is_held, job.fields or {}, change.fields
    held = job if was_held else by_hand.move(layout, job, change.park)
    condition = next((fields[rule] for rule in RULES if fields.get(rule)), None)
    before = {*edges.edges_of(layout, job.id, entry.names_of(layout, job.id, old_fields))}
    try:
        if condition is not None:
            entry.require_there(layout, job.id, fields)
            entry.again(layout, job.id, fields, job.priority)
        changed = change.rewrite(held)
    except BaseException:
        if condition is not None:
            entry.forget_others(layout, job.id, fields, before)
        if not was_held:
            by_hand.move(layout, held, lifecycle.Move(held.state, name))
        raise
    wanted = {*entry.names_of(layout, job.id, changed.fields or {})}
    edges.forget(layout, job.id, before - wanted)
    is_due = not name.is_held and not name.is_waiting
    assert isinstance(changed.name, PendingName)
    if change.is_held:
        return changed if was_held else by_hand.move(layout, changed, lifecycle.hold(changed.name))
    if was_held:
        return changed
    if condition is None:
        run_at = change.run_at or (name.run_at if is_due else None)
        return by_hand.move(layout, changed, lifecycle.due(changed.name, run_at, now()))
    return by_hand.let_go(layout, changed)


def _set_fields(layout: Layout, job: Job, changes: Mapping[str, Any]) -> Job:
    """Swap the body of a job that is held."""
    asked = charset.to_body({key: _text_of(value) for key, value in changes.items()})

    def merged(content: files.Content) -> dict[str, Any]:
        fields = _merge(body.decode(content.data), {key: asked[key] for key in asked if key != "priority"})
        return {key: value for key, value in fields.items() if value is not None}

    def renamed(name: PendingName) -> lifecycle.Move:
        return lifecycle.reschedule(name, priority=asked.get("priority"))

    change = Change(merged, renamed if "priority" in asked else None, sorted(asked))
    return apply_change(layout, job, change, lambda id: by_hand.find_pending(layout, id, "changed")[0])


def _merge(fields: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The body with the fields given, without variables that are None, and without an empty `env`."""
    merged = body.merge(fields, given)
    variables = given.get("env")
    if isinstance(variables, dict):
        merged["env"] = {name: text for name, text in merged["env"].items() if text is not None} or None
    return merged


def _text_of(value: Any) -> Any:
    return format_rfc3339(ceil_to_millisecond(value)) if isinstance(value, datetime) else value


def draft(layout: Layout, id: str | Job) -> Draft:
    """A job that is not running, for an editor; if it is not valid JSON, as it is."""
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
    except files.NotRegularError as error:
        raise WrongStateError(f"job {job.id} cannot be edited", f"{job.path} is {error.strerror}") from None
    except OSError as error:
        raise unusable(layout.root, error) from error


def _shown(job: Job, data: bytes) -> str:
    if job.fields is None:
        return data.decode("utf-8", "replace")
    return body.show({**job.fields, **_in_force(job)}) + "\n"


def _in_force(job: Job) -> dict[str, Any]:
    """What a waiting job's name adds to its body: its priority, and its time if that is still to come."""
    if not isinstance(job.name, PendingName):
        return {}
    is_ahead = job.run_at is not None and job.run_at > now()
    return {"priority": job.priority, **({"run_at": format_rfc3339(job.run_at)} if is_ahead else {})}


def apply(layout: Layout, edited: Draft, text: str) -> Job:
    """Apply an edited text; the job as it is then. Changes nothing if the text was not changed.

    Raises NotJsonError or InvalidJobError for a text that is not a runnable job, WrongStateError if the job has
    started or was changed by someone else since it was read.
    """
    if text == edited.text:
        return edited.job
    fields = body.decode(text.encode("utf-8", "surrogateescape"))
    asked = body.validate(fields)
    if asked.id not in (None, edited.job.id, (edited.job.fields or {}).get("id")):
        raise UsageError(f"the id {edited.job.id!r} cannot be changed", hint="submit another job instead")
    if isinstance(edited.job.name, PendingName) and asked.unique != (edited.job.fields or {}).get("unique"):
        raise UsageError("a waiting job keeps its key", hint="cancel it, and submit another one")
    shown_run_at = _in_force(edited.job).get("run_at")

    def replaced(content: files.Content) -> dict[str, Any]:
        if content.identity != edited.identity:
            raise _overtaken(edited.job)
        return fields

    def renamed(name: PendingName) -> lifecycle.Move:
        is_moved = not name.is_held and fields.get("run_at") != shown_run_at
        return lifecycle.reschedule(name, priority=asked.priority, run_at=asked.run_at or now() if is_moved else None)

    def find(id: str) -> Job:
        job = query.find(layout, id)
        if isinstance(job.name, RunningName):
            raise WrongStateError(f"job {job.id} has just started", "a running job cannot be changed")
        return job

    return apply_change(layout, find(edited.job.id), Change(replaced, renamed, ["by hand"]), find)


class Change(NamedTuple):
    """A change: from a body to its new fields, from a waiting job's name to its new name, and what the log records."""

    fields: Callable[[files.Content], dict[str, Any]]
    rename: Callable[[PendingName], lifecycle.Move] | None
    what: list[str]


def apply_change(layout: Layout, job: Job, change: Change, find: Callable[[str], Job]) -> Job:
    """Apply a change without losing any other. `find` looks for a job that has moved, or raises."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with locked(job, deadline) as old:
                changed = None if old is None else _rewrite(layout, job, old, change)
        except OSError as error:
            raise unusable(layout.root, error) from error
        if changed is not None:
            return changed
        if time.monotonic() > deadline:
            raise _overtaken(job)
        job = find(job.id)


@contextmanager
def locked(job: Job, deadline: float) -> Iterator[files.Content | None]:
    """The job's file, locked until the end of the `with`; None if it no longer has that name."""
    try:
        fd = _open(job.path)
    except FileNotFoundError:
        yield None
        return
    try:
        while not _try_lock(fd):
            if time.monotonic() > deadline:
                raise WaitTimeoutError(
                    f"job {job.id} cannot be changed", f"another program has locked {job.path}", "try again later"
                )
            time.sleep(_LOOK_AGAIN)
        # RACE: the previous holder of the lock may have put another file there (tests/spool/moves/test_edit.py).
        content = files.read_descriptor(fd, job.path)
        yield content if _is(job.path, content.identity) else None
    finally:
        _unlock(fd)


def _open(path: str) -> int:
    """Open for writing if possible: NFS emulates flock(2) by range locks, which need that."""
    try:
        return files.open_file(path, os.O_RDWR)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
    return files.open_file(path)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(fd: int) -> None:
    """Unlock explicitly: a child that another thread has just forked has this descriptor as well."""
    with suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)
    os.close(fd)


def _rewrite(layout: Layout, job: Job, old: files.Content, change: Change) -> Job | None:
    """Apply a change to a job whose file is locked and holds `old`; None if the job has moved."""
    fields = change.fields(old)
    content = body.validate(fields)
    trust.require_own(layout, old.owner, job.id)  # or the new file, which is the caller's own, would be run
    data = body.encode(fields)
    if len(data) > body.MAX_BODY:
        raise InvalidJobError([f"the job is larger than {body.MAX_BODY} bytes"])
    with _written(layout, job, old, data) as temporary:
        if not _swap(job, temporary, old.identity):
            return None
        job = Job(job.state, job.name, job.path, content, fields)
        _put_aside(layout, job, temporary, old.identity)
        files.sync_directory(os.path.dirname(job.path))
        with suppress(OSError), os.fdopen(logs.open_log(layout.log(job.id)), "rb") as log:
            changed = logs.quote(",".join(change.what))
            logs.append_note(log.fileno(), "note", f"edited at={format_rfc3339(now())} fields={changed}")
        return _rename(layout, job, change.rename)


@contextmanager
def _written(layout: Layout, job: Job, old: files.Content, data: bytes) -> Iterator[str]:
    """A file in tmp/ that is ready to replace the job's, locked until the end of the `with`."""
    temporary = f"{layout.tmp}/{job.id}.{random_text(8)}.json"
    files.write_new(temporary, data)
    mine = None
    try:
        fd = _open(temporary)
        try:
            _try_lock(fd)  # no other process knows it
            with suppress(OSError):
                os.chmod(temporary, stat.S_IMODE(os.lstat(job.path).st_mode))
            status = os.fstat(fd)
            if status.st_mtime_ns <= old.identity[3]:
                # A claim identifies bodies by inode, size and time. The inode may be that of an earlier one.
                os.utime(temporary, ns=(status.st_atime_ns, old.identity[3] + 1))
            mine = files.identify(os.fstat(fd))
            yield temporary
        finally:
            _unlock(fd)
    finally:
        with suppress(OSError):
            if mine is None or _is(temporary, mine) or _is(temporary, old.identity):
                files.remove(temporary)


def _swap(job: Job, temporary: str, identity: Identity) -> bool:
    """Swap the names of the file in tmp/ and the job's file; False if the job has moved."""
    try:
        return files.exchange(temporary, job.path)
    except files.CannotExchangeError:
        return _replace_while_held(job, temporary, identity)


def _put_aside(layout: Layout, job: Job, temporary: str, identity: Identity) -> None:
    """Keep what came out of the swap if it is not the body that was read, and raise WrongStateError.

    RACE: a program that takes no lock has replaced the job's file, or written to it, in the instant before the swap
    (tests/spool/moves/test_edit.py). Its file goes to the dead letters, like any second file of an id.
    CRASH: before that it stays in tmp/ for a day.
    """
    if files.is_gone(temporary) or _is(temporary, identity):
        return
    while True:
        with suppress(AlreadyExistsError):
            id = id_from_file_name(os.path.basename(job.path), random_text(6))
            reservation = submit.reserve(layout, id)
            break
    reason = f"{job.id} was changed at the same instant: this is what it was before"
    logs.append_note(reservation.fd, "refused", f"file={logs.quote(str(job.name))} reason={logs.quote(reason)}")
    path = layout.job(*lifecycle.refuse(id, now()))
    files.move(temporary, path)
    reservation.keep()
    raise WrongStateError(
        f"job {job.id} was changed, but another program changed it at the same instant",
        f"the other change is in {path}",
        f"compare them: queuectl show {job.id}; queuectl show {id}",
    )


def _replace_while_held(job: Job, temporary: str, identity: Identity) -> bool:
    """`_swap` without an exchange: hold the job, replace its file, release it; False if it has moved.

    For an instant someone who releases held jobs, or moves them by hand, could move the old file away; then the new
    one is removed, and the change is applied to the job where it is now.
    """
    path = job.path
    if isinstance(job.name, PendingName):
        path = f"{os.path.dirname(job.path)}/{lifecycle.hold(job.name).name}"
        if not files.move(job.path, path):
            return False
    is_replaced = False
    if _is(path, identity):
        fd = files.open_file(path)
        try:
            links = os.fstat(fd).st_nlink
            files.move(temporary, path)
            is_replaced = os.fstat(fd).st_nlink < links
        finally:
            os.close(fd)
        if not is_replaced:
            files.remove(path)
            return False
    files.move(path, job.path)
    return is_replaced


def _rename(layout: Layout, job: Job, rename: Callable[[PendingName], lifecycle.Move] | None) -> Job:
    """Rename a job whose new body is in place. A worker that claims it in between runs the new body."""
    while rename is not None and isinstance(job.name, PendingName):
        target = rename(job.name)
        moved = job if target.name == job.name else by_hand.try_move(layout, job, target)
        if moved is not None:
            return moved
        job = query.find(layout, job.id)
    return job


def _is(path: str, identity: Identity) -> bool:
    try:
        return files.identify(os.lstat(path)) == identity
    except FileNotFoundError:
        return False


def _overtaken(job: Job) -> WrongStateError:
    return WrongStateError(
        f"job {job.id} has just changed", "a worker has started it, or another command changed it", "look again"
    )
