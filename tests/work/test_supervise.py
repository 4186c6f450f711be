"""`worker start --processes N`: one process that keeps several workers running, and ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.result import State
from tests.support import CommandLine, WorkerProcess, environment, names, need, need_root, wait_for
from tests.torture import namespaces


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
    go, begun = tmp_path / "go", tmp_path / "begun"
    supervisor = start(spool)
    spool.enqueue(f": >{begun}; while ! [ -e {go} ]; do sleep 0.01; done", id="x")
    wait_for(begun.exists, "the job's start")
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


IN_A_CONTAINER = ("unshare", "-pf", "--kill-child", "--mount-proc", sys.executable, "-m", "queuectl")
NO_PROC = ("unshare", "-pfm", "--kill-child", sys.executable, "-m", "queuectl")


def need_namespaces() -> None:
    """Skip a test where a process cannot be the first of a PID namespace; under CI=true, fail it."""
    need("unshare")
    need_root()
    if namespaces.missing() is not None:
        pytest.skip(f"{namespaces.missing()}")


def child_of(pid: int) -> int:
    """Of a process; 0 if it has none."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[0]) if found else 0


def zombies_of(pid: int) -> list[int]:
    """Children that have ended and were not waited for."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    states = [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in children]
    return [int(child) for child, state in zip(children, states, strict=True) if state == "Z"]


@pytest.mark.parametrize("words", [(), ("--processes", "2")], ids=str)
@pytest.mark.parametrize("prefix", [IN_A_CONTAINER, NO_PROC], ids=["own /proc", "the host's"])
def test_first_process_waits_for_what_it_inherits(
    spool: Spool, prefix: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """A worker that is PID 1 leaves no zombies of what its jobs left behind, and records what its own jobs did."""
    need_namespaces()
    worker = WorkerProcess(spool.path, "--count", "2", *words, prefix=prefix)
    init = wait_for(lambda: child_of(worker.process.pid), "the first process")
    for number in range(6):
        command = f"setsid sleep 0.3 & setsid sleep 0.2 & sh -c 'sleep 0.1; exit {number}'; exit {number}"
        spool.enqueue(command, id=f"j{number}", max_retries=0)
    for number in range(6):
        assert str(spool.wait(f"j{number}", timeout=30).result) == f"exit{number}"
    # None but the workers is left: all that was inherited has ended and was waited for.
    workers = int(words[1]) if words else 1
    wait_for(lambda: len(Path(f"/proc/{init}/task/{init}/children").read_text().split()) == workers, "the last to end")
    assert zombies_of(init) == []
    os.kill(init, signal.SIGTERM)
    assert worker.wait_exit() == 0
    assert names(spool.path / "workers") == []


def test_first_process_is_not_felt(spool: Spool) -> None:
    """As PID 1, a worker drains, reports and exits as everywhere, with its exit code."""
    need_namespaces()
    spool.enqueue("true", id="x")
    worker = WorkerProcess(spool.path, "--drain", prefix=IN_A_CONTAINER)
    assert worker.wait_exit() == 0
    assert spool.get("x").state is State.DONE
    assert [event["event"] for event in worker.events()] == ["worker", "start", "done", "worker"]
    spool.path.chmod(0o777)
    assert WorkerProcess(spool.path, "--drain", prefix=IN_A_CONTAINER).wait_exit() == 6


def test_worker_of_the_first_process_is_replaced(spool: Spool, tmp_path: Path) -> None:
    """In a container, a worker that is killed does not take its jobs with it: another one adopts them."""
    need_namespaces()
    go, begun = tmp_path / "go", tmp_path / "begun"
    worker = WorkerProcess(spool.path, prefix=IN_A_CONTAINER)
    spool.enqueue(f": >{begun}; while ! [ -e {go} ]; do sleep 0.01; done; exit 3", id="x", max_retries=0)
    wait_for(begun.exists, "the job's start")
    init = wait_for(lambda: child_of(worker.process.pid), "the first process")
    os.kill(wait_for(lambda: child_of(init), "the worker"), signal.SIGKILL)
    wait_for(lambda: worker.has("adopted", "x"), "the adoption")
    go.touch()
    assert str(spool.wait("x", timeout=20).result) == "exit3"
    os.kill(init, signal.SIGTERM)
    assert worker.wait_exit() == 0


def test_sigterm_ends_any_first_process(spool: Spool) -> None:
    """The kernel gives PID 1 no signal without a handler, so every command has one there."""
    need_namespaces()
    spool.enqueue("true", id="x")
    words = [*IN_A_CONTAINER, "--spool", str(spool.path), "wait", "x"]
    process = subprocess.Popen(words, env=environment(), stdin=subprocess.DEVNULL)
    init = wait_for(lambda: child_of(process.pid), "the first process")
    status = Path(f"/proc/{init}/status")
    wait_for(lambda: int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & 1 << signal.SIGTERM - 1)
    os.kill(init, signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
