"""Output as a terminal would show it."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from queuectl.core.terminal import HEIGHT, PLAIN, Screen, Style


def shown(*pieces: bytes, height: int = HEIGHT, has_colours: bool = False) -> str:
    """What a terminal shows in the end of what it gets in these pieces."""
    screen = Screen(height)
    rows = [row for piece in pieces for row in screen.feed(piece)] + screen.flush()
    return "".join(row.encode(has_colours=has_colours) + "\n" * row.is_whole for row in rows)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain\ttext\n\n", "plain\ttext\n\n"),
        (b"dos\r\nlines\r\n", "dos\nlines\n"),
        (b"10%\r50%\r100%\n", "100%\n"),
        (b"longer\rshort\n", "shortr\n"),
        (b"longer\r\x1b[Kshort\n", "short\n"),
        (b"longer\x1b[2K\rshort\n", "short\n"),
        (b"abcdef\x1b[3D\x1b[1Kx\n", "   xef\n"),
        (b"abcdef\x1b[3D\x1b[0K\n", "abc\n"),
        (b"abc\b\bx\n", "axc\n"),
        (b"\b\bx\n", "x\n"),
        (b"abc\x1b[1Gx\x1b[5Gy\n", "xbc y\n"),
        (b"abcdef\x1b[1G\x1b[2P\x1b[Cx\n", "cxef\n"),
        (b"abcd\x1b[2G\x1b[2X\x1b[@\n", "a   d\n"),
        (b"a\tb\rxxxx\n", "xxxx    b\n"),
        ("日本 40%\r日本 50%\n".encode(), "日本 50%\n"),
        ("日本\rx\n".encode(), "x 本\n"),
        ("e\u0301e\u0301\rx\n".encode(), "xe\u0301\n"),
        (b"one\ntwo\x1b[A\rONE\n\x1b[2KTWO\n", "ONE\nTWO\n"),
        (b"one\ntwo\nthree\x1b[2F\x1b[0Jx", "x"),
        (b"\xff\xc3(\n", "\ufffd\ufffd(\n"),
        (b"bell\a nul\0 \xe2\x80\xaeback\n", "bell\\x07 nul\\x00 \\u202eback\n"),
    ],
)
def test_text(data: bytes, text: str) -> None:
    """What moves the cursor or clears is obeyed, what cannot be shown is escaped."""
    assert shown(data) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b]0;title\x07a\x1b]8;;https://evil.example\x1b\\b\x1b]8;;\x1b\\\n", "ab\n"),
        (b"a\x1bPq#0;2;0\x1b\\b\x1b^x\x1b\\\x1b_x\x1b\\\x1bXx\x1b\\\n", "ab\n"),
        (b"\x1b]52;c;never ends\nb\n", "\nb\n"),
        (b"a\x1b[2J\x1b[10;3Hb\x1b[?1049h\x1b[?25l\x1b[6n\x1b[c\x1b[5n\x1b[18t\n", "ab\n"),
        (b"a\x1b(0b\x1b#8c\x1b=\x1b>\x1bZ\x1bn\n", "abc\n"),
        (b"a\xc2\x9b31mb\xc2\x9d0;title\xc2\x9cc\xc2\x85\n", "abc\\x85\n"),
        (b"a\x1b", "a"),
        (b"a\x1b[31", "a"),
        (b"a\x1b[31\nb\n", "a\nb\n"),
        (b"a\x1b[" + b"9" * 5000 + b"Cb\n", "a" + " " * 499 + "b\n"),
    ],
)
def test_other_sequences(data: bytes, text: str) -> None:
    """A title, a link, a query, a picture, a mode: nothing is left of it, and no more is lost with what never ends."""
    assert shown(data) == text


TQDM = (
    b"\r  0%|          | 0/4 [00:00<?, ?it/s]"
    b"\r 50%|#####     | 2/4 [00:00<00:00, 9.99it/s]"
    b"\r100%|##########| 4/4 [00:00<00:00, 10.00it/s]\n"
)
NESTED = (
    b"\router:   0%|\n\rinner:   0%|\x1b[A\n\rinner: 100%|\x1b[A\n\r            \r\x1b[A\router:  50%|"
    b"\n\rinner:   0%|\x1b[A\n\rinner: 100%|\x1b[A\n\r            \r\x1b[A\router: 100%|\n"
)
PIP = (
    b"\x1b[?25l     \x1b[38;5;237m\xe2\x94\x81\xe2\x94\x81\x1b[0m \x1b[32m0.0/2 MB\x1b[0m"
    b"\r\x1b[2K     \x1b[38;2;114;156;31m\xe2\x94\x81\xe2\x94\x81\x1b[0m \x1b[32m2.0/2 MB\x1b[0m\r\n\x1b[?25h"
)
WGET = b"\rfile     0%[          ]       0  --.-KB/s  \rfile   100%[=========>]   1.00M  --.-KB/s    in 0.1s\r\n"
CURL = b"  % Total\r\n\r  0  100k    0     0\r100  100k  100  100k\r\n"
APT = (
    b"\r0% [Working]\r            \rHit:1 http://mirror bookworm\n"
    b"\r(Reading ... 5%\r(Reading ... 100%\r(Reading ... 9 files)\n"
)
CARGO = (
    b"\x1b[1m\x1b[32m   Compiling\x1b[0m a v1.0\r\n\x1b[1m\x1b[36m    Building\x1b[0m [==>   ] 1/3: a\r"
    b"\x1b[K\x1b[1m\x1b[32m   Compiling\x1b[0m b v1.0\r\n\x1b[1m\x1b[32m    Finished\x1b[0m dev\r\n"
)
NPM = "\x1b[1G\x1b[0K⠋\x1b[1G\x1b[0K⠙\x1b[1G\x1b[0K\nadded 3 packages\x1b[22m\x1b[39m\n".encode()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (TQDM, "100%|##########| 4/4 [00:00<00:00, 10.00it/s]\n"),
        (NESTED, "outer: 100%|\n"),
        (PIP, "     ━━ 2.0/2 MB\n"),
        (WGET, "file   100%[=========>]   1.00M  --.-KB/s    in 0.1s\n"),
        (CURL, "  % Total\n100  100k  100  100k\n"),
        (APT, "Hit:1 http://mirror bookworm\n(Reading ... 9 files)\n"),
        (CARGO, "   Compiling a v1.0\n   Compiling b v1.0\n    Finished dev\n"),
        (NPM, "\nadded 3 packages\n"),
    ],
    ids=["tqdm", "nested tqdm", "pip", "wget", "curl", "apt", "cargo", "npm"],
)
def test_progress(data: bytes, text: str) -> None:
    """Of the bars and spinners of well-known programs, what is left is what their users see."""
    assert shown(data) == text
    assert shown(*(data[at : at + 1] for at in range(len(data)))) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b[31mred\x1b[m no\n", "\x1b[31mred\x1b[0m no\n"),
        (b"\x1b[31;1mred\nand\x1b[39m on\n", "\x1b[1;31mred\x1b[0m\n\x1b[1;31mand\x1b[0m\x1b[1m on\x1b[0m\n"),
        (b"\x1b[38;5;196mx\x1b[0;48:2::1:2:3my\n", "\x1b[38;5;196mx\x1b[0m\x1b[48;2;1;2;3my\x1b[0m\n"),
        (b"\x1b[4:3;58;5;1;5;8mx\x1b[24my\n", "\x1b[4mx\x1b[0my\n"),
        (b"\x1b[38;5;999mx\x1b[38;5my\x1b[>4;2mz\n", "xyz\n"),
        (b"\x1b[31mone\r\x1b[32mO\n", "\x1b[32mO\x1b[0m\x1b[31mne\x1b[0m\n"),
        (b"\x1b[7mtab\tx\x1b[27m\n", "\x1b[7mtab\tx\x1b[0m\n"),
    ],
)
def test_colours(data: bytes, text: str) -> None:
    """Colours stay with the text that they were written for, and each line begins and ends without any."""
    assert shown(data, has_colours=True) == text
    assert shown(b" \b", data, has_colours=True) == text  # the slow way


def test_lines_above_the_screen_are_final() -> None:
    """Memory is bounded: what the cursor cannot reach any more has come out."""
    screen = Screen(3)
    rows = screen.feed(b"1\n2\n3\n4\n\x1b[99AX")
    assert [row.encode(has_colours=False) for row in rows] == ["1", "2"]
    assert [row.encode(has_colours=False) for row in screen.flush()] == ["X", "4"]


def test_line_without_an_end() -> None:
    """It comes out in pieces, of which the last alone may be a whole line."""
    screen = Screen()
    rows = [row for _ in range(100) for row in screen.feed(b"x" * 65536)]
    assert {row.is_whole for row in rows} == {False}
    rows += screen.feed(b"\n") + screen.flush()
    assert sum(row.width for row in rows) == 100 * 65536
    assert sum(row.is_whole for row in rows) == 1


SEQUENCES = st.sampled_from([
    b"\x1b", b"\x1b[", b"\x1b]", b"\x1bP", b"\x1b\\", b"\a", b"\r", b"\n", b"\b", b"\t", b"\x1b[K", b"\x1b[1K",
    b"\x1b[A", b"\x1b[J", b"\x1b[31m", b"\x1b[0m", b"\x1b[38;5;9m", b"\xc2\x9b", b"\x1b[9C", b"\x1b[2P", b"\x1b[3@",
    b"\x1b7", b"\x1b8", "日".encode(), "\u0301".encode(), b"\xff", b"text", b" ", b";", b"1", b"m", b"\0",
])  # fmt: skip


def cells(*pieces: bytes, height: int) -> list[list[tuple[str, Style]]]:
    screen = Screen(height)
    rows = [row for piece in pieces for row in screen.feed(piece)] + screen.flush()
    return [[(char, style) for text, style in row.runs for char in text] for row in rows]


@given(st.lists(st.one_of(SEQUENCES, st.binary(max_size=5)), max_size=40), st.sampled_from([1, HEIGHT]))
@example([b"\x1b]0;x", b"\x1b", b"\\"], 1)
@example(["日".encode(), b"\r", "\u0301".encode(), "日".encode()], 1)
@example([b"ab\b", "\u0301".encode(), b"c"], 1)
@example(["\u0301x".encode(), b"\n"], 1)
def test_any_bytes(pieces: list[bytes], height: int) -> None:
    """Whatever comes, in whatever pieces, what is shown is the same, and has nothing that a terminal would obey."""
    assert cells(*pieces, height=height) == cells(b"".join(pieces), height=height)
    text = shown(*pieces, height=height, has_colours=True)
    plain = re.sub(r"\x1b\[[0-9;]+m", "", text)
    assert plain.replace("\n", "").replace("\t", "").isprintable()
    assert plain == shown(*pieces, height=height)


def test_style_goes_on_after_a_flush() -> None:
    """A style begins with what the last line ended with, also that of another screen."""
    screen = Screen(style=Style("31"))
    assert screen.feed(b"x\n\x1b[m") == []
    assert screen.flush()[0].runs == [("x", Style("31"))]
    assert screen.style == PLAIN
