"""The pause: while there is a file `paused` in the spool, no worker starts a job.

Any file will do, even an empty one. Its text is the reason; a line `until: TIME` ends the pause at that time. If the
time, or the file, cannot be read, the pause does not end: when in doubt, nothing starts. An expired file is not
removed, as that might remove the next one instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime

from queuectl.core.admission import Pause
from queuectl.core.names import format_rfc3339
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout, unusable

_LINE = r"(?i)(until|reason)\s*[:=]\s*(.*)"
_LONGEST = 4096


def read(layout: Layout, now: Callable[[], datetime]) -> Pause | None:
    """The pause in force; None if there is none, or if it has expired."""
    if not os.access(layout.paused, os.F_OK, follow_symlinks=False):  # takes half the time of a caught error
        return None
    try:
        status = os.lstat(layout.paused)
    except OSError:
        return None
    since = datetime.fromtimestamp(status.st_mtime, UTC)
    try:
        text = files.read(layout.paused).data[:_LONGEST].decode("utf-8", "replace")
    except OSError:
        return Pause(since)
    until, reason = parse(text)
    return None if until is not None and until <= now() else Pause(since, until, reason)


def parse(text: str) -> tuple[datetime | None, str]:
    """(until, reason) of the text of the file."""
    until, reasons = None, []
    for line in filter(None, map(str.strip, text.splitlines())):
        match = re.fullmatch(_LINE, line)
        if match is None or match[1].lower() == "reason":
            reasons.append(match[2] if match else line)
            continue
        from queuectl.core.when import parse_fixed  # rarely needed

        try:
            until = parse_fixed(match[2])
        except (ValueError, OverflowError):
            reasons.append(line)
    return until, " ".join(reasons)


def write(layout: Layout, reason: str = "", until: datetime | None = None) -> None:
    """Pause the spool, or change the pause in force; replaces the file whole."""
    lines = [f"until: {format_rfc3339(until)}\n"] if until is not None else []
    if reason:
        lines.append(f"reason: {' '.join(reason.split())}\n")
    try:
        files.replace(layout.paused, "".join(lines).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise unusable(layout.root, error) from error


def remove(layout: Layout) -> bool:
    """End the pause; whether there was a file."""
    try:
        return files.remove(layout.paused)
    except OSError as error:
        raise unusable(layout.root, error) from error
