"""This host, for a spool that several hosts share: who is on it, and where the locks are that prove who of them lives.

A host is those who share a directory in its memory, `/dev/shm/queuectl-UID/SPOOL/`, which has a random key in it. So a
host that was rebooted is another one, and so are two of one name, two containers, or two clones of one machine. If the
directory is removed under its workers, those that come later are another host, which is safe. Names are for people.

In that directory are the locks of workers, attempts, ids and seats: a lock in the spool itself would prove nothing,
since a restart of the file server frees it while its holder lives. The key is noted on the host's own disk too: who
finds there the key of an earlier boot knows that nothing of that host runs (`earlier`).

    /dev/shm/queuectl-1000/3vq5c6j2xk7a/host              web1.k7f3q2
                                        workers/WORKER    locked by that worker, as long as it lives
                                        locks/ID          the locks of that job, as those of its log elsewhere
                                        held/GROUP/       the seats of that group
                                        seen              when beats of others were first seen (system/beats.py)
    /var/tmp/queuectl-1000/3vq5c6j2xk7a-web1.k7f3q2       the boot in which that host was
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from queuectl.core.names import parse_worker
from queuectl.errors import SpoolError
from queuectl.spool.system import files
from queuectl.spool.system.identity import boot_id, random_text
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

MEMORY, DISK = "/dev/shm", "/var/tmp"
NAME = r"[a-z0-9_.]{1,13}\.[a-z2-7]{6}"
"""What a host is called: its name, cut to 13 characters, and its key."""


class Host(NamedTuple):
    """A host, as `web1.k7f3q2`, and its directory in memory."""

    name: str
    directory: str
    spool_id: str

    def life(self, worker: str) -> str:
        """The file that a worker of this host locks as long as it lives."""
        return f"{self.directory}/workers/{worker}"

    def lock(self, id: str) -> str:
        """The file with the locks of a job."""
        return f"{self.directory}/locks/{id}"

    def held(self, group: str) -> str:
        """The directory with the locks of a group's seats."""
        return f"{self.directory}/held/{group}"

    def is_home_of(self, worker: str) -> bool:
        """Whether that worker is, or was, of this host."""
        return parse_worker(worker)[0] == self.name


_known: dict[str, Host] = {}


def of(layout: Layout) -> Host | None:
    """This host, in a shared spool; None in any other, where locks are in the spool itself."""
    return here(layout) if layout.shared else None


def here(layout: Layout) -> Host:
    """This host, for a spool that is shared; becomes one if it is not yet. Raises SpoolError if that is impossible."""
    return at(layout.root)


def at(root: str) -> Host:
    """`here`, for the shared spool of that path."""
    found = _known.get(root)
    if found is None:
        found = _known[root] = _find(Layout(root))
    return found


def renewed(layout: Layout) -> Host:
    """Become another host: this one is gone, and all that ran on it has been ended.

    CRASH: between the two renames there is no directory, and whoever looks makes one, with a key of its own.
    """
    old = here(layout)
    with suppress(FileNotFoundError):
        if _read(f"{old.directory}/host") == old.name:  # else another has been here first
            files.move(old.directory, f"{old.directory}.{old.name}")
    _known.clear()
    return here(layout)


