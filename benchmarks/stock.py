"""Jobs by the million, made fast: files under their canonical names, written straight into a spool.

A job that a benchmark runs is a file of its own. Finished jobs, which are only ever listed, are hard links
to a few bodies; a new body every 60,000, as ext4 takes 65,000 links to one file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks import machine
from benchmarks.program import Queue
from queuectl.core.names import FinishedName, format_time

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_LINKS = 60_000
_TMPFS_FILE = 5_500
"""Bytes of memory that a small file on tmpfs takes: a page, an inode, a directory entry (Linux 6)."""


class NoRoomError(Exception):
    """Too little memory, space or inodes for so many files."""


def fill_pending(queue: Queue, number: int, *, first: int = 0, run_at: datetime = EPOCH, group: str = "") -> None:
    """Add jobs of `true`, numbered from `first`, each due a millisecond after the one before."""
    prefix = f"{group}.j" if group else "j"
    require_room(queue.path, number)
    directory = os.open(queue.pending, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for at, serial in _serials(first, number, run_at):
            fd = os.open(
                f"010-{at}-0-{prefix}{serial}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory
            )
            os.write(fd, f'{{"command": "true", "id": "{prefix}{serial}"}}\n'.encode())
            os.close(fd)
    finally:
        os.close(directory)


def fill_done(queue: Queue, number: int, *, first: int = 0) -> None:
    """Add finished jobs of a busy spool, numbered from `first`, one in a hundred after a retry."""
    require_room(queue.path, number)
    body = queue.tmp / "body"
    for count, (at, serial) in enumerate(_serials(first, number, EPOCH)):
        if count % _LINKS == 0:
            body.unlink(missing_ok=True)
            body.write_bytes(b'{"command": "true"}\n')
        attempts, duration = (2 if count % 100 == 0 else 1), 0.001 * (count % 977)
        os.link(body, f"{queue.done}/{at}-010-{attempts}-exit0-{duration:.3f}s-j{serial}.json")
    body.unlink(missing_ok=True)


def _serials(first: int, number: int, epoch: datetime) -> Iterator[tuple[str, str]]:
    """The time and the eleven digits of each number: a number is milliseconds after the epoch."""
    second = ""
    for serial in range(first, first + number):
        if serial % 1000 == 0 or not second:
            second = format_time(epoch + timedelta(seconds=serial // 1000))[:15]
        yield f"{second}.{serial % 1000:03d}Z", f"{serial:011d}"


def require_room(path: Path, number: int) -> None:
    """Raises NoRoomError unless so many small files would fit."""
    status = os.statvfs(path)
    bytes_left, inodes = status.f_bavail * status.f_frsize, status.f_favail if status.f_files else number
    if str(path).startswith("/dev/shm/"):
        bytes_left = min(bytes_left, machine.available_memory())
    if inodes < number or bytes_left < number * _TMPFS_FILE:
        raise NoRoomError(f"{number} files do not fit: {inodes} inodes and {bytes_left >> 20} MiB are free")


class Backlog:
    """A spool that has the same number of pending jobs at the start of each run."""

    def __init__(self, queue: Queue, size: int) -> None:
        self.queue = queue
        self.size = size
        self._made = 0

    def top_up(self) -> None:
        """Put finished jobs back where they came from, without their logs, and make those that are missing."""
        for text in os.listdir(self.queue.done):
            name = FinishedName.parse(text)
            if name is None or not name.id.startswith("j"):
                os.unlink(self.queue.done / text)
                continue
            at = format_time(EPOCH + timedelta(milliseconds=int(name.id[1:])))
            os.rename(self.queue.done / text, self.queue.pending / f"010-{at}-0-{name.id}.json")
        shutil.rmtree(self.queue.logs)
        self.queue.logs.mkdir(0o700)
        missing = self.size - self._made
        if missing:
            fill_pending(self.queue, missing, first=self._made)
            self._made = self.size
