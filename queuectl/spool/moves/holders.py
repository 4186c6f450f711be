"""Who has a key: the highest number of it whose job is not over, as `unique/HASH/N` and the place of its file say.

The protocol is tests/model/unique.py; who asks, and what follows from the answer, is in `unique`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection

from queuectl.core.fields import Body
from queuectl.core.job import Job
from queuectl.core.names import FinishedName, PendingName, RunningName
from queuectl.core.result import State
from queuectl.errors import AlreadyExistsError
from queuectl.spool.reading import query
from queuectl.spool.system import edges, identity, keys, lease, logs
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

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
    def is_running(self) -> bool:
        return self.state is State.RUNNING

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
    return f"{layout.tmp}/{id}.{identity.random_text(8)}.key"


def _locate(key: Key, id: str) -> Holder | None:
    """Where the job of a number is, if it is not over.

    *Not found* by listings may mean that it has just moved back; it is over if it is not found under the lock of its
    log either, or has no log.
    """
    layout = key.layout
    hint = (
        None if layout.shared else keys.read_hint(key.folder)
    )  # a name that has gone may seem to be there for seconds
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
        lease.close(log)


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
    """Whether a job that has just been claimed has its key, by the highest number or as the job that the one of the
    highest waits for; and no other job of the key runs.

    RACE: the one that waits may be released at the same time; the claims see each other (tests/model/unique.py).
    """
    key = Key.of(layout, job)
    seen = keys.list_numbers(key.folder)
    mine = next((number for number in seen if number.id == id), None)
    if mine is None:
        return False
    others = {number.id for number in seen} - {id}
    if others and any(query.id_in(State.RUNNING, text) in others for text in query.list_names(layout, State.RUNNING)):
        return False
    if mine == seen[0] or edges.is_open(layout, id, seen[0].id):
        return True
    return not _find_holder(key, [number for number in seen if number > mine], id)


class Answer(NamedTuple):
    """Who has the key: the `holder`, or, if that is None, the job that asked; it waits for `behind` then, if given."""

    holder: Holder | None
    behind: str = ""


class Waits(NamedTuple):
    """That a job may wait for a running one: the name under which it does, and what it waits for anyway."""

    name: PendingName
    known: Collection[str]


def take(key: Key, id: str, waits: Waits | None = None) -> Answer:
    """Get the key for a job, whose log the caller has locked.

    With `waits` it is also had by waiting for the end of a running job, to which there is an edge then.
    """
    layout = key.layout
    while True:
        seen = keys.list_numbers(key.folder)
        holder = _find_holder(key, seen, id)
        # One that had the key already was released before the other had ended: it waits again.
        may_wait = holder is not None and (holder.is_running or seen[0].id == id)
        if layout.shared and holder is None and seen and seen[0].id == id:
            return Answer(None)  # somebody on another host asks for the same job (tests/model/hosts_replies.py)
        behind = holder.id if holder and may_wait and waits else ""
        if holder and not behind:
            return Answer(holder)
        if waits and behind:
            edges.write(layout, id, [behind], edges.Hint(str(waits.name), len({*waits.known, behind})))
        mine = keys.Number(seen[0].number + 1 if seen else 1, id)
        if keys.link(layout, key.folder, *mine, temporary(layout, id)):
            # RACE: another may have linked a higher one, or the job of a lower one come back (tests/model/unique.py).
            again = keys.list_numbers(key.folder)
            if again and again[0] == mine:
                other = _find_holder(key, again, id)
                if other is None or other.id == behind:
                    for number in again[1:] if not behind else ():
                        keys.remove(key.folder, number)
                    return Answer(None, behind)
            keys.remove(key.folder, mine)
            time.sleep(_LOOK_AGAIN)
        if waits and behind and behind not in waits.known:
            edges.forget(layout, id, [behind])


def find_behind(key: Key, id: str) -> list[str]:
    """The running jobs of the key for which the job waits that has it."""
    others = {number.id for number in keys.list_numbers(key.folder)} - {id}
    return sorted(other for other in others if edges.is_open(key.layout, other, id))


def note(layout: Layout, job: Body, state: State, name: object) -> None:
    """Note where a job with a key is now, to save others a look. Nothing depends on it."""
    keys.write_hint(layout, keys.folder_of(layout, job), state, name, temporary(layout, "hint"))


def require_free(layout: Layout, job: Job) -> None:
    """Raise HeldError if another job has the key of this one, if it has one."""
    if job.body is not None and job.body.unique is not None:
        id = find_holder(layout, job.body, job.id)
        if id is not None:
            raise HeldError(job.body.unique, id, "waiting or running")
