"""Values as people read them, and text that cannot steer a terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl.core import text

NOW = datetime(2026, 11, 24, 3, 43, tzinfo=UTC)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("echo hi", "echo hi"), ("", ""), ("ä 日本 😀", "ä 日本 😀"), ("a\\n", "a\\n"),
        ("a\nb", "a\\x0ab"), ("a\tb", "a\\x09b"), ("\x1b[31m", "\\x1b[31m"), ("\x00\x7f", "\\x00\\x7f"),
        ("\x9b2J", "\\x9b2J"), ("\r", "\\x0d"), ("\u202egpj.exe", "\\u202egpj.exe"), ("\u200b", "\\u200b"),
        ("\ud800", "\\ud800"), ("caf\udce9", "caf\\xe9"), ("\U000e0001", "\\U000e0001"), ("\u2028", "\\u2028"),
    ],
)  # fmt: skip
def test_printable(raw: str, shown: str) -> None:
    """What a terminal would act on is shown as an escape; everything else as it is."""
    assert text.printable(raw) == shown


@given(st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Cs"])))
def test_text_never_steers_the_terminal(raw: str) -> None:
    """No control character, mark or lone surrogate is left, and the text can be encoded."""
    shown = text.printable(raw)
    assert shown.isprintable()
    assert shown.encode().decode() == shown
    text_with_lines = text.printable_output(raw)
    assert text_with_lines.replace("\n", "").replace("\t", "").isprintable()
    assert text_with_lines.count("\n") == raw.count("\n")


def test_output_keeps_its_lines() -> None:
    """In a job's output lines and tabs stay, and other control characters are escaped."""
    assert text.printable_output("a\tb\nc\x1b[0m\r\n") == "a\tb\nc\\x1b[0m\\x0d\n"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.000 s"), (0.0123, "0.012 s"), (0.9994, "0.999 s"), (1, "1.0 s"), (4.24, "4.2 s"), (59.94, "59.9 s"),
        (59.96, "1 m 00 s"), (60, "1 m 00 s"), (200, "3 m 20 s"), (3599.4, "59 m 59 s"), (3599.6, "1 h 00 m"),
        (3600, "1 h 00 m"), (7500, "2 h 05 m"), (86399, "23 h 59 m"), (86400, "1 d 0 h"), (273600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_seconds(seconds: float, shown: str) -> None:
    """A duration has the unit that fits it, and no unit overflows into the next."""
    assert text.format_seconds(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "when", "age"),
    [
        (0, "0.000 s ago", "0s ago"), (4.2, "in 4.2 s", "in 4s"), (-4.2, "4.2 s ago", "4s ago"),
        (59.9, "in 59.9 s", "in 59s"), (-200, "3 m 20 s ago", "3m ago"), (7500, "in 2 h 05 m", "in 2h"),
        (-86399, "23 h 59 m ago", "23h ago"), (-86400, "1 d 0 h ago", "1d ago"),
        (86400 * 381, "in 381 d 0 h", "in 381d"),
    ],
)  # fmt: skip
def test_instants_are_shown_as_distances(seconds: float, when: str, age: str) -> None:
    """An instant is shown as its distance from now, long or in one short unit."""
    at = NOW + timedelta(seconds=seconds)
    assert text.format_when(at, NOW) == when
    assert text.format_age(at, NOW) == age


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"),
        (3 * (1 << 30) + (1 << 27), "3.1 GiB"), (1 << 40, "1.0 TiB"), (1 << 52, "4096.0 TiB"),
    ],
)  # fmt: skip
def test_size(size: int, shown: str) -> None:
    """A size has the binary unit that fits it; terabytes are the largest."""
    assert text.format_size(size) == shown


def test_count() -> None:
    """One is singular, all else plural."""
    assert [text.format_count(number, "job") for number in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]


def test_instant() -> None:
    """An instant is shown in local time with its offset, so that it can be compared with a clock on the wall."""
    local = NOW.astimezone()
    assert text.format_instant(NOW) == f"{local:%Y-%m-%d %H:%M:%S %z}"
    assert datetime.strptime(text.format_instant(NOW), "%Y-%m-%d %H:%M:%S %z") == NOW
