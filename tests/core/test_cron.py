"""Expressions of cron: which instants they mean, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from zoneinfo import ZoneInfo

import pytest

from queuectl.core.cron import MACROS, Cron
from queuectl.errors import UsageError
from tests.core.ticks_oracle import EXPRESSIONS, ZONES, Oracle, changes

BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def between(expression: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    found = []
    for tick in Cron(expression).ticks(begin - timedelta(milliseconds=1), ZoneInfo(zone)):
        if tick >= end:
            break
        found.append(tick)
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_ticks_are_those_of_the_oracle(zone: str) -> None:
    """On the days around changes of the clock in ten years, and on some others, an expression names the same instants
    as a look at every minute of local time."""
    rng = Random(zone)
    days = changes(zone, BEGIN, END)
    looked_at = rng.sample(days, min(len(days), 4)) + [BEGIN + rng.randrange(3650) * DAY for _ in range(2)]
    for expression in EXPRESSIONS:
        oracle = Oracle(expression, zone)
        for day in looked_at:
            begin, end = day - DAY, day + 2 * DAY
            assert between(expression, zone, begin, end) == oracle.ticks(begin, end), f"{expression} {zone} {day}"


@pytest.mark.parametrize("zone", ["Europe/Vienna", "Australia/Lord_Howe", "America/Santiago"])
def test_every_change_of_a_zone_leaves_a_daily_tick_once_a_day(zone: str) -> None:
    """Through ten years of changes, what is to run daily runs once on each local day, at any time of the day."""
    for time in ("30 0", "15 2", "30 2"):
        ticks = between(f"{time} * * *", zone, BEGIN, END)
        days = [tick.astimezone(ZoneInfo(zone)).date() for tick in ticks]
        assert len(days) == len(set(days))
        assert abs(len(days) - 3652) <= 1


def test_time_that_comes_twice_is_its_first_and_one_that_does_not_is_the_moment_after_the_gap() -> None:
    """The two 02:30 of October are one tick, and the missing one of March is at 03:00."""
    march = between("30 2 * * *", "Europe/Vienna", datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 3, 30, tzinfo=UTC))
    assert march == [datetime(2026, 3, 29, 1, tzinfo=UTC)]
    begin = datetime(2026, 10, 24, 12, tzinfo=UTC)
    assert between("30 2 * * *", "Europe/Vienna", begin, begin + DAY) == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]
    between_the_two = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    after = next(Cron("30 2 * * *").ticks(between_the_two, ZoneInfo("Europe/Vienna")))
    assert after == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_expression_that_follows_time_does_so_through_a_change() -> None:
    """Every quarter of an hour is every quarter of an hour, on a day of 25 hours and on one of 23."""
    for day in (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 10, 24, 22, tzinfo=UTC)):
        ticks = between("*/15 * * * *", "Europe/Vienna", day, day + DAY)
        assert ticks == [day + n * timedelta(minutes=15) for n in range(96)]


def test_expression_that_follows_time_comes_in_both_hours_also_if_the_next_day_that_it_names_is_far() -> None:
    """Every minute of the hour that comes twice, on the only day of the year."""
    begin = datetime(2026, 10, 25, tzinfo=UTC)
    ticks = between("* 2 25 10 *", "Europe/Vienna", begin - DAY, begin + 300 * DAY)
    assert ticks == [begin + n * timedelta(minutes=1) for n in range(120)]


def test_ticks_after_an_instant_do_not_depend_on_it() -> None:
    """From wherever one starts, the ticks are the same: none is repeated, and none is left out."""
    zone = ZoneInfo("Australia/Lord_Howe")
    begin = datetime(2026, 4, 3, tzinfo=UTC)
    every = list(islice(Cron("*/20 * * * *").ticks(begin, zone), 300))
    for after in (begin + n * timedelta(minutes=7) for n in range(150)):
        expected = next(tick for tick in every if tick > after)
        assert next(Cron("*/20 * * * *").ticks(after, zone)) == expected


def test_whole_day_that_a_zone_leaves_out_is_the_moment_after_it() -> None:
    """Samoa had no 30 December 2011: its noon came at the first moment of the 31st."""
    begin = datetime(2011, 12, 29, tzinfo=UTC)
    ticks = between("0 12 * * *", "Pacific/Apia", begin, begin + 3 * DAY)
    assert ticks == Oracle("0 12 * * *", "Pacific/Apia").ticks(begin, begin + 3 * DAY)
    assert datetime(2011, 12, 30, 10, tzinfo=UTC) in ticks


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("11 19 * 5-5/5 *", "11 19 * 5 *"),
        ("0 0-0/6,12-12/2 * * mon-MON/2", "0 0,12 * * 1"),
        ("05-5/9 4 * * *", "5 4 * * *"),
        ("10-20/5 1-10/3 * * *", "10,15,20 1,4,7,10 * * *"),
    ],
)
def test_step_of_a_range_of_one_value_says_nothing(expression: str, same: str) -> None:
    """It ends where it begins, as in Debian's cron."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    ticks = [[*islice(Cron(text).ticks(begin, UTC), 40)] for text in (expression, same)]
    assert ticks[0] == ticks[1]


def test_rare_expression_is_found_without_looking_at_each_day() -> None:
    """A fifth Monday in February comes every 28 years, and then not for 40."""
    found = [tick.year for tick in islice(Cron("0 0 * 2 MON#5").ticks(BEGIN, UTC), 4)]
    assert found == [2044, 2072, 2112, 2140]


def test_expression_that_never_comes_ends() -> None:
    """What cannot come has no ticks, and does not keep anybody waiting."""
    assert list(islice(Cron("0 0 */31 2 MON#5").ticks(BEGIN, UTC), 1)) == []


@pytest.mark.parametrize("macro", MACROS)
def test_macro_is_its_expression(macro: str) -> None:
    """@daily and its kind mean what they mean to cron, in capitals too."""
    first = next(Cron(macro.upper()).ticks(BEGIN, UTC))
    assert first == next(Cron(MACROS[macro]).ticks(BEGIN, UTC))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("0 0 2 * * *", "--every 10s"),
        ("60 * * * *", "bad minute"),
        ("* 24 * * *", "bad hour"),
        ("* * 0 * *", "bad day-of-month"),
        ("* * * 13 *", "bad month"),
        ("* * * * 8", "bad day-of-week"),
        ("*/0 * * * *", "bad minute"),
        ("5-1 * * * *", "bad minute"),
        ("0 0 31 4 *", "bad day-of-month"),
        ("0 0 30 2 *", "bad day-of-month"),
        ("@reboot", "not a time"),
        ("@every 15m", "--every 15m"),
        ("@fortnightly", "@daily"),
        ("² * * * *", "bad minute"),
        ("0" * 5000 + " * * * *", "not a cron expression"),
        ("* * * * 5L/2", "not a cron expression"),
        ("? * * * *", "bad minute"),
    ],
)
def test_text_that_is_no_expression_is_refused(text: str, said: str) -> None:
    """What cron could not read is refused with what is wrong, or what to type instead."""
    with pytest.raises(UsageError) as caught:
        Cron(text)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 300
