"""Workers delete what the settings say is kept no longer."""

from __future__ import annotations

import errno
from datetime import timedelta
from io import StringIO
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.result import State
from queuectl.spool.moves import prune
from queuectl.spool.system import host, lease, progress, settings
from queuectl.spool.system.layout import create
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
    monkeypatch.setenv("QUEUECTL_KEEP_DONE", "1h")
    stream = StringIO()
    tidy = Tidy(Context(spool, Report("json", stream), settings.load(spool.layout)))
    (spool.path / "done").rmdir()
    tidy.tidy()
    wait_for(lambda: tidy.is_idle, "the end of the attempt")
    assert stream.getvalue().count("old jobs cannot be deleted") == 1


def test_too_few_descriptors_are_left_to_the_slots_to_report(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that end give some back: it is tried again soon."""
    left, asked = spool.path / "progress" / "gone", []

    def find(*_: object) -> list[str]:
        asked.append("")
        if len(asked) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        return [str(left)]

    monkeypatch.setattr(progress, "find_left", find)
    left.parent.mkdir(exist_ok=True)
    left.touch()
    stream = StringIO()
    tidy = Tidy(Context(spool, Report("json", stream), settings.load(spool.layout)))
    for is_there in (True, False):
        tidy.tidy()
        wait_for(lambda: tidy.is_idle, "the end of the attempt")
        assert left.exists() is is_there
    assert stream.getvalue() == ""


def test_marks_of_hosts_that_have_left_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day later, like what is left in tmp/: else each container that ever worked would leave one."""
    for place in ("MEMORY", "DISK"):
        (tmp_path / place).mkdir()
        monkeypatch.setattr(host, place, str(tmp_path / place))
    create(tmp_path / "spool", is_shared=True)
    spool = Spool(tmp_path / "spool")
    mark, beat = spool.path / "hosts" / "web8.aaaaaa-5-left", spool.path / "hosts" / "web9.aaaaaa-5-web9.aaaaaa.1.bbbb"
    for path in (mark, beat):
        path.touch()
    tidy = Tidy(Context(spool, Report("quiet"), settings.load(spool.layout)))
    tidy.tidy()
    wait_for(lambda: tidy.is_idle, "the first time")
    assert mark.exists()
    monkeypatch.setattr(prune, "STALE", -60.0)
    tidy._clear_at = 0.0
    tidy.tidy()
    wait_for(lambda: not mark.exists(), "the removal")
    assert beat.exists()
