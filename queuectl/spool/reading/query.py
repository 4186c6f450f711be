"""Reading a spool: listings, counts and single jobs. Reads names; bodies only when needed.

Nothing here takes a lock or changes anything. A job that moves while directories are being listed
may be missed once, so a caller that needs certainty must look again (`locate` does).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from operator import itemgetter
from typing import Protocol

from queuectl.core import body, groups
from queuectl.core.job import Job
from queuectl.core.names import (
    ASKING_AT,
    FINISHED_AMONG,
    FINISHED_FIELDS,
    HELD_FROM,
    PENDING_AMONG,
    PENDING_FIELDS,
    SUFFIX,
    WAITING_AT,
    FinishedName,
    Name,
    PendingName,
    RunningName,
    count_finished,
    count_skipped,
    format_time,
    is_ignored,
    is_valid_id,
    looks_finished,
    looks_meant,
    looks_pending,
    parse_time,
)
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import AmbiguousIdError, InvalidJobError, NotFoundError, NotJsonError
from queuectl.spool.system import files
from queuectl.spool.system.layout import STATES, Layout
from queuectl.spool.system.listing import decode, read_names, read_split
from queuectl.tuples import NamedTuple

_PARSERS = {
    State.PENDING: PendingName.parse,
    State.RUNNING: RunningName.parse,
    State.DONE: FinishedName.parse,
    State.DEAD: FinishedName.parse,
}
_LOOKS: dict[State, Callable[[str], bool]] = {
    State.PENDING: looks_pending,
    State.RUNNING: looks_finished,
    State.DONE: looks_finished,
    State.DEAD: looks_finished,
}
_AMONG = {State.PENDING: PENDING_AMONG, State.DONE: FINISHED_AMONG, State.DEAD: FINISHED_AMONG}
_RUN_AT = slice(4, 24)
_PIECE = 10_000
_LONGEST = 256  # bytes of a name
_PATIENCE = 4  # looks: a job that is retried at once, repeatedly, may move backwards during each of them
_FIELDS = {
    State.PENDING: PENDING_FIELDS,
    State.DONE: FINISHED_FIELDS,
    State.DEAD: FINISHED_FIELDS,
}
_FIELDS_BEFORE_ID = {State.PENDING: 3, State.RUNNING: 4, State.DONE: 5, State.DEAD: 5}


def parse_name(state: State, text: str) -> Name | None:
    """The value of a file name in that state's directory; None if it is foreign there."""
    return _PARSERS[state](text)


def parse_id(state: State, text: str) -> str:
    """The id in a name that is one of ours."""
    name = parse_name(state, text)
    assert name is not None
    return name.id


def running(layout: Layout) -> list[RunningName]:
    """The names in running/ that are ours."""
    names = (RunningName.parse(text) for text in list_names(layout, State.RUNNING))
    return [name for name in names if name is not None]


def list_names(layout: Layout, state: State) -> list[str]:
    """Every name in a state's directory, in no order."""
    return os.listdir(layout.directory(state))


def iterate_names(layout: Layout, state: State, piece: int = _PIECE) -> Iterator[list[str]]:
    """The same in lists of some thousands: memory stays flat, however many there are."""
    with os.scandir(layout.directory(state)) as entries:
        while names := [entry.name for entry in islice(entries, piece)]:
            yield names


def iterate_pending(layout: Layout, pattern: str = PENDING_AMONG) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """The names in pending/, in pieces of some thousands: those that look like ours, and all others."""
    return read_split(layout.directory(State.PENDING), pattern)


class Counts(NamedTuple):
    """How many jobs there are. ready + scheduled + retrying + held + waiting + asking = pending.

    `ready` are due; `scheduled` wait for their first run_at, `retrying` for their backoff, `held` to be released,
    `waiting` for other jobs, `asking` to know whether they have their keys.
    `dropped` counts files in pending/ that no worker has adopted yet, or that may be incomplete; `ignored` those that
    may have been meant as jobs and have the wrong names, one of which is `ignored_name`. Of `done` and `dead`,
    `skipped_done` and `skipped_dead` were not to start, and have not failed.
    """

    ready: int
    scheduled: int
    retrying: int
    running: int
    done: int
    dead: int
    dropped: int
    oldest_ready: datetime | None
    next_run_at: datetime | None
    held: int = 0
    ignored: int = 0
    ignored_name: str = ""
    waiting: int = 0
    asking: int = 0
    skipped_done: int = 0
    skipped_dead: int = 0

    @property
    def pending(self) -> int:
        return self.ready + self.scheduled + self.retrying + self.held + self.waiting + self.asking


