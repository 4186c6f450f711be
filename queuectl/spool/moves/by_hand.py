"""Acting on one job: retry, cancel, signal, hold, release, put first in line, reschedule, drop.

Nearly every action is one rename, which only one process can win; changes to a job's bytes are in `edit`. A Job that
was just read can be passed instead of an id: it is not searched for, and WrongStateError is raised if it has changed
state since.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from queuectl.core import lifecycle
from queuectl.core.body import MAX_BODY
from queuectl.core.job import Job
from queuectl.core.names import FinishedName, PendingName, RunningName, format_rfc3339
from queuectl.core.result import CANCELLED, INVALID, State
from queuectl.core.retry import RetryPolicy
from queuectl.errors import (
    AlreadyExistsError,
    InvalidJobError,
    NotFoundError,
    QueuectlError,
    WaitTimeoutError,
    WrongStateError,
)
from queuectl.lazy import Lazy
from queuectl.spool.moves import dependents, ending, entry
from queuectl.spool.reading import query
from queuectl.spool.system import defaults, files, lease, logs, sent
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout, unusable

if TYPE_CHECKING:
    from queuectl.spool.moves import asked, holders, unique
else:
    holders, unique = Lazy("queuectl.spool.moves.holders"), Lazy("queuectl.spool.moves.unique")
    asked = Lazy("queuectl.spool.moves.asked")

_Target = TypeVar("_Target")
_LAST_HOLDER = 2.0
"""Seconds, in addition to the grace, within which the log of a cancelled job must be unlocked."""

_ENDS = (State.DONE, State.DEAD)
_AT_ONCE = 400  # each keeps a thread, and its log open


def together(
    targets: Sequence[_Target], act: Callable[[_Target], Job]
) -> Iterator[tuple[_Target, Job | QueuectlError]]:
    """The outcome of an action on each, in order. Up to 400 at once: to end a running job may take a grace."""
    from concurrent.futures import ThreadPoolExecutor

    def attempt(target: _Target) -> Job | QueuectlError:
        try:
            return act(target)
        except QueuectlError as error:
            return error

    if targets:
        with ThreadPoolExecutor(min(len(targets), _AT_ONCE)) as pool:
            yield from zip(targets, pool.map(attempt, targets), strict=True)


def cancel_all(
    layout: Layout, jobs: Mapping[str, Job | None], grace: float, policy: RetryPolicy
) -> dict[str, Job | QueuectlError]:
    """`cancel` of many jobs as they were just seen, None for unknown ones; for each id its job or its error.

    Those that wait come first, as a running one that ends makes room for another to start; those that run are ended
    together.
    """

    def act(id: str) -> Job:
        seen = jobs[id]
        while seen is not None:
            job = query.load(layout, seen.state, str(seen.name))
            try:
                if job is not None:
                    return cancel(layout, job, grace, policy)
            except WrongStateError:
                if not files.is_gone(seen.path):
                    raise
            place = query.locate(layout, id)  # never by a prefix: that could be another job
            seen = query.load(layout, *place) if place is not None else None
        raise NotFoundError(f"no job {id!r}", id=id)

    outcomes: dict[str, Job | QueuectlError] = {}
    for id, job in jobs.items():
        if job is None or job.state is not State.RUNNING:
            try:
                outcomes[id] = act(id)
            except QueuectlError as error:
                outcomes[id] = error
    outcomes |= together([id for id in jobs if id not in outcomes], act)
    return {id: outcomes[id] for id in jobs}


def move(layout: Layout, job: Job, target: lifecycle.Move) -> Job:
    """Move a job; raises WrongStateError if another process was first."""
    moved = try_move(layout, job, target)
    if moved is None:
        raise WrongStateError(f"job {job.id} has just changed state", "a worker or another command got there first")
    return moved


def try_move(layout: Layout, job: Job, target: lifecycle.Move) -> Job | None:
    """Move a job; None if another process was first."""
    path = layout.job(*target)
    try:
        if not files.move(job.path, path):
            return None
    except OSError as error:
        raise unusable(layout.root, error) from error
    if job.body is not None and job.body.unique is not None:
        holders.note(layout, job.body, *target)
    moved = Job(target.state, target.name, path, job.body, job.fields, job.problem)
    if target.state in _ENDS or job.state in _ENDS:
        dependents.inform(layout, moved.id, target)
    return moved


def find_pending(layout: Layout, id: str | Job, what: str) -> tuple[Job, PendingName]:
    """The waiting job of that id; raises WrongStateError, saying that only one can be `what`, for any other."""
    job = query.find(layout, id)
    if not isinstance(job.name, PendingName):
        is_over = what == "changed" and isinstance(job.name, FinishedName)
        hint = f"to change it and start it again: queuectl retry --edit {job.id}" if is_over else ""
        raise WrongStateError(f"job {job.id} is {job.state}", f"only a pending job can be {what}", hint)
    return job, job.name


def retry(layout: Layout, id: str | Job, run_at: datetime | None = None) -> Job:
    """Start a finished job again, at once or at `run_at`, from attempt 0 and with its old log.

    A job that waits for others and was never started waits again: WrongStateError if it was skipped and what it waits
    for cannot come about as things are. A job that was refused under another id than its body's gets the body's:
    AlreadyExistsError if that is taken.
    """
    from queuectl.spool.moves import adopt

    job = query.find(layout, id)
    if not isinstance(job.name, FinishedName):
        raise WrongStateError(f"job {job.id} is {job.state}", "only a done or dead job can be retried")
    if job.problem is not None:
        raise InvalidJobError([job.problem], f"fix it with: queuectl retry --edit {job.id}")
    _require_own(layout, job)
    holders.require_free(layout, job)
    if job.fields is not None and not adopt.has_own_id(job.id, job.fields):
        return _retry_as(layout, job, job.name, job.fields["id"], run_at)
    if job.result is not None and job.result.is_skipped:
        entry.require_possible(layout, job.id, job.fields)
    must_wait = _must_wait(layout, job)
    if must_wait and job.result == INVALID:
        entry.require_there(layout, job.id, job.fields or {})
    try:
        with lease.opened(layout.log(job.id)) as log:
            ended = logs.format_ended(job.attempts, job.name.finished_at, job.name.duration)
            logs.append_note(log, "retry", f"at={format_rfc3339(now())} after={job.result} {ended}")
            if not must_wait:
                return _move_back(layout, job, log, job.name, run_at)
            return _wait_again(layout, job, job.id, log)
    except OSError as error:
        raise unusable(layout.root, error) from error


def _move_back(layout: Layout, job: Job, log: int, name: FinishedName, run_at: datetime | None) -> Job:
    """Move a finished job to pending/ under that name's id; if it has a key, once it has that."""
    target = _due(layout, lifecycle.retry_by_hand(name, run_at or now()), run_at)
    if job.body is None or job.body.unique is None:
        return move(layout, job, target)
    return unique.bring_back(layout, job, log, target)


