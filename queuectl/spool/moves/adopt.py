"""Files that other tools put into pending/: check, then adopt or refuse.

Adopting gives the file its canonical name; refusing moves it to the dead letters with the reason in
its log; both are one rename that leaves the bytes unchanged. A file that does not parse may still be being written:
the caller waits for that.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from queuectl.core import body, groups, lifecycle
from queuectl.core.fields import Body
from queuectl.core.names import (
    DEFAULT_PRIORITY,
    FinishedName,
    Name,
    PendingName,
    RunningName,
    id_from_file_name,
    is_conflict_copy,
    is_valid_id,
    looks_copied,
)
from queuectl.core.result import State
from queuectl.errors import AlreadyExistsError, InvalidJobError, NotFoundError, NotJsonError, UsageError
from queuectl.lazy import Lazy
from queuectl.spool.moves.reserved import IdInFlightError
from queuectl.spool.moves.submit import Reservation, reserve
from queuectl.spool.reading import query
from queuectl.spool.system import defaults, files, identity, logs, trust
from queuectl.spool.system.layout import Layout

if TYPE_CHECKING:
    from queuectl.spool.moves import dependents, entry, unique
else:
    dependents, entry = Lazy("queuectl.spool.moves.dependents"), Lazy("queuectl.spool.moves.entry")
    unique = Lazy("queuectl.spool.moves.unique")

_COPY = "duplicate: by its name it is a copy that some tool made of a job's file; to run it, give it a name of its own"

Trusts = Callable[[int], bool]
"""Whether the files of the user with that uid are run."""


def require_trusted(owner: int, trusts: Trusts) -> None:
    """Raise InvalidJobError for a file of a user whose commands must not be run."""
    if not trusts(owner):
        who = trust.name_of(owner)
        raise InvalidJobError(
            [f"it belongs to {who}: other users hand in jobs through inbox/ (queuectl init --drop-box)"]
        )


def require_own_id(id: str, data: bytes) -> None:
    """Raise InvalidJobError for a copy: its name has another id than its body, `data`, or says so itself."""
    fields = body.decode(data)
    if not has_own_id(id, fields):
        raise InvalidJobError([f"duplicate: its name says {id!r}, its body {fields['id']!r}: it is a copy"])
    if fields.get("id") is None and is_conflict_copy(id):
        raise InvalidJobError([_COPY])


def has_own_id(id: str, fields: Mapping[str, Any]) -> bool:
    """Whether a job of these fields may have that id: it asks for none, for this one, or for this one in a group."""
    asked = fields.get("id")
    return asked in (None, id) or f"{fields.get('group')}.{asked}" == id


def locate_returned(texts: Iterable[str]) -> query.Locate:
    """A `locate` for other files of the jobs that have come back under these names: it looks once for all of them."""
    ids = {name.id for name in map(_parse_returned, texts) if name is not None}
    return query.locate_together(ids) if len(ids) > 1 else query.locate


def _parse_returned(text: str) -> FinishedName | RunningName | None:
    return FinishedName.parse(text) or RunningName.parse(text)


def adopt(
    layout: Layout,
    text: str,
    now: datetime,
    trusts: Trusts = lambda _: True,
    locate: query.Locate = query.locate,
    swap: unique.Swap | None = None,
) -> PendingName | None:
    """Give a foreign file of pending/ its canonical name; None if it is gone or another adopts it.

    Raises NotJsonError while it does not parse (or its id is being submitted by another process),
    InvalidJobError when it never can be a job, PermissionError when it cannot be read.
    """
    path = layout.job(State.PENDING, text)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            raise InvalidJobError(["it is not a regular file"]) from None
        raise
    try:
        # RACE: two workers adopt one file (tests/spool/moves/test_adopt.py): its own lock lets one of them do it.
        # Between hosts the rename does, as only one of them finds the file. NFS locks only what is open for writing.
        with suppress(BlockingIOError):
            if not layout.shared:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _adopt(layout, path, text, fd, now, trusts, locate, swap)
        return None
    except files.NotRegularError:
        raise InvalidJobError(["it is not a regular file"]) from None
    finally:
        os.close(fd)


def _adopt(  # noqa: C901, PLR0912 - each step may find that it is no job
    layout: Layout,
    path: str,
    text: str,
    fd: int,
    now: datetime,
    trusts: Trusts,
    locate: query.Locate,
    swap: unique.Swap | None,
) -> PendingName | None:
    content = files.read_descriptor(fd, path)
    require_trusted(content.owner, trusts)
    try:
        if files.identify(os.lstat(path)) != content.identity:
            return None
    except FileNotFoundError:
        return None
    job = _parse(layout, content.data)
    returned = _parse_returned(text)
    if (
        returned is not None
        and job.id not in (None, returned.id)
        and not has_own_id(returned.id, body.decode(content.data))
    ):
        returned = None  # it was refused under another id, or is a copy: it asks for its own id
    _require_new_id(job, text, is_new=returned is None)
    try:
        if returned is not None:
            reservation = reserve(layout, returned.id, returned=path, locate=locate)
            move = lifecycle.retry_by_hand(returned, now)
        else:
            reservation = (
                _reserve_new(layout, text, job.group)
                if job.id is None
                else _reserve_named(layout, job.id_with(""), text)
            )
            id = _id_of(reservation)
            move = lifecycle.enqueue(id, _priority_of(layout, id, job, content.data), job.run_at, now)
        target, move = move, _asking(move, job)
    except IdInFlightError as error:
        raise NotJsonError(error.what, error.why) from None
    except AlreadyExistsError as error:
        raise InvalidJobError([f"duplicate: {error.what}; {error.why}"]) from None
    if job.references and (returned is None or not entry.was_started(layout, returned.id)):
        return _adopt_waiting(layout, path, fd, content.data, reservation, job, returned, swap)
    try:
        if returned is not None:
            logs.append_note(reservation.fd, "retry", "by hand: its file was moved back to pending")
        moved = files.move_new(path, layout.job(*move))
    except FileExistsError as error:  # another tool has dropped a job of this id under its canonical name
        reservation.give_up()
        raise InvalidJobError([f"duplicate: {error.filename2} exists"]) from None
    except OSError:
        reservation.give_up()
        raise
    if not moved:
        reservation.give_up()
        return None
    try:
        name = _ask(layout, move, target, reservation.fd, fd, returned, swap) if move != target else move.name
    finally:
        reservation.keep()
    if returned is not None:
        dependents.inform(layout, returned.id, move)
    assert name is None or isinstance(name, PendingName)
    return name


def _parse(layout: Layout, data: bytes) -> Body:
    """The body of a file, once the spool is prepared for it to ask for its key."""
    job = body.parse(data)
    if job.unique is not None:
        unique.prepare(layout)
    return job


def _asking(move: lifecycle.Move, job: Body) -> lifecycle.Move:
    """The move of a file that is to be adopted; a job with a key asks for that first."""
    return move if job.unique is None or not isinstance(move.name, PendingName) else lifecycle.ask(move.name)


def _ask(
    layout: Layout,
    move: lifecycle.Move,
    target: lifecycle.Move,
    log: int,
    fd: int,
    returned: FinishedName | RunningName | None,
    swap: unique.Swap | None,
) -> Name | None:
    """The name of a file, which asks for its key, once it has that; None if it goes to done/, or back."""
    if not layout.shared:
        fcntl.flock(fd, fcntl.LOCK_UN)  # it is adopted, and its body may change now (`edit`)
    asking = query.load(layout, move.state, str(move.name))
    if asking is None:
        return None
    back = None
    if isinstance(returned, FinishedName):
        back = lifecycle.Move(State.DONE if returned.result.is_success else State.DEAD, returned)
    with suppress(AlreadyExistsError):
        found = unique.ask(layout, unique.Asking(asking, log, target, back=back, swap=swap or unique.cannot_swap))
        return found.name if found.state is State.PENDING and found.id == move.name.id else None
    return None


def _priority_of(layout: Layout, id: str, job: Body, data: bytes) -> int:
    """That of its body, or else that of its groups."""
    if "." not in id or job.priority != DEFAULT_PRIORITY or body.decode(data).get("priority") is not None:
        return job.priority
    return defaults.priorities(layout)(id)


def _adopt_waiting(
    layout: Layout,
    path: str,
    fd: int,
    data: bytes,
    reservation: Reservation,
    job: Body,
    returned: FinishedName | RunningName | None,
    swap: unique.Swap | None,
) -> PendingName | None:
    """`_adopt` of a job that waits for others: its edges first. Of a new one all that it waits for must be there, and
    is waited for (NotJsonError); for one that has come back, what is gone counts as fulfilled."""
    id = _id_of(reservation)
    fields = body.decode(data)
    try:
        if returned is None:
            entry.require_there(layout, id, fields)
        else:
            logs.append_note(reservation.fd, "retry", "by hand: its file was moved back to pending")
        target = entry.again(layout, id, fields, job.priority if returned is None else returned.priority)
        move = _asking(target, job)
        moved = files.move_new(path, layout.job(*move))
    except FileExistsError as error:
        reservation.give_up()
        raise InvalidJobError([f"duplicate: {error.filename2} exists"]) from None
    except NotFoundError as error:
        reservation.give_up()
        raise NotJsonError(error.what, "it is waited for") from None
    except UsageError as error:
        reservation.give_up()
        raise InvalidJobError([error.what]) from None
    except OSError:
        reservation.give_up()
        raise
    if not moved:
        reservation.give_up()
        entry.leave(layout, id, fields)
        return None
    if move != target:
        try:
            asked = _ask(layout, move, target, reservation.fd, fd, returned, swap)
        finally:
            reservation.keep()
        if returned is not None and asked is not None:
            dependents.inform(layout, id, (State.PENDING, asked))
        assert asked is None or isinstance(asked, PendingName)
        return asked
    reservation.keep()
    if returned is not None:
        dependents.inform(layout, id, move)
    place = entry.settle(layout, [id]).get(id)
    name = move.name if place is None else place[1]
    return name if isinstance(name, PendingName) else None


def _require_new_id(job: Body, text: str, *, is_new: bool) -> None:
    """Raise InvalidJobError for a file of that name whose id no new job can have, or that is a copy of another."""
    if is_new and not groups.is_new_id(job.id or ""):
        raise InvalidJobError([f"the id {job.id!r} has a dot at its end, or two in a row"])
    if job.id is None and looks_copied(text):
        raise InvalidJobError([_COPY])


def _reserve_new(layout: Layout, text: str, group: str | None = None) -> Reservation:
    """An id made of its group, the file's stem, and a random suffix."""
    while True:
        id = id_from_file_name(text, identity.random_text(6))
        if group is not None and not is_valid_id(id := groups.join(group, id)):
            id = groups.join(group, identity.random_text(12))
        with suppress(AlreadyExistsError):
            return reserve(layout, id)


