"""What a running job reports of itself: by a command or a file, shown while it runs."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

import pytest

from queuectl import Spool
from queuectl.core import lifecycle
from queuectl.core.names import RunningName
from queuectl.core.result import State
from queuectl.spool.moves import claims
from queuectl.spool.system import clock, progress
from tests.spool.given import put, running_name
from tests.support import CommandLine, WorkerProcess, wait_for, workers

_QUEUECTL = f"{sys.executable} -m queuectl"


@pytest.mark.parametrize(
    "report", [f"{_QUEUECTL} progress 42% epoch 3", """printf '1%%\\n\\r42%% epoch 3\\r' >"$QUEUECTL_PROGRESS" """]
)
def test_progress_is_shown_while_the_job_runs(cli: CommandLine, spool: Spool, report: str) -> None:
    """By the command, or by what a job writes, of which the last line counts; once it is over the file is gone."""
    go = spool.path / "go"
    spool.enqueue(f"{report}; until [ -e {go} ]; do sleep 0.02; done; exit 3", id="x", max_retries=0)
    with workers(spool.path):
        wait_for(lambda: cli.json("show", "x")["progress"] == "42% epoch 3", "the progress")
        assert [job["progress"] for job in cli.json("list")] == ["42% epoch 3"]
        assert "42% epoch 3" in cli.ok("list")
        assert "progress     42% epoch 3" in cli.ok("show", "x")
        assert cli.ok("list", "--format", "{progress}") == "42% epoch 3"
        go.touch()
        spool.wait("x", timeout=20)
    assert cli.json("show", "x")["progress"] is None
    assert os.listdir(spool.path / "progress") == []


def test_progress_outside_of_a_job_is_a_usage_error(cli: CommandLine) -> None:
    """The message says where it can be used, and where it is seen."""
    done = cli.run("progress", "42%")
    assert done.returncode == 2
    assert "not within a job" in done.stderr


def test_progress_of_a_worker_is_not_that_of_its_jobs(spool: Spool) -> None:
    """The variable of the worker's own environment does not reach a job, whatever variables that sets."""
    spool.enqueue('echo "$QUEUECTL_PROGRESS"', id="x")
    spool.enqueue('echo "$QUEUECTL_PROGRESS"', id="y", env={"QUEUECTL_PROGRESS": "/tmp/z"})
    assert WorkerProcess(spool.path, "--drain", env={"QUEUECTL_PROGRESS": "/tmp/y"}).wait_exit() == 0
    assert [spool.output(id).strip() for id in ("x", "y")] == [f"{spool.path}/progress/{id}" for id in "xy"]


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", None),
        (b"\n \n", None),
        (b"10%\n20%", "20%"),
        (b"\x1b[2Jowned\n", "\\x1b[2Jowned"),
        (b"caf\xe9\n", "caf\N{REPLACEMENT CHARACTER}"),
        (b"a" * 5000, "a" * 199 + "…"),
        (b"x" * 5000 + b"\n50%\n", "50%"),
    ],
)
def test_read_bounds_and_escapes(spool: Spool, data: bytes, text: str | None) -> None:
    """Whatever a job writes, what is read is a line that a terminal can show."""
    name = running_name("x")._replace(started_at=clock.now())
    progress.make_place(spool.layout)
    (spool.path / "progress/x").write_bytes(data)
    assert progress.read(spool.layout, name) == text


def test_read_ignores_what_an_earlier_attempt_has_left(spool: Spool) -> None:
    """A crash can leave the file, which is older than the attempt that runs now; links are not followed."""
    progress.make_place(spool.layout)
    file = spool.path / "progress/x"
    file.write_text("90%")
    assert (
        progress.read(spool.layout, running_name("x")._replace(started_at=clock.now() + timedelta(minutes=1))) is None
    )
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert progress.read(spool.layout, running_name("x")) is None


def test_settle_removes_progress_and_adoption_keeps_it(spool: Spool) -> None:
    """It goes before the job leaves running/, and stays when another worker takes the job over."""
    layout, name = spool.layout, running_name("x")
    put(layout, name, state=State.RUNNING)
    progress.make_place(layout)
    file = spool.path / "progress/x"
    file.write_text("90%")
    adopted = lifecycle.adopt_running(name, "web1.1.abcd")
    assert claims.settle(layout, name, adopted)
    assert file.exists()
    assert isinstance(adopted.name, RunningName)
    assert claims.release(layout, adopted.name)
    assert not file.exists()


def test_find_left_finds_what_no_running_job_has(spool: Spool) -> None:
    """A file without a running job is left over once it is an hour old, and `fsck --repair` removes it."""
    progress.make_place(spool.layout)
    put(spool.layout, running_name("runs"), state=State.RUNNING)
    for id in ("runs", "gone", ".gone.77"):
        (spool.path / f"progress/{id}").write_text("1%")
    soon, later = clock.now(), clock.now() + timedelta(hours=2)
    assert progress.find_left(spool.layout, soon) == []
    found = progress.find_left(spool.layout, later)
    assert [os.path.basename(path) for path in found] == [".gone.77", "gone"]
