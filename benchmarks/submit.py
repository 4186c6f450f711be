"""What it costs to queue jobs so that they would survive a power cut.

`enqueue-api`: `Spool.enqueue` against write, fsync, rename and fsync of the directory in a bare loop.
`enqueue-lines`: `queuectl enqueue -` against groups of 100 files: write, one syncfs, rename, one fsync of the
directory. `enqueue-key`: a submit with a key that is taken, beside a deep queue and an empty one, as it lists neither.
`enqueue-process`: `queuectl enqueue '{…}'` against an interpreter that only imports click and json.

On tmpfs, where fsync costs nothing, the first two show what queuectl adds and are not judged.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.machine import PYTHON
from benchmarks.measure import Meter, Take, Takes
from benchmarks.program import run
from benchmarks.rows import Bar, Row
from benchmarks.session import Session
from benchmarks.stock import fill_pending
from queuectl import Spool

_API = Bar(1.3, 1.1)
_LINES = Bar(0.5, 0.8, at_least=True)
_PROCESS = Bar(1.5, 1.15)
_KEY = Bar(1.5, 1.1)
_BODY = b'{"command": "python report.py --month 11", "cwd": "/srv/reports", "id": "abcdefghijkl"}\n'
_GROUP = 100
_ENOUGH = 100_000
"""Lines beside which the start of Python does not count for much."""


def api(session: Session) -> Iterator[Row]:
    """One job at a time, from Python."""
    number = session.sizes.submits
    with session.queue() as queue, session.scratch() as directory:
        spool = Spool(queue.path)

        def submit() -> Take:
            with Meter() as meter:
                for _ in range(number):
                    spool.enqueue("python report.py --month 11", cwd="/srv/reports")
            _empty(queue.pending, queue.logs)
            return meter.take(meter.wall / number * 1e6, number)

        def floor() -> Take:
            pending = _floor_directories(directory)
            with Meter() as meter:
                _write_each(directory, pending, number)
            _empty(pending)
            return meter.take(meter.wall / number * 1e6, number)

        takes = session.interleave({"floor": floor, "api": submit}, warm=True)
    yield _row(
        session, "enqueue-api", "Spool.enqueue, durable", takes["api"], takes["floor"],
        "write, fsync, rename, fsync of the directory", _judged_on_disk(session, _API), "us",
    )  # fmt: skip


def key(session: Session) -> Iterator[Row]:
    """A job whose key another one has, and one that replaces it, beside as many pending jobs as there can be."""
    number, size = session.sizes.submits, session.sizes.backlogs[-1]
    with session.queue() as deep, session.queue() as empty:
        fill_pending(deep, size)
        sides = {"deep": Spool(deep.path), "empty": Spool(empty.path)}
        for spool in sides.values():
            spool.enqueue("true", unique="report")

        def submit(spool: Spool) -> Take:
            with Meter() as meter:
                for _ in range(number):
                    spool.enqueue("true", unique="report")
                    spool.enqueue("true", unique="report", if_exists="replace")
            return meter.take(meter.wall / number / 2 * 1e6, 2 * number)

        blocks = {name: lambda spool=spool: submit(spool) for name, spool in sides.items()}
        takes = session.interleave(blocks, warm=True)
    yield _row(
        session, "enqueue-key", f"Spool.enqueue with a key that is taken, beside {size:,} pending jobs", takes["deep"],
        takes["empty"], "the same, empty queue", _KEY, "us",
    )  # fmt: skip


def lines(session: Session) -> Iterator[Row]:
    """Many jobs from standard input."""
    number = session.sizes.lines

    def submit() -> Take:
        with session.queue() as queue:
            path = queue.path.parent / "lines"
            path.write_bytes(b"".join(b'{"command": "python report.py --month %d"}\n' % n for n in range(number)))
            with path.open("rb") as file, Meter() as meter:
                queue.run("enqueue", "-", stdin=file)
        return meter.take(number / meter.wall, number)

    def floor() -> Take:
        with session.scratch() as directory:
            pending = _floor_directories(directory)
            with Meter() as meter:
                _write_groups(directory, pending, number)
        return meter.take(number / meter.wall, number)

    takes = session.interleave({"floor": floor, "lines": submit})
    bar = _judged_on_disk(session, _LINES) if number >= _ENOUGH else None
    yield _row(
        session, "enqueue-lines", f"enqueue -, {number:,} lines, durable", takes["lines"], takes["floor"],
        "groups of 100: write, syncfs, rename, fsync", bar, "jobs/s",
    )  # fmt: skip


def process(session: Session) -> Iterator[Row]:
    """One job from the command line."""
    number = session.sizes.starts
    with session.queue() as queue:

        def submit() -> Take:
            with Meter() as meter:
                for _ in range(number):
                    queue.run("enqueue", '{"command": "python report.py"}')
            return meter.take(meter.wall / number * 1e3, number)

        def floor() -> Take:
            with Meter() as meter:
                for _ in range(number):
                    run([PYTHON, "-c", "import click, json"])
            return meter.take(meter.wall / number * 1e3, number)

        takes = session.interleave({"floor": floor, "process": submit}, warm=True)
    yield _row(
        session, "enqueue-process", "queuectl enqueue '{…}', the process", takes["process"], takes["floor"],
        "python -c 'import click, json'", _PROCESS, "ms",
    )  # fmt: skip


def _row(
    session: Session, name: str, what: str, mine: Takes, floor: Takes, floor_what: str, bar: Bar | None, unit: str
) -> Row:
    return Row(
        name=name, what=what, place=session.place.kind, value=mine.median, unit=unit, floor=floor.median,
        floor_what=floor_what, figure=mine.ratio(floor), bar=bar, n=len(mine.takes), cpu_us=mine.cpu * 1e6,
        floor_cpu_us=floor.cpu * 1e6, foreign=max(mine.foreign, floor.foreign), samples=mine.values,
        floor_samples=floor.values,
    )  # fmt: skip


def _judged_on_disk(session: Session, bar: Bar) -> Bar | None:
    return bar if session.place.is_durable else None


def _floor_directories(directory: Path) -> Path:
    pending = directory / "pending"
    pending.mkdir(exist_ok=True)
    return pending


def _write_each(directory: Path, pending: Path, number: int) -> None:
    for index in range(number):
        _write(f"{directory}/{index}", sync=True)
        os.rename(f"{directory}/{index}", f"{pending}/{index}")
        _sync_directory(pending)


def _write_groups(directory: Path, pending: Path, number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for base in range(0, number, _GROUP):
            group = range(base, min(base + _GROUP, number))
            for index in group:
                _write(f"{directory}/{index}", sync=False)
            if libc.syncfs(root):
                raise OSError(ctypes.get_errno(), "syncfs")
            for index in group:
                os.rename(f"{directory}/{index}", f"{pending}/{index}")
            _sync_directory(pending)
    finally:
        os.close(root)


def _write(path: str, *, sync: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.write(fd, _BODY)
    if sync:
        os.fsync(fd)
    os.close(fd)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(fd)
    os.close(fd)


def _empty(*directories: Path) -> None:
    """Remove the files, and let the disk catch up, so that the next side does not pay for it."""
    for directory in directories:
        for name in os.listdir(directory):
            os.unlink(directory / name)
    os.sync()
