"""The workers of a spool: what each wrote about itself, whether it lives, and what it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from queuectl.core.names import RunningName
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system import lease
from queuectl.spool.system.layout import Layout


def list_workers(layout: Layout, *, is_paused: bool = False) -> Iterator[dict[str, Any]]:
    """What each worker reports about itself, whether it is `alive`, its `state` (lease.state_of), the ids it `runs`.

    A worker counts as alive if that cannot be determined.
    """
    runs: dict[str, list[str]] = {}
    for text in query.list_names(layout, State.RUNNING):
        name = RunningName.parse(text)
        if name:
            runs.setdefault(name.worker, []).append(name.id)
    known = {entry.removesuffix(".json") for entry in os.listdir(layout.workers) if entry.endswith(".json")}
    for worker in sorted(known | runs.keys()):
        info, is_busy = lease.read_worker(layout, worker), worker in runs
        try:
            is_alive = lease.is_worker_alive(layout, worker)
        except OSError:
            is_alive = True
        yield {
            **info,
            "worker": worker,
            "alive": is_alive,
            "state": lease.state_of(info, is_alive=is_alive, is_busy=is_busy, is_paused=is_paused),
            "runs": sorted(runs.get(worker, [])),
        }