def _must_wait(layout: Layout, job: Job) -> bool:
    """Whether a finished job waits again once it is retried: it waits for others, and was never started."""
    return bool(job.body and job.body.references) and not entry.was_started(layout, job.id)


def _wait_again(layout: Layout, job: Job, id: str, log: int) -> Job:
    """Let a finished job wait for what its body names, its edges written again, and run the routine; where it is then.

    One with a key waits once it has that.
    """
    target = entry.again(layout, id, job.fields or {}, job.priority)
    if job.body is None or job.body.unique is None:
        return _settled(layout, move(layout, job, target))
    try:
        return unique.bring_back(layout, job, log, target)
    except AlreadyExistsError:
        if not dependents.is_skipped(job.name):
            entry.leave(layout, id, job.fields)
        raise


def _settled(layout: Layout, job: Job) -> Job:
    """Run the routine for a job that has just begun to wait; where it is then."""
    place = None
    with suppress(OSError):  # the slow beat looks again
        place = entry.settle(layout, [job.id]).get(job.id)
    if place is None:
        return job
    return Job(place[0], place[1], layout.job(*place), job.body, job.fields, job.problem)


def _due(layout: Layout, target: lifecycle.Move, run_at: datetime | None) -> lifecycle.Move:
    """The move of one of several jobs, behind those before it unless its time was asked for."""
    from queuectl.spool.moves import submit

    return submit.in_order(layout, target, now()) if run_at is None else target


def _require_own(layout: Layout, job: Job) -> None:
    from queuectl.spool.system import trust

    with suppress(FileNotFoundError):
        trust.require_own(layout, os.lstat(job.path).st_uid, job.id)


