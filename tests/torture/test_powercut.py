"""Power cuts on real file systems, in their short form."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl.errors import DurabilityError
from queuectl.spool.system import files
from tests.support import need
from tests.torture import powercut, volumes


def need_volume(kind: str) -> None:
    """Skip where such a volume cannot be had; under CI=true, fail."""
    reason = volumes.missing(kind)
    if reason:
        if os.environ.get("CI"):
            pytest.fail(f"{kind}: {reason}; run scripts/system-packages install")
        pytest.skip(f"{kind}: {reason}")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs"])
def test_power_cut_loses_no_acknowledged_job(tmp_path: Path, kind: str) -> None:
    """Every job whose enqueue was answered is there afterwards, whole, and comes to its end."""
    need("flock")
    need_volume(kind)
    outage = powercut.rage(kind, tmp_path, cuts=2)
    assert outage.problems == []
    assert outage.acknowledged > 0


@pytest.mark.parametrize("variant", ["no-file-fsync", "no-directory-fsync"])
def test_power_cut_catches_a_missing_fsync(tmp_path: Path, variant: str) -> None:
    """Without the fsync of the file, or of the directory, acknowledged jobs are torn or lost."""
    need("flock")
    need_volume("ext4")
    assert powercut.rage("ext4", tmp_path, cuts=5, variant=variant).problems


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_file_system_that_has_shut_down_makes_nothing_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """When the disk has failed between a job's publication and the fsync of pending/, the answer is `unknown`."""
    need_volume(kind)
    with volumes.volume(kind, tmp_path) as disk:
        pending = disk.path / "pending"
        pending.mkdir()
        disk.sync()
        (pending / "x").write_text("x")
        real = os.fsync

        def too_late(fd: int) -> None:
            disk.cut_power()
            real(fd)

        monkeypatch.setattr(os, "fsync", too_late)
        with pytest.raises(DurabilityError):
            files.sync_directory(str(pending))
