"""What the spool's environment supports: the file system, permissions, limits and the clock, tested and not guessed.

Each check reports in one line what it found, and in another what to do about it. It tests with files of its own in
tmp/, which it removes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import islice
from pathlib import Path

from queuectl.core.admission import Room, of_room
from queuectl.core.names import FinishedName, is_ignored
from queuectl.core.result import State
from queuectl.core.text import format_count, format_seconds, format_size
from queuectl.errors import QueuectlError
from queuectl.spool.moves import take, unique
from queuectl.spool.reading import admission, query, schedules
from queuectl.spool.reading.groups import examine_all
from queuectl.spool.reading.hosts import list_hosts
from queuectl.spool.reading.workers import list_workers
from queuectl.spool.system import clock, edges, files, identity, lease, shared, trigger, trust
from queuectl.spool.system.layout import Layout
from queuectl.spool.upkeep import peer

_VOLATILE = ("tmpfs", "ramfs")
_LEAST_FILES = 256
_MOST_OF_INBOX = 1000
_SKEW = timedelta(seconds=2)


class Health(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"  # works, with a limit that users should know
    BAD = "bad"  # a promise cannot be kept here


@dataclass(frozen=True, slots=True)
class Check:
    """`subject`: what was checked; `found`: the outcome; `advice`: what to do, unless all is well."""

    health: Health
    subject: str
    found: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        return {"health": str(self.health), "subject": self.subject, "found": self.found, "advice": self.advice}


def examine(spool: Layout, min_free: int, allow_users: str = "", version: str = "") -> Iterator[Check]:
    """Every check, in the order in which things go wrong. `min_free` and `allow_users` are the settings,
    `version` is that of the program."""
    yield _check_file_system(spool)
    yield _check_mount_options(spool)
    yield _check_permissions(spool)
    yield _check_drop_box(spool, allow_users)
    for subject, attempt, advice in _TRIES:
        yield _try(spool, subject, attempt, advice)
    if spool.shared:
        yield _check_race(spool)
    yield _check_inotify(spool)
    yield _check_open_files()
    yield _check_proc()
    yield _check_clock(spool)
    yield _check_room(spool, min_free)
    yield from _check_groups(spool)
    yield from _check_schedules(spool)
    yield from _check_edges(spool, version)
    yield from _check_keys(spool)
    yield from _check_hosts(spool)


def _ok(subject: str, found: str) -> Check:
    return Check(Health.OK, subject, found)


# --- where it lies


def _check_file_system(spool: Layout) -> Check:
    mount = shared.find_mount(spool.root)
    if mount is None:
        return _ok("file system", "unknown: this system has no mount table")
    found = f"{mount.kind}, mounted at {mount.point}"
    if name := shared.UNFIT.get(mount.kind):
        advice = f"{name} does not keep what several hosts need: use it from one host at a time, or another file system"
        return Check(Health.WARN if not spool.shared else Health.BAD, "file system", found, advice)
    if spool.shared:
        return _ok("file system", f"{found}; several hosts may share the spool")
    if shared.NETWORK.fullmatch(mount.kind):
        advice = "only one host may run workers; for several, with no worker running: queuectl init --shared"
        return Check(Health.WARN, "file system", found, advice)
    if shared.MAYBE.fullmatch(mount.kind):
        return _ok("file system", f"{found}; if several hosts mount it: queuectl init --shared")
    if mount.kind in _VOLATILE:
        return Check(Health.WARN, "file system", found, "it is in memory: all jobs are lost at a reboot")
    return _ok("file system", found)


def _check_mount_options(spool: Layout) -> Check:
    mount = shared.find_mount(spool.root)
    options = mount.options if mount else frozenset()
    if "ro" in options:
        return Check(Health.BAD, "mount options", "read-only", "mount it read-write")
    for risky in ("nobarrier", "barrier=0"):
        if risky in options:
            return Check(
                Health.BAD, "mount options", risky, "a power cut can lose acknowledged jobs; remount without it"
            )
    return _ok("mount options", ",".join(sorted(options)) or "unknown")


def _check_permissions(spool: Layout) -> Check:
    for directory in (spool.root, *(spool.directory(state) for state in State), spool.tmp, spool.logs, spool.workers):
        try:
            status = os.stat(directory)
        except OSError as error:
            return Check(Health.BAD, "permissions", f"{directory}: {error.strerror}", "create it: queuectl init")
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            return Check(Health.BAD, "permissions", f"{directory} is not accessible", "run as its owner, or chown it")
        if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
            advice = f"anyone who can write there can run commands as you: chmod o-w {directory}"
            return Check(Health.BAD, "permissions", f"everyone can write to {directory}", advice)
    return _ok(
        "permissions", f"mode {stat.S_IMODE(os.stat(spool.root).st_mode):04o}, owner {os.stat(spool.root).st_uid}"
    )


def _check_drop_box(spool: Layout, allow_users: str) -> Check:
    """Whether others can hand in jobs, and which of their files are not taken."""
    try:
        mode = stat.S_IMODE(os.stat(spool.inbox).st_mode)
    except FileNotFoundError:
        return _ok("drop box", "none; to create one: queuectl init --drop-box GROUP")
    make = "create it again: queuectl init --drop-box GROUP"
    if not os.path.isdir(spool.taken):
        return Check(Health.WARN, "drop box", f"{spool.taken} is missing", make)
    if not mode & stat.S_ISVTX or os.stat(spool.pending).st_mode & 0o022:
        return Check(Health.BAD, "drop box", "users can replace each other's files", make)
    users = trust.find_users(allow_users)
    left = [reason for reason in _reasons_left(spool, users) if reason]
    if left:
        found = f"{format_count(len(left), 'file')} in inbox/ that workers do not take: {left[0]}"
        return Check(Health.WARN, "drop box", found, "remove them, or ask their owners to fix them")
    if users.uids == frozenset():
        return Check(
            Health.WARN, "drop box", "no user's files are taken", "to allow users: queuectl config set allow-users"
        )
    lacks = "" if os.path.isdir(spool.outbox) else f"; users do not see what becomes of their jobs: {make}"
    return _ok("drop box", f"mode {mode:04o}, for {allow_users or 'nobody'}{lacks}")


def _reasons_left(spool: Layout, users: trust.Users) -> Iterator[str]:
    """Why each of the first thousand files in inbox/ is not taken; empty for one that will be."""
    with os.scandir(spool.inbox) as entries:
        for entry in islice(entries, _MOST_OF_INBOX):
            if not is_ignored(entry.name):
                why = take.why_unfit(spool, entry.name, lambda uid: trust.is_trusted(spool, uid) or users.allows(uid))
                yield f"{entry.name}: {why}" if why else ""


# --- what it can do


def _try(spool: Layout, subject: str, attempt: Callable[[str], str], advice: str) -> Check:
    path = f"{spool.tmp}/doctor-{identity.random_text(8)}"
    try:
        files.write_new(path, b"x")
        found = attempt(path)
    except (OSError, QueuectlError) as error:
        why = error.strerror if isinstance(error, OSError) else error.what
        is_fatal = advice.startswith("!")
        return Check(Health.BAD if is_fatal else Health.WARN, subject, f"{why or error}", advice.removeprefix("!"))
    finally:
        for leftover in (path, f"{path}.2", f"{path}.3"):
            with suppress(OSError):
                files.remove(leftover)
    return _ok(subject, found)


def _try_links(path: str) -> str:
    files.publish(path, f"{path}.2")
    return "a new job's file gets its name by a hard link, which never replaces a file"


def _try_no_replace(path: str) -> str:
    files.write_new(f"{path}.2", b"y")
    with suppress(FileExistsError):
        files.move_new(path, f"{path}.2")
        raise OSError(errno.EINVAL, "a rename replaced a file")
    # The kernel may have said so by itself: only to a name that is free is it the file system that is asked.
    if files.can_refuse_to_replace(path, f"{path}.3"):
        return "a rename can refuse to replace"
    return "a rename cannot refuse to replace here, so queuectl looks first whether a name is free"


def _try_lock(path: str) -> str:
    first, second = os.open(path, os.O_RDWR), os.open(path, os.O_RDWR)
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with suppress(BlockingIOError):
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raise OSError(errno.ENOLCK, "two had the same lock")
    finally:
        os.close(first)
        os.close(second)
    return "flock excludes"


def _try_attempt_lock(path: str) -> str:
    """As for an attempt: nobody else can take it, and a copy of the descriptor, such as a child's, keeps it."""
    at = clock.now()
    first, second = os.open(path, os.O_RDWR | os.O_APPEND), os.open(path, os.O_RDWR | os.O_APPEND)
    copy = os.dup(first)
    try:
        if not lease.lock_attempt(first, at) or lease.lock_attempt(second, at):
            raise OSError(errno.ENOLCK, "two had the same lock")
        os.close(first)
        if not lease.is_attempt_held(path, at):
            raise OSError(errno.ENOLCK, "a copy does not keep the lock after the descriptor is closed")
    finally:
        os.close(copy)
        os.close(second)
    return "locks of open files are kept by their copies"


