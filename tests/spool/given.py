"""What the tests of the spool start from: fixed values, job files, and processes that race or die."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

from queuectl.core.names import PendingName, RunningName
from queuectl.core.result import State
from queuectl.spool.system import lease, logs
from queuectl.spool.system.layout import Layout

T = TypeVar("T")

NOW = datetime(2026, 11, 24, 3, 43, tzinfo=UTC)
WORKER = "web1.4242.k7f3"

# Neither fork (the test runner may have threads) nor spawn (a new interpreter for each process).
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["queuectl.spool.store", "queuectl.spool.moves.claims", "pytest"])

_barrier: Barrier | None = None


def parsed(text: str) -> PendingName:
    """The value of a file name of ours in pending/."""
    name = PendingName.parse(text)
    assert name is not None
    return name


def run_at_once(times: int, function: Callable[..., T], *arguments: Any) -> list[T]:
    """Call a module-level function in `times` processes at the same instant; what each returned."""
    barrier = PROCESSES.Barrier(times)
    with ProcessPoolExecutor(times, mp_context=PROCESSES, initializer=_join, initargs=(barrier,)) as pool:
        futures = [pool.submit(_call, function, *arguments) for _ in range(times)]
        return [future.result(timeout=60) for future in futures]


def _join(barrier: Barrier) -> None:
    global _barrier  # noqa: PLW0603 - a barrier can be handed to a process only when it starts
    _barrier = barrier


def _call(function: Callable[..., T], *arguments: Any) -> T:
    assert _barrier is not None
    _barrier.wait(30)
    return function(*arguments)


def run_to_death(function: Callable[..., None], *arguments: Any) -> None:
    """Call a module-level function in a process of its own, which must end by SIGKILL."""
    process = PROCESSES.Process(target=function, args=arguments)
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL


def die(*_: Any, **__: Any) -> Any:
    """Stand in for a step that the process never gets to."""
    os.kill(os.getpid(), signal.SIGKILL)


def pending_name(id: str, attempts: int = 0, priority: int = 10) -> PendingName:
    return PendingName(priority, NOW, attempts, id)


def running_name(id: str, attempt: int = 1, worker: str = WORKER) -> RunningName:
    return RunningName(NOW, 10, attempt, worker, id)


def put(layout: Layout, name: object, command: object = "true", state: State = State.PENDING, **fields: Any) -> Path:
    """A job file under that name, written without queuectl."""
    path = Path(layout.job(state, name))
    path.write_text(json.dumps({"command": command, **fields}))
    return path


def put_finished(layout: Layout, job: str, result: str = "exit1", state: State = State.DEAD, **fields: Any) -> Path:
    """A job of that id that ended at NOW after one attempt of 1.5 seconds."""
    return put(layout, f"20261124T034300.000Z-010-1-{result}-1.500s-{job}.json", state=state, **fields)


def read_log(layout: Layout, id: str) -> str:
    return Path(layout.log(id)).read_text()


@contextmanager
def locked_log(layout: Layout, id: str, at: datetime = NOW) -> Iterator[int]:
    """The log of a job, created if need be and locked as a living process locks it of the attempt claimed then."""
    log = logs.open_log(layout.log(id))
    try:
        assert lease.lock_attempt(log, at)
        yield log
    finally:
        os.close(log)
