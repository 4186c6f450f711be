"""`worker stop --detach`: the worker goes, its jobs stay, the next worker has them: an upgrade under running jobs."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.result import State
from tests.support import CommandLine, WorkerProcess, names, wait_for, workers


def waiting(go: Path) -> str:
    return f"while ! [ -e {go} ]; do sleep 0.01; done; echo went"


def wait_for_job(worker: WorkerProcess, id: str) -> None:
    """Until the worker has started or adopted it."""
    wait_for(lambda: worker.has("start", id) or worker.has("adopted", id), f"the start of {id}")


def wait_for_done(spool: Spool, number: int) -> None:
    wait_for(lambda: len(names(spool.path / "done")) >= number, f"{number} done jobs")


def test_jobs_go_on_and_the_next_worker_has_them(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """The worker exits at once with 0; its jobs run on, once each, and are settled by the next worker."""
    go = tmp_path / "go"
    for id in ("a", "b"):
        spool.enqueue(waiting(go), id=id)
    with workers(spool.path, 1, "--count", "2") as (first,):
        wait_for(lambda: first.has("start", "a") and first.has("start", "b"))
        spool.enqueue("true", id="later")
        cli.ok("worker", "stop", "--detach", "--wait")
        assert first.wait_exit() == 0
    assert "2 jobs left to the next worker" in first.events()[-1]["message"]
    assert {job.id for job in spool.list((State.RUNNING,))} == {"a", "b"}
    second = WorkerProcess(spool.path, "--drain")
    wait_for(lambda: second.has("adopted", "a") and second.has("adopted", "b"), "the adoption")
    go.touch()
    assert second.wait_exit() == 0
    for id in ("a", "b"):
        job = spool.get(id)
        assert (f"{job.result}", job.attempts) == ("exit0", 1)
        assert spool.log_path(id).read_text().count("went") == 1
    assert names(spool.path / "workers") == []


def test_idle_worker_leaves_nothing(cli: CommandLine, spool: Spool) -> None:
    """Without jobs to detaching is to stop, and the worker's file goes."""
    with workers(spool.path) as (worker,):
        cli.ok("worker", "stop", "--detach", "--wait")
        assert worker.wait_exit() == 0
    assert names(spool.path / "workers") == []


def test_adopted_job_can_be_left_again(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Upgrades may follow each other while a long job runs."""
    go = tmp_path / "go"
    spool.enqueue(waiting(go), id="long")
    for _ in range(3):
        with workers(spool.path) as (worker,):
            wait_for_job(worker, "long")
            cli.ok("worker", "stop", "--detach", "--wait")
            assert worker.wait_exit() == 0
    go.touch()
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert (f"{spool.get('long').result}", spool.get("long").attempts) == ("exit0", 1)


@pytest.mark.parametrize("rounds", [6])
def test_detaching_under_load_neither_loses_nor_repeats_a_job(
    cli: CommandLine, spool: Spool, tmp_path: Path, rounds: int
) -> None:
    """Detached at any moment, between claim and settle too, a worker neither loses nor repeats a job."""
    ran = tmp_path / "ran"
    list(spool.enqueue_many({"command": f"echo $QUEUECTL_JOB_ID >> {ran}", "id": f"j{n:03d}"} for n in range(300)))
    for round in range(rounds):
        worker = WorkerProcess(spool.path, "--count", "3").wait_ready()
        wait_for_done(spool, 20 * (round + 1))
        worker.process.send_signal(signal.SIGUSR1)
        assert worker.wait_exit() == 0
    assert WorkerProcess(spool.path, "--drain", "--count", "3").wait_exit() == 0
    assert len(names(spool.path / "done")) == 300
    assert sorted(ran.read_text().split()) == [f"j{n:03d}" for n in range(300)]
