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
from tests.dashboard.conftest import Serve
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
        lines += [re.sub("^<div [^>]*>|</div>$", "", line) for line in piece["html"].split("\n") if line]
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
    assert "the <mark>rest</mark> of a line" in client.get("/jobs/x?find=rest").text
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
    assert ([line for _, line in found.lines], found.next_at) == (["<mark>needle</mark>"], None)


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
    assert found == [f"<mark>Needle</mark> {number}" for number in range(0, 100, 3)]


def test_links_and_pipes_are_not_logs(spool: Spool) -> None:
    """A log that is a link elsewhere, or a pipe that would block, is not opened or has no text."""
    spool.log_path("link").symlink_to("/etc/passwd")
    assert LogReader(spool.layout).open("link") is None
    assert LogReader(spool.layout).open("missing") is None


def marks_of(path: Path, tmp: Path) -> joblog.Marks:
    spool = Spool(tmp / "spool", create=True)
    spool.log_path("x").write_bytes(path.read_bytes())
    fd = opened(path)
    try:
        return LogReader(spool.layout).marks("x", fd)
    finally:
        os.close(fd)


def test_line_numbers_are_those_of_the_file(log: Path, tmp_path: Path) -> None:
    """At any place of a log of megabytes, and back: a number leads to the line."""
    log.write_text("".join(f"line {number}\n" for number in range(1, 300_001)))
    marks, fd = marks_of(log, tmp_path), opened(log)
    for number in (1, 2, 99_999, 250_001, 300_000):
        offset = joblog.line_offset(fd, marks, number)
        assert offset is not None
        assert os.pread(fd, 20, offset).split(b"\n")[0] == b"line %d" % number
        assert joblog.line_number(fd, marks, offset) == number
    assert joblog.line_offset(fd, marks, 300_001) is None
    os.close(fd)


def test_line_number_of_what_the_cursor_came_back_to(log: Path, tmp_path: Path) -> None:
    """Where lines of the file were written over on the screen, each shown line has the number of the last of them."""
    log.write_text("start\none\ntwo\n\x1b[2AONE\nTWO\nend\n")
    marks, fd = marks_of(log, tmp_path), opened(log)
    piece = read_piece(fd, 0, marks=marks)
    os.close(fd)
    assert [re.sub("<[^>]*>", "", line) for line in piece.numbered()] == ["1start", "4ONE", "5TWO", "6end"]
    assert piece.to_json()["before"] == [0, 3, 4, 5]


def test_hit_before_and_after(spool: Spool, serve: Serve) -> None:
    """The page of a hit marks all hits, and links to the one before and the one after."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_text("".join(f"{'needle' if n % 10 == 3 else 'hay'} {n}\n" for n in range(40)))
    offsets = [found for found in range(400) if spool.log_path("x").read_text()[found:].startswith("needle")]
    client = serve()
    page = client.get(f"/jobs/x?find=NEEDLE&hit={offsets[1]}").text
    assert page.count("<mark>needle</mark>") == 4
    assert f'rel="prev" href="/jobs/x?find=NEEDLE&amp;hit={offsets[0]}#hit"' in page
    assert f'rel="next" href="/jobs/x?find=NEEDLE&amp;hit={offsets[2]}#hit"' in page
    assert '<div id="hit"><a class="n" tabindex="-1" href="?line=14#L14">14</a><mark>needle</mark> 13</div>' in page
    assert 'rel="next"' not in client.get(f"/jobs/x?find=needle&hit={offsets[3]}").text
    assert client.get("/jobs/x?hit=3").status == 400


def test_line_of_a_number(spool: Spool, client: Client) -> None:
    """The page of a line has it, by its address or typed into the search; one that is missing is said to be."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_text("".join(f"{n}\n" for n in range(1, 50_001)))
    for query in ("line=25000", "find=:25000"):
        assert 'id="L25000"' in client.get(f"/jobs/x?{query}").text
    assert "no line 60,000" in client.get("/jobs/x?line=60000").text


def test_update_of_a_job_page_has_no_log(spool: Spool, serve: Serve) -> None:
    """A page that follows the log itself gets the rest without it, and 304 while only the log grows."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_text("words\n" * 1000)
    client = serve()
    update = client.get("/jobs/x", X_Queuectl_Update="1")
    assert "words" not in update.text
    with spool.log_path("x").open("a") as log:
        log.write("more\n")
    again = client.get("/jobs/x", X_Queuectl_Update="1", If_None_Match=update.headers["ETag"])
    assert (again.status, again.body) == (304, b"")
