"""Claiming a job, and settling it: the two renames that every attempt consists of.

At the instant of the claim's rename the job is this worker's; at the instant of the settling rename
the attempt is over. The process that wins the rename out of running/ has settled the job.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from queuectl.core import body, lifecycle
from queuectl.core.fields import Body
from queuectl.core.names import PendingName, RunningName
from queuectl.core.result import State
from queuectl.errors import InvalidJobError, QueuectlError
from queuectl.lazy import Lazy
from queuectl.spool.moves.adopt import Trusts, refuse, require_own_id, require_trusted
from queuectl.spool.moves.ending import name_attempts
from queuectl.spool.reading import query
from queuectl.spool.system import files, lease, logs, processes, progress
from queuectl.spool.system.layout import Layout, unusable
from queuectl.tuples import NamedTuple

_PUT_BACK = timedelta(seconds=2)
_ENDS = (State.DONE, State.DEAD)


if TYPE_CHECKING:
    from queuectl.spool.moves import dependents, entry
    from queuectl.spool.system import log_parts
else:
    dependents, entry = (Lazy(f"queuectl.spool.moves.{name}") for name in ("dependents", "entry"))
    log_parts = Lazy("queuectl.spool.system.log_parts")


class Claim(NamedTuple):
    """A job taken for one attempt: its name in running/, its validated body, and its log.

    `run_at` is what its pending name said; `log` is open and locked; `offset` is the log's size when the
    attempt started.
    """

    name: RunningName
    run_at: datetime
    body: Body
    log: int
    offset: int

    @property
    def token(self) -> str:
        return processes.token_of(self.name, self.name.worker)


class RefusedError(InvalidJobError):
    """The file was not a runnable job and was moved to the dead letters; `id` is its id there."""

    def __init__(self, id: str, problems: tuple[str, ...]) -> None:
        super().__init__(problems)
        self.id = id


class TooNewError(Exception):
    """Some tool is writing the job under a canonical name, or has just done so, and may return to the file."""


class StillRunningError(Exception):
    """The job must wait for attempts that are still running although its file has left running/: it was cancelled and
    retried, or moved back by hand. `attempts` are the names that they had in running/."""

    def __init__(self, attempts: list[RunningName]) -> None:
        super().__init__(attempts)
        self.attempts = attempts


def claim(
    layout: Layout,
    name: PendingName,
    worker: str,
    now: Callable[[], datetime],
    trusts: Trusts = lambda _: True,
    quiet: float = 0.0,
    admit: Callable[[PendingName, Body], bool] = lambda _, __: True,
    text: str = "",
) -> Claim | None:
    """Claim the pending job of that name; None if another worker was first or the job must wait.

    No two threads of one worker may claim files of one id at the same time: they could choose the same name.

    The body is read before the rename, so a file that is still being written is never moved
    (NotJsonError), and after it that the same file was moved is checked, so that what runs is what is in the
    file. Raises RefusedError for a job that can never run, or whose owner is not trusted,
    StillRunningError for one that was put back to wait, so that no two attempts of it run at once, and TooNewError
    for a file that another tool has written less than `quiet` seconds ago. What `admit` refuses is left alone. `text`
    is the name as text, if that is known.

    CRASH: after the rename the job is in running/ under this worker's name, for `rescue` to find
    (tests/work/test_kill.py).
    """
    pending = layout.job(State.PENDING, text or name)
    try:
        content = files.read(pending)
        require_trusted(content.owner, trusts)
        job = body.parse(content.data)
        if job.id != name.id and (job.id is not None or ".sync" in name.id):
            require_own_id(name.id, content.data)
        is_new = quiet and content.links == 1 and 0 <= time.time() - content.changed_at < quiet
        if is_new and files.is_gone(layout.log(name.id)):  # what came here by a move of ours has a log
            raise TooNewError(name)
    except FileNotFoundError:
        return None
    except InvalidJobError as error:
        _refuse(layout, name, error.problems, now())
        return None
    except files.NotRegularError as error:
        _refuse(layout, name, (str(error.strerror),), now())
        return None
    if not admit(name, job):
        return None
    if job.references and not name.attempts and files.is_gone(layout.log(name.id)):
        _make_wait(layout, name, content.data, now())
        return None
    state, running = lifecycle.claim(name, worker, now())
    assert isinstance(running, RunningName)
    path = layout.job(state, running)
    if not files.move(pending, path):
        return None
    try:
        if job.unique is not None and not _has_key(layout, job, running, name):
            return None
        return _begin(layout, name, running, path, content, job, now)
    except OSError as error:
        if files.is_gone(path):
            return None
        release(layout, running, name.run_at)
        raise unusable(layout.root, error) from error


def _has_key(layout: Layout, job: Body, running: RunningName, pending: PendingName) -> bool:
    """Whether a job that has just been claimed has its key; else it asks for it.

    RACE: its file may have been moved here by hand while another job got the key (tests/model/unique.py).
    """
    from queuectl.spool.moves import holders, unique  # only jobs with a key need it

    if holders.may_start(layout, job, running.id):
        return True
    unique.give_back(layout, running, pending)
    return False


def _make_wait(layout: Layout, name: PendingName, data: bytes, now: datetime) -> None:
    """Let a job wait for others that some tool has dropped under a name that is due."""
    try:
        entry.make_wait(layout, name, data)
    except QueuectlError as error:
        _refuse(layout, name, (error.what,), now)


def _refuse(layout: Layout, name: PendingName, problems: tuple[str, ...], now: datetime) -> None:
    """Raise RefusedError, unless the file is gone."""
    id = refuse(layout, str(name), "; ".join(problems), now, name.priority)
    if id is not None:
        raise RefusedError(id, problems)


def _begin(
    layout: Layout,
    pending: PendingName,
    running: RunningName,
    path: str,
    content: files.Content,
    job: Body,
    now: Callable[[], datetime],
) -> Claim | None:
    """Open the log and lock the attempt. None if the job was cancelled or replaced in the meantime, or must wait.

    No attempt starts without its lock, and none while another attempt of the job may still run.
    """
    log = logs.open_log(layout.log(running.id))
    try:
        is_locked = lease.lock_attempt(log, running.started_at)
        # RACE: a cancel from here on sees the lock, and waits for it (tests/spool/moves/test_by_hand.py).
        # RACE: the file may have been replaced between the read and the rename (tests/spool/moves/test_claims.py).
        if files.identify(os.lstat(path)) != content.identity:
            lease.close(log)
            release(layout, running, pending.run_at)
            return None
        status = os.fstat(log)
        must_wait = not is_locked or not status.st_nlink or _is_repeated(log, status, running)
        must_wait = must_wait or (lease.may_be_running(log) if status.st_size else bool(lease.running_attempts(log)))
        running_on = name_attempts(log, running.id) if must_wait else []
        if must_wait or (status.st_size and not _is_expected(log, pending)):
            holder = query.locate(layout, running.id, excluding=path)
            if holder and (must_wait or not _is_left_behind(layout, path, *holder)):
                id = refuse(
                    layout, str(pending), f"duplicate: the id {running.id!r} is held by {'/'.join(holder)}", now(),
                    running.priority, running=running,
                )  # fmt: skip
                lease.close(log)
                if id is not None:
                    raise RefusedError(id, (f"duplicate of {running.id}",))
                return None
    except OSError:
        lease.close(log)
        raise
    if not must_wait:
        if layout.shared:
            log = lease.hand_on(log, log_parts.for_attempt(log))
            status = os.fstat(log)
        return Claim(running, pending.run_at, job, log, status.st_size)
    # It was cancelled and retried, or moved back by hand, while an attempt was running; or it is being deleted.
    lease.close(log)  # first, or the next claim would find this one
    settle(layout, running, lifecycle.reschedule(pending, run_at=now() + _PUT_BACK))
    if running_on:
        raise StillRunningError(running_on)
    return None


def _is_repeated(log: int, status: os.stat_result, name: RunningName) -> bool:
    """Whether the log has an attempt of this exact time, as after the clock was set back: its end is not this one's."""
    was_written_later = status.st_size > 0 and status.st_mtime >= name.started_at.timestamp()
    return was_written_later and logs.find_attempt(log, name) is not None


