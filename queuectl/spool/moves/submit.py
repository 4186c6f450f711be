"""Accepting new jobs: reserve the ids, write, make durable, publish.

At the instant a file gets its name in pending/, its bytes are already on the disk; `submit` returns
after the directory is on the disk too. A crash before that leaves files in tmp/, and perhaps an empty
log: a reservation that the next submit of that id finds unlocked, and takes over.
"""

from __future__ import annotations

import os
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from queuectl.core import body, groups, lifecycle
from queuectl.core.fields import Body
from queuectl.core.job import Job
from queuectl.core.names import HELD_AT, WAITING_AT, FinishedName, PendingName
from queuectl.core.result import State
from queuectl.errors import AlreadyExistsError, InvalidJobError, QueuectlError, SpoolError
from queuectl.lazy import Lazy
from queuectl.spool.moves.reserved import IdInFlightError, UnwantedError
from queuectl.spool.system import defaults, edges, files, identity, lease, logs
from queuectl.spool.system.layout import Layout, unusable
from queuectl.tuples import NamedTuple

if TYPE_CHECKING:
    from queuectl.spool.moves import dependents, existing, joining, tokens, unique
    from queuectl.spool.reading import query
    from queuectl.spool.system import versions
else:
    query = Lazy("queuectl.spool.reading.query")
    existing, unique = Lazy("queuectl.spool.moves.existing"), Lazy("queuectl.spool.moves.unique")
    tokens = Lazy("queuectl.spool.moves.tokens")
    joining, dependents = Lazy("queuectl.spool.moves.joining"), Lazy("queuectl.spool.moves.dependents")
    versions = Lazy("queuectl.spool.system.versions")

GROUP = 200
"""Jobs made durable together: one syncfs and one fsync of the directory for each group."""
_FSYNC_EACH = 8
_STEP = timedelta(milliseconds=1)
_latest: dict[tuple[str, int], PendingName] = {}
"""The last name that this process gave to a job that is due at once, by directory and priority."""
_latest_lock = allocate_lock()
_ID_LENGTH = 12


class Reservation(NamedTuple):
    """An id that this process may publish: its log, open and locked, and whether we created it.

    In a shared spool `token` is the file that others publish if they find the log first (`tokens`).
    """

    fd: int
    path: str
    is_new: bool
    token: str = ""

    def keep(self) -> None:
        lease.close(self.fd)

    def give_up(self) -> None:
        """Free the id again, if it was free before, and nobody else has published its job."""
        if self.token and not files.remove(self.token):
            lease.close(self.fd)
        else:
            self.free()

    def free(self) -> None:
        """Free the id again, if it was free before; its job is not there."""
        if self.is_new:
            files.remove(self.path)
        lease.close(self.fd)


def reserve(
    layout: Layout,
    id: str,
    *,
    returned: str | None = None,
    locate: query.Locate | None = None,
    line: tokens.Line | None = None,
    is_wanted: Callable[[str], bool] = lambda _: True,
) -> Reservation:
    """Reserve an id by creating its log.

    RACE: two reserve one id (tests/spool/moves/test_submit.py). O_EXCL lets one create the log, and the lock on it
    shows that its owner is still working. An empty log that is neither locked nor any job's was left by a crash, or
    was created an instant ago by a process that is about to lock it; it is replaced, which both processes detect.
    Raises AlreadyExistsError, or IdInFlightError while the owner is not done. `returned` is the path of a job's
    file that has come back: it already holds the id, and its log may exist or not; `locate` finds others
    (default: `query.locate`). In a shared spool the log begins with `line`, and a submit of the id that another process
    has begun is finished first, if it `is_wanted`.
    """
    path = layout.log(id)
    if layout.shared:
        line = line or tokens.Line(tokens.new_name(layout))
        find = locate or query.locate

        def require_free(busy: str) -> None:
            _require_free(id, not busy, find(layout, id, excluding=returned))

        fd, is_new = tokens.reserve(layout, id, line, require_free, is_back=returned is not None, is_wanted=is_wanted)
        return Reservation(fd, path, is_new and not line.source)
    while True:
        is_new = True
        try:
            fd = logs.open_log(path, exclusive=True)
        except FileExistsError:
            is_new = False
            fd = logs.open_log(path)
        try:
            is_ours = lease.lock_id(fd) and (is_new or not lease.may_be_running(fd))
            status = os.fstat(fd)
            if status.st_nlink and not (is_new and is_ours and returned is None):
                find = locate or query.locate
                _require_free(id, is_ours, find(layout, id, excluding=returned))
            if status.st_nlink and (is_new or status.st_size):
                return Reservation(fd, path, is_new)
            if status.st_nlink:
                files.remove(path)
        except BaseException:
            lease.close(fd)  # or the id would stay reserved for as long as this process lives
            raise
        lease.close(fd)


