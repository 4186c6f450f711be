"""`worker start --background`: workers that outlive the terminal, and a caller that returns once they work.

The caller forks before there is any thread. Each worker writes its name into a pipe when it is ready, or why it cannot
start; the pipe is closed by everything that a worker runs, so its end of file means that all of them are gone.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from queuectl.errors import QueuectlError, SpoolError
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout
from queuectl.work import forked
from queuectl.work.notify import Notifier

_LARGEST_LOG = 16 << 20
"""Bytes of the report from which on the next start puts it aside, as worker.log.1."""
_FAILED = "!"


class Announcer(Notifier):
    """Tells the process that started a worker in the background that it works, or why it does not."""

    def __init__(self, pipe: int) -> None:
        super().__init__()
        self._pipe = pipe

    def ready(self, status: str) -> None:
        """`status` begins with the name of the worker."""
        self._write(status.partition(" ")[0])

    def failed(self, error: QueuectlError) -> None:
        self._write("\0".join([f"{_FAILED}{error.exit_code}", error.what, error.why, error.hint]))

    def _write(self, line: str) -> None:
        with suppress(OSError):  # a worker that takes the place of a dead one: the caller has gone long since
            os.write(self._pipe, line.replace("\n", " ").encode("utf-8", "backslashreplace") + b"\n")


def start(layout: Layout, work: Callable[[Announcer], int], number: int) -> list[str]:
    """Call `work` in a process of its own session, whose output goes to worker.log; the names of the `number` workers.

    Returns once all of them are ready. `work` returns an exit code. Raises the error that kept a worker from starting;
    then none is left.
    """
    log = open_log(layout)
    reading, writing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _become_daemon(log, writing)
        forked.end_with(lambda: _work(work, Announcer(writing)))
    os.close(log)
    os.close(writing)
    try:
        return _await(layout, reading, number)
    except BaseException:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        raise


def open_log(layout: Layout) -> int:
    """The report of the spool's workers in the background, to append to."""
    with suppress(FileNotFoundError):
        if os.stat(layout.worker_log).st_size > _LARGEST_LOG:
            files.move(layout.worker_log, f"{layout.worker_log}.1")
    return os.open(layout.worker_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _become_daemon(log: int, pipe: int) -> None:
    """Leave the terminal and everything else that the caller had open; the directory stays, as jobs may run in it."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != pipe:
            with suppress(OSError):  # that of the listing
                os.close(int(name))


def _work(work: Callable[[Announcer], int], announcer: Announcer) -> int:
    """The exit code of that work; the caller of `start` learns of what it raises."""
    try:
        return work(announcer)
    except QueuectlError as error:
        announcer.failed(error)
        return error.exit_code


def _await(layout: Layout, pipe: int, number: int) -> list[str]:
    """The names that come out of the pipe."""
    names: list[str] = []
    with open(pipe, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(_FAILED):
                code, what, why, hint = line[1:].rstrip("\n").split("\0")
                error = QueuectlError(what, why, hint)
                error.exit_code = int(code)
                raise error
            names.append(line.strip())
            if len(names) == number:
                return names
    raise SpoolError("the worker ended while it was starting", hint=f"see: {layout.worker_log}")
