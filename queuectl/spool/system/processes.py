"""The processes of an attempt: find them by their token or process group, and end them.

Every process of an attempt inherits QUEUECTL_TOKEN, so they can be found even when they have left
the process group. Needs /proc (Linux); elsewhere only the process group is known.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from queuectl.core.names import RunningName, format_time_cached
from queuectl.tuples import NamedTuple

TOKEN = "QUEUECTL_TOKEN"
_ASSIGNED = f"{TOKEN}=".encode()
_FOR_ALL = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)
_NEWS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)
_DEAD, _STOPPED = (b"Z", b"X"), (b"T", b"t")
_STOP_WAIT = 1.0


def token_of(name: RunningName, worker: str) -> str:
    """The unique name of an attempt: the worker that claimed it, when, and the job."""
    return f"{worker}:{format_time_cached(name.started_at)}:{name.id}"


def carries_token(pid: int, token: str) -> bool:
    """Whether that process was started under this token. False if it is gone or another user's.

    Raises OSError if that cannot be determined: out of descriptors, say.
    """
    return _token_in(pid) == token.encode()


def _token_in(pid: int) -> bytes | None:
    """The token in the environment of a process, whole; None if there is none, or it cannot be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return _find_token(file.read())
    except _GONE:
        return None


def _find_token(environment: bytes) -> bytes | None:
    at = 0 if environment.startswith(_ASSIGNED) else environment.find(b"\0" + _ASSIGNED) + 1
    if not at and not environment.startswith(_ASSIGNED):
        return None
    return environment[at + len(_ASSIGNED) :].partition(b"\0")[0]


def outer_tokens() -> list[str]:
    """The tokens of the jobs that run this one's worker, the innermost first: a worker may be started by a job."""
    own, found = _token_in(os.getpid()), list[bytes]()
    pid = os.getppid()
    while (token := _token_in(pid)) is not None and (status := _status_of(pid)) is not None:
        if token != own and token not in found:
            found.append(token)
        pid = status.parent
    return [os.fsdecode(token) for token in found]


def age(pid: int) -> float | None:
    """Seconds since that process was created, whatever the wall clock did since; None if that is unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, AttributeError, ValueError, IndexError):
        return None


def is_own(pid: int) -> bool:
    """Whether that process is in the caller's own PID namespace, and not in a container below it.

    False if it is gone. Raises OSError if that cannot be determined.
    """
    own = pid_namespace()
    try:
        return not own or os.stat(f"/proc/{pid}/ns/pid").st_ino == own
    except _GONE:
        return False


def find(token: str, group: int | None = None, *, is_ours: bool = False) -> list[int]:
    """Live processes that carry the token or belong to the group, but never the caller.

    With `is_ours` only those of the caller's own PID namespace. Raises OSError if that cannot be determined.
    """
    wanted = token.encode()
    found = [
        pid
        for pid, process in _table.read().items()
        if process.token == wanted or (group is not None and process.group == group)
    ]
    return [pid for pid in found if is_own(pid)] if is_ours else found


class _Process(NamedTuple):
    """A live process: its process group, and the token that it carries."""

    group: int
    token: bytes | None


class _Table:
    """The live processes other than the caller. Thread-safe.

    What many threads ask for at once, as when many jobs are cancelled, is read once for all of them; but each gets what
    was read after it asked.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun = 0
        self._number, self._processes = 0, dict[int, _Process]()

    def read(self) -> dict[int, _Process]:
        """Raises OSError if they cannot be determined."""
        begun = self._begun
        with self._lock:
            if self._number <= begun:
                self._begun += 1
                self._processes = {pid: process for pid in _processes() if (process := _process_of(pid)) is not None}
                self._number = self._begun
            return self._processes


_table = _Table()


def _process_of(pid: int) -> _Process | None:
    """None for one that has ended, and for the caller."""
    status = None if pid == os.getpid() else _status_of(pid)
    if status is None or status.state in _DEAD:
        return None
    return _Process(status.group, _token_in(pid))


class _Status(NamedTuple):
    """What the kernel says about a process: its state, as one letter, its parent and its process group."""

    state: bytes
    parent: int
    group: int


