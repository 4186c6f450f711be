"""File systems to measure on, each with scratch directories that do not outlive their use.

    tmpfs  /dev/shm: no disk at all, so what is left is the cost of the program
    disk   a journaled file system: the one of $BENCH_DIR or of the temporary directory if that is one, else,
           for root, a new ext4 on a loop device

An ext4 without a journal (as in some containers) is not suitable: it does not reuse the inodes of files
deleted in the last minutes, and looks at every one of them for each new file (Linux 5 and 6).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMES = ("tmpfs", "disk")
_TMPFS = "/dev/shm"
_MEMORY = ("tmpfs", "ramfs")
_JOURNALED = ("xfs", "btrfs", "zfs", "f2fs", "ext3", "bcachefs")


@dataclass(frozen=True, slots=True)
class Place:
    """A directory on a file system of a known kind."""

    name: str
    kind: str
    path: Path

    @property
    def is_durable(self) -> bool:
        """Whether fsync means, and costs, anything."""
        return self.kind not in _MEMORY

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A new directory, removed at the end with all that is in it."""
        path = Path(tempfile.mkdtemp(prefix="queuectl-bench-", dir=self.path))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


class NoPlaceError(Exception):
    """This machine has no such file system; the message says why."""


@contextmanager
def place(name: str, *, files: int) -> Iterator[Place]:
    """The place of that name, with room for so many files; raises NoPlaceError."""
    if name == "tmpfs":
        if not os.access(_TMPFS, os.W_OK) or file_system_of(_TMPFS)[0] != "tmpfs":
            raise NoPlaceError(f"{_TMPFS} is not a tmpfs")
        yield Place(name, "tmpfs", Path(_TMPFS))
        return
    given = os.environ.get("BENCH_DIR")
    directory = given or tempfile.gettempdir()
    kind, device = file_system_of(directory)
    if given or is_journaled(kind, device):
        yield Place(name, kind, Path(directory))
    elif os.geteuid() == 0:
        with _loop_device(files) as path:
            yield Place(name, "ext4 on a loop device", path)
    else:
        raise NoPlaceError(f"{directory} is on {kind} without a journal: set BENCH_DIR, or be root for a loop device")


def file_system_of(path: str | Path) -> tuple[str, str]:
    """The type and the device of the file system that a path lies on."""
    real = os.path.realpath(path)
    best, found = "", ("unknown", "")
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        for line in file:
            device, mount, kind = line.split()[:3]
            if len(mount) >= len(best) and (real == mount or real.startswith(f"{mount.rstrip('/')}/")):
                best, found = mount, (kind, device)
    return found


def is_journaled(kind: str, device: str) -> bool:
    """Whether files deleted a moment ago do not slow down the creation of new ones; False for memory."""
    if kind != "ext4":
        return kind in _JOURNALED
    name = os.path.basename(os.path.realpath(device))
    try:
        return any(entry.startswith(f"{name}-") for entry in os.listdir("/proc/fs/jbd2"))
    except FileNotFoundError:
        return False


@contextmanager
def _loop_device(files: int) -> Iterator[Path]:
    """A new ext4 with the defaults of mkfs, in a sparse file."""
    missing = [program for program in ("mkfs.ext4", "mount", "umount") if shutil.which(program) is None]
    if missing:
        raise NoPlaceError(f"{' '.join(missing)} not installed")
    with tempfile.TemporaryDirectory(prefix="queuectl-bench-loop-") as directory:
        image, mounted = f"{directory}/image", f"{directory}/mounted"
        os.mkdir(mounted)
        inodes = files + 20_000
        with open(image, "wb") as file:
            file.truncate(inodes * 6_500 + (256 << 20))  # a block, an inode, a name; and what mkfs reserves
        make = ["mkfs.ext4", "-q", "-F", "-N", str(inodes), "-E", "lazy_itable_init=0,lazy_journal_init=0", image]
        for argv in (make, ["mount", "-o", "loop", image, mounted]):
            done = subprocess.run(argv, check=False, capture_output=True, text=True)
            if done.returncode:
                raise NoPlaceError(f"{argv[0]}: {done.stderr.strip() or done.returncode}")
        try:
            yield Path(mounted)
        finally:
            subprocess.run(["umount", mounted], check=False)
