"""How many jobs have failed, from the names in dead/ and done/ alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from queuectl.core import groups
from queuectl.core.names import FinishedName, format_time
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system.layout import Layout


def count(layout: Layout, group: str, since: int) -> int:
    """How many jobs of a group, or of all for "", have failed after `since`, in nanoseconds since 1970.

    Those have failed that are dead by exit, signal, timeout or loss; cancelled, refused and skipped ones have not.
    """
    return sum(name.result.is_failure for name in _ended(layout, State.DEAD, group, since))


def count_ended(layout: Layout, group: str, since: int) -> int:
    """How many have ended after that, however."""
    return sum(1 for state in (State.DONE, State.DEAD) for _ in _ended(layout, state, group, since))


def _ended(layout: Layout, state: State, group: str, since: int) -> Iterator[FinishedName]:
    first = format_time(datetime.fromtimestamp(since / 1e9, UTC))
    mark = f"-{group}." if group else ""
    for texts in query.iterate_names(layout, state):
        for text in texts:
            name = FinishedName.parse(text) if text > first and mark in text else None
            if name is not None and (not group or groups.is_in(name.id, group)):
                yield name
