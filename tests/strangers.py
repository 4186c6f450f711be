"""Acting as other users: forked children that give up root for good. For tests that run as root."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

GROUP = 41_000
ALICE, MALLORY, BOB = 41_001, 41_002, 41_003
"""Uids that have no name: two of the group, and one outside."""


@contextmanager
def home_for_all() -> Iterator[Path]:
    """A directory that everybody can reach, unlike pytest's own; in memory, for tens of thousands of files."""
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    home = Path(tempfile.mkdtemp(prefix="queuectl-strangers-", dir=fast))
    home.chmod(0o755)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def start_as(uid: int, act: Callable[[], object]) -> int:
    """Fork; the pid of a child that does it as that user, and exits with 0 unless it raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        gid = GROUP if uid != BOB else BOB
        os.setgroups([gid])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        os.umask(0o022)
        act()
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def act_as(uid: int, act: Callable[[], object]) -> None:
    """Do it as that user, to its end; fails if it raised."""
    _, status = os.waitpid(start_as(uid, act), 0)
    assert os.waitstatus_to_exitcode(status) == 0


def is_denied(uid: int, act: Callable[[], object]) -> bool:
    """Whether the system does not let that user do it."""

    def attempt() -> None:
        try:
            act()
        except PermissionError:
            return
        os._exit(3)

    _, status = os.waitpid(start_as(uid, attempt), 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 3)
    return code == 0
