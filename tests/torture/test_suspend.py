"""Everything stopped and continued, and every inotify instance used up: by real signals and the real limit."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from queuectl import Spool
from queuectl.spool import processes
from tests.support import CommandLine, WorkerProcess, names, need, wait_for
from tests.torture import checker, witness


def test_workers_that_are_suspended_lose_nothing(spool: Spool, tmp_path: Path) -> None:
    """Stopped in the middle of everything and continued, by turns, they run every job once; nobody robs a sleeper."""
    evidence = witness.Evidence(tmp_path / "evidence")
    jobs = witness.make_jobs(evidence, 120, seed=3)
    witness.enqueue_all(spool.path, jobs, evidence.directory / "journal", group=120)
    workers = [WorkerProcess(spool.path, "--count", "2").wait_ready() for _ in range(2)]

    def settled() -> int:
        return sum(len(names(spool.path / state)) for state in ("done", "dead"))

    for turn in range(6):
        sleeper, other = workers[turn % 2], workers[(turn + 1) % 2]
        sleeper.process.send_signal(signal.SIGSTOP)
        least = min(settled() + 15, 110)
        wait_for(lambda least=least: settled() >= least, "the other worker's progress")  # type: ignore[misc]
        other.process.send_signal(signal.SIGSTOP)
        for worker in (other, sleeper):
            worker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: settled() == 120, patience=60)
    verdict = checker.check(spool.path, evidence.directory)
    assert verdict.problems == []


def test_a_suspended_job_is_timed_out_and_no_other(spool: Spool, tmp_path: Path) -> None:
    """After a suspension of everything a job that is over its time is ended; one that is not goes on."""
    go = tmp_path / "go"
    spool.enqueue("sleep 600", id="short", timeout=1, max_retries=0)
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.01; done", id="long", timeout=600, max_retries=0)
    worker = WorkerProcess(spool.path, "--count", "2")
    wait_for(lambda: len(names(spool.path / "running")) == 2)
    pids = [worker.process.pid]
    for name in names(spool.path / "running"):
        text = wait_for(lambda name=name: _start_line(spool, name))  # type: ignore[misc]
        pids.append(int(text.rsplit("pid=", 1)[1]))
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            os.kill(pid, number)
        wait_for(lambda: processes.age(pids[0]) or 1)
    spool.wait("short", timeout=20)
    go.touch()
    spool.wait("long", timeout=20)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit() == 0
    assert f"{spool.get('short').result}" == "timeout"
    assert f"{spool.get('long').result}" == "exit0"


def _start_line(spool: Spool, running: str) -> str:
    id = running.rsplit("-", 1)[1].removesuffix(".json")
    lines = spool.log_path(id).read_text().splitlines()
    return next((line for line in lines if " start " in line and "pid=" in line), "")


def test_the_last_inotify_instance_is_taken(spool: Spool, cli: CommandLine) -> None:
    """With the kernel's own limit reached a worker says so once, and still starts what is dropped."""
    need("unshare")
    cli.ok("config", "set", "rescan", "1000")
    limit = 'echo 0 >/proc/sys/user/max_inotify_instances; exec "$@"'  # of a user namespace of the worker's own
    prefix = ("unshare", "-Ur", "sh", "-c", limit, "sh", sys.executable, "-m", "queuectl")
    worker = WorkerProcess(spool.path, prefix=prefix).wait_ready()
    wait_for(lambda: worker.has("warning"))
    for id in ("x", "y"):
        (spool.path / "pending" / f"dropped {id}.json").write_text(f'{{"command": "true", "id": "{id}"}}')
        wait_for(lambda id=id: worker.has("done", id))  # type: ignore[misc]
    warnings = [event["message"] for event in worker.events() if event["event"] == "warning"]
    assert len(warnings) == 1
    assert "no file events" in warnings[0]
