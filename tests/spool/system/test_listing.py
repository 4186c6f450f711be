"""Listing directories of millions as text."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from pathlib import Path

import pytest

from queuectl.core.names import PENDING_AMONG
from queuectl.spool.system import listing


def named(pieces: list[bytes], names: set[bytes]) -> set[bytes]:
    """Which of these names stand in the pieces, with their marks around them."""
    between = {part.rpartition(b"\x08")[2] for part in b"".join(pieces).split(b"\0")}
    return between & names


@pytest.mark.parametrize("has_getdents", [True, False])
@pytest.mark.parametrize("number", [0, 1, 9000])
def test_listing_has_every_name(
    tmp_path: Path, number: int, has_getdents: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pieces there are, with the kernel's records and without."""
    expected = {b"%05d.json" % count for count in range(number)}
    for name in expected:
        (tmp_path / os.fsdecode(name)).touch()
    monkeypatch.setattr(listing, "_PIECE", 1 << 16)
    if not has_getdents:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    pieces = list(listing.read_names(str(tmp_path)))
    assert named(pieces, expected) == expected
    assert sum(piece.count(b".json\0") for piece in pieces) == number
    if has_getdents and number > 1:
        assert len(pieces) > 1


@pytest.mark.parametrize("has_getdents", [True, False])
def test_names_of_a_kind_and_all_others(tmp_path: Path, has_getdents: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each name is reported once, on the right side, whatever its length, its kind of file or the bytes in it."""
    ours = {b"%03d-20261124T034300.120Z-0-%b.json" % (n % 1000, b"x" * (n % 100 + 1)) for n in range(5000)}
    others = {b"%b.txt" % (b"y" * length) for length in range(1, 252)}
    others |= {
        b".hidden",
        b"\xff.json",
        b"a\nb.json",
        b"x\b010-20261124T034300.120Z-0-y.json",
        b"\b010-20261124T034300.120Z-0-y.json",
        b"a" * 21 + b"Z-" + b"b" * 212 + b".json",  # a record of 0x108 bytes
        b"010-20261124T034300.120Z-0-y",
    }
    for name in (ours | others) - {min(ours), max(ours)}:
        open(os.path.join(os.fsencode(tmp_path), name), "wb").close()
    os.mkdir(os.path.join(os.fsencode(tmp_path), min(ours)))
    os.symlink("nowhere", os.path.join(os.fsencode(tmp_path), max(ours)))
    monkeypatch.setattr(listing, "_PIECE", 1 << 16)
    if not has_getdents:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    pieces = list(listing.read_split(str(tmp_path), PENDING_AMONG))
    assert sorted(name for found, _ in pieces for name in found) == sorted(ours)
    assert sorted(name for _, rest in pieces for name in rest) == sorted(others)


def test_names_of_a_kind_alone(tmp_path: Path) -> None:
    """So it is with no other name between them, and with none at all."""
    assert [pair for pair in listing.read_split(str(tmp_path), PENDING_AMONG) if any(pair)] == []
    (tmp_path / "010-20261124T034300.120Z-0-y.json").touch()
    assert list(listing.read_split(str(tmp_path), PENDING_AMONG)) == [([b"010-20261124T034300.120Z-0-y.json"], [])]


def test_pieces_without_a_text_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long listing only the piece that holds a name is looked at, and that name is reported."""
    monkeypatch.setattr(listing, "_PIECE", 1 << 16)
    for count in range(9000):
        (tmp_path / f"010-20261124T034300.120Z-0-n{count:05d}.json").touch()
    pieces = list(listing.read_split(str(tmp_path), PENDING_AMONG, b"-n04321.json"))
    assert len(pieces) == 1
    assert b"010-20261124T034300.120Z-0-n04321.json" in pieces[0][0]
    assert len(pieces[0][0]) < 9000


def test_directory_that_is_gone(tmp_path: Path) -> None:
    """The error is that of the system, with the path."""
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(listing.read_names(str(tmp_path / "nowhere")))


def test_error_on_the_way_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing that breaks off is not taken for a short one."""

    class Broken:
        @staticmethod
        def getdents64(*_: object) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Broken)
    with pytest.raises(OSError, match="Input/output error"):
        list(listing.read_names(str(tmp_path)))


def test_reader_reports_any_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a piece that will not come."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ctypes, "create_string_buffer", fail)
    with pytest.raises(MemoryError):
        list(listing.read_names(str(tmp_path)))


def test_listing_without_a_thread_has_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, the names come a little later."""

    def fail(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    (tmp_path / "a.json").touch()
    monkeypatch.setattr(threading.Thread, "start", fail)
    assert named(list(listing.read_names(str(tmp_path))), {b"a.json"}) == {b"a.json"}


def test_listing_that_was_begun_is_read_once(tmp_path: Path) -> None:
    """It has what was there when it was begun; the next one what is there now."""
    (tmp_path / "a.json").touch()
    listing.begin(str(tmp_path))
    assert named(list(listing.read_names(str(tmp_path))), {b"a.json"}) == {b"a.json"}
    (tmp_path / "b.json").touch()
    assert len(named(list(listing.read_names(str(tmp_path))), {b"a.json", b"b.json"})) == 2
    listing.begin(str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(listing.read_names(str(tmp_path / "nowhere")))


def test_listing_that_is_stopped_early_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader ends when nobody wants more."""
    monkeypatch.setattr(listing, "_PIECE", 1 << 12)
    for count in range(9000):
        (tmp_path / f"{count:05d}.json").touch()
    pieces = listing.read_names(str(tmp_path))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "listing":
            thread.join(10)
            assert not thread.is_alive()
