"""Model and code agree: along the same path, the code makes the calls that the model's steps stand for, in their order.

Each operation is done by the real code in a forked process under strace.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from queuectl.core.names import PendingName, RunningName
from queuectl.errors import QueuectlError
from queuectl.spool.system import clock, lease, logs
from queuectl.work import course
from queuectl.work.attempts import Attempts
from queuectl.work.engines.adopted import Adopted
from queuectl.work.engines.executor import Executor
from queuectl.work.slots import Slots
from queuectl.work.waker import Waker
from tests.model import calls
from tests.model.job import Job
from tests.model.protocol import FULL, Scene
from tests.spool.given import parsed
from tests.support import need, wait_for
from tests.torture import syscalls

Act = Callable[[], object]
_FINE = Scene(("A",), sets=1, deletes=1)
"""With these no two steps of a claim are taken together."""
_SUBMIT = ("publish", "keep")
_CLAIM = ("slot: *read the body", "slot: *rename to running", "slot: open", "slot: *try_lock", "slot: *lstat", "others")
_RUN = ("fork", "execve", "start line")


def _claim(worker: int) -> tuple[str, ...]:
    return tuple(f"worker {worker}*{step.removeprefix('slot: ').removeprefix('*')}" for step in _CLAIM)


class Stage:
    """A fresh spool, and what must be closed and ended behind it."""

    def __init__(self, home: contextlib.ExitStack) -> None:
        self.scene = syscalls.Scene.make()
        self.home = self.scene.home
        self.spool = self.scene.spool
        self.layout = self.spool.layout
        self._home = home
        home.callback(shutil.rmtree, self.home)

    def worker(self) -> str:
        """The name of a worker that lives."""
        own = self.scene.lease()
        self._home.callback(own._file.close)
        return own.name

    def slots(self) -> Slots:
        context, worker, waker = self.scene.context(), self.worker(), Waker()
        engine = Executor(self.layout.root, worker)
        return Slots(context, worker, 1, Attempts(context, waker.wake_before), waker, engine)

    def submit(self, command: str) -> PendingName:
        self.spool.enqueue(command, id="x", max_retries=1, backoff_base=0)
        (text,) = os.listdir(self.layout.pending)
        return parsed(text)

    def log(self) -> int:
        """The log, open until the end."""
        log = logs.open_log(self.layout.log("x"))
        self._home.callback(os.close, log)
        return log

    def leave(self, command: str, *, starts: bool = False) -> tuple[RunningName, int]:
        """A job whose worker has died, before its shell was made or afterwards; with the pid of its shell."""
        self.submit(command)
        own, pid = self.scene.lease(), 0
        held = self.scene.claim(own.name)
        assert held is not None
        if starts:
            pid = Executor(self.spool.path.as_posix(), own.name).start(held).pid
            self._home.callback(_end, pid)
            wait_for(lambda: logs.find_attempt(held.log, held.name), "a start line")
        os.close(held.log)
        own._file.close()
        return held.name, pid


def _end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _rescued(stage: Stage, name: RunningName) -> Act:
    context = stage.scene.context()
    attempts = Attempts(context, lambda _: None)
    adopted = Adopted(context, stage.worker(), attempts, selectors.DefaultSelector())
    return lambda: adopted.rescue(name)


def attempt(stage: Stage) -> Act:
    slots, name = stage.slots(), stage.submit("true")

    def act() -> None:
        held = slots._claim(name)
        assert held is not None
        slots._attempt(held)

    return act


def claim_waits(stage: Stage) -> Act:
    """Another attempt of it may live in another PID namespace: here its lock is all there is of it."""
    slots, name, log = stage.slots(), stage.submit("true"), stage.log()
    earlier = RunningName(clock.now() - timedelta(hours=1), name.priority, 1, "host.1.aaaa", "x")
    assert lease.lock_attempt(log, earlier.started_at)
    logs.append_start(log, earlier, 1)

    def act() -> None:
        assert slots._claim(name) is None
        _join_threads()

    return act


def timeout(stage: Stage) -> Act:
    slots = stage.slots()
    held = slots._claim(stage.submit("sleep 60"))
    assert held is not None

    def act() -> None:
        execution = slots._engine.start(held)
        wait_for(lambda: logs.find_attempt(held.log, held.name), "a start line")
        pid = execution.pid  # a shell that is alone as yet is signalled once more
        wait_for(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().strip(), "a command")
        execution.stop("timeout", 5)
        course.settle_run(slots.context, slots._attempts, execution, execution.wait(), 0.0)

    return act


def cancel(stage: Stage) -> Act:
    stage.leave("sleep 60", starts=True)
    return lambda: stage.spool.cancel("x")


def cancel_on_record(stage: Stage) -> Act:
    name, _ = stage.leave("true")
    _write(stage, name, "exit=0")
    return lambda: stage.spool.cancel("x")


def rescue_alive(stage: Stage) -> Act:
    """Its worker died in a look at it."""
    name, pid = stage.leave("sleep 60", starts=True)
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: b") T " in Path(f"/proc/{pid}/stat").read_bytes(), "a stopped shell")
    return _rescued(stage, name)


def rescue_ended(stage: Stage) -> Act:
    name, _ = stage.leave("true")
    _write(stage, name, "exit=0")
    return _rescued(stage, name)


def rescue_lost(stage: Stage) -> Act:
    name, _ = stage.leave("true")
    _write(stage, name)
    return _rescued(stage, name)


def rescue_headless(stage: Stage) -> Act:
    """Its shell was killed, and left its command."""
    name, pid = stage.leave("sleep 60; true", starts=True)
    wait_for(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().strip(), "a command")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: b") Z " in Path(f"/proc/{pid}/stat").read_bytes(), "the end of the shell")
    adopted = _rescued(stage, name)

    def act() -> None:
        adopted()
        _join_threads()

    return act


def _join_threads() -> None:
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()


def rescue_never_started(stage: Stage) -> Act:
    name, _ = stage.leave("true")
    logs.append_note(stage.log(), "note", "so that there is something to read")
    return _rescued(stage, name)


def set_field(stage: Stage) -> Act:
    stage.submit("true")
    return lambda: stage.spool.set_fields("x", command="false")


def undo_cancel(stage: Stage) -> Act:
    stage.submit("true")
    before = stage.spool.get("x")
    after = stage.spool.cancel("x")
    return lambda: stage.spool.undo(before, after)


def delete(stage: Stage) -> Act:
    path = stage.spool.path / "dead" / "20261124T034300.000Z-010-1-lost-1.500s-x.json"
    path.write_text(json.dumps({"id": "x", "command": "true"}))
    stage.log()
    return lambda: stage.spool.drop("x")


def _write(stage: Stage, name: RunningName, end: str = "") -> None:
    log = stage.log()
    logs.append_start(log, name, 1 << 22)
    if end:
        logs.append_end(log, name, end)


_ONE = _FINE._replace(timeouts=1, worker_kills=1, cancels=1)
_TWO = _FINE._replace(workers=("A", "A"), worker_kills=1)
_ELSEWHERE = _FINE._replace(workers=("A", "B"), users=("B",), cancels=1, retries=1)
_UNSTARTED = (*_SUBMIT, *_claim(1), "kill -9 worker 1")
_DIED = (*_SUBMIT, *_claim(1), *_RUN, "kill -9 worker 1")
_ENDED = (*_SUBMIT, *_claim(1), *_RUN, "end line, exit0", "exit", "kill -9 worker 1")
_CANCELLED = (
    *_SUBMIT,
    *_claim(1),
    *_RUN,
    "user 1 of B: cancel",
    "no end line",
    "rename to dead/",
    "gives up",
    "B: retry",
)
_ENDING = ("find_attempt: a start line", "SIGSTOP", "find_attempt: no end", "append_ending", "SIGTERM", "SIGKILL")

PATHS: dict[Callable[[Stage], Act], tuple[Scene, str, tuple[str, ...], tuple[str, ...]]] = {
    attempt: (
        *(_ONE, "worker 1, slot", _SUBMIT),
        (*_claim(1), *_RUN, "end line, exit0", "shell*exit", "wait: exit0", "settle", "close"),
    ),
    claim_waits: (
        *(_ELSEWHERE, "worker 2, slot", (*_CANCELLED, "by_hand.retry")),
        (*_claim(2), "may live", "for later", "end_disowned"),
    ),
    timeout: (
        *(_ONE, "worker 1, slot", (*_SUBMIT, *_claim(1))),
        (*_RUN, "timeout of", *_ENDING, "record_end", "settle", "close"),
    ),
    cancel: (
        *(_ONE, "user 1", (*_DIED, "user 1 of A: cancel")),
        (
            *("no end line", "rename to dead/", "a start line", "no end line", "append_ending", "SIGTERM", "SIGKILL"),
            *("is_alive: no", "no end of its own", "acknowledge"),
        ),
    ),
    cancel_on_record: (_ONE, "user 1", (*_ENDED, "user 1 of A: cancel"), ("is on record", "rename to done/")),
    rescue_alive: (
        *(_TWO, "worker 2, main", _DIED),
        ("find_orphans", "no end line", "its shell lives", "_adopt: rename", "_adopt: SIGCONT"),
    ),
    rescue_ended: (_TWO, "worker 2, main", _ENDED, ("find_orphans", "read_attempt: exit0", "settle.finish")),
    rescue_lost: (
        *(_TWO._replace(shell_kills=1), "worker 2, main"),
        (*_SUBMIT, *_claim(1), *_RUN, "leaving nothing", "kill -9 worker 1", "find_orphans"),
        ("no end line", "token: no", "is_locked: no", "no end line", "lost", "_note_end", "settle.finish"),
    ),
    rescue_headless: (
        *(_TWO._replace(shell_kills=1), "worker 2, main"),
        (*_SUBMIT, *_claim(1), *_RUN, "leaving children", "kill -9 worker 1", "find_orphans"),
        ("no end line", "token: no", "is_locked: yes", "no end line still", "end what is left"),
    ),
    rescue_never_started: (
        *(_TWO, "worker 2, main", (*_UNSTARTED, "find_orphans")),
        ("no start line", "is_locked: no", "no end line", "never started", "release"),
    ),
    set_field: (
        *(_FINE, "user 1", (*_SUBMIT, "user 1 of A: set")),
        ("flock the body", "lstat, it is the same", "exchange, acknowledge"),
    ),
    undo_cancel: (
        *(_FINE._replace(cancels=1, undos=1), "user 1"),
        (*_SUBMIT, "user 1 of A: cancel", "acknowledge", "user 1 of A: undo"),
        ("flock the body", "rename back"),
    ),
    delete: (
        *(_FINE._replace(cancels=1), "user 1"),
        (*_SUBMIT, "user 1 of A: cancel", "acknowledge", "user 1 of A: delete"),
        ("lock all bytes", "unlink the job", "unlink the log"),
    ),
}
"""Of each operation: the scene, who acts, what comes before, and the trace that is compared."""


def _traced(operation: Callable[[Stage], Act]) -> list[str]:
    """The calls that the real operation makes."""
    with contextlib.ExitStack() as home:
        stage = Stage(home)
        act = operation(stage)
        said, trace, first = stage.home / "said", stage.home / "trace", stage.home / "pid"

        def noted() -> None:
            first.write_text(str(os.getpid()))
            with contextlib.suppress(QueuectlError):
                act()

        words = ["-f", "-y", "-s", "4000", "-e", f"trace={calls.TRACED}"]
        code = syscalls._in_child(noted, said, words, trace)
        assert code == 0, said.read_text() if said.exists() else code
        return calls.read_trace(
            trace.read_text(errors="replace").splitlines(), str(stage.spool.path), int(first.read_text())
        )


@pytest.mark.parametrize("operation", PATHS, ids=lambda operation: operation.__name__)
def test_code_makes_the_calls_of_the_model_in_its_order(operation: Callable[[Stage], Act]) -> None:
    """Every effect of the model's path and no other, each look in its place."""
    need("strace")
    scene, actor, before, trace = PATHS[operation]
    wanted = calls.path(Job(FULL, scene), before, trace, actor)
    found = _traced(operation)

    assert calls.deviation(found, wanted) == "", f"{found}\n{wanted}"
