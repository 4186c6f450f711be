"""Who can make a worker run commands: whoever can write to the spool. So that is looked at as sshd and cron do.

A directory is safe if it belongs to root or to the worker's own user and nobody else can write to it. Above the
spool, and for pending/ itself, a sticky directory will do: others may add files there, but neither remove nor
replace what is not theirs; and whose a file in pending/ is, is asked before it is run.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator

from queuectl.core.result import State
from queuectl.errors import SpoolError, UsageError
from queuectl.spool import layout
from queuectl.spool.layout import Layout

ANYONE = "*"


def require_safe(spool: Layout) -> None:
    """Raise SpoolError if other users could make a worker of this spool run their commands."""
    dangers = list(find_dangers(spool))
    if dangers:
        hint = "mend that, or take the risk: queuectl worker start --trust-anyone"
        raise SpoolError("other users could run commands as you through this spool", dangers[0], hint)


def find_dangers(spool: Layout) -> Iterator[str]:
    """Every path by which others could reach into the spool, with the reason and the cure."""
    root = os.path.realpath(spool.root)
    above = root
    while above != os.path.dirname(above):
        above = os.path.dirname(above)
        yield from _check(above, may_be_sticky=True)
    yield from _check(root)
    for name in (*State, "tmp", "logs", "workers", "config.toml"):
        yield from _check(f"{root}/{name}", may_be_sticky=name == State.PENDING, is_inside=True)


def _check(path: str, *, may_be_sticky: bool = False, is_inside: bool = False) -> Iterator[str]:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if is_inside and stat.S_ISLNK(status.st_mode):
        yield f"{path} is a link, which leads out of the spool"
        return
    if status.st_uid not in (0, os.geteuid()):
        yield f"{path} belongs to {name_of(status.st_uid)}"
    if status.st_mode & stat.S_ISVTX and may_be_sticky:
        return
    if status.st_mode & stat.S_IWOTH:
        yield f"everybody can write to {path}: chmod o-w {path}"
    elif status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid):
        yield f"its group can write to {path}: chmod g-w {path}"


def _is_private_group(gid: int) -> bool:
    """Whether it is the user's own group, as many systems give one to each, with nobody else in it."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def name_of(uid: int) -> str:
    """The user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def parse_users(text: str) -> frozenset[int] | None:
    """The uids of names and numbers between commas or spaces; None for `*`, everyone. Raises UsageError."""
    words = text.replace(",", " ").split()
    if ANYONE in words:
        return None
    try:
        return frozenset(int(word) if word.isdecimal() else pwd.getpwnam(word).pw_uid for word in words)
    except KeyError as error:
        raise UsageError("no such user", str(error.args[0])) from None


def is_allowed(spool: Layout, uid: int, allowed: str) -> bool:
    """Whether that user's files in pending/ are run: the worker's, root's, the spool owner's, and those named."""
    if uid in (0, os.geteuid()) or uid == os.stat(spool.root).st_uid:
        return True
    try:
        users = parse_users(allowed)
    except UsageError:  # a user who is gone since
        return False
    return users is None or uid in users


def make_drop_box(spool: Layout, group: str) -> None:
    """Let a group add files to pending/ and do nothing else: not list, read or touch any other directory."""
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise UsageError(f"no group {group!r}", hint="make it first: groupadd NAME") from None
    try:
        for path, mode in ((spool.root, 0o710), (spool.pending, 0o1770)):
            os.chown(path, -1, gid)
            os.chmod(path, mode)
    except OSError as error:
        raise layout.unusable(spool.root, error) from error
