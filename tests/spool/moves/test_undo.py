from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from queuectl import Job, Spool, State
from queuectl.core.names import PendingName
from queuectl.errors import WrongStateError
from queuectl.spool.moves import claims, edit, undo
from queuectl.spool.moves.undo import MovedError
from queuectl.spool.system import clock, files
from tests.spool.given import NOW, PROCESSES, WORKER, die, put, put_finished, read_log, run_to_death
from tests.support import names


def retried(spool: Spool, id: str = "x") -> tuple[Job, Job, Path]:
    """A dead letter that was retried: before, after, and where it was."""
    path = put_finished(spool.layout, id)
    before = spool.get(id)
    return before, spool.retry(id), path


@pytest.mark.parametrize("state", [State.DEAD, State.DONE])
def test_undo_of_a_retry(spool: Spool, state: State) -> None:
    """The job has the name back that it had, with the end of its last attempt, and its bytes; the log says so."""
    path = put_finished(spool.layout, "x", "exit0" if state is State.DONE else "timeout", state, own=[1])
    before, data = spool.get("x"), path.read_bytes()
    undone = spool.undo(before, spool.retry("x"))
    assert (undone, spool.get("x")) == (before, before)
    assert path.read_bytes() == data
    assert "#queuectl note retry undone at=" in read_log(spool.layout, "x")


@pytest.mark.parametrize("action", ["cancel", "hold", "first", "reschedule", "release"])
def test_undo_of_what_was_done_to_a_waiting_job(spool: Spool, action: str) -> None:
    """Its priority, time and attempts are what they were, whether it was held or not."""
    at = NOW.replace(year=9999) if action == "release" else NOW
    put(spool.layout, PendingName(7, NOW - timedelta(hours=1), 0, "front"))
    path = put(spool.layout, PendingName(7, at, 2, "x"))
    before = spool.get("x")
    after = (
        spool.reschedule("x", priority=1, run_at=clock.now()) if action == "reschedule" else getattr(spool, action)("x")
    )
    assert not path.exists()
    spool.undo(before, after)
    assert path.exists()
    assert sum(len(names(spool.path / state)) for state in State) == 2


def test_undone_job_can_be_retried_again(spool: Spool) -> None:
    """An undo leaves nothing behind that would make the next claim refuse the job."""
    before, after, _ = retried(spool)
    spool.undo(before, after)
    name = spool.retry("x").name
    assert isinstance(name, PendingName)
    assert claims.claim(spool.layout, name, WORKER, clock.now) is not None


def test_undo_leaves_a_job_that_was_claimed(spool: Spool) -> None:
    """It runs; so does one that has been tried, or was moved or dropped."""
    before, after, path = retried(spool)
    assert isinstance(after.name, PendingName)
    claim = claims.claim(spool.layout, after.name, WORKER, clock.now)
    assert claim is not None
    os.close(claim.log)
    with pytest.raises(MovedError):
        spool.undo(before, after)
    assert spool.get("x").state is State.RUNNING
    assert not path.exists()


def test_undo_keeps_an_acknowledged_change(spool: Spool) -> None:
    """A job whose fields were changed since waits as it was changed."""
    before, after, _ = retried(spool)
    spool.set_fields("x", command="false")
    with pytest.raises(WrongStateError, match="was left as it is"):
        spool.undo(before, after)
    assert (spool.get("x").state, spool.get("x").command) == (State.PENDING, "false")


def test_undo_waits_for_a_change_that_is_being_made(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An undo that comes while the body is being swapped sees the new one, and leaves the job alone."""
    before, after, _ = retried(spool)
    is_locked, goes_on = threading.Event(), threading.Event()
    original = edit._rewrite

    def slow(*given: object) -> object:
        is_locked.set()
        assert goes_on.wait(20)
        return original(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(edit, "_rewrite", slow)
    change = threading.Thread(target=spool.set_fields, args=("x",), kwargs={"command": "false"})
    change.start()
    assert is_locked.wait(20)
    looks = edit._try_lock

    def look(fd: int) -> bool:
        goes_on.set()
        return looks(fd)

    monkeypatch.setattr(edit, "_try_lock", look)
    with pytest.raises(WrongStateError):
        spool.undo(before, after)
    change.join()
    assert (spool.get("x").state, spool.get("x").command) == (State.PENDING, "false")


def test_undo_replaces_no_other_file(spool: Spool) -> None:
    """If something has its former name, the job keeps the one that it has."""
    before, after, path = retried(spool)
    path.write_text("mine")
    with pytest.raises(WrongStateError, match="left as it is"):
        spool.undo(before, after)
    assert path.read_text() == "mine"
    assert spool.get("x").name == after.name or Path(after.path).exists()


def test_undo_is_not_for_what_ran_or_was_renamed(spool: Spool) -> None:
    """A running job that was cancelled cannot be brought back, nor can an id that is another job's now."""
    before, after, _ = retried(spool)
    with pytest.raises(WrongStateError, match="cannot be put back"):
        spool.undo(Job(before.state, before.name._replace(id="y"), before.path), after)
    assert spool.get("x").name == after.name


def _dies(root: str, step: str) -> None:
    spool = Spool(root)
    before, after, _ = retried(spool)
    if step == "before":
        files.move_new = die
    else:
        undo._note = die
    spool.undo(before, after)


@pytest.mark.parametrize("step", ["before", "after"])
def test_undo_that_is_killed(spool: Spool, step: str) -> None:
    """Killed before the rename it has done nothing, after it all but the line in the log; its lock is gone."""
    assert PROCESSES
    run_to_death(_dies, str(spool.path), step)
    assert spool.get("x").state is (State.PENDING if step == "before" else State.DEAD)
    assert sum(len(names(spool.path / state)) for state in State) == 1
    if step == "after":
        assert str(spool.get("x").name) == "20261124T034300.000Z-010-1-exit1-1.500s-x.json"