def _try_case(path: str) -> str:
    """`Report` and `report` are two jobs, and so are two logs."""
    if not files.is_gone(path.replace("doctor-", "DOCTOR-")):
        raise OSError(errno.EEXIST, "names that differ in case only are one file")
    return "names that differ in case only are two files"


def _try_sync(path: str) -> str:
    files.sync_directory(os.path.dirname(path))
    return "fsync of files and directories"


_TRIES: tuple[tuple[str, Callable[[str], str], str], ...] = (
    (
        "hard links",
        _try_links,
        "queuectl falls back to a rename; two tools could choose the same name at the same instant",
    ),
    ("no-replace rename", _try_no_replace, "queuectl checks before it renames; there is a moment between the two"),
    ("case of names", _try_case, "!two jobs whose ids differ in case only would be one here; use another directory"),
    ("locks", _try_lock, "!live workers cannot be detected here; use another file system"),
    ("attempt locks", _try_attempt_lock, "!live jobs cannot be detected here; use another file system"),
    ("durability", _try_sync, "!acknowledged jobs may not survive a power cut here; use another file system"),
)


def _check_race(spool: Layout) -> Check:
    """Two processes claim the same files, on the spool's own file system."""
    try:
        found = peer.race(spool)
    except OSError as error:
        return Check(Health.BAD, "claims", f"cannot be tried: {error.strerror}", "see above")
    return Check(Health.OK if found.is_good else Health.BAD, found.what, found.said, found.advice)