def _retry_as(layout: Layout, job: Job, name: FinishedName, id: str, run_at: datetime | None) -> Job:
    """Retry a job under another id, that of its body; the new log begins with a copy of the old one.

    CRASH: before the rename there is a log that reserves nothing, after it the old log, which belongs to no job
    (tests/spool/moves/test_by_hand.py).
    """
    from queuectl.spool.moves.submit import reserve

    reservation = reserve(layout, id)
    try:
        old = b""
        with suppress(FileNotFoundError):
            old = files.read(layout.log(job.id)).data
        logs.append(reservation.fd, old)
        logs.append_note(reservation.fd, "retry", f"at={format_rfc3339(now())} after={job.result} was={job.id}")
        if job.body and job.body.references:
            entry.require_there(layout, id, job.fields or {})
            moved = _wait_again(layout, job, id, reservation.fd)
        else:
            moved = _move_back(layout, job, reservation.fd, name._replace(id=id), run_at)
    except BaseException:
        reservation.give_up()
        raise
    reservation.keep()
    if len(old) <= MAX_BODY:  # then this was all of it
        files.remove(layout.log(job.id))
    return moved


def reschedule(layout: Layout, id: str | Job, priority: int | None, run_at: datetime | None) -> Job:
    """Give a waiting job another priority or time."""
    job, name = find_pending(layout, id, "rescheduled")
    return move(layout, job, lifecycle.reschedule(name, priority=priority, run_at=run_at))


def drop(layout: Layout, id: str | Job) -> Job:
    """Delete a finished job and its log; raises WrongStateError while a process that it left behind holds the log."""
    from queuectl.spool.moves import prune

    job = _find_finished(layout, id)
    if not isinstance(job.name, FinishedName):
        raise WrongStateError(
            f"job {job.id} is {job.state}", "only a done or dead job can be deleted", f"try: queuectl cancel {job.id}"
        )
    try:
        is_deleted = prune.delete(layout, job.state, job.name)
    except OSError as error:
        raise unusable(layout.root, error) from error
    if not is_deleted:
        raise WrongStateError(
            f"job {job.id} cannot be deleted", "it has just changed state, or a process of it still runs"
        )
    entry.leave(layout, job.id, job.fields)
    dependents.inform(layout, job.id, None)
    return job


def _find_finished(layout: Layout, id: str | Job) -> Job:
    """The job of that id; a prefix is one of finished jobs, if there is such a one."""
    try:
        return query.find(layout, id, (State.DEAD, State.DONE))
    except NotFoundError:
        return query.find(layout, id)


def cancel(layout: Layout, id: str | Job, grace: float, policy: RetryPolicy) -> Job:
    """Remove a waiting job from the queue, or end a running one with all its processes.

    The rename comes first and settles it as `cancelled`. Its processes, if they can be seen from here, then get SIGTERM
    and after `grace` seconds SIGKILL. It returns when the attempt's lock has been seen free: then no process of it
    is alive and none will start. Raises WaitTimeoutError if that does not happen in time, as when its worker is in
    another container: the job is cancelled, and it is not known yet whether it has ended.
    Called again, it ends what is left of a cancelled job, after that error or an interrupted cancel.
    A result that is on record is not overruled: such a job is settled by it, and WrongStateError says that it has
    already ended; unless it would be retried (according to the settings' `policy`, or its body): then it is cancelled.

    RACE: between the look and the rename a worker may claim the job or settle it; then look again
    (tests/spool/moves/test_by_hand.py). CRASH: after the rename the processes live until the job's worker looks.
    """
    while True:
        job = query.find(layout, id)
        if isinstance(job.name, FinishedName):
            return _cancel_again(layout, job, grace, policy)
        if isinstance(job.name, RunningName):
            _require_no_copy(layout, job.name)
            if layout.shared and asked.is_elsewhere(layout, job.name):
                ended = asked.cancel(layout, job, job.name, grace)
                if ended is not None:
                    return ended
                id = job.id
                continue
        recorded = _find_recorded(layout, job, job.name, policy) if isinstance(job.name, RunningName) else None
        cancelled = try_move(layout, job, recorded or lifecycle.cancel(job.name, now()))
        if cancelled is not None:
            entry.leave(layout, job.id, job.fields)
            if isinstance(job.name, RunningName) and recorded is None:
                return _end_processes(layout, cancelled, job.name, grace, policy)
            return _require_cancelled(cancelled)
        if isinstance(id, Job):
            raise WrongStateError(f"job {job.id} has just changed state", "a worker or another command got there first")
        id = job.id


