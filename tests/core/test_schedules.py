"""Schedules: what a file may say, and which ticks are due; years in a second, by a clock that is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from queuectl.core import schedules
from queuectl.core.schedules import Schedule
from queuectl.errors import InvalidJobError, UsageError
from queuectl.spool.system import zones

NOW = datetime(2030, 10, 1, 2, 30, 20, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def schedule(**fields: Any) -> Schedule:
    given = {"cron": "30 2 * * *"} if "every" not in fields else {}
    return schedules.parse("nightly", {"command": "./backup", **given, **fields}, zones.load)


def problems_of(fields: Mapping[str, Any]) -> str:
    with pytest.raises(InvalidJobError) as caught:
        schedules.parse("nightly", fields, zones.load)
    return caught.value.why


def test_id_of_a_tick_is_its_name_and_its_time() -> None:
    """A tick has one id, and the id says which tick it is; seconds are there if the schedule needs them."""
    tick = datetime(2030, 10, 1, 2, 30, tzinfo=UTC)
    for each, id in ((schedule(), "nightly.20301001T0230Z"), (schedule(every="15m"), "nightly.20301001T0230Z"),
                     (schedule(every="10s"), "nightly.20301001T023000Z")):  # fmt: skip
        assert each.id_of(tick) == id
        assert schedules.parse_id(id) == ("nightly", tick)
    assert schedules.parse_id("a.b.20301001T023015Z") == ("a.b", tick + timedelta(seconds=15))
    for other in ("nightly", "nightly.run-abcdefgh", "nightly.20301301T0230Z", "20301001T0230Z", "n.2030100170230Z"):
        assert schedules.parse_id(other) is None


def test_jobs_of_a_schedule_are_its_ticks_and_runs_alone() -> None:
    """What else is in the group, another schedule's jobs among it, is not the schedule's."""
    assert schedules.is_of("nightly.20301001T0230Z", "nightly")
    assert schedules.is_of("nightly.run-abcdefgh", "nightly")
    assert not schedules.is_of("nightly.db.20301001T0230Z", "nightly")
    assert not schedules.is_of("nightly.cleanup", "nightly")
    assert not schedules.is_of("nightly2.20301001T0230Z", "nightly")


def test_job_of_a_tick_knows_its_tick() -> None:
    """The body of a job is the schedule's, without what makes it one, and with its time in the environment."""
    fields = schedule(env={"A": "b"}, timeout=5, timezone="Europe/Vienna").fields_of("nightly.x", NOW.replace(second=0))
    assert fields == {
        "command": "./backup",
        "timeout": 5,
        "id": "nightly.x",
        "env": {"A": "b", "QUEUECTL_TICK": "2030-10-01T02:30:00Z"},
    }


def test_jitter_is_always_the_same_for_one_name() -> None:
    """Each tick of a schedule is as late as the others; schedules of other names are late by other times."""
    delays = {schedules.parse(name, {"command": "x", "every": "1h", "jitter": "10m"}, zones.load).delay
              for name in ("a", "b", "c", "d")}  # fmt: skip
    assert len(delays) == 4
    assert all(timedelta(0) <= delay < 10 * MINUTE for delay in delays)
    late = schedule(jitter="10m")
    assert late.fields_of("x", NOW)["run_at"] == f"{(NOW + late.delay).isoformat(timespec='milliseconds')[:-6]}Z"
    assert late.delay == schedule(jitter="10m").delay


def test_every_counts_from_1970() -> None:
    """15m falls on the quarter hours, whenever the schedule was made and whatever its zone is."""
    ticks = schedule(every="15m", timezone="Asia/Kathmandu").between(NOW, NOW + HOUR)
    assert [tick.minute for tick in ticks] == [45, 0, 15, 30]
    assert schedule(every=90).between(NOW, NOW + 3 * MINUTE)[0].timestamp() % 90 == 0


@pytest.mark.parametrize(
    ("catch_up", "since", "due"),
    [
        ("last", 10 * MINUTE, ["02:30"]),  # on time
        ("last", 3 * DAY, ["02:30"]),
        ("none", 3 * DAY, ["02:30"]),
        ("all", 3 * DAY, ["28 02:30", "29 02:30", "30 02:30", "02:30"]),
    ],
)
def test_tick_of_the_last_minute_is_due_whatever_was_missed(catch_up: str, since: timedelta, due: list[str]) -> None:
    """What is not more than a minute late is not missed; of what is, all is made up for by `all` alone."""
    found = schedule(catch_up=catch_up).due(NOW - since - HOUR, NOW)
    assert [f"{tick:%d %H:%M}".removeprefix("01 ") for tick in found] == due


