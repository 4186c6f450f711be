"""Where a spool is, on record: how a worker notices that it is about to work on a copy.

The file `place` in the spool names itself: its device and inode, and the path of the spool. `cp`, `tar` and `rsync`
make another file of it; `mv` within a file system does not. In a copy the locks of workers and jobs are free although
they may live, in the original, and what waits there waits here too. So a worker of a copy starts only if asked to.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from queuectl.core.names import RunningName, is_ignored
from queuectl.core.result import State
from queuectl.errors import SpoolError
from queuectl.spool.system import files, identity, logs, processes
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

_UNTOUCHED = 2.0  # seconds from the time in the file to its ctime, if nobody has copied or changed it


class Copy(NamedTuple):
    """A spool that was copied: the path of the `original`, and the numbers of the jobs that both may have."""

    original: str
    running: int
    waiting: int

    @property
    def has_jobs(self) -> bool:
        """Whether anything in it might run twice."""
        return bool(self.running or self.waiting)


def find_copy(layout: Layout) -> Copy | None:
    """What this is a copy of, if it is one on which no worker has started yet; else None."""
    try:
        record = json.loads(files.read(layout.place).data)
        original = str(record["path"])
        if _is_same(record, os.lstat(layout.place), os.path.realpath(layout.root), is_shared=layout.shared):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # there is none, or it was cut off by a power cut
    running = len(_running(layout))
    waiting = sum(not is_ignored(name) for name in os.listdir(layout.pending))
    return Copy(original, running, waiting)


def settle_in(layout: Layout, *, is_copied: bool, prepare: Callable[[], object] = lambda: None) -> None:
    """Make this the spool's place, before a worker starts; `prepare` is called first for a copy.

    Raises SpoolError for a copy with jobs to run, unless that is known (`is_copied`), and for one whose jobs still run
    in the original: the worker would take their processes for those of its own jobs.
    CRASH: the record is replaced by one rename (tests/spool/system/test_place.py).
    """
    copy = find_copy(layout)
    if copy is not None and copy.has_jobs and not is_copied:
        both = [f"{number} {what}" for number, what in ((copy.running, "running"), (copy.waiting, "waiting")) if number]
        jobs = "job" if copy.running + copy.waiting == 1 else "jobs"
        raise SpoolError(
            f"{layout.root} was copied or moved from {copy.original}",
            f"if the original is still used, its {' and '.join(both)} {jobs} would run twice",
            f"to run them here: queuectl --spool {shlex.quote(layout.root)} worker start --copied",
        )
    if copy is not None:
        for name in _running(layout):
            _require_ended(layout, copy, name)
        prepare()
    with suppress(OSError):  # a full disk: the next worker tries again
        _record(layout)


def require_own(layout: Layout, name: RunningName) -> None:
    """Raises SpoolError if this is a copy, and the job runs in the original: its processes are not this spool's."""
    copy = find_copy(layout)
    if copy is not None:
        _require_ended(layout, copy, name)


def _require_ended(layout: Layout, copy: Copy, name: RunningName) -> None:
    attempt, _ = logs.read_attempt(layout.log(name.id), name)
    token = processes.token_of(name, attempt.worker if attempt else name.worker)
    if processes.find(token, is_ours=True):
        raise SpoolError(
            f"job {name.id} is still running, in the original of {layout.root}",
            f"it belongs to {copy.original}",
            f"wait until it has ended there, or give it up here: rm {shlex.quote(layout.job(State.RUNNING, name))}",
        )


def _running(layout: Layout) -> list[RunningName]:
    names = map(RunningName.parse, os.listdir(layout.running))
    return [name for name in names if name is not None]


def _is_same(record: dict[str, Any], status: os.stat_result, path: str, *, is_shared: bool) -> bool:
    """Whether a record is still the file that it names.

    Some file systems have other numbers after each mount: devices are numbered anew (btrfs, NFS, overlays), and FUSE
    may do so with inodes. Then it is the same if it has the same path, and no copy has set its ctime. Hosts that
    share a spool have mounts of their own of it, and other clocks, so the inode is all that they agree on.
    """
    is_same_inode: bool = record["inode"] == status.st_ino
    if is_shared:
        return is_same_inode
    if is_same_inode and record["device"] == status.st_dev:
        return True
    is_untouched = abs(status.st_ctime - float(record["written_at"])) < _UNTOUCHED
    if record["path"] == path:
        return is_same_inode or is_untouched
    return is_same_inode and is_untouched and record["boot_id"] != identity.boot_id()


def _record(layout: Layout) -> None:
    """Write the file, unless it is right already. Its inode must be known before its content is."""
    path = os.path.realpath(layout.root)
    with suppress(OSError, ValueError, KeyError, TypeError):
        record = json.loads(files.read(layout.place).data)
        status = os.lstat(layout.place)
        if (record["device"], record["inode"], record["path"]) == (status.st_dev, status.st_ino, path):
            return
    temporary = f"{layout.tmp}/place.{identity.random_text(6)}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        status = os.fstat(fd)
        record = {
            "path": path,
            "device": status.st_dev,
            "inode": status.st_ino,
            "boot_id": identity.boot_id(),
            "written_at": round(time.time(), 3),
        }
        os.write(fd, json.dumps(record).encode() + b"\n")
        files.move(temporary, layout.place)
    except BaseException:
        files.remove(temporary)
        raise
    finally:
        os.close(fd)
