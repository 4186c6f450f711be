"""Deleting finished jobs: they and their logs, nothing else."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from queuectl import Spool
from queuectl.core.names import FinishedName
from queuectl.core.result import SUCCESS, State
from queuectl.spool import clock, files, lease, logs, prune
from tests.support import names


def finished(spool: Spool, id: str, age: timedelta, state: State = State.DONE) -> FinishedName:
    """A job that ended `age` ago, with its log."""
    name = FinishedName(clock.now() - age, 10, 1, SUCCESS, 5, id)
    (spool.path / state / str(name)).write_text('{"command": "true"}')
    spool.log_path(id).write_text("output\n")
    return name


def test_only_done_jobs_that_are_old_enough_go(spool: Spool) -> None:
    """Younger ones, dead ones and foreign files stay."""
    finished(spool, "old", timedelta(days=2))
    young = finished(spool, "young", timedelta(hours=1))
    dead = finished(spool, "dead", timedelta(days=2), State.DEAD)
    (spool.path / "done" / "0-foreign.json").write_text("{}")
    assert prune.prune_done(spool.layout, clock.now() - timedelta(days=1)) == 1
    assert names(spool.path / "done") == ["0-foreign.json", str(young)]
    assert names(spool.path / "dead") == [str(dead)]
    assert names(spool.path / "logs") == ["dead.log", "young.log"]


def test_a_job_that_has_just_been_retried_keeps_its_log(spool: Spool) -> None:
    """Whoever moved the file first has decided."""
    name = finished(spool, "x", timedelta(days=2))
    spool.retry("x")
    assert not prune.delete(spool.layout, State.DONE, name)
    assert names(spool.path / "logs") == ["x.log"]


def test_the_id_cannot_be_taken_while_its_log_goes(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job enqueued between the two deletions would lose its log, so the id is held until both are done."""
    name = finished(spool, "x", timedelta(days=2))
    seen = []
    remove = files.remove

    def watched(path: str) -> bool:
        removed = remove(path)
        if path.endswith(".json"):
            log = logs.open_log(spool.layout.log("x"))
            seen.append(lease.try_lock(log))
            os.close(log)
        return removed

    monkeypatch.setattr(files, "remove", watched)
    assert prune.delete(spool.layout, State.DONE, name)
    assert seen == [False]
    monkeypatch.undo()
    assert spool.enqueue("true", id="x").id == "x"
