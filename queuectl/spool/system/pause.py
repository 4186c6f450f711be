"""The pause: while there is a file `paused` in the spool, no worker starts a job; in groups/G/, none of the group G.

Any file will do, even an empty one. Its text is the reason; a line `until: TIME` ends the pause at that time. If the
time, or the file, cannot be read, the pause does not end: when in doubt, nothing starts. An expired file is not
removed, as that might remove the next one instead.

A file `resumed` beside it tells by its mtime when work was last resumed. A pause that `max-failed` has made says from
when it has counted, and is void once that has changed: it may have been written by one who was slower than a resume
(tests/model/brake.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from queuectl.core.admission import Pause
from queuectl.core.names import format_rfc3339
from queuectl.spool.system import files, versions
from queuectl.spool.system.layout import Layout, unusable
from queuectl.tuples import NamedTuple

_LINE = r"(?i)(until|reason|counted-from)\s*[:=]\s*(.*)"
_LONGEST = 4096


def read(layout: Layout, now: Callable[[], datetime], group: str = "") -> Pause | None:
    """The pause in force, of the queue or of a group; None if there is none, or if it has expired."""
    path = layout.pause_of(group)
    if not os.access(path, os.F_OK, follow_symlinks=False):  # takes half the time of a caught error
        return None
    try:
        status = os.lstat(path)
    except OSError:
        return None
    since = datetime.fromtimestamp(status.st_mtime, UTC)
    try:
        text = files.read(path).data[:_LONGEST].decode("utf-8", "replace")
    except OSError:
        return Pause(since)
    said = parse(text)
    if said.until is not None and said.until <= now():
        return None
    if said.counted_from and said.counted_from != str(counted_from(layout, now, group)):
        return None
    return Pause(since, said.until, said.reason, is_brake=bool(said.counted_from))


class Said(NamedTuple):
    """The text of the file: when the pause ends, why it is there, and from when failures were counted."""

    until: datetime | None = None
    reason: str = ""
    counted_from: str = ""


def parse(text: str) -> Said:
    until, counted, reasons = None, "", []
    for line in filter(None, map(str.strip, text.splitlines())):
        match = re.fullmatch(_LINE, line)
        word = match[1].lower() if match else ""
        if match is None or word == "reason":
            reasons.append(match[2] if match else line)
        elif word == "counted-from":
            counted = match[2]
        else:
            from queuectl.core.when import parse_fixed  # rarely needed

            try:
                until = parse_fixed(match[2])
            except (ValueError, OverflowError):
                reasons.append(line)
    return Said(until, " ".join(reasons), counted)


def counted_from(layout: Layout, now: Callable[[], datetime], group: str = "") -> int:
    """From when failures of a group, or of all jobs, count, in nanoseconds since 1970.

    That is when it was last resumed, be it by the end of a pause; before the first time, when `max-failed` was set.
    """
    folder = layout.group(group) if group else layout.root
    return resumed_at(layout, now, group) or _mtime(f"{folder}/max-failed" if group else layout.config)


def resumed_at(layout: Layout, now: Callable[[], datetime], group: str = "") -> int:
    """When a group, or all work, was last resumed, be it by the end of a pause, in nanoseconds since 1970; else 0."""
    folder = layout.group(group) if group else layout.root
    times = [_mtime(f"{folder}/resumed")]
    with suppress(OSError):
        until = parse(files.read(f"{folder}/paused").data[:_LONGEST].decode("utf-8", "replace")).until
        if until is not None and until <= now():
            times.append(int(until.timestamp() * 1e9))
    return max(times)


def is_void(layout: Layout, now: Callable[[], datetime], group: str = "") -> bool:
    """Whether there is the file of a pause without effect: one that `max-failed` has made for failures before the last
    resume."""
    try:
        said = parse(files.read(layout.pause_of(group)).data[:_LONGEST].decode("utf-8", "replace"))
    except OSError:
        return False
    return bool(said.counted_from) and said.counted_from != str(counted_from(layout, now, group))


def _mtime(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def write(
    layout: Layout, reason: str = "", until: datetime | None = None, group: str = "", counted: int | None = None
) -> None:
    """Pause the spool or a group, or change the pause in force; replaces the file whole.

    `counted` is what `counted_from` gave to one who has found that too many jobs have failed since then.
    """
    lines = [f"until: {format_rfc3339(until)}\n"] if until is not None else []
    if counted is not None:
        lines.append(f"counted-from: {counted}\n")
    if reason:
        lines.append(f"reason: {' '.join(reason.split())}\n")
    try:
        if group:
            if counted is None:  # a worker that pauses a group knows what that is
                versions.require(layout, "groups")
            os.makedirs(layout.group(group), 0o700, exist_ok=True)
        files.replace(layout.pause_of(group), "".join(lines).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise unusable(layout.root, error) from error


def remove(layout: Layout, group: str = "") -> bool:
    """End the pause, and let failures count from now on; whether there was a file."""
    path = layout.pause_of(group)
    try:
        if os.path.isdir(os.path.dirname(path)):
            files.touch(f"{os.path.dirname(path)}/resumed")
        return files.remove(path)
    except OSError as error:
        raise unusable(layout.root, error) from error
