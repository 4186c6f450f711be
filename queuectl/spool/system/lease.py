"""Proof of life: the locks that show whether a worker, or any process of an attempt, is still there.

A worker holds an exclusive flock(2) on its file in workers/ for as long as it lives; the kernel drops it
with the process, so a lock that is free means a dead worker, and no PID is ever trusted.

An attempt's lock is one byte of the job's log, at an offset given by the time of its claim. The worker takes
it and the job inherits the descriptor, so it is held as long as the worker or any process of that attempt lives,
and what an earlier attempt left behind holds another byte. It must be a lock of the open file description
(fcntl(2), F_OFD_SETLK): a child does not inherit the older POSIX locks (lockf), and a flock covers the whole file.
It is only ever released by close(): an unlock would free the job's inherited lock as well. Whether it is held
is checked with F_OFD_GETLK, which takes no lock, so that a check never blocks anyone who wants to lock.
Byte 0 belongs to the id, and is locked to submit, adopt or delete a job.

In a spool that several hosts share, these locks are on files in the memory of each host (`host`), one for each worker
and one for the log of each job: locks in the spool would be freed by a restart of the file server, and a host cannot
see those of another. The lock of an open log has a descriptor of its own then, which `close` closes with the log.

The locks that exclude others for a moment, from writing settings or pruning, are portalocker's.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import IO, TYPE_CHECKING, Any

from queuectl.core.names import format_time, format_worker, parse_worker
from queuectl.lazy import Lazy
from queuectl.spool.system import files, locks, logs
from queuectl.spool.system.identity import random_text
from queuectl.spool.system.layout import Layout

if TYPE_CHECKING:
    from queuectl.spool.system import beats
    from queuectl.spool.system import host as host_
else:
    beats, host_ = Lazy("queuectl.spool.system.beats"), Lazy("queuectl.spool.system.host")

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


def host_of(worker: str) -> str:
    """The host part of a worker's name."""
    return parse_worker(worker)[0]


_elsewhere: dict[int, tuple[int, str]] = {}
"""For an open log in a shared spool what this process has locked of it: a descriptor, and the path of that file."""


def close(log: int) -> None:
    """Close an open log, which frees what this process alone has locked in it."""
    if _elsewhere:
        held = _elsewhere.pop(log, None)
        if held is not None:
            os.close(held[0])
            locks.remove(held[1])
    with suppress(OSError):  # of a file server that was away since: it is closed all the same
        os.close(log)


def inherited(log: int) -> tuple[int, ...]:
    """The descriptors that a job must inherit to hold the lock of its attempt, in addition to that of its log."""
    held = _elsewhere.get(log) if _elsewhere else None
    return (held[0],) if held is not None else ()


