"""Which pending job is next: a window of due names in `ls` order, and a heap of the nearest later ones.

Holds names, never bodies, and of a million pending jobs only the first few thousand; `needs_listing` says when
there may be more than the windows show, so that the caller lists the directory again. Has no clock.

Jobs that the worker does not take are not kept at all. Jobs of a group that cannot start now stand in a lane, a window
of their own, so that they are not in the way of those behind them: of a million jobs of a full group in front of
another only so many names are kept, and none is looked at.
"""

from __future__ import annotations

import heapq
import os
import re
from bisect import insort
from collections.abc import Callable, Iterable
from operator import itemgetter

from queuectl.core import groups
from queuectl.core.names import HELD_FROM, are_pending, is_pending, pending_id
from queuectl.spool.system.listing import decode

WINDOW = 30_000
"""Names kept: at about 110 bytes each, 3 MB."""
FIRST_WINDOW = 15_000
"""Names kept of a first listing, for which the first job waits: fewer are sorted sooner."""

_RUN_AT = slice(4, 24)
_BEHIND_ALL = b"\xff" * 256  # in the order of names as bytes, of which none is that long
_OUTERMOST = re.compile(rb"[^-]*-[^-]*-[^-]*-([^.]+)\.(?!json$)")

IsOpen = Callable[[str], bool]
"""Whether jobs of a group may start, as far as that group goes."""


class Lane:
    """Due names in the order in which they start; beyond `last`, if it is not None, there may be more."""

    __slots__ = ("last", "names")

    def __init__(self) -> None:
        self.names: list[str] = []  # descending, so that the next is popped off the end
        self.last: str | None = None

    def fill(self, names: list[str], last: str | None) -> None:
        names.reverse()
        self.names, self.last = names, last

    @property
    def is_short(self) -> bool:
        """Whether a listing may find names although none is left here."""
        return not self.names and self.last is not None

    def has_room_for(self, name: str) -> bool:
        return self.last is None or name < self.last

    def add(self, name: str) -> None:
        insort(self.names, name, key=_Descending)


class _Gathering:
    """The first `window` names, in order, of a listing that comes in pieces."""

    def __init__(self, window: int, foreign: list[bytes], *, is_strict: bool) -> None:
        self.limit = _BEHIND_ALL
        self._window, self._foreign, self._is_strict = window, foreign, is_strict
        self._names: list[bytes] = []

    def add(self, names: list[bytes]) -> None:
        limit, window = self.limit, self._window
        self._names += [name for name in names if name < limit]
        if len(self._names) >= 2 * window:
            self._names = sorted(self._checked(self._names) if self._is_strict else self._names)
            if len(self._names) > window:
                del self._names[window:]
                self.limit = self._names[-1]

    def _checked(self, names: list[bytes]) -> list[bytes]:
        return _drop_foreign(names, self._foreign)

    def end(self) -> tuple[list[str], str | None, bool]:
        """The names, the last one if there are more, and whether others have taken the place of some."""
        names = sorted(self._checked(self._names) if self._is_strict else self._names)
        is_cut = self.limit != _BEHIND_ALL or len(names) > self._window
        del names[self._window :]
        names = self._checked(names)
        last = os.fsdecode(names[-1] if names else self.limit) if is_cut else None
        return decode(names), last, is_cut and len(names) < self._window


