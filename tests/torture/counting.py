"""queuectl, counting what it asks the system for: the measure of whether work grows with the square of something.

python tests/torture/counting.py REPORT WINDOW [the words of queuectl]

At its end it writes to REPORT, as JSON, how many files it opened, looked at or moved (`calls`), how many names its
listings gave it (`names`), and the most memory that was ever resident (`peak`, in KiB). A WINDOW other than 0 is
how many names a worker keeps, so that a small spool can be as much larger than that as a large one is.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from queuectl.core import groups
from queuectl.spool.system import listing

_CALLS = ("stat", "lstat", "open", "rename", "link", "unlink", "listdir", "scandir")


class Count:
    """What this process has asked for so far."""

    def __init__(self) -> None:
        self.calls = 0
        self.names = 0

    def install(self) -> None:
        for name in _CALLS:
            setattr(os, name, self._counted(getattr(os, name)))
        list_all, scan = os.listdir, os.scandir

        def listdir(*arguments: Any) -> list[Any]:
            names = list_all(*arguments)
            self.names += len(names)
            return names

        def scandir(*arguments: Any) -> _Scan:
            return _Scan(scan(*arguments), self)

        os.listdir, os.scandir = listdir, scandir  # type: ignore[assignment]

    def counting(self, records: Callable[[str], Iterator[bytes]]) -> Callable[[str], Iterator[bytes]]:
        """The kernel's records of a directory, their names counted."""

        def counted(directory: str) -> Iterator[bytes]:
            for piece in records(directory):
                self.names += len(listing._walk(piece))
                yield piece

        return counted

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            return real(*arguments, **keywords)

        return call

    def write(self, report: Path) -> None:
        status = Path("/proc/self/status").read_text()
        peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
        report.write_text(json.dumps({"calls": self.calls, "names": self.names, "peak": peak}))


class _Scan:
    """An os.scandir that counts what it gives."""

    def __init__(self, real: Any, count: Count) -> None:
        self._real = real
        self._count = count

    def __enter__(self) -> _Scan:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()

    def __iter__(self) -> Iterator[Any]:
        for entry in self._real:
            self._count.names += 1
            yield entry


def command(report: Path, window: int = 0) -> tuple[str, ...]:
    """The words that start it instead of `queuectl`, in any directory."""
    return (sys.executable, "-P", __file__, str(report), str(window))


def main() -> None:
    report, window = Path(sys.argv.pop(1)).absolute(), int(sys.argv.pop(1))
    count = Count()
    atexit.register(count.write, report)
    from queuectl.cli.main import main
    from queuectl.work import schedule

    if window:
        schedule.WINDOW = schedule.FIRST_WINDOW = window  # before the worker takes them
        schedule.Schedule.__init__.__defaults__ = (window, groups.ALL)
    count.install()
    listing._records = count.counting(listing._records)  # type: ignore[assignment]
    main()


if __name__ == "__main__":
    main()
