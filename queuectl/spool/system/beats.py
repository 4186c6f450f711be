"""Which hosts of a shared spool live: each has one mark in `hosts/`, whose name says it, and nothing is in it.

    hosts/web1.k7f3q2-17-web1.k7f3q2.4242.abcd   the beat: every 10 s a worker of the host renames it to the next number
    hosts/web1.k7f3q2-17-left                    its last worker has ended, and left nothing running
    hosts/web1.k7f3q2-gone-web2.3vq5c6.77.efgh   somebody has said that it is gone, for good

To renew a beat and to say `gone` is to rename one file, so one of the two fails, and no content, no clock of another
host and no bound on delays is trusted (tests/model/hosts.py). Who looks measures with its own monotonic clock, from
when it first saw that very name; `seen` in the host's memory keeps that from one process to the next.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress

from queuectl.spool.system import files
from queuectl.spool.system.host import NAME, Host, here
from queuectl.spool.system.identity import random_text
from queuectl.spool.system.layout import Layout
from queuectl.tuples import NamedTuple

BEAT = 10.0
"""Seconds from one renewal to the next."""
LOST = 60.0
"""Seconds without a renewal after which a host has lost contact."""
_LEFT, _GONE = "left", "gone"
_MARK = rf"(?a)({NAME})-(0|[1-9]\d{{0,17}}|gone)-([a-z0-9_.]+)"
_LOOKS = 3  # at a mark that is being renamed, and may be missed by a listing


class Mark(NamedTuple):
    """What a name in `hosts/` says: the host, the number of its beat (None: it is gone), and who renamed it last."""

    host: str
    number: int | None
    by: str

    @property
    def is_gone(self) -> bool:
        return self.number is None

    @property
    def has_left(self) -> bool:
        return self.by == _LEFT

    def __str__(self) -> str:
        return f"{self.host}-{_GONE if self.number is None else self.number}-{self.by}"

    @classmethod
    def parse(cls, text: str) -> Mark | None:
        match = re.fullmatch(_MARK, text)
        return cls(match[1], None if match[2] == _GONE else int(match[2]), match[3]) if match else None


def look(layout: Layout) -> dict[str, Mark]:
    """The mark of each host, by one listing: one that is renamed meanwhile may be missed."""
    found: dict[str, Mark] = {}
    for text in os.listdir(layout.hosts):
        mark = Mark.parse(text)
        if mark is None:
            continue
        other = found.get(mark.host)
        if other is None or mark.is_gone or (other.number is not None and (mark.number or 0) > other.number):
            found[mark.host] = mark
    return found


def find(layout: Layout, host: str) -> Mark | None:
    """The mark of one host; None if it has none."""
    for _ in range(_LOOKS):
        mark = look(layout).get(host)
        if mark is not None:
            return mark
    return None


def is_gone(layout: Layout, host: str) -> bool:
    """Whether that host has been said to be gone. Raises OSError if nobody can say."""
    mark = look(layout).get(host)
    return mark is not None and mark.is_gone


def join(layout: Layout, worker: str) -> Mark:
    """The beat of this host from now on, or the mark that it is gone: for a worker that is about to work."""
    own = here(layout)
    while True:
        mark = find(layout, own.name)
        if mark is None:
            first = Mark(own.name, 0, worker)
            with suppress(FileExistsError):
                files.write_new(f"{layout.hosts}/{first}", b"", sync=False)
            continue
        if mark.is_gone or not mark.has_left:
            return mark
        renewed = renew(layout, mark, worker)
        if renewed is not None:
            return renewed


def renew(layout: Layout, mark: Mark, worker: str) -> Mark | None:
    """Rename a beat that was seen to the next number; None if it has been renamed by others."""
    assert mark.number is not None
    following = Mark(mark.host, mark.number + 1, worker)
    return following if _rename(layout, mark, following) else None


def leave(layout: Layout, mark: Mark) -> bool:
    """Say that nothing of this host works any more; False if its beat has been renamed by others."""
    return _rename(layout, mark, mark._replace(by=_LEFT))


def clear(layout: Layout, before: float) -> int:
    """Remove the marks of hosts that left before that time, in seconds since 1970; how many there were.

    A host that works again makes one under a name that no beat had before, as its worker's is in it. One that says
    `gone` stays for good: a worker that was stopped all the time must find it when it continues, however late.
    RACE: the host renames it at the same moment, and one of both fails (tests/model/hosts.py).
    """
    removed = 0
    with os.scandir(layout.hosts) as entries:
        for entry in entries:
            mark = Mark.parse(entry.name)
            if mark is not None and mark.has_left:
                with suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_ctime < before:
                        removed += files.remove(entry.path)
    return removed


def say_gone(layout: Layout, mark: Mark, by: str) -> bool:
    """Say of the host whose very beat this is that it is gone; False if that has moved."""
    return _rename(layout, mark, Mark(mark.host, None, by))


def say_unknown_gone(layout: Layout, host: str, by: str) -> bool:
    """`say_gone` of a host without a mark, which somebody has removed; False if it has one."""
    with suppress(FileExistsError):
        if find(layout, host) is None:
            files.write_new(f"{layout.hosts}/{Mark(host, None, by)}", b"", sync=False)
            return True
    return False


def _rename(layout: Layout, mark: Mark, target: Mark) -> bool:
    return files.move(f"{layout.hosts}/{mark}", f"{layout.hosts}/{target}")


class Watch:
    """How long this host has seen each mark. Not thread-safe; what it has seen is kept for the next process."""

    def __init__(self, host: Host) -> None:
        self._path = f"{host.directory}/seen"
        self._since: dict[str, float] = {}
        with suppress(OSError, ValueError, AttributeError):
            now = time.monotonic()
            known = json.loads(files.read(self._path).data)
            self._since = {str(name): float(at) for name, at in known.items() if 0 <= float(at) <= now}

    def look(self, layout: Layout) -> dict[str, tuple[Mark, float]]:
        """The mark of each host, and for how many seconds it has not moved, at least."""
        marks, now = look(layout), time.monotonic()
        before = self._since
        self._since = {str(mark): before.get(str(mark), now) for mark in marks.values()}
        if self._since.keys() != before.keys():
            temporary = f"{self._path}.{random_text(8)}"
            with suppress(OSError):
                files.write_new(temporary, json.dumps(self._since).encode(), sync=False)
                files.move(temporary, self._path)
        return {host: (mark, now - self._since[str(mark)]) for host, mark in marks.items()}