class Schedule:
    """Not thread-safe; times are text as in names (`format_time`), which sorts as time does."""

    def __init__(self, window: int = WINDOW, choice: groups.Choice = groups.ALL) -> None:
        """Of jobs that this choice does not take no name is kept."""
        self._window = window
        self._choice = choice
        self._ready = Lane()
        self._lanes: dict[str, Lane] = {}  # of groups that could not start when last asked
        self._later: list[tuple[str, str]] = []  # heap of (run_at, name)
        self._known: set[str] = set()
        self.is_crowded = False
        self._last_later: str | None = None  # beyond this time there may be later jobs outside the heap

    def __len__(self) -> int:
        """How many due names are known that no group is known to keep from starting."""
        return len(self._ready.names)

    @property
    def lanes(self) -> tuple[str, ...]:
        """The groups whose jobs stand apart."""
        return tuple(self._lanes)

    @property
    def next_run_at(self) -> str | None:
        """When the next later job is due, as far as is known; None if there is none."""
        return self._later[0][0] if self._later else self._last_later

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def refill(
        self, listing: Iterable[list[bytes]], now: str, *, is_strict: bool = False, lanes: Iterable[str] = ()
    ) -> list[str]:
        """Start again from a whole listing of what looks like ours, in pieces and in any order.

        Returns what proved to be no name of ours. Of a million names nearly all are dropped after two comparisons;
        only names that are kept are checked in full: then `is_crowded` says whether others took the place of jobs,
        which they never do if `is_strict`, for twice the time. Jobs of the groups `lanes` are kept apart, if there
        are any.
        """
        window, moment, held_from = self._window, now.encode(), HELD_FROM.encode()
        self._lanes = {group: Lane() for group in lanes}
        foreign: list[bytes] = []
        ready = _Gathering(window, foreign, is_strict=is_strict)
        share = max(window // (1 + len(self._lanes)), min(window, 100))
        apart = {group: _Gathering(share, foreign, is_strict=is_strict) for group in self._lanes}
        nested = _by_outermost(self._lanes)
        later: list[bytes] = []
        horizon = _BEHIND_ALL
        others = _pattern_of(self._choice.others)
        only = _pattern_of(self._choice.only)
        for piece in listing:
            names = piece
            if only is not None or others is not None:
                names = _chosen(piece, only, others)
                left = {*names}
                _drop_foreign([name for name in piece if name not in left], foreign)
            beyond = [name for name in names if name[_RUN_AT] > moment]
            due = [name for name in names if name[_RUN_AT] <= moment] if beyond else names
            if nested:
                due, members_of = _part(due, nested)
                for group, members in members_of.items():
                    apart[group].add(members)
            ready.add(due)
            edge = min(horizon, held_from)
            later += [name for name in beyond if name[_RUN_AT] < edge]
            _drop_foreign([name for name in beyond if name[_RUN_AT] >= held_from], foreign)
            if len(later) >= 2 * window:  # by names of ours alone: a time that does not exist never comes
                later = _soonest(window, _drop_foreign(later, foreign))
                horizon = later[-1][_RUN_AT] if len(later) == window else _BEHIND_ALL
        self._known = set()
        self.is_crowded = False
        for lane, gathered in ((self._ready, ready), *((self._lanes[group], apart[group]) for group in apart)):
            kept, last, is_crowded = gathered.end()
            self._known.update(kept)
            lane.fill(kept, last)
            self.is_crowded |= is_crowded
        self._lanes = {group: lane for group, lane in self._lanes.items() if lane.names or lane.last is not None}
        later = _drop_foreign(later, foreign)
        if len(later) > window:
            later = _soonest(window, later)
            horizon = later[-1][_RUN_AT]
        self._last_later = horizon.decode() if horizon != _BEHIND_ALL else None
        self._later = [(name[_RUN_AT], name) for name in decode(later)]
        heapq.heapify(self._later)
        self._known.update(name for _, name in self._later)
        return decode(foreign)

    def set_apart(self, group: str) -> None:
        """Give a group that cannot start a lane of its own."""
        if group in self._lanes:
            return
        self._lanes[group] = lane = Lane()
        around = self._lane_of_group(group)
        mark = f"-{group}."
        moved = [name for name in around.names if mark in name and self._lane_of(name) is lane]
        if moved:
            here = set(moved)
            around.names = [name for name in around.names if name not in here]
        lane.names, lane.last = moved, around.last

    def _lane_of_group(self, group: str) -> Lane:
        """Where its jobs stood before it had a lane."""
        within = [outer for outer in groups.of(group) if outer in self._lanes]
        return self._lanes[within[-1]] if within else self._ready

    def _lane_of(self, name: str) -> Lane:
        """Where a name belongs: the lane of its innermost group that has one."""
        if self._lanes:
            for group in reversed(groups.of(pending_id(name))):
                if group in self._lanes:
                    return self._lanes[group]
        return self._ready

    def first_apart(self, groups_shut: frozenset[str], most: int) -> list[str]:
        """The first names of the lanes that one of these groups shuts, so many of each."""
        lanes = (lane for group, lane in self._lanes.items() if not groups_shut.isdisjoint(groups.chain(group)))
        return [name for lane in lanes for name in lane.names[-most:]]

    def let_pass(self, name: str) -> None:
        """Take a name out of its lane: its group does not keep that job from starting."""
        lane = self._lane_of(name)
        if lane is not self._ready and name in lane.names:
            lane.names.remove(name)
            self._ready.add(name)

    def offer(self, name: str, now: str) -> None:
        """Add one name that has appeared, unless it lies beyond the window, or its job is held or not taken."""
        if name in self._known:
            return
        if self._choice.is_limited and not self._choice.takes(pending_id(name)):
            return
        run_at = name[_RUN_AT]
        if run_at >= HELD_FROM:
            return
        if run_at > now:
            if self._last_later is None or run_at < self._last_later:
                heapq.heappush(self._later, (run_at, name))
                self._known.add(name)
            return
        lane = self._lane_of(name)
        if lane.has_room_for(name):
            lane.add(name)
            self._known.add(name)

    def advance(self, now: str) -> None:
        """Make ready what has become due."""
        while self._later and self._later[0][0] <= now:
            _, name = heapq.heappop(self._later)
            self._known.discard(name)
            self.offer(name, now)

    def take(self, now: str, is_open: IsOpen | None = None) -> str | None:
        """Remove and return the first name that is due; None if none is, or if only a listing can say.

        Of the groups that have lanes, only those are taken that `is_open` lets pass.
        """
        if self.is_beyond_horizon(now):
            return None
        if self._later:
            self.advance(now)
        while (lane := self._next_lane(is_open)) is not None:
            name = lane.names.pop()
            self._known.discard(name)
            if name[_RUN_AT] <= now:
                return name
            self.offer(name, now)  # the clock has been set back
        return None

    def _next_lane(self, is_open: IsOpen | None) -> Lane | None:
        """The one whose first name comes first; None if that cannot be known without a listing, or none has any."""
        if not self._lanes:
            return self._ready if self._ready.names else None
        best: Lane | None = None
        for lane in self._open_lanes(is_open):
            if lane.is_short:
                return None
            if lane.names and (best is None or lane.names[-1] < best.names[-1]):
                best = lane
        return best

    def _open_lanes(self, is_open: IsOpen | None) -> Iterable[Lane]:
        yield self._ready
        for group, lane in self._lanes.items():
            if (lane.names or lane.last is not None) and is_open and all(map(is_open, groups.chain(group))):
                yield lane

    def has_open(self, is_open: IsOpen | None) -> bool:
        """Whether a due name is known that no group keeps from starting."""
        return any(lane.names for lane in self._open_lanes(is_open))

    def needs_listing(self, now: str, is_open: IsOpen | None = None) -> bool:
        """Whether only a new listing can say what is due now."""
        return self.is_beyond_horizon(now) or any(lane.is_short for lane in self._open_lanes(is_open))

    def is_beyond_horizon(self, now: str) -> bool:
        """Whether jobs are due by now that the heap of later ones had no room for."""
        return self._last_later is not None and self._last_later <= now


Nested = dict[bytes, list[tuple[bytes, str]]]
"""By outermost group the lanes within it, innermost first: how the ids of its jobs begin, and its name."""


def _by_outermost(lanes: Iterable[str]) -> Nested:
    found: Nested = {}
    for group in sorted(lanes, key=len, reverse=True):
        found.setdefault(group.partition(".")[0].encode(), []).append((b"%s." % group.encode(), group))
    return found


def _pattern_of(names: Iterable[str]) -> re.Pattern[bytes] | None:
    """What the names of all jobs of these groups begin with; None for no group."""
    either = b"|".join(re.escape(name.encode()) for name in names)
    return re.compile(rb"[^-]*-[^-]*-[^-]*-(?:%b)\.(?!json$)" % either) if either else None


def _chosen(names: list[bytes], only: re.Pattern[bytes] | None, others: re.Pattern[bytes] | None) -> list[bytes]:
    """Those of jobs that are taken."""
    if only is not None:
        names = [name for name in names if only.match(name)]
    return names if others is None else [name for name in names if not others.match(name)]


def _part(names: list[bytes], nested: Nested) -> tuple[list[bytes], dict[str, list[bytes]]]:
    """Those that stand in no lane, and those of each."""
    rest: list[bytes] = []
    apart: dict[str, list[bytes]] = {}
    match = _OUTERMOST.match
    for name in names:
        found = match(name)
        within = nested.get(found[1]) if found else None
        if within is not None and found is not None:
            id_at = found.start(1)
            group = next((group for mark, group in within if name.startswith(mark, id_at)), None)
            if group is not None:
                apart.setdefault(group, []).append(name)
                continue
        rest.append(name)
    return rest, apart


def _drop_foreign(names: list[bytes], foreign: list[bytes]) -> list[bytes]:
    """Those that are names of ours; what only looks like one is added to `foreign`."""
    if are_pending(names):
        return names
    ours = {name for name in names if is_pending(os.fsdecode(name))}
    foreign += [name for name in names if name not in ours]
    return [name for name in names if name in ours]


def _soonest(number: int, names: list[bytes]) -> list[bytes]:
    """The first of these in the order of their times."""
    return sorted(names, key=itemgetter(_RUN_AT))[:number]


class _Descending(str):
    """Sorts a name before those that are smaller."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)