def hand_on(log: int, other: int) -> int:
    """Let another open log have what is locked through this one, which is closed if it is another; the other."""
    if other != log:
        held = _elsewhere.pop(log, None)
        if held is not None:
            _elsewhere[other] = held
        with suppress(OSError):
            os.close(log)
    return other


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A log, made if it is not there, open during the `with`."""
    log = logs.open_log(path)
    try:
        yield log
    finally:
        close(log)


def lock_id(log: int) -> bool:
    """Lock the id of an open log, to submit or adopt a job under it; False if another process has it."""
    return _lock(log, 0, 1)


def lock_attempt(log: int, started_at: datetime) -> bool:
    """Lock an attempt in an open log, for this process and all that inherit the descriptor; False if another has it."""
    return _lock(log, _byte_of(started_at), 1)


def lock_whole(log: int) -> bool:
    """Lock the id and every possible attempt, to delete the job; False if any of them is locked."""
    return _lock(log, 0, 0) and not _is_flocked_there(log)


def is_attempt_held(path: str, started_at: datetime) -> bool:
    """Whether the worker or any process of that attempt holds its lock in the log of that path.

    Raises OSError if that cannot be determined.
    """
    log = _open_to_ask(path)
    if log is None:
        return False
    try:
        return locks.find(log, _byte_of(started_at), 1) is not None or _is_flocked(log)
    finally:
        os.close(log)


def running_attempts(log: int) -> list[datetime]:
    """The claim times of the attempts that hold their lock in an open log, other than through this descriptor, and
    whose end is not on record: each may be running.

    Processes that an attempt leaves behind, once its end is on record, do not count.
    """
    if not files.is_any_shared():
        times = _locked_times(log)
    else:
        with _asked(log) as asked:
            times = [] if asked is None else _locked_times(asked)
    return [at for at in times if not logs.in_parts(log, partial(logs.has_end, started_at=at))]


def _locked_times(fd: int) -> list[datetime]:
    found = []
    ranges = [(1, locks.LAST_BYTE)]  # both ends included
    while ranges:
        first, last = ranges.pop()
        held = locks.find(fd, first, last - first + 1)
        if held is None:
            continue
        if held.first == held.last:  # else somebody is deleting the job
            found.append(_time_of(held.first))
        rest = (first, held.first - 1), (held.last + 1, last)
        ranges += [(low, high) for low, high in rest if low <= high]
    return found


def may_be_running(log: int) -> bool:
    """Whether an attempt other than this descriptor's may be running: one of `running_attempts`, or one of an earlier
    version, which locks the whole log."""
    return bool(running_attempts(log)) or (logs.is_last_attempt_open(log) and _is_flocked_there(log))


def is_running(path: str) -> bool:
    """`may_be_running` of the log of that path; raises OSError if that cannot be determined."""
    try:
        log = files.open_regular(path)
    except (FileNotFoundError, files.NotRegularError):
        return False
    try:
        return may_be_running(log)
    finally:
        os.close(log)


def is_in_use(path: str) -> bool:
    """Whether anything is locked in the log of that path: its id or any attempt, even one whose end is on record.

    Raises OSError if that cannot be determined.
    """
    log = _open_to_ask(path)
    if log is None:
        return False
    try:
        return locks.find(log, 0, 0) is not None or _is_flocked(log)
    finally:
        os.close(log)


def is_id_locked(path: str) -> bool:
    """Whether a process is submitting or adopting a job under the id of that log. Raises OSError if that is unknown."""
    log = _open_to_ask(path)
    if log is None:
        return False
    try:
        return locks.find(log, 0, 1) is not None
    finally:
        os.close(log)


def _open_to_ask(path: str) -> int | None:
    """A descriptor of the file with the locks of a log, or of a worker; None if there is none, or it is not regular."""
    try:
        return files.open_regular(_place_of(path))
    except (FileNotFoundError, files.NotRegularError):
        return None


def _byte_of(started_at: datetime) -> int:
    """The offset of an attempt's lock: milliseconds since 1970, plus one, as byte 0 is the id's."""
    since = started_at - _EPOCH
    return (since.days * 86400 + since.seconds) * 1000 + since.microseconds // 1000 + 1


def _time_of(byte: int) -> datetime:
    return _EPOCH + (byte - 1) * _MILLISECOND


def _place_of(path: str) -> str:
    """The file that has the locks of the log or worker of that path."""
    root = files.shared_root(path)
    if root is None:
        return path
    here, (directory, name) = host_.at(root), os.path.split(path)
    if directory.endswith("/workers"):
        return here.life(name.removesuffix(".json"))
    return here.lock(re.sub(r"\.log(\.\d+)?$", "", name))


def _place_of_open(log: int) -> str | None:
    """The file that has the locks of an open log; None if that is the log itself."""
    if not files.is_any_shared():
        return None
    path = os.readlink(f"/proc/self/fd/{log}").removesuffix(" (deleted)")
    place = _place_of(path)
    return place if place != path else None


@contextmanager
def _asked(log: int) -> Iterator[int | None]:
    """A descriptor to ask for the locks that others have on an open log; None if nobody can have any."""
    place = _place_of_open(log)
    held = _elsewhere.get(log)
    if place is None or (held is not None and held[1] == place):
        yield log if place is None or held is None else held[0]
        return
    try:
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    try:
        yield fd
    finally:
        os.close(fd)


def _lock(log: int, start: int, length: int) -> bool:
    """Lock bytes of an open log; length 0 is all that follow. False if another has any of them."""
    place = _place_of_open(log)
    if place is None:
        return locks.take(log, start, length)
    held = _elsewhere.get(log)
    if held is not None and held[1] == place:
        return locks.take(held[0], start, length)
    while True:
        fd = locks.open_file(place)
        if not locks.take(fd, start, length):
            os.close(fd)
            return False
        if files.is_open(fd, place):
            _elsewhere[log] = fd, place
            return True
        os.close(fd)  # RACE: it was removed in between, by who had it last


def _is_flocked_there(log: int) -> bool:
    """Whether an earlier version has locked the whole of an open log, which none does in a shared spool."""
    return _place_of_open(log) is None and _is_flocked(log)


def _is_flocked(fd: int) -> bool:
    """Whether another process has a flock on the file: a worker on its own file, an earlier version on a log."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)  # no child has inherited this one
    return False


