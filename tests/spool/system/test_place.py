"""The place of a spool: a copy is noticed, and nothing else is taken for one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from queuectl import Spool, SpoolError
from queuectl.spool.system import files, identity, place
from queuectl.spool.system.layout import Layout
from tests.support import CommandLine, WorkerProcess, names, need, wait_for, workers


def by_cp(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


def by_tar(source: Path, target: Path) -> None:
    target.mkdir()
    subprocess.run(f"tar -C {source} -cf - . | tar -C {target} -xpf -", shell=True, check=True)


def by_rsync(source: Path, target: Path) -> None:
    need("rsync")
    subprocess.run(["rsync", "-a", f"{source}/", f"{target}/"], check=True)


def by_copytree(source: Path, target: Path) -> None:
    shutil.copytree(source, target)


COPYING = pytest.mark.parametrize("copy", [by_cp, by_tar, by_rsync, by_copytree])


@COPYING
def test_copy_is_refused_while_it_has_jobs(spool: Spool, tmp_path: Path, copy: Callable[[Path, Path], None]) -> None:
    """However it was made; once it is asked for, it is a spool of its own. The original never notices."""
    spool.enqueue("true", id="x")
    place.settle_in(spool.layout, is_copied=False)
    target = tmp_path / "copy"
    copy(spool.path, target)
    layout = Layout(str(target))
    with pytest.raises(SpoolError) as caught:
        place.settle_in(layout, is_copied=False)
    assert caught.value.what == f"{target} was copied or moved from {spool.path}"
    assert "its 1 waiting job would run twice" in caught.value.why
    assert caught.value.hint == f"to run them here: queuectl --spool {target} worker start --copied"
    place.settle_in(layout, is_copied=True)
    assert place.find_copy(layout) is None
    place.settle_in(spool.layout, is_copied=False)


def test_copy_without_jobs_is_not_asked_about(spool: Spool, tmp_path: Path) -> None:
    """Nothing in it can run twice; the copy is a spool of its own from then on."""
    place.settle_in(spool.layout, is_copied=False)
    by_cp(spool.path, tmp_path / "copy")
    layout = Layout(str(tmp_path / "copy"))
    place.settle_in(layout, is_copied=False)
    Spool(layout.root).enqueue("true")
    place.settle_in(layout, is_copied=False)


def test_moved_spool_is_not_asked_about(spool: Spool, tmp_path: Path) -> None:
    """Within a file system it is the same spool; nor is one without a record, or with one that is cut off."""
    spool.enqueue("true")
    place.settle_in(spool.layout, is_copied=False)
    os.rename(spool.path, tmp_path / "moved")
    layout = Layout(str(tmp_path / "moved"))
    place.settle_in(layout, is_copied=False)
    assert json.loads(Path(layout.place).read_text())["path"] == layout.root
    for text in ("", "{", "[]", "{}", "7"):
        Path(layout.place).write_text(text)
        place.settle_in(layout, is_copied=False)
        assert json.loads(Path(layout.place).read_text())["path"] == layout.root


def test_spool_through_a_link_is_the_same(spool: Spool, tmp_path: Path) -> None:
    """The record has the real path, and is not written again."""
    spool.enqueue("true")
    place.settle_in(spool.layout, is_copied=False)
    before = os.stat(spool.layout.place).st_ino
    (tmp_path / "link").symlink_to(spool.path)
    place.settle_in(Layout(str(tmp_path / "link")), is_copied=False)
    assert os.stat(spool.layout.place).st_ino == before


@pytest.mark.parametrize(
    ("changed", "is_copy"),
    [
        ({}, False),
        ({"device": 1}, False),  # a container, btrfs or NFS that was mounted again
        ({"inode": 1}, False),  # FUSE
        ({"inode": 1, "written_at": 5.0}, True),  # restored in its place
        ({"device": 1, "path": "/elsewhere"}, True),  # a snapshot
        ({"device": 1, "path": "/elsewhere", "boot_id": "before"}, False),  # a disk that is mounted elsewhere
        ({"inode": 1, "path": "/elsewhere", "boot_id": "before"}, True),
    ],
)
def test_numbers_that_change_with_a_mount_make_no_copy(spool: Spool, changed: dict[str, object], is_copy: bool) -> None:
    """A worker that starts by itself after a reboot must not be stopped by that."""
    spool.enqueue("true")
    place.settle_in(spool.layout, is_copied=False)
    path = Path(spool.layout.place)
    record = json.loads(path.read_text())
    assert set(record) == {"path", "device", "inode", "boot_id", "written_at"}
    assert record["boot_id"] == identity.boot_id()
    path.write_text(json.dumps({**record, **changed}))
    assert (place.find_copy(spool.layout) is not None) is is_copy


def test_record_is_replaced_in_one_step(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies while it writes leaves the old record, and the next one asks; a full disk stops nobody."""
    spool.enqueue("true")
    place.settle_in(spool.layout, is_copied=False)
    by_cp(spool.path, tmp_path / "copy")
    layout = Layout(str(tmp_path / "copy"))

    def fail(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "move", fail)
        place.settle_in(layout, is_copied=True)
    assert place.find_copy(layout) is not None
    assert names(Path(layout.tmp)) == []


def test_running_job_of_a_copy_is_neither_repeated_nor_ended(spool: Spool, tmp_path: Path, cli: CommandLine) -> None:
    """While it runs in the original no worker starts on the copy, not even if asked; later it is repeated there."""
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    target = tmp_path / "copy"
    spool.enqueue(f"echo ran >>{ledger}; until [ -e {go} ]; do sleep 0.02; done", id="x")
    with workers(spool.path):
        wait_for(ledger.exists, "the job's start")
        by_cp(spool.path, target)
        for words, text in (((), "1 running job would run twice"), (("--copied",), "job x is still running")):
            refused = cli.run("--spool", str(target), "worker", "start", "--drain", *words)
            assert (refused.returncode, text in refused.stderr) == (6, True)
        for line in ("cancel x", "kill x", "kill -s STOP --all --yes"):
            refused = cli.run("--spool", str(target), *line.split())
            assert (refused.returncode, "job x is still running, in the original" in refused.stderr) == (6, True)
        assert "copied or moved from" in cli.ok("--spool", str(target), "fsck")
        go.touch()
        assert str(spool.wait("x", timeout=20).result) == "exit0"
    assert ledger.read_text() == "ran\n"
    assert WorkerProcess(target, "--drain", "--copied").wait_exit() == 0
    assert WorkerProcess(target, "--drain").wait_exit() == 0
    assert str(Spool(target).get("x").result) == "exit0"
    assert ledger.read_text() == "ran\n" * 2