def count(layout: Layout, now: datetime) -> Counts:
    """Counts from names alone: one listing of each directory. What asks for a key is held if its body has none."""
    ready = scheduled = retrying = held = waiting = dropped = 0
    ignored: list[str] = []
    may_ask: list[bytes] = []
    oldest, soonest = b"~", b"~"
    asking_on = format_time(ASKING_AT)[:9].encode()
    moment, held_from, waiting_at = format_time(now).encode(), HELD_FROM.encode(), format_time(WAITING_AT).encode()
    for names, others in iterate_pending(layout):
        foreign = decode(others)
        dropped += sum(not is_ignored(name) for name in foreign)
        ignored += filter(looks_meant, foreign)
        beyond = [name for name in names if name[_RUN_AT] > moment]
        due = [name for name in names if name[_RUN_AT] <= moment] if beyond else names
        later = [name for name in beyond if name[_RUN_AT] < held_from]
        first = sum(name[25:27] == b"0-" for name in later)
        ready += len(due)
        is_waiting = sum(name[_RUN_AT] == waiting_at for name in beyond) if len(later) < len(beyond) else 0
        waiting += is_waiting
        if len(later) + is_waiting < len(beyond):
            may_ask += (name for name in beyond if name[_RUN_AT].startswith(asking_on))
        held += len(beyond) - len(later) - is_waiting
        scheduled += first
        retrying += len(later) - first
        oldest = min(oldest, min(map(itemgetter(_RUN_AT), due), default=oldest))
        soonest = min(soonest, min(map(itemgetter(_RUN_AT), later), default=soonest))
    asking = _count_asking(layout, may_ask)
    running = sum(RunningName.parse(name) is not None for name in list_names(layout, State.RUNNING))
    done, skipped_done = _count_ended(layout, State.DONE)
    dead, skipped_dead = _count_ended(layout, State.DEAD)
    times = _parse_optional(oldest), _parse_optional(soonest)
    return Counts(
        ready,
        scheduled,
        retrying,
        running,
        done,
        dead,
        dropped,
        *times,
        held - asking,
        len(ignored),
        min(ignored, default=""),
        waiting,
        asking,
        skipped_done,
        skipped_dead,
    )


def _count_ended(layout: Layout, state: State) -> tuple[int, int]:
    """How many names there are in done/ or dead/, and how many of them are of jobs that were skipped."""
    number = skipped = 0
    for text in read_names(layout.directory(state)):
        number += count_finished(text)
        skipped += count_skipped(text)
    return number, skipped


def _count_asking(layout: Layout, names: list[bytes]) -> int:
    """How many of these names, of the asking time, are of jobs with keys; without `unique/` nobody asks."""
    if not names or files.is_gone(layout.unique):
        return 0
    jobs = (load(layout, State.PENDING, name) for name in decode(names))
    return sum(job is not None and job.body is not None and job.body.unique is not None for job in jobs)


def front(layout: Layout, now: datetime, *, excluding: PendingName) -> PendingName | None:
    """The first in line of the due jobs other than `excluding`; None if there is none."""
    due, mine = format_time(now).encode(), str(excluding).encode()
    first, limit = None, b"\xff"
    for names, _ in iterate_pending(layout):
        for name in sorted(name for name in names if name < limit and name[_RUN_AT] <= due and name != mine):
            parsed = PendingName.parse(os.fsdecode(name))
            if parsed is not None:
                first, limit = parsed, name
                break
    return first


def _parse_optional(text: bytes) -> datetime | None:
    try:
        return None if text == b"~" else parse_time(text.decode())
    except ValueError:  # a foreign name that only looked like one of ours
        return None


def names_with(layout: Layout, state: State, text: str) -> Iterator[str]:
    """The names of a state that look like ours and may contain that text."""
    if state not in _AMONG:
        yield from list_names(layout, state)
        return
    for names, _ in read_split(layout.directory(state), _AMONG[state], os.fsencode(text)):
        yield from decode(names)


def locate(layout: Layout, id: str, *, excluding: str | None = None) -> tuple[State, str] | None:
    """Where the job of exactly this id is (state, name); None if the spool does not hold it.

    `excluding` is the path of a file that does not count. Looks twice, because a job that moves
    backwards (a retry) between two listings would be missed.
    """
    for _ in range(2):
        found = None
        for state in STATES:
            for name in names_with(layout, state, f"-{id}.json"):
                if not name.endswith(f"-{id}.json") or layout.job(state, name) == excluding:
                    continue
                parsed = parse_name(state, name)
                if parsed is not None and parsed.id == id:
                    found = state, name
        if found:
            return found
    return None


def locate_once(layout: Layout, id: str) -> tuple[State, Name] | None:
    """Where the job of exactly this id is, as one listing of each directory shows it."""
    found = None
    for state in STATES:
        for text in names_with(layout, state, f"-{id}.json"):
            if text.endswith(f"-{id}.json") and (name := parse_name(state, text)) is not None and name.id == id:
                found = state, name
    return found