# --- the machine


def _check_inotify(spool: Layout) -> Check:
    limits = Path("/proc/sys/fs/inotify")
    if not sys.platform.startswith("linux") or not limits.is_dir():
        return _ok("file events", "those of this platform")
    instances = (limits / "max_user_instances").read_text().strip()
    probe = trigger.Trigger(spool, lambda path: None)
    problem = probe.problem
    probe.close()
    if problem is not None:
        advice = "workers look every second instead; raise fs.inotify.max_user_instances"
        return Check(Health.WARN, "file events", f"{problem}; the limit is {instances}", advice)
    found = f"inotify, {instances} instances for each user"
    if spool.shared:
        how = {shared.describe_poll(worker.get("poll")) for worker in list_workers(spool) if worker["alive"]} - {""}
        workers = f"workers {' or '.join(sorted(how))}".replace("polls", "poll") if how else "no worker polls"
        return _ok("file events", f"{found}; of other hosts only if a worker has heard some: {workers}")
    return _ok("file events", found)


def _check_open_files() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _LEAST_FILES:
        return Check(Health.WARN, "open files", f"{soft}", f"for workers with many slots: ulimit -n {_LEAST_FILES * 4}")
    return _ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"{soft}")


def _check_proc() -> Check:
    try:
        Path("/proc/self/environ").read_bytes()
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError) as error:
        advice = "jobs whose worker died count as lost although they may still be running; use Linux with /proc mounted"
        return Check(Health.WARN, "processes", f"{error}", advice)
    return _ok("processes", "jobs are found by their environment, and awaited by pidfd")


def _check_clock(spool: Layout) -> Check:
    now = clock.now()
    path = f"{spool.tmp}/doctor-{identity.random_text(8)}"
    try:
        files.write_new(path, b"x", sync=False)
        skew = clock.from_file_time(os.stat(path).st_mtime) - now
        files.remove(path)
    except OSError as error:
        return Check(Health.BAD, "clock", f"cannot be compared with the file system's: {error.strerror}", "see above")
    if abs(skew) > _SKEW:
        found = f"the file system's differs by {format_seconds(abs(skew.total_seconds()))}"
        return Check(Health.WARN, "clock", found, "sync both hosts with the same time server")
    newest = max((max(names) for names in query.iterate_names(spool, State.DONE)), default="")
    last = FinishedName.parse(newest)
    if last is not None and last.finished_at > now + _SKEW:
        ahead = format_seconds((last.finished_at - now).total_seconds())
        return Check(
            Health.WARN, "clock", f"a job ended {ahead} from now", "the clock was set back; retries may wait longer"
        )
    return _ok("clock", f"{now:%Y-%m-%d %H:%M:%S} UTC, as the file system's")


