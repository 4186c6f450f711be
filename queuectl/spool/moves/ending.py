"""Ending an attempt: its shell is stopped first, then its log is read, and only then are its processes ended.

A shell that has written its end line but not exited yet has ended by itself, and what it wrote is the result. While
it is stopped it cannot write one; then a note is added to the log, of why it is being ended, and what the shell writes
after that (a job may handle SIGTERM and exit with 0) is not the attempt's own end.

A cancelled job's shell is not stopped: the rename out of running/ has already decided, and the order of note and end
line in the log shows which was first.

CRASH: before the note the shell is stopped, and continued by the worker that adopts the job; after the note, whatever
worker finds it completes the ending (tests/spool/moves/test_ending.py). Nobody would continue a cancelled one.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from queuectl.core.names import DEFAULT_PRIORITY, RunningName
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system import lease, logs, processes
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.logs import Attempt


def end_attempt(log: int, name: RunningName, token: str, shell: int | None, reason: str, grace: float) -> bool:
    """End every process of an attempt, unless its end is on record; True if it was ended, False if it ended by itself.

    `log` is open for reading and appending. `shell` leads its process group and is alive or not yet waited for; None
    if that is unknown, and then every process that carries the token is ended. `reason` is one of `logs.append_ending`.
    """
    attempt = _read(log, name)
    if attempt is None:
        return _end_unstarted(log, name, token, shell)
    is_stopped = shell is not None and reason != logs.ENDING_CANCELLED and processes.stop(shell)
    was_alive = is_stopped or (shell is not None and processes.is_alive(shell))
    attempt = _read(log, name) or attempt
    if attempt.has_ended_itself:
        if shell is not None and is_stopped:
            processes.resume(shell)
        return False
    # If another worker began this ending, its reason is kept.
    if attempt.ending is None and (was_alive or (shell is None and processes.find(token))):
        with suppress(OSError):  # a full disk
            logs.append_ending(log, name, reason)
    processes.terminate(token, shell, grace)
    return was_alive


def _end_unstarted(log: int, name: RunningName, token: str, shell: int | None) -> bool:
    """End an attempt that has not logged its start: at once, as a command that has not started has nothing to clean up.

    RACE: it may start, and even end, in between (tests/spool/moves/test_ending.py).
    """
    processes.terminate(token, shell, 0, is_signalled=True)
    attempt = _read(log, name)
    return attempt is None or not attempt.has_ended_itself


def end_attempt_at(path: str, name: RunningName, token: str, shell: int | None, reason: str, grace: float) -> bool:
    """`end_attempt` with the log at that path, if there is one."""
    try:
        log = logs.open_existing(path)
    except OSError:
        processes.terminate(token, shell, grace)
        return True
    try:
        return end_attempt(log, name, token, shell, reason, grace)
    finally:
        lease.close(log)


def find_running(layout: Layout, id: str) -> list[RunningName]:
    """The attempts of a job that may be running, as in `name_attempts`; none if its log cannot be read."""
    with suppress(OSError):
        log = logs.open_existing(layout.log(id))
        try:
            return name_attempts(log, id)
        finally:
            lease.close(log)
    return []


def name_attempts(log: int, id: str) -> list[RunningName]:
    """The names in running/ under which attempts that may be running started, if their start is logged."""
    starts = ((at, logs.in_parts(log, partial(logs.find_start, started_at=at))) for at in lease.running_attempts(log))
    return [RunningName(at, DEFAULT_PRIORITY, start.attempt, start.worker, id) for at, start in starts if start]


def end_disowned(layout: Layout, name: RunningName, grace: float) -> None:
    """End an attempt whose file has left running/, if it has processes in this PID namespace.

    Does nothing if any file of the job is in running/: it may be this attempt's, adopted by another worker.
    """
    path = layout.log(name.id)
    token = processes.token_of(name, name.worker)
    left = processes.find(token, is_ours=True)
    if not left or _is_in_running(layout, name.id):
        return
    attempt, _ = logs.read_attempt(path, name)
    shell = attempt.pid if attempt is not None and attempt.pid in left else None
    end_attempt_at(path, name, token, shell, logs.ENDING_CANCELLED, grace)


def _is_in_running(layout: Layout, id: str) -> bool:
    """Whether a file of that id is in running/; two listings, as one may miss a file that is being adopted."""
    return any(
        (name := RunningName.parse(text)) is not None and name.id == id
        for _ in range(2)
        for text in query.list_names(layout, State.RUNNING)
    )


def _read(log: int, name: RunningName) -> Attempt | None:
    """What is on record about an attempt; None if that cannot be read."""
    with suppress(OSError):
        return logs.find_attempt(log, name)
    return None
