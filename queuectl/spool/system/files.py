"""The few things ever done to files: read one safely, publish a new one, move one.

The only code that calls os.rename, os.link and fsync. No function here replaces a job's file.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from queuectl.core.body import MAX_BODY
from queuectl.errors import DurabilityError
from queuectl.spool.system.identity import random_text
from queuectl.tuples import NamedTuple

if TYPE_CHECKING:
    import ctypes

FULL = (errno.ENOSPC, errno.EDQUOT)
_shared: list[str] = []
"""What the paths in spools begin with that several hosts share. There the reply to a rename may be lost, so that it is
sent again and fails; and what stat(2) says of a name may be seconds old."""
_NO_REPLACE, _EXCHANGE = 1, 2


class Content(NamedTuple):
    """The bytes of a regular file, its identity (device, inode, size, mtime_ns), owner's uid, ctime and link count."""

    data: bytes
    identity: tuple[int, int, int, int]
    owner: int
    changed_at: float
    links: int


class NotRegularError(OSError):
    """The path is a link, directory, pipe, socket or device."""


class CannotExchangeError(OSError):
    """The file system cannot swap the names of two files."""


def share(root: str) -> None:
    """From now on paths in that directory are those of a spool that several hosts share."""
    for path in (root, os.path.realpath(root)):
        if f"{path}/" not in _shared:
            _shared.append(f"{path}/")


def is_any_shared() -> bool:
    """Whether this process uses such a spool."""
    return bool(_shared)


def shared_root(path: str) -> str | None:
    """The shared spool that holds a path; None if that is not in one."""
    return next((root[:-1] for root in _shared if path.startswith(root)), None) if _shared else None


def _is_shared(path: str) -> bool:
    return path.startswith(tuple(_shared)) if _shared else False


def read(path: str) -> Content:
    """The first MAX_BODY + 1 bytes of a regular file, never following a link or blocking on a pipe.

    Raises FileNotFoundError, NotRegularError or another OSError.
    """
    fd = open_file(path)
    try:
        return read_descriptor(fd, path)
    finally:
        os.close(fd)


def open_file(path: str, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a file that exists, never following a link or blocking on a pipe. Raises as `read` does."""
    try:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):
            raise NotRegularError(error.errno, "not a regular file", path) from None
        raise


def open_regular(path: str) -> int:
    """A descriptor for reading a regular file, never blocking on whatever may be there. Raises as `read` does."""
    fd = open_file(path)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise NotRegularError(errno.EINVAL, "not a regular file", path)
    return fd


def read_descriptor(fd: int, path: str) -> Content:
    """`read` of a file that is already open."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotRegularError(errno.EINVAL, "not a regular file", path)
    most = min(status.st_size, MAX_BODY + 1)  # if it grows from here on, its identity will differ
    data = os.pread(fd, most, 0)
    while len(data) < most and (more := os.pread(fd, most - len(data), len(data))):
        data += more
    return Content(data, identify(status), status.st_uid, status.st_ctime, status.st_nlink)


def identify(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def write_new(path: str, data: bytes, *, sync: bool = True) -> None:
    """Create a file that did not exist, completely or (after an OSError) not at all."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        remove(path)
        raise


def hand_over(temporary: str, path: str, data: bytes) -> None:
    """Create a complete file that all can read, durably, in a directory that this user may add to but not list.

    Such a directory cannot be opened for an fsync: if there is a syncfs(2), the file's own file system is synced.
    """
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        try:
            os.fchmod(fd, 0o644)  # whatever the umask
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
            os.rename(temporary, path)
            if hasattr(_libc(), "syncfs"):
                _libc().syncfs(fd)
            else:
                os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(temporary)
        raise


def publish(source: str, target: str) -> None:
    """Give a finished file of tmp/ its public name, replacing nothing (FileExistsError).

    CRASH: between link and unlink the file has both names; the one in tmp/ has no meaning
    (tests/spool/system/test_files.py).
    """
    try:
        os.link(source, target)
    except FileExistsError:
        if not (_is_shared(target) and is_same(source, target)):  # else it was done, and the reply lost
            raise
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        if os.path.lexists(target):  # a file system without hard links, such as exfat
            raise FileExistsError(errno.EEXIST, "File exists", target) from None
        os.rename(source, target)
        return
    with contextlib.suppress(OSError):
        remove(source)


def link(source: str, target: str) -> None:
    """Give a file a second name; raises FileExistsError."""
    os.link(source, target)


def move(source: str, target: str) -> bool:
    """Rename to a name that nobody else could choose; False if the source is gone (a lost race).

    In a shared spool that answer may be the second one to a rename that was done: then the target is there.
    """
    try:
        os.rename(source, target)
    except FileNotFoundError:
        return _is_shared(target) and not is_gone(target)
    return True


def publish_reserved(source: str, target: str) -> bool:
    """Give a finished file of tmp/ the public name that its reserved id makes one's own.

    In a shared spool this is a rename, by whoever finds the file, and a source that is gone has been published: a hard
    link whose reply was lost would be made again, after a worker has moved the first one, as a second file of the job.
    Elsewhere it is `publish`. Returns whether this call did it.
    """
    if not _is_shared(target):
        publish(source, target)
        return True
    return move(source, target)


def move_new(source: str, target: str) -> bool:
    """`move` to a name that another tool may have used for a file; raises FileExistsError, and never replaces it.

    If the file system has no rename without replacement (GlusterFS), there is a moment between check and rename.
    """
    code = _renameat2(source, target)
    if code == 0:
        return True
    if code == errno.ENOENT:
        return False
    if code in (errno.EINVAL, errno.ENOSYS):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "File exists", target)
        return move(source, target)
    raise OSError(code, os.strerror(code), source, None, target)


def can_refuse_to_replace(source: str, free: str) -> bool:
    """Whether the file system itself can rename without replacing: if so, it has moved a file to that free name."""
    return _renameat2(source, free) not in (errno.EINVAL, errno.ENOSYS)


def exchange(one: str, other: str) -> bool:
    """Swap the names of two files, in one step; False if one of them is gone.

    Raises CannotExchangeError if the file system does not support it (GlusterFS, some network file systems).
    """
    code = _renameat2(one, other, _EXCHANGE)
    if code in (errno.EINVAL, errno.ENOSYS):
        raise CannotExchangeError(code, os.strerror(code), one, None, other)
    if code not in (0, errno.ENOENT):
        raise OSError(code, os.strerror(code), one, None, other)
    return code == 0


def _renameat2(source: str, target: str, flag: int = _NO_REPLACE) -> int:
    """renameat2(2) with one flag; 0 or the error's number."""
    if not hasattr(_libc(), "renameat2"):
        return errno.ENOSYS
    at_cwd = -100
    return _errno_of(_libc().renameat2(at_cwd, os.fsencode(source), at_cwd, os.fsencode(target), flag))


def replace(path: str, data: bytes) -> None:
    """Replace the whole content of a settings file, durably."""
    temporary = f"{path}.{os.getpid()}.{random_text(6)}.tmp"
    remove(temporary)
    write_new(temporary, data)
    with contextlib.suppress(OSError):
        os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))
    try:
        os.rename(temporary, path)
    except OSError:  # there is a directory, say
        remove(temporary)
        raise
    sync_directory(os.path.dirname(path))


