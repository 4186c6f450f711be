"""Taking: a file that another user has put into inbox/ becomes one job of our own, whatever dies on the way.

    inbox/any.json --take--> taken/USER.RANDOM --finish--> pending/…-USER.RANDOM.json, and it is removed

Before each of the two steps it has an entry in outbox/, by which its owner learns what has become of it (`outbox`).

A file is checked through one descriptor: who owns it, that nobody else can write to it, that it is complete. Then it
is renamed to the id of the job that it becomes, and from there any worker may finish it, at once or years later: read
its bytes once, reserve that id, *check that it is still there* (if not, another worker has finished it), publish the
content as a file of our own, remove it. So no file, name or link of another user is ever a job, and what its owner does
to it afterwards affects only a file that nobody reads any more. `prune` keeps a job while its taken file is there, or
a worker that has read it and was stopped would find the id free and submit it again.

Whether a user may hand in jobs is checked when a file is taken, and not again: it was accepted then, like a pending
job. A file that turns out not to be a job goes to the dead letters in the same steps, as a copy.

tests/model/inbox.py searches every interleaving of these steps; tests/torture/syscalls.py kills at each call.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from queuectl.core import body, lifecycle
from queuectl.core.job import Job
from queuectl.core.names import SUFFIX, is_valid_id
from queuectl.core.result import State
from queuectl.errors import (
    AlreadyExistsError,
    InvalidJobError,
    NotFoundError,
    NotJsonError,
    QueuectlError,
    SpoolError,
    UsageError,
)
from queuectl.spool.moves import outbox
from queuectl.spool.moves.reserved import IdInFlightError, UnwantedError
from queuectl.spool.moves.submit import reserve, submit
from queuectl.spool.reading import query
from queuectl.spool.system import files, lease, logs, trust
from queuectl.spool.system.layout import Layout, unusable
from queuectl.tuples import NamedTuple

if TYPE_CHECKING:
    from queuectl.spool.moves.unique import Swap

Allows = Callable[[int], bool]
"""Whether the files of the user with that uid are taken."""

_RANDOM = 12
_DEEPEST = 100  # levels of arrays and objects in a body: to read and write it takes as many stack frames, and more
_LONGEST_USER = 100 - 1 - _RANDOM


class UnfitError(QueuectlError):
    """A file of inbox/ that is not taken as it is; its owner may fix it."""


def user_of(name: str) -> str:
    """The prefix of the ids of a user's jobs: the user's name, as far as it fits into an id."""
    text = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    return (text if re.match(r"[A-Za-z0-9]", text) else f"u{text}")[:_LONGEST_USER]


def submitter_of(uid: int) -> str:
    """The user's name; `uid1000` for a user without a name."""
    try:
        return pwd.getpwuid(uid).pw_name or f"uid{uid}"
    except KeyError:
        return f"uid{uid}"


def new_id(uid: int) -> str:
    return f"{user_of(submitter_of(uid))}.{lease.random_text(_RANDOM)}"


def list_taken(layout: Layout, most: int) -> list[str]:
    """Up to `most` ids of files that were taken and are not finished."""
    try:
        with os.scandir(layout.taken) as entries:
            return [entry.name for entry in islice(entries, most) if is_valid_id(entry.name)]
    except FileNotFoundError:
        return []


# --- taking


def take(layout: Layout, text: str, allows: Allows, *, is_whole: bool = True) -> str | None:
    """Move a file of inbox/ to taken/; the id of the job that it becomes, None if it is gone.

    Raises NotJsonError while it does not parse, unless it is to be taken as it is (`is_whole` false), and
    UnfitError for a file that is not taken: not a regular file, of a user who is not allowed, with another name, too
    large, writable by others, or not readable.

    CRASH: after the rename any worker finishes it (tests/torture/syscalls.py).
    """
    path = f"{layout.inbox}/{text}"
    try:
        fd = _open(path)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(fd)
        _require_fit(status, allows)
        if is_whole:
            with suppress(InvalidJobError):  # an object, though not a job: complete
                body.decode(files.read_descriptor(fd, path).data)
    except files.NotRegularError:  # what other file systems report for the same thing
        raise UnfitError("it is not a regular file") from None
    finally:
        os.close(fd)
    id = new_id(status.st_uid)
    taken = layout.taken_file(id)
    try:
        outbox.begin(layout, id, text)
    except OSError as error:
        raise unusable(layout.root, error) from error
    try:
        if not files.move(path, taken):
            outbox.withdraw(layout, id)
            return None
        # RACE: its owner may have replaced it since it was checked: the replacement goes back
        # (tests/work/test_dropbox_attack.py).
        if os.path.samestat(os.lstat(taken), status):
            return id
    except FileNotFoundError:
        return None  # another worker has finished it already
    except OSError as error:
        outbox.withdraw(layout, id)
        raise UnfitError(f"it cannot be moved: {error.strerror}") from None
    give_back(layout, id)
    return None


