"""What a running job says of itself: text in progress/ID, for people. Nothing depends on it.

The job writes the file as it likes (`echo 42% >"$QUEUECTL_PROGRESS"`), so only its last line counts, up to so many
characters, and nothing in it can do more to a terminal than be shown. It is removed before its job leaves running/.
What a crash leaves is older than the next attempt, and so is not shown; it is cleared after an hour.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import datetime

from queuectl.core.names import RunningName
from queuectl.core.text import printable
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout

VARIABLE = "QUEUECTL_PROGRESS"
"""The variable of a job's environment that holds the path of its file."""
LONGEST = 200
"""Characters that are shown."""
_END = 4096  # bytes at the end of the file that are read
_COARSE = 1.0  # seconds: a file system may keep its times with less precision than names have
_STALE = 3600.0


def make_place(layout: Layout) -> None:
    """Create the directory, if possible: jobs write files there and do not expect to have to make it."""
    with suppress(OSError):
        os.mkdir(layout.progress_of_all, 0o700)


def read(layout: Layout, name: RunningName) -> str | None:
    """The last line that a running attempt has written; None if there is none."""
    try:
        fd = files.open_regular(layout.progress(name.id))
    except OSError:
        return None
    try:
        status = os.fstat(fd)
        if status.st_mtime < name.started_at.timestamp() - _COARSE:
            return None
        data = os.pread(fd, _END, max(0, status.st_size - _END))
    except OSError:
        return None
    finally:
        os.close(fd)
    lines = [line.strip() for line in re.split(r"[\r\n]", data.decode("utf-8", "replace"))]
    text = next((line for line in reversed(lines) if line), "")
    shown = printable(text)
    return (shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…") or None


def write(path: str, text: str) -> None:
    """Replace what the file says, for readers in one step; raises OSError."""
    directory, _, id = path.rpartition("/")
    temporary = f"{directory}/.{id}.{os.getpid()}"
    files.write_new(temporary, f"{text}\n".encode("utf-8", "backslashreplace"), sync=False)
    try:
        files.move(temporary, path)
    except OSError:
        files.remove(temporary)
        raise


def forget(layout: Layout, id: str) -> None:
    """Remove what a job has said. Never fails."""
    path = layout.progress(id)
    if os.access(path, os.F_OK):  # few jobs say anything, and an error costs more than a look
        with suppress(OSError):
            files.remove(path)


def find_left(layout: Layout, now: datetime) -> list[str]:
    """The paths of files that no running job has written for an hour: a crash has left them."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(layout.progress_of_all) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                if now.timestamp() - status.st_ctime > _STALE and not entry.is_dir(follow_symlinks=False):
                    found.append(entry.path)
    if not found:
        return []
    names = map(RunningName.parse, os.listdir(layout.running))
    running = {name.id for name in names if name is not None}
    return [path for path in sorted(found) if os.path.basename(path) not in running]
