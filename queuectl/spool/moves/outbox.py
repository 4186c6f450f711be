"""The outbox: one file for each job of another user, in a directory that his group may read.

Its name says what has become of the job, its text which file of inbox/ that was, and why it was refused. It is a
mirror: no job depends on it. An entry is made before the file is taken, by who finishes a taken file if it is gone, and
from then on whoever looks renames it to what is so. So a crash leaves an entry that says what was so, until the next
look of any worker. It is removed when the job's log has been gone for a day: a log does not move, so it is certain
then that there is no job. One process at a time makes entries true (tests/model/outbox.py).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress

from queuectl.core.names import FinishedName, Name, RunningName
from queuectl.core.outbox import GONE, LEFT, TAKEN, Entry
from queuectl.core.result import INVALID, State
from queuectl.core.text import printable
from queuectl.spool.reading import query
from queuectl.spool.system import files, logs
from queuectl.spool.system.layout import STATES, Layout

MODE = 0o2750
"""Mode of outbox/: its group may list and read it, and has what is made there."""
KEPT = 86400.0
"""Seconds for which an entry is kept after its job is gone."""

_MOST = 65536  # bytes of an entry that are read


def has(layout: Layout) -> bool:
    """Whether there is an outbox: drop boxes of older versions have none."""
    return os.access(layout.outbox, os.W_OK | os.X_OK)


def begin(layout: Layout, id: str, file: str) -> None:
    """Make the entry of a file of inbox/ that is about to be taken."""
    _make(layout, id, f"file: {json.dumps(file)}\n")


def ensure(layout: Layout, id: str) -> None:
    """Make the entry of a taken file again, which may have been removed after a crash; before its job is published."""
    _make(layout, id, "")


def _make(layout: Layout, id: str, text: str) -> None:
    with suppress(FileExistsError, FileNotFoundError):  # there is none without an outbox
        _write(f"{layout.outbox}/{Entry(id, TAKEN)}", text, os.O_EXCL)


def withdraw(layout: Layout, id: str) -> None:
    """Remove the entry of a file that was not taken."""
    with suppress(OSError):
        files.remove(f"{layout.outbox}/{Entry(id, TAKEN)}")


def leave(layout: Layout, user: str, file: str, reason: str) -> None:
    """Say why a file stays in inbox/; a user's file of one name has one entry."""
    from hashlib import sha256  # rarely needed

    random = sha256(os.fsencode(file)).hexdigest()[:12]
    with suppress(FileNotFoundError):
        path = f"{layout.outbox}/{Entry(f'{user}.{random}', LEFT)}"
        _write(path, f"file: {json.dumps(file)}\nreason: {printable(reason)}\n", os.O_TRUNC)


def sync(layout: Layout) -> None:
    """Let the entries survive a power cut, as the jobs do whose taken files are about to be removed."""
    if has(layout):
        files.sync_directory(layout.outbox)


def _write(path: str, text: str, flag: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flag, 0o640)
    try:
        os.fchmod(fd, 0o640)  # whatever the umask
        os.write(fd, text.encode())
    finally:
        os.close(fd)


# --- making entries true


class Looked:
    """What the last look has found: the name of each entry, and the jobs that it did not find but whose logs are there.

    A job that moves backwards can be missed by a listing, so one is only believed to be gone when two have missed it.
    """

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.missed: set[str] = set()


def look(layout: Layout, looked: Looked, now: float) -> bool:
    """Compare all entries with what is so; False if another process is at it. `now` is in seconds since 1970."""
    with _lock(layout) as is_ours:
        if not is_ours:
            return False
        names = defaultdict[str, list[str]](list)
        for text in sorted(os.listdir(layout.outbox)):
            if (entry := Entry.parse(text)) is not None and entry.said != LEFT:
                names[entry.id].append(text)
            elif entry is not None and _is_resolved(layout, text):
                files.remove(f"{layout.outbox}/{text}")
        taken = set(os.listdir(layout.taken)) if names else set()  # before the jobs that these become
        found = _find(layout, names) if names else {}
        before, looked.names, looked.missed = looked.missed, {}, set()
        for id, texts in names.items():
            name = _merge(layout, texts)
            if id in found:
                name = _say(layout, name, *found[id])
            elif id in taken:
                name = _rename(layout, name, Entry(id, TAKEN))
            elif not files.is_gone(layout.log(id)) and id not in before:
                looked.missed.add(id)
            else:
                looked.missed.add(id)
                name = _say_gone(layout, name, id, now)
            if name:
                looked.names[id] = name
        return True