def why_unfit(layout: Layout, text: str, allows: Allows) -> str:
    """Why a file of inbox/ is not taken as it is; empty if it is taken once it parses, or if it is gone."""
    try:
        fd = _open(f"{layout.inbox}/{text}")
        try:
            _require_fit(os.fstat(fd), allows)
        finally:
            os.close(fd)
    except FileNotFoundError:
        return ""
    except UnfitError as error:
        return error.what
    return ""


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnfitError(_why_unreadable(error)) from None


def _why_unreadable(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
        return "it is not a regular file"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "it cannot be read: chmod a+r"
    return f"it cannot be read: {error.strerror}"


def _require_fit(status: os.stat_result, allows: Allows) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnfitError("it is not a regular file")
    if not allows(status.st_uid):
        raise UnfitError(f"it belongs to {trust.name_of(status.st_uid)}, who is not in the setting allow-users")
    if status.st_mode & 0o022:
        raise UnfitError("others can write to it: chmod go-w")
    if status.st_nlink != 1:
        raise UnfitError("it has another name (a hard link)")
    if status.st_size > body.MAX_BODY:
        raise UnfitError(f"it is larger than {body.MAX_BODY} bytes")


def give_back(layout: Layout, id: str) -> None:
    """Put a file that is not the one that was checked back into inbox/, to be checked again, if it can be moved.

    RACE: another worker may be making a job of it. So this is done under the id's reservation, like that; else the
    file would become a job there, and another one from inbox/ (tests/model/inbox.py).
    """
    try:
        reservation = reserve(layout, id)
    except AlreadyExistsError:
        return
    except OSError as error:
        raise unusable(layout.root, error) from error
    with suppress(OSError):
        files.move_new(layout.taken_file(id), f"{layout.inbox}/{id}{SUFFIX}")
    reservation.give_up()


# --- finishing


class Finished(NamedTuple):
    """The outcome for a taken file: a job, or, with a `reason`, a dead letter of that id."""

    id: str
    job: Job | None = None
    reason: str = ""


def finish(layout: Layout, ids: Sequence[str], now: datetime, swap: Swap | None = None) -> list[Finished]:
    """Make jobs of taken files, durably; returns those that this call has made, or refused.

    The others are gone, finished by another worker, or being finished right now: look again later.
    Raises SpoolError if the spool cannot take them; they stay in taken/.
    """
    requests: dict[str, dict[str, Any]] = {}
    finished: list[Finished] = []
    for id in ids:
        content = _read(layout, id)
        if content is None:
            continue
        try:
            requests[id] = _fields_of(id, content)
        except (NotJsonError, InvalidJobError) as error:
            finished += _refuse(layout, id, error, content.data, content.owner, now)
    outcomes = submit(
        layout,
        list(requests.values()),
        now,
        is_wanted=lambda id: _has_entry(layout, id),
        keeps_skipped=True,
        swap=swap,
    )
    if requests:
        outbox.sync(layout)
    for (id, fields), outcome in zip(requests.items(), outcomes, strict=True):
        if isinstance(outcome, Job):
            files.remove(layout.taken_file(id))
            finished.append(Finished(id, outcome))
        elif isinstance(outcome, NotFoundError | UsageError):  # too large with its submitter, or waits for what is gone
            finished += _refuse(layout, id, outcome, body.encode(fields), None, now)
        else:
            _settle(layout, id, outcome)
    return finished


def _has_entry(layout: Layout, id: str) -> bool:
    """Whether the taken file is there; its entry is, then. Raises OSError if that is unknown, or cannot be."""
    is_there = _is_there(layout, id)
    if is_there:
        outbox.ensure(layout, id)
    return is_there


def _is_there(layout: Layout, id: str) -> bool:
    """Whether the taken file is there. Raises OSError if that is unknown: neither answer would be safe."""
    try:
        os.lstat(layout.taken_file(id))
    except FileNotFoundError:
        return False
    return True


def _read(layout: Layout, id: str) -> files.Content | None:
    """The bytes, read once; None if the file is gone, or was not a regular file and has been given back."""
    try:
        content = files.read(layout.taken_file(id))
    except FileNotFoundError:
        return None
    except (files.NotRegularError, PermissionError):
        # RACE: replaced at the instant of the rename, or made unreadable since, by the user who owned the file
        # (tests/work/test_dropbox_attack.py).
        give_back(layout, id)
        return None
    except OSError as error:
        raise unusable(layout.root, error) from error
    if len(content.data) > body.MAX_BODY:  # it has grown
        give_back(layout, id)
        return None
    return content


def _fields_of(id: str, content: files.Content) -> dict[str, Any]:
    """The body of the job: the file's fields, with our id and the submitter, as bytes that parse again."""
    fields = body.decode(content.data)
    whole = _ours(fields, id, _submitter(id, content.owner))
    if _is_deeper(whole, _DEEPEST):
        raise InvalidJobError([f"nested deeper than {_DEEPEST}"])
    try:
        body.decode(body.encode(whole))  # 1e999 is a number in JSON, but not once it is read
    except (NotJsonError, ValueError) as error:
        raise InvalidJobError([f"it cannot be written again: {error}"]) from None
    return whole


def _is_deeper(value: object, most: int) -> bool:
    level = [value]
    for _ in range(most):
        inner = [each for each in level if isinstance(each, dict | list) and each]
        if not inner:
            return False
        level = [item for each in inner for item in (each.values() if isinstance(each, dict) else each)]
    return True


def _ours(fields: dict[str, Any], id: str, submitter: str) -> dict[str, Any]:
    """Set the fields that another user may not choose."""
    kept = {key: value for key, value in fields.items() if key not in ("id", "group", "submitted_by")}
    return {**kept, "id": id, "submitted_by": submitter}


def _submitter(id: str, owner: int | None) -> str:
    """The user in the name in taken/, which was set when the file was taken; in full if that is still known."""
    user, name = id.rpartition(".")[0], "" if owner is None else submitter_of(owner)
    return name if name and user_of(name) == user else user


def _settle(layout: Layout, id: str, outcome: QueuectlError) -> None:
    """Remove the taken file if its job exists; else leave it to the worker that is finishing it, or to a later look."""
    if isinstance(outcome, SpoolError):
        raise outcome
    if isinstance(outcome, IdInFlightError | UnwantedError) or not isinstance(outcome, AlreadyExistsError):
        return
    held = query.locate(layout, id)
    if held is not None:
        # The worker that published it may have died before it was durable: then only this name exists.
        files.sync_directory(layout.directory(held[0]))
        outbox.sync(layout)
        files.remove(layout.taken_file(id))


def _refuse(
    layout: Layout, id: str, error: QueuectlError, data: bytes, owner: int | None, now: datetime
) -> Iterator[Finished]:
    """The steps of `finish` for a file that is not a job: a copy in the dead letters, with the reason in its log."""
    reason = error.why if isinstance(error, InvalidJobError) else ": ".join(filter(None, (error.what, error.why)))
    try:
        reservation = reserve(layout, id)
    except AlreadyExistsError as taken:
        _settle(layout, id, taken)
        return
    temporary = f"{layout.tmp}/{id}.{lease.random_text(8)}.json"
    try:
        is_there = _has_entry(layout, id)
        if is_there:
            who = _submitter(id, owner)
            note = f"file=inbox submitted_by={logs.quote(who)} reason={logs.quote(reason)}"
            files.write_new(temporary, _for_the_dead(id, who, data))
            logs.append_note(reservation.fd, "refused", note)
            files.publish(temporary, layout.job(*lifecycle.refuse(id, now)))
    except OSError as failure:
        files.remove(temporary)
        reservation.give_up()
        raise unusable(layout.root, failure) from failure
    if not is_there:
        reservation.give_up()
        return
    reservation.keep()
    files.sync_directory(layout.directory(State.DEAD))
    outbox.sync(layout)
    files.remove(layout.taken_file(id))
    yield Finished(id, reason=reason)


def _for_the_dead(id: str, submitter: str, data: bytes) -> bytes:
    """The bytes, unchanged; but an object gets its real submitter, or it could name another user."""
    try:
        fields = body.decode(data)
        text = body.encode(_ours(fields, id, submitter))
        body.decode(text)
    except (NotJsonError, InvalidJobError, RecursionError, ValueError):
        return data
    return text
