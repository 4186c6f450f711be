"""A full disk, in its short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl import Spool
from tests.support import need, wait_for, workers
from tests.torture import fulldisk
from tests.torture.test_powercut import need_volume
from tests.torture.volumes import volume


@pytest.mark.parametrize(("kind", "what"), [("tmpfs", "bytes"), ("tmpfs", "inodes"), ("ext4", "bytes")])
def test_full_disk(tmp_path: Path, kind: str, what: str) -> None:
    """Submissions are refused with exit code 6, acknowledged jobs stay whole, and all jobs run when there is room."""
    need("flock")
    need_volume(kind)
    found = fulldisk.rage(kind, tmp_path, what=what, rounds=2)
    assert found.problems == []
    assert found.refused > 0
    assert found.acknowledged > 0


def test_command_does_not_run_while_its_start_cannot_be_recorded(tmp_path: Path) -> None:
    """On a full disk a job is given back, and its attempt does not count; once there is room it runs."""
    need_volume("tmpfs")
    ran = tmp_path / "ran"
    with volume("tmpfs", tmp_path, fulldisk.OPTIONS["tmpfs"]) as disk:
        spool = Spool(disk.path / "spool", create=True)
        (spool.path / "config.toml").write_text("min-free = 0\n")
        with workers(spool.path) as (worker,):
            spool.pause()
            ids = [spool.enqueue(f"echo {command} >>{ran}", max_retries=0).id for command in ("alone", "$(uname)")]
            fulldisk.fill(disk, "bytes")
            spool.resume()
            wait_for(lambda: all(worker.has("released", id) for id in ids), "the claims to be given back")
            assert not ran.exists()
            fulldisk.free(disk)
            assert {f"{spool.wait(id, timeout=30).result}" for id in ids} == {"exit0"}
    assert sorted(ran.read_text().split()) == ["Linux", "alone"]