@pytest.mark.parametrize(
    ("catch_up", "now", "due"),
    [
        ("none", NOW + HOUR, []),
        ("last", NOW + HOUR, ["01 02:30"]),
        ("6h", NOW + HOUR, ["01 02:30"]),
        ("30m", NOW + HOUR, []),
        (1800, NOW + HOUR, []),
        ("all", NOW + HOUR, ["29 02:30", "30 02:30", "01 02:30"]),
    ],
)
def test_missed_ticks_are_caught_up_as_the_schedule_says(catch_up: Any, now: datetime, due: list[str]) -> None:
    """After a downtime of days nothing, the newest, the newest if it is not too old, or all are made up for."""
    found = schedule(catch_up=catch_up).due(NOW - 3 * DAY + HOUR, now)
    assert [f"{tick:%d %H:%M}" for tick in found] == due


def test_minute_is_not_late_and_more_is() -> None:
    """A tick counts as missed once more than a minute has passed since."""
    tick = datetime(2030, 10, 1, 2, 30, tzinfo=UTC)
    each = schedule(catch_up="none")
    assert each.due(tick - DAY, tick + MINUTE) == [tick]
    assert each.due(tick - DAY, tick + MINUTE + timedelta(milliseconds=1)) == []
    assert each.due(tick, tick + MINUTE) == []
    assert each.due(tick - DAY, tick - timedelta(milliseconds=1)) == []


def test_all_is_the_hundred_newest_in_order_at_once() -> None:
    """After ten years of downtime, `all` is 100 missed ticks, found without going through the years."""
    found = schedule(every="1s", catch_up="all").due(NOW - 3650 * DAY, NOW)
    assert found[-1] == NOW
    assert len(found) == 161
    assert found == sorted(found)
    yearly = schedule(cron="0 0 1 1 *", catch_up="all").due(NOW - 3650 * DAY, NOW)
    assert [tick.year for tick in yearly] == list(range(2021, 2031))


@pytest.mark.parametrize("zone", ["Europe/Vienna", "America/New_York", "Australia/Lord_Howe"])
def test_years_pass_in_a_second_and_each_tick_is_due_once(zone: str) -> None:
    """Looked at by a clock that is late, early, set back and stopped for days, every tick is due once and in order,
    through each change of the zone."""
    each = schedule(cron="30 2 * * *", timezone=zone, catch_up="all")
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    expected = each.between(begin, begin + 1500 * DAY)
    handled, seen, now, steps = begin, [], begin, 0
    while now < begin + 1500 * DAY:
        steps += 1
        now += (7 * HOUR, 3 * DAY, -5 * HOUR, 11 * HOUR, MINUTE)[steps % 5]
        for tick in each.due(handled, min(now, begin + 1500 * DAY)):
            seen.append(tick)
            handled = tick
    assert seen == expected
    local = [tick.astimezone(ZoneInfo(zone)).date() for tick in seen]
    assert len(local) == len(set(local))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"command": "x"}, 'needs "cron" or "every"'),
        ({"command": "x", "cron": "* * * * *", "every": "5m"}, "both"),
        ({"cron": "* * * * *"}, '"command" is missing'),
        ({"command": "x", "cron": 5}, "not a cron expression"),
        ({"command": "x", "cron": "61 * * * *"}, "bad minute"),
        ({"command": "x", "every": "0s"}, "whole seconds"),
        ({"command": "x", "every": "500ms"}, "whole seconds"),
        ({"command": "x", "every": "1.5"}, "whole seconds"),
        ({"command": "x", "every": True}, "not a time"),
        ({"command": "x", "every": "5 parsecs"}, "not a duration"),
        ({"command": "x", "every": "9h", "timezone": "Europe/Viena"}, "Europe/Vienna"),
        ({"command": "x", "every": "9h", "timezone": 5}, '"timezone"'),
        ({"command": "x", "every": "9h", "timezone": "../../etc/passwd"}, "no time zone"),
        ({"command": "x", "every": "9h", "catch_up": "some"}, '"catch_up"'),
        ({"command": "x", "every": "9h", "overlap": "kill"}, '"overlap"'),
        ({"command": "x", "every": "9h", "jitter": "-5m"}, '"jitter"'),
        ({"command": "x", "every": "9h", "id": "x"}, '"id"'),
        ({"command": "x", "every": "9h", "group": "x"}, '"group"'),
        ({"command": "x", "every": "9h", "run_at": "2030-01-01"}, '"run_at"'),
        ({"command": "x", "every": "9h", "timeout": "x"}, '"timeout"'),
    ],
)
def test_file_that_is_no_schedule_is_refused(fields: dict[str, Any], said: str) -> None:
    """Whatever is wrong with a schedule's file is said, in words that lead to what is right."""
    assert said in problems_of(fields)


def test_every_problem_is_said_at_once() -> None:
    """Whoever has made three mistakes hears of three."""
    assert problems_of({"cron": "61 * * * *", "overlap": "kill", "jitter": "x"}).count(";") == 3


@pytest.mark.parametrize("name", ["", ".", "a.", "a..b", "-a", "a/b", "a b", "a" * 84])
def test_name_that_no_job_could_have_is_no_schedules(name: str) -> None:
    """With a dot and a time to the second, the name of a schedule must still be an id."""
    with pytest.raises(UsageError):
        schedules.require_name(name)
    assert schedules.require_name("a" * 83)