def _find(layout: Layout, ids: Mapping[str, object]) -> dict[str, tuple[State, Name]]:
    """Where the jobs are, as jobs move forward: one that is seen twice is where it was seen last."""
    found: dict[str, tuple[State, Name]] = {}
    for state in STATES:
        for texts in query.iterate_names(layout, state):
            for text in texts:
                if query.id_in(state, text) in ids and (name := query.parse_name(state, text)) is not None:
                    found[name.id] = state, name
    return found


def note(layout: Layout, looked: Looked, moved: Iterable[tuple[State, Name]]) -> bool:
    """Say of jobs whose entries are known where they have just gone; False if another process is looking."""
    with _lock(layout) as is_ours:
        if is_ours:
            for state, name in moved:
                if text := looked.names.get(name.id):
                    looked.names[name.id] = _say(layout, text, state, name)
        return is_ours


@contextmanager
def _lock(layout: Layout) -> Iterator[bool]:
    """Whether this process alone makes entries true. The lock is that of taken/, which nobody else can open."""
    fd = os.open(layout.taken, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def _merge(layout: Layout, texts: list[str]) -> str:
    """One entry of those of a job: of the last name, which `taken` is, with the text of the others, which says more."""
    for text in texts[:-1]:
        files.move(f"{layout.outbox}/{text}", f"{layout.outbox}/{texts[-1]}")
    return texts[-1]


def _say(layout: Layout, text: str, state: State, name: Name) -> str:
    """Let an entry say where its job is; its time is when the attempt started, or the job ended."""
    entry = Entry.of(state, name)
    if text == str(entry):
        return text
    path = f"{layout.outbox}/{text}"
    with suppress(OSError):
        if isinstance(name, FinishedName) and name.result == INVALID:
            _add_reason(layout, path, name.id)
        if isinstance(name, FinishedName | RunningName):
            at = (name.finished_at if isinstance(name, FinishedName) else name.started_at).timestamp()
            os.utime(path, (at, at), follow_symlinks=False)
    return _rename(layout, text, entry)


def _add_reason(layout: Layout, path: str, id: str) -> None:
    """Append why a file was refused; a crash before the rename that follows leaves it there, to be said again."""
    log = logs.open_existing(layout.log(id))
    try:
        event, fields = logs.last_line(log)
    finally:
        os.close(log)
    if event == "refused" and "reason" in fields:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(fd, f"reason: {printable(fields['reason'])}\n".encode())
        finally:
            os.close(fd)


def _say_gone(layout: Layout, text: str, id: str, now: float) -> str:
    """What is left of an entry whose job is not in the spool any more: how the job ended, if that was seen."""
    entry = Entry.parse(text)
    if entry is None or not (entry.has_ended or entry.said == GONE):
        return _rename(layout, text, Entry(id, GONE))
    path = f"{layout.outbox}/{text}"
    if files.is_gone(layout.log(id)) and now - os.lstat(path).st_ctime > KEPT:
        files.remove(path)
        return ""
    return text


def _rename(layout: Layout, text: str, entry: Entry) -> str:
    if text != str(entry) and not files.move(f"{layout.outbox}/{text}", f"{layout.outbox}/{entry}"):
        return ""
    return str(entry)


def _is_resolved(layout: Layout, text: str) -> bool:
    """Whether a file that was left in inbox/ is not there any more."""
    try:
        first = files.read(f"{layout.outbox}/{text}").data[:_MOST].split(b"\n")[0]
        return not os.path.lexists(f"{layout.inbox}/{json.loads(first.removeprefix(b'file: '))}")
    except (OSError, ValueError):
        return True
