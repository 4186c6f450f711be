"""Whether several hosts share a spool, and what files do then whose replies were lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.errors import WrongStateError
from queuectl.spool.system import files, shared
from queuectl.spool.system.layout import Layout, create
from queuectl.spool.upkeep import convert

TABLE = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 22 0:5 / /n rw - {kind} host:/x rw
"""


@pytest.mark.parametrize(
    ("kind", "is_shared"),
    [
        *(
            (kind, True)
            for kind in ("nfs", "nfs4", "fuse.glusterfs", "lustre", "ceph", "fuse.ceph-fuse", "gpfs", "beegfs")
        ),
        *((kind, True) for kind in ("cifs", "smb3", "fuse.sshfs")),
        *(
            (kind, False)
            for kind in ("ext4", "xfs", "btrfs", "tmpfs", "overlay", "9p", "virtiofs", "fuse.lxcfs", "nfsd")
        ),
    ],
)
def test_type_of_a_file_system_decides_for_a_new_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, is_shared: bool
) -> None:
    """A new spool is shared where several hosts can mount the file system, and not where only one does."""
    real = shared.find_mount
    monkeypatch.setattr(shared, "find_mount", lambda _: real("/n/spool", TABLE.format(kind=kind)))
    create(tmp_path / "spool")
    assert Spool(tmp_path / "spool").shared is is_shared


def test_spool_is_shared_on_request(tmp_path: Path) -> None:
    """A spool that exists becomes shared, and stays so, by being asked to."""
    create(tmp_path)
    assert not Spool(tmp_path).shared
    create(tmp_path, is_shared=True)
    assert Spool(tmp_path).shared
    create(tmp_path)
    assert Spool(tmp_path).shared


def test_spool_with_a_worker_is_not_made_shared(tmp_path: Path) -> None:
    """A worker that may live, or a job that may run, keeps a spool from becoming shared under it."""
    create(tmp_path)
    layout = Layout(str(tmp_path))
    worker = tmp_path / "workers" / "web1.1.aaaa.json"
    worker.write_text('{"worker": "web1.1.aaaa", "host": "web1"}')
    with pytest.raises(WrongStateError, match=r"web1\.1\.aaaa"):
        convert.require_idle(layout)
    worker.unlink()
    (tmp_path / "running" / "20261124T034300.120Z-010-1-web1.1.aaaa-x.json").write_text('{"command": "true"}')
    with pytest.raises(WrongStateError, match="may still run"):
        convert.require_idle(layout)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create(tmp_path / "spool", is_shared=True)
    Spool(tmp_path / "spool")
    return tmp_path / "spool"


def test_move_whose_reply_was_lost(root: Path) -> None:
    """A rename that answers ENOENT was done if its target is there; else the race is lost."""
    (root / "done" / "b").write_text("")
    assert files.move(f"{root}/running/a", f"{root}/done/b")
    assert not files.move(f"{root}/running/a", f"{root}/done/c")


def test_publish_of_a_reserved_name_by_whoever_finds_it(root: Path) -> None:
    """A file of tmp/ that is gone has been published, by another or by a rename whose reply was lost."""
    (root / "tmp" / "a").write_text("")
    for _ in range(2):
        files.publish_reserved(f"{root}/tmp/a", f"{root}/pending/b")
    assert os.listdir(root / "pending") == ["b"]


def test_link_that_is_sent_again(root: Path) -> None:
    """EEXIST of a link that holds one's own file is success, of any other file it is not."""
    (root / "tmp" / "a").write_text("mine")
    os.link(root / "tmp" / "a", root / "pending" / "b")
    files.publish(f"{root}/tmp/a", f"{root}/pending/b")
    assert not (root / "tmp" / "a").exists()
    (root / "tmp" / "a").write_text("another")
    with pytest.raises(FileExistsError):
        files.publish(f"{root}/tmp/a", f"{root}/pending/b")


def test_local_spool_believes_the_first_answer(tmp_path: Path) -> None:
    """On one host a rename that answers ENOENT is a lost race, whatever is at its target."""
    create(tmp_path)
    Spool(tmp_path)
    (tmp_path / "done" / "b").write_text("")
    assert not files.move(f"{tmp_path}/running/a", f"{tmp_path}/done/b")


def test_spool_of_an_earlier_version_becomes_shared_once_it_is_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that several hosts mount, a spool without `hosts/` is shared unless something may run in it."""
    create(tmp_path, is_shared=False)
    layout = Spool(tmp_path).layout
    assert convert.share_if_idle(layout) is None
    monkeypatch.setattr(shared, "can_be_shared", lambda _: True)
    running = tmp_path / "running" / "20261124T034300.120Z-010-1-web1.1.aaaa-x.json"
    running.write_text('{"command": "true"}')
    assert convert.share_if_idle(layout) is False
    assert not layout.shared
    running.unlink()
    assert convert.share_if_idle(layout) is True
    assert layout.shared
