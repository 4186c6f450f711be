"""The window of due names behaves as a whole sorted listing would, in little memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from queuectl.core.names import HELD_AT, PendingName, format_time
from queuectl.work.schedule import Schedule

EPOCH = datetime(2026, 11, 24, tzinfo=UTC)


def name(priority: int, second: int, id: str) -> str:
    return str(PendingName(priority, EPOCH + timedelta(seconds=second), 0, id))


def at(second: int) -> str:
    return format_time(EPOCH + timedelta(seconds=second))


def refill(
    schedule: Schedule, names: Iterable[str], now: str, piece: int = 1000, *, is_strict: bool = False
) -> list[str]:
    """As from a listing, in pieces."""
    listing = [os.fsencode(name) for name in names]
    pieces = [listing[start : start + piece] for start in range(0, len(listing), piece)]
    return schedule.refill(pieces, now, is_strict=is_strict)


jobs = st.lists(
    st.builds(name, st.integers(0, 999), st.integers(0, 50), st.text("ab1-", min_size=1).map(lambda text: f"x{text}")),
    unique=True,
    max_size=60,
)


def drain(schedule: Schedule, listing: set[str], now: str) -> list[str]:
    """Take as a worker does, listing again whenever the schedule asks for it."""
    taken = []
    while True:
        text = schedule.take(now)
        if text is not None:
            taken.append(text)
            listing.discard(text)
        elif schedule.needs_listing(now):
            refill(schedule, listing, now)
        else:
            return taken


@given(jobs, st.integers(1, 10), st.integers(0, 50))
def test_take_gives_every_due_name_in_the_order_of_ls(listing: list[str], window: int, now: int) -> None:
    """However small the window, due names come in text order and none is forgotten."""
    schedule = Schedule(window)
    refill(schedule, listing, at(now))
    due = sorted(text for text in listing if text[4:24] <= at(now))
    assert drain(schedule, set(listing), at(now)) == due


@given(jobs, jobs, st.integers(1, 10))
def test_offered_name_takes_its_place(listing: list[str], offered: list[str], window: int) -> None:
    """Names that arrive by events are taken in order with those that were listed."""
    schedule = Schedule(window)
    refill(schedule, listing, at(50))
    for text in offered:
        schedule.offer(text, at(50))
    everything = set(listing) | set(offered)
    assert drain(schedule, set(everything), at(50)) == sorted(everything)


@given(jobs, st.integers(1, 10))
def test_later_names_become_due_in_time(listing: list[str], window: int) -> None:
    """As time passes, each name is taken at the first moment that reaches its run_at."""
    schedule = Schedule(window)
    refill(schedule, listing, at(-1))
    left = set(listing)
    for second in range(51):
        expected = sorted(text for text in listing if text[4:24] == at(second))
        assert drain(schedule, left, at(second)) == expected


def test_clock_set_back_makes_ready_names_wait_again() -> None:
    """A name that was due and no longer is stays, and its time is known."""
    schedule = Schedule()
    refill(schedule, [name(10, 30, "a")], at(40))
    assert schedule.take(at(20)) is None
    assert schedule.next_run_at == at(30)
    assert schedule.take(at(30)) == name(10, 30, "a")


def test_memory_is_bounded_by_the_window() -> None:
    """Of many names the window keeps at most twice its size while listing, and its size afterwards."""
    schedule = Schedule(100)
    refill(schedule, (name(n % 1000, n % 50, f"j{n}") for n in range(20_000)), at(25), piece=1)
    assert len(schedule) == 100
    assert schedule.needs_listing(at(25)) is False


def test_urgent_jobs_of_tomorrow_do_not_hide_those_of_today() -> None:
    """A window full of later jobs of a better priority leaves the due one in sight."""
    schedule = Schedule(10)
    refill(schedule, [*(name(0, 40, f"later{n}") for n in range(1000)), name(999, 0, "today")], at(1))
    assert schedule.take(at(1)) == name(999, 0, "today")
    assert schedule.next_run_at == at(40)


def test_names_that_only_look_like_ours_are_given_back() -> None:
    """It is neither taken nor waited for, and the lister of the directory learns of it."""
    schedule = Schedule()
    lookalikes = [
        "000-20260230T000000.000Z-0-a.json",
        "000-20261124T240000.000Z-0-b.json",
        "000-20261124T006000.000Z-0-é.json",
        "000-20261124T000060.000Z-0-d.json",
        "000-20281324T000000.000Z-0-e.json",
        "000-99999999T999999.999Z-0-f.json",
        "000-20261124T000000.000Z-0-g.json.part",
        "0x0-20261124T000000.000Z-0-h.json",
        "000-20991124-000000.000Z-0-i.json",
        "000-20991124T      .000Z-0-j.json",
        "000-20991124T000000.000Z-later.json",
        "000-99991231T235959.999Z-held.json",
        "000-20991124T000000.000Z-01-k.json",
        "\udcff00-20261124T000000.000Z-0-l.json",
        "000-2099112\udcff000000.000Z-0-m.json",
    ]
    for lookalike in lookalikes:
        assert refill(schedule, [name(10, 0, "a"), lookalike], at(1)) == [lookalike]
    assert sorted(refill(schedule, [*lookalikes, name(10, 0, "a")], at(1))) == sorted(lookalikes)
    assert [schedule.take(at(1)), schedule.take(at(1)), schedule.next_run_at] == [name(10, 0, "a"), None, None]


def test_files_that_are_no_jobs_take_no_job_its_place() -> None:
    """However many backups stand before it, a due job is found."""
    schedule = Schedule(2)
    backups = [f"{name(10, 0, f'j{number}')}~" for number in range(9)]
    refill(schedule, [*backups, name(10, 1, "a")], at(1), piece=4)
    assert schedule.is_crowded
    assert refill(schedule, [*backups, name(10, 1, "a")], at(1), piece=4, is_strict=True) == backups
    assert not schedule.is_crowded
    assert (schedule.take(at(1)), schedule.needs_listing(at(1))) == (name(10, 1, "a"), False)


def test_horizon_that_has_passed_asks_for_a_listing() -> None:
    """Beyond the later jobs that are known, only a listing can show what is due."""
    schedule = Schedule(2)
    refill(schedule, [name(10, 30, f"j{number}") for number in range(9)], at(1))
    assert [schedule.is_beyond_horizon(at(second)) for second in (29, 30)] == [False, True]


def test_name_offered_twice_is_taken_once() -> None:
    """A second event about a waiting file changes nothing."""
    schedule = Schedule()
    for _ in range(2):
        schedule.offer(name(10, 0, "a"), at(1))
    assert [schedule.take(at(1)), schedule.take(at(1))] == [name(10, 0, "a"), None]


@given(jobs, st.integers(1, 10))
def test_held_names_are_no_part_of_it(listing: list[str], window: int) -> None:
    """A held job is neither taken, nor waited for, nor does it take up room."""
    held = {str(PendingName(0, HELD_AT, 0, f"h{number}")) for number in range(30)}
    schedule = Schedule(window)
    refill(schedule, held, at(0))
    for text in held:
        schedule.offer(text, at(0))
    assert (len(schedule), schedule.next_run_at, schedule.take(at(50)), schedule.needs_listing(at(50))) == (
        0, None, None, False,
    )  # fmt: skip
    refill(schedule, [*held, *listing], at(50))
    assert drain(schedule, {*held, *listing}, at(50)) == sorted(listing)
