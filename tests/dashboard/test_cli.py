from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from queuectl import Spool
from tests.dashboard.client import Client
from tests.support import CommandLine, environment, wait_for


@contextmanager
def dashboard(cli: CommandLine, *words: str) -> Iterator[str]:
    """The real command; the line it says when it is ready."""
    process = subprocess.Popen(
        cli.argv("dashboard", *words), stderr=subprocess.PIPE, text=True, env=environment(), cwd=cli.cwd
    )
    assert process.stderr is not None
    try:
        yield process.stderr.readline()
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_command_prints_its_address_and_ends_when_stopped(cli: CommandLine, spool: Spool) -> None:
    """One line, then pages; SIGTERM ends it with 0 and without noise, also with a page open."""
    spool.enqueue("true", id="hello")
    with dashboard(cli, "--port", "0", "--prefix", "/q/") as said:
        port = int(said.split("/q/")[0].rpartition(":")[2])
        assert said.startswith("the dashboard is at http://127.0.0.1:")
        assert "hello" in Client(port, "/q").get("/jobs").text


def test_command_listens_on_a_unix_socket(cli: CommandLine, tmp_path: Path) -> None:
    """The socket answers, is its owner's alone, and is gone in the end."""
    path = tmp_path / "d.sock"
    with dashboard(cli, "--unix-socket", str(path)) as said:
        assert str(path) in said
        assert path.stat().st_mode & 0o777 == 0o600
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert sock.recv(15) == b"HTTP/1.1 200 OK"
    wait_for(lambda: not path.exists(), "the socket's end")


def test_public_address_needs_a_token_and_shows_only(cli: CommandLine, tmp_path: Path) -> None:
    """Without a token it does not start; with one it is read-only unless actions are allowed."""
    done = cli.run("dashboard", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert "--token-file" in done.stderr
    (tmp_path / "token").write_text("secret\n")
    with dashboard(cli, "--host", "0.0.0.0", "--port", "0", "--token-file", "token") as said:
        assert "(read-only)" in said
        port = int(said.split("/ (")[0].rpartition(":")[2])
        assert Client(port).get("/api/status").status == 401
        assert Client(port).get("/api/status", Authorization="Bearer secret").status == 200
    with dashboard(cli, "--host", "0.0.0.0", "--port", "0", "--token", "t", "--allow-actions") as said:
        assert "read-only" not in said


@pytest.mark.parametrize(
    "words",
    [
        ("--prefix", "no/slash"),
        ("--prefix", "/a b"),
        ("--socket-mode", "9", "--unix-socket", "s"),
        ("--token-file", "/dev/null"),
    ],
)
def test_options_that_cannot_be_are_refused(cli: CommandLine, words: tuple[str, ...]) -> None:
    """With exit code 2 and a hint."""
    assert cli.run("dashboard", "--port", "0", *words).returncode == 2
