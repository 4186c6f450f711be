"""Unique keys: of the jobs of one key, one waits or runs (and with `replace` one more waits for it to end).

A job is published first, under the asking time, and with its log locked; then it asks. Who has the key is written in
`unique/HASH/N` (`keys`); whether that job is over is decided by where its file is. With the key the job is renamed to
its own time. Without it, it is deleted, or moved to done/ as skipped if it was not a submit that is still waiting for
its answer. Only the process that holds the lock of the job's log asks for it, so that a worker can finish what a dead
submitter has begun. A claim looks whether the job has its key, so a file that was moved by hand starts no second one.

The protocol is tests/model/unique.py. CRASH: at every step the job is whole in pending/, asking or at its own time, or
has been deleted before it was acknowledged; a number without a job is over (tests/torture/syscalls.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from queuectl.core import lifecycle
from queuectl.core.after import RULES, Rule
from queuectl.core.fields import Body
from queuectl.core.job import ExistingJob, Job
from queuectl.core.names import HELD_AT, WAITING_AT, FinishedName, PendingName, RunningName
from queuectl.core.result import State
from queuectl.core.unique import IfExists
from queuectl.errors import (
    NotFoundError,
    QueuectlError,
    UsageError,
    WaitTimeoutError,
    WrongStateError,
)
from queuectl.spool.moves import dependents, entry
from queuectl.spool.moves.holders import HeldError, Holder, Key, Waits, find_behind, take, temporary
from queuectl.spool.reading import query
from queuectl.spool.system import clock, files, keys, lease, logs
from queuectl.spool.system.layout import Layout

_PATIENCE = 10.0
"""Seconds for which an asking job waits until it is known whether another one, which asks as well, has the key."""
_LOOK_AGAIN = 0.002
_CLEARED_AFTER = 86400.0


# --- asking


def prepare(layout: Layout) -> None:
    """To be called before a job asks: workers look for jobs that were left asking only if there is a `unique/`."""
    keys.make(layout)


class Swap(Protocol):
    """`replace.swap`"""

    def __call__(
        self,
        layout: Layout,
        id: str,
        fields: Mapping[str, Any],
        is_held: bool = False,
        written_at: int | None = None,
        *,
        behind: Collection[str] = (),
        is_own: bool = False,
    ) -> Job: ...


def cannot_swap(*_: object, **__: object) -> Job:
    raise AssertionError("nothing replaces another job here")


class Asking(NamedTuple):
    """A job that asks for its key: in pending/ under the asking time, with its log locked by the caller.

    `target` is where it goes once it has the key, `back` where it was before and goes if it does not get it (None: it
    is deleted if `is_new`, else skipped). `is_named` is whether its submitter chose its id.
    """

    job: Job
    log: int
    target: lifecycle.Move
    is_new: bool = False
    is_named: bool = False
    back: lifecycle.Move | None = None
    data: bytes = b""
    swap: Swap = cannot_swap


def ask(layout: Layout, asking: Asking) -> Job:
    """The job at its own time, once it has its key; else what has become of it.

    An ExistingJob is the one that has the key, if the new job was left out for it or replaced its body. Raises
    HeldError if the job must not be left out, and UsageError for a replacement that has another id.
    """
    deadline = time.monotonic() + _PATIENCE
    job = asking.job
    assert job.body is not None
    key = Key.of(layout, job.body)
    how = job.body.if_exists or IfExists.SKIP
    while True:
        may_wait = how is IfExists.REPLACE and asking.back is None
        answer = take(key, job.id, _waits(layout, job) if may_wait else None)
        holder = answer.holder
        if holder is None:
            moved = _go(layout, asking, answer.behind)
            keys.write_hint(layout, key.folder, moved.state, moved.name, temporary(layout, job.id))
            return moved
        if holder.is_asking:
            _wait_for(layout, holder, deadline, asking.swap)
            continue
        if asking.back is not None:
            _move(layout, job, asking.back)
            raise HeldError(key.text, holder.id, holder.where)
        if how is not IfExists.REPLACE:
            return _leave_out(layout, asking._replace(job=job), key, holder, how)
        replaced = _replace(layout, asking._replace(job=job), key, holder)
        if replaced is not None:
            return replaced
        if time.monotonic() > deadline:
            raise WrongStateError(f"job {holder.id} cannot be replaced", "it keeps changing", "try again")
        time.sleep(_LOOK_AGAIN)
        if asking.is_new:  # RACE: it has started since: ask again (tests/spool/moves/test_unique.py)
            _publish_again(layout, asking)


def _waits(layout: Layout, job: Job) -> Waits | None:
    """How the job may wait for a running one of its key; not if it waits for others to end in a certain way."""
    rule = _rule_of(job)
    if rule is not None and rule is not Rule.AFTER_END:
        return None
    assert isinstance(job.name, PendingName)
    return Waits(lifecycle.wait(job.name).name, entry.names_of(layout, job.id, job.fields or {}))  # type: ignore[arg-type]


def _rule_of(job: Job) -> Rule | None:
    return next((rule for rule in RULES if (job.fields or {}).get(rule)), None)


def _go(layout: Layout, asking: Asking, behind: str) -> Job:
    """Rename the job, which has its key, to its own time; or let it wait for what it waits for.

    CRASH: until the rename it asks, and has the edges that it needs.
    """
    job, target = asking.job, asking.target
    if behind:
        named = (job.fields or {}).get(Rule.AFTER_END) or []
        named = [named] if isinstance(named, str) else named
        if behind not in named:
            try:
                fields = {**(job.fields or {}), str(Rule.AFTER_END): [*named, behind]}
                job = asking.swap(layout, job.id, fields, is_own=True)
            except NotFoundError:
                return _find_moved(layout, job)
        assert isinstance(job.name, PendingName)
        if not (isinstance(target.name, PendingName) and target.name.is_held):
            target = lifecycle.wait(job.name)
    moved = _move(layout, job, target)
    if not dependents.is_waiting(moved.name):
        return moved
    place = entry.settle(layout, [moved.id]).get(moved.id)
    return moved if place is None else Job(place[0], place[1], layout.job(*place), moved.body, moved.fields)


def _move(layout: Layout, job: Job, target: lifecycle.Move) -> Job:
    """Rename an asking job; if that is gone, what somebody has made of it. Raises WrongStateError if it was removed."""
    path = layout.job(*target)
    if files.move(job.path, path):
        return Job(target.state, target.name, path, job.body, job.fields)
    return _find_moved(layout, job)


def _find_moved(layout: Layout, job: Job) -> Job:
    place = query.locate(layout, job.id)
    found = query.load(layout, *place) if place else None
    if found is None:
        raise WrongStateError(f"job {job.id} was removed while it was being submitted")
    return found


def _wait_for(layout: Layout, holder: Holder, deadline: float, swap: Swap) -> None:
    """Until another asking job has its answer; if its submitter is gone, give it that."""
    assert isinstance(holder.name, PendingName)
    if finish(layout, holder.name, swap) is None:
        time.sleep(_LOOK_AGAIN)
    if time.monotonic() > deadline:
        raise WaitTimeoutError(f"job {holder.id} has been asking for the same key for long", hint="try again later")


def _leave_out(layout: Layout, asking: Asking, key: Key, holder: Holder, how: IfExists) -> Job:
    """Delete or skip a job that does not get its key."""
    job = asking.job
    if asking.is_new:
        if not files.remove(job.path):
            return _find_moved(layout, job)
        if how is IfExists.FAIL:
            raise HeldError(key.text, holder.id, holder.where)
        return _existing(layout, holder, key, is_replaced=False)
    assert isinstance(job.name, PendingName)
    said = f"key={logs.quote(key.text)} by={holder.id}"
    if how is IfExists.FAIL:
        logs.append_note(asking.log, "refused", f"reason={logs.quote(f'the job {holder.id} has the key')} {said}")
        moved = _move(layout, job, lifecycle.refuse(job.id, clock.now(), job.priority))
    else:
        logs.append_note(asking.log, "skipped", f"at={_now()} {said}")
        moved = _move(layout, job, lifecycle.skip(job.name, State.DONE, clock.now()))
    entry.leave(layout, job.id, job.fields)  # or the routine would bring it back
    if isinstance(moved.name, FinishedName):
        dependents.inform(layout, moved.id, (moved.state, moved.name))
    return moved


def _now() -> str:
    from queuectl.core.names import format_rfc3339

    return format_rfc3339(clock.now()) or ""


def _existing(layout: Layout, holder: Holder, key: Key, *, is_replaced: bool) -> ExistingJob:
    """The job that has the key, as it is now: it may have ended since."""
    with suppress(NotFoundError):
        return ExistingJob.of(query.find(layout, holder.id), is_replaced=is_replaced, key=key.text)
    if holder.name is None:
        raise HeldError(key.text, holder.id, holder.where)
    job = Job(holder.state, holder.name, layout.job(holder.state, holder.name))
    return ExistingJob.of(job, is_replaced=is_replaced, key=key.text)


# --- replacing


class NewerError(Exception):
    """The job has a body that is newer than the one that was to replace it."""


def _replace(layout: Layout, asking: Asking, key: Key, holder: Holder) -> Job | None:
    """Give the holder, which waits, the body and the time of the new job; None if it has started or ended since.

    A submitter deletes its own job first, so that a crash cannot apply a body that was never acknowledged over a later
    one. What a worker finishes keeps its file until after the swap, and is applied if the body there is older.
    """
    if holder.is_running:
        return _refuse_running(layout, asking, key, holder)
    job, found = asking.job, None
    assert job.fields is not None
    if asking.is_named and asking.is_new:
        files.remove(job.path)
        raise UsageError(
            f"the job {holder.id} has the key {key.text!r}, and keeps its id",
            f"so it cannot be replaced by {job.id}",
            "leave out the id, or give that one",
        )
    written_at = None if asking.is_new else os.lstat(job.path).st_mtime_ns
    if asking.is_new and not files.remove(job.path):
        return _find_moved(layout, job)
    is_held = isinstance(asking.target.name, PendingName) and asking.target.name.is_held
    try:
        behind = find_behind(key, holder.id)
        if behind and _rule_of(job) not in (None, Rule.AFTER_END):
            return _refuse_running(layout, asking, key, holder, behind[0])
        found = asking.swap(layout, holder.id, job.fields, is_held, written_at, behind=behind)
    except (WrongStateError, NotFoundError):
        return None
    except NewerError:
        pass
    except UsageError:
        if asking.is_new:
            raise
        return _leave_out(layout, asking, key, holder, IfExists.FAIL)  # it would wait for itself
    if found is not None:
        keys.write_hint(layout, key.folder, found.state, found.name, temporary(layout, job.id))
    if asking.is_new:
        return ExistingJob.of(found or query.find(layout, holder.id), is_replaced=True, key=key.text)
    return _leave_out(layout, asking, key, holder, IfExists.SKIP)


def _refuse_running(layout: Layout, asking: Asking, key: Key, holder: Holder, running: str = "") -> Job:
    """A replacement that waits for others to end in a certain way cannot also wait for a running job to end."""
    error = HeldError(key.text, holder.id, holder.where)
    rule = _rule_of(asking.job)
    error.why = f"the job {running or holder.id} runs, and a job that has {rule} cannot wait for the end of it too"
    if not asking.is_new:
        return _leave_out(layout, asking, key, holder, IfExists.FAIL)
    files.remove(asking.job.path)
    raise error


def _publish_again(layout: Layout, asking: Asking) -> None:
    temporary = f"{layout.tmp}/{asking.job.id}.{lease.random_text(8)}.json"
    files.write_new(temporary, asking.data)
    files.publish(temporary, asking.job.path)
    files.sync_directory(layout.pending)


# --- for those who have no submit


def finish(layout: Layout, name: PendingName, swap: Swap) -> Job | None:
    """Ask for a job that was left asking; what has become of it. None if its submitter is at it, or it is gone."""
    try:
        log = logs.open_log(layout.log(name.id))
    except OSError:
        return None
    try:
        if not lease.lock_id(log):
            return None
        job = query.load(layout, State.PENDING, str(name))
        if job is None or (job.body is not None and job.body.unique is None):
            return None  # gone; or it is held, as people hold jobs by any time of that year
        target = lifecycle.reschedule(name, run_at=_own_time(name, job.body, log))
        if job.body is None:
            return _move(layout, job, target)  # for a worker to refuse
        return ask(layout, Asking(job, log, target, swap=swap))
    except QueuectlError:
        return None
    finally:
        os.close(log)


def _own_time(name: PendingName, job: Body | None, log: int) -> datetime:
    if lifecycle.ask(name._replace(run_at=HELD_AT)).name == name:
        return HELD_AT
    if job and job.references and not logs.has_start(log):
        return WAITING_AT
    now = clock.now()
    return job.run_at if job and job.run_at and job.run_at > now and not name.attempts else now


def find_asking(layout: Layout) -> list[PendingName]:
    """The jobs that ask for their keys, or are held by that time."""
    found = query.names_with(layout, State.PENDING, "-99990102T")
    return [name for text in found if (name := PendingName.parse(text)) and name.is_asking]


def find_left(layout: Layout) -> list[Job]:
    """The jobs that ask for their keys, and whose submitters are gone."""
    jobs = (query.load(layout, State.PENDING, str(name)) for name in find_asking(layout))
    return [job for job in jobs if job and job.body and job.body.unique and not lease.is_in_use(layout.log(job.id))]


def give_back(layout: Layout, running: RunningName, pending: PendingName) -> None:
    """Let a job that was claimed without having its key ask for it, which a worker's beat does on its behalf."""
    prepare(layout)
    move = lifecycle.ask(pending._replace(run_at=clock.now()))
    files.move(layout.job(State.RUNNING, running), layout.job(*move))


