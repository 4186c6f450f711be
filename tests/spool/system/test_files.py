"""Reading safely, publishing without replacing, moving as the only decision."""

from __future__ import annotations

import errno
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from queuectl.core.body import MAX_BODY
from queuectl.errors import DurabilityError
from queuectl.spool.system import files
from tests.spool.given import die, run_to_death
from tests.support import names


def make_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has at most 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def make_link(path: Path) -> None:
    path.with_name("target").write_bytes(b"secret")
    path.symlink_to("target")


@pytest.mark.parametrize(
    "make",
    [
        make_link,
        lambda path: path.symlink_to("nothing"),
        lambda path: path.symlink_to("."),
        Path.mkdir,
        os.mkfifo,
        make_socket,
    ],
    ids=["link to a file", "link to nothing", "link to a directory", "directory", "pipe", "socket"],
)
def test_read_refuses_all_but_regular_files(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Reading never follows a link and never blocks on a pipe."""
    path = tmp_path / "x"
    make(path)
    with pytest.raises(files.NotRegularError):
        files.read(str(path))


@pytest.mark.parametrize(
    ("size", "read"), [(0, 0), (5, 5), (MAX_BODY, MAX_BODY), (MAX_BODY + 1, MAX_BODY + 1), (MAX_BODY * 3, MAX_BODY + 1)]
)
def test_read_is_capped(tmp_path: Path, size: int, read: int) -> None:
    """Of a file of any size at most MAX_BODY + 1 bytes are read, which is enough to see that it is too large."""
    path = tmp_path / "x"
    path.write_bytes(b"a" * size)
    assert len(files.read(str(path)).data) == read


def test_read_puts_short_reads_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that gives few bytes at a time does not cut a job off."""
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, size, offset: real(fd, min(size, 3), offset))
    assert files.read(str(path)).data == b"0123456789"


def test_publish_replaces_nothing(tmp_path: Path) -> None:
    """A name that is taken stays what it is, and the file to be published stays where it is."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    target.write_text("old")
    with pytest.raises(FileExistsError):
        files.publish(str(source), str(target))
    assert (source.read_text(), target.read_text()) == ("new", "old")


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK])
def test_publish_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """On a file system without hard links a file is published by a rename, still replacing nothing."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("new")
    files.publish(str(source), str(target))
    assert (names(tmp_path), target.read_text()) == (["target"], "new")
    source.write_text("newer")
    with pytest.raises(FileExistsError):
        files.publish(str(source), str(target))
    assert target.read_text() == "new"


def _publish_and_die(source: str, target: str) -> None:
    os.unlink = die
    files.publish(source, target)


def test_crash_between_link_and_unlink(tmp_path: Path) -> None:
    """A crash in the middle of publishing leaves the whole job, and a second name for it that means nothing."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("job")
    run_to_death(_publish_and_die, str(source), str(target))
    assert target.read_text() == "job"
    assert target.stat().st_nlink == 2
    source.unlink()
    assert target.read_text() == "job"


def test_move_reports_a_lost_race(tmp_path: Path) -> None:
    """Of two who move one file, the second learns that it was late."""
    source = tmp_path / "source"
    source.write_text("job")
    assert files.move(str(source), str(tmp_path / "first"))
    assert not files.move(str(source), str(tmp_path / "second"))
    assert names(tmp_path) == ["first"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_replace_keeps_the_mode(tmp_path: Path, mode: int) -> None:
    """A settings file that its group may read stays so when a setting is changed."""
    path = tmp_path / "config.toml"
    path.write_text("old")
    path.chmod(mode)
    files.replace(str(path), b"new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode), names(tmp_path)) == ("new", mode, ["config.toml"])


def test_replacement_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Where a directory lies no file can be put, and no half of it stays."""
    (tmp_path / "paused").mkdir()
    with pytest.raises(IsADirectoryError):
        files.replace(str(tmp_path / "paused"), b"new")
    assert names(tmp_path) == ["paused"]


def test_replace_is_atomic(tmp_path: Path) -> None:
    """Anyone who reads a file while it is being replaced sees all of the old content or all of the new."""
    path = tmp_path / "config.toml"
    contents = [letter * 100_000 for letter in (b"a", b"b")]
    files.replace(str(path), contents[0])
    seen: set[bytes] = set()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(60):
        files.replace(str(path), contents[turn % 2])
    is_over.set()
    reader.join()
    assert seen
    assert seen <= set(contents)


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_write_new_leaves_nothing_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A file that cannot be written whole is not there at all."""
    real_write = os.write
    calls: list[int] = []

    def write_a_little(fd: int, data: Any) -> int:
        if step == "write" and calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        calls.append(fd)
        return real_write(fd, bytes(data)[:3])

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "write", write_a_little)
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError):
        files.write_new(str(tmp_path / "x"), b"0123456789")
    assert names(tmp_path) == []
    assert calls


def test_write_new_is_private_and_replaces_nothing(tmp_path: Path) -> None:
    """New files are 0600, whatever the umask allows, and never take the place of another."""
    path = tmp_path / "x"
    before = os.umask(0)
    try:
        files.write_new(str(path), b"1")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        files.write_new(str(path), b"2")
    assert path.read_bytes() == b"1"


def test_sync_directory_says_when_it_is_unknown(tmp_path: Path) -> None:
    """A directory that cannot be synced is a DurabilityError, not a failure."""
    with pytest.raises(DurabilityError, match="unknown"):
        files.sync_directory(str(tmp_path / "nothing"))


@pytest.mark.parametrize("number", [1, 8, 9, 50])
def test_sync_files_takes_any_number(tmp_path: Path, number: int) -> None:
    """One file or a group of many can be made durable together; a missing one is an error for few."""
    paths = [tmp_path / str(index) for index in range(number)]
    for path in paths:
        path.write_text("x")
    files.sync_files(str(tmp_path), [str(path) for path in paths])
    with pytest.raises(FileNotFoundError):
        files.sync_files(str(tmp_path), [str(tmp_path / "nothing")])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/etc/passwd", path)])
def test_open_regular_takes_nothing_else_and_never_blocks(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A pipe, a directory or a link is refused at once, and leaves no descriptor open."""
    make(tmp_path / "odd")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(files.NotRegularError):
        files.open_regular(str(tmp_path / "odd"))
    assert len(os.listdir("/proc/self/fd")) == before
    (tmp_path / "whole").touch()
    os.close(files.open_regular(str(tmp_path / "whole")))
