"""queuectl, with one moment of its work stretched: it waits there, once, for as long as a test wants.

python tests/torture/stretched.py HOME POINT [the words of queuectl]

On reaching POINT it makes the file HOME/POINT.reached, and goes on once HOME/POINT.go is there. The points:

    spawn   a worker has claimed a job, has its log, and is about to start the command
    find    a worker, or whoever ends a job, is about to look through the process table
    shell   the shell of a job has been executed, with all that it inherits, and has not written a word
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from queuectl.spool import processes
from queuectl.work import executor

_PATIENCE = 60.0


def command(home: Path, point: str) -> Sequence[str]:
    """The words that start it instead of `queuectl`, in any directory."""
    return (sys.executable, "-P", __file__, str(home), point)


class Point:
    """The test's side: has it been reached, and let it go on."""

    def __init__(self, home: Path, name: str) -> None:
        self._home = home
        self._name = name

    @property
    def is_reached(self) -> bool:
        return (self._home / f"{self._name}.reached").exists()

    def let_go(self) -> None:
        (self._home / f"{self._name}.go").touch()


def _wait(home: Path, point: str) -> None:
    (home / f"{point}.reached").touch()
    deadline = time.monotonic() + _PATIENCE
    while not (home / f"{point}.go").exists() and time.monotonic() < deadline:
        time.sleep(0.002)


def _before(home: Path, point: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def stretched(*arguments: Any, **words: Any) -> Any:
        _wait(home, point)
        return real(*arguments, **words)

    return stretched


def _stretch(home: Path, point: str) -> None:
    if point == "spawn":
        executor.Executor.start = _before(home, point, executor.Executor.start)  # type: ignore[method-assign]
    elif point == "find":
        processes.find = _before(home, point, processes.find)
    else:
        script = home / "slow-shell"
        wait = f"while [ -n \"$QUEUECTL_TOKEN\" ] && ! [ -e '{home}/shell.go' ];do sleep 0.01 9>&- 2>&- >&-;done"
        script.write_text(
            f'#!/bin/sh\n[ -z "$QUEUECTL_TOKEN" ]||: >\'{home}/shell.reached\'\n{wait}\nexec /bin/sh "$@"\n'
        )
        script.chmod(0o700)
        executor._SHELL = str(script).encode()


def main() -> None:
    home, point = Path(sys.argv.pop(1)), sys.argv.pop(1)
    _stretch(home, point)
    from queuectl.cli.main import main

    main()


if __name__ == "__main__":
    main()