def find_files(layout: Layout, ids: Collection[str]) -> dict[str, list[tuple[State, str]]]:
    """Where the jobs of these ids are, each id with all its files; one listing of each directory, however many."""
    found: dict[str, list[tuple[State, str]]] = {}
    for state in STATES if ids else ():
        skip = _FIELDS_BEFORE_ID[state]
        for names in iterate_names(layout, state):
            for name in names:
                id = name.split("-", skip)[-1].removesuffix(SUFFIX)
                if id in ids and (parsed := parse_name(state, name)) and parsed.id == id:
                    found.setdefault(id, []).append((state, name))
    return found


class Locate(Protocol):
    """What `locate` does, or does for many."""

    def __call__(self, layout: Layout, id: str, *, excluding: str | None = None) -> tuple[State, str] | None: ...


def locate_together(ids: Collection[str]) -> Locate:
    """`locate` for these ids that looks (twice) when it is first called, and answers every call from that.

    It does not see later files; a second file of an id is then detected when it is claimed.
    """
    looks: list[dict[str, list[tuple[State, str]]]] = []

    def answer(layout: Layout, id: str, *, excluding: str | None = None) -> tuple[State, str] | None:
        if not looks:
            looks.extend(find_files(layout, ids) for _ in range(2))
        places = (place for look in looks for place in look.get(id, ()))
        return next((place for place in places if layout.job(*place) != excluding), None)

    return answer


def match_ids(layout: Layout, prefix: str, states: tuple[State, ...] = STATES) -> dict[str, tuple[State, str]]:
    """Every id that starts with `prefix`, and where its job is."""
    found = {}
    for state in states:
        skip = _FIELDS_BEFORE_ID[state]
        for name in names_with(layout, state, f"-{prefix}"):
            fields = name.split("-", skip)
            if len(fields) > skip and fields[skip].startswith(prefix) and (parsed := parse_name(state, name)):
                found[parsed.id] = state, name
    return found


def some_ids(layout: Layout, prefix: str, states: tuple[State, ...], most: int) -> list[str]:
    """Up to `most` of the ids that start with `prefix`, sorted, for a shell that completes them among millions.

    If there are more, these begin alike no further than all do, and no more names are read than that takes. Only names
    are read; what is found has not been checked further.
    """
    found = set(match_ids(layout, prefix, tuple(state for state in states if state not in _FIELDS))) - {""}
    common = ""
    for state in states:
        for piece in read_names(layout.directory(state)) if state in _FIELDS else ():
            for id in _ids_in(piece, state, prefix, common):
                found.add(id)
                if len(found) >= 2 * most:
                    found = {*sorted(found)[: most - 1], max(found)}
                    common = _common(min(found), max(found))
                    if common == prefix:
                        return sorted(found)
    return sorted(found) if len(found) <= most else [*sorted(found)[: most - 1], max(found)]


def _common(one: str, other: str) -> str:
    """What two texts begin with."""
    return next((one[:at] for at in range(min(len(one), len(other))) if one[at] != other[at]), min(one, other))


def _ids_in(piece: bytes, state: State, prefix: str, common: str) -> Iterator[str]:
    """The ids in a piece of a directory that start with `prefix`, but not with `common`, if that is given."""
    start, wanted = os.fsencode(prefix), re.compile(_FIELDS[state] + rb"([^\0]*)\.json\0")
    if common:
        rest = re.escape(os.fsencode(common)[len(start) :])
        before = rb"\0\x08" if b"\0\x08" in piece else rb"[\0-\x0e]"
        fields = rb"[^-\0]*+-" * _FIELDS_BEFORE_ID[state]
        others = re.compile(rb"%b(%b%b(?!%b)[^\0]*+\0)" % (before, fields, re.escape(start), rest))
        found: Iterable[re.Match[bytes] | None] = map(wanted.match, others.findall(piece))
    else:
        found = (wanted.match(piece, at) for at in _starts(piece, b"-" + start))
    for match in found:
        id = os.fsdecode(match[1]) if match else ""
        if id.startswith(prefix) and is_valid_id(id):
            yield id


def _starts(piece: bytes, part: bytes) -> Iterator[int]:
    """Where the names begin, in a piece of a directory, that have this part."""
    at = piece.find(part)
    while at >= 0:
        yield 1 + max(piece.rfind(kind, max(0, at - _LONGEST), at) for kind in (b"\0", b"\x08"))
        at = piece.find(part, piece.find(b"\0", at))


