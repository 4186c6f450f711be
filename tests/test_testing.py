"""`queuectl.testing`: jobs run inside a test, and nothing is left of it."""

from __future__ import annotations

import subprocess
import sys
import threading

from queuectl import Spool, SpoolExecutor, State
from queuectl.testing import run_jobs, spool, working
from tests.support import wait_for

__all__ = ["spool"]
"""The fixture, instead of the one of tests/conftest.py."""


def test_fixture_is_the_spool_that_everything_finds(spool: Spool) -> None:
    """Spool() and the command work on it without being given a path."""
    assert Spool().path == spool.path
    done = subprocess.run([sys.executable, "-m", "queuectl", "enqueue", "-q", "--", "true"], check=False)
    assert (done.returncode, spool.counts().pending) == (0, 1)


def test_run_jobs_returns_those_that_ended(spool: Spool) -> None:
    """Also what a job has queued, in the order in which they ended, and none of an earlier call."""
    spool.enqueue(f"{sys.executable} -m queuectl enqueue -q --id child -- true", id="parent")
    assert [job.id for job in run_jobs(spool)] == ["parent", "child"]
    spool.enqueue("exit 3", id="fails", max_retries=0)
    (job,) = run_jobs(spool)
    assert (job.id, job.state, str(job.result)) == ("fails", State.DEAD, "exit3")
    assert run_jobs(spool) == []


def test_run_jobs_does_not_wait_for_a_later_time(spool: Spool) -> None:
    """What is for later, and a retry, stays; with `ahead` it is run at once, but not what is held."""
    spool.enqueue("exit 1", id="fails", max_retries=2)
    spool.enqueue("true", id="later", run_at="2999-01-01T00:00:00Z")
    spool.hold(spool.enqueue("true", id="held"))
    assert run_jobs(spool) == []
    ended = run_jobs(spool, ahead=True)
    assert {(job.id, str(job.result), job.attempts) for job in ended} == {("fails", "exit1", 3), ("later", "exit0", 1)}
    assert spool.get("held").is_held


def test_working_runs_jobs_that_a_test_waits_for(spool: Spool) -> None:
    """A program that blocks until its jobs have ended can be tested; what still runs is given back at the end."""
    with working(spool, slots=2):
        assert SpoolExecutor(spool).submit("echo hi").result(timeout=30).state is State.DONE
        spool.enqueue("sleep 300", id="slow")
        wait_for(lambda: spool.get("slow").state is State.RUNNING, "the job's start")
    assert spool.get("slow").state is State.PENDING
    assert not any(each.name == "queuectl-worker" for each in threading.enumerate())
