"""Jobs that a signal has stopped: they are shown as that, and continued when they are ended."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.spool.reading.stopped import mark_stopped
from queuectl.spool.system import processes
from tests.spool.given import read_log
from tests.support import CommandLine, WorkerProcess, wait_for, workers

CLEANS_UP = "trap 'echo cleaned; exit 3' TERM; echo ready; sh -c 'while :; do sleep 0.05; done' & wait"


def stop(spool: Spool, id: str = "x") -> None:
    """Stop a job that has said that it is ready, and all its processes."""
    wait_for(lambda: "ready" in read_log(spool.layout, id).splitlines(), "the job's start")
    spool.kill(id, signal.SIGSTOP)
    wait_for(lambda: next(mark_stopped([spool.get(id)])).is_stopped, "the job to be stopped")


@pytest.mark.parametrize("command", [CLEANS_UP, ["sh", "-c", CLEANS_UP]], ids=["string", "array"])
@pytest.mark.parametrize("way", ["cancel", "timeout", "stop --now"])
def test_stopped_job_cleans_up_when_it_is_ended(spool: Spool, way: str, command: str | list[str]) -> None:
    """A job that is stopped gets SIGCONT after SIGTERM, so its clean-up runs and the grace is not used up."""
    spool.path.joinpath("config.toml").write_text("grace = 300\n")
    spool.enqueue(command, id="x", max_retries=0, timeout=1 if way == "timeout" else None)
    worker = WorkerProcess(spool.path)
    stop(spool)
    if way == "cancel":
        spool.cancel("x")
    elif way == "stop --now":
        worker.process.send_signal(signal.SIGQUIT)
        worker.wait_exit()
    wait_for(lambda: spool.get("x").state is not State.RUNNING, "the job's end")
    assert "cleaned" in read_log(spool.layout, "x").splitlines()
    worker.process.terminate()
    worker.wait_exit()


def test_stopped_job_is_shown(spool: Spool, cli: CommandLine) -> None:
    """`list`, `show` and `explain` say that a job is stopped, and for people how to continue it."""
    with workers(spool.path, 1, "--count", "2"):
        spool.enqueue("echo ready; sleep 600", id="x")
        spool.enqueue("echo ready; sleep 600", id="y")
        wait_for(lambda: "ready" in read_log(spool.layout, "y").splitlines())
        stop(spool)
        assert {job["id"]: job["stopped"] for job in cli.json("list")} == {"x": True, "y": False}
        assert cli.json("show", "x")["stopped"] is True
        assert "running (stopped)" in cli.ok("list", "--columns", "id,state")
        assert "running (stopped)" in cli.ok("show", "x")
        assert [reason["reason"] for reason in cli.json("explain", "x")[0]["reasons"]] == ["running", "stopped"]
        assert "queuectl kill -s CONT x" in cli.ok("explain", "x")
        cli.ok("kill", "-s", "CONT", "x")
        wait_for(lambda: not cli.json("show", "x")["stopped"], "the job to go on")
        cli.ok("cancel", "x", "y")


def test_job_that_has_stopped_a_part_of_itself_is_not_stopped(spool: Spool, tmp_path: Path) -> None:
    """A job of which something still runs makes progress."""
    with workers(spool.path):
        spool.enqueue("sleep 600 & kill -STOP $!; echo ready; sh -c 'while :; do sleep 0.05; done'", id="x")
        wait_for(lambda: "ready" in read_log(spool.layout, "x").splitlines())
        token = processes.token_of(spool.get("x").name, spool.get("x").worker)  # type: ignore[arg-type]
        wait_for(lambda: len(processes.find(token)) > 3)
        assert not next(mark_stopped([spool.get("x")])).is_stopped
        spool.cancel("x")
