"""Submitting the tick of a schedule, once, whoever else tries to, and whatever is deleted.

The id of its job is reserved, and then it is looked whether the tick is past: who deletes a tick's job moves the mark
on before that (tests/model/ticks.py). Who has reserved the id decides what becomes of the tick. One that is left out
because the last job has not ended is published in done/, with the result `skipped`, so it has its id as any other.
"""

from __future__ import annotations

import os
from datetime import datetime
from enum import Enum, auto

from queuectl.core import body, lifecycle
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.schedules import RUN_MARK, Schedule
from queuectl.errors import AlreadyExistsError, NotFoundError, UsageError
from queuectl.spool.moves import replace, submit
from queuectl.spool.moves.entry import CircleError
from queuectl.spool.moves.reserved import IdInFlightError, UnwantedError
from queuectl.spool.reading import query
from queuectl.spool.reading import schedules as reading
from queuectl.spool.system import files, identity, lease, logs
from queuectl.spool.system import schedules as schedule_files
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.schedules import Found

_OVERLAP = ("note", "overlap")


class Outcome(Enum):
    """What became of an attempt to submit a tick."""

    SUBMITTED = auto()
    SKIPPED = auto()
    LEFT_OUT = auto()  # another job has its key
    REFUSED = auto()  # it would wait for what is not there
    TAKEN = auto()  # its job is there
    PAST = auto()  # its job was there, or a later tick's is
    IN_FLIGHT = auto()  # another process is submitting it
    CHANGED = auto()  # the schedule was changed or removed: look again


def submit_tick(layout: Layout, found: Found, schedule: Schedule, tick: datetime, now: datetime) -> Outcome:
    """Submit a tick durably, unless another process has. `found` is the file that `schedule` was read from.

    CRASH: with its id reserved and not published, the tick is submitted by the next who tries
    (tests/spool/moves/test_ticks.py). Raises InvalidJobError if it cannot be a job, SpoolError or OSError if the spool
    cannot take it, UsageError if the mark cannot be read.
    """
    id = schedule.id_of(tick)
    known = _look_at_log(layout, id)
    if known is not None:
        return known
    verdicts: list[Outcome] = []

    def is_wanted(_: str) -> bool:
        verdict = _judge(layout, found, schedule, tick, now)
        verdicts.append(verdict)
        return verdict is Outcome.SUBMITTED

    fields = schedule.fields_of(id, tick)
    outcome = submit.submit(layout, [fields], now, is_wanted=is_wanted, keeps_skipped=True, swap=replace.swap)[0]
    if isinstance(outcome, Job):  # one whose key is taken is in done/ as skipped, or was refused
        return Outcome.SUBMITTED if outcome.state in (State.PENDING, State.RUNNING) else Outcome.LEFT_OUT
    if isinstance(outcome, UnwantedError):
        skipped = lifecycle.skip_new(id, schedule.body.priority, now)
        is_left_out = verdicts[-1] is Outcome.SKIPPED
        return _put_on_record(layout, found, schedule, tick, skipped, _OVERLAP) if is_left_out else verdicts[-1]
    if schedule.body.references and isinstance(outcome, NotFoundError | CircleError):
        refused = lifecycle.refuse(id, now, schedule.body.priority)
        done = _put_on_record(layout, found, schedule, tick, refused, ("refused", logs.quote(outcome.what)))
        return Outcome.REFUSED if done is Outcome.SKIPPED else done
    if isinstance(outcome, AlreadyExistsError):
        return Outcome.IN_FLIGHT if isinstance(outcome, IdInFlightError) else Outcome.TAKEN
    raise outcome


def _look_at_log(layout: Layout, id: str) -> Outcome | None:
    """What its log tells of a tick, mostly without any listing; None if it may have to be submitted."""
    path = layout.log(id)
    try:
        size = os.stat(path).st_size
    except FileNotFoundError:
        return None
    if layout.shared:
        return Outcome.TAKEN if _has_begun(path) else None
    if size:  # it has begun, or was skipped
        return Outcome.TAKEN
    if lease.is_id_locked(path):
        return Outcome.IN_FLIGHT
    return Outcome.TAKEN if id in query.match_ids(layout, id, (State.PENDING,)) else None


def _has_begun(path: str) -> bool:
    """Whether more is in the log of a shared spool than who has reserved the id."""
    from queuectl.spool.moves import tokens

    try:
        log = logs.open_existing(path)
    except FileNotFoundError:
        return False
    try:
        return tokens.has_begun(log)
    finally:
        lease.close(log)


def _judge(layout: Layout, found: Found, schedule: Schedule, tick: datetime, now: datetime) -> Outcome:
    """What is to become of a tick whose id is reserved."""
    mark = schedule_files.past(layout, found.name)
    if mark is not None and mark >= tick:
        return Outcome.PAST
    if not schedule_files.is_unchanged(layout, found):
        return Outcome.CHANGED
    is_last_only = schedule.catch_up not in ("all", "none")
    if is_last_only and schedule.is_missed(tick, now):
        newest = reading.find_newest(layout, now).get(found.name)
        if newest is not None and newest.tick > tick:
            return Outcome.PAST
    is_left_out = schedule.overlap == "skip" and reading.find_unfinished(layout, found.name, but=schedule.id_of(tick))
    return Outcome.SKIPPED if is_left_out else Outcome.SUBMITTED


def _put_on_record(
    layout: Layout, found: Found, schedule: Schedule, tick: datetime, move: lifecycle.Move, why: tuple[str, str]
) -> Outcome:
    """Publish a tick that is never to start, in done/ as skipped or in dead/ as invalid; `why` is for its log.

    CRASH: published and not in its log yet; the log only saves a listing (tests/spool/moves/test_ticks.py).
    """
    id = schedule.id_of(tick)
    try:
        reservation = submit.reserve(layout, id)
    except AlreadyExistsError as error:
        return Outcome.IN_FLIGHT if isinstance(error, IdInFlightError) else Outcome.TAKEN
    temporary = f"{layout.tmp}/{id}.{identity.random_text(8)}.json"
    try:
        mark = schedule_files.past(layout, found.name)
        if (mark is not None and mark >= tick) or not schedule_files.is_unchanged(layout, found):
            reservation.give_up()
            return Outcome.CHANGED
        files.write_new(temporary, body.encode(schedule.fields_of(id, tick)))
        files.publish_reserved(temporary, layout.job(*move))
        files.sync_directory(layout.directory(move.state))
    except BaseException:
        files.remove(temporary)
        reservation.keep()  # it may have been published
        raise
    kind, reason = why
    logs.append_note(reservation.fd, kind, f"reason={reason}" if kind == "refused" else f"skipped reason={reason}")
    reservation.keep()
    return Outcome.SKIPPED


def run_now(layout: Layout, found: Found, now: datetime) -> Job:
    """Submit a job of the schedule that is no tick, at once; whatever else runs or is paused.

    Raises UsageError for a schedule that is not valid, SpoolError.
    """
    schedule = require_valid(found)
    at = now.replace(microsecond=0)
    fields = schedule.fields_of(f"{found.name}.{RUN_MARK}{identity.random_text(8)}", at)
    fields.pop("run_at", None)
    outcome = submit.submit(layout, [fields], now)[0]
    if isinstance(outcome, Job):
        return outcome
    raise outcome


def require_valid(found: Found) -> Schedule:
    """The schedule; raises UsageError if its file is wrong."""
    if found.schedule is None:
        raise UsageError(f"schedules/{found.name}.json is not a schedule", found.problem,
                         f"try: queuectl schedule edit {found.name}")  # fmt: skip
    return found.schedule