@contextmanager
def turn(own: Host) -> Iterator[None]:
    """Exclude other workers of this host that begin or end."""
    fd = os.open(f"{own.directory}/turn", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def has_key(worker: str) -> bool:
    """Whether a worker's name says its host's key: those of older versions do not."""
    return re.fullmatch(NAME, parse_worker(worker)[0]) is not None


def _find(layout: Layout) -> Host:
    try:
        owner = os.stat(layout.root).st_uid
        spool_id = _spool_id(layout)
        directory = f"{_own_directory(MEMORY, owner)}/{spool_id}"
        for part in ("", "/workers", "/locks", "/held"):
            _make(f"{directory}{part}", owner)
        name = _key(directory, owner)
    except OSError as error:
        why = f"{error.filename or MEMORY}: {error.strerror}"
        raise SpoolError(f"{layout.root} is shared, and this host has no memory for locks", why) from error
    host = Host(name, directory, spool_id)
    with suppress(OSError):
        _note(host, owner)
    return host


def _spool_id(layout: Layout) -> str:
    """A name for the spool, the same wherever it is mounted."""
    path = f"{layout.hosts}/id"
    with suppress(FileNotFoundError):
        return _read(path)
    text = random_text(12)
    _publish(f"{layout.tmp}/id.{text}", path, text, os.stat(layout.root).st_uid)
    return _read(path)


def _key(directory: str, owner: int) -> str:
    path = f"{directory}/host"
    with suppress(FileNotFoundError):
        return _read(path)
    name = re.sub(r"[^a-z0-9_.]", "_", os.uname().nodename.lower())[:13] or "localhost"
    text = f"{name}.{random_text(6)}"
    _publish(f"{directory}/host.{text}", path, text, owner)
    return _read(path)


def _publish(temporary: str, path: str, text: str, owner: int) -> None:
    """Make a file that is never replaced; two that do so at once have the first one's."""
    files.write_new(temporary, f"{text}\n".encode())
    _give(temporary, owner)
    with suppress(FileExistsError):
        files.publish(temporary, path)
    files.remove(temporary)


def _read(path: str) -> str:
    text = files.read(path).data.decode("ascii", "replace").strip()
    if not re.fullmatch(r"[a-z0-9_.]{1,20}", text):
        raise OSError(0, "is damaged; remove it", path)
    return text


def _own_directory(parent: str, owner: int) -> str:
    """A directory there that only the spool's owner can have made; raises OSError if it is not."""
    path = f"{parent}/queuectl-{owner}"
    _make(path, owner)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (owner, 0) or status.st_mode & 0o077:
        raise OSError(0, f"must be a directory of the user {owner} alone", path)
    return path


def _make(path: str, owner: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
        _give(path, owner)


def _give(path: str, owner: int) -> None:
    """Let the spool's owner have what root has made."""
    if os.geteuid() == 0 and owner != 0:
        os.chown(path, owner, -1, follow_symlinks=False)


# --- on disk


class Note(NamedTuple):
    """A host that was this machine in an earlier boot, and the file that says so."""

    host: str
    path: str


def _note(host: Host, owner: int) -> None:
    path = f"{_own_directory(DISK, owner)}/{host.spool_id}-{host.name}"
    if not os.path.lexists(path):
        files.write_new(path, json.dumps(_machine()).encode() + b"\n")
        _give(path, owner)


def earlier(layout: Layout) -> list[Note]:
    """The hosts that were this machine in an earlier boot: nothing of them runs.

    Who has a copy of this machine's disk has the notes too: so a note counts only where name and network cards are
    those of the machine that wrote it.
    """
    own, found = here(layout), []
    machine = _machine()
    with suppress(OSError):
        directory = _own_directory(DISK, os.stat(layout.root).st_uid)
        for entry in os.listdir(directory):
            spool_id, _, name = entry.partition("-")
            if spool_id == own.spool_id and name != own.name and _is_earlier(f"{directory}/{entry}", machine):
                found.append(Note(name, f"{directory}/{entry}"))
    return found


def _is_earlier(path: str, machine: dict[str, object]) -> bool:
    try:
        note = json.loads(files.read(path).data)
        boot = note.pop("boot_id")
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False
    return bool(boot) and boot != machine["boot_id"] and {**note, "boot_id": machine["boot_id"]} == machine


def _machine() -> dict[str, object]:
    """This boot of this machine."""
    return {"boot_id": boot_id(), "name": os.uname().nodename, "cards": _cards()}


def _cards() -> list[str]:
    """The addresses of the network cards, without those that are made for containers."""
    found = set()
    with suppress(OSError):
        for entry in os.listdir("/sys/class/net"):
            if os.path.exists(f"/sys/class/net/{entry}/device"):
                with suppress(OSError), open(f"/sys/class/net/{entry}/address", encoding="ascii") as file:
                    found.add(file.read().strip())
    return sorted(found)
