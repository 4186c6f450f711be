"""The workers of a spool: what each wrote about itself, whether it lives, and what it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from queuectl.core.names import RunningName, is_worker
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.reading.hosts import LOST_CONTACT, list_hosts
from queuectl.spool.system import lease
from queuectl.spool.system.layout import Layout

_BEATS = ("beat", "beat_at", "lost")
"""What a worker's file says for `hosts` alone, and anew every few seconds."""


def list_workers(layout: Layout, *, is_paused: bool = False) -> Iterator[dict[str, Any]]:
    """What each worker reports about itself, whether it is `alive`, its `state` (lease.state_of), the ids it `runs`.

    In a shared spool also the `contact` with its host (hosts.HostState), else None.

    A worker counts as alive if that cannot be determined.
    """
    runs: dict[str, list[str]] = {}
    for text in query.list_names(layout, State.RUNNING):
        name = RunningName.parse(text)
        if name:
            runs.setdefault(name.worker, []).append(name.id)
    known = {entry.removesuffix(".json") for entry in os.listdir(layout.workers) if entry.endswith(".json")}
    infos = {worker: lease.read_worker(layout, worker) for worker in sorted(known | runs.keys())}
    contacts = {each.host: each.contact for each in list_hosts(layout, infos)} if layout.shared else {}
    for worker, info in infos.items():
        is_busy, contact = worker in runs, contacts.get(lease.host_of(worker)) if is_worker(worker) else None
        try:
            is_alive = lease.is_worker_alive(layout, worker)
        except OSError:
            is_alive = True
        yield {
            **{key: value for key, value in info.items() if key not in _BEATS},
            "worker": worker,
            "alive": is_alive,
            "state": "lost"
            if contact == LOST_CONTACT and is_alive
            else lease.state_of(info, is_alive=is_alive, is_busy=is_busy, is_paused=is_paused),
            "contact": contact,
            "runs": sorted(runs.get(worker, [])),
        }
