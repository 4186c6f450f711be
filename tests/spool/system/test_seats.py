"""Locks of seats: taken all or none, held by whatever inherits them, looked at without disturbing anybody."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core import seats as lists
from queuectl.spool.system import host, seats
from queuectl.spool.system.trigger import Trigger
from tests.support import wait_for

TWO = lists.parse("2")


def _take(spool: Spool, number: int = 1, names: lists.Seats = TWO, id: str = "x") -> seats.Taken | None:
    return seats.take(spool.layout, "gpu", names, number, id)


def test_take_gives_all_or_none(spool: Spool) -> None:
    """And the files say who has them."""
    one = _take(spool, id="gpu.1")
    assert one is not None
    assert one.locks == ("0+0",)
    assert min(one.descriptors) >= 10
    assert _take(spool, 2) is None
    assert seats.find_held(spool.layout, "gpu") == {"0+0": ("gpu.1", spool.layout.root)}
    seats.give_back(spool.layout, [one])
    both = _take(spool, 2)
    assert both is not None
    assert both.locks == ("0+0", "1+0")
    seats.give_back(spool.layout, [both])
    assert seats.find_held(spool.layout, "gpu") == {}


def test_take_counts_seats_of_a_shortened_list(spool: Spool) -> None:
    """Two jobs have seats; of a list of two others none is free until one of them has ended."""
    first, second = _take(spool), _take(spool)
    assert first is not None
    assert second is not None
    others = lists.parse("8,9")
    assert _take(spool, 1, others) is None
    seats.give_back(spool.layout, [first])
    third = _take(spool, 1, others)
    assert third is not None
    assert third.locks == ("8+0",)
    seats.give_back(spool.layout, [second, third])


def test_take_does_not_wait_for_its_turn(spool: Spool) -> None:
    """A worker that is stopped while it takes seats keeps nobody waiting in a call."""
    taken = _take(spool)
    assert taken is not None
    seats.give_back(spool.layout, [taken])
    with open(f"{spool.layout.held('gpu')}/turn", "r+") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        assert _take(spool) is None
    taken = _take(spool)
    assert taken is not None
    seats.give_back(spool.layout, [taken])


def test_take_is_not_disturbed_by_looks(spool: Spool) -> None:
    """Who looks holds a shared lock for a moment, which is waited for; one by hand, which lasts, is not."""
    taken = _take(spool)
    assert taken is not None
    seats.give_back(spool.layout, [taken])
    with open(f"{spool.layout.held('gpu')}/0+0") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        other = _take(spool)
    assert other is not None
    assert other.locks == ("1+0",)
    seats.give_back(spool.layout, [other])


def test_give_back_frees_what_a_process_has_inherited(spool: Spool) -> None:
    """A daemon that a job leaves behind has no seat."""
    taken = _take(spool)
    assert taken is not None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=taken.descriptors) as daemon:
        seats.give_back(spool.layout, [taken])
        assert seats.find_held(spool.layout, "gpu") == {}
        daemon.communicate(b"")


def test_seat_lives_as_long_as_a_process_that_has_inherited_it(spool: Spool) -> None:
    """When this process just closes it, as its death would, the job keeps it, and its end wakes who waits."""
    taken = _take(spool)
    assert taken is not None
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=taken.descriptors) as job:
        for fd in taken.descriptors:
            os.close(fd)
        assert [*seats.find_held(spool.layout, "gpu")] == ["0+0"]
        rung: list[str | None] = []
        trigger = Trigger(spool.layout, rung.append, [spool.layout.held("gpu")])
        try:
            rung.clear()
            assert [*seats.find_held(spool.layout, "gpu")] == ["0+0"]
            job.communicate(b"")
            wait_for(lambda: rung, "the event of its end")
            assert {os.path.basename(path or "") for path in rung} == {"0+0"}
        finally:
            trigger.close()
    assert seats.find_held(spool.layout, "gpu") == {}


def test_find_held_wakes_nobody(spool: Spool) -> None:
    """Only giving back does."""
    taken = _take(spool)
    assert taken is not None
    rung: list[str | None] = []
    trigger = Trigger(spool.layout, rung.append, [spool.layout.held("gpu")])
    try:
        rung.clear()
        for _ in range(10):
            seats.find_held(spool.layout, "gpu")
        seats.give_back(spool.layout, [taken])
        wait_for(lambda: rung, "the event")
        assert {os.path.basename(path or "") for path in rung} <= {"0+0", "turn"}
    finally:
        trigger.close()


def test_link_in_place_of_held_shares_seats_between_spools(spool: Spool, tmp_path: Path) -> None:
    """And files there may be written by those who may write to the directory."""
    shared = tmp_path / "cards"
    shared.mkdir()
    shared.chmod(0o770)
    other = Spool(tmp_path / "other", create=True)
    for each in (spool, other):
        os.makedirs(each.layout.group("gpu"))
        os.symlink(shared, each.layout.held("gpu"))
    taken = _take(spool, 2, id="mine")
    assert taken is not None
    assert _take(other) is None
    assert seats.find_held(other.layout, "gpu")["0+0"] == ("mine", spool.layout.root)
    assert (shared / "0+0").stat().st_mode & 0o777 == 0o660
    seats.give_back(spool.layout, [taken])
    theirs = _take(other)
    assert theirs is not None
    seats.give_back(other.layout, [theirs])


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
def test_find_held_leaves_alone_what_is_not_a_file(spool: Spool, kind: str) -> None:
    """Nobody waits for a pipe."""
    path = f"{spool.layout.held('gpu')}/0+0"
    os.makedirs(spool.layout.held("gpu"))
    {"directory": os.mkdir, "pipe": os.mkfifo, "link": lambda path: os.symlink("nowhere", path)}[kind](path)
    assert seats.find_held(spool.layout, "gpu") == {}


def test_seats_of_a_shared_spool_are_those_of_each_host(shared: Spool) -> None:
    """Their locks are in this host's memory, where no other one sees them, and not in the spool."""
    both = _take(shared, 2)
    assert both is not None
    assert seats.find_held(shared.layout, "gpu").keys() == {"0+0", "1+0"}
    assert not os.path.exists(shared.layout.held("gpu"))
    assert {"0+0", "1+0"} <= {*os.listdir(host.here(shared.layout).held("gpu"))}
    seats.give_back(shared.layout, [both])
    assert not seats.find_held(shared.layout, "gpu")
