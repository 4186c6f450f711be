"""Small file systems of one's own: mounted from a loop file or memory, filled up, and cut off from power."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SHUTDOWN = 0x8004587D  # XFS_IOC_GOINGDOWN, EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2

MAKE: dict[str, Sequence[str]] = {
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"),
    "xfs": ("mkfs.xfs", "-q", "-f"),
    "btrfs": ("mkfs.btrfs", "-q", "-f"),
}
_MIB = {"ext4": 128, "xfs": 320, "btrfs": 256}


def missing(kind: str) -> str | None:
    """Why such a volume cannot be had here; None if it can."""
    if os.geteuid() != 0:
        return "needs root"
    if kind in MAKE and shutil.which(MAKE[kind][0]) is None:
        return f"{MAKE[kind][0]} is not installed"
    if kind in MAKE and not os.path.exists("/dev/loop-control"):
        return "no loop devices"
    return None


@dataclass
class Volume:
    """A mounted file system; `image` is its loop file, if it has one."""

    kind: str
    path: Path
    image: Path | None
    options: str = ""

    def mount(self) -> None:
        if self.image is None:
            command = ["mount", "-t", "tmpfs", "-o", self.options, "queuectl-torture", str(self.path)]
        else:
            command = ["mount", "-t", self.kind, "-o", f"loop{self.options}", str(self.image), str(self.path)]
        subprocess.run(command, check=True, capture_output=True)

    def unmount(self) -> None:
        """Once nobody works there any more; after ten seconds, any process that still does loses it."""
        deadline = time.monotonic() + 10
        while subprocess.run(["umount", str(self.path)], check=False, capture_output=True).returncode:
            if time.monotonic() > deadline:
                subprocess.run(["umount", "-l", str(self.path)], check=False, capture_output=True)
                break
            time.sleep(0.05)

    def _wait_until_released(self) -> None:
        """A mount namespace that was made in the meantime, by a test beside this one, keeps a mount of its own: until
        that goes the next mount would be the old file system, and the power still off."""
        deadline = time.monotonic() + 60
        while subprocess.run(["losetup", "-j", str(self.image)], check=True, capture_output=True).stdout:
            assert time.monotonic() < deadline, f"{self.image} is still mounted in another namespace"
            time.sleep(0.05)

    def sync(self) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            ctypes.CDLL(None).syncfs(fd)
        finally:
            os.close(fd)

    def cut_power(self) -> None:
        """From this instant nothing reaches the disk any more, the journal's unwritten part included."""
        assert self.image is not None
        if self.kind == "btrfs":  # which has no such call everywhere: what the disk holds now is put aside
            subprocess.run(["cp", "--sparse=always", str(self.image), f"{self.image}.cut"], check=True)
            return
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def restore_power(self) -> None:
        """Mount what the disk held when the power was cut."""
        self.unmount()
        self._wait_until_released()
        if self.kind == "btrfs":
            os.replace(f"{self.image}.cut", str(self.image))
        self.mount()


@contextmanager
def volume(kind: str, home: Path, options: str = "", mib: int | None = None) -> Iterator[Volume]:
    """A fresh one at home/KIND. `options` are those of mount: for tmpfs `size=8m,nr_inodes=500`, say."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / kind
    path.mkdir()
    image = None
    if kind in MAKE:
        image = home / f"{kind}.img"
        with image.open("wb") as file:
            file.truncate((mib or _MIB[kind]) << 20)
        subprocess.run([*MAKE[kind], str(image)], check=True, capture_output=True)
    made = Volume(kind, path, image, options)
    made.mount()
    try:
        yield made
    finally:
        made.unmount()
        if image is not None:
            with suppress(OSError):
                image.unlink()
