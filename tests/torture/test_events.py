"""File events that do not come: by the kernel's real limits."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from queuectl import Spool
from tests.support import CommandLine, WorkerProcess, need, wait_for
from tests.torture import events


def warnings_of(worker: WorkerProcess) -> list[str]:
    return [event["message"] for event in worker.events() if event["event"] == "warning"]


def test_queue_of_64_events_hides_no_job(spool: Spool, cli: CommandLine) -> None:
    """Hundreds of files that appear at once, twice: each job runs once, and the worker says once what it missed."""
    if reason := events.missing():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    cli.ok("config", "set", "rescan", "1000")
    with events.queue_of(64):
        worker = WorkerProcess(spool.path, "--count", "2").wait_ready()
    spool.enqueue("true", id="first")
    spool.wait("first", timeout=20)
    for turn in range(2):
        worker.process.send_signal(signal.SIGSTOP)
        for number in range(300):
            file = spool.path / "tmp" / "dropped"
            file.write_text(json.dumps({"command": ["true"], "id": f"x{turn}-{number}"}))
            file.rename(spool.path / "pending" / f"any name {number}.json")
        worker.process.send_signal(signal.SIGCONT)
        wait_for(lambda turn=turn: spool.counts().done == 300 * (turn + 1) + 1, patience=60)  # type: ignore[misc]
    assert sum(event["event"] == "start" for event in worker.events()) == 601
    (warning,) = warnings_of(worker)
    assert "dropped file events" in warning


def test_last_inotify_instance_is_taken(spool: Spool, cli: CommandLine) -> None:
    """With the kernel's own limit reached a worker says so once, and still starts what is dropped, and
    what has waited for another job."""
    need("unshare")
    cli.ok("config", "set", "rescan", "1000")
    limit = 'echo 0 >/proc/sys/user/max_inotify_instances; exec "$@"'  # of a user namespace of the worker's own
    prefix = ("unshare", "-Ur", "sh", "-c", limit, "sh", sys.executable, "-m", "queuectl")
    worker = WorkerProcess(spool.path, prefix=prefix).wait_ready()
    wait_for(lambda: worker.has("warning"))
    for id in ("x", "y"):
        (spool.path / "pending" / f"dropped {id}.json").write_text(f'{{"command": "true", "id": "{id}"}}')
        wait_for(lambda id=id: worker.has("done", id))  # type: ignore[misc]
    chain = {"a": {}, "b": {"after": ["a"]}, "c": {"after_end": ["b"]}, "d": {}, "e": {"after_end": ["d"]}}
    for id, rest in chain.items():
        spool.enqueue("true", id=id, **rest)  # type: ignore[arg-type]
        if id in "ad":
            spool.hold(id)
    spool.release("a")
    wait_for(lambda: worker.has("done", "c"), "the end of a chain")
    os.unlink(spool.get("d").path)
    wait_for(lambda: worker.has("done", "e"), "the start of what waited for a job that was removed by hand")
    (warning,) = warnings_of(worker)
    assert "no file events" in warning
