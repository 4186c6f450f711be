"""The processes of an attempt: find them by their token or process group, and end them.

Every process of an attempt inherits QUEUECTL_TOKEN, so they can be found even when they have left
the process group. Needs /proc (Linux); elsewhere only the process group is known.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

from queuectl.core.names import RunningName, format_time
from queuectl.spool import lease

TOKEN = "QUEUECTL_TOKEN"
_FOR_ALL = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)
_NEWS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def token_of(name: RunningName, worker: str) -> str:
    """What names one attempt for ever: the worker that claimed it, when, and the job."""
    return f"{worker}:{format_time(name.started_at)}:{name.id}"


def carries_token(pid: int, token: str) -> bool:
    """Whether that process was started under this token. False if it is gone or another user's.

    Raises OSError when that cannot be found out: out of descriptors, say.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{TOKEN}={token}".encode() in file.read().split(b"\0")
    except _GONE:
        return False


def age(pid: int) -> float | None:
    """Seconds since that process was made, whatever the wall clock did since; None where that cannot be told."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return None


def find(token: str, group: int | None = None) -> list[int]:
    """Live processes that carry the token or belong to the group, but never the caller.

    Raises OSError when that cannot be found out.
    """
    found = []
    for pid in _processes():
        if pid == os.getpid():
            continue
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state, _, pgrp, *_ = file.read().rpartition(b")")[2].split()
        except (*_GONE, ValueError):
            continue
        if state not in (b"Z", b"X") and ((group is not None and int(pgrp) == group) or carries_token(pid, token)):
            found.append(pid)
    return found


def has_strange_holder(path: str, id: str) -> bool:
    """Whether that log is locked, and open in a process that no earlier attempt of the job left behind.

    A shell that has been made and not yet executed has its worker's environment: no token tells of it.
    Raises OSError when that cannot be found out.
    """
    if not lease.is_locked(path):
        return False
    status = os.stat(path)
    return any(not _is_of_job(pid, id) for pid in _processes() if pid != os.getpid() and _has_open(pid, status))


def _processes() -> Iterator[int]:
    try:
        entries = os.listdir("/proc")
    except FileNotFoundError:
        entries = []
    return (int(entry) for entry in entries if entry.isdecimal())


def _has_open(pid: int, status: os.stat_result) -> bool:
    try:
        descriptors = os.listdir(f"/proc/{pid}/fd")
    except _GONE:
        return False
    for descriptor in descriptors:
        with suppress(*_GONE):
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{descriptor}"), status):
                return True
    return False


def _is_of_job(pid: int, id: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except _GONE:
        return False
    return any(text.startswith(f"{TOKEN}=".encode()) and text.endswith(f":{id}".encode()) for text in variables)


def terminate(token: str, group: int | None, grace: float, *, is_told: bool = False) -> bool:
    """End every process of an attempt: SIGTERM unless they had it, up to `grace` seconds, SIGKILL until none is left.

    `group` must be the attempt's own: its leader is alive, or not yet waited for. Returns whether that leader, the
    attempt's shell, was alive when the signals came; else it has ended by itself, and what it recorded is true.
    """
    was_alive = False
    number = signal.SIGKILL if is_told else signal.SIGTERM
    deadline = time.monotonic() + grace
    pause = 0.005
    while True:
        with suppress(OSError):  # out of descriptors: whether any is left is not known
            left = find(token, group)
            if not left:
                return was_alive
            if number == signal.SIGTERM or time.monotonic() >= deadline:
                was_alive = was_alive or group in left
                _send(left, group, number)
                number = signal.SIGKILL
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def send(token: str, group: int | None, number: int) -> int:
    """Send a signal to every process of an attempt; how many there were. `group` as for `terminate`.

    The job's shell is spared where the signal is for the command and would only end the shell that waits for it.
    """
    found = find(token, group)
    if group is None or group not in found or not _is_spared(group, number, is_alone=len(found) == 1):
        _send(found, group, number)
    else:
        _send([pid for pid in found if pid != group], None, number)
    return len(found)


def _is_spared(shell: int, number: int, *, is_alone: bool) -> bool:
    """Whether the shell is not meant: it merely waits for the command (its last words say so), or the signal is one
    that programs take for news, and some of them runs."""
    if number in _FOR_ALL or is_alone:
        return False
    if number in _NEWS:
        return True
    try:
        with open(f"/proc/{shell}/cmdline", "rb") as file:
            return b'"$@" 9>&-;s=$?;exit $s\0' in file.read()
    except OSError:
        return False


def _send(pids: list[int], group: int | None, number: int) -> None:
    if group is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
            pids = [pid for pid in pids if _group_of(pid) != group]
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def pid_namespace() -> int:
    """Names the process table that this process sees; 0 where there is no such thing."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
