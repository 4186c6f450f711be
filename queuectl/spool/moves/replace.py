"""Giving a waiting job the body of a new one, which `if_exists: replace` asks for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from queuectl.core import body, groups, lifecycle
from queuectl.core.job import Job
from queuectl.core.names import HELD_AT, PendingName
from queuectl.spool.moves import by_hand, edit
from queuectl.spool.moves.unique import NewerError
from queuectl.spool.system import clock, files
from queuectl.spool.system.layout import Layout


def swap(
    layout: Layout, id: str, fields: Mapping[str, Any], is_held: bool = False, written_at: int | None = None
) -> Job:
    """Give a waiting job another body, and its time; it keeps its id, its log, and its place if it is due anyway.

    A held one stays held. Raises WrongStateError or NotFoundError if it does not wait, and with `written_at`
    (nanoseconds) NewerError if its body was written after that.
    """
    content = body.validate(fields)
    group = content.group if content.group and groups.is_in(id, content.group) else None
    new = {key: value for key, value in fields.items() if key != "group"}
    new = {**new, "id": id, **({"group": group} if group else {})}

    def replaced(old: files.Content) -> dict[str, Any]:
        if written_at is not None and written_at < old.identity[3] <= time.time_ns():
            raise NewerError
        return new

    def renamed(name: PendingName) -> lifecycle.Move:
        run_at: datetime | None = None
        if is_held:
            run_at = HELD_AT
        elif not name.is_held:
            now = clock.now()
            run_at = content.run_at or (now if name.run_at > now else None)
        priority = content.priority if fields.get("priority") is not None else None
        return lifecycle.reschedule(name, priority=priority, run_at=run_at)

    def find(id: str) -> Job:
        return by_hand.find_pending(layout, id, "replaced")[0]

    return edit.apply_change(layout, find(id), edit.Change(replaced, renamed, ["all"]), find)
