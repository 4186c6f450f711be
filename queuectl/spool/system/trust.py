"""Who can make a worker run commands: anyone who can write to the spool. So that is checked, as sshd and cron do.

A directory is safe if it belongs to root or to the worker's own user and nobody else can write to it. Above the
spool, and for inbox/ itself, a sticky directory is enough: others may add files there, but neither remove nor
replace those of others. Jobs are run from pending/, where only root, the worker's user and the spool's owner can
write; what others hand in through inbox/ is copied there after checking who owns it (`take`).
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress

from queuectl.core.result import State
from queuectl.errors import SpoolError, UsageError, WrongStateError
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

ANYONE = "*"
_MOST_LINKS = 40  # that the kernel follows in one path (path_resolution(7))


def require_safe(spool: Layout) -> None:
    """Raise SpoolError if other users could make a worker of this spool run their commands."""
    dangers = list(find_dangers(spool))
    if dangers:
        hint = "fix this, or accept the risk: queuectl worker start --trust-anyone"
        raise SpoolError("other users could run commands as you through this spool", dangers[0], hint)


def find_dangers(spool: Layout) -> Iterator[str]:
    """Every path by which others could get into the spool, with the reason and the fix.

    Every link on the spool's path counts, not only where the path leads today: anyone who can replace a link could
    swap the spool under a running worker.
    """
    root = os.path.realpath(spool.root)
    for path in _ways_to(spool.root):
        yield from _check(path, may_be_sticky=path != root)
    for name in (*State, "tmp", "logs", "workers", "taken", "inbox", "outbox", "config.toml", "hooks", *_hooks(root)):
        yield from _check(f"{root}/{name}", may_be_sticky=name == "inbox", is_inside=True)


def _ways_to(path: str) -> Iterator[str]:
    """Each directory and link that the kernel passes on its way to a path, and the target; none twice."""
    seen = {"/"}
    yield "/"
    here, links = "", 0
    todo = path.split("/")[::-1]
    while todo:
        part = todo.pop()
        if part == "..":
            here = os.path.dirname(here).rstrip("/")
        if part in ("", ".", ".."):
            continue
        there = f"{here}/{part}"
        if there not in seen:
            seen.add(there)
            yield there
        try:
            target = os.readlink(there)
        except OSError:  # not a link
            here = there
            continue
        links += 1
        if links > _MOST_LINKS:
            return
        here = "" if target.startswith("/") else here
        todo += target.split("/")[::-1]


def _hooks(root: str) -> Iterator[str]:
    """The programs that a worker runs in addition to its jobs."""
    with suppress(OSError):
        yield from (f"hooks/{name}" for name in os.listdir(f"{root}/hooks") if name.startswith("on-"))


def _check(path: str, *, may_be_sticky: bool = False, is_inside: bool = False) -> Iterator[str]:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    is_link = stat.S_ISLNK(status.st_mode)
    if is_inside and is_link:
        yield f"{path} is a link, which may lead out of the spool"
        return
    if status.st_uid not in (0, os.geteuid()):
        yield f"{path} belongs to {name_of(status.st_uid)}"
    if is_link or (status.st_mode & stat.S_ISVTX and may_be_sticky):
        return
    cure = f"; for a drop box: queuectl init {os.path.dirname(path)} --drop-box GROUP" if _was_drop_box(path) else ""
    if status.st_mode & stat.S_IWOTH:
        yield f"everybody can write to {path}: chmod o-w {path}{cure}"
    elif status.st_mode & stat.S_IWGRP and not _is_private_group(status.st_gid):
        yield f"its group can write to {path}: chmod g-w {path}{cure}"


def _was_drop_box(path: str) -> bool:
    """Whether that is a pending/ that others may write to, as in drop boxes of older versions."""
    return os.path.basename(path) == State.PENDING


def _is_private_group(gid: int) -> bool:
    """Whether it is the user's private group, which many systems create for each user, with nobody else in it."""
    try:
        group, user = grp.getgrgid(gid), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def name_of(uid: int) -> str:
    """The user's name, or number if there is no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def group_of(gid: int) -> str:
    """The group's name, or number if there is no name."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return f"group {gid}"


# --- whose files are jobs


def is_trusted(spool: Layout, uid: int) -> bool:
    """Whether that user's files in pending/ are run: the worker's own, root's and the spool owner's."""
    return uid in (0, os.geteuid()) or uid == os.stat(spool.root).st_uid


def require_own(spool: Layout, owner: int, id: str) -> None:
    """Raise WrongStateError for a job whose file is another user's: it never becomes the caller's own."""
    if not is_trusted(spool, owner):
        raise WrongStateError(
            f"job {id} is a file of {name_of(owner)}",
            "it was not handed in through inbox/, so it is not run, and does not become yours",
            f"check it, then submit it yourself if you want it: queuectl show {id}",
        )


class Users(NamedTuple):
    """The users that a setting names: their uids (None for everyone), and the words that are not users."""

    uids: frozenset[int] | None
    unknown: tuple[str, ...] = ()

    def allows(self, uid: int) -> bool:
        return self.uids is None or uid in self.uids


def find_users(text: str) -> Users:
    """The users of a list of names and uids, separated by commas or spaces; `*` is everyone.

    Each word is looked up separately, so that a user who has been removed locks nobody else out.
    """
    words = text.replace(",", " ").split()
    if ANYONE in words:
        return Users(None)
    uids: set[int] = set()
    unknown: list[str] = []
    for word in words:
        if word.isascii() and word.isdecimal():
            uids.add(int(word))
            continue
        try:
            uids.add(pwd.getpwnam(word).pw_uid)
        except KeyError:
            unknown.append(word)
    return Users(frozenset(uids), tuple(unknown))


def require_users(text: str) -> None:
    """Raise UsageError if such a list names an unknown user."""
    unknown = find_users(text).unknown
    if unknown:
        raise UsageError("no such user", unknown[0])