def resolve(layout: Layout, text: str, states: tuple[State, ...] = STATES) -> tuple[State, str]:
    """Where the job is whose id is `text`, or the only one that starts with it and needs no more of its group's name.

    What begins the id of a job up to a dot is the name of a group, of however many jobs, and never that of one job.
    Raises NotFoundError or AmbiguousIdError, or TypeError for anything but a str.
    """
    if not isinstance(text, str):
        raise TypeError(f"id must be str or Job, not {type(text).__name__}")
    if not is_valid_id(text):
        raise NotFoundError(f"no job {text!r}", "that is not an id")
    for _ in range(_PATIENCE):
        found = match_ids(layout, text, states)
        if text in found:
            return found[text]
        group = text.rstrip(".")
        members = sum(groups.is_in(id, group) for id in found)
        if members:
            what = f"{text} is a group of {format_count(members, 'job')}"
            every = f"{group}. with the dot" if text == group else f"queuectl list {group}."
            raise AmbiguousIdError(what, hint=f"one of them: {group}.… in full; all of them: {every}")
        found = {id: place for id, place in found.items() if len(text) > id.rfind(".")}
        if len(found) == 1:
            return next(iter(found.values()))
        if found:
            some = ", ".join(sorted(found)[:4]) + (", …" if len(found) > 4 else "")
            raise AmbiguousIdError(f"{text!r} matches {len(found)} jobs", some, "type more of the id")
    if states == STATES:
        raise NotFoundError(f"no job {text!r}", hint="see: queuectl list")
    raise NotFoundError(f"no job {text!r} in {' or '.join(states)}", hint=f"see: queuectl list --state {states[0]}")


def find(layout: Layout, id: str | Job, states: tuple[State, ...] = STATES) -> Job:
    """The job of that id or unique prefix, with its body; a Job is returned as it is.

    Raises NotFoundError or AmbiguousIdError.
    """
    if isinstance(id, Job):
        return id
    while True:
        job = load(layout, *resolve(layout, id, states))
        if job is not None:
            return job  # else it moved between the listing and the read: look again


def locate_all(layout: Layout, ids: Collection[str], patience: int = _PATIENCE) -> dict[str, tuple[State, str]]:
    """Where the jobs of exactly these ids are; ids that the spool does not hold are missing.

    Lists each directory once for all of them, or up to `patience` times while some are not found: a job that
    moves backwards between two listings is missed.
    """
    found: dict[str, tuple[State, str]] = {}
    for _ in range(patience):
        for state in STATES:
            for name in list_names(layout, state):
                id = id_in(state, name)
                if id is not None and id in ids and parse_name(state, name):
                    found[id] = state, name
        if len(found) == len(ids):
            break
    return found


def id_in(state: State, name: str) -> str | None:
    """The id at the end of a name, without checking the rest of it."""
    fields = name.split("-", _FIELDS_BEFORE_ID[state])
    return fields[-1].removesuffix(SUFFIX) if len(fields) > _FIELDS_BEFORE_ID[state] else None


def load(layout: Layout, state: State, name: str) -> Job | None:
    """The job of that file with its body; None if the file is gone or its name is foreign.

    If the body is invalid, `body` is None and `problem` says why.
    """
    parsed = parse_name(state, name)
    if parsed is None:
        return None
    path = layout.job(state, name)
    fields = content = owner = None
    try:
        found = files.read(path)
        owner = _other_owner(layout, found.owner)
        fields = body.decode(found.data)
        content, problem = body.validate(fields), None
    except FileNotFoundError:
        return None
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
        with suppress(OSError):
            owner = _other_owner(layout, os.lstat(path).st_uid)
    except InvalidJobError as error:
        problem = error.why
    except NotJsonError as error:
        problem = ": ".join(part for part in (error.what, error.why) if part)
    return Job(state, parsed, path, content, fields, problem, owner)


def _other_owner(layout: Layout, uid: int) -> str | None:
    """The name of a file's owner, if that is not the spool's owner."""
    if uid == os.stat(layout.root).st_uid:
        return None
    from queuectl.spool.system import trust  # which loads the tables of users and groups

    return trust.name_of(uid)


def sorted_names(layout: Layout, state: State, limit: int | None) -> Iterator[str]:
    """Names of jobs in the order people want them: pending and running as in `ls`, finished newest first."""
    newest_first = state in (State.DONE, State.DEAD)
    if limit and state in _AMONG:
        first = _first_names(layout, state, limit, newest_first)
        if all(parse_name(state, name) for name in first):
            return iter(first)
    names = sorted(filter(_LOOKS[state], list_names(layout, state)), reverse=newest_first)
    return (name for name in names if parse_name(state, name))


def _first_names(layout: Layout, state: State, limit: int, newest_first: bool) -> list[str]:
    """The first of the names that look like ours; memory stays flat."""
    first: list[bytes] = []
    for names, _ in read_split(layout.directory(state), _AMONG[state]):
        if len(first) == limit:
            last = first[-1]
            names = [name for name in names if (name > last if newest_first else name < last)]  # noqa: PLW2901 - the few
        first = sorted(first + names, reverse=newest_first)[:limit]
    return decode(first)