def _is_left_behind(layout: Layout, path: str, state: State, text: str) -> bool:
    """Whether that is the claimed file's own old name, of an attempt that has ended: see rescue.drop_second_name.

    A running attempt holds its lock. Any other file of the id, and any other name made with `ln`, is a duplicate.
    """
    return state is State.RUNNING and files.is_same(path, layout.job(state, text))


def _is_expected(log: int, name: PendingName) -> bool:
    """Whether the log, which is not empty, ends as this job's log should, so that no other file holds its id."""
    event, fields = logs.last_line(log)
    if event == "submit":
        return True
    if event == "end" or (event == "note" and ("ended_at" in fields or "max_rss" in fields or "by" in fields)):
        return fields.get("result") == logs.RELEASED or fields.get("attempt") == str(name.attempts)
    return (event == "retry" or "skipped_at" in fields) and name.attempts == 0


def settle(layout: Layout, name: RunningName, move: lifecycle.Move) -> bool:
    """End a claim by moving the file out of running/; False if another process did so first.

    On a full disk, where even a rename can fail, the ballast is deleted. Raises SpoolError if the
    move is still impossible; the job stays in running/ and `settle` may be called again. What the job has said of its
    progress is removed first; what waits for the job is moved afterwards.

    CRASH: between the two the slow beat of the next worker moves what waits (tests/torture/syscalls.py).
    """
    if move.state is not State.RUNNING:
        progress.forget(layout, name.id)
    source, target = layout.job(State.RUNNING, name), layout.job(*move)
    try:
        try:
            is_settled = files.move(source, target)
        except OSError as error:
            if error.errno not in files.FULL or not files.remove(layout.ballast):
                raise
            is_settled = files.move(source, target)
    except OSError as error:
        raise unusable(layout.root, error) from error
    if is_settled and move.state in _ENDS and _is_awaited(layout, name.id):
        dependents.inform(layout, name.id, move)
    return is_settled


def _is_awaited(layout: Layout, id: str) -> bool:
    """Whether a job may wait for that one; False also if the system cannot say, as the slow beat looks again."""
    return os.access(layout.edges(id), os.F_OK)  # an error would cost ten times as much as this look


def note_end(layout: Layout, name: RunningName, at: datetime, duration: float) -> None:
    """Record in the log when an attempt ended whose job will be retried. Nothing else depends on this note."""
    with suppress(OSError):
        log = logs.open_existing(layout.log(name.id))
        try:
            logs.append_note(log, "note", logs.format_ended(name.attempt, at, duration))
        finally:
            lease.close(log)


def release(layout: Layout, name: RunningName, run_at: datetime | None = None) -> bool:
    """Give a claim back as if it had not been made; False if another process settled it first.

    `run_at` is that of its pending name, unless some tool has put another file there in the meantime.
    """
    move = lifecycle.release(name, run_at)
    if os.path.lexists(layout.job(*move)):
        move = lifecycle.release(name)
    return settle(layout, name, move)


def keep_ballast(layout: Layout, size: int = 1 << 20) -> None:
    """Make sure that the ballast, which `settle` may delete, exists."""
    if not os.path.exists(layout.ballast):
        with suppress(OSError):
            files.write_new(layout.ballast, bytes(size), sync=False)
