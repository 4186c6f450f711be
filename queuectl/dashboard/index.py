"""The names of one directory, sorted, in buckets of an hour: counts, ranks and pages without touching them all.

Names sort by time (those of pending/ by priority, then time), and the hour is a prefix of the name, so
sorted buckets in sorted order are the sorted directory. An index never changes once it is built; the
next one reuses the buckets, and the same strings, that did not change.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from queuectl.core.names import HELD_FROM, SUFFIX, is_ignored, looks_finished, looks_pending
from queuectl.core.result import State

FIRST, AGAIN = "first", "again"
"""The tags of pending names: no attempt was made yet, or some were. The tags of finished names are their results."""

_HOUR_ENDS = {State.PENDING: 15, State.RUNNING: 11, State.DONE: 11, State.DEAD: 11}


def _tag_pending(name: str) -> str:
    return FIRST if name[25:27] == "0-" else AGAIN


def _is_held(name: str) -> bool:
    """Whether a pending name is that of a held job."""
    return name[4:8] >= HELD_FROM


def _tag_finished(name: str) -> str:
    fields = name.split("-", 4)
    return fields[3] if len(fields) > 4 else ""


class Bucket:
    """Sorted names; `places` gives the positions of those with one tag."""

    __slots__ = ("_places", "_tag", "names")

    def __init__(self, names: list[str], tag: Callable[[str], str]) -> None:
        self.names = names
        self._tag = tag
        self._places: dict[str, array[int]] | None = None

    @property
    def places(self) -> dict[str, array[int]]:
        """For each tag the ascending positions of its names; computed when first needed, then kept."""
        places = self._places
        if places is None:
            places = {}
            tag = self._tag
            for position, name in enumerate(self.names):
                found = places.setdefault(tag(name), _EMPTY)
                if found is _EMPTY:
                    found = places[tag(name)] = array("I")
                found.append(position)
            self._places = places
        return places


_EMPTY: array[int] = array("I")


class Run(NamedTuple):
    """Consecutive names of one bucket: from `start` to before `stop`, all or those of one tag."""

    bucket: Bucket
    start: int
    stop: int
    tag: str | None = None

    def ends(self) -> tuple[array[int], int, int]:
        places = self.bucket.places.get(self.tag or "", _EMPTY)
        return places, bisect_left(places, self.start), bisect_left(places, self.stop)

    def size(self) -> int:
        if self.tag is None:
            return self.stop - self.start
        _, first, last = self.ends()
        return last - first

    def slice(self, offset: int, limit: int, *, backwards: bool) -> list[str]:
        """Up to `limit` names after the first `offset`, counted from the end if `backwards`."""
        names = self.bucket.names
        if self.tag is None:
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


class Shelf:
    """All names of one state's directory that are ours; `foreign` counts other files that a worker may adopt."""

    def __init__(self, state: State, buckets: dict[str, Bucket], foreign: int) -> None:
        self.state = state
        self.foreign = foreign
        self._buckets = {key: buckets[key] for key in sorted(buckets)}
        self._keys = list(self._buckets)
        self._starts = list(accumulate((len(bucket.names) for bucket in self._buckets.values()), initial=0))
        self.count = self._starts[-1]

    def select(self, since: str = "", until: str = "~", tag: str | None = None) -> Selection:
        """Names whose time, as text, is from `since` to before `until`."""
        return Selection(self.state, self._runs(since, until, tag))

    def _runs(self, since: str, until: str, tag: str | None) -> Iterator[Run]:
        first, last = since[:11], until[:11]
        for key, bucket in self._buckets.items():
            head, hour = key[:-11], key[-11:]
            if first <= hour <= last:
                names = bucket.names
                start = bisect_left(names, head + since) if hour == first else 0
                stop = bisect_left(names, head + until) if hour == last else len(names)
                yield Run(bucket, start, stop, tag)

    def due(self, now: str, since: str = "") -> Selection:
        """Pending names whose time has come at `now`, which is such as 20261124T034300.120Z."""
        return self.select(since, f"{now}-~")

    def later(self, now: str, tag: str) -> Selection:
        """Pending names whose time has not come yet: those to run for the FIRST time, or AGAIN. None is held."""
        return self.select(f"{now}-~", HELD_FROM, tag)

    def held(self) -> Selection:
        """Pending names of held jobs."""
        return self.select(HELD_FROM)

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
        return self.foreign == other.foreign and self._buckets == other._buckets


def build(state: State, listing: Iterable[str], old: Shelf | None) -> Shelf:
    """An index of a directory's names, given in any order; what did not change is reused from the old one."""
    end = _HOUR_ENDS[state]
    is_ours = looks_pending if state is State.PENDING else looks_finished
    groups: dict[str, list[str]] = {}
    foreign = 0
    for name in listing:
        if not is_ours(name):
            foreign += not is_ignored(name)
            continue
        group = groups.get(name[:end])
        if group is None:
            groups[name[:end]] = [name]
        else:
            group.append(name)
    tag = _tag_pending if state is State.PENDING else _tag_finished
    buckets = {key: _merge(old.bucket(key) if old else None, names, tag) for key, names in groups.items()}
    return Shelf(state, buckets, foreign)


def _merge(old: Bucket | None, names: list[str], tag: Callable[[str], str]) -> Bucket:
    """A sorted bucket. Names that the old one has keep its strings, and are not sorted again."""
    if old is None:
        names.sort()
        return Bucket(names, tag)
    fresh = set(names)
    kept = [name for name in old.names if name in fresh]
    if len(kept) == len(old.names) == len(fresh):
        return old
    fresh.difference_update(kept)
    kept.extend(sorted(fresh))
    kept.sort()
    return Bucket(kept, tag)
