"""What dead workers left in running/: who is an orphan, and what became of it.

Reads only; the worker that looks then adopts, settles or releases, each by one rename that decides
between two rescuers. Workers of other hosts are left to those hosts: a lock cannot be seen from here.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple

from queuectl.core.names import RunningName, is_worker, parse_worker
from queuectl.core.result import LOST, Result, State
from queuectl.spool import clock, files, lease, logs, processes, query
from queuectl.spool.layout import Layout

_START_WAIT = 0.5


class Fate(Enum):
    """What became of an attempt whose worker is gone."""

    ENDED = auto()  # its end is on record, or it cannot have one any more
    ALIVE = auto()  # its shell still runs: adopt it
    NEVER_STARTED = auto()  # the worker died before the command began: the attempt does not count
    UNCLEAR = auto()  # something holds its lock that cannot be seen from here: look again later


class Verdict(NamedTuple):
    """A fate with what belongs to it: the result and when it ended, or the shell's pid and the token."""

    fate: Fate
    token: str = ""
    pid: int | None = None
    result: Result | None = None
    ended_at: datetime | None = None


def find_orphans(layout: Layout, host: str, mine: str) -> list[RunningName]:
    """Running jobs whose worker's lock is free on this host, except those of the worker `mine`.

    A worker whose lock cannot be looked at counts as alive.
    """
    alive: dict[str, bool] = {mine: True}
    orphans = []
    for text in query.list_names(layout, State.RUNNING):
        name = RunningName.parse(text)
        if name is None:
            continue
        if name.worker not in alive:
            alive[name.worker] = not _is_here(layout, name.worker, host) or _may_be_alive(layout, name.worker)
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
    """Whether that worker ran on this host: the same run of the same kernel, or the same name.

    The names of two hosts may agree in what a worker's name holds of them, so the whole one is asked for.
    """
    info = lease.read_worker(layout, worker)
    if info.get("boot_id") and info["boot_id"] == lease.boot_id():
        return True
    here = os.uname().nodename
    return parse_worker(worker)[0] == host and info.get("host", here) == here


def forget_dead_workers(layout: Layout, host: str) -> None:
    """Remove the files of dead workers of this host that have no running job left to rescue."""
    dead = [
        worker
        for worker in (entry.removesuffix(".json") for entry in os.listdir(layout.workers))
        if is_worker(worker) and _is_here(layout, worker, host) and not _may_be_alive(layout, worker)
    ]
    if dead:  # which claim no more, so this listing has all that they left
        busy = {name.worker for text in query.list_names(layout, State.RUNNING) if (name := RunningName.parse(text))}
        for worker in set(dead) - busy:
            lease.forget(layout, worker)


def drop_second_name(layout: Layout, name: RunningName) -> bool:
    """Remove an orphan's name in running/ if its file has another of its id: half of a rename that a power cut undid.

    btrfs leaves that where the directory was synced to which the file had gone. False if there is no other name.
    """
    path = layout.job(State.RUNNING, name)
    if not files.has_more_names(path):
        return False
    found = query.locate(layout, name.id, besides=path)
    return found is not None and files.is_same(path, layout.job(*found)) and files.remove(path)


def examine(layout: Layout, name: RunningName) -> Verdict:
    """What became of an orphan.

    The end line is believed first: a process that the job left behind may hold its lock for ever.
    Raises OSError where the evidence cannot be read: then nothing is known.
    """
    path = layout.log(name.id)
    attempt, ended_at = logs.read_attempt(path, name)
    if attempt and attempt.result:
        return Verdict(Fate.ENDED, result=attempt.result, ended_at=ended_at)
    token = processes.token_of(name, attempt.worker if attempt else name.worker)
    if attempt and attempt.pid and processes.carries_token(attempt.pid, token):
        return Verdict(Fate.ALIVE, token, attempt.pid)
    if lease.is_locked(path) and not _sees_processes_of(layout, token):
        return Verdict(Fate.UNCLEAR, token)
    if attempt is None:
        attempt, ended_at = _await_start(path, name)
        if attempt is not None:
            return Verdict(Fate.UNCLEAR, token)  # it has just begun: the next look will find its shell
        if not processes.find(token):
            return _without_a_start(layout, name, token)
    # RACE: the shell may have ended between the two looks; its line was written before (tests/spool/test_rescue.py).
    attempt, ended_at = logs.read_attempt(path, name)
    return Verdict(Fate.ENDED, token, result=(attempt and attempt.result) or LOST, ended_at=ended_at)


def _without_a_start(layout: Layout, name: RunningName, token: str) -> Verdict:
    """The fate of an attempt that has left neither a start line nor a process.

    After a power cut a missing line proves nothing, for the log is not made durable. A lock that is still held
    may be that of a shell which has not executed yet, on a machine that is very slow.
    """
    if _was_before_this_boot(layout, name):
        return Verdict(Fate.ENDED, token, result=LOST)
    if processes.has_strange_holder(layout.log(name.id), name.id):
        return Verdict(Fate.UNCLEAR, token)
    return Verdict(Fate.NEVER_STARTED)


def _was_before_this_boot(layout: Layout, name: RunningName) -> bool:
    """Told by what its worker wrote about itself, and without that by the clock."""
    recorded = lease.read_worker(layout, name.worker).get("boot_id")
    if recorded and lease.boot_id():
        return bool(recorded != lease.boot_id())
    return name.started_at < clock.booted_at()


def _await_start(path: str, name: RunningName) -> tuple[logs.Attempt | None, datetime | None]:
    """The attempt whose shell may have been made an instant before its worker died, and be about to speak.

    Until it has executed, such a shell is known by nothing but the lock.
    """
    deadline = time.monotonic() + _START_WAIT
    while True:
        is_locked = lease.is_locked(path)
        attempt, at = logs.read_attempt(path, name)
        if attempt or not is_locked or time.monotonic() > deadline:
            return attempt, at
        time.sleep(0.02)


def _sees_processes_of(layout: Layout, token: str) -> bool:
    """Whether the worker that made the token ran in this process's PID namespace, as far as is known."""
    namespace = lease.read_worker(layout, token.split(":", maxsplit=1)[0]).get("pid_namespace")
    return namespace is None or namespace == processes.pid_namespace()
