"""What the tests share: conditions with a deadline, the real command line, real workers."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

import queuectl

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds after which a condition that should come true at once is given up."""


def wait_for(condition: Callable[[], T], what: str = "the condition", patience: float = PATIENCE) -> T:
    """The first true value of `condition`; fails the test after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not come true in {patience:g} s")
        time.sleep(0.005)


def need(*programs: str) -> None:
    """Skip the test where a program is missing; under CI=true, fail it."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        text = f"{' '.join(missing)} not installed: run scripts/system-packages install"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)


def need_root() -> None:
    """Skip a test that gives files to other users, or acts as one; under CI=true, fail it."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("needs root")
        pytest.skip("needs root")


def environment(**extra: str) -> dict[str, str]:
    """This environment without settings of queuectl, with the buffers that Python gives to users, outside of make."""
    not_theirs = {"PYTHONUNBUFFERED", "MAKELEVEL", "MAKEFLAGS", "MFLAGS"}
    theirs = {key: value for key, value in os.environ.items() if key not in not_theirs}
    clean = {key: value for key, value in theirs.items() if not key.startswith("QUEUECTL_")}
    return {**clean, **extra}


class CommandLine:
    """Runs the real `queuectl` on one spool."""

    def __init__(self, spool: Path, cwd: Path) -> None:
        self.spool = spool
        self.cwd = cwd

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "queuectl", "--spool", str(self.spool), *words]

    def run(
        self, *words: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; never raises for an exit code."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            self.argv(*words),
            check=False,
            input=data,
            capture_output=True,
            cwd=self.cwd,
            env=environment(**(env or {})),
            timeout=60,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        )

    def ok(self, *words: str, stdin: str | bytes = b"", env: Mapping[str, str] | None = None) -> str:
        """Run, require exit code 0, and return stdout without its last newline."""
        done = self.run(*words, stdin=stdin, env=env)
        assert done.returncode == 0, f"queuectl {' '.join(words)}: {done.returncode}\n{done.stderr}"
        return done.stdout.removesuffix("\n")

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "--json"))


class WorkerProcess:
    """A real `queuectl worker start`, whose report goes to a file."""

    started: ClassVar[list[WorkerProcess]] = []
    """Those that the test in progress has started, for a fixture to end."""

    def __init__(
        self,
        spool: Path,
        *words: str,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        report: Path | None = None,
    ) -> None:
        """`prefix` stands for `python -m queuectl`, `report` is a directory other than the spool's parent."""
        self.report = (report or spool.parent) / f"worker-{time.monotonic_ns()}.report"
        program = prefix or (sys.executable, "-m", "queuectl")
        with self.report.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*program, "--spool", str(spool), "worker", "start", "--json", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=spool.parent,
                env=environment(**(env or {})),
            )
        self.started.append(self)

    def events(self) -> list[dict[str, Any]]:
        """What it has reported, whole lines only."""
        lines = self.report.read_bytes().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n") and line.startswith(b"{")]

    def has(self, event: str, job: str | None = None) -> bool:
        return any(e["event"] == event and (job is None or e["job"] == job) for e in self.events())

    def wait_ready(self) -> WorkerProcess:
        """Until it watches the spool."""
        wait_for(lambda: self.has("worker") or self.process.poll() is not None, "the worker's start")
        return self

    def kill(self) -> None:
        """kill -9, and reap."""
        self.process.kill()
        self.process.wait()

    def wait_exit(self, patience: float = PATIENCE) -> int:
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGQUIT)
            pytest.fail(f"the worker did not exit; it said:\n{self.report.read_text()[-3000:]}")


@contextmanager
def workers(spool: Path, number: int = 1, *words: str) -> Iterator[Sequence[WorkerProcess]]:
    """Some running workers; killed at the end, with whatever their jobs are."""
    running = [WorkerProcess(spool, *words).wait_ready() for _ in range(number)]
    try:
        yield running
    finally:
        for worker in running:
            worker.process.send_signal(signal.SIGQUIT)
        for worker in running:
            worker.wait_exit()


def names(directory: Path) -> list[str]:
    """The visible names in a directory, in the order of `ls`."""
    return sorted(name for name in os.listdir(directory) if not name.startswith("."))


def reason_words() -> set[str]:
    """The words of all reasons in the source of queuectl."""
    found: set[str] = set()
    for path in Path(queuectl.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for call in ast.walk(ast.parse(text)) if "Reason(" in text else ():
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Reason" and call.args:
                first = call.args[0]
                words = (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,)
                assert all(isinstance(word, ast.Constant) for word in words), ast.unparse(call)
                found.update(str(word.value) for word in words if isinstance(word, ast.Constant))
    return found
