"""Containers, as far as a queue can see them: PID namespaces that share a spool, and see each other's locks alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tests.support import WorkerProcess, environment, wait_for

_INIT = "import signal;signal.signal(signal.SIGCHLD,signal.SIG_IGN);print(flush=True)\nwhile 1: signal.pause()"


def missing() -> str | None:
    """Why there can be none here; None if there can."""
    for program in ("unshare", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if os.geteuid() != 0:
        return "needs root"
    done = subprocess.run(["unshare", "-pf", "--mount-proc", "true"], check=False, capture_output=True, text=True)
    return f"no PID namespace can be made: {done.stderr.strip()}" if done.returncode else None


class Container:
    """A PID namespace with a /proc of its own and an init that reaps; all in it ends with the `with`.

    This process sees what runs in it too, under other numbers.
    """

    def __init__(self) -> None:
        words = ["unshare", "-pf", "--kill-child", "--mount-proc", sys.executable, "-S", "-c", _INIT]
        self._outer = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._outer.stdout is not None
        with self._outer.stdout as output:
            assert output.readline(), "the container has not started"
        self._init = _child_of(self._outer.pid)
        self.entered: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.entered:  # an nsenter that is stopped does not reap, and the namespace waits for that
            process.kill()
            process.wait()
        with suppress(ProcessLookupError):
            os.kill(self._init, signal.SIGKILL)
        self._outer.wait()

    @property
    def words(self) -> Sequence[str]:
        """What is put in front of a command for it to run there."""
        return ("nsenter", "-t", str(self._init), "-p", "-m", "--")

    def run(self, spool: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of queuectl, to its end."""
        program = [*self.words, sys.executable, "-m", "queuectl", "--spool", str(spool), *words]
        return subprocess.run(program, check=False, capture_output=True, text=True, env=environment(), timeout=60)


class Worker(WorkerProcess):
    """A worker in a container (None: in the namespace of this process), which signals reach."""

    def __init__(
        self,
        spool: Path,
        container: Container | None = None,
        *words: str,
        program: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._is_inside = container is not None
        prefix = (*(container.words if container else ()), *(program or (sys.executable, "-m", "queuectl")))
        super().__init__(spool, *words, prefix=prefix, env=env)
        if container:
            container.entered.append(self.process)
        self._pid: int | None = None

    @property
    def pid(self) -> int:
        """Its number here."""
        if self._pid is None:
            # nsenter waits for the worker, which is its child
            self._pid = wait_for(lambda: _child_of(self.process.pid)) if self._is_inside else self.process.pid
        return self._pid

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)
            if number == signal.SIGCONT:
                os.kill(self.process.pid, number)  # nsenter stops with the worker

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.send_signal(signal.SIGCONT)
        self.process.wait()

    def detach(self) -> None:
        """`worker stop --detach`, and wait."""
        self.signal(signal.SIGUSR1)
        assert self.wait_exit() == 0


def _child_of(pid: int) -> int:
    """The first child of a process; 0 if there is none."""
    with suppress(OSError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return int(children[0]) if children else 0
    return 0
