"""How far a group of jobs is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest

from queuectl import Spool
from queuectl.core.names import HELD_AT, FinishedName, PendingName
from queuectl.core.result import CANCELLED, SKIPPED, SUCCESS, Result, State
from queuectl.spool.reading import batch, groups, query
from queuectl.spool.system import groups as group_files
from queuectl.spool.system import lease
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, put, running_name


def _finish(spool: Spool, id: str, result: Result, ago: float, took: float = 10.0) -> None:
    name = FinishedName(NOW - timedelta(seconds=ago), 10, 1, result, round(took * 1000), id)
    put(spool.layout, name, state=State.DONE if result.is_success else State.DEAD)


def _give(spool: Spool) -> None:
    """Ten jobs of lr, two of which have ended in the last 20 seconds, in 10 seconds each; one of another group."""
    for number in range(6):
        put(spool.layout, PendingName(10, NOW, 0, f"lr.{number}"))
    put(spool.layout, PendingName(10, HELD_AT, 0, "lr.held"))
    put(spool.layout, running_name("lr.runs"), state=State.RUNNING)
    _finish(spool, "lr.a", SUCCESS, 10)
    _finish(spool, "lr.t.b", Result.exit(1), 0)
    _finish(spool, "lr.c", CANCELLED, 0, 0.0)
    _finish(spool, "lrs.d", SUCCESS, 0)


def test_look_counts_the_jobs_of_a_group(spool: Spool) -> None:
    """Each once, by how it ended; without a worker nothing can be estimated, which is said."""
    _give(spool)
    seen = batch.look(spool.layout, "lr", NOW)
    assert seen[:8] == ("lr", 11, 1, 1, 1, 1, 6, 1)
    assert (seen.ended, seen.per_minute, seen.left, seen.reason) == (3, 6.0, None, "no living worker takes them")


def test_look_at_several_groups_is_as_at_each_of_them(spool: Spool) -> None:
    """A job counts in each of its groups; what is done or waits for its time is no active group."""
    _give(spool)
    put(spool.layout, PendingName(10, HELD_AT, 0, "later.1"))
    with lease.WorkerLease(spool.layout, "web1", {"slots": 4, "format": 2}):
        both = batch.look_at(spool.layout, ["lr", "lr.t"], NOW)
        assert both == {group: batch.look(spool.layout, group, NOW) for group in ("lr", "lr.t")}
        assert [*batch.look_at_active(spool.layout, groups.count(spool.layout, now=NOW), NOW)] == ["lr"]


@pytest.mark.parametrize(
    ("limits", "left"),
    [({}, 16.25), ({"limit": "1"}, 65.0), ({"limit": "2"}, 32.5), ({"limit": "9"}, 16.25), ({"seats": "a,b"}, 32.5)],
)
def test_look_estimates_from_durations_and_places(spool: Spool, limits: dict[str, str], left: float) -> None:
    """Six and a half jobs of 10 seconds, by the slots of workers that take them, or the limit or seats if these are
    less."""
    _give(spool)
    for key, text in limits.items():
        group_files.write(spool.layout, "lr", key, text)
    with (
        lease.WorkerLease(spool.layout, "web1", {"slots": 4, "format": 2}),
        lease.WorkerLease(spool.layout, "web1", {"slots": 8, "groups": ["gpu"], "format": 2}),
    ):
        assert batch.look(spool.layout, "lr", NOW).left == left


def test_look_says_what_keeps_jobs_from_starting(spool: Spool) -> None:
    """Behind a pause, or a limit of 0, there is no estimate but a reason."""
    _give(spool)
    with lease.WorkerLease(spool.layout, "web1", {"slots": 4, "format": 2}):
        group_files.write(spool.layout, "lr", "limit", "0")
        assert batch.look(spool.layout, "lr", NOW)[-2:] == (None, "the limit of the group lr is 0")
        spool.pause("new disks")
        assert "new disks" in (batch.look(spool.layout, "lr", NOW).reason or "")


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("way", ["start", "end", "retry"])
def test_look_counts_a_job_that_moves_once(spool: Spool, monkeypatch: pytest.MonkeyPatch, at: int, way: str) -> None:
    """Before, between or after any two of the listings."""
    begun = running_name("lr.1")
    names = {
        "start": ((State.PENDING, PendingName(10, NOW, 0, "lr.1")), (State.RUNNING, begun)),
        "end": ((State.RUNNING, begun), (State.DONE, FinishedName(NOW, 10, 1, Result.parse("exit0"), 5, "lr.1"))),
        "retry": ((State.RUNNING, begun), (State.PENDING, PendingName(10, NOW, 1, "lr.1"))),
    }
    (state, name), target = names[way]
    put(spool.layout, name, state=state)
    listings: list[State] = []
    iterate_names = query.iterate_names

    def iterate(layout: Layout, state: State) -> Iterator[list[str]]:
        if len(listings) == at:
            os.rename(layout.job(*names[way][0]), layout.job(*target))
        listings.append(state)
        return iter([*iterate_names(layout, state)])

    monkeypatch.setattr(query, "iterate_names", iterate)
    assert batch.look(spool.layout, "lr", NOW).total == 1


def test_look_counts_skipped_jobs_apart(spool: Spool) -> None:
    """They have ended and not failed; as for `wait`, only those in dead/ are bad."""
    put(spool.layout, FinishedName(NOW, 10, 0, SKIPPED, 0, "lr.1"), state=State.DONE)
    seen = batch.look(spool.layout, "lr", NOW)
    assert (seen.skipped_done, seen.ended, seen.failed, seen.is_bad) == (1, 1, 0, False)
    put(spool.layout, FinishedName(NOW, 10, 0, SKIPPED, 0, "lr.2"), state=State.DEAD)
    seen = batch.look(spool.layout, "lr", NOW)
    assert (seen.skipped_dead, seen.ended, seen.failed, seen.is_bad) == (1, 2, 0, True)


def test_look_at_a_batch_that_has_ended(spool: Spool) -> None:
    """Nothing is left, and no rate is invented from long ago."""
    _finish(spool, "lr.a", SUCCESS, 10)
    assert batch.look(spool.layout, "lr", NOW) == batch.Batch("lr", 1, 1)
