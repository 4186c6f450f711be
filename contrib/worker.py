#!/usr/bin/env python3
"""A worker for a spool of queuectl that imports nothing of queuectl: it follows spool/README.md.

    QUEUECTL_SPOOL=/path/to/spool SLOTS=4 contrib/worker.py

It follows format 2 of the specification, without the parts that are optional: no schedules, drop box, hooks and limits
of output. It looks at the spool every 50 ms, and needs Linux and Python 3.11. `queuectl conform worker` and a storm of
kill -9 beside queuectl's own workers test it. It is here to be read, and to be translated.
"""

# ruff: noqa: SIM115 - a file that is read at once may close itself

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import random
import re
import secrets
import shlex
import signal
import stat
import struct
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

TIME = r"\d{8}T\d{6}\.\d{3}Z"
ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
RESULT = r"exit\d+|signal\d+|timeout|lost|cancelled|invalid|skipped"
NAMES = {
    "pending": re.compile(rf"(?P<priority>\d{{3}})-(?P<at>{TIME})-(?P<attempts>\d+)-(?P<id>{ID})\.json"),
    "running": re.compile(
        rf"(?P<at>{TIME})-(?P<priority>\d{{3}})-(?P<attempts>\d+)-(?P<worker>[a-z0-9_.]+\.\d+\.[a-z0-9]{{4}})-(?P<id>{ID})\.json"
    ),
    "ended": re.compile(
        rf"(?P<at>{TIME})-(?P<priority>\d{{3}})-(?P<attempts>\d+)-(?P<result>{RESULT})-\d+\.\d{{3}}s-(?P<id>{ID})\.json"
    ),
}
WAITING, ASKING, HELD = "99990101T000000.000Z", "99990102T000000.000Z", "99991231T235959.999Z"
RULES, ENDS = ("after", "after_end", "after_failed"), ("done", "skipped", "failed", "over", "gone")
PREFIX = b"#queuectl "
FLOCK = struct.Struct("@hhqqi4x")
DEFAULTS: dict[str, Any] = {
    "max_retries": 3, "backoff_base": 2, "backoff_max": 3600, "backoff_jitter": 0.1, "retry_on": None,
    "no_retry_on": (),
    "permanent_codes": (), "temporary_codes": (), "timeout": None, "on_lost": "retry", "priority": 10,
    "grace": 5, "rescan": 10, "settle": 60, "min_free": 16 << 20,
}  # fmt: skip
RANGES = {
    "priority": (int, 0, 999), "max_retries": (int, 0, 999998), "timeout": (float, 0, 316224000),
    "backoff_base": (float, 0, 316224000), "backoff_max": (float, 0, 316224000), "backoff_jitter": (float, 0, 1),
    "slots": (int, 1, 10000),
}  # fmt: skip
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class Name(NamedTuple):
    """A claim: what a name in running/ says."""

    at: str
    priority: str
    attempt: int
    worker: str
    id: str

    def __str__(self) -> str:
        return f"{self.at}-{self.priority}-{self.attempt}-{self.worker}-{self.id}.json"

    @property
    def which(self) -> str:
        return f"attempt={self.attempt} started_at={self.at}"


class InvalidError(Exception):
    """Not a runnable job."""


class BusyError(Exception):
    """Not now: look again later."""


def now(later: float = 0) -> str:
    """This moment, or one some seconds later, rounded up to a millisecond."""
    at = datetime.now(UTC) + timedelta(seconds=later) + timedelta(microseconds=999 if later else 0)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z"


def milliseconds(at: str) -> int:
    parsed = datetime.strptime(at[:-1] + "000", "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    return (parsed - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def groups_of(id: str) -> list[str]:
    """The groups of a job, the longest name first."""
    return [id[: match.start()] for match in re.finditer(r"\.", id)][::-1]


def dependencies(body: dict[str, Any]) -> list[tuple[str, str]]:
    """What a job waits for, each with its rule; a group has a dot at its end."""
    found = []
    for rule in RULES:
        given = body.get(rule) or []
        found += [(name, rule) for name in ([given] if isinstance(given, str) else given)]
    return found


def flocked(path: str) -> bool:
    """Whether somebody has an exclusive flock on a file that is there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def lock(fd: int, byte: int) -> bool:
    """Lock one byte for this open file; False if another has it."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    except OSError:
        return False
    return True


def held(fd: int, first: int, length: int) -> tuple[int, int] | None:
    """The first lock of others on these bytes (length 0: all that follow), as first and last byte."""
    asked = FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, length, 0)
    kind, _, start, size, _ = FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return None if kind == fcntl.F_UNLCK else (start, start + size - 1 if size else (1 << 63) - 1)


def open_log(path: str, flags: int = os.O_CREAT) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)