def _cancel_again(layout: Layout, job: Job, grace: float, policy: RetryPolicy) -> Job:
    """End the attempts of a cancelled job that are still running; raises WrongStateError if there are none."""
    running = ending.find_running(layout, job.id) if job.result == CANCELLED else []
    for name in running:
        job = _end_processes(layout, job, name, grace, policy)
    if not running:
        raise _ended_already(job)
    return job


def _find_recorded(layout: Layout, job: Job, name: RunningName, policy: RetryPolicy) -> lifecycle.Move | None:
    """Where a job that was running under that name, and has ended by itself, goes; None if no end is on record."""
    from queuectl.spool.system import processes

    try:
        attempt, ended_at = logs.read_attempt(layout.log(name.id), name)
    except OSError as error:
        raise unusable(layout.root, error) from error
    if attempt is None or not attempt.has_ended_itself or attempt.result is None or ended_at is None:
        return None
    duration = (ended_at - name.started_at).total_seconds()
    if attempt.pid is not None:
        with suppress(OSError):
            processes.continue_shell(attempt.pid, processes.token_of(name, attempt.worker))
    if attempt.result.is_success:
        return lifecycle.succeed(name, attempt.result, duration, now())
    policy = defaults.applied(layout, name.id, policy)
    if (job.body.policy(policy) if job.body else policy).is_over(name.attempt, attempt.result):
        return lifecycle.give_up(name, attempt.result, duration, now())
    return lifecycle.cancel(name, now())


def _require_cancelled(job: Job) -> Job:
    """The job; raises WrongStateError if it had ended by itself."""
    if job.result != CANCELLED:
        raise _ended_already(job)
    return job


def _ended_already(job: Job) -> WrongStateError:
    return WrongStateError(f"job {job.id} has already ended", f"{job.state}, {job.result}")


def _end_processes(layout: Layout, cancelled: Job, name: RunningName, grace: float, policy: RetryPolicy) -> Job:
    """End what the attempt has started, and what its worker was about to start; returns the job as it is then."""
    path = layout.log(name.id)
    deadline = time.monotonic() + grace + _LAST_HOLDER
    has_woken = False
    while True:
        token, shell = processes_of(layout, name)
        ending.end_attempt_at(path, name, token, shell, logs.ENDING_CANCELLED, grace)
        # RACE: a worker that holds the lock may start the command only now: look until it releases it.
        is_held = _is_held(path, name) or _is_away(layout, name)
        # RACE: it may have ended by itself since the look before the rename (tests/spool/moves/test_by_hand.py).
        recorded = _find_recorded(layout, cancelled, name, policy)
        moved = try_move(layout, cancelled, recorded) if recorded else None
        if moved is not None:
            return _require_cancelled(moved)
        if not is_held:
            return cancelled
        if not has_woken:
            has_woken = True
            files.ring(layout.bell)  # its worker may be in another container
        if time.monotonic() > deadline:
            raise WaitTimeoutError(
                f"job {name.id} is cancelled, but it is not known yet whether it has ended",
                f"processes that cannot be killed from here may still be running; its worker is {name.worker}",
                "that worker, if it is alive, will kill them",
            )
        time.sleep(0.01)


def processes_of(layout: Layout, name: RunningName) -> tuple[str, int | None]:
    """The token that the attempt's processes carry, and its shell, which leads their group, if it can be seen."""
    from queuectl.spool.system import processes

    attempt = logs.read_attempt(layout.log(name.id), name)[0]
    token = processes.token_of(name, attempt.worker if attempt else name.worker)
    is_there = attempt is not None and attempt.pid is not None and processes.is_shell(attempt.pid, token)
    return token, attempt.pid if attempt and is_there else None


def _require_no_copy(layout: Layout, name: RunningName) -> None:
    """Raises SpoolError if this spool is a copy and the job runs in the original."""
    from queuectl.spool.system import place

    place.require_own(layout, name)


def _is_held(path: str, name: RunningName) -> bool:
    """Whether the attempt's lock is held, or that cannot be determined."""
    try:
        return lease.is_attempt_held(path, name.started_at)
    except OSError:
        return True