def has_more_names(path: str) -> bool:
    """Whether a file has other hard links; False if it is gone."""
    try:
        return os.lstat(path).st_nlink > 1
    except FileNotFoundError:
        return False


def is_same(path: str, other: str) -> bool:
    """Whether two names are the same file; False if one is gone."""
    try:
        return os.path.samestat(os.lstat(path), os.lstat(other))
    except FileNotFoundError:
        return False


def is_open(fd: int, path: str) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


def remove(path: str) -> bool:
    """Unlink; whether it was there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def ring(path: str) -> None:
    """Wake whatever watches a directory, by creating and removing a file in it; do nothing if that is impossible."""
    with contextlib.suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        remove(path)


def touch(path: str) -> None:
    """Give a file the present time; it is created empty if it is not there."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        os.utime(fd)
    finally:
        os.close(fd)


def is_gone(path: str) -> bool:
    """Whether there is no file; False also if the system cannot say."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return not _is_shared(path) or _is_absent(path)
    except OSError:
        return False
    return False


def _is_absent(path: str) -> bool:
    """Whether a name that was not found is not there: that may be what this host last knew of it.

    A client of NFS remembers for up to 30 s that it has found no such name (Linux 6.1), but looks again once the
    directory has been opened, which asks the server whether it has changed.
    """
    refresh(os.path.dirname(path))
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def refresh(path: str) -> None:
    """Let this host know what others have done to a file, or to the names in a directory, by opening it."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fstat(fd)
        finally:
            os.close(fd)


def sync_directory(path: str) -> None:
    """Make the names in a directory survive a power cut; raises DurabilityError if that is unknown.

    XFS reports success for an fsync of a directory although it has just shut down after a disk error (Linux 6.18);
    opening one then fails, so that is checked afterwards (tests/torture/test_powercut.py).
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise DurabilityError(
            "it is unknown whether this would survive a power cut",
            f"{path}: {error.strerror}",
            "the jobs may already be queued; check before submitting them again",
        ) from error


def sync_all(directory: str) -> bool:
    """Make all of a file system survive a power cut; False if this system cannot. Raises DurabilityError."""
    if _is_shared(f"{directory}/"):
        return False
    try:
        return _syncfs(directory)
    except OSError as error:
        raise DurabilityError("it is unknown whether this would survive a power cut", f"{error}") from error


def sync_files(directory: str, paths: Sequence[str]) -> None:
    """Make the contents of many new files survive a power cut, by one syncfs(2) if there is one."""
    # FUSE answers syncfs without asking the server (Linux 6.1), so in a shared spool each file is synced.
    if len(paths) > 8 and not _is_shared(f"{directory}/") and _syncfs(directory):
        return
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _syncfs(directory: str) -> bool:
    if not hasattr(_libc(), "syncfs"):
        return False
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        code = _errno_of(_libc().syncfs(fd))
    finally:
        os.close(fd)
    if code not in (0, errno.ENOSYS):
        raise OSError(code, os.strerror(code), directory)
    return code == 0


@cache
def _libc() -> ctypes.CDLL:
    import ctypes  # needed only to adopt or hand in files, to edit jobs, or to submit many

    return ctypes.CDLL(None, use_errno=True)


def _errno_of(result: int) -> int:
    """0, or the error number of the call that has just returned this."""
    import ctypes

    return 0 if result == 0 else ctypes.get_errno()