def _require_free(id: str, is_ours: bool, holder: tuple[State, str] | None) -> None:
    if holder:
        raise AlreadyExistsError(
            f"the id {id!r} is taken", f"that job is {_describe(*holder)}", f"see: queuectl show {id}"
        )
    if not is_ours:
        raise IdInFlightError(f"the id {id!r} is taken", "a job of this id is being submitted or is running right now")


def _describe(state: State, name: str) -> str:
    parsed = query.parse_name(state, name)
    return f"{state} ({parsed.result})" if isinstance(parsed, FinishedName) else str(state)


def new_id() -> str:
    return identity.random_text(_ID_LENGTH)


def _new_ids(layout: Layout, number: int, now: datetime) -> list[str]:
    """In order, so that jobs of equal priority start in the order given. A single one comes behind those that this
    process has given in this millisecond, as far as these are random too: so its job need not wait for the next."""
    if number > 1:
        return sorted(new_id() for _ in range(number))
    with _latest_lock:
        names = [name for (pending, _), name in _latest.items() if pending == layout.pending and name.run_at >= now]
    before = max((name.id.rpartition(".")[2] for name in names), default="")
    id = new_id()
    return [id if id > before or len(before) != _ID_LENGTH else identity.random_text_after(before)]


def _next_move(layout: Layout, id: str, priority: int, run_at: datetime | None, now: datetime) -> lifecycle.Move:
    """The name of a new job: `in_order`, if due at once."""
    move = lifecycle.enqueue(id, priority, run_at, now)
    return in_order(layout, move, now) if run_at is None else move


def in_order(layout: Layout, move: lifecycle.Move, now: datetime) -> lifecycle.Move:
    """The move of a job that is due at once: behind every one that this process has moved before with its priority.

    Names of one millisecond are ordered by id, so an id that would come first gets the next millisecond. After a jump
    of the clock, of more than the milliseconds that one group can take, the order begins again.
    """
    name = move.name
    if not isinstance(name, PendingName):
        return move
    with _latest_lock:
        last = _latest.get((layout.pending, name.priority))
        if last is not None and last.run_at < now + GROUP * _STEP:
            name = name._replace(run_at=max(name.run_at, last.run_at))
            if str(name) < str(last):
                name = name._replace(run_at=name.run_at + _STEP)
        _latest[layout.pending, name.priority] = name
    return move._replace(name=name)


class _Key(NamedTuple):
    """Of a job with a key: where it goes once it has it, and whether its id was chosen."""

    target: lifecycle.Move
    is_named: bool


class Item(NamedTuple):
    fields: dict[str, Any]
    data: bytes
    move: lifecycle.Move
    temporary: str
    reservation: Reservation
    is_due: bool
    content: Body
    key: _Key | None = None

    def give_up(self) -> None:
        if not self.reservation.token:
            files.remove(self.temporary)
        self.reservation.give_up()


