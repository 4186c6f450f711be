"""The Slurm job that works on a shared spool, run as Slurm runs it: by its shell, with a signal to that alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.spool.system import host
from queuectl.spool.system.layout import create
from tests.support import environment, wait_for

SCRIPT = Path(__file__).parents[2] / "contrib/slurm/worker.sbatch"


def start(spool: Path, tmp_path: Path, *options: str) -> subprocess.Popen[bytes]:
    """The script, with a `queuectl` in its path."""
    program = tmp_path / "bin" / "queuectl"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m queuectl "$@"\n')
    program.chmod(0o755)
    env = environment(PATH=f"{program.parent}:{os.environ['PATH']}", SLURM_CPUS_PER_TASK="2")
    return subprocess.Popen(["sh", SCRIPT, spool, *options], env=env, cwd=tmp_path, start_new_session=True)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Spool]:
    create(tmp_path / "spool", is_shared=True)
    spool = Spool(tmp_path / "spool")
    yield spool
    own = host.here(spool.layout)
    shutil.rmtree(own.directory)
    for note in Path(host.DISK).glob(f"queuectl-*/{own.spool_id}-*"):
        note.unlink()


def test_batch_job_works_until_nothing_is_left(shared: Spool, tmp_path: Path) -> None:
    """It runs what waits, as many jobs at a time as it has CPUs, and ends with the worker's code."""
    jobs = [shared.enqueue("true") for _ in range(3)]
    assert start(shared.path, tmp_path, "--drain").wait(60) == 0
    assert {shared.get(job.id).state for job in jobs} == {"done"}


def test_batch_job_that_is_about_to_end_lets_its_jobs_finish(shared: Spool, tmp_path: Path) -> None:
    """SIGTERM to the batch shell, as before the time limit: what runs finishes, and nothing else starts."""
    go = tmp_path / "go"
    job = shared.enqueue(f"until [ -e {go} ]; do sleep 0.02; done", max_retries=0)
    batch = start(shared.path, tmp_path)
    wait_for(lambda: shared.get(job.id).state == "running", "the job's start")
    batch.send_signal(signal.SIGTERM)
    wait_for(lambda: any(worker["state"] == "stopping" for worker in shared.workers()), "the worker's stop")
    later = shared.enqueue("true")
    go.touch()
    assert batch.wait(60) == 0
    assert (shared.get(job.id).state, shared.get(later.id).state) == ("done", "pending")
