"""Jobs that a copy of a live spool holds twice."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.names import HELD_AT, WAITING_AT, FinishedName, Name, PendingName
from queuectl.core.result import SKIPPED, SUCCESS, Result, State
from queuectl.spool.moves import dependents
from queuectl.spool.system import place
from queuectl.spool.upkeep import copied
from queuectl.spool.upkeep.edges import Upkeep
from tests.spool.given import NOW, put, running_name
from tests.spool.moves.test_dependents import all_edges, finish, where

WAITING = (State.PENDING, PendingName(10, WAITING_AT, 0, "x"))
DUE = (State.PENDING, PendingName(10, NOW, 0, "x"))
AGAIN = (State.PENDING, PendingName(10, NOW, 1, "x"))
HELD = (State.PENDING, PendingName(10, HELD_AT, 0, "x"))
RUNS = (State.RUNNING, running_name("x"))
DONE = (State.DONE, FinishedName(NOW, 10, 1, SUCCESS, 5, "x"))
FAILED = (State.DEAD, FinishedName(NOW, 10, 4, Result.exit(1), 5, "x"))
SKIPS = (State.DEAD, FinishedName(NOW, 10, 0, SKIPPED, 0, "x"))

Place = tuple[State, Name]


def there(spool: Spool) -> list[Place]:
    return [(job.state, job.name) for job in spool.list() if job.id == "x"]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        (WAITING, DONE),
        (WAITING, SKIPS),
        (HELD, DUE),
        (WAITING, DUE),
        (DUE, AGAIN),
        (DUE, RUNS),
        (RUNS, DONE),
        (RUNS, FAILED),
    ],
)
@pytest.mark.parametrize("is_same", [True, False])
def test_file_that_has_got_furthest_is_the_job(spool: Spool, less: Place, more: Place, is_same: bool) -> None:
    """One with the same bytes is removed; one with others is a duplicate, as `fsck` has it, or is left to it."""
    for number, (state, name) in enumerate((less, more)):
        put(spool.layout, name, state=state, n=0 if is_same else number)
    number = copied.put_in_order(spool.layout)
    is_left = not is_same and less[0] is State.RUNNING
    assert there(spool) == ([less, more] if is_left else [more])
    assert number == (not is_left)
    assert copied.put_in_order(spool.layout) == 0


def test_two_names_of_one_file_are_one_job(spool: Spool) -> None:
    """tar makes a hard link of a file that it has met twice."""
    path = put(spool.layout, WAITING[1], state=State.PENDING)
    os.link(path, spool.layout.job(*DONE))
    assert copied.put_in_order(spool.layout) == 1
    assert there(spool) == [DONE]


def test_skipped_job_follows_its_cause_again(spool: Spool) -> None:
    """A copy may lack its edges: it gets them, open to what is gone, and goes where its cause has gone since."""
    for id in ("a", "b"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="alarm", after_failed=["a"])
    spool.enqueue("true", id="x", after=["alarm", "b"])
    finish(spool, "a")
    assert where(spool, "x") == "done skipped"
    shutil.rmtree(spool.layout.after)
    os.unlink(spool.get("b").path)
    os.unlink(spool.log_path("b"))
    dependents._memories.clear()
    copied.put_in_order(spool.layout)
    assert all_edges(spool) == ["a/alarm+", "alarm/x", "b/x"]
    Upkeep(spool.layout).run()
    assert where(spool, "x") == "dead skipped"


def test_worker_on_a_copy_leaves_one_of_each(spool: Spool, tmp_path: Path) -> None:
    """Before it takes the copy for its own; asked again, it looks at nothing."""
    spool.enqueue("true", id="x")
    place.settle_in(spool.layout, is_copied=False)
    shutil.copytree(spool.path, tmp_path / "copy")
    layout = Spool(tmp_path / "copy").layout
    asked: list[int] = []
    for _ in range(2):
        place.settle_in(layout, is_copied=True, prepare=lambda: asked.append(copied.put_in_order(layout)))
    assert asked == [0]


def test_copy_in_which_all_has_ended_is_put_in_order_too(spool: Spool, tmp_path: Path) -> None:
    """Nothing in it could run twice, so it wants no `--copied`; yet a job of it may have two files."""
    place.settle_in(spool.layout, is_copied=False)
    shutil.copytree(spool.path, tmp_path / "copy")
    layout = Spool(tmp_path / "copy").layout
    before = FinishedName(NOW - timedelta(seconds=5), 10, 0, SKIPPED, 0, "x")  # then its cause was brought back
    put(layout, before, state=State.DONE)
    put(layout, SKIPS[1], state=SKIPS[0])
    place.settle_in(layout, is_copied=False, prepare=lambda: copied.put_in_order(layout))
    assert there(Spool(layout.root)) == [SKIPS]
