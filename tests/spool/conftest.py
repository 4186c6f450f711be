"""Fixtures of the spool's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.spool.system import host
from queuectl.spool.system.layout import Layout, create


@pytest.fixture
def layout(spool: Spool) -> Layout:
    """The paths of an empty spool."""
    return spool.layout


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """A spool that several hosts share, of which this is one with a memory of its own."""
    for place in ("MEMORY", "DISK"):
        (tmp_path / place).mkdir()
        monkeypatch.setattr(host, place, str(tmp_path / place))
    create(tmp_path / "spool", is_shared=True)
    return Spool(tmp_path / "spool")
