"""A host: a namespace with a name, processes, a boot id, /dev/shm and /var/tmp of its own, on a mount of its own.

Its first process waits until its input is closed. When that is killed, the kernel ends all others: the host's death.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support import environment, wait_for

_INIT = """
hostname "$0" && mount --bind "$1/boot" /proc/sys/kernel/random/boot_id && mount --bind "$1/vartmp" /var/tmp &&
mount --bind "$1/shm" /dev/shm && echo up && read -r _
"""

_UNSHARE = ("unshare", "--uts", "--pid", "--mount", "--fork", "--kill-child=KILL", "--mount-proc")


class Host:
    """`home` is for what it keeps, on a local disk; `spool` is the spool as its own mount shows it.

    `boot_id` and `name` may be those of another one, as after the cloning of a machine.
    """

    def __init__(self, home: Path, name: str, spool: Path, *, boot_id: str = "") -> None:
        self.home, self.name, self.spool = home, name, spool
        self.program: tuple[str, ...] = ("-m", "queuectl")
        self.prefix: tuple[str, ...] = ()
        for directory in ("vartmp", "shm"):
            (home / directory).mkdir(parents=True, mode=0o1777)
            (home / directory).chmod(0o1777)
        self._boot_id = boot_id
        self._processes: list[subprocess.Popen[Any]] = []
        self._boot()

    def _boot(self) -> None:
        (self.home / "boot").write_text(f"{self._boot_id or uuid.uuid4()}\n")
        self._unshare = subprocess.Popen(
            [*_UNSHARE, "bash", "-c", _INIT, self.name, str(self.home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # unshare says that it was killed
        )
        assert self._unshare.stdout is not None
        assert self._unshare.stdout.readline() == b"up\n", f"the host {self.name} does not start"
        self.init = _child_of(self._unshare.pid)

    def die(self) -> None:
        """Its death: all that runs there ends at once."""
        with suppress(ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        for process in (*self._processes, self._unshare):
            process.wait(20)
        self._processes.clear()
        for stream in (self._unshare.stdin, self._unshare.stdout):
            assert stream is not None
            stream.close()

    def reboot(self) -> None:
        """Die, and start again: another boot id, nothing in memory, what was on its disk."""
        self.die()
        shutil.rmtree(self.home / "shm")
        (self.home / "shm").mkdir(mode=0o1777)
        (self.home / "shm").chmod(0o1777)
        self._boot_id = ""
        self._boot()

    def popen(self, *words: str, env: Mapping[str, str] | None = None, **options: Any) -> subprocess.Popen[Any]:
        """Start a command there. The process that is returned only waits for it: see `pid_of`."""
        enter = ["nsenter", "-t", str(self.init), "--uts", "--pid", "--mount", "--wd=/tmp", "--"]
        process = subprocess.Popen([*enter, *words], env=environment(**(env or {})), **options)
        self._processes.append(process)
        return process

    def queuectl(self, *words: str) -> list[str]:
        return [*self.prefix, sys.executable, *self.program, "--spool", str(self.spool), *words]

    def processes(self) -> list[Path]:
        """The command lines of what runs there, as files."""
        table = Path(f"/proc/{self.init}/root/proc")
        return [path / "cmdline" for path in table.iterdir() if path.name.isdecimal() and path.name != "1"]

    def run(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None, patience: float = 60) -> Any:
        """`queuectl` there, to its end; a CompletedProcess with text."""
        process = self.popen(
            *self.queuectl(*words),
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = process.communicate(stdin, patience)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def ok(self, *words: str, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
        """`run`, with exit code 0; its output without the last newline."""
        done = self.run(*words, stdin=stdin, env=env)
        assert done.returncode == 0, f"{self.name}: queuectl {' '.join(words)}: {done.returncode}\n{done.stderr}"
        return str(done.stdout).removesuffix("\n")

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))

    def worker(self, *words: str, env: Mapping[str, str] | None = None) -> HostWorker:
        """A worker there, once it has started."""
        return HostWorker(self, *words, env=env)


class HostWorker:
    """A real `queuectl worker start` on a host."""

    def __init__(self, host: Host, *words: str, env: Mapping[str, str] | None = None) -> None:
        self.report = host.home / f"worker-{uuid.uuid4().hex[:8]}.report"
        with self.report.open("wb") as stderr:
            self.process = host.popen(
                *host.queuectl("worker", "start", "--json", *words),
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )
        wait_for(lambda: self.has("worker") or self.process.poll() is not None, "the worker's start")

    @property
    def pid(self) -> int:
        """As this namespace numbers it."""
        return _child_of(self.process.pid)

    def events(self) -> list[dict[str, Any]]:
        """What it has reported, whole lines only."""
        lines = self.report.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n") and line.startswith(b"{")]

    def has(self, event: str, job: str | None = None) -> bool:
        return any(e["event"] == event and (job is None or e["job"] == job) for e in self.events())

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, patience: float = 60.0) -> int:
        """Its exit code."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not exit; it said:\n{self.report.read_text()[-3000:]}") from None


def _child_of(pid: int) -> int:
    """The one child of a process, once it is there."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return int(wait_for(lambda: path.read_text().split(), f"a child of {pid}")[0])
