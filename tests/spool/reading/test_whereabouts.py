"""Where jobs are, remembered by several threads, and never believed without a look."""

from __future__ import annotations

import os
from collections.abc import Collection

import pytest

from queuectl import Spool
from queuectl.core.result import State
from queuectl.spool.reading import whereabouts
from queuectl.spool.reading.whereabouts import Place, Whereabouts
from queuectl.spool.system import lease, logs
from queuectl.spool.system.layout import Layout


def test_look_believes_its_own_listing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread whose listing has missed the job does not make it gone for this one."""
    job = spool.enqueue("true", id="x")
    where = Whereabouts(spool.layout)
    find = whereabouts.find
    listings: list[int] = []

    def find_then_forget(layout: Layout, ids: Collection[str]) -> dict[str, Place]:
        found = find(layout, ids)
        listings.append(len(found))
        return found

    monkeypatch.setattr(whereabouts, "find", find_then_forget)
    monkeypatch.setattr(where, "note", lambda *_: None)  # as if it were forgotten at once
    assert where.look("x") == (State.PENDING, job.name)
    assert listings == [1]


def test_job_whose_log_is_locked_has_not_ended(spool: Spool) -> None:
    """Who holds it may be moving the job; once the log is free and no listing shows the job, it is gone."""
    job = spool.enqueue("true", id="x")
    os.unlink(job.path)
    log = logs.open_existing(spool.layout.log("x"))
    assert lease.lock_id(log)
    where = Whereabouts(spool.layout)
    found = where.look("x")
    assert found is not None
    assert found[0] is State.PENDING
    os.close(log)
    assert where.look("x") is None
