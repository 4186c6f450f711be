"""What dead workers left in running/: who is an orphan, and what became of it.

The worker that looks then adopts, settles or releases, each by one rename that decides
between two rescuers. Workers of other hosts are left to those hosts: a lock cannot be seen from here.
"""

from __future__ import annotations

import os
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple

from queuectl.core.names import RunningName, is_worker, parse_worker
from queuectl.core.result import LOST, Result, State
from queuectl.spool.reading import query
from queuectl.spool.system import clock, files, lease, logs, processes
from queuectl.spool.system.layout import Layout


class Fate(Enum):
    """What became of an attempt whose worker is gone."""

    ENDED = auto()  # its end is on record, or it cannot have one any more
    ALIVE = auto()  # its shell still runs: adopt it
    RELEASED = auto()  # its worker died while it gave the job back: the attempt does not count
    NEVER_STARTED = auto()  # the worker died before the command began: the attempt does not count
    HEADLESS = auto()  # its shell was killed, and what that has left holds its lock: end these, then look again
    UNCLEAR = auto()  # its lock is held and its shell is not seen: it may live, so look again later


class Verdict(NamedTuple):
    """A fate with what belongs to it: the result and when it ended, or the shell's pid and the token.

    `ending` is why its worker was ending it. `is_recorded`: its end is on record; else what carries the token must not
    meet the next attempt.
    """

    fate: Fate
    token: str = ""
    pid: int | None = None
    result: Result | None = None
    ended_at: datetime | None = None
    ending: str | None = None
    is_recorded: bool = False


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
    """What became of an orphan, whose worker's lock has been seen free.

    The end line is believed first: a process that the job left behind may hold its lock for ever. Then a lock that is
    held means alive, also where none of its processes can be seen. Only when the lock has been seen free is the
    attempt over, and the log is read after that: whatever its shell wrote is there.
    Raises OSError where the evidence cannot be read: then nothing is known.
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
        return Verdict(Fate.UNCLEAR, token)  # it has begun since the first look, which asked for no shell
    return conclude(layout, name)


def _examine_held(path: str, name: RunningName, token: str) -> Verdict:
    """The fate of an attempt whose lock is held, and whose shell was not seen.

    It lives in another PID namespace, or its shell is about to write its start line. Or its shell was killed: then
    what it has left is seen from here, but not the shell. Once that has been ended, the lock says what became of it.
    """
    left = processes.find(token, is_ours=True)
    # RACE: the shell may have begun or ended between the looks (tests/spool/upkeep/test_rescue.py).
    attempt, _ = logs.read_attempt(path, name)
    if not left or attempt is None or attempt.is_over or not attempt.pid or attempt.pid in left:
        return Verdict(Fate.UNCLEAR, token)
    return Verdict(Fate.HEADLESS, token)


def conclude(layout: Layout, name: RunningName) -> Verdict:
    """What became of an attempt that is over: its lock has been seen free, its shell has been seen to end, or its end
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
    """Told by what its worker wrote about itself, and without that by the clock."""
    recorded = lease.read_worker(layout, name.worker).get("boot_id")
    if recorded and lease.boot_id():
        return bool(recorded != lease.boot_id())
    return name.started_at < clock.booted_at()