def submit(
    layout: Layout,
    requests: Sequence[Mapping[str, Any]],
    now: datetime,
    *,
    is_wanted: Callable[[str], bool] = lambda _: True,
    is_held: bool = False,
    keeps_skipped: bool = False,
    swap: unique.Swap | None = None,
) -> list[Job | QueuectlError]:
    """Queue a group of jobs durably; for each, in order, the job or the error that kept it out.

    Jobs of one priority that are due at once start in the order in which a process submits them, whatever their ids.
    Jobs that are held are published under the name of a held job, and never were due.
    A job that waits for others is published under the waiting time, all its edges durable, behind those among these
    that it waits for; the outcome says where the routine has put it (`joining`).
    `is_wanted` is called with each id once it is reserved; if false, the id is given up again (UnwantedError).
    A job whose key, or id, another one has is left out, and that one returned as an ExistingJob, with the new body if
    the new one asks for that (by `swap`); with `keeps_skipped` a job without its key is kept in done/ as skipped.

    Raises SpoolError if the spool cannot take the group: then none of it was queued. If the disk fills up
    between two files, the outcome of those that were not queued is a SpoolError. After a DurabilityError it is
    unknown whether the group was queued.
    """
    outcomes: list[Job | QueuectlError | None] = [None] * len(requests)
    items: dict[int, Item] = {}
    begun = time.monotonic()
    try:
        try:
            default = defaults.priorities(layout)
            fresh = _new_ids(layout, len(requests), now)
            for index, fields in enumerate(requests):
                try:
                    items[index] = _prepare(layout, fields, fresh[index], now, is_wanted, is_held, default)
                except QueuectlError as error:
                    outcomes[index] = error
            for index, problem in _join(layout, items).items():
                outcomes[index] = problem
            for item in items.values() if not layout.shared else ():
                files.write_new(item.temporary, item.data, sync=len(items) <= _FSYNC_EACH)
            if len(items) > _FSYNC_EACH or layout.shared:
                files.sync_files(layout.tmp, [item.temporary for item in items.values()])
        except BaseException:
            for item in items.values():
                item.give_up()
                joining.give_up(layout, item)
            raise
        _wait_for_latest(items.values(), now, begun)
        for index, item in items.items():
            outcomes[index] = _publish(layout, item)
        refusal = next((outcome for outcome in outcomes if isinstance(outcome, SpoolError)), None)
        if any(isinstance(outcome, Job) for outcome in outcomes):
            files.sync_directory(layout.pending)
            _settle(layout, items, outcomes)
        elif refusal is not None:
            raise refusal
    except OSError as error:
        raise unusable(layout.root, error) from error
    outcomes_of_keys = _ask_all(layout, items, outcomes, swap, keeps_skipped=keeps_skipped)
    known = [outcome for outcome in outcomes_of_keys if outcome is not None]
    return [_resolve(layout, fields, known[index], swap, is_held=is_held) for index, fields in enumerate(requests)]


def _join(layout: Layout, items: dict[int, Item]) -> Mapping[int, QueuectlError]:
    """Let those that wait for others wait for them, and put all in order; the errors of those that cannot."""
    waiting = [index for index, item in items.items() if item.content.references]
    errors = joining.join(layout, items, waiting) if waiting else {}
    for index in errors:
        items.pop(index).give_up()
    return errors


def _settle(layout: Layout, items: Mapping[int, Item], outcomes: list[Job | QueuectlError | None]) -> None:
    """Look whether those that were published have anything left to wait for."""
    if any(item.content.references for item in items.values()):
        for index, item in items.items():
            if not isinstance(outcomes[index], Job):
                joining.give_up(layout, item)
        joining.settle(layout, items, outcomes)


def _wait_for_latest(items: Iterable[Item], now: datetime, begun: float) -> None:
    """Until the time of every job that is due at once has come: no worker waits for it, no later submit overtakes it.

    `begun` is when it was `now`, on the monotonic clock. At most a millisecond for each job of the group.
    """
    times = [name.run_at for item in items if isinstance(name := item.move.name, PendingName) and item.is_due]
    ahead = (max(times, default=now) - now).total_seconds() - (time.monotonic() - begun)
    if ahead > 0:
        time.sleep(min(ahead, GROUP * _STEP.total_seconds()))


def _prepare(
    layout: Layout,
    fields: Mapping[str, Any],
    fresh_id: str,
    now: datetime,
    is_wanted: Callable[[str], bool],
    is_held: bool,
    default: Callable[[str], int],
) -> Item:
    content = body.validate(fields)
    id = content.id_with(fresh_id)
    if not groups.is_new_id(id):
        raise InvalidJobError([f"the id {id!r} has a dot at its end, or two in a row"])
    whole = {**fields, "id": id}
    data = body.encode(whole)
    if len(data) > body.MAX_BODY:
        raise InvalidJobError([f"the job is larger than {body.MAX_BODY} bytes"])
    run_at = HELD_AT if is_held else WAITING_AT if content.references else content.run_at
    if content.id is not None and (waiting := edges.waiting_for(layout, id)):
        _require_free(id, is_ours=True, holder=query.locate(layout, id))
        raise AlreadyExistsError(f"the id {id!r} is taken", f"{waiting[0]} waits for a job of that id, which is gone")
    if content.references and not os.path.isdir(layout.after):
        versions.require(layout, "after")
    priority = content.priority if fields.get("priority") is not None else default(id)
    move, key = _next_move(layout, id, priority, run_at, now), None
    if content.unique is not None and isinstance(move.name, PendingName):
        move, key = lifecycle.ask(move.name), _Key(move, content.id is not None)
        if not os.path.isdir(layout.unique):
            versions.require(layout, "unique")
        unique.prepare(layout)
    if layout.shared:
        reservation = _reserve_shared(layout, id, data, is_wanted, is_held=is_held, is_named=not content.references)
    else:
        reservation = _reserve_wanted(layout, id, is_wanted)
    temporary = reservation.token or f"{layout.tmp}/{id}.{identity.random_text(8)}.json"
    return Item(whole, data, move, temporary, reservation, run_at is None and key is None, content, key)


