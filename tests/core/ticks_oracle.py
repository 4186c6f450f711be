"""An oracle of the ticks of cron expressions: every minute is looked at, in local time, and nothing is clever.

It shares no code with queuectl: it reads expressions itself, and asks zoneinfo what each local minute is in UTC.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
ZONES = (
    "Europe/Vienna",  # an hour, at 02:00
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "America/Santiago",  # at midnight
    "Africa/Casablanca",  # four times a year, by the moon
    "Asia/Kolkata",  # none, half an hour beside UTC
)
EXPRESSIONS = (
    "30 2 * * *", "0 2 * * *", "0 3 * * *", "59 1 * * *", "0 0 * * *", "30 0 * * *", "5 0 * * 0", "15 23 * * 6",
    "*/15 * * * *", "* * * * *", "0 * * * *", "*/7 * * * *", "30 */2 * * *", "*/20 2 * * *", "0 */6 * * *",
    "15,45 1-3 * * *", "0,30 2 * * 0", "10-20/5 2 * * *", "0 2-4 * * *", "45 1,2 * 3,10 *", "0 1-3/2 * * SUN",
    "30 2 * * 1-5", "0 9-17 * * MON-FRI", "0 12 1 * *", "0 0 1,15 * 1", "30 2 29 2 *", "0 0 31 * *", "0 4 * 1-6 7",
    "1 2 8-14 * 0", "0 2 */2 * 0", "30 2 13 * 5", "0 3 1-7 */3 1", "5 4 * * sun", "30 1 25-31 3,10 0", "0 0 1 1 *",
    "30 2 1-7 4,9 *", "59 23 * * *", "29 2 * * *", "0 2 * 4,10 *", "*/30 1-3 * * *",
)  # fmt: skip
"""Names times around every change of the zones, days of the month and of the week alone and together."""
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = {3: {name: number for number, name in enumerate(_MONTHS, 1)}, 4: dict(zip(_WEEKDAYS, range(7), strict=True))}
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


class Oracle:
    """One expression in one zone."""

    def __init__(self, expression: str, zone: str) -> None:
        fields = expression.upper().split()
        self._sets = [_values(field, place) for place, field in enumerate(fields)]
        self._both_days = fields[2].startswith("*") or fields[4].startswith("*")
        self._follows_time = fields[0].startswith("*") or fields[1].startswith("*")
        self._zone = ZoneInfo(zone)

    def names(self, wall: datetime) -> bool:
        """Whether the expression names that local minute."""
        minutes, hours, _, _, _ = self._sets
        return wall.minute in minutes and wall.hour in hours and self._names_day(wall)

    def _names_day(self, wall: datetime) -> bool:
        _, _, days, months, weekdays = self._sets
        day, weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
        return wall.month in months and ((day and weekday) if self._both_days else (day or weekday))

    def ticks(self, begin: datetime, end: datetime) -> list[datetime]:
        """Those from `begin` on and before `end`, in UTC."""
        found = self._by_time(begin, end) if self._follows_time else self._by_clock(begin, end)
        return sorted({tick for tick in found if begin <= tick < end})

    def _by_time(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        for at, wall in _walls(self._zone, begin, end):
            if self.names(wall):
                yield at

    def _by_clock(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        minutes, hours, _, _, _ = self._sets
        day, last = (at.replace(tzinfo=None, hour=0, minute=0, second=0) for at in (begin, end))
        day, last = day - timedelta(days=1), last + timedelta(days=1)
        while day <= last:
            if self._names_day(day):
                yield from (self._instant(day.replace(hour=h, minute=m)) for h in hours for m in minutes)
            day += timedelta(days=1)

    def _instant(self, wall: datetime) -> datetime:
        """The first time that clocks show this; if they never do, the first moment at which they are beyond it."""
        while True:
            at = wall.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
            if at.astimezone(self._zone).replace(tzinfo=None) == wall:
                return at
            wall += MINUTE


@lru_cache(4)
def _minutes(begin: datetime, end: datetime) -> list[datetime]:
    return [begin + number * MINUTE for number in range((end - begin) // MINUTE)]


@lru_cache(4)
def _walls(zone: ZoneInfo, begin: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Every minute, and what clocks show then."""
    return [(at, at.astimezone(zone).replace(tzinfo=None)) for at in _minutes(begin, end)]


def _values(field: str, place: int) -> set[int]:
    least, most = _RANGES[place]
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = least, most
        else:
            low, dash, high = span.partition("-")
            first = _number(low, place)
            last = _number(high, place) if dash else most if step else first
        found.update(range(first, last + 1, int(step or 1)))
    return {value % 7 for value in found} if place == 4 else found


def _number(text: str, place: int) -> int:
    return _NAMES.get(place, {}).get(text) if text in _NAMES.get(place, {}) else int(text)  # type: ignore[return-value]


def random_expressions(rng: random.Random, number: int) -> Iterator[str]:
    """Expressions of every form that a field can have; some of them name days that never come."""
    for _ in range(number):
        yield " ".join(_random_field(rng, place) for place in range(5))


def _random_field(rng: random.Random, place: int) -> str:
    least, most = _RANGES[place]
    low, high = sorted((rng.randint(least, most), rng.randint(least, most)))
    forms = (
        f"{low}",
        f"{low}-{high}",
        f"{low}-{high}/{rng.randint(1, 9)}",
        f"{low},{high}",
        f"*/{rng.randint(2, 30)}",
        "*",
    )
    weights = (6, 1, 1, 2, 1, 1) if place < 2 else (2, 1, 1, 1, 1, 9)
    return rng.choices(forms, weights)[0]


def changes(zone: str, begin: datetime, end: datetime) -> list[datetime]:
    """The days on which the clocks of a zone change."""
    there, found = ZoneInfo(zone), []
    while begin < end:
        if begin.astimezone(there).utcoffset() != (begin + timedelta(days=1)).astimezone(there).utcoffset():
            found.append(begin)
        begin += timedelta(days=1)
    return found