class WorkerLease:
    """A worker's file in workers/, locked until the end of the `with`, or of the process."""

    def __init__(self, layout: Layout, host: str, info: dict[str, Any]) -> None:
        """Take a new name and publish it; the file is locked before anyone can see it. `host` is this host's name."""
        self._lock, self._length = threading.Lock(), 0
        self.is_kept = False  # for the next worker to rescue what this one leaves running
        here = host_.of(layout)
        while True:
            self.name = format_worker(here.name if here else host, os.getpid(), random_text(4))
            self._path = layout.worker(self.name)
            temporary = f"{layout.tmp}/worker-{self.name}-{random_text(8)}"
            self._file: IO[str] = open(temporary, "x", encoding="utf-8")  # noqa: SIM115 - held for life
            try:
                os.chmod(temporary, 0o600)
                self._life = locks.open_file(here.life(self.name)) if here else self._file.fileno()
                fcntl.flock(self._life, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._file.close()
                files.remove(temporary)
                raise
            self._life_path = here.life(self.name) if here else ""
            self._info = {"worker": self.name, "host": host, "pid": os.getpid(), **info}
            json.dump(self._info, self._file)
            self._file.write("\n")
            self._file.flush()
            try:
                files.publish(temporary, self._path)
            except FileExistsError:
                files.remove(temporary)
                self._close()
                continue
            return

    def _close(self) -> None:
        if self._life_path:
            os.close(self._life)
        self._file.close()

    def __enter__(self) -> WorkerLease:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """After a failure the file is kept, for the next worker to rescue what ran."""
        if kind is None and not self.is_kept:
            self.release()
        else:
            self._close()

    def say_stopping(self, at: datetime) -> None:
        """Add to the file, once, since when the worker takes no more jobs; skipped if it cannot be written."""
        if "stopping_at" not in self._info:
            self.say(stopping_at=format_time(at))

    def say(self, **info: Any) -> None:
        """Add this to the file; skipped if it cannot be written. Thread-safe.

        CRASH: `read_worker` treats a torn file as empty; the lock still shows whether the worker is alive.
        """
        with self._lock:
            self._info.update(info)
            text = f"{json.dumps(self._info)}\n"
            self._length = max(self._length, len(text))
            with suppress(OSError):  # in place: another file would not be the locked one
                os.pwrite(self._file.fileno(), text.ljust(self._length).encode(), 0)

    def make_durable(self) -> None:
        """See to it that the file would survive a power cut: it says where jobs run that would survive that, too."""
        files.sync_files(os.path.dirname(self._path), [self._path])

    def release(self) -> None:
        """Remove the file, then unlock it."""
        files.remove(self._path)
        if self._life_path:
            files.remove(self._life_path)
        self._close()


def is_worker_alive(layout: Layout, worker: str) -> bool:
    """Whether the worker of that name holds its lock (as seen from this host).

    Two checks do not disturb each other: they try a shared lock. In a shared spool a worker of another host lives as
    long as that host is not gone, and one of this host whose lock has no file any more lives too: nobody judges it.
    Raises OSError if that cannot be determined.
    """
    if layout.shared and not has_life(layout, worker):
        return not files.is_gone(layout.worker(worker)) and not beats.is_gone(layout, host_of(worker))
    file = _open_to_ask(layout.worker(worker))
    if file is None:
        return False
    try:
        return _is_flocked(file)
    finally:
        os.close(file)


def read_worker(layout: Layout, worker: str) -> dict[str, Any]:
    """What the worker wrote about itself; empty if its file is gone or torn."""
    try:
        info = json.loads(files.read(layout.worker(worker)).data)
    except (OSError, ValueError, RecursionError):
        return {}
    return info if isinstance(info, dict) else {}


def state_of(info: Mapping[str, Any], *, is_alive: bool, is_busy: bool, is_paused: bool) -> str:
    """What a worker is doing: `working`, `idle`, `paused` (idle, in a paused spool), `stopping`, or `gone`.

    `info` is what its file says; a stopping worker may still run jobs, a working one may have free slots.
    """
    if not is_alive:
        return "gone"
    if info.get("stopping_at"):
        return "stopping"
    return "working" if is_busy else "paused" if is_paused else "idle"


def _as_os_error(error: Exception, path: str) -> OSError:
    """The system's error inside that of portalocker 4.4.2, which wraps it in an exception of its own."""
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
def locked_past(layout: Layout) -> Iterator[None]:
    """Exclude others that move the mark of a schedule on, for the moment that this takes."""
    fd = os.open(f"{layout.tmp}/past.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextmanager
def sole_pruner(layout: Layout, patience: float = 0.0) -> Iterator[bool]:
    """Exclude other pruners during the `with`; yields False if another is still pruning after `patience` seconds."""
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


def holds_file(layout: Layout, worker: str) -> bool:
    """Whether a worker holds a lock on its file in the spool itself: of an older version, if that is shared."""
    try:
        file = files.open_regular(layout.worker(worker))
    except OSError:
        return False
    try:
        return _is_flocked(file)
    finally:
        os.close(file)


def has_life(layout: Layout, worker: str) -> bool:
    """Whether a worker of a shared spool has a file with its lock on this host, so that it can be judged here."""
    here = host_.here(layout)
    return here.is_home_of(worker) and os.path.lexists(here.life(worker))


def lives(layout: Layout) -> set[str]:
    """The workers of a shared spool that have a file with their lock on this host, dead ones too."""
    return {*os.listdir(f"{host_.here(layout).directory}/workers")}


def clear_locks(layout: Layout) -> None:
    """Remove the files for locks on this host that processes have left which were killed."""
    directory = host_.here(layout).lock("")
    for entry in os.listdir(directory):
        locks.remove(f"{directory}{entry}")


def forget(layout: Layout, worker: str) -> None:
    """Remove the file of a dead worker."""
    files.remove(layout.worker(worker))
    if layout.shared:
        files.remove(host_.here(layout).life(worker))
