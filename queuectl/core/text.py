"""Formatting values for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (0, "s"))


def printable(text: str) -> str:
    """`text` with control characters, bidi marks and lone surrogates escaped, so that a terminal only shows it."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


def printable_output(text: str) -> str:
    """`printable`, but newlines and tabs are kept."""
    return "".join(char if char in "\n\t" or char.isprintable() else _escape(char) for char in text)


def escape_unencodable(error: UnicodeError) -> tuple[str, int]:
    """An error handler for `codecs.register_error`: what a stream's encoding lacks is escaped as in `printable`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escape, error.object[error.start : error.end])), error.end


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"


def width_of(text: str) -> int:
    """How many columns of a terminal a printable text takes: wide characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 1 + (east_asian_width(char) in "WF") for char in text)


def cut(text: str, width: int) -> str:
    """The text, cut to so many columns of a terminal, with `…` at its end if something is missing."""
    if width_of(text) <= width:
        return text
    if text.isascii():
        return text[: max(0, width - 1)] + "…" if width > 0 else ""
    kept = len(text)
    while kept and width_of(text[:kept]) >= width:
        kept -= 1
    return text[:kept] + "…" if width > 0 else ""


def format_seconds(seconds: float) -> str:
    """`0.012 s`, `4.2 s`, `3 m 20 s`, `2 h 05 m`, `3 d 4 h`"""
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def format_age(at: datetime, now: datetime) -> str:
    """`in 4m` or `3h ago`: short, in whole units, for tables."""
    seconds = abs((at - now).total_seconds())
    length, unit = next((length, unit) for length, unit in _UNITS if seconds >= length)
    text = f"{int(seconds // (length or 1))}{unit}"
    return f"in {text}" if at > now else f"{text} ago"


def format_when(at: datetime, now: datetime) -> str:
    """`in 4.2 s` or `3 m 20 s ago`"""
    distance = format_seconds(abs((at - now).total_seconds()))
    return f"in {distance}" if at > now else f"{distance} ago"


def format_instant(at: datetime) -> str:
    """Local time to the second, with its offset: `2026-11-25 09:00:00 +0100`."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")


def format_count(number: int, noun: str) -> str:
    """`1 job`, `2 jobs`"""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def format_size(size: int) -> str:
    """`512 B`, `3.1 GiB`"""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"


def format_codes(codes: Iterable[int]) -> str:
    """Exit codes: `1,75`; `none` if there are none."""
    return ",".join(map(str, sorted(codes))) or "none"


def format_variables(env: Mapping[str, str]) -> str:
    """Variables as a shell takes them."""
    from shlex import quote  # few commands need it

    return " ".join(f"{name}={quote(text)}" for name, text in env.items())
