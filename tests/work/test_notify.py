"""What systemd hears of a worker, on a real socket."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.work.notify import Notifier
from tests.support import CommandLine, WorkerProcess, wait_for


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket at which systemd would listen."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(20)
        yield receiver


def hear(journal: socket.socket, word: str) -> str:
    """The first message that holds the word."""
    while word not in (text := journal.recv(4096).decode()):
        pass
    return text


@pytest.mark.parametrize("words", [(), ("--processes", "2")], ids=["one", "several"])
def test_service(spool: Spool, tmp_path: Path, journal: socket.socket, words: tuple[str, ...]) -> None:
    """It says when it is ready and that it lives, again and again; jobs know nothing of it; then that it stops."""
    spool.enqueue("env", id="x")
    worker = WorkerProcess(
        spool.path, *words, env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
    )
    assert "STATUS=" in hear(journal, "READY=1")
    for _ in range(3):
        hear(journal, "WATCHDOG=1")
    spool.wait("x", timeout=20)
    assert "NOTIFY_SOCKET" not in spool.log_path("x").read_text()
    assert "WATCHDOG" not in spool.log_path("x").read_text()
    worker.process.send_signal(signal.SIGTERM)
    hear(journal, "STOPPING=1")
    assert worker.wait_exit() == 0


@pytest.mark.parametrize("words", [(), ("--processes", "2")], ids=["one", "several"])
@pytest.mark.parametrize(("option", "code"), [("--detach", 75), ("--now", 0)])
def test_service_that_is_stopped(
    cli: CommandLine,
    spool: Spool,
    tmp_path: Path,
    journal: socket.socket,
    words: tuple[str, ...],
    option: str,
    code: int,
) -> None:
    """A service that is detached ends with the code after which the unit starts the next one; a stopped one with 0."""
    worker = WorkerProcess(spool.path, *words, env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    hear(journal, "READY=1")
    wait_for(lambda: len(cli.json("worker", "list")) == (2 if words else 1), "the workers")
    cli.ok("worker", "stop", option)
    assert worker.wait_exit() == code


def test_abstract_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that begins with @ has no file."""
    name = f"queuectl-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(f"\0{name}")
        receiver.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        Notifier.from_environment().stopping()
        assert receiver.recv(100) == b"STOPPING=1"


def test_watchdog_of_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is meant for another process is none, and variables are taken away all the same."""
    for name, value in (("NOTIFY_SOCKET", "/nowhere"), ("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", "1")):
        monkeypatch.setenv(name, value)
    notifier = Notifier.from_environment()
    assert notifier.next_beat is None
    notifier.ready("nobody hears this")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
