"""The drop box: inbox/, to which a group may add files and nothing else; how it is made, and how to hand in jobs.

inbox/ is sticky, and its group may enter and write it but not list it: nobody sees, reads, replaces or removes what
another user has handed in. In outbox/ the group can read what has become of it. taken/ and everything else stay
private. What happens to the files is in `take`.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from queuectl.core import body
from queuectl.core.names import SUFFIX, is_ignored
from queuectl.errors import InvalidJobError, UsageError
from queuectl.spool.moves import outbox
from queuectl.spool.system import files, identity
from queuectl.spool.system.layout import Layout, unusable

MODE = 0o1730
"""Mode of inbox/: sticky; its owner may do everything, its group may enter and add."""
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def find_group(name: str) -> int:
    """The gid of a group that the caller may give a directory to; raises UsageError."""
    try:
        gid = grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"no such group: {name!r}", hint=f"create it first: groupadd {name}") from None
    if os.geteuid() != 0 and gid not in (os.getegid(), *os.getgroups()):
        raise UsageError(
            f"you are not in the group {name!r}",
            "only its members and root can give a directory to it",
            f"run this as root, or join it: usermod -aG {name} USER",
        )
    return gid


def require_owner(root: str) -> None:
    """Raise UsageError if an existing spool belongs to another user, unless the caller is root."""
    with suppress(FileNotFoundError):
        if os.geteuid() not in (0, os.stat(root).st_uid):
            raise UsageError(f"the spool {root} is not yours", "only its owner or root can make a drop box of it")


def make(spool: Layout, gid: int) -> None:
    """Let a group add files to inbox/; pending/ is private afterwards, whatever it was before. May be repeated.

    Access is granted last, by the mode of inbox/ and then that of the spool itself; if something fails before that,
    inbox/, taken/ and outbox/ are as they were, or removed if they are new.
    """
    made: list[str] = []
    try:
        with _Directory(os.path.realpath(spool.root)) as root:
            owner = os.fstat(root).st_uid
            _set(spool.pending, 0o700)
            for path in (spool.taken, spool.outbox, spool.inbox):
                with suppress(FileExistsError):
                    os.mkdir(path, 0o700)
                    made.append(path)
                    if os.geteuid() != owner:
                        os.chown(path, owner, -1, follow_symlinks=False)
            _set(spool.taken, 0o700)
            _set(spool.outbox, outbox.MODE, gid)
            _set(spool.inbox, MODE, gid)
            os.fchown(root, -1, gid)
            os.fchmod(root, 0o710)
    except OSError as error:
        for path in made:
            with suppress(OSError):
                os.rmdir(path)
        raise unusable(spool.root, error) from error


class _Directory:
    """A descriptor of a directory, never through a link, for the duration of a `with`."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, _OPEN)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _set(path: str, mode: int, gid: int = -1) -> None:
    with _Directory(path) as fd:
        os.fchown(fd, -1, gid)
        os.fchmod(fd, mode)


def find_strangers(spool: Layout) -> list[str]:
    """Names of files in pending/ that others have put there, or could change, while they could write to it."""
    owner = os.stat(spool.root).st_uid
    found = []
    for name in sorted(os.listdir(spool.pending)):
        if is_ignored(name):
            continue
        with suppress(FileNotFoundError):
            status = os.lstat(f"{spool.pending}/{name}")
            is_own = status.st_uid in (0, owner) and stat.S_ISREG(status.st_mode)
            if not is_own or status.st_nlink > 1 or status.st_mode & 0o022:
                found.append(name)
    return found


def is_open_pending(spool: Layout) -> bool:
    """Whether others can write to pending/, as in a drop box of an older version."""
    return bool(os.stat(spool.pending).st_mode & 0o022)


# --- handing in


def hand_in(spool: Layout, fields: Mapping[str, Any]) -> str:
    """Put a job into inbox/, for a worker to take; the name of the file. It then survives a power cut.

    It is written under a name that workers ignore, and renamed in one step. CRASH: a file that ends in `.part`,
    which has no meaning (tests/work/test_dropbox_attack.py).
    """

    body.validate(fields)
    data = body.encode(fields)
    if len(data) > body.MAX_BODY:
        raise InvalidJobError([f"the job is larger than {body.MAX_BODY} bytes"])
    name = f"{identity.random_text(12)}{SUFFIX}"
    path = f"{spool.inbox}/{name}"
    try:
        files.hand_over(f"{path}.part", path, data)
    except OSError as error:
        raise unusable(spool.root, error) from error
    return name
