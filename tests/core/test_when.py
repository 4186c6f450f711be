"""Times and durations as people type them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core.names import to_utc
from queuectl.core.when import parse_duration, parse_past, parse_when
from queuectl.errors import UsageError

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YORK = ZoneInfo("America/New_York")
TUESDAY = datetime(2026, 11, 24, 12, 30, 15, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("90", 90), ("1.5", 1.5), ("90s", 90), ("90 s", 90), ("5m", 300), ("5 min", 300), ("5 minutes", 300),
        ("1h30m", 5400), ("1h 30m", 5400), ("1 hour 30 minutes", 5400), ("2d", 172_800), ("2 days", 172_800),
        ("1w", 604_800), ("500ms", 0.5), ("+5m", 300), ("+ 5m", 300), (" 5m ", 300), ("5M", 300), ("1.5h", 5400),
        ("1d12h", 129_600), ("30s1m", 90), ("1 hr", 3600), ("2 weeks", 1_209_600), ("1 sec", 1),
        ("36600d", 36600 * 86400), ("1:00:00", 3600), ("00:00:30", 30), ("36:05:00", 129_900), ("1-12:00:00", 129_600),
    ],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    """A number with a unit, several of them, or a bare number of seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "+", "m", "5x", "5 apples", "1h30", "30 5m", "5m!", "-5m", "--5", "1e3", "inf", "nan", "1:30",
     "1:60:00", "1:00:00s", "5,5m", "tomorrow", "9" * 400, "36601d", "5mm", "0x10", "1.h", ".5h", "5m\0"],
)  # fmt: skip
def test_durations_that_are_refused(text: str) -> None:
    """Anything else is a usage error that quotes it and shows what is meant."""
    with pytest.raises(UsageError, match="not a duration") as caught:
        parse_duration(text)
    assert "5m" in caught.value.hint


@given(st.text() | st.text("0123456789. smhdw+"))
def test_duration_of_any_text_is_one_or_a_usage_error(text: str) -> None:
    """What is read is never negative, and nothing else comes out."""
    with suppress(UsageError):
        assert parse_duration(text) >= 0


