"""The version of the spool's format: what a spool uses that older workers do not know, and who of them lives.

Format 2 is what came after the first: groups with settings, keys, jobs that wait for others, and schedules. A worker's
file says which it knows, and one that says nothing knows 1. It would start jobs that a group or another job is to keep
waiting, so whoever is the first to use any of these makes sure that no such worker lives.
"""

from __future__ import annotations

import os

from queuectl.errors import WrongStateError
from queuectl.spool.system import identity, lease
from queuectl.spool.system.layout import Layout

FORMAT = 2
"""The format that this version reads and writes."""
_NEW = {"groups": "groups", "unique": "keys", "after": "jobs that wait for others", "schedules": "schedules"}
"""The directories of format 2, and what they hold."""


def needed(layout: Layout) -> tuple[int, list[str]]:
    """The format that workers must know for what is in the spool, and what of it is new in that format."""
    used = [what for name, what in _NEW.items() if _is_used(f"{layout.root}/{name}")]
    return (FORMAT if used else 1), used


def _is_used(path: str) -> bool:
    try:
        return bool(os.listdir(path))
    except OSError:
        return False


def find_older(layout: Layout) -> list[str]:
    """The live workers of this host that do not know this format."""
    try:
        entries = sorted(os.listdir(layout.workers))
    except FileNotFoundError:
        return []
    workers = (entry.removesuffix(".json") for entry in entries if entry.endswith(".json"))
    return [worker for worker in workers if _is_older(layout, worker) and lease.is_worker_alive(layout, worker)]


def _is_older(layout: Layout, worker: str) -> bool:
    info = lease.read_worker(layout, worker)
    if info.get("boot_id", "") not in ("", identity.boot_id()) and info.get("host") != os.uname().nodename:
        return False  # another host's
    known = info.get("format", 1)
    return bool(info) and not (isinstance(known, int) and known >= FORMAT)


def require(layout: Layout, directory: str) -> None:
    """To be called before a spool has anything in that directory of format 2.

    Raises WrongStateError, with the line to type, if there is nothing there and a live worker of this host does not
    know the format.
    """
    if _is_used(f"{layout.root}/{directory}"):
        return
    older = find_older(layout)
    if older:
        plural = "s" * (len(older) > 1)
        raise WrongStateError(
            f"an older version's worker{plural} would ignore {_NEW[directory]}: {' '.join(older)}",
            "it must be stopped, and started again by this version" if not plural else "they must be stopped first",
            f"try: queuectl worker stop {' '.join(older)}",
        )
