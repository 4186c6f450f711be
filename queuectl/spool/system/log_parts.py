"""The log of a job in a shared spool, of which each host writes parts of its own: no two hosts write one file.

`logs/ID.log` is the part that is written to now. Its first line says whose it is, as `host=`; else it is that of the
worker that has started the first attempt in it; and before that nobody's but of the worker that claims the job. Who is
to write and is on another host gives that file a number, `logs/ID.log.1`, and puts a new one in its place, which has a
number too. So however many do so at once, no part is lost, and all of them are read, in this order.

CRASH: between the steps the last part has no number yet, or a number is that of a part without lines (tests/hosts/).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from queuectl.spool.system import files, host
from queuectl.spool.system.identity import random_text

_Answer = TypeVar("_Answer")
_HEAD = 512  # bytes in which the first two lines are


def paths(path: str) -> list[str]:
    """The parts of the log of that path, in order; that path alone if it has no other, or is not there.

    RACE: another host begins a part meanwhile, or has just done so and here the path is still that of the part before,
    which has a number but one link by now: it is not all there is (tests/spool/system/test_log_parts.py, tests/hosts/).
    """
    try:
        log = files.open_regular(path)  # which asks the server what the name stands for now
    except OSError:
        return [path]
    try:
        found = [*_numbered(path)]
        if any(files.is_open(log, part) for part in reversed(found)):
            return found
    finally:
        os.close(log)
    return [*found, path]


def _numbered(path: str) -> Iterator[str]:
    number = 1
    while not files.is_gone(f"{path}.{number}"):
        yield f"{path}.{number}"
        number += 1


def owner(log: int) -> str | None:
    """The host whose part an open log is; None if nobody's yet."""
    head = os.pread(log, _HEAD, 0)
    found = re.match(rb"#queuectl submit [^\n]*?\bhost=(\S+)", head)
    if found is None:
        found = re.match(rb"(?:#queuectl submit [^\n]*\n)?#queuectl start [^\n]*?\bworker=(\S+)\.\d+\.\w+", head)
    return found[1].decode("utf-8", "replace") if found else None


def own(log: int) -> int:
    """A descriptor for what this host has to write: that log if it is its part, else a new one, to be closed."""
    path, here = _at(log)
    return log if here is None or owner(log) == here.name else _begin(path, here)


def for_attempt(log: int) -> int:
    """A descriptor for an attempt of this host: that log if it is its part or nobody's, else a new one."""
    path, here = _at(log)
    return log if here is None or owner(log) in (here.name, None) else _begin(path, here)


def _at(log: int) -> tuple[str, host.Host | None]:
    """The path of an open log in a shared spool, and this host."""
    path = os.readlink(f"/proc/self/fd/{log}")
    root = files.shared_root(path)
    match = re.fullmatch(r"(.*/logs/[^/]+\.log)(\.\d+)?( \(deleted\))?", path)
    return (match[1], host.at(root)) if root and match else (path, None)


def _begin(path: str, here: host.Host) -> int:
    """Put a new part in the place of the last one; a descriptor of it.

    RACE: another host does so at the same moment: both have numbers (tests/spool/system/test_log_parts.py).
    """
    number = _give_number(path, path, 1)
    submitted = _submitter(path)
    temporary = f"{os.path.dirname(os.path.dirname(path))}/tmp/log-{random_text(12)}"
    new = os.open(temporary, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(new, f"#queuectl submit {submitted}host={here.name}\n".encode())
        _give_number(temporary, path, number + 1)
        files.move(temporary, path)
    except BaseException:
        os.close(new)
        files.remove(temporary)
        raise
    return new


def _give_number(source: str, path: str, number: int) -> int:
    """The number of that part, which is the next one if it has none."""
    while True:
        try:
            files.link(source, f"{path}.{number}")
        except FileExistsError:
            if files.is_same(source, f"{path}.{number}"):
                return number
            number += 1
        else:
            return number


def _submitter(path: str) -> str:
    """What the first line says of who has submitted the job."""
    log = files.open_regular(path)
    try:
        found = re.match(rb"#queuectl submit (by=\S+)", os.pread(log, _HEAD, 0))
    finally:
        os.close(log)
    return f"{found[1].decode()} " if found else ""


def first(log: int, look: Callable[[int], _Answer]) -> _Answer:
    """What `look` finds in a part of an open log, the last part first."""
    path, here = _at(log)
    answer = look(log)
    for part in reversed(paths(path)) if here is not None and not answer else ():
        with suppress(OSError):
            other = files.open_regular(part)
            try:
                answer = look(other)
            finally:
                os.close(other)
        if answer:
            break
    return answer


class Parts(io.RawIOBase):
    """All parts of a log as one file for reading. At its end it looks whether another part has begun."""

    def __init__(self, path: str) -> None:
        """Raises OSError if there is no log, or it is not a regular file."""
        self._path = path
        self._logs: list[int] = []
        self._ends: list[int] = []  # of all parts but the last: where the next one begins
        self._at = 0
        self._open_more()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            for log in self._logs:
                os.close(log)
        super().close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size()}[whence]
        self._at = max(0, base + offset)
        return self._at

    def size(self) -> int:
        """Bytes of all parts."""
        return (self._ends[-1] if self._ends else 0) + os.fstat(self._logs[-1]).st_size

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        if not data and self._open_more():
            data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, number: int) -> bytes:
        part = sum(end <= self._at for end in self._ends)
        begin = self._ends[part - 1] if part else 0
        most = self._ends[part] - self._at if part < len(self._ends) else number
        return os.pread(self._logs[part], min(number, most), self._at - begin)

    def _open_more(self) -> bool:
        """Open the parts that have begun since; whether there are any. What is added to earlier ones is not seen."""
        if self._logs and files.is_open(self._logs[-1], self._path):
            return False
        known = {os.fstat(log).st_ino for log in self._logs}
        new = [files.open_regular(part) for part in paths(self._path)]
        for log in new:
            if os.fstat(log).st_ino in known:
                os.close(log)
                continue
            if self._logs:
                self._ends.append((self._ends[-1] if self._ends else 0) + os.fstat(self._logs[-1]).st_size)
            self._logs.append(log)
        return len(self._logs) > len(known)

    def owner(self) -> str:
        """The host whose part was read last."""
        part = min(sum(end < self._at for end in self._ends), len(self._logs) - 1)
        return owner(self._logs[part]) or "?"

    def later(self) -> list[int]:
        """Descriptors of the parts after the one that was read last."""
        return self._logs[sum(end < self._at for end in self._ends) + 1 :]


class Whole(io.BufferedReader):
    """`Parts`, buffered."""

    raw: Parts


def open_whole(path: str) -> Whole:
    """All parts as one file. Raises OSError."""
    return Whole(Parts(path))


def copy_whole(path: str) -> int:
    """A descriptor of a file with all parts, or of the log itself if it has only one. Raises OSError."""
    if len(paths(path)) == 1:
        return files.open_regular(path)
    import shutil
    import tempfile

    with open_whole(path) as whole, tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(whole, copy, 1 << 20)
        copy.flush()
        return os.dup(copy.fileno())


def remove(path: str) -> None:
    """Remove a log with all its parts; the last one, which reserves the id, at the end."""
    for part in reversed([*_numbered(path)]):  # so that what a crash leaves is found again
        files.remove(part)
    files.remove(path)