def berlin(day: int, hour: int = 0, minute: int = 0, second: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, second, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("now", TUESDAY), ("NOW", TUESDAY), ("+5m", TUESDAY + timedelta(minutes=5)),
        ("5m", TUESDAY + timedelta(minutes=5)), ("1h30m", TUESDAY + timedelta(minutes=90)),
        ("2 days", TUESDAY.astimezone(UTC) + timedelta(days=2)), ("90 Sec", TUESDAY + timedelta(seconds=90)),
        ("in 5m", TUESDAY + timedelta(minutes=5)),
        ("in 1 hour 30 min", TUESDAY + timedelta(minutes=90)), ("+90", TUESDAY + timedelta(seconds=90)),
        # a time of day: the next one
        ("18:30", berlin(24, 18, 30)), ("18:30:05", berlin(24, 18, 30, 5)), ("12:30", berlin(25, 12, 30)),
        ("12:30:16", berlin(24, 12, 30, 16)), ("12:30:15", berlin(25, 12, 30, 15)), ("9:05", berlin(25, 9, 5)),
        ("09:05", berlin(25, 9, 5)), ("0:00", berlin(25)), ("23:59", berlin(24, 23, 59)),
        ("9pm", berlin(24, 21)), ("9 PM", berlin(24, 21)), ("9:30pm", berlin(24, 21, 30)), ("9am", berlin(25, 9)),
        ("at 18:30", berlin(24, 18, 30)), ("at  9am", berlin(25, 9)), ("At tomorrow 9am", berlin(25, 9)),
        ("12am", berlin(25)), ("12pm", berlin(25, 12)), ("noon", berlin(25, 12)), ("midnight", berlin(25)),
        # a day
        ("today", berlin(24)), ("tomorrow", berlin(25)), ("today 18:00", berlin(24, 18)), ("today 9am", berlin(24, 9)),
        ("tomorrow 09:00", berlin(25, 9)), ("tomorrow at 9am", berlin(25, 9)), ("Tomorrow  at noon", berlin(25, 12)),
        ("tuesday", berlin(1, month=12)), ("wednesday", berlin(25)), ("wed 8:00", berlin(25, 8)), ("mon", berlin(30)),
        ("monday at 9am", berlin(30, 9)), ("sunday midnight", berlin(29)), ("Thurs 10:00", berlin(26, 10)),
        ("2026-12-24", berlin(24, month=12)), ("2026-12-24 18:00", berlin(24, 18, month=12)),
        ("2026-12-24 at 6pm", berlin(24, 18, month=12)),
        # ISO 8601
        ("2026-11-25T09:00:00Z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25T09:00Z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("at 2026-11-25T09:00Z", datetime(2026, 11, 25, 9, tzinfo=UTC)),
        ("2026-11-25T09:00:00+02:00", datetime(2026, 11, 25, 7, tzinfo=UTC)),
        ("2026-11-25 09:00:00+02:00", datetime(2026, 11, 25, 7, tzinfo=UTC)),
        ("2025-11-08T14:00:00Z", datetime(2025, 11, 8, 14, tzinfo=UTC)),
    ],
)  # fmt: skip
def test_times(text: str, at: datetime) -> None:
    """Each form means this instant at half past twelve on a Tuesday in Berlin, and the result is in UTC."""
    found = parse_when(text, TUESDAY.astimezone(UTC), BERLIN)
    assert found == at
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    ["", " ", "yesterday", "soon", "9", "24:00", "12:60", "12:30:60", "13pm", "0am", "9:5", "9xm", "tomorrow 25:00",
     "tomorrow morning", "tomorrow at", "tu", "mo 9:00", "notaday 9:00", "2026-11-31", "2026-13-01T00:00:00Z",
     "2026-02-29T12:00:00Z", "20261125", "5", "1.5", "-5m", "5x", "at", "at ", "at 5",
     "+", "in", "in ", "in soon", "+9" + "9" * 400,
     "9999-12-31T23:59:59-14:00",
     "0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z", "9:00 9:00", "at 9:00\0"],
)  # fmt: skip
def test_times_that_are_refused(text: str) -> None:
    """Anything else is a usage error that quotes it and shows what is meant."""
    with pytest.raises(UsageError, match="not a time") as caught:
        parse_when(text, TUESDAY.astimezone(UTC), BERLIN)
    assert "tomorrow 09:00" in caught.value.hint


@pytest.mark.parametrize(
    ("now", "text", "zone", "at"),
    [
        # clocks go forward at 02:00 on 29 March in Berlin: 02:30 is the instant when 02:30 would have been
        ("2026-03-28T12:00Z", "tomorrow 09:00", BERLIN, "2026-03-29T07:00Z"),
        ("2026-03-28T12:00Z", "tomorrow 02:30", BERLIN, "2026-03-29T01:30Z"),
        ("2026-03-28T12:00Z", "tomorrow 01:30", BERLIN, "2026-03-29T00:30Z"),
        # clocks go back at 03:00 on 25 October in Berlin: 02:30 comes twice, and the first to come is meant
        ("2026-10-24T12:00Z", "tomorrow 09:00", BERLIN, "2026-10-25T08:00Z"),
        ("2026-10-24T12:00Z", "tomorrow 02:30", BERLIN, "2026-10-25T00:30Z"),
        ("2026-10-25T00:15Z", "02:30", BERLIN, "2026-10-25T00:30Z"),
        ("2026-10-25T01:15Z", "02:30", BERLIN, "2026-10-25T01:30Z"),
        ("2026-10-25T01:45Z", "02:30", BERLIN, "2026-10-26T01:30Z"),
        # a wait is a wait, whatever the clocks do
        ("2026-10-24T22:30Z", "+3h", BERLIN, "2026-10-25T01:30Z"),
        # the day is that of the zone
        ("2026-11-24T23:30Z", "tomorrow 09:00", BERLIN, "2026-11-26T08:00Z"),
        ("2026-11-24T23:30Z", "tomorrow 09:00", NEW_YORK, "2026-11-25T14:00Z"),
        ("2026-11-24T23:30Z", "tomorrow 09:00", UTC, "2026-11-25T09:00Z"),
    ],
)  # fmt: skip
def test_zones(now: str, text: str, zone: ZoneInfo, at: str) -> None:
    """A time without a zone is what the clock on the wall will show, also where clocks change."""
    assert parse_when(text, datetime.fromisoformat(now), zone) == datetime.fromisoformat(at)


