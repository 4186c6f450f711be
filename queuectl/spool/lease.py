"""Proof of life: the locks that tell whether a worker, or any process of a job, is still there.

A worker holds an exclusive lock on its file in workers/ for as long as it lives; the kernel drops it
with the process, so a lock that can be had means a dead worker, and no PID is ever trusted.

A job's lock is on its log. The worker takes it and the job inherits the descriptor, so the lock is
held as long as the worker or any process of the job lives. It must be flock(2) on the bare
descriptor and is only ever given up by close(): an unlock, such as portalocker's release, would
free the job's inherited lock as well, and a child does not inherit POSIX locks (lockf).

The locks that exclude others for a moment, from writing settings or pruning, are portalocker's.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, Any

from queuectl.core.names import format_time, format_worker, parse_worker
from queuectl.spool import files
from queuectl.spool.layout import Layout

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def random_text(length: int) -> str:
    """Random lower-case base32: five bits a character."""
    return "".join(_ALPHABET[byte & 31] for byte in os.urandom(length))


def host_of(worker: str) -> str:
    """The host as it stands in a worker's name."""
    return parse_worker(worker)[0]


def try_lock(fd: int) -> bool:
    """Lock an open log for this process and whoever inherits the descriptor; False if another has it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_locked(path: str) -> bool:
    """Whether anyone holds a log's lock. Askers do not disturb each other: they try a shared lock.

    Raises OSError when that cannot be found out.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return False
        raise
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


class WorkerLease:
    """A worker's file in workers/, locked until the end of its `with`, or of the process."""

    def __init__(self, layout: Layout, host: str, info: dict[str, Any]) -> None:
        """Take a new name and publish it; the file is locked before anyone can see it."""
        self.is_kept = False  # for the next worker to rescue what this one leaves running
        while True:
            self.name = format_worker(host, os.getpid(), random_text(4))
            self._path = layout.worker(self.name)
            temporary = f"{layout.tmp}/worker-{self.name}-{random_text(8)}"
            self._file: IO[str] = open(temporary, "x", encoding="utf-8")  # noqa: SIM115 - held for life
            try:
                os.chmod(temporary, 0o600)
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                files.remove(temporary)
                raise
            self._info = {"worker": self.name, "host": host, "pid": os.getpid(), **info}
            json.dump(self._info, self._file)
            self._file.write("\n")
            self._file.flush()
            try:
                files.publish(temporary, self._path)
            except FileExistsError:
                files.remove(temporary)
                self._file.close()
                continue
            return

    def __enter__(self) -> WorkerLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After a failure the file stays, for the next worker to rescue what ran."""
        if kind is None and not self.is_kept:
            self.release()
        self._file.close()

    def say_stopping(self, at: datetime) -> None:
        """Add to the file, once, since when the worker takes no job any more; nothing where that cannot be written.

        CRASH: a file torn by it says nothing, as `read_worker` has it; its lock still tells of the worker's life.
        """
        if "stopping_at" not in self._info:
            self._info["stopping_at"] = format_time(at)
            with suppress(OSError):  # written over itself: another file would not be the locked one
                os.pwrite(self._file.fileno(), f"{json.dumps(self._info)}\n".encode(), 0)

    def release(self) -> None:
        """Remove the file, then let go of it."""
        files.remove(self._path)
        self._file.close()


def is_worker_alive(layout: Layout, worker: str) -> bool:
    """Whether the worker of that name holds its lock (as seen from this host).

    Raises OSError when that cannot be found out.
    """
    return is_locked(layout.worker(worker))


def read_worker(layout: Layout, worker: str) -> dict[str, Any]:
    """What the worker wrote about itself; empty if its file is gone or torn."""
    try:
        info = json.loads(files.read(layout.worker(worker)).data)
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def state_of(info: Mapping[str, Any], *, is_alive: bool, is_busy: bool, is_paused: bool) -> str:
    """What a worker does: `working`, `idle`, `paused` (idle, in a paused spool), `stopping`, or `gone`.

    `info` is what its file says; one that stops may still run jobs, one that works may have free slots.
    """
    if not is_alive:
        return "gone"
    if info.get("stopping_at"):
        return "stopping"
    return "working" if is_busy else "paused" if is_paused else "idle"


def boot_id() -> str:
    """Names this run of this kernel, the same in every container on it; empty where there is none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def _as_os_error(error: Exception, path: str) -> OSError:
    """What the system said to portalocker 4.4.2, which wraps it in an exception of its own."""
    cause = next((item for item in (*error.args, error.__cause__) if isinstance(item, OSError)), None)
    return OSError(cause.errno if cause else errno.EIO, cause.strerror if cause else str(error), path)


@contextmanager
def locked_settings(layout: Layout) -> Iterator[None]:
    """Exclude other writers of config.toml (readers never need a lock: it is replaced whole)."""
    import portalocker

    path = f"{layout.tmp}/config.lock"
    lock = portalocker.Lock(path, "a", timeout=10)
    try:
        lock.acquire()
    except portalocker.LockException as error:
        raise _as_os_error(error, path) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def sole_pruner(layout: Layout, patience: float = 0.0) -> Iterator[bool]:
    """Whether nobody else is pruning this spool; while the `with` lasts nobody else will. Waits `patience` seconds."""
    import portalocker

    lock = portalocker.Lock(f"{layout.tmp}/prune.lock", "a", timeout=patience)
    try:
        lock.acquire()
    except portalocker.LockException:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def forget(layout: Layout, worker: str) -> None:
    """Remove the file of a worker that is dead."""
    files.remove(layout.worker(worker))
