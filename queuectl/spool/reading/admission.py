"""What prevents jobs from starting."""

from __future__ import annotations

import os

from queuectl.spool.system.layout import Layout, unusable

MIN_FREE_INODES = 64
"""Free inodes below which no job is started."""


def room(layout: Layout) -> tuple[int, int | None]:
    """Free bytes and inodes for this user; inodes are None if the file system does not count them."""
    try:
        stat = os.statvfs(layout.running)
    except OSError as error:
        raise unusable(layout.root, error) from error
    return stat.f_bavail * stat.f_frsize, stat.f_favail if stat.f_files else None
