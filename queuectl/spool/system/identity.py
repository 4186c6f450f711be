"""What tells things apart that have one name: random text, and the boot of a machine."""

from __future__ import annotations

import os

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def random_text(length: int) -> str:
    """Random lower-case base32: five bits a character."""
    return "".join(_ALPHABET[byte & 31] for byte in os.urandom(length))


def random_text_after(text: str) -> str:
    """Random text of that length which sorts behind `text`, itself such a text.

    If only more than its first third would have to be greater, or `text` is another one, any: two thirds stay random.
    """
    if not text.strip(_ALPHABET):
        for at, character in enumerate(text[: len(text) // 3]):
            above = [other for other in _ALPHABET if other > character]
            if above:
                return text[:at] + above[os.urandom(1)[0] % len(above)] + random_text(len(text) - at - 1)
    return random_text(len(text))


def boot_id() -> str:
    """Identifies this boot of the kernel, the same in every container on it; empty if the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
