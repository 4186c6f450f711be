"""The real queuectl, as a user runs it: commands and workers as processes on one spool."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.machine import PYTHON
from queuectl import Spool
from queuectl.core.names import FinishedName

PATIENCE = 600.0
_SCRIPT = Path(PYTHON).with_name("queuectl")
COMMAND = [str(_SCRIPT)] if _SCRIPT.exists() else [PYTHON, "-m", "queuectl"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("QUEUECTL_")}


class StuckError(Exception):
    """What should have happened did not, in ten minutes."""


class FailedError(Exception):
    """A program that is measured ended with an error."""


def wait_for(condition: Callable[[], bool], pause: float = 0.001, patience: float = PATIENCE) -> None:
    """Return once the condition holds; raises StuckError."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise StuckError(f"waited {patience:g} s")
        time.sleep(pause)


def run(argv: Sequence[str], stdin: IO[bytes] | int = subprocess.DEVNULL, cwd: Path | None = None) -> None:
    """Run to the end, output thrown away; raises FailedError."""
    done = subprocess.run(
        argv, check=False, cwd=cwd, env=ENVIRONMENT, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if done.returncode:
        raise FailedError(f"{argv[0]} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")


class Queue:
    """One spool."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pending, self.running, self.done = path / "pending", path / "running", path / "done"
        self.logs, self.tmp = path / "logs", path / "tmp"

    @classmethod
    def create(cls, path: Path) -> Queue:
        Spool(path, create=True)
        return cls(path)

    def argv(self, *words: str) -> list[str]:
        return [*COMMAND, "--spool", str(self.path), *words]

    def run(self, *words: str, stdin: IO[bytes] | int = subprocess.DEVNULL) -> None:
        run(self.argv(*words), stdin, self.path.parent)

    def enqueue(self, lines: bytes) -> None:
        """Queue many jobs, as a user would."""
        path = self.path.parent / "lines"
        path.write_bytes(lines)
        with path.open("rb") as file:
            self.run("enqueue", "-", stdin=file)

    def start_worker(self, *words: str) -> subprocess.Popen[bytes]:
        """A worker whose report goes to a file, as it would to a journal."""
        with open(self.path.parent / "report", "ab") as report:
            return subprocess.Popen(
                self.argv("worker", "start", *words),
                cwd=self.path.parent,
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=report,
            )

    @contextmanager
    def reported(self) -> Iterator[Callable[[], int]]:
        """Counts the jobs that workers say are done from now on: to list done/ all the time would take theirs."""
        path = self.path.parent / "report"
        path.touch()
        found, rest = 0, b""

        def count() -> int:
            nonlocal found, rest
            *lines, rest = (rest + report.read()).split(b"\n")
            found += sum(b"  done     " in line for line in lines)
            return found

        with path.open("rb") as report:
            report.seek(0, os.SEEK_END)
            yield count

    def run_worker(self, *words: str) -> int:
        """A worker that ends by itself; its exit code."""
        process = self.start_worker(*words)
        try:
            return process.wait(PATIENCE)
        finally:
            end(process)

    @contextmanager
    def worker(self, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker that is ready; ended with its jobs at the end."""
        process = self.start_worker(*words)
        try:
            self.wait_ready(process)
            yield process
        finally:
            end(process)

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Until the worker runs a job: the time before that is another benchmark's."""
        name = f"ready-{time.monotonic_ns()}"
        stamp = self.path.parent / name
        (self.tmp / name).write_text(f'{{"command": "touch {stamp}", "priority": 0}}')
        os.rename(self.tmp / name, self.pending / f"{name}.json")
        wait_for(lambda: stamp.exists() or process.poll() is not None, 0.01)
        stamp.unlink(missing_ok=True)
        wait_for(lambda: not os.listdir(self.running) or process.poll() is not None, 0.01)
        if process.poll() is not None:
            raise FailedError(f"the worker ended with {process.returncode}")

    def finished(self) -> list[int]:
        """When the jobs in done/ ended, in milliseconds, in order; from their names."""
        names = (FinishedName.parse(name) for name in os.listdir(self.done))
        return sorted(round(name.finished_at.timestamp() * 1000) for name in names if name)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a worker at once; its running jobs go back to pending/."""
    if process.poll() is None:
        process.send_signal(signal.SIGQUIT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def rate(times: Sequence[int]) -> float:
    """Jobs a second between the first and the last of these moments, in milliseconds."""
    return (len(times) - 1) / max(times[-1] - times[0], 1) * 1000