def _is_away(layout: Layout, name: RunningName) -> bool:
    """Whether it may run on an engine although its worker has died: no lock of this host says so, only an end line."""
    if not lease.read_worker(layout, name.worker).get("on"):
        return False
    try:
        attempt, _ = logs.read_attempt(layout.log(name.id), name)
        is_over = attempt is not None and attempt.is_over
        return not is_over and sent.find(layout.log(name.id), name) is not None
    except FileNotFoundError:
        return False
    except OSError:
        return True


def is_alive(layout: Layout, id: str) -> bool:
    """Whether a worker or a process of the job holds a lock in its log, or that cannot be determined."""
    try:
        return lease.is_in_use(layout.log(id))
    except OSError:
        return True


def kill(layout: Layout, id: str | Job, number: int) -> Job:
    """Send a signal to the processes of a running job; the rest is up to them and its worker.

    Raises SpoolError, as `cancel` does, in a copy of the spool in which the job runs.
    """
    from queuectl.spool.system import processes

    job = query.find(layout, id)
    if not isinstance(job.name, RunningName):
        raise WrongStateError(f"job {job.id} is {job.state}", "only a running job has processes to signal")
    _require_no_copy(layout, job.name)
    if layout.shared and asked.is_elsewhere(layout, job.name):
        return asked.kill(layout, job, job.name, number)
    if not processes.send(*processes_of(layout, job.name), number):
        raise WrongStateError(f"no process of {job.id} is on this host", f"its worker is {job.name.worker}")
    return job


def hold(layout: Layout, id: str | Job) -> Job:
    """Keep a waiting job from starting until it is released; does nothing if it is already held."""
    job, name = find_pending(layout, id, "held")
    return job if name.is_held else move(layout, job, lifecycle.hold(name))


def let_go(layout: Layout, id: str | Job, run_at: datetime | None = None) -> Job:
    """Release a held job: at `run_at`, else at its body's time if that is still to come, else at once; if it waits for
    others, it waits again. Release a job that waits for others, or was skipped: it waits for them no longer."""
    job = query.find(layout, id)
    if job.result is not None and job.result.is_skipped:
        return _let_go_skipped(layout, job, run_at)
    job, name = find_pending(layout, job, "released")
    if name.is_held and entry.has_edges(layout, job.id, job.fields):
        return _settled(layout, move(layout, job, lifecycle.wait(name)))
    if name.is_asking and job.body is not None and job.body.unique is not None:
        raise WrongStateError(f"job {job.id} is not held", "it asks for its key, and starts once it has that")
    if not name.is_held and not name.is_waiting:
        why = "only a job that is held, waits for others or was skipped can be released"
        raise WrongStateError(f"job {job.id} is not held", why)
    if run_at is None and job.body and not name.attempts and job.body.run_at and job.body.run_at > now():
        run_at = job.body.run_at
    if name.is_waiting:
        dependents.require_log(layout, job.id)
    released = move(layout, job, _due(layout, lifecycle.reschedule(name, run_at=run_at or now()), run_at))
    if name.is_waiting:
        entry.leave(layout, job.id, job.fields)
    return released


def _let_go_skipped(layout: Layout, job: Job, run_at: datetime | None) -> Job:
    if run_at is None and job.body and job.body.run_at and job.body.run_at > now():
        run_at = job.body.run_at
    assert isinstance(job.name, FinishedName)
    holders.require_free(layout, job)
    with lease.opened(layout.log(job.id)) as log:
        released = _move_back(layout, job, log, job.name, run_at)
    entry.leave(layout, job.id, job.fields)
    return released


def first(layout: Layout, id: str | Job, ahead_of: Job | None = None) -> Job:
    """Put a waiting job in front of all that are due; this releases a held one. Reads only names.

    With `ahead_of`, put it in front of a job that has just been put first, which saves the listing. A job that waits
    for others gets the priority, and still waits.
    """
    job, name = find_pending(layout, id, "first in line")
    if name.is_waiting:
        front = query.front(layout, now(), excluding=name)
        priority = name.priority if front is None else min(name.priority, front.priority)
        return move(layout, job, lifecycle.reschedule(name, priority=priority))
    if ahead_of is not None and isinstance(ahead_of.name, PendingName) and ahead_of.id != job.id:
        return move(layout, job, lifecycle.first(name, ahead_of.name, now()))
    return move(layout, job, lifecycle.first(name, query.front(layout, now(), excluding=name), now()))
