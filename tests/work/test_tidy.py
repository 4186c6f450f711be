"""Workers delete what the settings say is kept no longer."""

from __future__ import annotations

from datetime import timedelta

import pytest

from queuectl import Spool
from queuectl.core.result import State
from queuectl.spool.system import lease, settings
from queuectl.work.context import Context
from queuectl.work.report import Report
from queuectl.work.tidy import Tidy
from tests.spool.moves.test_prune import finished, ids
from tests.support import wait_for, workers


def test_worker_prunes_by_the_settings(spool: Spool) -> None:
    """Old done jobs go, and dead ones only if keep-dead is set."""
    for days in range(3):
        finished(spool, f"done{days}", timedelta(days=days, minutes=1))
        finished(spool, f"dead{days}", timedelta(days=days, minutes=1), State.DEAD)
    settings.store(spool.layout, "keep-done-count", "1")
    with workers(spool.path, 2) as both:
        wait_for(lambda: ids(spool) == {"done0"}, "the end of old jobs")
        assert len(ids(spool, State.DEAD)) == 3
        wait_for(lambda: any(worker.has("pruned") for worker in both), "the report")
    settings.store(spool.layout, "keep-dead", "1d")
    with workers(spool.path):
        wait_for(lambda: ids(spool, State.DEAD) == {"dead0"}, "the end of old dead jobs")


def test_tidying_is_done_by_one_worker_at_a_time(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody else prunes, a worker leaves the jobs alone."""
    finished(spool, "x", timedelta(days=1))
    monkeypatch.setenv("QUEUECTL_KEEP_DONE", "1h")
    tidy = Tidy(Context(spool, Report("quiet"), settings.load(spool.layout)))
    with lease.sole_pruner(spool.layout):
        tidy.tidy()
        wait_for(lambda: tidy.is_idle, "the end of the attempt")
    assert ids(spool) == {"x"}


def test_file_that_cannot_be_deleted_is_reported_once(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure is a warning and no more."""
    from io import StringIO

    monkeypatch.setenv("QUEUECTL_KEEP_DONE", "1h")
    stream = StringIO()
    tidy = Tidy(Context(spool, Report("json", stream), settings.load(spool.layout)))
    (spool.path / "done").rmdir()
    tidy.tidy()
    wait_for(lambda: tidy.is_idle, "the end of the attempt")
    assert stream.getvalue().count("old jobs cannot be deleted") == 1
