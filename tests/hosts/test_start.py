"""A file server that goes away as a command is about to start."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.result import Result
from queuectl.spool.system import files, lease
from queuectl.work.engines import executor
from queuectl.work.prelude import NOT_STARTED
from tests.hosts.gluster import Gluster
from tests.work.test_executor import claim_of


def test_command_does_not_run_if_its_start_does_not_reach_the_server(
    gluster: Gluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else another host would take it for one that never started. What is written to a mount may be lost later."""
    monkeypatch.setattr(files, "_shared", [])
    spool = Spool(gluster.mounts["m1"] / uuid.uuid4().hex, create=True)
    marker = tmp_path / "ran"
    claim = claim_of(spool, f"touch {marker}")

    def open_and_lose(log: int, open_durable=executor._open_durable) -> int:  # type: ignore[no-untyped-def]
        record = open_durable(log)
        gluster.kill()
        return int(record)

    monkeypatch.setattr(executor, "_open_durable", open_and_lose)
    try:
        run = executor.Executor(spool.layout.root, "host.1.aaaa").start(claim)
        assert run.wait() == Result.exit(NOT_STARTED)
        lease.close(claim.log)
    finally:
        gluster.start()
        gluster.wait_for_mounts()
    assert not marker.exists()
