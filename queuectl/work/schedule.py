"""Which pending job is next: a window of due names in `ls` order, and a heap of the nearest later ones.

Holds names, never bodies, and of a million pending jobs only the first few thousand; `is_short` says when
there may be more than the window shows, so that the caller lists the directory again. Has no clock.
"""

from __future__ import annotations

import heapq
import os
from bisect import insort
from collections.abc import Iterable
from operator import itemgetter

from queuectl.core.names import HELD_FROM, are_pending, is_pending
from queuectl.spool.system.listing import decode

WINDOW = 30_000
"""Names kept: at about 110 bytes each, 3 MB."""
FIRST_WINDOW = 15_000
"""Names kept of a first listing, for which the first job waits: fewer are sorted sooner."""

_RUN_AT = slice(4, 24)
_BEHIND_ALL = b"\xff" * 256  # in the order of names as bytes, of which none is that long


class Schedule:
    """Not thread-safe; times are text as in names (`format_time`), which sorts as time does."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._ready: list[str] = []  # descending, so that the next is popped off the end
        self._later: list[tuple[str, str]] = []  # heap of (run_at, name)
        self._known: set[str] = set()
        self.is_crowded = False
        self._last_ready: str | None = None  # beyond this name there may be due jobs outside the window
        self._last_later: str | None = None  # beyond this time there may be later jobs outside the heap

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def is_short(self) -> bool:
        """Whether a listing may find due jobs although none is left here."""
        return not self._ready and self._last_ready is not None

    @property
    def next_run_at(self) -> str | None:
        """When the next later job is due, as far as is known; None if there is none."""
        return self._later[0][0] if self._later else self._last_later

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def refill(self, listing: Iterable[list[bytes]], now: str, *, is_strict: bool = False) -> list[str]:
        """Start again from a whole listing of what looks like ours, in pieces and in any order.

        Returns what proved to be no name of ours. Of a million names nearly all are dropped after two comparisons;
        only names that are kept are checked in full: then `is_crowded` says whether others took the place of jobs,
        which they never do if `is_strict`, for twice the time.
        """
        window, moment, held_from = self._window, now.encode(), HELD_FROM.encode()
        ready: list[bytes] = []
        later: list[bytes] = []
        foreign: list[bytes] = []
        limit = horizon = _BEHIND_ALL
        for names in listing:
            beyond = [name for name in names if name[_RUN_AT] > moment]
            due = [name for name in names if name[_RUN_AT] <= moment] if beyond else names
            ready += [name for name in due if name < limit]
            edge = min(horizon, held_from)
            later += [name for name in beyond if name[_RUN_AT] < edge]
            _drop_foreign([name for name in beyond if name[_RUN_AT] >= held_from], foreign)
            if len(ready) >= 2 * window:
                ready = sorted(_drop_foreign(ready, foreign) if is_strict else ready)
                if len(ready) > window:
                    del ready[window:]
                    limit = ready[-1]
            if len(later) >= 2 * window:  # by names of ours alone: a time that does not exist never comes
                later = _soonest(window, _drop_foreign(later, foreign))
                horizon = later[-1][_RUN_AT] if len(later) == window else _BEHIND_ALL
        ready = sorted(_drop_foreign(ready, foreign) if is_strict else ready)
        is_cut = limit != _BEHIND_ALL or len(ready) > window
        del ready[window:]
        ready, later = _drop_foreign(ready, foreign), _drop_foreign(later, foreign)
        self.is_crowded = is_cut and len(ready) < window
        self._last_ready = os.fsdecode(ready[-1] if ready else limit) if is_cut else None
        if len(later) > window:
            later = _soonest(window, later)
            horizon = later[-1][_RUN_AT]
        self._last_later = horizon.decode() if horizon != _BEHIND_ALL else None
        self._ready = decode(ready)
        self._ready.reverse()
        self._later = [(name[_RUN_AT], name) for name in decode(later)]
        heapq.heapify(self._later)
        self._known = {*self._ready, *(name for _, name in self._later)}
        return decode(foreign)

    def offer(self, name: str, now: str) -> None:
        """Add one name that has appeared, unless it lies beyond the window or its job is held."""
        if name in self._known:
            return
        run_at = name[_RUN_AT]
        if run_at >= HELD_FROM:
            return
        if run_at > now:
            if self._last_later is None or run_at < self._last_later:
                heapq.heappush(self._later, (run_at, name))
                self._known.add(name)
        elif self._last_ready is None or name < self._last_ready:
            insort(self._ready, name, key=_Descending)
            self._known.add(name)

    def advance(self, now: str) -> None:
        """Make ready what has become due."""
        while self._later and self._later[0][0] <= now:
            _, name = heapq.heappop(self._later)
            self._known.discard(name)
            self.offer(name, now)

    def take(self, now: str) -> str | None:
        """Remove and return the first name that is due; None if none is, or if only a listing can say."""
        if self.is_beyond_horizon(now):
            return None
        if self._later:
            self.advance(now)
        while self._ready:
            name = self._ready.pop()
            self._known.discard(name)
            if name[_RUN_AT] <= now:
                return name
            self.offer(name, now)  # the clock has been set back
        return None

    def needs_listing(self, now: str) -> bool:
        """Whether only a new listing can say what is due now."""
        return self.is_short or self.is_beyond_horizon(now)

    def is_beyond_horizon(self, now: str) -> bool:
        """Whether jobs are due by now that the heap of later ones had no room for."""
        return self._last_later is not None and self._last_later <= now


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
