"""queuectl, with one moment of its work stretched: it waits there, once, for as long as a test wants.

python tests/torture/stretched.py HOME POINT [the words of queuectl]

On reaching POINT it makes the file HOME/POINT.reached, and continues once HOME/POINT.go is there. The points:

    spawn   a worker has claimed a job, has its log, and is about to start the command
    find    a worker, or another process that ends a job, is about to look through the process table
    shell   the shell of a job has been executed, with all that it inherits, and has not written a word

With the POINT `anywhere` it waits for nobody, but rests now and then, for a moment or for longer than workers take to
look again, before and after what it does to files, logs, locks and processes; so do the shells of its jobs.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from queuectl.spool.system import files, lease, logs, processes
from queuectl.work.engines import executor

_PATIENCE = 60.0
_STEPS: tuple[tuple[Any, tuple[str, ...]], ...] = (
    (files, ("move", "move_new", "exchange", "publish", "remove", "is_gone", "read")),
    (logs, ("open_log", "append_note", "append_end", "append_start", "find_attempt", "read_attempt")),
    (processes, ("find", "terminate", "send", "carries_token", "stop", "resume")),
    (lease, ("try_lock", "lock_id", "lock_attempt", "lock_whole", "is_locked", "is_attempt_held", "running_attempts")),
    (executor.Executor, ("start",)),
    (executor.Execution, ("stop", "wait")),
)
"""What is stretched at random, as far as it is there."""


def command(home: Path, point: str) -> Sequence[str]:
    """The words that start it instead of `queuectl`, in any directory."""
    return (sys.executable, "-P", __file__, str(home), point)


class Point:
    """The test's side: has it been reached, and let it continue."""

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


def _rarely(rng: random.Random, real: Callable[..., Any]) -> Callable[..., Any]:
    def rested(*arguments: Any, **words: Any) -> Any:
        _rest(rng)
        try:
            return real(*arguments, **words)
        finally:
            _rest(rng)

    return rested


def _rest(rng: random.Random) -> None:
    if rng.random() < 0.02:
        time.sleep(rng.choice((0.001, 0.01, 0.05, 0.1, 0.7)))


def stretch_anywhere(home: Path) -> None:
    rng = random.Random()
    for place, names in _STEPS:
        for name in names:
            if hasattr(place, name):
                setattr(place, name, _rarely(rng, getattr(place, name)))
    _use_shell(home, "case $$ in *[05]) sleep 0.02;; *13|*57|*94) sleep 0.8;; esac 9>&- 2>&- >&-")


def _use_shell(home: Path, before: str) -> None:
    script = home / f"shell-{time.monotonic_ns()}"
    script.write_text(f'#!/bin/sh\n[ -z "$QUEUECTL_TOKEN" ] || {{ {before}; }}\nexec /bin/sh "$@"\n')
    script.chmod(0o700)
    executor._SHELL = str(script).encode()


def _stretch(home: Path, point: str) -> None:
    if point == "anywhere":
        stretch_anywhere(home)
    elif point == "spawn":
        executor.Executor.start = _before(home, point, executor.Executor.start)  # type: ignore[method-assign]
    elif point == "find":
        processes.find = _before(home, point, processes.find)
    else:
        wait = f"while ! [ -e '{home}/shell.go' ];do sleep 0.01 9>&- 2>&- >&-;done"
        _use_shell(home, f": >'{home}/shell.reached';{wait}")


def main() -> None:
    home, point = Path(sys.argv.pop(1)), sys.argv.pop(1)
    _stretch(home, point)
    from queuectl.cli.main import main

    main()


if __name__ == "__main__":
    main()