def _check_groups(spool: Layout) -> Iterator[Check]:
    """Whether the settings of every group can be read; nothing if there are none."""
    found = examine_all(spool, clock.now)
    wrong = [group for group in found if group.problem]
    if wrong:
        advice = "no job of such a group is started; set it again: queuectl group set GROUP KEY=VALUE"
        yield Check(Health.BAD, "groups", "; ".join(group.problem for group in wrong), advice)
    elif found:
        yield _ok("groups", f"{format_count(len(found), 'group')} with settings, all of which can be read")


def _check_keys(spool: Layout) -> Iterator[Check]:
    """Whether jobs that were left asking for their keys get them; nothing if no job has ever had a key."""
    if files.is_gone(spool.unique):
        return
    left = len(unique.find_left(spool))
    found = f"{format_count(left, 'job')} {'asks for its key' if left == 1 else 'ask for their keys'}"
    if left and not any(worker["alive"] for worker in list_workers(spool)):
        yield Check(Health.WARN, "keys", f"{found}, and no worker finishes that", "start one: queuectl worker start")
    else:
        yield _ok("keys", f"{found}; a worker finishes that" if left else "no job is left asking for its key")


def _check_hosts(spool: Layout) -> Iterator[Check]:
    """In a shared spool, which hosts live, and whose clock differs."""
    found = list_hosts(spool)
    for each in found:
        what, _, advice = each.advice.partition("; ")
        if what:
            yield Check(Health.WARN, "hosts", what, advice)
        if each.clock_problem:
            yield Check(Health.WARN, "clock", each.clock_problem, "keep the clocks of hosts in step, as NTP does")
    if found and not any(each.problems for each in found):
        yield _ok("hosts", ", ".join(each.host for each in found))


def _check_schedules(spool: Layout) -> Iterator[Check]:
    """Whether every schedule makes its jobs; nothing if there are none."""
    views = schedules.look_at_all(spool, clock.now())
    wrong = [f"{view.name}: {view.problem}" for view in views if view.problem]
    if wrong:
        yield Check(
            Health.BAD,
            "schedules",
            "; ".join(wrong),
            "such a schedule makes no jobs; fix its file: queuectl schedule edit",
        )
    elif views:
        waits = [view.waiting_since for view in views if view.waiting_since is not None]
        has_worker = any(worker["alive"] for worker in list_workers(spool))
        if not has_worker:
            since = f" since {min(waits):%Y-%m-%d %H:%M:%S} UTC" if waits else ""
            found = f"{format_count(len(views), 'schedule')}, and no worker{since}"
            yield Check(
                Health.WARN, "schedules", found, "without a worker no job is made: contrib/systemd keeps one there"
            )
        else:
            yield _ok("schedules", f"{format_count(len(views), 'schedule')}, all of which can be read")


def _check_edges(spool: Layout, version: str) -> Iterator[Check]:
    """Whether every worker moves jobs that wait for others; nothing if none waits."""
    number = sum(1 for _ in edges.dependencies(spool))
    if not number:
        return
    workers = [worker for worker in list_workers(spool) if worker["alive"]]
    old = [worker for worker in workers if _parts(worker.get("version")) < _parts(version)]
    if old:
        found = ", ".join(f"{worker['worker']} is of version {worker.get('version') or 'unknown'}" for worker in old)
        advice = (
            "what waits for a job that such a worker runs starts late or, without another worker, never; restart it"
        )
        yield Check(Health.WARN, "dependencies", found, advice)
    else:
        yield _ok(
            "dependencies", f"others wait for {format_count(number, 'job')}, and no worker is of an older version"
        )


def _parts(version: object) -> list[int]:
    """A version, to compare it; less than any other if it is not known."""
    return [int(part) for part in re.findall("[0-9]+", version)] if isinstance(version, str) else []


def _check_room(spool: Layout, min_free: int) -> Check:
    free, inodes = admission.room(spool)
    found = format_size(free) + ("" if inodes is None else f", {inodes} inodes")
    for reason in of_room(Room(free, inodes), min_free):
        hint = "free some space" if free < min_free else "delete files: each takes an inode"
        return Check(Health.BAD, "free space", found, f"{reason.text}; {hint}")
    return _ok("free space", found)
