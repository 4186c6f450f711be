from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import groups
from queuectl.core.names import FinishedName, PendingName, format_time
from queuectl.core.result import Result, State
from queuectl.dashboard.index import AGAIN, FIRST, Shelf, build

NOW = datetime(2026, 11, 24, 3, 43, tzinfo=UTC)
TEXT = format_time(NOW)

moments = st.integers(-9000, 9000).map(lambda seconds: NOW + timedelta(seconds=seconds))
ids = st.text("abc-.", min_size=1, max_size=4).map(lambda text: "x" + text)
pending = st.builds(PendingName, st.sampled_from([0, 10, 999]), moments, st.integers(0, 2), ids)
results = st.sampled_from(["exit0", "exit1", "timeout"]).map(Result.parse)
finished = st.builds(FinishedName, moments, st.just(10), st.just(1), results, st.just(5), ids)


@given(
    st.lists(finished, unique_by=str), st.lists(pending, unique_by=str), st.sampled_from(["xa", "xb", "xa.b", "xa."])
)
def test_groups_are_found_and_counted(ended: list[FinishedName], waiting: list[PendingName], group: str) -> None:
    """By each group those in it, in the order of the others, and as many as are counted; of the due ones too."""
    done, shelf = build(State.DONE, map(str, ended), None), build(State.PENDING, map(str, waiting), None)
    newest_first = [str(name) for name in sorted(ended, key=str, reverse=True) if groups.is_in(name.id, group)]
    assert list(done.select(group=group)) == newest_first
    assert list(done.select(group=group, tag="exit1")) == [name for name in newest_first if "-exit1-" in name]
    assert done.select(group=group).slice(1, 2) == newest_first[1:3]
    due = [str(name) for name in sorted(waiting, key=str) if name.run_at <= NOW and groups.is_in(name.id, group)]
    assert list(shelf.due(TEXT, group=group)) == due
    expected = Counter(name for each in ended for name in groups.of(each.id))
    assert done.groups() == expected
    assert shelf.groups_due(TEXT) == Counter(
        name for each in waiting if each.run_at <= NOW for name in groups.of(each.id)
    )


@given(st.lists(pending, unique_by=str), st.integers(0, 12), st.integers(1, 6))
def test_pending_names_are_split_by_time_and_attempts(names: list[PendingName], start: int, limit: int) -> None:
    """Ready, scheduled and retrying hold what their words say, in the order of `ls`, and pages are slices of that."""
    shelf = build(State.PENDING, map(str, names), None)
    ordered = sorted(names, key=str)
    expected = {
        "ready": [str(name) for name in ordered if name.run_at <= NOW],
        "scheduled": [str(name) for name in ordered if name.run_at > NOW and not name.attempts],
        "retrying": [str(name) for name in ordered if name.run_at > NOW and name.attempts],
    }
    found = {"ready": shelf.due(TEXT), "scheduled": shelf.later(TEXT, FIRST), "retrying": shelf.later(TEXT, AGAIN)}
    for word, selection in found.items():
        assert (selection.count, list(selection)) == (len(expected[word]), expected[word])
        assert selection.slice(start, limit) == expected[word][start : start + limit]
    waits = [name.run_at for name in names if name.run_at <= NOW]
    later = [name.run_at for name in names if name.run_at > NOW]
    assert shelf.soonest(TEXT) == tuple(format_time(min(times)) if times else None for times in (waits, later))


@given(st.lists(pending, unique_by=str, min_size=1))
def test_place_in_the_queue_counts_due_jobs_only(names: list[PendingName]) -> None:
    """A job has as many ahead of it as are due and sort before it."""
    shelf = build(State.PENDING, map(str, names), None)
    name = str(names[0])
    assert shelf.due_before(name, TEXT) == sum(str(each) < name and each.run_at <= NOW for each in names)


@given(st.lists(finished, unique_by=str), moments, st.integers(0, 12))
def test_finished_names_come_newest_first(names: list[FinishedName], since: datetime, start: int) -> None:
    """A result and an age select what they say, newest first; a rank is the number of older names."""
    shelf = build(State.DONE, map(str, names), None)
    text = format_time(since)
    wanted = sorted((str(n) for n in names if n.finished_at >= since and str(n.result) == "exit1"), reverse=True)
    selection = shelf.select(text, tag="exit1")
    assert (selection.count, list(selection)) == (len(wanted), wanted)
    assert selection.slice(start, 5) == wanted[start : start + 5]
    assert shelf.rank(text) == sum(name.finished_at < since for name in names)
    assert sum(shelf.tags().values()) == shelf.count == len(names)


@given(st.lists(finished, unique_by=str), st.lists(finished, unique_by=str))
def test_new_shelf_takes_over_what_stayed(before: list[FinishedName], after: list[FinishedName]) -> None:
    """However the directory changed, the next index holds exactly its names, and keeps buckets that did not change."""
    old = build(State.DEAD, map(str, before), None)
    new = build(State.DEAD, map(str, after), old)
    assert list(new.select()) == sorted(map(str, after), reverse=True)
    assert build(State.DEAD, map(str, reversed(after)), new).is_same_as(new)


def shelf_of(*names: str) -> Shelf:
    return build(State.PENDING, names, None)


def test_foreign_names_are_counted_apart() -> None:
    """Files that a worker may take in are counted; hidden and half-written ones are not there."""
    shelf = shelf_of("nightly.json", ".hidden.json", "half.json.part", str(PendingName(1, NOW, 0, "x")))
    assert (shelf.count, shelf.foreign) == (1, 1)


@pytest.mark.parametrize(("id", "is_there"), [("a-b", True), ("b", True), ("c", False)])
def test_find_takes_names_by_their_end(id: str, *, is_there: bool) -> None:
    """A name that ends with the id is found, also where the id holds the separator."""
    assert (shelf_of(str(PendingName(1, NOW, 0, "a-b"))).find(id) is not None) == is_there
