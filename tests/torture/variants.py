"""queuectl, broken on purpose: the checker must catch every one of these.

python tests/torture/variants.py NAME [the words of queuectl]

NAME may also be `none`: the real queuectl, started in the same way, which must pass where the variants fail.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any

from queuectl.core import lifecycle
from queuectl.core.names import parse_worker
from queuectl.spool.system import files, lease
from queuectl.work.engines import executor


def no_file_fsync() -> None:
    """Jobs are published before their bytes are on the disk."""
    real = files.write_new
    files.write_new = lambda path, data, *, sync=True: real(path, data, sync=False)
    files.sync_files = lambda *_: None


def no_directory_fsync() -> None:
    """Jobs are acknowledged before their names are on the disk."""
    files.sync_directory = lambda _: None  # type: ignore[assignment]


def fixed_claim_name() -> None:
    """A claim's name says nothing about who made it."""
    real = lifecycle.claim

    def claim(name: Any, worker: str, now: Any) -> lifecycle.Move:
        move = real(name, f"{parse_worker(worker)[0]}.1.aaaa", name.run_at)
        return lifecycle.Move(move.state, move.name)

    lifecycle.claim = claim


def liveness_by_pid() -> None:
    """A worker lives if any process has its number."""

    def is_worker_alive(_: object, worker: str) -> bool:
        try:
            os.kill(parse_worker(worker)[1], 0)
        except ProcessLookupError:
            return False
        return True

    lease.is_worker_alive = is_worker_alive  # type: ignore[assignment]


def explicit_unlock() -> None:
    """The worker unlocks the log once the job has it, in the belief that this gives up its own lock only."""
    real = executor.Executor.start

    def start(self: executor.Executor, claim: Any, given: Any = None) -> executor.Execution:
        execution = real(self, claim, given)
        fcntl.fcntl(claim.log, fcntl.F_OFD_SETLK, struct.pack("@hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        return execution

    executor.Executor.start = start  # type: ignore[method-assign]


def posix_locks() -> None:
    """An attempt is locked with a POSIX lock, which no child inherits."""

    def lock(log: int, start: int, length: int) -> bool:
        try:
            fcntl.lockf(log, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        except (BlockingIOError, PermissionError):
            return False
        return True

    lease._lock = lock
    lease.running_attempts = lambda log: []  # an open description sees its process's own POSIX lock as another's


NONE = "none"
VARIANTS: dict[str, Callable[[], None]] = {
    "no-file-fsync": no_file_fsync,
    "no-directory-fsync": no_directory_fsync,
    "fixed-claim-name": fixed_claim_name,
    "liveness-by-pid": liveness_by_pid,
    "explicit-unlock": explicit_unlock,
    "posix-locks": posix_locks,
}

SYMPTOMS = {
    "fixed-claim-name": "there is no worker",
    "liveness-by-pid": "recycled: still running",
    "explicit-unlock": "nobody holds the lock of attempt",
    "posix-locks": "nobody holds the lock of attempt",
}
"""What a storm must say of each of these: a worker that did not even start would be found faulty too."""


def command(name: str) -> Sequence[str]:
    """The words that start this variant instead of `queuectl`, in any directory; none for the real one."""
    return (sys.executable, "-P", __file__, name) if name else ()


def main() -> None:
    name = sys.argv.pop(1)
    if name != NONE:
        VARIANTS[name]()
    from queuectl.cli.main import main

    main()


if __name__ == "__main__":
    main()
