from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.dashboard import joblog
from queuectl.dashboard.joblog import LogReader, find, line_start, read_piece
from queuectl.spool.system import holes
from tests.dashboard.client import Client
from tests.spool.given import put_finished

START = "#queuectl start attempt=1 started_at=20261124T034300.120Z worker=web1.4242.k7f3 pid=1\n"
END = "\n#queuectl end attempt=1 started_at=20261124T034300.120Z exit=0\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "x.log"


def opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY)


def test_pieces_follow_each_other_to_the_byte(log: Path) -> None:
    """Reading on from where each piece stopped shows every line once, whatever the pieces cut."""
    log.write_text("".join(f"line {number} äöü\n" for number in range(30000)) + "no newline")
    fd, at = opened(log), 0
    lines: list[str] = []
    while True:
        piece = read_piece(fd, at)
        lines += piece.lines
        if piece.stop == at:
            break
        at = piece.stop
    os.close(fd)
    assert lines == [f"<div>line {number} äöü</div>" for number in range(30000)]
    assert (piece.partial, piece.size) == ("no newline", log.stat().st_size)


def test_line_longer_than_a_piece_is_cut_between_characters(log: Path) -> None:
    """No character is torn, and the reading continues."""
    log.write_text("é" * joblog.PIECE + "\nend\n")
    fd, at, text = opened(log), 0, ""
    while (piece := read_piece(fd, at)).stop > at:
        text += "".join(piece.lines)
        at = piece.stop
    os.close(fd)
    assert text.count("é") == joblog.PIECE
    assert "\ufffd" not in text
    assert text.endswith("<div>end</div>")


def test_binary_output_is_shown_and_harms_nothing(log: Path) -> None:
    """Every byte comes out as some text."""
    log.write_bytes(bytes(range(256)) * 3)
    fd = opened(log)
    piece = read_piece(fd, 0)
    os.close(fd)
    assert all(line.replace("\t", "").isprintable() for line in piece.lines)
    assert "\\x00" in "".join(piece.lines)


def test_marks_are_found_however_the_log_grows(spool: Spool) -> None:
    """A mark is found once, when its line is whole, also where the log is looked at in the middle of it."""
    reader, path = LogReader(spool.layout), spool.log_path("x")
    whole = (START + "out\n" + END) * 3
    for cut in [*range(0, len(whole), 7), len(whole)]:
        path.write_text(whole[:cut])
        fd = reader.open("x")
        assert fd is not None
        found = reader.marks("x", fd).found
        os.close(fd)
        assert len(found) == sum(mark in whole[:cut][offset:] for offset, mark in _places(whole))
    assert [mark.event for _, mark in found] == ["start", "end"] * 3


def _places(whole: str) -> Iterator[tuple[int, str]]:
    offset = 0
    for line in whole.splitlines(keepends=True):
        if line.startswith("#queuectl"):
            yield offset, line
        offset += len(line)


def test_marks_inside_a_line_are_output(spool: Spool) -> None:
    """Only a line that begins so is a mark, also behind a megabyte without a newline."""
    path = spool.log_path("x")
    path.write_text("x" * (3 << 20) + START + START)
    reader = LogReader(spool.layout)
    fd = reader.open("x")
    assert fd is not None
    while not (marks := reader.marks("x", fd)).is_complete:
        pass
    os.close(fd)
    assert [offset for offset, _ in marks.found] == [(3 << 20) + len(START)]