def test_zone_is_the_local_one_by_default() -> None:
    """Without a zone a time is that of this machine."""
    local = datetime(2026, 11, 25, 9).astimezone(UTC)
    assert parse_when("2026-11-25 09:00", TUESDAY, None) == local
    assert parse_when("2026-11-25T09:00:00", TUESDAY, None) == local


@pytest.fixture
def local_new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is in New York."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("local_new_york")
@pytest.mark.parametrize("day", ["2025-03-09", "2026-03-08", "2027-03-14", "2050-03-13"])
def test_time_that_clocks_skip(day: str) -> None:
    """It is as long after they go forward, in the past as to come, however it is written, and as in a named zone."""
    at = datetime.fromisoformat(f"{day}T03:30-04:00")
    for text in (f"{day} 02:30", f"{day}T02:30", f"{day}T02:30:00", f"{day} 02:30:00"):
        assert parse_when(text, TUESDAY) == at
    assert parse_when(f"{day} 02:30", TUESDAY, NEW_YORK) == at


@pytest.mark.usefixtures("local_new_york")
@given(
    st.datetimes(datetime(1971, 1, 1), datetime(2037, 12, 31))
    | st.datetimes(datetime(2027, 3, 14), datetime(2027, 3, 15))
)
def test_local_zone_is_as_one_that_is_named(at: datetime) -> None:
    """To the microsecond, also where clocks change."""
    assert to_utc(at) == to_utc(at.replace(tzinfo=NEW_YORK))


@given(st.integers(0, 23), st.integers(0, 59), st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
def test_time_of_day_is_the_next_one(hour: int, minute: int, naive: datetime) -> None:
    """It lies ahead, by no more than a day (and the hour by which clocks change), and shows that time."""
    now = naive.replace(tzinfo=UTC)
    at = parse_when(f"{hour}:{minute:02d}", now, BERLIN)
    assert now < at <= now + timedelta(hours=25)
    assert at.astimezone(BERLIN).minute == minute


@given(st.text() | st.text("0123456789:- apmtZT+"))
def test_time_of_any_text_is_one_or_a_usage_error(text: str) -> None:
    """Nothing but an aware UTC time or UsageError comes out, whatever is typed."""
    with suppress(UsageError):
        assert parse_when(text, TUESDAY.astimezone(UTC), BERLIN).tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1h", "2026-11-24T11:30:15"), ("90", "2026-11-24T12:28:45"), ("2 days", "2026-11-22T12:30:15"),
        ("+1h", "2026-11-24T13:30:15"), ("now", "2026-11-24T12:30:15"), ("12:00", "2026-11-24T12:00:00"),
        ("18:30", "2026-11-23T18:30:00"), ("9pm", "2026-11-23T21:00:00"), ("today", "2026-11-24T00:00:00"),
        ("yesterday", "2026-11-23T00:00:00"), ("yesterday 18:30", "2026-11-23T18:30:00"),
        ("monday", "2026-11-23T00:00:00"), ("tue", "2026-11-24T00:00:00"), ("tomorrow", "2026-11-25T00:00:00"),
        ("2026-11-20", "2026-11-20T00:00:00"), ("2026-11-24T09:00:00Z", "2026-11-24T10:00:00"),
    ],
)  # fmt: skip
def test_looking_back(text: str, expected: str) -> None:
    """A duration is so long ago, a time of day or a weekday the last one; the rest is what it says."""
    at = parse_past(text, TUESDAY, BERLIN).astimezone(BERLIN)
    assert at.replace(tzinfo=None).isoformat() == expected


@pytest.mark.parametrize("text", ["", "soon", "yesterdays", "25:00", "-1h", "9" * 400])
def test_since_refuses_what_is_not_a_time(text: str) -> None:
    """What means nothing is a usage error."""
    with pytest.raises(UsageError, match="not a time"):
        parse_past(text, TUESDAY, BERLIN)
