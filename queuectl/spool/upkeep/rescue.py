"""What dead workers left in running/: which jobs are orphans, and what happened to them.

The worker that looks then adopts, settles or releases them, each by one rename that decides
between two rescuers. Workers of other hosts are left to those hosts: their locks cannot be seen from here.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import datetime
from enum import Enum, auto

from queuectl.core.names import RunningName, is_worker, parse_worker
from queuectl.core.result import LOST, Result, State
from queuectl.spool.reading import query
from queuectl.spool.system import clock, files, lease, logs, processes
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple


class Fate(Enum):
    """What happened to an attempt whose worker is gone."""

    ENDED = auto()  # its end is on record, or can no longer be recorded
    ALIVE = auto()  # its shell is still running: adopt it
    RELEASED = auto()  # its worker died while giving the job back: the attempt does not count
    NEVER_STARTED = auto()  # the worker died before the command started: the attempt does not count
    HEADLESS = auto()  # its shell was killed, and processes that it left hold its lock: end them, then look again
    UNCLEAR = auto()  # its lock is held and its shell cannot be seen: it may be alive, so look again later


class Verdict(NamedTuple):
    """A fate with its details: the result and when it ended, or the shell's pid and the token.

    `ending` is why its worker was ending it. `is_recorded`: its end is on record; else processes that carry the token
    must be ended before the next attempt.
    """

    fate: Fate
    token: str = ""
    pid: int | None = None
    result: Result | None = None
    ended_at: datetime | None = None
    ending: str | None = None
    is_recorded: bool = False


def find_orphans(layout: Layout, host: str, mine: str, on: Collection[str] = ()) -> list[RunningName]:
    """Running jobs whose worker's lock is free on this host, except those of the worker `mine`.

    Those that run as processes of this machine; or, with `on`, those that run on one of these engines: only who asks
    the engine can know what became of them. A worker whose lock cannot be checked counts as alive.
    """
    alive: dict[str, bool] = {mine: True}
    orphans = []
    for text in query.list_names(layout, State.RUNNING):
        name = RunningName.parse(text)
        if name is None:
            continue
        if name.worker not in alive:
            is_mine = _is_here(layout, name.worker, host) and _is_on(layout, name.worker, on)
            alive[name.worker] = not is_mine or _may_be_alive(layout, name.worker)
        if not alive[name.worker]:
            orphans.append(name)
    return orphans


def find_held(layout: Layout, worker: str) -> list[RunningName]:
    """Running jobs under the name of that worker."""
    names = (RunningName.parse(text) for text in query.list_names(layout, State.RUNNING))
    return [name for name in names if name is not None and name.worker == worker]


def _may_be_alive(layout: Layout, worker: str) -> bool:
    try:
        return lease.is_worker_alive(layout, worker)
    except OSError:
        return True


def _is_here(layout: Layout, worker: str, host: str) -> bool:
    """Whether that worker ran on this host: the same boot of the same kernel, or the same name.

    A worker's name holds only part of its host's name, which two hosts may share, so the full one is compared.
    """
    info = lease.read_worker(layout, worker)
    if info.get("boot_id") and info["boot_id"] == lease.boot_id():
        return True
    here = os.uname().nodename
    return parse_worker(worker)[0] == host and info.get("host", here) == here


def _is_on(layout: Layout, worker: str, on: Collection[str]) -> bool:
    """Whether the jobs of that worker ran on one of these engines, or if none is given on its own machine."""
    info = lease.read_worker(layout, worker)
    engine = {info.get("on"), info.get("scheduler")} - {None}
    return not engine.isdisjoint(on) if on else not engine


def forget_dead_workers(layout: Layout, host: str) -> None:
    """Remove the files of dead workers of this host that have no running job left to rescue."""
    dead = [
        worker
        for worker in (entry.removesuffix(".json") for entry in os.listdir(layout.workers))
        if is_worker(worker) and _is_here(layout, worker, host) and not _may_be_alive(layout, worker)
    ]
    if dead:  # dead workers claim nothing more, so this listing has everything they left
        busy = {name.worker for text in query.list_names(layout, State.RUNNING) if (name := RunningName.parse(text))}
        for worker in set(dead) - busy:
            lease.forget(layout, worker)


def drop_second_name(layout: Layout, name: RunningName) -> bool:
    """Remove an orphan's name in running/ if its file has another name of its id: a power cut undid half of a rename.

    btrfs does that if only the directory to which the file was moved had been synced. False if there is no other name.
    """
    path = layout.job(State.RUNNING, name)
    if not files.has_more_names(path):
        return False
    found = query.locate(layout, name.id, excluding=path)
    return found is not None and files.is_same(path, layout.job(*found)) and files.remove(path)


def examine(layout: Layout, name: RunningName) -> Verdict:
    """What happened to an orphan, whose worker's lock has been seen free.

    The end line counts first: a process that the job left behind may hold its lock for ever. Without one, a held lock
    means alive, even if none of its processes can be seen. Only when the lock has been seen free is the attempt over,
    and the log is read after that: whatever its shell wrote is there.
    Raises OSError if the evidence cannot be read: then nothing is known.
    """
    path = layout.log(name.id)
    attempt, _ = logs.read_attempt(path, name)
    if attempt and attempt.is_over:
        return conclude(layout, name)
    token = processes.token_of(name, attempt.worker if attempt else name.worker)
    if attempt and attempt.pid and processes.is_shell(attempt.pid, token):
        return Verdict(Fate.ALIVE, token, attempt.pid, ending=attempt.ending)
    if lease.is_attempt_held(path, name.started_at):
        return _examine_held(path, name, token)
    if attempt is None and logs.read_attempt(path, name)[0] is not None:
        return Verdict(Fate.UNCLEAR, token)  # it has started since the first look, which did not look for a shell
    return conclude(layout, name)


def _examine_held(path: str, name: RunningName, token: str) -> Verdict:
    """The fate of an attempt whose lock is held, and whose shell was not seen.

    It is in another PID namespace, or its shell is about to write its start line. Or its shell was killed: then the
    processes that it left can be seen from here, but not the shell. Once those have been ended, the lock decides.
    """
    left = processes.find(token, is_ours=True)
    # RACE: the shell may have started or ended between the looks (tests/spool/upkeep/test_rescue.py).
    attempt, _ = logs.read_attempt(path, name)
    if not left or attempt is None or attempt.is_over or not attempt.pid or attempt.pid in left:
        return Verdict(Fate.UNCLEAR, token)
    return Verdict(Fate.HEADLESS, token)


def conclude(layout: Layout, name: RunningName) -> Verdict:
    """What happened to an attempt that is over: its lock has been seen free, its shell has been seen to end, or its end
    is on record."""
    attempt, ended_at = logs.read_attempt(layout.log(name.id), name)
    token = processes.token_of(name, attempt.worker if attempt else name.worker)
    if attempt is None:
        if _was_before_this_boot(layout, name) or processes.find(token, is_ours=True):
            # after a power cut a missing line proves nothing, as logs are not made durable
            return Verdict(Fate.ENDED, token, result=LOST, ended_at=ended_at)
        return Verdict(Fate.NEVER_STARTED)
    if attempt.is_released:
        return Verdict(Fate.RELEASED, token, attempt.pid, is_recorded=attempt.is_over)
    result = attempt.result or LOST
    return Verdict(Fate.ENDED, token, attempt.pid, result, ended_at, is_recorded=attempt.is_over)


def _was_before_this_boot(layout: Layout, name: RunningName) -> bool:
    """Uses the boot id that its worker recorded, or else the clock."""
    recorded = lease.read_worker(layout, name.worker).get("boot_id")
    if recorded and lease.boot_id():
        return bool(recorded != lease.boot_id())
    return name.started_at < clock.booted_at()
