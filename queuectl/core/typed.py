"""Sizes, exit codes, and times that decide what is deleted, as people type them."""

from __future__ import annotations

import re

from queuectl.errors import ConfigError


def parse_exit_codes(text: str) -> tuple[int, ...]:
    """The codes of `75`, `1,2` or `64-78,111`; raises ConfigError."""
    codes: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,3})\s*(?:-\s*(\d{1,3})\s*)?", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 0 < first <= last < 256:
            raise ConfigError(f"not exit codes from 1 to 255: {text!r}", hint="try 75 or 1,64-78")
        codes.update(range(first, last + 1))
    return tuple(sorted(codes))


def parse_size(text: str) -> int:
    """Bytes of `1048576`, `64M`, `2 GiB`; raises ConfigError."""
    match = re.fullmatch(r"(\d{1,18})\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None:
        raise ConfigError(f"not a size: {text!r}", hint="try 1048576, 64M or 2G")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[match[2]]


def require_unit(text: str, line: str = "{}") -> None:
    """Refuse a duration that is a bare number, where it decides what is deleted; `line` is what to type instead.

    Raises ConfigError.
    """
    number = text.strip().removeprefix("+").strip()
    if re.fullmatch(r"\d+\.?\d*|\.\d+", number):
        why = "it decides what is deleted: seconds, hours or days?"
        hint = f"try: {line.format(number + 'd')}, or {number}h, {number}m, {number}s"
        raise ConfigError(f"a time without a unit: {text!r}", why, hint)
