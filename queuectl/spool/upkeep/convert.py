"""Making a spool one that several hosts share: `hosts/` is added to it while nothing in it runs."""

from __future__ import annotations

import os

from queuectl.core.names import RunningName
from queuectl.errors import WrongStateError
from queuectl.spool.system import identity, lease, shared
from queuectl.spool.system.layout import Layout, create, is_spool


def require_idle(layout: Layout) -> None:
    """Raise WrongStateError, with what to do, if a worker may live or a job may run in one host's spool.

    Their locks are in the spool, where nobody looks for them once it is shared.
    """
    if layout.shared or not is_spool(layout.root):
        return
    if workers := _workers(layout):
        raise WrongStateError(
            f"{layout.root} has workers, which take it for one host's: {' '.join(workers)}",
            "those of this host: queuectl worker stop",
            "of one that has died with its host: start a worker there, or remove its file in workers/",
        )
    if running := _running(layout):
        raise WrongStateError(
            f"jobs may still run in {layout.root}: {' '.join(running[:3])}",
            "they were started while it was one host's",
            "let them end: queuectl worker start --drain, there",
        )


def share_if_idle(layout: Layout) -> bool | None:
    """Make a spool of an earlier version shared, if its file system is one that several hosts can mount.

    None if it is not; False if workers or jobs of it may live, so that it stays one host's.
    """
    if not shared.can_be_shared(layout.root):
        return None
    if _workers(layout) or _running(layout):
        return False
    create(layout.root, is_shared=True)
    del layout.__dict__["shared"]
    return layout.shared


def _workers(layout: Layout) -> list[str]:
    """Those of which it is not known that they are gone. A lock proves that only where its worker ran."""
    try:
        names = [entry.removesuffix(".json") for entry in sorted(os.listdir(layout.workers)) if entry.endswith(".json")]
    except FileNotFoundError:
        return []
    return [name for name in names if not _is_known_dead(layout, name)]


def _is_known_dead(layout: Layout, worker: str) -> bool:
    info = lease.read_worker(layout, worker)
    is_here = info.get("boot_id") == identity.boot_id() and info.get("host") == os.uname().nodename
    try:
        return is_here and not lease.is_worker_alive(layout, worker)
    except OSError:
        return False


def _running(layout: Layout) -> list[str]:
    names = (RunningName.parse(text) for text in os.listdir(layout.running))
    return sorted(name.id for name in names if name is not None)
