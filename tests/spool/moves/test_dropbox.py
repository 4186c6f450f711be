"""Making a drop box, and handing in."""

from __future__ import annotations

import grp
import os
import stat
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.errors import SpoolError, UsageError
from queuectl.spool.moves import dropbox
from queuectl.spool.system.layout import Layout
from tests.spool.given import put
from tests.support import CommandLine, WorkerProcess, names


def own_group() -> str:
    return grp.getgrgid(os.getegid()).gr_name


def modes(root: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in (root, *root.iterdir()) if path.is_dir()}


def test_drop_box_is_open_at_inbox_and_nowhere_else(spool: Spool, cli: CommandLine) -> None:
    """The group may enter the spool, add to inbox/ and read outbox/; all else is private, and workers accept that."""
    cli.ok("init", str(spool.path), "--drop-box", own_group())
    found = modes(spool.path)
    assert (found.pop("inbox"), found.pop("outbox"), found.pop(spool.path.name)) == (0o1730, 0o2750, 0o710)
    assert set(found.values()) == {0o700}
    assert {"pending", "taken"} <= found.keys()
    assert {(spool.path / name).stat().st_gid for name in ("", "inbox", "outbox")} == {os.getegid()}
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0


def test_drop_box_may_be_made_again(spool: Spool, cli: CommandLine) -> None:
    """The second time leaves the same, and what lies there."""
    for _ in range(2):
        cli.ok("init", str(spool.path), "--drop-box", own_group())
        (spool.path / "inbox/any.json").write_text("{}")
    assert modes(spool.path)["inbox"] == 0o1730
    assert names(spool.path / "inbox") == ["any.json"]


def test_drop_box_of_an_older_version_becomes_one_of_this(spool: Spool, cli: CommandLine) -> None:
    """pending/ is private again, and what others could have planted there goes to the dead letters; the rest stays."""
    pending = spool.path / "pending"
    pending.chmod(0o1770)
    put(spool.layout, "mine.json")
    os.link(put(spool.layout, "tmp-linked", state="tmp"), pending / "linked.json")  # type: ignore[arg-type]
    put(spool.layout, "loose.json").chmod(0o666)
    (pending / "left.part").write_text("")
    (pending / "mine.json").chmod(0o600)
    done = cli.run("init", str(spool.path), "--drop-box", own_group())
    assert done.returncode == 0, done.stderr
    assert modes(spool.path)["pending"] == 0o700
    assert names(pending) == ["left.part", "mine.json"]
    assert sorted(name.split("-")[5] for name in names(spool.path / "dead")) == ["linked", "loose"]
    assert "loose.json" in done.stderr


def test_group_that_is_not_there_makes_nothing(tmp_path: Path, cli: CommandLine) -> None:
    """Everything is checked before anything is made."""
    done = cli.run("init", str(tmp_path / "other"), "--drop-box", "no-such-group")
    assert (done.returncode, (tmp_path / "other").exists()) == (2, False)


def test_group_of_others_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is neither root nor a member of the group cannot give it a directory, and gets an error first."""
    group = own_group()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "getegid", lambda: 4711)
    monkeypatch.setattr(os, "getgroups", list)
    with pytest.raises(UsageError, match="you are not in the group"):
        dropbox.find_group(group)
    with pytest.raises(UsageError, match="not yours"):
        dropbox.require_owner(str(tmp_path))


def test_failure_half_way_leaves_no_drop_box(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system while it is made takes away what is new, and leaves the door shut."""
    real, root = os.fchmod, os.stat(layout.root).st_mode

    def fail(fd: int, mode: int) -> None:
        if mode in (0o1730, 0o710):
            raise PermissionError(1, "Operation not permitted", layout.inbox)
        real(fd, mode)

    monkeypatch.setattr(os, "fchmod", fail)
    with pytest.raises(SpoolError):
        dropbox.make(layout, os.getegid())
    assert not os.path.exists(layout.inbox)
    assert not os.path.exists(layout.taken)
    assert os.stat(layout.root).st_mode == root


def test_handing_in_writes_a_whole_file_that_workers_can_read(layout: Layout) -> None:
    """It has a random name, no other one, and mode 0644 whatever the umask."""
    dropbox.make(layout, os.getegid())
    before = os.umask(0o077)
    try:
        name = dropbox.hand_in(layout, {"command": "true"})
    finally:
        os.umask(before)
    assert os.listdir(layout.inbox) == [name]
    assert stat.S_IMODE(os.stat(f"{layout.inbox}/{name}").st_mode) == 0o644
