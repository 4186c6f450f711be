"""Commands that wait for the queue, used inside a job of that queue."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.core.names import RunningName, format_time
from queuectl.errors import UsageError
from queuectl.spool.reading.itself import itself
from queuectl.spool.system import processes
from queuectl.spool.system.clock import now
from tests.spool.given import put, read_log
from tests.support import CommandLine, WorkerProcess, wait_for

QUEUECTL = f"{sys.executable} -m queuectl"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("worker start --drain", 0, "has stopped"),
        ("worker start --drain --processes 2", 0, "has stopped"),
        ("drain", 0, "not waiting for self"),
        ("wait --all", 0, "not waiting for self"),
        ("wait --match wait", 0, "not waiting for self"),
        ("wait self other", 0, "not waiting for self"),
        ("wait self other --any", 0, "not waiting for self"),
        ("wait self", 2, "would wait for itself"),
        ("wait $QUEUECTL_JOB_ID", 2, "would wait for itself"),
        ("logs -f self", 2, "would wait for itself"),
        ("worker stop --wait", 2, "would wait for this command to end"),
    ],
)
def test_job_does_not_wait_for_itself(spool: Spool, words: str, code: int, said: str) -> None:
    """What waits for the queue leaves out the job that it is a part of, or refuses and gives the reason."""
    spool.enqueue("true", id="other")
    worker = WorkerProcess(spool.path)
    spool.wait("other", timeout=20)
    spool.enqueue(f"{QUEUECTL} {words}; exit $?", id="self", max_retries=0)
    job = spool.wait("self", timeout=30)
    assert (str(job.result), said in read_log(spool.layout, "self")) == (f"exit{code}", True), read_log(
        spool.layout, "self"
    )
    spool.resume()
    worker.process.terminate()
    worker.wait_exit()


def test_worker_inside_a_job_waits_for_the_others(spool: Spool, tmp_path: Path) -> None:
    """A worker that drains inside a job leaves out that one, and no other that runs."""
    go = tmp_path / "go"
    worker = WorkerProcess(spool.path, "--count", "2")
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.01; done", id="other")
    spool.enqueue(f"{QUEUECTL} worker start --drain; [ -e {go} ]", id="self", max_retries=0)
    wait_for(lambda: "runs 1 job at a time" in read_log(spool.layout, "self"), "the worker in the job")
    go.touch()
    assert str(spool.wait("self", timeout=30).result) == "exit0"
    worker.process.terminate()
    worker.wait_exit()


def test_jobs_within_jobs_do_not_wait_for_each_other(spool: Spool) -> None:
    """A job waits neither for itself nor for the job that started its worker, which waits for it."""
    spool.enqueue(f"{QUEUECTL} worker start --drain", id="outer", max_retries=0)
    spool.enqueue(f"{QUEUECTL} drain && {QUEUECTL} wait --all", id="inner", max_retries=0)
    worker = WorkerProcess(spool.path)
    assert [str(job.result) for job in spool.wait(["outer", "inner"], timeout=40)] == ["exit0", "exit0"]
    assert "not waiting for outer and inner" in read_log(spool.layout, "inner")
    worker.process.terminate()
    worker.wait_exit()


def test_wait_in_python_is_refused(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Spool.wait` raises for the job that it is a part of; a process left by an earlier attempt may wait for it."""
    name = RunningName(now(), 10, 1, "host.1.aaaa", "self")
    put(spool.layout, name, "true", State.RUNNING)
    monkeypatch.setenv("QUEUECTL_SPOOL", str(spool.path))
    monkeypatch.setenv(processes.TOKEN, processes.token_of(name, "host.2.bbbb"))
    with pytest.raises(UsageError, match="would wait for itself"):
        spool.wait("self", timeout=20)
    spool.wait_until_idle(timeout=20)
    earlier = name._replace(started_at=name.started_at.replace(year=2020))
    monkeypatch.setenv(processes.TOKEN, processes.token_of(earlier, "host.2.bbbb"))
    assert not itself(spool.layout).runs(name)


def test_job_of_another_queue_is_no_part_of_this_one(
    spool: Spool, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job may wait for the job of the same id in another spool; a link to its own spool is its own."""
    name = RunningName(now(), 10, 1, "host.1.aaaa", "self")
    monkeypatch.setenv(processes.TOKEN, processes.token_of(name, name.worker))
    monkeypatch.setenv("QUEUECTL_SPOOL", str(tmp_path))
    assert not itself(spool.layout).runs(name)
    os.symlink(spool.path, tmp_path / "link")
    monkeypatch.setenv("QUEUECTL_SPOOL", str(tmp_path / "link"))
    assert itself(spool.layout)[:2] == ("self", format_time(name.started_at))
