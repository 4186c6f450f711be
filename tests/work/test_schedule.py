"""The window of due names behaves as a whole sorted listing would, in little memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import groups
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


def _id_name(id: str, priority: int = 10, at: int = 0) -> str:
    return f"{priority:03d}-20261124T0343{at:02d}.000Z-0-{id}.json"


def _take_all(schedule: Schedule, closed: set[str]) -> list[str]:
    taken = []
    while (name := schedule.take(NOON, lambda group: group not in closed)) is not None:
        taken.append(name.split("-", 3)[3].removesuffix(".json"))
    return taken


NOON = "20261124T120000.000Z"


def test_set_apart_keeps_jobs_of_a_group_out_of_the_way_and_in_their_place() -> None:
    """What stands behind a closed group is taken; once it is open its jobs come in the order of `ls` again."""
    schedule = Schedule()
    names = [_id_name("gpu.1", at=1), _id_name("a", at=2), _id_name("gpu.2", at=3), _id_name("gpus.1", at=4)]
    for name in names:
        schedule.offer(name, NOON)
    schedule.set_apart("gpu")
    schedule.offer(_id_name("gpu.0", priority=5), NOON)

    assert not schedule.needs_listing(NOON)
    assert schedule.take(NOON, lambda group: group != "gpu") == _id_name("a", at=2)
    assert _take_all(schedule, set()) == ["gpu.0", "gpu.1", "gpu.2", "gpus.1"]


def test_set_apart_of_nested_groups_asks_all_that_a_job_is_in() -> None:
    """A job starts only when all of its groups are open; one of the outer group does not wait for the inner."""
    schedule = Schedule()
    for at, id in enumerate(("gpu.t.1", "gpu.1", "gpu.t.u.1", "x")):
        schedule.offer(_id_name(id, at=at), NOON)
    schedule.set_apart("gpu")
    schedule.set_apart("gpu.t")

    assert _take_all(schedule, {"gpu"}) == ["x"]
    assert _take_all(schedule, {"gpu.t"}) == ["gpu.1"]
    assert _take_all(schedule, set()) == ["gpu.t.1", "gpu.t.u.1"]


def test_refill_finds_those_behind_a_closed_group_whatever_its_length() -> None:
    """A lane has a window of its own, beyond which it asks for a listing, but only while it is open."""
    schedule = Schedule(100)
    names = [_id_name(f"gpu.{n:04d}", at=n // 60).encode() for n in range(2000)] + [_id_name("z", at=59).encode()]
    assert schedule.refill([names[:700], names[700:]], NOON, lanes=["gpu", "gpu.none"]) == []

    closed = {"gpu"}
    assert _take_all(schedule, closed) == ["z"]
    assert not schedule.needs_listing(NOON, lambda group: group not in closed)
    first = _take_all(schedule, set())
    assert first == [f"gpu.{n:04d}" for n in range(len(first))]
    assert len(first) >= 50
    assert schedule.needs_listing(NOON, lambda _: True)


@given(
    ids=st.lists(st.sampled_from(["a", "g.1", "g.2", "g.t.1", "g.t.2", "h.1", "gx.1", "g..1"]), unique=True),
    apart=st.lists(st.sampled_from(["g", "g.t", "h"]), unique=True),
    closed=st.sets(st.sampled_from(["g", "g.t", "h"])),
)
def test_lanes_take_the_first_name_that_no_group_keeps(ids: list[str], apart: list[str], closed: set[str]) -> None:
    """By refill, by offer before or after setting apart: always the names in order without those of closed lanes."""
    now_closed = closed & set(apart)
    allowed = [id for id in ids if not now_closed & set(groups.of(id))]

    def in_order(chosen: list[str]) -> list[str]:
        return [id for _, id in sorted((_id_name(id, at=ids.index(id)), id) for id in chosen)]

    listed, offered, late = Schedule(), Schedule(), Schedule()
    listed.refill([[_id_name(id, at=at).encode() for at, id in enumerate(ids)]], NOON, lanes=apart)
    for group in apart:
        late.set_apart(group)
    for at, id in enumerate(ids):
        offered.offer(_id_name(id, at=at), NOON)
        late.offer(_id_name(id, at=at), NOON)
    for group in apart:
        offered.set_apart(group)
    for schedule in (listed, offered, late):
        assert _take_all(schedule, now_closed) == in_order(allowed)
        assert _take_all(schedule, set()) == in_order([id for id in ids if id not in allowed])


@given(
    ids=st.lists(st.sampled_from(["a", "g", "g.1", "g.2", "g.t.1", "h.1", "gx.1", "g..1", "g."]), unique=True),
    only=st.lists(st.sampled_from(["g", "g.t", "h"]), unique=True),
    others=st.lists(st.sampled_from(["g.t", "h"]), unique=True),
)
def test_refill_and_offer_keep_only_jobs_that_the_worker_takes(
    ids: list[str], only: list[str], others: list[str]
) -> None:
    """Names of other jobs are not kept, and a name that is not ours is reported all the same."""
    choice = groups.Choice(tuple(only), tuple(others))
    listed, offered = Schedule(choice=choice), Schedule(choice=choice)
    odd = b"010-20261124T034300.000Z-x-a.json"
    found = listed.refill([[odd, *(_id_name(id, at=at).encode() for at, id in enumerate(ids))]], NOON)
    for at, id in enumerate(ids):
        offered.offer(_id_name(id, at=at), NOON)
    assert found == [odd.decode()]
    assert _take_all(listed, set()) == _take_all(offered, set()) == [id for id in ids if choice.takes(id)]


def test_refill_of_a_million_names_of_groups_that_are_not_taken_keeps_none() -> None:
    """They fill no window: nothing but another listing of what came since is ever needed for them."""
    schedule = Schedule(100, groups.Choice(("gpu",)))
    names = [_id_name(f"lr.{n:05d}", at=n % 60).encode() for n in range(20_000)]
    schedule.refill([names[:10_000], [*names[10_000:], _id_name("gpu.1", at=59).encode()]], NOON)
    assert _take_all(schedule, set()) == ["gpu.1"]
    assert not schedule.needs_listing(NOON)