def bring_back(layout: Layout, job: Job, log: int, target: lifecycle.Move) -> Job:
    """Move a finished job to `target` once it has its key, under the lock of its log; HeldError leaves it as it was.

    The edges of one that is to wait are there already.
    """
    assert isinstance(target.name, PendingName)
    assert isinstance(job.name, FinishedName)
    if not lease.lock_id(log):
        raise WrongStateError(f"job {job.id} cannot be moved now", "another command is moving it", "try again")
    prepare(layout)
    move = lifecycle.ask(target.name)
    path = layout.job(*move)
    if not files.move(job.path, path):
        raise WrongStateError(f"job {job.id} has just changed state", "a worker or another command got there first")
    asking = Job(move.state, move.name, path, job.body, job.fields, job.problem)
    back = ask(layout, Asking(asking, log, target, back=lifecycle.Move(job.state, job.name)))
    dependents.inform(layout, back.id, (back.state, back.name))
    return back


def clear(layout: Layout, now: datetime) -> int:
    """Remove what is left of keys that no job has, and that none got within a day; how many there were.

    Should a submit that began more than a day ago get such a key after all, together with a later one, a claim finds
    that out (`may_start`).
    """
    old: dict[str, list[keys.Number]] = {}
    for name in os.listdir(layout.unique):
        folder = f"{layout.unique}/{name}"
        with suppress(OSError):
            numbers = keys.list_numbers(folder)
            is_old = now.timestamp() - os.lstat(folder).st_ctime > _CLEARED_AFTER
            if is_old and all(files.is_gone(layout.log(number.id)) for number in numbers):
                old[folder] = numbers
    there = query.find_files(layout, {number.id for numbers in old.values() for number in numbers})
    unused = [folder for folder, numbers in old.items() if not any(number.id in there for number in numbers)]
    return sum(keys.clear(folder) for folder in unused)
