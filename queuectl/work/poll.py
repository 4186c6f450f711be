"""How often a worker looks by itself in a spool where events of other hosts may not reach it.

That is found by trying. Each host renames its beat in `hosts/` every ten seconds, and a watch is kept on that
directory. As long as every other host that is there has been heard, changes by them are heard, and the worker sleeps as
it does on a local spool. Else it looks: often while there is work, seldom when there has been none for long.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from queuectl.spool.system import files, lease
from queuectl.spool.system.shared import AUTO, LEAST, MOST
from queuectl.spool.system.trigger import Trigger
from queuectl.work.context import Context

SHARE = 60
"""Of the time for which there has been no work: a minute after the last job, it looks every second."""
_HEARD_FOR = 60.0
"""Seconds after which a host that is not heard any more counts as one that cannot be heard."""


class Poll:
    """For the main thread. `forced` is a number of seconds that was asked for, None for `auto`."""

    def __init__(self, context: Context, worker: str, forced: float | None) -> None:
        self._layout, self._own = context.layout, lease.host_of(worker)
        self._forced = forced
        self._heard: dict[str, float] = {}
        self._trigger = Trigger(self._layout, self._hear, [self._layout.hosts]) if self._is_open else None
        self.is_blind = self._is_open
        """Whether it looks by itself, as it does not know that it hears of what other hosts do."""

    @property
    def _is_open(self) -> bool:
        return self._layout.shared and self._forced is None

    def close(self) -> None:
        if self._trigger is not None:
            self._trigger.close()

    def _hear(self, path: str | None) -> None:
        """Called from another thread, with the path of a beat."""
        name = os.path.basename(path or "")
        if "-" in name:
            self._heard[name.partition("-")[0]] = time.monotonic()

    def try_again(self) -> None:
        """Find out whether all other hosts are heard. With none there is nothing to hear yet, so it looks."""
        if self._trigger is None:
            return
        if not self._trigger.is_alive:
            self._trigger.open()
        since, others = time.monotonic() - _HEARD_FOR, set[str]()
        files.refresh(self._layout.root)  # where a pause or a group of another host may have appeared
        with suppress(OSError):
            beats = (name.split("-", 2) for name in os.listdir(self._layout.hosts) if "-" in name)
            others = {host for host, *said in beats if not {"gone", "left"}.intersection(said)} - {self._own}
        heard = {host for host, at in [*self._heard.items()] if at > since}
        self.is_blind = self._trigger.problem is not None or not others or not others <= heard

    def interval(self, idle: float) -> float:
        """Seconds until it looks again, after `idle` seconds without work; infinity if events are enough."""
        if self._forced is not None:
            return self._forced
        return min(MOST, max(LEAST, idle / SHARE)) if self.is_blind else float("inf")

    @property
    def name(self) -> str | float | None:
        """What `worker list --json` says: None for events, `auto`, or the number of seconds that was asked for."""
        return self._forced if self._forced is not None else AUTO if self.is_blind else None
