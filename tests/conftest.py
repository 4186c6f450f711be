"""Fixtures that every part uses."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool
from tests.support import CommandLine, WorkerProcess


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees a QUEUECTL_ variable of anyone who runs it, or works in the spool of their home."""
    for name in list(os.environ):
        if name.startswith("QUEUECTL_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture(autouse=True)
def _no_worker_left() -> Iterator[None]:
    """A test that failed leaves no worker behind, and none of its jobs."""
    yield
    while WorkerProcess.started:
        worker = WorkerProcess.started.pop()
        if worker.process.poll() is None:
            worker.process.send_signal(signal.SIGQUIT)
        worker.process.wait(30)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    return Spool(tmp_path / "spool", create=True)


@pytest.fixture
def cli(spool: Spool, tmp_path: Path) -> CommandLine:
    """The command line on that spool, run in the directory above it."""
    return CommandLine(spool.path, tmp_path)
