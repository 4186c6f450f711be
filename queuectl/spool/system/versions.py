"""The version of the spool's format: what a spool uses that older workers do not know, and who of them lives.

Format 2 is what came after the first: groups with settings, keys, jobs that wait for others, and schedules; format 3 is
a spool that several hosts share. A worker's file says which it knows, and one that says nothing knows 1. It would start
jobs that a group or another job is to keep waiting, or take those of another host for its own, so whoever is the first
to use any of these makes sure that no such worker lives.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from queuectl.errors import WrongStateError
from queuectl.spool.system import identity, lease
from queuectl.spool.system.layout import Layout

FORMAT = 3
"""The format that this version reads and writes."""
_NEW = {
    "groups": (2, "groups"),
    "unique": (2, "keys"),
    "after": (2, "jobs that wait for others"),
    "schedules": (2, "schedules"),
    "hosts": (3, "other hosts"),
}
"""The directories that came after format 1: the format, and what they hold."""


def needed(layout: Layout) -> tuple[int, list[str]]:
    """The format that workers must know for what is in the spool, and what of it is new in that format."""
    used = [_NEW[name] for name in _NEW if _is_used(f"{layout.root}/{name}") or (name == "hosts" and layout.shared)]
    return max((number for number, _ in used), default=1), [what for _, what in used]


def _is_used(path: str) -> bool:
    try:
        return bool(os.listdir(path))
    except OSError:
        return False


def find_older(layout: Layout, number: int) -> list[str]:
    """The live workers that do not know that format: of this host; in a shared spool of any."""
    return [worker for worker in _workers(layout, number) if lease.is_worker_alive(layout, worker)]


def _workers(layout: Layout, number: int) -> list[str]:
    try:
        entries = sorted(os.listdir(layout.workers))
    except FileNotFoundError:
        return []
    workers = (entry.removesuffix(".json") for entry in entries if entry.endswith(".json"))
    return [worker for worker in workers if _is_older(layout, worker, number)]


def _is_older(layout: Layout, worker: str, number: int) -> bool:
    info = lease.read_worker(layout, worker)
    known = info.get("format", 1)
    if not info or (isinstance(known, int) and known >= number):
        return False
    return layout.shared or _is_here(info)


def _is_here(info: Mapping[str, Any]) -> bool:
    return info.get("boot_id", "") in ("", identity.boot_id()) or info.get("host") == os.uname().nodename


def refuse_older(layout: Layout) -> None:
    """Raises WrongStateError if a worker of an older version works on a spool that several hosts share.

    It locks its file in the spool. That this is free would prove nothing: such workers are reported by `fsck`.
    """
    number, what = _NEW["hosts"]
    older = [worker for worker in _workers(layout, number) if lease.holds_file(layout, worker)]
    if older:
        _refuse(older, what)


def require(layout: Layout, directory: str) -> None:
    """To be called before a spool has anything in that directory of format 2.

    Raises WrongStateError, with the line to type, if there is nothing there and a live worker of this host does not
    know the format.
    """
    if _is_used(f"{layout.root}/{directory}"):
        return
    number, what = _NEW[directory]
    older = find_older(layout, number)
    if older:
        _refuse(older, what)


def _refuse(older: list[str], what: str) -> None:
    plural = "s" * (len(older) > 1)
    raise WrongStateError(
        f"an older version's worker{plural} would ignore {what}: {' '.join(older)}",
        "it must be stopped, and started again by this version" if not plural else "they must be stopped first",
        f"try: queuectl worker stop {' '.join(older)}",
    )