def _reserve_named(layout: Layout, id: str, text: str) -> Reservation:
    """The id that a file of that name in pending/ asks for; whoever adopts the file may have it."""
    if not layout.shared:
        return reserve(layout, id)
    from queuectl.spool.moves import tokens

    return reserve(layout, id, line=tokens.Line(tokens.new_name(layout), source=tokens.hash_of(text)))


def _id_of(reservation: Reservation) -> str:
    return os.path.basename(reservation.path).removesuffix(".log")


def refuse(
    layout: Layout,
    text: str,
    reason: str,
    now: datetime,
    priority: int = DEFAULT_PRIORITY,
    *,
    running: RunningName | None = None,
) -> str | None:
    """Move a file that is not a job to the dead letters; its id there, None if it was gone.

    `text` is its name in pending/; `running` its current name, if it was claimed.
    Its log gets the reason. Raises OSError if it cannot be moved.
    """
    parsed = PendingName.parse(text)
    reservation = _reserve_new(layout, f"{parsed.id}.json" if parsed else text)
    path = layout.job(State.RUNNING, running) if running else layout.job(State.PENDING, text)
    id = _id_of(reservation)
    try:
        logs.append_note(reservation.fd, "refused", f"file={logs.quote(text)} reason={logs.quote(reason)}")
        moved = files.move(path, layout.job(*lifecycle.refuse(id, now, priority)))
    except OSError:
        reservation.give_up()
        raise
    if not moved:
        reservation.give_up()
        return None
    reservation.keep()
    return id
