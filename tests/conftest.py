"""Fixtures that every part uses."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl import Spool
from tests.support import CommandLine


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees a QUEUECTL_ variable of whoever runs it."""
    for name in list(os.environ):
        if name.startswith("QUEUECTL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    return Spool(tmp_path / "spool", create=True)


@pytest.fixture
def cli(spool: Spool, tmp_path: Path) -> CommandLine:
    """The command line on that spool, run in the directory above it."""
    return CommandLine(spool.path, tmp_path)
