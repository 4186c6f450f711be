"""Time zones of this machine: by name, and the one that it is in."""

from __future__ import annotations

import os
from datetime import UTC, tzinfo
from functools import lru_cache

from queuectl.errors import UsageError


def load(name: str) -> tzinfo:
    """The zone of that name; raises UsageError if this machine does not know it."""
    if name.upper() in ("UTC", "Z"):
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not there, not a relative path, a directory
        raise UsageError(f"no time zone {name[:60]!r}", *_why_missing(name)) from None


@lru_cache(maxsize=64)  # all zones are listed for it, and pages ask every two seconds
def _why_missing(name: str) -> tuple[str, str]:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    known = available_timezones()
    if not known:
        return "this machine has no time zones", "install the package tzdata"
    by_last = {each.rpartition("/")[2].lower(): each for each in known if "/" in each}
    typed = name.replace(" ", "_")
    close = get_close_matches(typed, known, n=1, cutoff=0.75) or [
        by_last[each] for each in get_close_matches(typed.rpartition("/")[2].lower(), by_last, n=1, cutoff=0.75)
    ]
    return "", f"did you mean {close[0]}?" if close else "try one such as Europe/Vienna or UTC"


def local_name() -> str:
    """The name of the zone that this machine is in; raises UsageError if it cannot be found out."""
    for name in (os.environ.get("TZ", "").removeprefix(":"), _of_link("/etc/localtime"), _read("/etc/timezone")):
        if name:
            try:
                load(name)
            except UsageError:
                continue
            return name
    if not os.path.exists("/etc/localtime"):
        return "UTC"
    raise UsageError("it is unknown which time zone this machine is in", hint="name one: --timezone Europe/Vienna")


def _of_link(path: str) -> str:
    """The name in a link such as /usr/share/zoneinfo/Europe/Vienna."""
    return os.path.realpath(path).partition("/zoneinfo/")[2].removeprefix("posix/").removeprefix("right/")


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(256).strip()
    except OSError:
        return ""
