"""Giving a waiting job the body of a new one, which `if_exists: replace` asks for."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from queuectl.core import body, groups, lifecycle
from queuectl.core.after import Rule, condition_of
from queuectl.core.job import Job
from queuectl.core.names import HELD_AT, Name, PendingName
from queuectl.core.result import State
from queuectl.errors import WrongStateError
from queuectl.spool.moves import by_hand, edit, entry
from queuectl.spool.moves.unique import NewerError
from queuectl.spool.reading import query
from queuectl.spool.system import clock, files, lease, logs
from queuectl.spool.system.layout import Layout


class _OtherConditionError(Exception):
    """The job waits for other jobs than the new one is to wait for."""


def swap(
    layout: Layout,
    id: str,
    fields: Mapping[str, Any],
    is_held: bool = False,
    written_at: int | None = None,
    *,
    behind: Collection[str] = (),
    is_own: bool = False,
    seen: Name | None = None,
) -> Job:
    """Give a waiting job another body, and its time; it keeps its id, its log, and its place if it is due anyway.

    A held one stays held. `behind` are jobs for whose end it waits whatever the new body says. With `is_own` the job
    asks for its key, and its edges are there. Raises WrongStateError or NotFoundError if it does not wait, and with
    `written_at` (nanoseconds) NewerError if its body was written after that. `seen` is its name a moment ago, if it is
    known: then a deep spool is not listed.
    """
    content = body.validate(fields)
    group = content.group if content.group and groups.is_in(id, content.group) else None
    new = {key: value for key, value in fields.items() if key != "group"}
    new = {**new, "id": id, **({"group": group} if group else {})}
    if behind:
        named = condition_of(new)
        new[Rule.AFTER_END] = [*dict.fromkeys((*(named.references if named else ()), *behind))]

    def replaced(old: files.Content) -> dict[str, Any]:
        if written_at is not None and written_at < old.identity[3] <= time.time_ns():
            raise NewerError
        return new

    def replaced_alone(old: files.Content) -> dict[str, Any]:
        if not is_own and _must_change(layout, id, body.decode(old.data), new):
            raise _OtherConditionError
        return replaced(old)

    def renamed(name: PendingName) -> lifecycle.Move:
        run_at: datetime | None = None
        if is_held:
            run_at = HELD_AT
        elif not name.is_held and not name.is_waiting:
            now = clock.now()
            run_at = content.run_at or (now if name.run_at > now else None)
        priority = content.priority if fields.get("priority") is not None else None
        return lifecycle.reschedule(name, priority=priority, run_at=run_at)

    def find(id: str) -> Job:
        return by_hand.find_pending(layout, id, "replaced")[0]

    last = query.load(layout, State.PENDING, str(seen)) if isinstance(seen, PendingName) else None
    try:
        return edit.apply_change(layout, last or find(id), edit.Change(replaced_alone, renamed, ["all"]), find)
    except _OtherConditionError:
        pass
    job, name = by_hand.find_pending(layout, id, "replaced")
    change = edit.Change(replaced, renamed, ["all"])
    with _parked(layout, job, name) as park:
        wanted = edit.ConditionChange(
            new,
            lambda held: edit.apply_change(layout, held, change, find),
            park,
            is_held=is_held or name.is_held,
            run_at=content.run_at,
        )
        return edit.change_condition(layout, job, name, wanted)


def _must_change(layout: Layout, id: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the edges of a job change with its body."""
    before, after = condition_of(old), condition_of(new)
    if before == after:
        return False
    return after is not None or entry.has_edges(layout, id, old)


@contextmanager
def _parked(layout: Layout, job: Job, name: PendingName) -> Iterator[lifecycle.Move]:
    """Where the job cannot start while its edges are changed; one with a key asks for that.

    CRASH: a worker's beat finishes what asks, so the key is not blocked (tests/spool/moves/test_unique.py).
    """
    if job.body is None or job.body.unique is None:
        yield lifecycle.hold(name)
        return
    log = logs.open_log(layout.log(job.id))
    try:
        if not lease.lock_id(log):
            raise WrongStateError(f"job {job.id} cannot be changed now", "another command is moving it", "try again")
        yield lifecycle.ask(name)
    finally:
        lease.close(log)
