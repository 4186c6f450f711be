"""Why jobs wait: what `queuectl explain` says, from the snapshot that all pages share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import chain
from typing import Any

from queuectl.core import groups
from queuectl.core.admission import Group, Pause, Room
from queuectl.core.names import PendingName
from queuectl.core.result import State
from queuectl.core.settings import Settings
from queuectl.dashboard.snapshot import View
from queuectl.spool.reading.explain import RECENT
from queuectl.spool.system.defaults import Default


class Seen:
    """A view at a time, as the facts that `queuectl.spool.reading.explain` asks for: none of it is read again."""

    def __init__(self, view: View, at: datetime) -> None:
        self._view = view
        self.at = at

    @property
    def settings(self) -> Settings:
        return self._view.settings

    @property
    def wrong_settings(self) -> str:
        return self._view.wrong_settings

    def paused(self) -> Pause | None:
        return self._view.paused

    def room(self) -> Room:
        return Room(*self._view.room)

    def workers(self) -> Iterable[Mapping[str, Any]]:
        return self._view.workers

    def count_ahead(self, name: PendingName, until: str) -> int:
        return self._view.shelves[State.PENDING].due_before(str(name), until)

    def first_pending(self, limit: int) -> Iterable[str]:
        return self._view.shelves[State.PENDING].select().slice(0, limit)

    def ended(self) -> Iterable[str]:
        newest = (self._view.shelves[state].select().slice(0, RECENT) for state in (State.DONE, State.DEAD))
        return chain.from_iterable(newest)

    def defaults(self, id: str) -> Mapping[str, Default]:
        # The inner group, which is last, wins.
        return {field: Default(value, group.name) for group in self._of(id) for field, value in group.defaults.items()}

    def groups(self, id: str) -> Iterable[tuple[Group, int]]:
        running = self._view.shelves[State.RUNNING].groups()
        return [(group, running.get(group.name, 0)) for group in self._of(id)]

    def group(self, name: str) -> Group | None:
        return self._view.groups.get(name)

    def _of(self, id: str) -> list[Group]:
        """Those of its groups that have settings, the outermost first."""
        return [self._view.groups[name] for name in groups.of(id) if name in self._view.groups]
