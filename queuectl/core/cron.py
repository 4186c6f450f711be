"""Expressions of cron, and the instants that they mean in a time zone.

cronsim reads an expression and finds the local times that it names; which instants those are is decided here, segment
by segment of the zone between two changes of its offset, since a library that walks through a change is a minute or an
hour off in some zones (cronsim 2.8 skips 03:00 in Australia/Lord_Howe, whose clocks change by half an hour).

As in Debian's cron, an expression whose minute or hour begins with `*` follows the time that passes: when clocks go
back it comes in both hours, when they go forward the local times that are left out do not come. Any other names times
of the day: one that comes twice is its first, one that is left out is the moment after the gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import TYPE_CHECKING

from queuectl.core.text import format_count
from queuectl.errors import UsageError

if TYPE_CHECKING:
    from cronsim import CronSim

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
"""What stands for a whole expression."""
FIELDS = "minute hour day-of-month month day-of-week"
_LONGEST = 1000
_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)
_LAST_YEAR = 9990
_TRY = f"{FIELDS}; try '30 2 * * 1-5'"


_RANGE = re.compile(r"\b(\w+)-(\w+)/[1-9]\d*\b")


def _without_step(found: re.Match[str]) -> str:
    """A range of one value as that value: cronsim 2.8 reads `5-5/2` as `5/2`."""
    first, last = (end.lstrip("0").upper() for end in found.groups())
    return found[1] if first == last else found[0]


class Cron:
    """An expression of five fields, or one of `MACROS`. Raises UsageError for any other text."""

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        self._expression = _RANGE.sub(_without_step, MACROS.get(self.text.lower(), self.text))
        _require_five(self.text, self._expression)
        self._start(datetime(2000, 1, 1))

    @cached_property
    def follows_time(self) -> bool:
        """Whether it names how often, and not times of the day."""
        minute, hour = self._expression.split()[:2]
        return minute.startswith("*") or hour.startswith("*")

    def explain(self) -> str:
        """What it means, in words: `At 02:30, Monday through Friday`."""
        text = self._start(datetime(2000, 1, 1)).explain()
        return text[:1].upper() + text[1:]

    def ticks(self, after: datetime, zone: tzinfo) -> Iterator[datetime]:
        """The instants that it names in that zone later than `after`, in UTC and in order; ends if none is left."""
        for tick in self._ticks(after.astimezone(UTC).replace(microsecond=0) - 2 * _DAY, zone):
            if tick > after:
                yield tick

    def _ticks(self, begin: datetime, zone: tzinfo) -> Iterator[datetime]:
        """Those from somewhat later than `begin` on."""
        offset = before = _offset(begin, zone)
        walls = _Walls(self)
        seen = datetime.min  # local times before this have come already
        while begin.year < _LAST_YEAR:
            end = _next_change(begin, begin + _DAY, zone)
            first, last = _local(begin, offset), _local(end, offset)
            if before != offset and not self.follows_time:
                was = _local(begin, before)
                seen = max(seen, was)  # clocks went back: what comes again does not count
                left_out = walls.next(was) if was < first else None
                if left_out is not None and left_out < first and walls.next(first) != first:
                    yield begin
            wall = walls.next(max(first, seen))
            while wall is not None and wall < last:
                yield (wall - offset).replace(tzinfo=UTC)
                wall = walls.next(wall + _SECOND)
            if wall is None:
                return
            before, begin = offset, end
            offset = _offset(begin, zone)
            if wall - last > 4 * _DAY and offset >= before:  # nothing happens for a while
                begin = (wall - 2 * _DAY).replace(tzinfo=UTC)
                before = offset = _offset(begin, zone)

    def _start(self, after: datetime) -> CronSim:
        from cronsim import CronSim, CronSimError

        try:
            return CronSim(self._expression, after)
        except CronSimError as error:
            raise UsageError(f"not a cron expression: {self.text[:60]!r}", f"{error}".lower(), _TRY) from None
        except (AssertionError, ValueError, IndexError):  # cronsim 2.8 has cases of its own
            raise UsageError(f"not a cron expression: {self.text[:60]!r}", hint=_TRY) from None

    def __str__(self) -> str:
        return self.text


class _Walls:
    """The local times that an expression names, asked for from earlier to later and, seldom, back again."""

    def __init__(self, cron: Cron) -> None:
        self._cron = cron
        self._asked = self._found = datetime.max
        self._sim: CronSim | None = None

    def next(self, start: datetime) -> datetime | None:
        """The first from `start` on; None if there is none within 50 years."""
        if self._sim is None or not self._asked <= start <= self._found:
            if self._sim is None or start != self._found + _SECOND:
                self._sim = self._cron._start(start - _SECOND)
            found = next(self._sim, None)
            if found is None:
                self._sim = None
                return None
            self._found = found
            self._asked = start
        return self._found


def _require_five(typed: str, expression: str) -> None:
    """Raise UsageError for what cannot be an expression of five fields."""
    number = len(expression.split())
    what = f"not a cron expression: {typed[:60]!r}"
    if typed.lower().startswith("@reboot"):
        raise UsageError("@reboot is not a time", "submit a job when the machine starts: queuectl enqueue -- CMD")
    if typed.lower().startswith("@every"):
        raise UsageError(what, hint=f"try: --every {typed[6:].strip() or '15m'}")
    if typed.startswith("@") and typed.lower() not in MACROS:
        raise UsageError(what, f"these are known: {' '.join(MACROS)}", "try @daily")
    if number == 6:
        raise UsageError(what, "it has six fields, and cron has five: none is for seconds", "try: --every 10s")
    if number != 5 or len(typed) > _LONGEST:
        raise UsageError(what, f"it has {format_count(number, 'field')}, not five", _TRY)


def _offset(at: datetime, zone: tzinfo) -> timedelta:
    """Local time minus UTC at that instant."""
    return at.astimezone(zone).utcoffset() or timedelta(0)


def _local(at: datetime, offset: timedelta) -> datetime:
    return (at + offset).replace(tzinfo=None)


def _next_change(begin: datetime, end: datetime, zone: tzinfo) -> datetime:
    """The second between these, of a day, at which the zone's offset has changed; `end` if it does not.

    Two changes within one day that undo each other are not seen.
    """
    offset = _offset(begin, zone)
    if _offset(end, zone) == offset:
        return end
    low, high = 0, int((end - begin).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(begin + middle * _SECOND, zone) == offset:
            low = middle
        else:
            high = middle
    return begin + high * _SECOND
