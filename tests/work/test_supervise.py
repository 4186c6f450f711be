"""`worker start --processes N`: one process that keeps several workers running, and ends with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from queuectl import Spool
from queuectl.core.result import State
from tests.support import CommandLine, WorkerProcess, names, wait_for


def alive(spool: Spool) -> list[int]:
    """The pids of the workers that live."""
    return [worker["pid"] for worker in spool.workers() if worker["alive"] and "pid" in worker]


def start(spool: Spool, *words: str, number: int = 2) -> WorkerProcess:
    supervisor = WorkerProcess(spool.path, "--processes", f"{number}", *words)
    wait_for(lambda: len(alive(spool)) == number, "the workers")
    return supervisor


def test_supervisor_starts_as_many_as_asked_for(spool: Spool) -> None:
    """N workers, each with its own name, and lines that name the one that speaks."""
    supervisor = start(spool, number=3)
    spool.enqueue("true", id="x")
    spool.wait("x", timeout=20)
    supervisor.process.send_signal(signal.SIGTERM)
    assert supervisor.wait_exit() == 0
    assert names(spool.path / "workers") == []
    speakers = {event["worker"] for event in supervisor.events() if event["event"] == "worker"}
    assert len(speakers - {None}) == 3
    assert next(event["worker"] for event in supervisor.events() if event["event"] == "done") in speakers


def test_supervisor_drains(spool: Spool) -> None:
    """Workers that end well are not replaced, and with the last one the supervisor ends."""
    list(spool.enqueue_many({"command": "true"} for _ in range(20)))
    supervisor = WorkerProcess(spool.path, "--processes", "2", "--drain")
    assert supervisor.wait_exit() == 0
    assert len(names(spool.path / "done")) == 20
    assert not supervisor.has("warning")


def test_process_that_dies_is_replaced(spool: Spool, tmp_path: Path) -> None:
    """After a kill -9 there are as many workers again, and the job of the dead one continues."""
    go = tmp_path / "go"
    supervisor = start(spool)
    spool.enqueue(f"while ! [ -e {go} ]; do sleep 0.01; done", id="x")
    wait_for(lambda: supervisor.has("start", "x"))
    (holder,) = [worker for worker in spool.workers() if worker["runs"]]
    os.kill(holder["pid"], signal.SIGKILL)
    wait_for(lambda: holder["pid"] not in alive(spool) and len(alive(spool)) == 2, "another worker")
    assert any("ended with signal 9" in event["message"] for event in supervisor.events())
    wait_for(lambda: supervisor.has("adopted", "x"), "the adoption")
    go.touch()
    job = spool.wait("x", timeout=20)
    assert (f"{job.result}", job.attempts) == ("exit0", 1)
    supervisor.process.send_signal(signal.SIGTERM)
    assert supervisor.wait_exit() == 0


def test_supervisor_ends_with_its_last_worker(cli: CommandLine, spool: Spool) -> None:
    """`worker stop` of all of them ends the supervisor too; none comes back."""
    supervisor = start(spool)
    first = next(worker["worker"] for worker in spool.workers())
    cli.ok("worker", "stop", first, "--wait")
    assert len(alive(spool)) == 1
    cli.ok("worker", "stop", "--wait")
    assert supervisor.wait_exit() == 0


def test_stopping_lets_jobs_finish_and_twice_puts_them_back(spool: Spool) -> None:
    """The supervisor passes on each signal, as often as it comes."""
    supervisor = start(spool)
    spool.enqueue("sleep 300", id="x")
    wait_for(lambda: supervisor.has("start", "x"))
    supervisor.process.send_signal(signal.SIGINT)
    wait_for(lambda: len(alive(spool)) == 1, "the end of the idle worker")
    assert supervisor.process.poll() is None
    supervisor.process.send_signal(signal.SIGINT)
    assert supervisor.wait_exit() == 0
    assert (spool.get("x").state, spool.get("x").attempts) == (State.PENDING, 0)


def test_supervisor_that_is_killed_takes_its_workers_along(spool: Spool, tmp_path: Path) -> None:
    """They stop as after `worker stop`: running jobs finish first, and are settled."""
    go = tmp_path / "go"
    supervisor = start(spool)
    spool.enqueue(f"while ! [ -e {go} ]; do sleep 0.01; done", id="x")
    wait_for(lambda: supervisor.has("start", "x"))
    supervisor.kill()
    wait_for(lambda: len(alive(spool)) == 1, "the end of the idle worker")
    go.touch()
    wait_for(lambda: alive(spool) == [], "the end of the other one")
    assert f"{spool.get('x').result}" == "exit0"


def test_supervisor_that_is_killed_while_it_stops_ends_no_job(spool: Spool, tmp_path: Path) -> None:
    """Its end is not a second request to stop."""
    go = tmp_path / "go"
    supervisor = start(spool)
    spool.enqueue(f"while ! [ -e {go} ]; do sleep 0.01; done", id="x")
    wait_for(lambda: supervisor.has("start", "x"))
    supervisor.process.send_signal(signal.SIGTERM)
    wait_for(lambda: len(alive(spool)) == 1, "the end of the idle worker")
    supervisor.kill()
    supervisor.wait_exit()
    (tmp_path / "go").touch()
    wait_for(lambda: alive(spool) == [], "the end of the other one")
    assert f"{spool.get('x').result}" == "exit0"


def test_supervisor_detaches(cli: CommandLine, spool: Spool) -> None:
    """On a request to detach, all of them leave their jobs running."""
    supervisor = start(spool)
    spool.enqueue("sleep 300", id="x")
    wait_for(lambda: supervisor.has("start", "x"))
    supervisor.process.send_signal(signal.SIGUSR1)
    assert supervisor.wait_exit() == 0
    assert spool.get("x").state == State.RUNNING
    with_job = WorkerProcess(spool.path)
    wait_for(lambda: with_job.has("adopted", "x"))
    spool.cancel("x")
