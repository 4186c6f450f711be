"""A real Dask cluster for tests: a scheduler, and workers without a nanny, each a process to kill."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.support import environment, wait_for

_QUICK = {
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED": "False",
    "PYTHONWARNINGS": "ignore",
}


class Cluster:
    """A scheduler at a port of its own, and its workers."""

    def __init__(self, home: Path, protocol: str = "tcp") -> None:
        self.home, self.protocol = home, protocol
        home.mkdir(parents=True, exist_ok=True)
        self.file = home / "scheduler.json"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.scheduler = self._start_scheduler()
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"{self.protocol}://127.0.0.1:{self.port}"

    def _run(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{words[0]}-{time.monotonic_ns()}.out").open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.home,
                env=environment(**_QUICK),
            )

    def _start_scheduler(self) -> subprocess.Popen[bytes]:
        self.file.unlink(missing_ok=True)
        words = (
            "--protocol",
            self.protocol,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--scheduler-file",
            str(self.file),
            "--no-dashboard",
        )
        process = self._run("scheduler", *words)
        wait_for(lambda: self.file.exists() and json.loads(self.file.read_text() or "{}"), "the Dask scheduler", 60)
        return process

    def add_worker(self, nthreads: int = 2, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker; it may take a second until it has joined."""
        words = ("--nthreads", str(nthreads), "--no-nanny", "--no-dashboard", "--memory-limit", "0")
        worker = self._run("worker", self.address, *words, "--local-directory", str(self.home), *options)
        self.workers.append(worker)
        return worker

    def restart_scheduler(self) -> None:
        """kill -9 of the scheduler, and another at the same address."""
        self.scheduler.kill()
        self.scheduler.wait()
        self.scheduler = self._start_scheduler()

    def close(self) -> None:
        for process in [*self.workers, self.scheduler]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()


def marked(text: str) -> list[int]:
    """The live processes whose command line has that text."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes()
            state = Path(f"/proc/{entry}/stat").read_bytes().rpartition(b")")[2].split()[0]
        except OSError:
            continue
        if text.encode() in words and state != b"Z":
            found.append(int(entry))
    return found