def read(path: str, flags: int = 0) -> tuple[int, bytes, os.stat_result]:
    """An open descriptor of a regular file, its bytes and its status."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidError(f"it cannot be opened: {error.strerror}") from None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_size > 1 << 20:
        os.close(fd)
        raise InvalidError("it is not a regular file of at most 1 MiB")
    return fd, os.read(fd, (1 << 20) + 1), status


def same(one: os.stat_result, other: os.stat_result) -> bool:
    return all(getattr(one, key) == getattr(other, key) for key in ("st_dev", "st_ino", "st_size", "st_mtime_ns"))


def require_ranges(body: dict[str, Any]) -> None:
    """Raises InvalidError for a number that is out of its range, and for what is not an id among what it waits for."""
    for key, (kind, least, most) in RANGES.items():
        value = body.get(key, most)
        if not isinstance(value, int | kind) or isinstance(value, bool) or not least <= value <= most:
            raise InvalidError(f"{key} is wrong")
    if "timeout" in body and body["timeout"] == 0:
        raise InvalidError("timeout is wrong")
    if not all(isinstance(name, str) and re.fullmatch(ID, name) for name, _ in dependencies(body)):
        raise InvalidError("what it waits for is wrong")


def parse(data: bytes) -> dict[str, Any]:
    """The job in these bytes; BusyError if they do not parse, InvalidError if they never will be a job."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise InvalidError("a key is there twice")
        return dict(pairs)

    def constant(text: str) -> Any:
        raise InvalidError(f"{text} is not a number in JSON")

    try:
        body = json.loads(data.decode(), object_pairs_hook=once, parse_constant=constant)
    except (ValueError, RecursionError):
        raise BusyError from None
    if not isinstance(body, dict):
        raise InvalidError("it is not an object")
    body = {key: value for key, value in body.items() if value is not None}
    command = body.get("command")
    words = [command] if isinstance(command, str) else command if isinstance(command, list) else []
    if not words or not all(isinstance(word, str) for word in words) or not words[0].strip():
        raise InvalidError("it has no command")
    require_ranges(body)
    texts = [*words, body.get("cwd", "/"), *(body.get("env") or {}), *(body.get("env") or {}).values()]
    if not all(
        isinstance(text, str) and "\0" not in text and len(text.encode("utf-8", "replace")) <= 120000 for text in texts
    ):
        raise InvalidError("a text is too long, or has NUL")
    if not os.path.isabs(body.get("cwd", "/")) or not re.fullmatch(ID, str(body.get("id", "x"))):
        raise InvalidError("cwd or id is wrong")
    return body


class Run:
    """An attempt that is under way; `child` is None if it was adopted."""

    def __init__(self, name: Name, body: dict[str, Any], token: str, pid: int, log: int, began: float) -> None:
        self.name, self.body, self.token, self.pid, self.log, self.began = name, body, token, pid, log, began
        self.child: subprocess.Popen[bytes] | None = None
        self.seats: dict[str, dict[str, int]] = {}
        self.run_at = name.at
        self.reason, self.kill_at = "", 0.0


