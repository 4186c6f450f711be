"""What tells things apart that have one name: random text, and the boot of a machine."""

from __future__ import annotations

import os

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def random_text(length: int) -> str:
    """Random lower-case base32: five bits a character."""
    return "".join(_ALPHABET[byte & 31] for byte in os.urandom(length))


def boot_id() -> str:
    """Identifies this boot of the kernel, the same in every container on it; empty if the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