def test_huge_log_is_never_read_at_once(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a huge log shows at once; its marks come bit by bit, and the last are found."""
    path = spool.log_path("x")
    with path.open("wb") as file:
        file.truncate(1 << 28)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + START.encode() + b"the end\n")
    reader = LogReader(spool.layout)
    fd = reader.open("x")
    assert fd is not None
    read: list[int] = []
    original = os.pread

    def count(fd: int, size: int, offset: int) -> bytes:
        read.append(size)
        return original(fd, size, offset)

    monkeypatch.setattr(os, "pread", count)
    begin = line_start(fd, os.fstat(fd).st_size - joblog.PIECE)
    assert read_piece(fd, begin).lines[-1] == "<div>the end</div>"
    assert sum(read) <= 2 * joblog.PIECE
    while not (marks := reader.marks("x", fd)).is_complete:
        pass
    os.close(fd)
    assert [mark.attempt for _, mark in marks.found] == [1]


DROPPED = 3 << 20


def flooded(path: Path) -> int:
    """A log whose middle was dropped; the offset at which its hole begins."""
    head = (START + "first\n" + "a\n" * 3000).encode()
    start = -(-len(head) // 4096) * 4096
    with path.open("wb") as file:
        file.write(head.ljust(start, b"x"))
        file.write(b"dropped\n" * (DROPPED // 8))
        file.write(b"the rest of a line\n" + b"b\n" * 3000 + b"last\n" + END.encode())
        file.flush()
        if not holes.punch(file.fileno(), start, start + DROPPED):
            pytest.fail("this file system has no holes")
    return start


def texts(client: Client, id: str, stop: int = 0) -> list[str]:
    """The lines of a log as the live view gets them, piece after piece."""
    lines: list[str] = []
    while True:
        piece = client.get(f"/jobs/{id}/tail?from={stop}").json
        lines += re.findall("<div[^>]*>(.*?)</div>", piece["html"])
        if piece["stop"] == stop:
            return lines
        stop = piece["stop"]


def test_dropped_output_is_reported_at_its_place(spool: Spool, client: Client) -> None:
    """Once, with the number of bytes, at that place: on the page, in its pieces and in a search; never as NULs."""
    put_finished(spool.layout, "x")
    start = flooded(spool.log_path("x"))
    gap = f"… {DROPPED:,} bytes dropped …"
    lines = texts(client, "x")
    at = lines.index(gap)
    assert lines.count(gap) == 1
    assert lines[at - 1].startswith("xxx")
    assert lines[at + 1] == "the rest of a line"
    assert "x00" not in "".join(lines)
    page = client.get("/jobs/x").text
    assert (page.count(gap), "x00" in page) == (1, False)
    assert "exit0" in page
    before = client.get(f"/jobs/x/tail?to={start + DROPPED}").json
    assert (before["start"], gap in before["html"]) == (start, True)
    inside = client.get(f"/jobs/x?at={start + DROPPED // 2}").text
    assert (inside.count(gap), "x00" in inside) == (1, False)
    assert "x00" not in client.get("/jobs/x?find=rest").text
    assert "the rest of a line" in client.get("/jobs/x?find=rest").text
    assert len(client.get("/jobs/x/log").body) == spool.log_path("x").stat().st_size


def test_long_hole_costs_nothing(spool: Spool) -> None:
    """Neither the marks behind it nor a search reads what was dropped."""
    path = spool.log_path("x")
    with path.open("wb") as file:
        file.write(START.encode())
        file.seek(1 << 40)
        file.write(END.encode() + b"needle\n")
    reader = LogReader(spool.layout)
    fd = reader.open("x")
    assert fd is not None
    marks = reader.marks("x", fd)
    found = find(fd, "needle", 0)
    os.close(fd)
    assert (marks.is_complete, [mark.event for _, mark in marks.found]) == (True, ["start", "end"])
    assert ([line for _, line in found.lines], found.next_at) == (["needle"], None)


def test_find_continues_where_it_stopped(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines with a text, in any case, each once, page after page."""
    monkeypatch.setattr(joblog, "MAX_FOUND", 10)
    log.write_text("".join(f"{'Needle' if number % 3 == 0 else 'hay'} {number}\n" for number in range(100)))
    fd, at, found = opened(log), 0, []
    while at is not None:
        part = find(fd, "NEEDLE", at)
        found += [line for _, line in part.lines]
        at = part.next_at  # type: ignore[assignment]
    os.close(fd)
    assert found == [f"Needle {number}" for number in range(0, 100, 3)]


def test_links_and_pipes_are_not_logs(spool: Spool) -> None:
    """A log that is a link elsewhere, or a pipe that would block, is not opened or has no text."""
    spool.log_path("link").symlink_to("/etc/passwd")
    assert LogReader(spool.layout).open("link") is None
    assert LogReader(spool.layout).open("missing") is None
