"""Keys: of the jobs that have one key, one at a time waits or runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

MAX_KEY = 1000
"""Length of the longest key, in characters."""
OPTION = "Key of which one job at a time waits or runs."
OPTION_IF_EXISTS = "If a job has the key, or the --id: skip this one (default), replace that one, or fail."


class IfExists(StrEnum):
    """What becomes of a job whose key, or id, another one has."""

    SKIP = "skip"
    REPLACE = "replace"
    FAIL = "fail"


def check(problems: list[str], key: str, value: Any) -> str:
    """The key of a job; adds to the problems if it is none."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY:
        problems.append(f'"{key}" must be a text of 1 to {MAX_KEY} characters')
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        problems.append(f'"{key}" is not UTF-8')
    return value
