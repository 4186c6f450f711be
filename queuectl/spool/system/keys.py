"""Which job has a key: `unique/HASH/N` holds the id of the N-th job to have it.

A number is made by link(2), complete and durable, so only one process makes it; it never changes, and lower ones are
removed once their jobs are over. `at` in the same directory says where a job of the key was last seen: a hint, which
saves listing the spool, and may be wrong or missing.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple

from queuectl.core.fields import Body
from queuectl.core.names import is_valid_id
from queuectl.core.result import State
from queuectl.spool.system import files
from queuectl.spool.system.layout import STATES, Layout

_HINT = "at"
_DIGITS = 32
_LONGEST = 512  # bytes of a number's file, or of a hint


class Number(NamedTuple):
    """A number of a key, and the id of the job that has it."""

    number: int
    id: str


def folder_of(layout: Layout, job: Body) -> str:
    """The directory of a job's key. What another user has handed in counts among that user's keys alone."""
    from hashlib import sha256  # only jobs with a key need it

    text = job.unique if job.submitted_by is None else f"{job.submitted_by}\0{job.unique}"
    return f"{layout.unique}/{sha256((text or '').encode()).hexdigest()[:_DIGITS]}"


def list_numbers(folder: str) -> list[Number]:
    """The numbers of a key, the highest first; a file without an id is left out."""
    while True:
        try:
            names = [name for name in os.listdir(folder) if name.isascii() and name.isdigit()]
            found = [Number(int(name), _read(f"{folder}/{name}").strip()) for name in names]
        except FileNotFoundError:
            if not os.path.isdir(folder):
                return []
            continue  # RACE: one was removed as the job of a higher one got the key: look again (tests/model/unique.py)
        return sorted((number for number in found if is_valid_id(number.id)), reverse=True)


def _read(path: str) -> str:
    fd = files.open_file(path)
    try:
        return os.read(fd, _LONGEST).decode("utf-8", "replace")
    finally:
        os.close(fd)


def link(layout: Layout, folder: str, number: int, id: str, temporary: str) -> bool:
    """Make a number, durably; False if it was taken. `temporary` is the path of a new file in tmp/."""
    make(layout, folder)
    files.write_new(temporary, f"{id}\n".encode())
    path = f"{folder}/{number}"
    try:
        files.publish(temporary, path)
    except FileNotFoundError:
        return False  # the directory was removed, as nobody had needed it for long
    except FileExistsError:
        with suppress(FileNotFoundError):
            return _read(path).strip() == id  # a reply that was lost
        return False
    finally:
        files.remove(temporary)
    files.sync_directory(folder)
    return True


def make(layout: Layout, *folders: str) -> None:
    """Make `unique/`, without which nobody looks for jobs that ask, and the directories of keys."""
    for path in (layout.unique, *folders):
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            continue
        files.sync_directory(os.path.dirname(path))


def remove(folder: str, number: Number) -> None:
    """Remove a number of that job."""
    path = f"{folder}/{number.number}"
    with suppress(FileNotFoundError):
        if _read(path).strip() == number.id:
            files.remove(path)


def read_hint(folder: str) -> tuple[State, str] | None:
    """Where a job of the key was last seen: a state and a name."""
    try:
        state, _, name = _read(f"{folder}/{_HINT}").strip().partition("/")
    except OSError:
        return None
    return (State(state), name) if state in STATES and name and "/" not in name else None


def write_hint(layout: Layout, folder: str, state: State, name: object, temporary: str) -> None:
    """Note where a job of the key is now; whatever keeps that from being noted costs others a look."""
    with suppress(OSError):
        files.write_new(temporary, f"{state}/{name}\n".encode(), sync=False)
        try:
            files.move(temporary, f"{folder}/{_HINT}")
        except OSError:
            files.remove(temporary)


def is_folder(name: str) -> bool:
    """Whether the directory of a key could have that name."""
    return len(name) == _DIGITS and not name.strip("0123456789abcdef")


def find_foreign(folder: str) -> list[str]:
    """The names in the directory of a key that are neither numbers of jobs nor the hint."""
    known = {str(number.number) for number in list_numbers(folder)} | {_HINT}
    return sorted(set(os.listdir(folder)).difference(known))


def clear(folder: str) -> bool:
    """Remove the directory of a key that no job has, and that none has asked for in a long time."""
    with suppress(FileNotFoundError):
        for name in os.listdir(folder):
            files.remove(f"{folder}/{name}")
        with suppress(OSError):
            os.rmdir(folder)
            return True
    return False
