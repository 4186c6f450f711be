"""Jobs on a real Slurm: as many Slurm jobs as there is work for, and what each way to end one leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.result import State
from queuectl.work.engines.slurm import _parse_left, count_cards
from tests.support import CommandLine, WorkerProcess, names, wait_for
from tests.work.engines.slurms import Slurm

SLOW = 90.0
"""Seconds within which what takes Slurm some comes true on a busy machine."""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Two nodes of two processors each."""
    slurm = Slurm(tmp_path_factory.mktemp("slurm"))
    yield slurm
    slurm.close()


def fleet(spool: Spool, slurm: Slurm, *words: str) -> WorkerProcess:
    """A worker on that Slurm, once it takes jobs."""
    options = ("--on", "slurm", "--count", "2", "--address", "127.0.0.1", *words)
    worker = WorkerProcess(Path(spool.path), *options, env=slurm.environment)
    wait_for(lambda: worker.has("worker") or worker.process.poll() is not None, "the worker's start", SLOW)
    return worker


def is_over(spool: Spool, *ids: str) -> bool:
    return all(spool.get(id).state in (State.DONE, State.DEAD) for id in ids)


def stop(worker: WorkerProcess, slurm: Slurm) -> None:
    """Stop it, and see that nothing is left of it."""
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit(SLOW) == 0
    wait_for(lambda: not slurm.jobs(), "the end of its Slurm jobs", SLOW)
    assert not slurm.pids("queuectl.work.engines.own_scheduler\0" + slurm.environment["XDG_STATE_HOME"])
    assert not slurm.pids("queuectl.work.engines.pilot")


def test_jobs_on_slurm_end_as_on_one_machine(cli: CommandLine, spool: Spool, slurm: Slurm) -> None:
    """Slurm jobs come with the jobs and go with them; exit codes and logs are true, and nothing is left."""
    for number in range(60):
        spool.enqueue(f"echo out {number}; exit {number % 3}", id=f"x{number}", max_retries=0)
    spool.enqueue("true", id="wide", slots=3)
    spool.enqueue("true", id="long", timeout=600)
    worker = fleet(spool, slurm, "--max", "2", "--time", "10m", "--drain")
    wait_for(lambda: len(slurm.jobs()) == 2, "two Slurm jobs", SLOW)
    shown = wait_for(lambda: [job for each in cli.json("worker", "list") for job in each["batch_jobs"]], "the list")
    assert {job["id"] for job in shown} == set(slurm.jobs())
    assert "3 slots, the largest worker has 2" in cli.ok("explain", "wide")
    assert "queuectl set long timeout=575s" in cli.ok("explain", "long")
    assert worker.wait_exit(SLOW) == 1
    assert "a Slurm job of 10 m 00 s sees the end of a timeout of 9 m 35 s at most" in worker.report.read_text()
    for number in range(60):
        assert str(spool.get(f"x{number}").result) == f"exit{number % 3}"
        assert cli.ok("logs", f"x{number}") == f"out {number}"
    assert not slurm.jobs("PENDING", "RUNNING")
    assert not slurm.pids("queuectl.work.engines.pilot")


def states_of_jobs(spool: Spool) -> list[str]:
    """Of the Slurm jobs of the worker."""
    (worker,) = spool.workers()
    return [job["state"] for job in worker.get("batch_jobs", ())]


def test_slurm_job_is_ended_without_harm(spool: Spool, slurm: Slurm, tmp_path: Path) -> None:
    """Asked to end it lets its jobs finish; cancelled with all that runs there it gives them back, and no attempt
    counts; killed, its jobs end with it and are lost."""
    go = tmp_path / "go"
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.05; done; exit 7", id="x", max_retries=0)
    worker = fleet(spool, slurm, "--max", "1", "--time", "10m")
    wait_for(lambda: worker.has("start", "x") and slurm.pids(f"while [ ! -e {go}"), "the start", SLOW)
    (first,) = slurm.jobs("RUNNING")
    slurm.run("scancel", "-b", "-s", "TERM", first)
    wait_for(lambda: states_of_jobs(spool) == ["stopping"], "the news", SLOW)
    spool.enqueue("sleep 4141", id="y")
    spool.enqueue("sleep 4242", id="z", on_lost="dead")
    go.touch()
    wait_for(lambda: is_over(spool, "x"), "the end of x", SLOW)
    assert str(spool.get("x").result) == "exit7"
    wait_for(lambda: slurm.pids("sleep\0004141") and slurm.pids("sleep\0004242"), "the start on the next one", SLOW)
    (second,) = slurm.jobs("RUNNING")
    assert second != first
    slurm.run("scancel", second)
    wait_for(lambda: worker.has("released", "y") and worker.has("released", "z"), "the release", SLOW)
    wait_for(lambda: slurm.pids("sleep\0004141") and slurm.pids("sleep\0004242"), "the start on the third", SLOW)
    assert not worker.has("lost")
    assert [spool.get(id).attempts for id in "yz"] == [1, 1]
    (pid,) = slurm.pids("queuectl.work.engines.pilot")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_over(spool, "z"), "the end of z", SLOW)
    assert str(spool.get("z").result) == "lost"
    assert not slurm.pids("sleep\0004242")
    worker.process.send_signal(signal.SIGQUIT)
    stop(worker, slurm)


