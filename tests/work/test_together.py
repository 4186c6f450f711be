"""Ending many jobs that take their time takes one grace, however they are ended."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.dashboard.operations import VERBS, Operations
from queuectl.spool.reading import query
from tests.support import CommandLine, WorkerProcess, environment, wait_for

JOBS = 24
Ending = subprocess.Popen[bytes]


def _cancel(spool: Spool, worker: WorkerProcess) -> Ending:
    argv = CommandLine(spool.path, spool.path.parent).argv("cancel", "--all", "--yes")
    return subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _cancel_by_ids(spool: Spool, worker: WorkerProcess) -> Ending:
    argv = CommandLine(spool.path, spool.path.parent).argv("cancel", *(f"j{number}" for number in range(JOBS)))
    return subprocess.Popen(argv, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _cancel_in_browser(spool: Spool, worker: WorkerProcess) -> None:
    layout = spool.layout
    jobs = [query.load(layout, State.RUNNING, name) for name in query.list_names(layout, State.RUNNING)]
    Operations(spool).carry_out("session", VERBS["cancel"], [job for job in jobs if job is not None])


def _cancel_orphans(spool: Spool, worker: WorkerProcess) -> Ending:
    worker.kill()
    return _cancel(spool, worker)


def _remove_by_hand(spool: Spool, worker: WorkerProcess) -> None:
    for path in (spool.path / "running").iterdir():
        path.unlink()


def _stop_now(spool: Spool, worker: WorkerProcess) -> None:
    worker.process.send_signal(signal.SIGQUIT)


@pytest.mark.parametrize(
    "end", [_cancel, _cancel_by_ids, _cancel_in_browser, _cancel_orphans, _remove_by_hand, _stop_now]
)
def test_all_are_signalled_before_any_is_waited_for(
    spool: Spool, tmp_path: Path, end: Callable[[Spool, WorkerProcess], Ending | None]
) -> None:
    """Every job gets its SIGTERM within the grace of the first."""
    spool.path.joinpath("config.toml").write_text("grace = 300\nrescan = 1\n")
    go = tmp_path / "go"
    for number in range(JOBS):
        told, ready = tmp_path / f"told.{number}", tmp_path / f"ready.{number}"
        script = f"trap ': >{told}' TERM; : >{ready}; while [ ! -e {go} ]; do sleep 0.2; done"
        spool.enqueue(script, id=f"j{number}", max_retries=0)
    worker = WorkerProcess(spool.path, "--count", f"{JOBS}")
    wait_for(lambda: len(list(tmp_path.glob("ready.*"))) == JOBS, "all jobs to run", 60)
    ending = None
    try:
        ending = end(spool, worker)
        wait_for(lambda: len(list(tmp_path.glob("told.*"))) == JOBS, "all jobs to be signalled", 100)
    finally:
        go.touch()
        if ending is not None:
            ending.wait(60)