class Worker:
    """One worker: see `main`."""

    def __init__(self, root: str, slots: int) -> None:
        self.root, self.slots = os.path.realpath(root), slots
        self.boot = open("/proc/sys/kernel/random/boot_id").read().strip()
        self.host = re.sub(r"[^a-z0-9_.]", "_", os.uname().nodename.lower())[:20]
        self.runs: list[Run] = []
        self.seen: dict[str, tuple[Any, float]] = {}  # foreign files, and since when they are as they are
        self.stopping = 0
        self.register()

    def path(self, *parts: object) -> str:
        return "/".join((self.root, *map(str, parts)))

    # --- its own file

    def register(self) -> None:
        while True:
            self.name = f"{self.host}.{os.getpid()}.{secrets.token_hex(2)}"
            temporary = self.path("tmp", f"worker-{self.name}")
            self.file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            about = {"worker": self.name, "host": os.uname().nodename, "pid": os.getpid(), "boot_id": self.boot,
                     "slots": self.slots, "format": 2, "started_at": now(), "version": "contrib/worker.py"}  # fmt: skip
            os.write(self.file, json.dumps(about).encode() + b"\n")
            try:
                os.link(temporary, self.path("workers", f"{self.name}.json"))
                return
            except FileExistsError:
                os.close(self.file)
            finally:
                os.remove(temporary)

    def check_place(self) -> None:
        """Refuse a copy; leave a mark of where this spool is, if there is none."""
        with suppress(OSError, ValueError, KeyError):
            record = json.load(open(self.path("place")))
            status = os.lstat(self.path("place"))
            if (record["device"], record["inode"]) != (status.st_dev, status.st_ino) and record["path"] != self.root:
                sys.exit(f"{self.root} is a copy of {record['path']}")
            return
        fd = os.open(self.path("tmp", f"place-{self.name}"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        status = os.fstat(fd)
        record = {"path": self.root, "device": status.st_dev, "inode": status.st_ino, "boot_id": self.boot,
                  "written_at": round(time.time(), 3)}  # fmt: skip
        os.write(fd, json.dumps(record).encode())
        os.close(fd)
        os.rename(self.path("tmp", f"place-{self.name}"), self.path("place"))

    # --- the loop

    def main(self) -> None:
        self.check_place()
        signal.signal(signal.SIGTERM, lambda *_: self.stop(1))
        signal.signal(signal.SIGINT, lambda *_: self.stop(1))
        signal.signal(signal.SIGQUIT, lambda *_: self.stop(2))
        beat = 0.0
        while not self.stopping or self.runs:
            for run in list(self.runs):
                self.watch(run)
            if time.monotonic() >= beat and not self.stopping:
                self.load_settings()
                self.rescue()
                self.adopt_all()
                self.look_at_waiting()
                beat = time.monotonic() + min(1.0, self.settings["rescan"])
            if not self.stopping:
                self.claim_all()
            time.sleep(0.02 if self.runs else 0.05)
        os.remove(self.path("workers", f"{self.name}.json"))
        os.close(self.file)

    def stop(self, how: int) -> None:
        self.stopping = max(how, self.stopping + 1)

    def load_settings(self) -> None:
        try:
            with open(self.path("config.toml"), "rb") as file:
                given = tomllib.load(file)
        except (OSError, ValueError):
            given = {}
        given = {key.replace("-", "_"): value for key, value in given.items()}
        for key in DEFAULTS:
            with suppress(KeyError, ValueError):
                given[key] = json.loads(os.environ[f"QUEUECTL_{key.upper()}"])
        self.settings = {**DEFAULTS, **{key: value for key, value in given.items() if value not in ("none", "")}}

    def setting(self, body: dict[str, Any], key: str, id: str) -> Any:
        """Of a job: its own, that of its innermost group that has one, or that of the spool."""
        if key in body:
            return body[key]
        for group in groups_of(id):
            text = self.text("groups", group, key.replace("_", "-"))
            if text is not None and key in ("timeout", "backoff_base", "backoff_max"):
                parts = re.findall(r"(\d+\.?\d*)\s*([smhdw]?)", text)
                return sum(float(number) * UNITS[unit] for number, unit in parts)
            if text is not None and key.endswith("_on"):
                return [int(code) for code in re.findall(r"\d+", text)]
            if text is not None:
                return text if key == "on_lost" else float(text)
        return self.settings[key]

    def text(self, *parts: object) -> str | None:
        """What a file says; None if it is not there."""
        with suppress(FileNotFoundError, NotADirectoryError):
            return open(self.path(*parts), errors="replace").read().strip()
        return None

    def is_paused(self, *group: str) -> bool:
        try:
            text = open(self.path(*group, "paused"), errors="replace").read()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        until = re.search(r"^until:\s*(\S+)", text, re.MULTILINE)
        with suppress(ValueError, AttributeError, TypeError):
            return until is None or datetime.fromisoformat(until[1]).astimezone(UTC) > datetime.now(UTC)
        return True

    # --- groups

    def is_open(self, id: str) -> bool:
        """Whether its groups let a job start, as far as can be known before a claim."""
        for group in groups_of(id):
            limit = self.limit(group)
            if self.is_paused("groups", group) or (limit is not None and len(self.running(group)) >= limit):
                return False
        return True

    def limit(self, group: str) -> int | None:
        text = self.text("groups", group, "limit")
        return None if text is None else int(text) if text.isdecimal() else 0

    def running(self, group: str) -> list[str]:
        """The names of a group in running/; a rename can hide one from a listing, but not from two alike."""
        before = None
        while True:
            names = [NAMES["running"].fullmatch(text) for text in sorted(os.listdir(self.path("running")))]
            found = {match["id"]: match[0] for match in names if match and match["id"].startswith(f"{group}.")}
            if found.keys() == before:
                return sorted(found.values())
            before = found.keys()

    def may_start(self, name: Name) -> bool:
        """Whether a claimed job may start; of too many that were claimed at once those that are first by name."""
        until = time.monotonic() + 1
        for group in groups_of(name.id):
            if self.is_paused("groups", group):
                return False
            while (limit := self.limit(group)) is not None and len(names := self.running(group)) > limit:
                if str(name) not in names[:limit] or time.monotonic() > until:
                    return False
                time.sleep(0.005)
        return True

    # --- seats

    def take_seats(self, id: str, body: dict[str, Any]) -> dict[str, dict[str, int]]:
        """All the seats that a job needs: by group, each lock with its descriptor. BusyError if they are not there."""
        needs = {group: 1 for group in groups_of(id) if self.seats(group)} | (body.get("seats") or {})
        taken: dict[str, dict[str, int]] = {}
        try:
            for group in sorted((group for group in needs if needs[group]), key=lambda name: (-len(name), name)):
                taken[group] = {}
                self.take(group, needs[group], f"{id} {self.root}\n", taken[group])
        except BusyError:
            self.free(taken)
            raise
        return taken

    def seats(self, group: str) -> list[str]:
        """The locks of a group's seats, in the order in which they are taken."""
        node = os.uname().nodename
        texts = [self.text("groups", group, f"seats{end}") for end in (f".{node}", f".{node.partition('.')[0]}", "")]
        text = next((text for text in texts if text is not None), "")
        names = [str(n) for n in range(int(text))] if text.isdecimal() else [n.strip() for n in text.split(",")]
        names = [name for name in names if name]
        numbered = [(names[:place].count(name), place, name) for place, name in enumerate(names)]
        return [f"{name}+{number}" for number, _, name in sorted(numbered)]

    def take(self, group: str, number: int, holder: str, taken: dict[str, int]) -> None:
        directory = self.path("groups", group, "held")
        os.makedirs(directory, 0o700, exist_ok=True)
        turn = self.lock_file(f"{directory}/turn")
        if turn is None:
            raise BusyError
        try:
            seats = self.seats(group)
            held = {each for each in os.listdir(directory) if each != "turn" and flocked(f"{directory}/{each}")}
            if len(held) + number > len(seats):
                raise BusyError
            for seat in seats:
                if seat not in held and len(taken) < number:
                    fd = self.lock_file(f"{directory}/{seat}")
                    if fd is not None:
                        taken[seat] = fd
                        os.truncate(fd, 0)
                        os.write(fd, holder.encode())
            if len(taken) < number:
                raise BusyError
        finally:
            os.close(turn)

    def lock_file(self, path: str) -> int | None:
        """A locked descriptor, from 10 up: a shell may use those below. None if another has the lock."""
        low = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fd: int = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, 10)
        os.close(low)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        return fd

    def free(self, taken: dict[str, dict[str, int]]) -> None:
        for group, seats in taken.items():
            for fd in seats.values():
                fcntl.flock(fd, fcntl.LOCK_UN)
                os.close(fd)
            with suppress(FileNotFoundError):  # its closing wakes those who wait for a seat
                os.close(os.open(self.path("groups", group, "held", "turn"), os.O_WRONLY | os.O_CLOEXEC))

    # --- keys

    def key_of(self, body: dict[str, Any]) -> str:
        """The directory of its key."""
        key = f"{body['submitted_by']}\0{body['unique']}" if "submitted_by" in body else body["unique"]
        return self.path("unique", hashlib.sha256(key.encode()).hexdigest()[:32])

    def numbers(self, folder: str) -> dict[int, str]:
        """Which jobs have had a key, the last first."""
        found = {}
        for number in sorted((int(name) for name in os.listdir(folder) if name.isdecimal()), reverse=True):
            with suppress(FileNotFoundError):
                found[number] = open(f"{folder}/{number}").read().strip()
        return found

    def has_key(self, id: str, body: dict[str, Any]) -> bool:
        with suppress(FileNotFoundError):
            return id in self.numbers(self.key_of(body)).values()
        return False

    def is_active(self, id: str) -> bool:
        """Looked for twice: a job that moves can be missed."""
        found = [path for _ in range(2) for path in self.holders(id)]
        return any(path.startswith(("pending/", "running/")) for path in found)

    def ask(self, text: str, match: re.Match[str], body: dict[str, Any]) -> None:
        """Ask for the key of a job in pending/, which gets its own time with it, and leaves pending/ without."""
        id, folder = match["id"], self.key_of(body)
        log = open_log(self.path("logs", f"{id}.log"))
        try:
            if not lock(log, 0):
                raise BusyError
            is_held = match["at"] == HELD or (match["at"].startswith("99990102") and match["at"] != ASKING)
            at = ASKING.replace("000Z", "001Z") if is_held else ASKING
            asking = f"{match['priority']}-{at}-{match['attempts']}-{id}.json"
            os.makedirs(folder, 0o700, exist_ok=True)
            os.rename(self.path("pending", text), self.path("pending", asking))
            while True:
                numbers = self.numbers(folder)
                other = next((name for name in numbers.values() if name != id and self.is_active(name)), None)
                if other is not None:
                    self.leave_out(asking, match, body, log, other)
                    return
                number = max(numbers, default=0) + 1
                temporary = self.path("tmp", f"key-{secrets.token_hex(8)}")
                with open(temporary, "x") as file:
                    file.write(f"{id}\n")
                try:
                    os.link(temporary, f"{folder}/{number}")
                except FileExistsError:
                    continue
                finally:
                    os.remove(temporary)
                again = self.numbers(folder)
                if max(again) == number and not any(
                    self.is_active(name) for each, name in again.items() if each < number and name != id
                ):
                    break
                os.remove(f"{folder}/{number}")
            at = HELD if is_held else WAITING if dependencies(body) else self.own_time(body)
            name = f"{match['priority']}-{at}-{match['attempts']}-{id}.json"
            os.rename(self.path("pending", asking), self.path("pending", name))
            for each in again:
                if each < number:
                    with suppress(FileNotFoundError):
                        os.remove(f"{folder}/{each}")
        finally:
            os.close(log)

    def leave_out(self, asking: str, match: re.Match[str], body: dict[str, Any], log: int, other: str) -> None:
        """What becomes of a job whose key another one has; to replace that is left to a worker that can."""
        how = body.get("if_exists", "skip")
        if how == "replace":
            return
        state, result, word = ("dead", "invalid", "refused") if how == "fail" else ("done", "skipped", "note skipped")
        os.write(log, f"#queuectl {word} reason={json.dumps(f'the job {other} has the key')}\n".encode())
        ended = f"{now()}-{match['priority']}-{match['attempts']}-{result}-0.000s-{match['id']}.json"
        os.rename(self.path("pending", asking), self.path(state, ended))
        self.inform(match["id"])

    def own_time(self, body: dict[str, Any]) -> str:
        """When a job may start that waits for nothing else."""
        with suppress(KeyError, ValueError, TypeError):
            return max(now(), f"{datetime.fromisoformat(body['run_at']).astimezone(UTC):%Y%m%dT%H%M%S.000Z}")
        return now()

    # --- jobs that wait for others

    def look_at_waiting(self) -> None:
        """Move what nobody has moved: what asks for its key, and what waits for others."""
        for text in sorted(os.listdir(self.path("pending"))):
            match = NAMES["pending"].fullmatch(text)
            if match and match["at"][:8] in (WAITING[:8], ASKING[:8]):
                with suppress(FileNotFoundError, BusyError, InvalidError):
                    fd, data, _ = read(self.path("pending", text))
                    os.close(fd)
                    body = parse(data)
                    if match["at"] == WAITING:
                        self.look_at(text, match, body)
                    elif "unique" in body:
                        self.ask(text, match, body)

    def inform(self, id: str) -> None:
        """A job has ended: look at those that wait for it."""
        with suppress(FileNotFoundError):
            children = {name.removesuffix("+") for name in os.listdir(self.path("after", id))}
            for path in [path for child in children for path in self.holders(child)]:
                match = NAMES["pending"].fullmatch(path.removeprefix("pending/"))
                if match and match["at"] == WAITING:
                    with suppress(FileNotFoundError, BusyError, InvalidError):
                        fd, data, _ = read(self.path(path))
                        os.close(fd)
                        self.look_at(match[0], match, parse(data))

    def edges(self, child: str) -> dict[str, bool]:
        """What a job waits for, and whether that edge is fulfilled."""
        found = {}
        for dep in os.listdir(self.path("after")):
            for end in ("", "+"):
                if os.path.exists(self.path("after", dep, child + end)):
                    found[dep] = bool(end)
        return found

    def write_edges(self, child: str, body: dict[str, Any]) -> None:
        for name, _ in dependencies(body):
            for dep in self.members(name) if name.endswith(".") else [name]:
                directory = self.path("after", dep)
                os.makedirs(directory, 0o700, exist_ok=True)
                if dep != child and not os.path.exists(f"{directory}/{child}+"):
                    os.close(os.open(f"{directory}/{child}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def members(self, group: str) -> list[str]:
        found = set()
        for state, form in (("pending", "pending"), ("running", "running"), ("done", "ended"), ("dead", "ended")):
            matches = (NAMES[form].fullmatch(text) for text in os.listdir(self.path(state)))
            found |= {match["id"] for match in matches if match and match["id"].startswith(group)}
        return sorted(found)

    def outcome(self, id: str) -> str:
        """`open`, `done`, `skipped`, `failed`, `over` without success or failure, or `gone`."""
        path = next(iter(self.holders(id) or self.holders(id)), "")
        match = NAMES["ended"].fullmatch(path.partition("/")[2])
        if not path or not match:
            return "open" if path else "gone"
        if match["result"] == "skipped":
            return "skipped"
        if path.startswith("done/"):
            return "done"
        return "over" if match["result"] in ("cancelled", "invalid") else "failed"

    def fulfil(self, dep: str, id: str) -> None:
        with suppress(FileNotFoundError):  # another did it
            os.rename(self.path("after", dep, id), self.path("after", dep, f"{id}+"))

    def leave_edges(self, id: str, deps: Iterable[str]) -> None:
        for path in [self.path("after", dep, id + end) for dep in deps for end in ("", "+")]:
            with suppress(FileNotFoundError):
                os.remove(path)

    def look_at(self, text: str, match: re.Match[str], body: dict[str, Any]) -> None:
        """Give a job that waits for others its own time, or skip it, if what has become of them says so."""
        id, rules = match["id"], dependencies(body)
        if not rules:
            return
        os.makedirs(self.path("after"), 0o700, exist_ok=True)
        edges = self.edges(id)
        if not edges:
            self.write_edges(id, body)
            edges = self.edges(id)
        is_open, is_hard, is_vain, failed, waits = False, False, False, False, False
        for dep, is_fulfilled in edges.items():
            rule = next((r for name, r in rules if name == dep or (name[-1] == "." and dep.startswith(name))), RULES[1])
            now_is = self.outcome(dep)
            good = {"after": ("done",), "after_end": ENDS, "after_failed": ("done", "gone")}[rule].count(now_is)
            if good and not is_fulfilled:
                self.fulfil(dep, id)
            if rule == "after_failed":
                failed, waits = failed or now_is == "failed", waits or now_is == "open"
            elif not good and not is_fulfilled:
                is_open = True
                if rule == "after" and now_is != "open":
                    is_vain, is_hard = True, is_hard or now_is in ("failed", "over", "gone")
        if any(rule == "after_failed" for _, rule in rules) and not waits and not failed:
            is_vain = True
        if is_vain:
            log = open_log(self.path("logs", f"{id}.log"))
            os.write(log, b'#queuectl note skipped reason="what it waited for did not come about"\n')
            os.close(log)
            ended = f"{now()}-{match['priority']}-{match['attempts']}-skipped-0.000s-{id}.json"
            os.rename(self.path("pending", text), self.path("dead" if is_hard else "done", ended))
            self.inform(id)
        elif not is_open and not waits:
            name = f"{match['priority']}-{self.own_time(body)}-{match['attempts']}-{id}.json"
            os.rename(self.path("pending", text), self.path("pending", name))
            self.leave_edges(id, edges)

    # --- claiming

    def claim_all(self) -> None:
        free = os.statvfs(self.root)
        if self.used() >= self.slots or self.is_paused() or free.f_bavail * free.f_frsize < self.settings["min_free"]:
            return
        at = now()
        for text in sorted(os.listdir(self.path("pending"))):
            match = NAMES["pending"].fullmatch(text)
            if not match or not match["at"] <= at or match["id"] in {run.name.id for run in self.runs}:
                continue
            if self.is_open(match["id"]):
                with suppress(FileNotFoundError, BusyError):
                    self.claim(text, match)
            if self.used() >= self.slots or self.is_paused():
                return

    def used(self) -> int:
        return sum(run.body.get("slots", 1) for run in self.runs)

    def claim(self, text: str, match: re.Match[str]) -> None:
        id = match["id"]
        try:
            fd, data, status = read(self.path("pending", text))
            os.close(fd)
            self.require_trusted(status)
            body = parse(data)
            asked = body.get("id", id)
            if id not in (asked, f"{body.get('group')}.{asked}"):
                raise InvalidError(f"it is a copy: its id is {asked}")
        except InvalidError as error:
            self.refuse(text, f"{error}", match)
            return
        if (
            status.st_nlink == 1
            and time.time() - status.st_ctime < 0.25
            and not os.path.exists(self.path("logs", f"{id}.log"))
        ):
            return  # some tool has just written it, and may come back to it
        if "unique" in body and not self.has_key(id, body):
            self.ask(text, match, body)
            return
        if self.used() + body.get("slots", 1) > self.slots:
            return
        seats = self.take_seats(id, body)
        try:
            self.claim_with(text, match, body, status, seats)
        finally:
            if not any(run.seats is seats for run in self.runs):
                self.free(seats)

    def claim_with(
        self, text: str, match: re.Match[str], body: dict[str, Any], status: os.stat_result, seats: dict[str, Any]
    ) -> None:
        id, attempts = match["id"], int(match["attempts"])
        name = Name(now(), match["priority"], attempts + 1, self.name, id)
        os.rename(self.path("pending", text), self.path("running", name))
        log = open_log(self.path("logs", f"{id}.log"))
        is_free = lock(log, milliseconds(name.at) + 1)
        if not same(status, os.lstat(self.path("running", name))) or self.is_paused() or not self.may_start(name):
            os.close(log)
            self.settle_as(name, "pending", text)
            return
        if not is_free or not os.fstat(log).st_nlink or self.may_run(log):
            os.close(log)
            self.settle_as(name, "pending", f"{match['priority']}-{now(2)}-{attempts}-{id}.json")
            return
        if not self.is_expected(log, attempts) and self.holders(id, name):
            os.close(log)
            os.rename(self.path("running", name), self.path("pending", text))
            self.refuse(text, f"duplicate: the id {id} is taken", match)
            return
        self.start(name, body, log, match["at"], seats)

    def require_trusted(self, status: os.stat_result) -> None:
        if status.st_uid not in (0, os.geteuid(), os.stat(self.root).st_uid):
            raise InvalidError("it belongs to another user")

    def may_run(self, log: int) -> bool:
        """Whether another attempt holds its byte, and its end is not on record."""
        own, byte = os.fstat(log), 1
        while found := held(log, byte, 0):
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=found[0] - 1)
            text = f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z"
            if not re.search(
                rb"\n#queuectl end attempt=\d+ started_at=" + text.encode() + b" .*\n", os.pread(log, own.st_size, 0)
            ):
                return True
            byte = found[1] + 1
        return False

    def is_expected(self, log: int, attempts: int) -> bool:
        size = os.fstat(log).st_size
        if not size:
            return True
        last = os.pread(log, 4096, max(0, size - 4096)).rstrip(b"\n").rsplit(b"\n", 1)[-1]
        if not last.startswith(PREFIX):
            return False
        fields = dict(re.findall(r"(\w+)=(\S+)", last.decode("utf-8", "replace")))
        if last.startswith(b"#queuectl end ") or fields.keys() & {"ended_at", "max_rss", "by"}:
            return fields.get("result") == "released" or fields.get("attempt") == str(attempts)
        return last.startswith(b"#queuectl retry") and not attempts

    def holders(self, id: str, other_than: object = None) -> list[str]:
        found = []
        for state, form in (("pending", "pending"), ("running", "running"), ("done", "ended"), ("dead", "ended")):
            for text in os.listdir(self.path(state)):
                match = NAMES[form].fullmatch(text) if id in text else None
                if match and match["id"] == id and text != str(other_than):
                    found.append(f"{state}/{text}")
        return found

    # --- running

    def start(self, name: Name, body: dict[str, Any], log: int, run_at: str, seats: dict[str, Any]) -> None:
        command, token = body["command"], f"{name.worker}:{name.at}:{name.id}"
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        ours = re.compile(r"QUEUECTL_(SEAT_.*|PARAM_.*|AFTER|TICK)", re.DOTALL)
        env = {key: value for key, value in os.environ.items() if not ours.fullmatch(key)} | (body.get("env") or {})
        for key, value in (body.get("params") or {}).items():
            env[f"QUEUECTL_PARAM_{re.sub('[^A-Za-z0-9]', '_', key).upper()}"] = (
                value if isinstance(value, str) else json.dumps(value)
            )
        env |= {
            "QUEUECTL_JOB_ID": name.id,
            "QUEUECTL_ATTEMPT": str(name.attempt),
            "QUEUECTL_SPOOL": self.root,
            "QUEUECTL_WORKER": name.worker,
            "QUEUECTL_TOKEN": token,
            "QUEUECTL_PROGRESS": self.path("progress", name.id),
        }
        if names := [each for each, _ in dependencies(body)]:
            env["QUEUECTL_AFTER"] = " ".join(names)
        for group, taken in seats.items():
            shown = ",".join(dict.fromkeys(seat.rpartition("+")[0] for seat in taken))
            env[f"QUEUECTL_SEAT_{re.sub('[^A-Z0-9]', '_', group.upper())}"] = shown
            if variable := self.text("groups", group, "seat-env"):
                env[variable] = shown
        enter = f"cd {shlex.quote(body['cwd'])} || exit ${{s:=126}};" if "cwd" in body else ""
        script = (
            f'exec 9>&1;s=;trap \'printf "\\n#queuectl end {name.which} status=%s\\n" "$s">&9\' 0;'
            f'echo "#queuectl start {name.which} worker={name.worker} pid=$$";{enter}'
            'trap : 1 2 3 10 12 13 14 15;"$@" 9>&-;s=$?;exit $s'
        )
        run = Run(name, body, token, 0, log, time.monotonic())
        run.run_at, run.seats = run_at, seats
        run.child = subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env,
            start_new_session=True, pass_fds=[fd for taken in seats.values() for fd in taken.values()],
        )  # fmt: skip
        run.pid = run.child.pid
        self.runs.append(run)

    def watch(self, run: Run) -> None:
        """End it if its time is over, settle it if it has ended."""
        has_ended = run.child.poll() is not None if run.child else not self.carries(run.pid, run.token)
        if not has_ended:
            timeout = self.setting(run.body, "timeout", run.name.id)
            if run.kill_at and time.monotonic() >= run.kill_at:
                self.send(run, signal.SIGKILL)
            elif not run.reason and self.stopping >= 2:
                self.end(run, "release")
            elif not run.reason and timeout and time.monotonic() - run.began >= timeout:
                self.end(run, "timeout")
            elif not run.reason and not os.path.exists(self.path("running", run.name)):
                self.end(run, "cancelled")
            return
        if run.reason or not self.end_of(run.log, run.name):
            left = self.find(run.token)
            if left:  # none of it may meet the next attempt
                if not run.kill_at:
                    run.kill_at = time.monotonic() + self.settings["grace"]
                    self.send(run, signal.SIGTERM)
                elif time.monotonic() >= run.kill_at:
                    self.send(run, signal.SIGKILL)
                return
        self.runs.remove(run)
        result = {"timeout": "timeout", "release": "released", "cancelled": "cancelled"}.get(run.reason)
        code = run.child.returncode if run.child else None
        outcome = f"result={result}" if result else None
        if outcome is None and not self.end_of(run.log, run.name):
            outcome = "result=lost" if code is None else f"signal={-code}" if code < 0 else f"exit={code}"
        if outcome:
            os.write(run.log, f"\n#queuectl end {run.name.which} {outcome}\n".encode())
        self.settle(run, self.end_of(run.log, run.name) or "lost", time.monotonic() - run.began)
        self.free(run.seats)
        os.close(run.log)

    def end(self, run: Run, reason: str) -> None:
        """Begin to end an attempt, unless it has just ended by itself."""
        if reason != "cancelled":
            with suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGSTOP)
            until = time.monotonic() + 1
            while self.state_of(run.pid) not in ("T", "Z", "") and time.monotonic() < until:
                time.sleep(0.001)
            if self.end_of(run.log, run.name):
                with suppress(ProcessLookupError):
                    os.kill(run.pid, signal.SIGCONT)
                return
        size = os.fstat(run.log).st_size
        newline = "" if not size or os.pread(run.log, 1, size - 1) == b"\n" else "\n"
        os.write(run.log, f"{newline}#queuectl note ending {run.name.which} reason={reason}\n".encode())
        run.reason, run.kill_at = reason, time.monotonic() + self.settings["grace"]
        self.send(run, signal.SIGTERM)
        self.send(run, signal.SIGCONT)

    def send(self, run: Run, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self.carries(run.pid, run.token):
                os.killpg(run.pid, number)
        for pid in self.find(run.token):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def carries(self, pid: int, token: str) -> bool:
        """Whether that process is alive and of that attempt."""
        if self.state_of(pid) in ("Z", "X", ""):
            return False
        with suppress(OSError):
            return f"QUEUECTL_TOKEN={token}".encode() in open(f"/proc/{pid}/environ", "rb").read().split(b"\0")
        return False

    def state_of(self, pid: int) -> str:
        with suppress(OSError):
            return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
        return ""

    def find(self, token: str) -> list[int]:
        return [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and self.carries(int(pid), token)]

    # --- the log

    def lines(self, log: int, name: Name) -> tuple[dict[str, str] | None, str, dict[str, str] | None]:
        """Of an attempt: the fields of its start line, the reason in its ending note, the fields of its end line."""
        data = os.pread(log, os.fstat(log).st_size, 0)
        which = re.escape(name.which.encode())
        start = list(re.finditer(rb"#queuectl start " + which + rb" ([^\n]*)\n", data))
        end = list(re.finditer(rb"\n#queuectl end " + which + rb" ([^\n]*)\n", data))
        ending = re.search(rb"#queuectl note ending " + which + rb" reason=(\S+)\n", data)
        fields = dict(re.findall(r"(\w+)=(\S+)", end[-1][1].decode("utf-8", "replace"))) if end else None
        if ending and end and end[-1].start() < ending.start():
            ending = None  # it had ended by itself
        if ending and fields is not None and not fields.keys() & {"result", "bytes", "reason"}:
            fields = None  # not its own end
        said = dict(re.findall(r"(\w+)=(\S+)", start[-1][1].decode("utf-8", "replace"))) if start else None
        return said, ending[1].decode() if ending else "", fields

    def end_of(self, log: int, name: Name) -> str:
        """The result on record; empty if there is none."""
        fields = self.lines(log, name)[2]
        if not fields:
            return ""
        if "exit" in fields or "signal" in fields:
            return f"exit{fields['exit']}" if "exit" in fields else f"signal{fields['signal']}"
        if fields.get("status", "").isdecimal():
            status = int(fields["status"])
            return f"signal{status - 128}" if 128 < status <= 192 else f"exit{status}"
        return fields.get("result", "")

    # --- settling

    def settle(self, run: Run, result: str, duration: float) -> None:
        name, body = run.name, run.body
        if result == "released":
            self.settle_as(name, "pending", f"{name.priority}-{run.run_at}-{name.attempt - 1}-{name.id}.json")
            return
        ended = f"{now()}-{name.priority}-{name.attempt}-{result}-{max(0, duration):.3f}s-{name.id}.json"
        if result == "exit0":
            self.settle_as(name, "done", ended)
            self.inform(name.id)
        elif result == "cancelled" or self.is_over(name, result, body):
            self.settle_as(name, "dead", ended)
            self.inform(name.id)
        else:
            get = lambda key: self.setting(body, key, name.id)  # noqa: E731
            try:
                wait = min(get("backoff_max"), float(get("backoff_base")) ** name.attempt)
            except OverflowError:
                wait = get("backoff_max")
            wait *= 1 + get("backoff_jitter") * random.random()
            os.write(
                run.log, f"#queuectl note attempt={name.attempt} ended_at={now()} duration={duration:.3f}\n".encode()
            )
            self.settle_as(name, "pending", f"{name.priority}-{now(wait)}-{name.attempt}-{name.id}.json")

    def is_over(self, name: Name, result: str, body: dict[str, Any]) -> bool:
        get = lambda key: self.setting(body, key, name.id)  # noqa: E731
        if name.attempt > get("max_retries") or (result == "lost" and get("on_lost") == "dead"):
            return True
        if not result.startswith("exit"):
            return False
        code, retry_on = int(result[4:]), get("retry_on")
        if code in (get("no_retry_on") or ()):
            return True
        if retry_on is not None and code in retry_on:
            return False
        if code in (get("permanent_codes") or ()):
            return True
        return retry_on is not None and code not in (get("temporary_codes") or ())

    def settle_as(self, name: Name, state: str, text: str) -> None:
        with suppress(FileNotFoundError):  # somebody else has settled it
            os.rename(self.path("running", name), self.path(state, text))

    # --- rescue

    def is_dead(self, worker: str) -> bool:
        path = self.path("workers", f"{worker}.json")
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return worker.rsplit(".", 2)[0] == self.host
        try:
            info: dict[str, Any] = {}
            with suppress(ValueError):
                info = json.loads(os.read(fd, 1 << 16))
            is_here = info.get("boot_id") == self.boot or info.get("host") == os.uname().nodename
            if not is_here or "on" in info:
                return False
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return True
        except OSError:
            return False
        finally:
            os.close(fd)

    def rescue(self) -> None:
        busy = set()
        for text in sorted(os.listdir(self.path("running"))):
            match = NAMES["running"].fullmatch(text)
            if not match:
                continue
            name = Name(match["at"], match["priority"], int(match["attempts"]), match["worker"], match["id"])
            busy.add(name.worker)
            if name.worker != self.name and self.is_dead(name.worker):
                with suppress(FileNotFoundError):
                    self.rescue_one(name)
        for text in os.listdir(self.path("workers")):
            worker = text.removesuffix(".json")
            if worker not in busy and worker != self.name and self.is_dead(worker):
                with suppress(FileNotFoundError):
                    os.remove(self.path("workers", text))

    def rescue_one(self, name: Name) -> None:
        with suppress(InvalidError, BusyError):
            fd, data, _ = read(self.path("running", name))
            os.close(fd)
            body = parse(data)
        log = open_log(self.path("logs", f"{name.id}.log"))
        start, _, end = self.lines(log, name)
        token = f"{start.get('worker') if start else name.worker}:{name.at}:{name.id}"
        pid = int(start["pid"]) if start and start.get("pid", "").isdecimal() else 0
        byte = milliseconds(name.at) + 1
        if not end and pid and self.carries(pid, token):
            mine = name._replace(worker=self.name)
            os.rename(self.path("running", name), self.path("running", mine))
            ticks = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19])
            began = time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")
            run = Run(mine, body, token, pid, log, began)
            reason = self.lines(log, name)[1]
            if reason:
                run.reason, run.kill_at = reason, time.monotonic() + self.settings["grace"]
                self.send(run, signal.SIGTERM)
            if reason or all(self.state_of(other) != "T" for other in self.find(token) if other != pid):
                os.kill(pid, signal.SIGCONT)
            self.runs.append(run)
            return
        if not end and held(log, byte, 1):
            if start and not self.carries(pid, token):
                for other in self.find(token):
                    os.kill(other, signal.SIGKILL)
            os.close(log)
            return  # it lives: look again
        start, ending, end = self.lines(log, name)  # only now, as its lock was seen free
        run = Run(name, body, token, pid, log, 0)
        duration = max(0.0, os.fstat(log).st_mtime - milliseconds(name.at) / 1000)
        info: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            info = json.load(open(self.path("workers", f"{name.worker}.json")))
        if not start and not end and info.get("boot_id", self.boot) == self.boot and not self.find(token):
            self.settle(run, "released", 0)
        else:
            if not end:
                for other in self.find(token):
                    with suppress(ProcessLookupError):
                        os.kill(other, signal.SIGKILL)
                word = {"release": "released", "": "lost"}.get(ending, ending)
                lock(log, byte)
                os.write(log, f"\n#queuectl end {name.which} result={word}\n".encode())
            self.settle(run, self.end_of(log, name) or "lost", duration)
        os.close(log)

    # --- dropped files

    def adopt_all(self) -> None:
        names = set(os.listdir(self.path("pending")))
        self.seen = {text: value for text, value in self.seen.items() if text in names}
        for text in sorted(names):
            if NAMES["pending"].fullmatch(text) or text.startswith(".") or not text.endswith(".json"):
                continue
            with suppress(FileNotFoundError, FileExistsError):
                try:
                    self.adopt(text)
                except BusyError:
                    status = os.lstat(self.path("pending", text))
                    facts = (status.st_size, status.st_mtime_ns, status.st_ino)
                    if self.seen.get(text, ((), 0.0))[0] != facts:
                        self.seen[text] = facts, time.monotonic()
                    elif time.monotonic() - self.seen[text][1] > self.settings["settle"]:
                        self.refuse(text, "it is not a JSON object")
                except InvalidError as error:
                    self.refuse(text, f"{error}")

    def adopt(self, text: str) -> None:
        path = self.path("pending", text)
        fd, data, status = read(path)
        try:
            with suppress(BlockingIOError):
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if not same(status, os.lstat(path)):
                    return
                self.require_trusted(status)
                if time.time() - max(status.st_mtime, status.st_ctime) < 0.25:
                    return
                self.adopt_as(text, path, parse(data))
        finally:
            os.close(fd)

    def adopt_as(self, text: str, path: str, body: dict[str, Any]) -> None:
        back = NAMES["running"].fullmatch(text) or NAMES["ended"].fullmatch(text)
        group = f"{body['group']}." if body.get("group") else ""
        if back:
            id, priority, at = back["id"], back["priority"], now()
        else:
            asked = str(body["id"]) if "id" in body else self.fresh(text)
            id = asked if asked.startswith(group) else group + asked
            priority, at = f"{int(self.setting(body, 'priority', id)):03}", self.own_time(body)
            missing = [name for name, _ in dependencies(body) if not (name.endswith(".") or self.holders(name))]
            if missing:
                raise BusyError  # it is waited for
        if "unique" in body:
            os.makedirs(self.path("unique"), 0o700, exist_ok=True)
        log, is_new = self.reserve(id, text if back else None)
        try:
            if dependencies(body) and not back:
                self.write_edges(id, body)
                at = WAITING
            at = ASKING if "unique" in body else at
            if back:
                os.write(log, b"#queuectl retry by hand: its file was moved back to pending\n")
            os.link(path, self.path("pending", f"{priority}-{at}-0-{id}.json"))
            os.remove(path)
        except OSError:
            if is_new:
                os.remove(self.path("logs", f"{id}.log"))
            raise
        finally:
            os.close(log)

    def fresh(self, text: str) -> str:
        stem = re.sub(r"\.\.+", "_", re.sub(r"[^A-Za-z0-9._-]+", "_", text.removesuffix(".json")))
        return f"{stem.lstrip('._-')[:90] or 'job'}-{secrets.token_hex(3)}"

    def reserve(self, id: str, other_than: str | None = None) -> tuple[int, bool]:
        path = self.path("logs", f"{id}.log")
        while True:
            is_new = True
            try:
                log = open_log(path, os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                is_new, log = False, open_log(path)
            try:
                is_ours = lock(log, 0)
                status = os.fstat(log)
                if status.st_nlink and not (is_new and is_ours):
                    if self.holders(id, other_than):
                        raise InvalidError(f"duplicate: the id {id} is taken")
                    if not is_ours or self.may_run(log):
                        raise BusyError
                if status.st_nlink and (is_new or status.st_size):
                    return log, is_new
                if status.st_nlink:
                    os.remove(path)
            except BaseException:
                os.close(log)
                raise
            os.close(log)

    def refuse(self, text: str, reason: str, match: re.Match[str] | None = None) -> None:
        id, priority = (match["id"], match["priority"]) if match else (self.fresh(text), "010")
        if match and self.holders(id, text):
            id = self.fresh(id)
        log, _ = self.reserve(id, text)
        os.write(log, f"#queuectl refused file={json.dumps(text)} reason={json.dumps(reason)}\n".encode())
        with suppress(FileNotFoundError):
            os.rename(self.path("pending", text), self.path("dead", f"{now()}-{priority}-0-invalid-0.000s-{id}.json"))
        os.close(log)


if __name__ == "__main__":
    Worker(os.environ.get("QUEUECTL_SPOOL", "spool"), int(os.environ.get("SLOTS", "2"))).main()