def _status_of(pid: int) -> _Status | None:
    """None if it is gone, or another user's and hidden."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent, group, *_ = file.read().rpartition(b")")[2].split()
        return _Status(state, int(parent), int(group))
    except (*_GONE, ValueError):
        return None


def stop(pid: int) -> bool:
    """Stop a process by SIGSTOP and wait until it is stopped and writes nothing more. False if it has ended.

    Waits at most a second for a process that the kernel does not stop (state D, on a hanging file system).
    """
    deadline = time.monotonic() + _STOP_WAIT
    try:
        os.kill(pid, signal.SIGSTOP)
    except (ProcessLookupError, PermissionError):
        return False
    while (status := _status_of(pid)) is not None and status.state not in _DEAD:
        if status.state in _STOPPED or time.monotonic() > deadline:
            return True
        time.sleep(0.0005)
    return False


def find_stopped() -> frozenset[str]:
    """The attempts that are stopped, each by the end of its token, `STARTED_AT:ID`: nothing of them runs.

    A process that merely waits for another does not count. Costs a look at each process of this machine, and if none is
    stopped nothing else.
    """
    seen = {
        pid: status for pid in _processes() if (status := _status_of(pid)) is not None and status.state not in _DEAD
    }
    if not any(status.state in _STOPPED for status in seen.values()):
        return frozenset()
    tokens = {pid: token for pid in seen if (token := _token_in(pid)) is not None}
    parents = {seen[pid].parent for pid in tokens}
    states: dict[str, set[bool]] = {}
    for pid, token in tokens.items():
        if pid not in parents:
            states.setdefault(os.fsdecode(token).partition(":")[2], set()).add(seen[pid].state in _STOPPED)
    return frozenset(name for name, are_stopped in states.items() if are_stopped == {True})


class Use(NamedTuple):
    """What the live processes of an attempt use: bytes of memory (with shared pages in each of them), and seconds of
    CPU time so far, that of their ended children included."""

    rss: int
    cpu: float
    number: int


def read_use() -> dict[str, Use]:
    """What each attempt with a process on this machine uses, by the end of its token, `STARTED_AT:ID`.

    Processes that cannot be seen do not count.
    """
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    found: dict[str, Use] = {}
    for pid in _processes():
        with suppress(OSError, ValueError, IndexError):
            token = _token_in(pid)
            if token is None:
                continue
            with open(f"/proc/{pid}/stat", "rb") as file:
                parts = file.read().rpartition(b")")[2].split()
            cpu = sum(map(int, parts[11:15])) / tick
            key = os.fsdecode(token).partition(":")[2]
            rss, before, number = found.get(key, Use(0, 0.0, 0))
            found[key] = Use(rss + int(parts[21]) * page, before + cpu, number + 1)
    return found


def is_alive(pid: int) -> bool:
    """Whether that process has not ended."""
    status = _status_of(pid)
    return status is not None and status.state not in _DEAD


def resume(pid: int) -> None:
    """Continue a stopped process."""
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGCONT)


def resume_shell(shell: int, token: str) -> None:
    """Continue the shell of an attempt whose worker died while it was about to end it.

    Also if it is not stopped yet: a SIGSTOP may be on its way. If other processes of the attempt are stopped, someone
    has stopped the job on purpose, and it stays stopped.
    """
    others = (_status_of(pid) for pid in find(token) if pid != shell)
    if not any(other is not None and other.state in _STOPPED for other in others):
        resume(shell)


def _processes() -> Iterator[int]:
    try:
        entries = os.listdir("/proc")
    except FileNotFoundError:
        entries = []
    return (int(entry) for entry in entries if entry.isdecimal())


def is_shell(pid: int, token: str) -> bool:
    """Whether that pid is the shell of that attempt: in another PID namespace it would be another process."""
    return carries_token(pid, token) and is_own(pid)


def continue_shell(pid: int, token: str) -> None:
    """Continue a shell that was stopped, so that its log could be read, by a worker that has died since.

    Raises OSError if that cannot be determined.
    """
    if is_shell(pid, token):
        resume_shell(pid, token)


def terminate(
    token: str, group: int | None, grace: float, *, is_signalled: bool = False, is_ours: bool = False
) -> None:
    """End every process of an attempt: SIGTERM unless they got it already, and SIGKILL after up to `grace` seconds.

    Stopped ones are continued, so that they can clean up. `group` must be the attempt's own: its leader is alive,
    or not yet waited for. `is_ours` as for `find`.
    """
    number = signal.SIGKILL if is_signalled else signal.SIGTERM
    deadline = time.monotonic() + grace
    pause = 0.005
    was_alone = False
    while True:
        with suppress(OSError):  # out of descriptors: it is unknown whether any is left
            left = find(token, group, is_ours=is_ours)
            if not left:
                return
            if number == signal.SIGTERM or time.monotonic() >= deadline:
                _send(left, group, number)
                if number == signal.SIGTERM:
                    _send(left, group, signal.SIGCONT)
                    was_alone = left == [group]
                number = signal.SIGKILL
            elif was_alone and (others := [pid for pid in left if pid != group]):
                # RACE: a shell that outlived SIGTERM has started its command (tests/spool/system/test_processes.py).
                _send(others, None, signal.SIGTERM)
                was_alone = False
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def send(token: str, group: int | None, number: int) -> int:
    """Send a signal to every process of an attempt; how many there were. `group` as for `terminate`.

    The job's shell is spared if the signal is for the command and would only end the shell that waits for it.
    """
    found = find(token, group)
    if group is None or group not in found or not _is_spared(group, number, is_alone=len(found) == 1):
        _send(found, group, number)
    else:
        _send([pid for pid in found if pid != group], None, number)
    return len(found)


def _is_spared(shell: int, number: int, *, is_alone: bool) -> bool:
    """Whether to spare the shell: it merely waits for the command (its last words say so), or the signal is one that
    programs handle as a notification, and one is running."""
    if number in _FOR_ALL or is_alone:
        return False
    if number in _NEWS:
        return True
    try:
        with open(f"/proc/{shell}/cmdline", "rb") as file:
            return b"]||queuectl_kind=exit;exit $queuectl_status\0" in file.read()
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
    """Identifies the process table that this process sees; 0 if the system has no such thing."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
