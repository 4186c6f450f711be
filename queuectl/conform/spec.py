"""The specification as the kit needs it: a spool in a directory of its own, names, locks, and lines of logs."""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

STATES = ("pending", "running", "done", "dead")
HELD = "99991231T235959.999Z"
WAITING, ASKING = "99990101T000000.000Z", "99990102T000000.000Z"
LOOK = 0.002
"""Seconds between two looks at what is waited for."""

_TIME, _ID = r"\d{8}T\d{6}\.\d{3}Z", r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_WORKER = r"[a-z0-9_.]{1,20}\.\d+\.[a-z0-9]{4}"
_RESULT = r"exit\d+|signal\d+|timeout|lost|cancelled|invalid|skipped"
_ENDED = re.compile(
    rf"(?P<at>{_TIME})-(?P<priority>\d{{3}})-(?P<attempts>\d+)-(?P<result>{_RESULT})-(?P<took>\d+\.\d{{3}})s-(?P<id>{_ID})\.json"
)
_FORMS = {
    "pending": re.compile(rf"(?P<priority>\d{{3}})-(?P<at>{_TIME})-(?P<attempts>\d+)-(?P<id>{_ID})\.json"),
    "running": re.compile(
        rf"(?P<at>{_TIME})-(?P<priority>\d{{3}})-(?P<attempts>\d+)-(?P<worker>{_WORKER})-(?P<id>{_ID})\.json"
    ),
    "done": _ENDED,
    "dead": _ENDED,
}
_FLOCK = struct.Struct("@hhqqi4x")
_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


def is_id(text: str) -> bool:
    return re.fullmatch(_ID, text) is not None


def is_worker(text: str) -> bool:
    return re.fullmatch(_WORKER, text) is not None


def stamp(later: float = 0.0) -> str:
    """This moment as names have it, or one some seconds later."""
    at = datetime.now(UTC) + timedelta(seconds=later)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z"


def parse_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)


def byte_of(started_at: str) -> int:
    """The byte of a log that an attempt of that time has locked."""
    return (parse_time(started_at) - _EPOCH) // _MILLISECOND + 1


def await_that(condition: Callable[[], object], patience: float) -> bool:
    """Whether it came true before the patience was over."""
    until = time.monotonic() + patience
    while not condition():
        if time.monotonic() > until:
            return bool(condition())
        time.sleep(LOOK)
    return True


@dataclass(frozen=True)
class Entry:
    """A file of one of the four directories; `fields` are those of its name."""

    state: str
    name: str
    fields: dict[str, str]

    @property
    def id(self) -> str:
        return self.fields["id"]

    @property
    def result(self) -> str:
        return self.fields.get("result", "")

    @property
    def attempts(self) -> int:
        return int(self.fields["attempts"])


class Spool:
    """A new spool; the settings are those of its config.toml."""

    def __init__(self, root: Path, **settings: object) -> None:
        self.root = root
        for name in (*STATES, "tmp", "logs", "workers", "progress"):
            (root / name).mkdir(parents=True, mode=0o700)
        root.chmod(0o700)
        (root / "config.toml").write_text(
            "".join(f"{key.replace('_', '-')} = {value}\n" for key, value in settings.items())
        )

    def put(self, id: str, command: object, *, at: str = "", priority: int = 10, **fields: object) -> Path:
        """Queue a job under a canonical name."""
        path = self.root / "pending" / f"{priority:03}-{at or stamp()}-0-{id}.json"
        temporary = self.root / "tmp" / id
        temporary.write_text(json.dumps({"command": command, "id": id, **fields}))
        (self.root / "logs" / f"{id}.log").touch(0o600)
        temporary.rename(path)
        return path

    def drop(self, name: str, data: bytes) -> Path:
        """Put a file into pending/, in one piece."""
        temporary = self.root / "tmp" / f"drop-{name}"
        temporary.write_bytes(data)
        path = self.root / "pending" / name
        temporary.rename(path)
        return path

    def entries(self, *states: str) -> list[Entry]:
        """The jobs in these directories, or in all."""
        found = []
        for state in states or STATES:
            for name in sorted(os.listdir(self.root / state)):
                match = _FORMS[state].fullmatch(name)
                if match:
                    found.append(Entry(state, name, match.groupdict()))
        return found

    def foreign(self) -> list[str]:
        """What in these directories has a name that is not in their form."""
        return [
            f"{state}/{name}"
            for state in STATES
            for name in sorted(os.listdir(self.root / state))
            if not _FORMS[state].fullmatch(name)
        ]

    def find(self, id: str, *states: str) -> Entry | None:
        """A job's file; looked for twice, as one that moves can be missed."""
        for _ in range(2):
            for entry in self.entries(*states):
                if entry.id == id:
                    return entry
        return None

    def path(self, entry: Entry) -> Path:
        return self.root / entry.state / entry.name

    def log(self, id: str) -> bytes:
        with suppress(FileNotFoundError):
            return (self.root / "logs" / f"{id}.log").read_bytes()
        return b""

    def lines(self, id: str, event: str) -> list[dict[str, str]]:
        """The fields of the lines of that event in a job's log."""
        found = re.findall(rb"^#queuectl " + event.encode() + rb" ([^\n]*)\n", self.log(id), re.MULTILINE)
        return [dict(re.findall(r"(\w+)=(\S+)", line.decode("utf-8", "replace"))) for line in found]

    def is_locked(self, id: str, started_at: str) -> bool:
        """Whether that attempt's byte is locked."""
        fd = os.open(self.root / "logs" / f"{id}.log", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte_of(started_at), 1, 0)
            return bool(_FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)
        finally:
            os.close(fd)


def lock_attempt(fd: int, started_at: str) -> None:
    """Lock an attempt's byte in an open log, for this descriptor and all that inherit it."""
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte_of(started_at), 1, 0))


def is_flocked(path: Path) -> bool:
    """Whether somebody has an exclusive flock on a file; False if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def about(worker: str, **more: Any) -> str:
    """What a worker's file says of it, as the kit writes one."""
    return json.dumps(
        {"worker": worker, "host": os.uname().nodename, "pid": 1, "boot_id": boot_id(), "format": 2, **more}
    )
