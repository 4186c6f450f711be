"""The names of one directory, sorted, in buckets of an hour: counts, ranks and pages without touching them all.

Names sort by time (those of pending/ by priority, then time), and the hour is a prefix of the name, so
sorted buckets in sorted order are the sorted directory. An index never changes once it is built; the
next one reuses the buckets, and the same strings, that did not change.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from queuectl.core import groups
from queuectl.core.names import (
    HELD_FROM,
    SUFFIX,
    WAITING_AT,
    format_time,
    is_ignored,
    looks_finished,
    looks_meant,
    looks_pending,
)
from queuectl.core.result import State

FIRST, AGAIN = "first", "again"
"""The tags of pending names: no attempt was made yet, or some were. The tags of finished names are their results."""

MOST_OTHERS = 100
"""Names of files that are not jobs which a shelf keeps."""
_FIELDS_BEFORE_ID = {State.PENDING: 3, State.RUNNING: 4, State.DONE: 5, State.DEAD: 5}
_END = -len(SUFFIX)
_WAITING = format_time(WAITING_AT)
_HOUR_ENDS = {State.PENDING: 15, State.RUNNING: 11, State.DONE: 11, State.DEAD: 11}


def _tag_pending(name: str) -> str:
    return FIRST if name[25:27] == "0-" else AGAIN


def _is_held(name: str) -> bool:
    """Whether a pending name is that of a held job, or of one that waits for others."""
    return name[4:8] >= HELD_FROM


def _is_in(name: str, those: Collection[str]) -> bool:
    """Whether a pending name is that of a job in any of these groups."""
    id = name[:_END].split("-", _FIELDS_BEFORE_ID[State.PENDING])[-1]
    return any(group in those for group in groups.of(id))


def _tag_finished(name: str) -> str:
    fields = name.split("-", 4)
    return fields[3] if len(fields) > 4 else ""


class Bucket:
    """Sorted names of one state; `places` gives the positions of those with one tag, `find` of those of a group."""

    __slots__ = ("_found", "_groups", "_places", "_state", "names")

    def __init__(self, names: list[str], state: State) -> None:
        self.names = names
        self._state = state
        self._places: dict[str, array[int]] | None = None
        self._groups: dict[str, int] | None = None
        self._found: dict[tuple[str | None, str], array[int]] = {}

    @property
    def places(self) -> dict[str, array[int]]:
        """For each tag the ascending positions of its names; computed when first needed, then kept."""
        places = self._places
        if places is None:
            places = {}
            tag = _tag_pending if self._state is State.PENDING else _tag_finished
            for position, name in enumerate(self.names):
                found = places.setdefault(tag(name), _EMPTY)
                if found is _EMPTY:
                    found = places[tag(name)] = array("I")
                found.append(position)
            self._places = places
        return places

    def find(self, tag: str | None, group: str) -> array[int]:
        """The ascending positions of the names with a tag (None: any) of jobs in a group (empty: in any, or none)."""
        if not group:
            return self.places.get(tag or "", _EMPTY)
        found = self._found.get((tag, group))
        if found is None:
            if len(self._found) >= _KEPT:
                self._found.clear()
            start, mark, names, fields = f"{group}.", f"-{group}.", self.names, _FIELDS_BEFORE_ID[self._state]
            among = range(len(names)) if tag is None else self.places.get(tag, _EMPTY)
            ids = ((at, names[at][:_END].split("-", fields)[-1]) for at in among if mark in names[at])
            found = array("I", (at for at, id in ids if id.startswith(start)))
            self._found[tag, group] = found
        return found

    @property
    def groups(self) -> dict[str, int]:
        """How many names there are of each group; computed when first needed, then kept."""
        if self._groups is None:
            self._groups = count_groups(self._state, self.names)
        return self._groups


_EMPTY: array[int] = array("I")
_KEPT = 32  # answers of `Bucket.find`


def count_groups(state: State, names: Iterable[str]) -> dict[str, int]:
    """How many of these names are of jobs of each group. A job belongs to every group that its id names."""
    fields = _FIELDS_BEFORE_ID[state]
    parents = Counter([name[:_END].split("-", fields)[-1].rpartition(".")[0] for name in names])
    found: dict[str, int] = {}
    for parent, number in parents.items():
        for group in groups.of(f"{parent}.x") if parent else ():
            found[group] = found.get(group, 0) + number
    return found


class Run(NamedTuple):
    """Consecutive names of one bucket: from `start` to before `stop`, all or those of one tag, or of one group."""

    bucket: Bucket
    start: int
    stop: int
    tag: str | None = None
    group: str = ""

    def ends(self) -> tuple[array[int], int, int]:
        places = self.bucket.find(self.tag, self.group)
        return places, bisect_left(places, self.start), bisect_left(places, self.stop)

    @property
    def is_whole(self) -> bool:
        return self.tag is None and not self.group

    def size(self) -> int:
        if self.is_whole:
            return self.stop - self.start
        _, first, last = self.ends()
        return last - first

    def slice(self, offset: int, limit: int, *, backwards: bool) -> list[str]:
        """Up to `limit` names after the first `offset`, counted from the end if `backwards`."""
        names = self.bucket.names
        if self.is_whole:
            places: range | array[int] = range(self.start, self.stop)
        else:
            found, first, last = self.ends()
            places = found[first:last]
        if backwards:
            last_place = len(places) - offset
            chosen = places[max(0, last_place - limit) : max(0, last_place)][::-1]
        else:
            chosen = places[offset : offset + limit]
        return [names[place] for place in chosen]


class Selection:
    """Some names of one state in the order people want them: as in `ls`, finished ones newest first."""

    def __init__(self, state: State, runs: Iterable[Run]) -> None:
        self.state = state
        self.backwards = state in (State.DONE, State.DEAD)
        found = [run for run in runs if run.stop > run.start]
        self.runs = found[::-1] if self.backwards else found
        self.count = sum(run.size() for run in self.runs)

    def slice(self, offset: int, limit: int) -> list[str]:
        """A page of names; whole buckets before it are skipped by their counts."""
        page: list[str] = []
        for run in self.runs:
            count = run.size()
            if offset >= count:
                offset -= count
                continue
            page += run.slice(offset, limit - len(page), backwards=self.backwards)
            offset = 0
            if len(page) >= limit:
                break
        return page

    def __iter__(self) -> Iterator[str]:
        for run in self.runs:
            yield from run.slice(0, run.stop - run.start, backwards=self.backwards)


class Listed(Selection):
    """Names of one state in an order of their own."""

    def __init__(self, state: State, names: list[str]) -> None:
        super().__init__(state, ())
        self._names = names
        self.count = len(names)

    def slice(self, offset: int, limit: int) -> list[str]:
        return self._names[offset : offset + limit]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)


class Shelf:
    """All names of one state's directory that are ours; `foreign` counts other files that a worker may adopt, `others`
    are the first of those in text order, and of what may have been meant as a job."""

    def __init__(self, state: State, buckets: dict[str, Bucket], foreign: int, others: Iterable[str] = ()) -> None:
        self.state = state
        self.foreign = foreign
        self.others = sorted(others)[:MOST_OTHERS]
        self._buckets = {key: buckets[key] for key in sorted(buckets)}
        self._keys = list(self._buckets)
        self._starts = list(accumulate((len(bucket.names) for bucket in self._buckets.values()), initial=0))
        self.count = self._starts[-1]
        self._groups: dict[str, int] | None = None

    def select(self, since: str = "", until: str = "~", tag: str | None = None, group: str = "") -> Selection:
        """Names whose time, as text, is from `since` to before `until`, with a tag, of a group."""
        return Selection(self.state, self._runs(since, until, tag, group))

    def _runs(self, since: str, until: str, tag: str | None, group: str) -> Iterator[Run]:
        first, last = since[:11], until[:11]
        for key, bucket in self._buckets.items():
            head, hour = key[:-11], key[-11:]
            if first <= hour <= last:
                names = bucket.names
                start = bisect_left(names, head + since) if hour == first else 0
                stop = bisect_left(names, head + until) if hour == last else len(names)
                yield Run(bucket, start, stop, tag, group)

    def due(self, now: str, since: str = "", group: str = "") -> Selection:
        """Pending names whose time has come at `now`, which is such as 20261124T034300.120Z."""
        return self.select(since, f"{now}-~", group=group)

    def later(self, now: str, tag: str, group: str = "") -> Selection:
        """Pending names whose time has not come yet: those to run for the FIRST time, or AGAIN. None is held."""
        return self.select(f"{now}-~", HELD_FROM, tag, group)

    def held(self, group: str = "") -> Selection:
        """Pending names of held jobs. The waiting time is the first of all times in 9999."""
        return self.select(f"{_WAITING}-~", group=group)

    def waiting(self, group: str = "") -> Selection:
        """Pending names of jobs that wait for others."""
        return self.select(_WAITING, f"{_WAITING}-~", group=group)

    def _split(self, now: str) -> Iterator[tuple[Bucket, int]]:
        hour = now[:11]
        for key, bucket in self._buckets.items():
            if key[4:] == hour:
                yield bucket, bisect_right(bucket.names, f"{key[:4]}{now}-~")
            else:
                yield bucket, len(bucket.names) if key[4:] < hour else 0

    def rank(self, text: str) -> int:
        """How many names of running/, done/ or dead/ are before `text`."""
        at = bisect_right(self._keys, text[:11]) - 1
        if at < 0:
            return 0
        return self._starts[at] + bisect_left(self._buckets[self._keys[at]].names, text)

    def due_before(self, name: str, now: str) -> int:
        """How many pending jobs that are due start before the one of that name."""
        before = 0
        for bucket, at in self._split(now):
            if bucket.names[0] >= name:
                break
            before += min(at, bisect_left(bucket.names, name))
        return before

    def soonest(self, now: str) -> tuple[str | None, str | None]:
        """The run_at of the pending job that has been due longest, and of the next one that becomes due."""
        oldest, next_at = None, None
        for bucket, at in self._split(now):
            if at:
                oldest = min(oldest or "~", bucket.names[0][4:24])
            if at < len(bucket.names) and not _is_held(bucket.names[at]):
                next_at = min(next_at or "~", bucket.names[at][4:24])
        return oldest, next_at

    def oldest_due(self, now: str, without: Collection[str]) -> str | None:
        """The run_at of the pending job that has been due longest, of those in none of these groups, none of which is
        in another of them. A bucket that has no others is skipped as a whole."""
        oldest = None
        for bucket, at in self._split(now):
            if at and sum(bucket.groups.get(name, 0) for name in without) < len(bucket.names):
                others = (name for name in bucket.names[:at] if not _is_in(name, without))
                oldest = min(oldest or "~", next(others, "~~~~~")[4:24])
        return None if oldest in (None, "~") else oldest

    def next_at(self, now: str, tag: str) -> str | None:
        """The soonest run_at after `now` of a pending job with that tag."""
        times = []
        for bucket, at in self._split(now):
            places, first, last = Run(bucket, at, len(bucket.names), tag).ends()
            if first < last and not _is_held(bucket.names[places[first]]):
                times.append(bucket.names[places[first]][4:24])
        return min(times, default=None)

    def tags(self) -> dict[str, int]:
        """How many names have each tag."""
        totals: dict[str, int] = {}
        for bucket in self._buckets.values():
            for tag, places in bucket.places.items():
                totals[tag] = totals.get(tag, 0) + len(places)
        return totals

    def groups(self) -> dict[str, int]:
        """How many names there are of each group."""
        if self._groups is None:
            self._groups = _sum(bucket.groups for bucket in self._buckets.values())
        return self._groups

    def groups_since(self, since: str) -> dict[str, int]:
        """The same of names of running/, done/ or dead/ from a time on; only the hour of that time is counted again."""
        hour = since[:11]
        return _sum(
            bucket.groups if key > hour else count_groups(self.state, bucket.names[bisect_left(bucket.names, since) :])
            for key, bucket in self._buckets.items()
            if key >= hour
        )

    def groups_due(self, now: str) -> dict[str, int]:
        """The same of pending jobs that are due."""
        return _sum(
            bucket.groups if at == len(bucket.names) else count_groups(self.state, bucket.names[:at])
            for bucket, at in self._split(now)
            if at
        )

    def find(self, id: str) -> str | None:
        """The newest name that ends with this id; foreign look-alikes included."""
        end = f"-{id}{SUFFIX}"
        for bucket in reversed(self._buckets.values()):
            for name in reversed(bucket.names):
                if name.endswith(end):
                    return name
        return None

    def bucket(self, key: str) -> Bucket | None:
        return self._buckets.get(key)

    def is_same_as(self, other: Shelf) -> bool:
        """Whether nothing has changed since the other one was built."""
        return (self.foreign, self.others) == (other.foreign, other.others) and self._buckets == other._buckets


def build(state: State, listing: Iterable[str], old: Shelf | None) -> Shelf:
    """An index of a directory's names, given in any order; what did not change is reused from the old one."""
    end = _HOUR_ENDS[state]
    is_ours = looks_pending if state is State.PENDING else looks_finished
    hours: dict[str, list[str]] = {}
    foreign = 0
    others = []
    for name in listing:
        if not is_ours(name):
            foreign += (is_foreign := not is_ignored(name))
            if is_foreign or looks_meant(name):
                others.append(name)
            continue
        hour = hours.get(name[:end])
        if hour is None:
            hours[name[:end]] = [name]
        else:
            hour.append(name)
    buckets = {key: _merge(old.bucket(key) if old else None, names, state) for key, names in hours.items()}
    return Shelf(state, buckets, foreign, others)


def _sum(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def _merge(old: Bucket | None, names: list[str], state: State) -> Bucket:
    """A sorted bucket. Names that the old one has keep its strings, and are not sorted again."""
    if old is None:
        names.sort()
        return Bucket(names, state)
    fresh = set(names)
    kept = [name for name in old.names if name in fresh]
    if len(kept) == len(old.names) == len(fresh):
        return old
    fresh.difference_update(kept)
    kept.extend(sorted(fresh))
    kept.sort()
    return Bucket(kept, state)
