"""Who has a key: the highest number of it whose job is not over, as `unique/HASH/N` and the place of its file say.

The protocol is tests/model/unique.py; who asks, and what follows from the answer, is in `unique`.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from queuectl.core.fields import Body
from queuectl.core.job import Job
from queuectl.core.names import FinishedName, PendingName, RunningName
from queuectl.core.result import State
from queuectl.errors import AlreadyExistsError
from queuectl.spool.reading import query
from queuectl.spool.system import keys, lease, logs
from queuectl.spool.system.layout import Layout

_LOOK_AGAIN = 0.002


class HeldError(AlreadyExistsError):
    """Another job has the key."""

    def __init__(self, key: str, id: str, where: str) -> None:
        super().__init__(
            f"the key {key!r} is taken", f"the job {id} has it, which is {where}", f"see: queuectl show {id}"
        )
        self.id = id


class Holder(NamedTuple):
    """The job that has a key. `name` is None if only its processes are left, its file was removed."""

    id: str
    state: State
    name: PendingName | RunningName | None

    @property
    def is_asking(self) -> bool:
        return isinstance(self.name, PendingName) and self.name.is_asking

    @property
    def where(self) -> str:
        return str(self.state) if self.name else "still running, though its file was removed"


class Key(NamedTuple):
    """A key, and where its numbers are."""

    layout: Layout
    text: str
    folder: str

    @classmethod
    def of(cls, layout: Layout, job: Body) -> Key:
        assert job.unique is not None
        return cls(layout, job.unique, keys.folder_of(layout, job))


def temporary(layout: Layout, id: str) -> str:
    return f"{layout.tmp}/{id}.{lease.random_text(8)}.key"


def _locate(key: Key, id: str) -> Holder | None:
    """Where the job of a number is, if it is not over.

    *Not found* by listings may mean that it has just moved back; it is over if it is not found under the lock of its
    log either, or has no log.
    """
    layout = key.layout
    hint = keys.read_hint(key.folder)
    if hint is not None and _is_there(layout.job(*hint)):
        found = _as_holder(*hint, id)
        if found or query.id_in(*hint) == id:
            return found
    for text in query.list_names(layout, State.RUNNING):
        running = RunningName.parse(text)
        if running and running.id == id:
            return Holder(id, State.RUNNING, running)
    place = query.locate(layout, id) or _locate_alone(layout, id)
    if place is None or isinstance(place, Holder):
        return place
    keys.write_hint(layout, key.folder, *place, temporary(layout, id))
    return _as_holder(*place, id)


def _locate_alone(layout: Layout, id: str) -> tuple[State, str] | Holder | None:
    """Where the job is while nobody else starts, submits or deletes it."""
    try:
        log = logs.open_existing(layout.log(id))
    except FileNotFoundError:
        return query.locate(layout, id)
    try:
        if lease.lock_whole(log):
            return query.locate(layout, id)
        return query.locate(layout, id) or Holder(id, State.RUNNING, None)
    finally:
        os.close(log)


def _as_holder(state: State, text: str, id: str) -> Holder | None:
    name = query.parse_name(state, text)
    return Holder(id, state, name) if name and name.id == id and not isinstance(name, FinishedName) else None


def _is_there(path: str) -> bool:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def _find_holder(key: Key, seen: list[keys.Number], id: str) -> Holder | None:
    """The job, other than that one, that has the key by one of these numbers."""
    for number in seen:
        if number.id == id:
            continue
        holder = _locate(key, number.id)
        # One that asks with a lower number has come back since, and sees the higher one.
        if holder and (number == seen[0] or not holder.is_asking):
            return holder
    return None


def find_holder(layout: Layout, job: Body, id: str = "") -> str | None:
    """The id of the job, other than that one, that has the key of such a job; None if it is free."""
    key = Key.of(layout, job)
    holder = _find_holder(key, keys.list_numbers(key.folder), id)
    return holder.id if holder else None


def may_start(layout: Layout, job: Body, id: str) -> bool:
    """Whether a job that has just been claimed has its key: by the highest number, or no job has it by a higher one."""
    key = Key.of(layout, job)
    seen = keys.list_numbers(key.folder)
    mine = next((number for number in seen if number.id == id), None)
    if mine is None:
        return False
    return mine == seen[0] or not _find_holder(key, [number for number in seen if number > mine], id)


def take(key: Key, id: str) -> Holder | None:
    """Get the key for a job, whose log the caller has locked; the job that has it, or None once this one has."""
    while True:
        seen = keys.list_numbers(key.folder)
        holder = _find_holder(key, seen, id)
        if holder:
            return holder
        mine = keys.Number(seen[0].number + 1 if seen else 1, id)
        if not keys.link(key.layout, key.folder, *mine, temporary(key.layout, id)):
            continue
        # RACE: another may have linked a higher one, or the job of a lower one come back (tests/model/unique.py).
        again = keys.list_numbers(key.folder)
        if again and again[0] == mine and not _find_holder(key, again, id):
            for number in again[1:]:
                keys.remove(key.folder, number)
            return None
        keys.remove(key.folder, mine)
        time.sleep(_LOOK_AGAIN)


def note(layout: Layout, job: Body, state: State, name: object) -> None:
    """Note where a job with a key is now, to save others a look. Nothing depends on it."""
    keys.write_hint(layout, keys.folder_of(layout, job), state, name, temporary(layout, "hint"))


def require_free(layout: Layout, job: Job) -> None:
    """Raise HeldError if another job has the key of this one, if it has one."""
    if job.body is not None and job.body.unique is not None:
        id = find_holder(layout, job.body, job.id)
        if id is not None:
            raise HeldError(job.body.unique, id, "waiting or running")
