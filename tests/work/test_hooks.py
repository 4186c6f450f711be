"""Hooks and the webhook: notified of what became of jobs, and never in the way."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.spool.system import processes, settings
from tests.support import WorkerProcess, wait_for, workers
from tests.work.test_worker import drain


def hook(spool: Spool, event: str, script: str) -> None:
    """Put a hook into the spool."""
    (spool.path / "hooks").mkdir(exist_ok=True)
    path = spool.path / "hooks" / f"on-{event}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def received(path: Path) -> list[dict[str, Any]]:
    """What hooks have written there, one JSON object a line."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def news(spool: Spool, tmp_path: Path) -> Path:
    """A file to which a hook for each event adds what it receives."""
    path = tmp_path / "news"
    for event in ("done", "retry", "dead", "idle"):
        hook(spool, event, f"cat >> {path}")
    return path


def test_hooks_run_for_each_event(spool: Spool, news: Path) -> None:
    """A hook gets one JSON object on stdin, about the job as it lies in the spool now."""
    spool.enqueue("true", id="good", priority=1)
    spool.enqueue("exit 7", id="bad", priority=2, max_retries=1, backoff_base=0)
    (spool.path / "pending/no-job.json").write_text('{"comand": "x"}')
    drain(spool)
    found = received(news)
    events = [(entry["event"], entry["job"] and entry["job"]["id"].split("-")[0], entry["result"]) for entry in found]
    assert sorted(event for event in events if event[0] != "idle") == [
        ("dead", "bad", "exit7"), ("dead", "no", "invalid"), ("done", "good", "exit0"), ("retry", "bad", "exit7"),
    ]  # fmt: skip
    good = next(entry for entry in found if entry["event"] == "done")
    assert good["job"]["body"]["command"] == "true"
    assert (good["job"]["state"], good["attempt"], good["spool"]) == ("done", 1, str(spool.path))
    assert Path(good["log"]) == spool.log_path("good")
    assert found[-1]["event"] == "idle"
    assert found[-1]["job"] is None


def test_hooks_are_found_while_the_worker_runs(spool: Spool, tmp_path: Path) -> None:
    """A hook that appears is called from the next look at the whole spool on; one that is not executable never."""
    settings.store(spool.layout, "rescan", "0.1")
    path = tmp_path / "news"
    with workers(spool.path):
        hook(spool, "dead", f"cat >> {path}")
        (spool.path / "hooks/on-dead").chmod(0o644)
        spool.enqueue("exit 1", id="a", max_retries=0)
        spool.wait("a", timeout=20)
        hook(spool, "done", f"cat >> {path}")

        def has_run() -> bool:
            spool.wait(spool.enqueue("true").id, timeout=20)
            return bool(received(path))

        wait_for(has_run, "the hook")
    assert {entry["event"] for entry in received(path)} == {"done"}


def test_hook_that_hangs_delays_no_job(spool: Spool) -> None:
    """Jobs continue; the hook and all it started are ended when its time is up, which is reported."""
    settings.store(spool.layout, "hook-timeout", "0.3")
    hook(spool, "done", "sleep 600 & sleep 600")
    worker = WorkerProcess(spool.path)
    for number in range(20):
        spool.enqueue("true", id=f"j{number}")
    wait_for(lambda: spool.counts().done == 20, "the jobs", patience=5)
    wait_for(lambda: any("took more than 0.3 s" in event["message"] for event in worker.events()), "the warning")
    worker.process.terminate()
    assert worker.wait_exit() == 0
    assert any(re.search(r"dropped \d+ calls? of a hook", event["message"]) for event in worker.events())
    wait_for(lambda: not processes_below(spool), "the end of what the hooks started")


def processes_below(spool: Spool) -> list[int]:
    """Processes whose environment names the spool."""
    word, found = f"QUEUECTL_SPOOL={spool.path}".encode(), []
    for pid in processes._processes():
        try:
            if word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                found.append(pid)
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo some; echo no such address >&2; exit 3", "failed (exit code 3) no such address"),
        ("kill -9 $$", "failed (signal 9)"),
        ("yes | head -c 10000000; exit 1", "failed (exit code 1) y"),
    ],
)
def test_hook_that_fails_is_reported(spool: Spool, script: str, said: str) -> None:
    """The report has its exit code and its last line; the job is not concerned."""
    hook(spool, "done", script)
    spool.enqueue("true", id="x")
    worker = drain(spool)
    assert f"{spool.get('x').result}" == "exit0"
    assert any(event["event"] == "warning" and said in event["message"] for event in worker.events())


def test_hook_that_cannot_run_is_reported(spool: Spool) -> None:
    """A file without a program in it is a warning."""
    hook(spool, "done", "")
    (spool.path / "hooks/on-done").write_bytes(b"\x7fELF nonsense")
    spool.enqueue("true", id="x")
    worker = drain(spool)
    assert any("Exec format error" in event["message"] for event in worker.events() if event["event"] == "warning")


@contextmanager
def listener(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(address, what was posted to it)"""
    posted: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_webhook(spool: Spool) -> None:
    """notify-url gets the events of notify-on as JSON, and no others."""
    with listener() as (address, posted):
        settings.store(spool.layout, "notify-url", address)
        spool.enqueue("exit 7", id="bad", max_retries=0)
        spool.enqueue("true", id="good")
        drain(spool)
        assert [(entry["event"], entry["job"]["id"]) for entry in posted] == [("dead", "bad")]
        settings.store(spool.layout, "notify-on", "done,idle")
        spool.enqueue("true", id="better")
        drain(spool)
        assert [entry["event"] for entry in posted][1:] == ["done", "idle"]


@pytest.mark.parametrize("status", [500, 302, None])
def test_webhook_that_fails_is_reported(spool: Spool, status: int | None) -> None:
    """An error, a redirection or nobody there: a warning, and the job is not concerned."""
    with listener(status or 200) as (address, posted):
        settings.store(spool.layout, "notify-url", address if status else "http://127.0.0.1:9/")
        spool.enqueue("exit 7", id="bad", max_retries=0)
        worker = drain(spool)
        assert len(posted) == (1 if status else 0)
    assert any("the webhook on-dead failed" in event["message"] for event in worker.events())