def test_worker_on_slurm_that_was_killed_finds_its_slurm_jobs(spool: Spool, slurm: Slurm, tmp_path: Path) -> None:
    """The next one takes over what runs there, and starts no other Slurm job for it; when it is idle there is none. A
    second at once is refused."""
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    spool.enqueue(f"echo x >>{ledger}; while [ ! -e {go} ]; do sleep 0.05; done; exit 7", id="x", max_retries=0)
    first = fleet(spool, slurm, "--max", "2", "--time", "10m")
    wait_for(ledger.exists, "the start", SLOW)
    before = slurm.jobs()
    refused = fleet(spool, slurm, "--max", "2")
    assert refused.process.wait(SLOW) == 6
    assert "another worker of this spool" in refused.report.read_text()
    first.kill()
    second = fleet(spool, slurm, "--max", "2", "--time", "10m", "--keep", "1")
    wait_for(lambda: second.has("adopted", "x"), "the adoption", SLOW)
    assert slurm.jobs() == before
    go.touch()
    wait_for(lambda: is_over(spool, "x"), "the end", SLOW)
    assert (str(spool.get("x").result), ledger.read_text()) == ("exit7", "x\n")
    wait_for(lambda: not slurm.jobs(), "the end of its Slurm jobs, as there is nothing to do", SLOW)
    stop(second, slurm)
    assert not names(Path(spool.path) / "running")


def test_jobs_share_the_cards_that_slurm_gave(spool: Spool, cli: CommandLine, slurm: Slurm) -> None:
    """Each has its own, whatever seats the group has here; one that asks for more than there are is named."""
    cli.ok("group", "set", "gpu", "seats=1", "seat-env=CUDA_VISIBLE_DEVICES")
    for number in range(3):
        spool.enqueue("echo cards $CUDA_VISIBLE_DEVICES $QUEUECTL_SEAT_GPU; sleep 1", id=f"gpu.{number}")
    spool.enqueue("true", id="gpu.all", seats={"gpu": 3})
    worker = fleet(spool, slurm, "--max", "1", "--time", "10m", "--group", "gpu", "--drain", "--", "--gres=gpu:2")
    assert worker.wait_exit(SLOW) == 1
    assert "as it asks for 3 cards, and a Slurm job has 2" in worker.report.read_text()
    said = [cli.ok("logs", f"gpu.{number}") for number in range(3)]
    assert {*said} == {"cards 0 0", "cards 1 1"}


@pytest.mark.parametrize(
    ("options", "number"),
    [
        (["--gres=gpu:1"], 1), (["--gres", "gpu:a100:4"], 4), (["--gres=shard:1,gpu"], 1), (["--gpus", "3"], 3),
        (["-G", "2"], 2), (["--gpus-per-node=a100:2"], 2), (["--partition=gpu", "--mem=4G"], 0),
    ],
)  # fmt: skip
def test_cards_are_counted(options: list[str], number: int) -> None:
    """In each of the options of sbatch that ask for some."""
    assert count_cards(options) == number


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:30", 30), ("4:00:00", 14400), ("2-01:00:00", 176400), ("UNLIMITED", None), ("NOT_SET", None)],
)
def test_time_left_of_slurm_is_read(text: str, seconds: float | None) -> None:
    """In each of the forms in which squeue says it."""
    assert _parse_left(text) == seconds
