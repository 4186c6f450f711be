"""Things that nobody expects in a spool, for every place where the dashboard reads a file."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from queuectl import Spool, State
from queuectl.core.names import FinishedName, PendingName, RunningName
from queuectl.core.result import Result
from tests.spool.given import NOW, WORKER, put


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_PATH)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def _device(path: Path) -> None:
    """`/dev/zero`, which never ends; where devices cannot be made, a link to it."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        path.symlink_to("/dev/zero")


def _unreadable(path: Path) -> None:
    path.write_text('{"command": "true"}')
    path.chmod(0)


def _hole(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 18)


KINDS: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "directory": Path.mkdir,
    "socket": _socket,
    "device": _device,
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a directory": lambda path: path.symlink_to("/"),
    "link to a file": lambda path: path.symlink_to("/etc/passwd"),
    "unreadable": _unreadable,
    "empty": Path.touch,
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "hole": _hole,
    "nested": lambda path: path.write_text('{"command": "true", "x": ' + "[" * 900 + "]" * 900 + "}"),
    "nested too deep": lambda path: path.write_text('{"command": "true", "x": ' + "[" * 50_000),
    "long number": lambda path: path.write_text('{"command": "true", "slots": ' + "9" * 4000 + "}"),
    "too long a number": lambda path: path.write_text('{"command": "true", "slots": ' + "9" * 5000 + "}"),
    "odd numbers": lambda path: path.write_text('{"slots": -1e999, "pid": NaN, "started_at": [], "host": {}}'),
    "no object": lambda path: path.write_text("[1, 2"),
    "not UTF-8": lambda path: path.write_bytes(b'\xff\xfe{\x00"\x00'),
    "odd lines": lambda path: path.write_text(
        f"#queuectl start attempt={'9' * 5000} started_at=x pid={'9' * 5000}\n"
        f"#queuectl start attempt=1 started_at=20261124T034300.000Z worker={WORKER} pid={'9' * 5000}\n"
        "#queuectl note attempt=1 duration=1e999\n#queuectl retry at=9999-12-31T23:59:59-23:59\n"
        "#queuectl note attempt=1 duration=nan\n#queuectl start attempt=2 started_at=99991231T235959.999Z\n"
        "#queuectl note attempt=2 duration=-1e300\n#queuectl note attempt=2 duration=9e9\n"
    ),
}  # fmt: skip

IDS = ("waits", "waits.too", "tried", "held", "runs", "orphan", "good", "bad", "refused", "unknown")


def fill(spool: Spool) -> dict[str, list[Path]]:
    """Jobs of every kind; the paths where something odd can lie, by what they are."""
    layout = spool.layout
    jobs: list[tuple[State, PendingName | RunningName | FinishedName]] = [
        (State.PENDING, PendingName(10, NOW, 0, "waits")),
        (State.PENDING, PendingName(10, NOW, 0, "waits.too")),
        (State.PENDING, PendingName(10, NOW, 2, "tried")),
        (State.PENDING, PendingName(10, NOW.replace(year=9999), 0, "held")),
        (State.RUNNING, RunningName(NOW, 10, 1, WORKER, "runs")),
        (State.RUNNING, RunningName(NOW, 10, 2, "web1.17.aaaa", "orphan")),
        (State.DONE, FinishedName(NOW, 10, 1, Result.exit(0), 5, "good")),
        (State.DEAD, FinishedName(NOW, 10, 4, Result.exit(1), 5, "bad")),
        (State.DEAD, FinishedName(NOW, 10, 0, Result.parse("invalid"), 0, "refused")),
    ]
    Path(layout.group("waits")).mkdir(parents=True)
    bodies = [put(layout, name, state=state) for state, name in jobs]
    return {
        "logs": [Path(layout.log(name.id)) for _, name in jobs],
        "jobs": bodies,
        "others": [
            *(Path(layout.worker(WORKER)), Path(layout.workers, "odd.json"), Path(layout.paused), Path(layout.config)),
            *(spool.path / "pending" / "dropped.json", spool.path / "dead" / "odd.json"),
            *(Path(layout.group("waits"), file) for file in ("limit", "paused", "max-failed")),
        ],
    }


def replace(paths: list[Path], kind: str) -> None:
    """Put something of that kind there instead."""
    for path in paths:
        path.unlink(missing_ok=True)
        KINDS[kind](path)
