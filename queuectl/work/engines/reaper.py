"""Ends the jobs of a Dask worker that has died: a process of its own, which ends with that worker.

Run as a script, with the mark that is in the environment of all these jobs, and the reading end of a pipe as stdin.
With a second argument it writes a byte to its stdout for each SIGTERM that reaches it.
When the other end is closed, because its holder has closed it or has been killed, every process that carries the mark
is killed, and so is every process of their sessions, in which a process without the mark may be.

It imports only modules that come with Python, so that it starts fast and stays small.
"""

import os
import signal
import sys

VARIABLE = "QUEUECTL_ENGINE"
"""The variable whose value is the mark."""


def find(mark: str) -> set[int]:
    """Live processes that carry that mark, or are in the session of one that does; never the caller."""
    assigned = f"{VARIABLE}={mark}".encode()
    sessions: dict[int, int] = {}
    marked = set()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/stat", "rb") as file:
                state, _, _, session, *_ = file.read().rpartition(b")")[2].split()
            if state in (b"Z", b"X"):
                continue
            sessions[int(entry)] = int(session)
            with open(f"/proc/{entry}/environ", "rb") as file:
                if assigned in file.read().split(b"\0"):
                    marked.add(int(entry))
        except (OSError, ValueError):
            continue  # it has ended, or is another user's
    theirs = {sessions[pid] for pid in marked} - {os.getsid(0), 0}
    return marked | {pid for pid, session in sessions.items() if session in theirs}


def kill_all(mark: str) -> None:
    """Kill them until none is left: one may fork while it is killed."""
    while left := find(mark):
        killed = 0
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except OSError:
                pass
        if not killed:
            return


def _catch_signals(*, tells: bool) -> None:
    """They are for its worker, which closes the pipe once it has ended its jobs."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if tells:
        signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"T"))


if __name__ == "__main__":
    _catch_signals(tells=len(sys.argv) > 2)
    while os.read(0, 4096):
        pass
    kill_all(sys.argv[1])
