"""`worker start --drain`: what it waits for, what it leaves, and its exit code."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.spool.moves.dependents import Moved
from queuectl.spool.system import groups
from queuectl.spool.system.clock import now
from queuectl.spool.upkeep.edges import Upkeep
from queuectl.work import drain
from tests.support import WorkerProcess, wait_for, workers
from tests.work.conftest import StartWorker


def _warnings(worker: WorkerProcess) -> list[str]:
    return [event["message"] for event in worker.events() if event["event"] == "warning"]


@pytest.mark.parametrize("words", [(), ("--processes", "2")])
def test_paused_queue(spool: Spool, words: tuple[str, ...]) -> None:
    """Behind a pause nothing starts, so the worker names what is left, whatever its time, and exits with 1."""
    spool.pause("no disk")
    spool.enqueue("true", id="ready")
    spool.enqueue("true", id="later", run_at="2999-01-01T00:00:00Z")
    spool.enqueue("true", id="held")
    spool.hold("held")
    worker = WorkerProcess(spool.path, "--drain", *words)
    assert worker.wait_exit() == 1
    behind, held = (
        "2 jobs (ready, later) left, as the queue is paused; to continue: queuectl resume",
        "1 job (held) left, held; to release: queuectl release",
    )
    assert set(_warnings(worker)) == {behind, held}
    assert spool.counts().pending == 3


def test_empty_queue_that_is_paused(spool: Spool) -> None:
    """With nothing left the exit code is 0, paused or not."""
    spool.pause()
    worker = WorkerProcess(spool.path, "--drain")
    assert (worker.wait_exit(), _warnings(worker)) == (0, [])


def test_pause_with_an_end(spool: Spool) -> None:
    """A pause that ends by itself is waited for."""
    spool.pause("", now() + timedelta(seconds=1))
    spool.enqueue("true", id="x")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert spool.counts().done == 1


def test_pause_during_the_drain(spool: Spool, tmp_path: Path) -> None:
    """What is running when the queue is paused ends first; what waits, for a retry too, is left."""
    go = tmp_path / "go"
    spool.enqueue(f"until [ -e {go} ]; do sleep 0.02; done", id="runs")
    spool.enqueue("true", id="waits", priority=20)
    worker = WorkerProcess(spool.path, "--drain").wait_ready()
    wait_for(lambda: worker.has("start", "runs"), "the start")
    spool.pause()
    go.touch()
    assert worker.wait_exit() == 1
    assert (spool.counts().done, spool.counts().pending) == (1, 1)
    assert _warnings(worker)[0].startswith("1 job (waits) left, as the queue is paused")


def test_held_jobs(spool: Spool) -> None:
    """Held jobs are left and named, the first of them by their ids; the others run."""
    for number in range(8):
        spool.enqueue("true", id=f"h{number}")
        spool.hold(f"h{number}")
    spool.enqueue("true", id="x")
    worker = WorkerProcess(spool.path, "--drain")
    assert (worker.wait_exit(), spool.counts().done) == (1, 1)
    assert _warnings(worker) == ["8 jobs (h0, h1, h2, h3, h4, …) left, held; to release: queuectl release"]


def test_dropped_file_behind_a_pause(spool: Spool) -> None:
    """A file that no worker has taken in yet is taken in first, and then left by its id."""
    spool.pause()
    (spool.path / "pending" / "x.json").write_text('{"command": "true", "id": "dropped"}')
    worker = WorkerProcess(spool.path, "--drain")
    assert worker.wait_exit() == 1
    assert _warnings(worker)[0].startswith("1 job (dropped) left")


def test_groups_that_it_does_not_take(spool: Spool) -> None:
    """Jobs of other groups are not started, not waited for and named, also while one of them runs elsewhere."""
    with workers(spool.path, 1, "--not-group", "gpu"):
        spool.enqueue("sleep 600", id="slow")
        wait_for(lambda: spool.counts().running, "the start of a job of the other worker")
        spool.enqueue("true", id="gpu.1")
        spool.enqueue("true", id="gpu.t.1", priority=50)
        spool.enqueue("true", id="later", run_at="2999-01-01T00:00:00Z")
        worker = WorkerProcess(spool.path, "--drain", "--group", "gpu")
        assert worker.wait_exit() == 1
        assert _warnings(worker) == ["1 job (later) left, as this worker does not take them"]
        assert (spool.counts().done, spool.counts().running) == (2, 1)


def test_excluded_group(spool: Spool) -> None:
    """With nothing else left the worker exits with 1, and names the jobs that need another worker."""
    spool.enqueue("true", id="gpu.1")
    spool.enqueue("true", id="x")
    worker = WorkerProcess(spool.path, "--drain", "--not-group", "gpu")
    assert worker.wait_exit() == 1
    assert _warnings(worker) == ["1 job (gpu.1) left, as this worker does not take them"]
    assert spool.counts().done == 1


def test_closed_group_is_left_at_once(spool: Spool) -> None:
    """Behind a pause or a limit of 0 the worker does not wait for its next beat."""
    (spool.path / "config.toml").write_text("rescan = 600\n")
    for id in ("gpu.1", "net.1"):
        spool.enqueue("true", id=id)
    spool.pause(group="gpu")
    groups.write(spool.layout, "net", "limit", "0")
    worker = WorkerProcess(spool.path, "--drain")
    assert worker.wait_exit() == 1
    assert [text.partition(" left")[0] for text in _warnings(worker)] == ["1 job (gpu.1)", "1 job (net.1)"]


def test_skipped_job_that_is_being_looked_at_is_waited_for(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The beat of the dependencies may bring it back: here its cause was moved to done/ by hand, or in a backup."""
    cause = spool.enqueue("false", id="cause", max_retries=0)
    spool.enqueue("true", id="child", after=[cause])
    with in_process(drain=True) as running:
        wait_for(lambda: not running.thread.is_alive(), "the end of the first worker")
    assert str(spool.get("child").result) == "skipped"
    path = Path(spool.get("cause").path)
    path.rename(spool.path / "done" / path.name.replace("exit1", "exit0"))
    has_looked = threading.Event()
    can_nothing_start, run = drain.can_nothing_start, Upkeep.run

    def look(*args: Any, **options: Any) -> bool:
        try:
            return can_nothing_start(*args, **options)
        finally:
            has_looked.set()

    def run_later(self: Upkeep, **options: Any) -> list[Moved] | None:
        assert has_looked.wait(20)
        return run(self, **options)

    monkeypatch.setattr(drain, "can_nothing_start", look)
    monkeypatch.setattr(Upkeep, "run", run_later)
    with in_process(drain=True) as running:
        wait_for(lambda: not running.thread.is_alive(), "the end of the second")
    assert str(spool.get("child").result) == "exit0"