def _reserve_shared(
    layout: Layout, id: str, data: bytes, is_wanted: Callable[[str], bool], *, is_held: bool, is_named: bool
) -> Reservation:
    """The file of a job in tmp/, and its id; the log names that file, if others may publish it as it is."""
    by = tokens.new_name(layout)
    token = tokens.path_of(layout, by)
    files.write_new(token, data, sync=False)
    try:
        line = tokens.Line(by if is_named else tokens.new_name(layout), is_held)
        return _reserve_wanted(layout, id, is_wanted, line, token)
    except BaseException:
        files.remove(token)
        raise


def _reserve_wanted(
    layout: Layout, id: str, is_wanted: Callable[[str], bool], line: tokens.Line | None = None, token: str = ""
) -> Reservation:
    reservation = reserve(layout, id, line=line, is_wanted=is_wanted)._replace(token=token)
    try:
        if is_wanted(id):
            return reservation
    except (OSError, QueuectlError):
        reservation.give_up()
        raise
    reservation.give_up()
    raise UnwantedError(f"the id {id!r} was taken", "another process has submitted its job")


def _publish(layout: Layout, item: Item) -> Job | QueuectlError:
    path = layout.job(*item.move)
    job = Job(item.move.state, item.move.name, path, body.validate(item.fields), item.fields)
    try:
        if not files.publish_reserved(item.temporary, path):  # another host has done that, and knows where it is
            place = query.locate(layout, job.id)
            job = (query.load(layout, *place) if place else None) or job
    except FileExistsError:
        item.give_up()
        return AlreadyExistsError(f"the id {item.move.name.id!r} is taken", f"{path} exists")
    except OSError as error:
        item.give_up()
        return unusable(layout.root, error)
    if item.key is None:
        item.reservation.keep()
    return job


def _resolve(
    layout: Layout,
    fields: Mapping[str, Any],
    outcome: Job | QueuectlError,
    swap: unique.Swap | None,
    *,
    is_held: bool,
) -> Job | QueuectlError:
    """The outcome, if the id was taken, for a job that says what to do then."""
    if isinstance(outcome, AlreadyExistsError) and (fields.get("if_exists") or fields.get("unique")):
        return existing.resolve(layout, fields, outcome, swap or unique.cannot_swap, is_held=is_held)
    return outcome


def _ask_all(
    layout: Layout,
    items: Mapping[int, Item],
    outcomes: Sequence[Job | QueuectlError | None],
    swap: unique.Swap | None,
    *,
    keeps_skipped: bool,
) -> list[Job | QueuectlError | None]:
    """The outcomes once the published jobs that have keys have asked for them."""
    found = [*outcomes]
    for index, item in items.items():
        job = found[index]
        if item.key is not None and isinstance(job, Job):
            found[index] = _ask(layout, item, item.key, job, swap, keeps_skipped=keeps_skipped)
    return found


def _ask(
    layout: Layout, item: Item, key: _Key, job: Job, swap: unique.Swap | None, *, keeps_skipped: bool
) -> Job | QueuectlError:
    """What becomes of a job that is published under the asking time.

    CRASH: a worker asks for it then (tests/spool/moves/test_unique.py).
    """
    is_there = True
    try:
        is_new = not keeps_skipped
        give = swap or unique.cannot_swap
        fd, is_named = item.reservation.fd, key.is_named
        asking = unique.Asking(job, fd, key.target, is_new, is_named, data=item.data, swap=give)
        found = unique.ask(layout, asking)
        is_there = not is_new or found.id == job.id
        return found
    except QueuectlError as error:
        is_there = not is_new or not _withdraw(job)
        return error
    except OSError as error:
        is_there = not is_new or not _withdraw(job)
        return unusable(layout.root, error)
    finally:
        if is_there:
            item.reservation.keep()
        else:
            joining.give_up(layout, item)
            item.reservation.free()
            dependents.inform(layout, job.id, None)


def _withdraw(job: Job) -> bool:
    """Delete a job that may still be asking; whether it is certain that it is not there."""
    try:
        files.remove(job.path)
    except OSError:
        return False
    return True
