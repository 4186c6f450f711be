"""A group, or the queue, in which too many jobs fail pauses itself."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.core.settings import Settings
from queuectl.spool.system import clock, groups, pause
from queuectl.work import brake
from tests.support import wait_for
from tests.work.conftest import StartWorker


def _fail(spool: Spool, running: object, *ids: str) -> None:
    for id in ids:
        job = spool.enqueue("exit 3", id=id, max_retries=0)
        assert spool.wait(job.id, timeout=20).state is State.DEAD


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts again at once."""
    monkeypatch.setattr(brake, "_INTERVAL", 0.0)


def test_brake_pauses_a_group_in_which_too_many_jobs_have_failed(spool: Spool, in_process: StartWorker) -> None:
    """With the reason; others continue, and so does the group once it is resumed, from zero."""
    groups.write(spool.layout, "net", "max-failed", "2")
    with in_process() as running:
        _fail(spool, running, "net.1", "gpu.1", "gpu.2", "net.2")
        wait_for(lambda: pause.read(spool.layout, clock.now, "net"), "the pause")
        paused = pause.read(spool.layout, clock.now, "net")
        assert paused is not None
        assert paused.reason == "2 jobs failed; max-failed is 2"
        waits = spool.enqueue("exit 3", id="net.3", max_retries=0)
        assert spool.wait(spool.enqueue("true", id="gpu.3").id, timeout=20).state is State.DONE
        assert spool.get(waits.id).state is State.PENDING
        assert not spool.is_paused()

        pause.remove(spool.layout, "net")
        assert spool.wait(waits.id, timeout=20).state is State.DEAD
        _fail(spool, running, "other")
    assert pause.read(spool.layout, clock.now, "net") is None
    said = [event["message"] for event in running.events() if event["event"] == "paused"]
    assert "the group net has paused itself: 2 jobs failed; max-failed is 2" in said


def test_brake_counts_neither_cancelled_nor_invalid_jobs(spool: Spool, in_process: StartWorker) -> None:
    """Only what ran and failed says that something is wrong."""
    groups.write(spool.layout, "net", "max-failed", "2")
    for number in range(3):
        spool.cancel(spool.enqueue("true", id=f"net.c{number}"))
    with in_process() as running:
        _fail(spool, running, "net.1")
    assert pause.read(spool.layout, clock.now, "net") is None


@pytest.mark.parametrize(("done", "is_paused"), [(2, True), (5, False)])
def test_brake_takes_a_share_of_those_that_have_ended(
    spool: Spool, in_process: StartWorker, done: int, is_paused: bool
) -> None:
    """Once five have: three of five are more than half, three of eight are not."""
    groups.write(spool.layout, "net", "max-failed", "50%")
    with in_process() as running:
        for number in range(done):
            spool.wait(spool.enqueue("true", id=f"net.d{number}").id, timeout=20)
        _fail(spool, running, "net.1", "net.2", "net.3")
    assert (pause.read(spool.layout, clock.now, "net") is not None) is is_paused


def test_brake_of_the_whole_queue(spool: Spool, in_process: StartWorker) -> None:
    """The setting max-failed pauses the queue, whatever the groups; a hook is called."""
    heard = spool.path / "heard"
    hook = Path(spool.layout.hook("group-paused"))
    hook.parent.mkdir()
    hook.write_text(f"#!/bin/sh\ncat >>{heard}\n")
    hook.chmod(0o755)
    (spool.path / "config.toml").write_text('max-failed = "2"\n')
    with in_process() as running:
        _fail(spool, running, "a", "net.1")
        wait_for(spool.is_paused, "the pause")
        wait_for(lambda: heard.exists() and heard.read_text().endswith("\n"), "the hook")
    message = json.loads(heard.read_text())
    assert (message["event"], message["group"]) == ("group-paused", None)
    assert message["reason"] == "2 jobs failed; max-failed is 2"
    assert Settings().max_failed is None


def test_pause_of_a_slow_brake_is_void_after_a_resume(spool: Spool) -> None:
    """It says from when it counted, and that has changed; the pause of a person is not."""
    groups.write(spool.layout, "net", "max-failed", "2")
    since = pause.counted_from(spool.layout, clock.now, "net")
    pause.remove(spool.layout, "net")
    pause.write(spool.layout, "late", group="net", counted=since)
    assert pause.read(spool.layout, clock.now, "net") is None
    pause.write(spool.layout, "by hand", group="net")
    assert pause.read(spool.layout, clock.now, "net") is not None


def test_resume_by_hand_lets_failures_count_from_then_on(spool: Spool) -> None:
    """`touch resumed; rm paused` is what `queuectl resume` does."""
    groups.write(spool.layout, "net", "max-failed", "2")
    before = pause.counted_from(spool.layout, clock.now, "net")
    path = spool.path / "groups/net/resumed"
    path.touch()
    os.utime(path, ns=(before + 5, before + 5))
    assert pause.counted_from(spool.layout, clock.now, "net") == before + 5
