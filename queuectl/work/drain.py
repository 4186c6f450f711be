"""What a worker that drains waits for: jobs that can still start by themselves. The others it leaves, and names."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from queuectl.core import groups
from queuectl.core.groups import Choice
from queuectl.core.names import is_ignored, is_pending, looks_held, looks_waiting, pending_id
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.spool.reading import query
from queuectl.spool.reading.itself import Itself
from queuectl.spool.system import groups as group_files
from queuectl.spool.system import lease, pause
from queuectl.work.context import Context

_NAMED = 5  # of the jobs that are left


def is_paused_for_good(context: Context) -> bool:
    """Whether the queue is paused until somebody resumes it."""
    paused = pause.read(context.layout, context.now)
    return paused is not None and paused.until is None


def can_nothing_start(
    context: Context, itself: Itself, choice: Choice, never: Collection[str], *, is_paused: bool
) -> bool:
    """Whether a fresh look finds nothing running, under this worker or any other, and nothing that will be.

    Jobs that the choice of this worker does not take do not count. Pending jobs do not while they are held, wait for
    others, are behind a pause without an end or in a group whose limit is 0, nor those named in `never`, nor does
    `itself`, a job that started this worker and waits for it to drain, nor what runs on a host that has lost contact.
    """
    closed = _closed_groups(context)
    pieces = query.iterate_names(context.layout, State.PENDING, 100)  # of a million for later one is enough
    for names in pieces:
        for name in names:
            is_left = is_pending(name) if is_paused else is_off(name) or _is_in_any(closed, name)
            if not is_left and choice.is_limited:
                is_left = is_pending(name) and not choice.takes(pending_id(name))
            if not is_left and name not in never and not is_ignored(name):
                return False
    running = [name for name in query.running(context.layout) if choice.takes(name.id) and not itself.runs(name)]
    return not running or {lease.host_of(name.worker) for name in running} <= _lost_hosts(context).keys()


def is_off(name: str) -> bool:
    """Whether that is the name of a job that starts only once something else has happened: it is held, or waits."""
    return looks_held(name) or looks_waiting(name)


def has_waiting(context: Context) -> bool:
    """Whether any job waits for others."""
    pieces = query.iterate_names(context.layout, State.PENDING)
    return any(looks_waiting(name) for names in pieces for name in names)


def describe_left(context: Context, choice: Choice, never: Mapping[str, str]) -> list[str]:
    """The jobs that are waiting, and why, in a line for each reason; `never` says it for some."""
    closed = _closed_groups(context)
    left: dict[str, list[str]] = {}
    for name in sorted(filter(is_pending, query.list_names(context.layout, State.PENDING))):
        if not choice.takes(pending_id(name)):
            why = "as this worker does not take them"
        elif looks_held(name):
            why = "held; to release: queuectl release"
        elif looks_waiting(name):
            why = "waiting for others; see: queuectl explain"
        elif group := _is_in_any(closed, name):
            why = closed[group]
        elif name in never:
            why = never[name]
        else:
            why = "as the queue is paused; to continue: queuectl resume"
        left.setdefault(why, []).append(pending_id(name))
    for host, advice in _lost_hosts(context).items():
        ids = [name.id for name in query.running(context.layout) if lease.host_of(name.worker) == host]
        if ids:
            left.setdefault(f"as {advice}", []).extend(filter(choice.takes, ids))
    return [f"{_some(ids)} left, {why}" for why, ids in sorted(left.items()) if ids]


def _lost_hosts(context: Context) -> dict[str, str]:
    """The hosts of a shared spool that have lost contact, each with what to say of it."""
    if not context.layout.shared:
        return {}
    from queuectl.spool.reading.hosts import list_hosts

    return {each.host: each.advice for each in list_hosts(context.layout) if each.advice}


def _closed_groups(context: Context) -> dict[str, str]:
    """The groups of which no job starts until somebody changes that, each with why."""
    closed = {}
    for group in group_files.names(context.layout):
        found = group_files.read(context.layout, group, context.now)
        if found is not None and found.paused is not None and found.paused.until is None:
            closed[group] = f"as the group {group} is paused; to continue: queuectl resume --group {group}"
        elif found is not None and found.limit == 0:
            closed[group] = f"as the limit of the group {group} is 0; to change it: queuectl group set {group} limit=1"
    return closed


def _is_in_any(closed: Collection[str], name: str) -> str:
    """The outermost of these groups that a pending job is in; empty if none."""
    return next((group for group in groups.of(pending_id(name)) if group in closed), "") if closed else ""


def _some(ids: list[str]) -> str:
    """How many jobs these are, and the first of their ids."""
    return f"{format_count(len(ids), 'job')} ({', '.join(ids[:_NAMED])}{', …' if len(ids) > _NAMED else ''})"
