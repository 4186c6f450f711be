"""Everything stopped and continued, by real signals."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from queuectl import Spool
from queuectl.spool.system import processes
from tests.support import WorkerProcess, names, wait_for
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


def test_suspended_job_is_timed_out_and_no_other(spool: Spool, tmp_path: Path) -> None:
    """After a suspension of everything a job that is over its time is ended; one that is not continues."""
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
