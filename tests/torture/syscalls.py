"""Death, or an error, at every single system call of an operation, and what the next start makes of it.

    python -m tests.torture.syscalls OPERATION kill|error [STEP]

For each call that the operation makes, it is done once more in a fresh spool and struck there by strace's
`inject`: killed on entering the call, or answered with an error number. Then one file per job must be there,
whole; a command may only fail with one of queuectl's errors; and a worker that is started afterwards must bring
every job to its end, having run each command once. Prints the figures and all problems as JSON.

The operations run in forked children that are attached to, so only their own calls are counted.
"""

from __future__ import annotations

import ctypes
import difflib  # noqa: F401 - this and others of the kind are loaded when first used, which is not to be struck
import encodings.utf_8_sig  # noqa: F401
import hashlib  # noqa: F401
import importlib
import json
import os
import pkgutil
import re
import select
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import NoReturn

import portalocker  # noqa: F401
import watchdog.observers.inotify  # noqa: F401

import queuectl.core
import queuectl.spool
from queuectl import Spool
from queuectl.core import lifecycle
from queuectl.core.names import PendingName, RunningName
from queuectl.core.outbox import Entry
from queuectl.core.result import SKIPPED, SUCCESS, State
from queuectl.errors import NotJsonError, QueuectlError
from queuectl.spool.moves import adopt, claims, dropbox, outbox, take
from queuectl.spool.reading import query
from queuectl.spool.system import clock, identity, lease, logs, settings
from queuectl.spool.system.layout import STATES
from queuectl.work.attempts import Attempts
from queuectl.work.context import Context
from queuectl.work.engines.adopted import Adopted
from queuectl.work.engines.executor import Executor
from queuectl.work.report import Report
from queuectl.work.slots import Slots
from queuectl.work.waker import Waker
from queuectl.work.worker import Worker
from tests.spool.given import parsed
from tests.torture import checker, witness

for _package in (queuectl.core, queuectl.spool):
    for _module in pkgutil.walk_packages(_package.__path__, f"{_package.__name__}."):
        importlib.import_module(_module.name)

ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EMFILE", "ESTALE", "EINTR")
FALLIBLE = re.compile(
    r"openat|open|p?read(64)?|p?write(64)?|close|f(data)?sync|syncfs|rename(at2?)?|link(at)?|unlink(at)?|newfstatat|"
    r"[fl]?stat|statx|lseek|flock|fcntl|getdents64|f?statfs|mkdir|chmod|ftruncate"
)
_WAITING = ("select", "pselect6", "restart_syscall", "rt_sigreturn", "exit_group")
_CRASHED = 99
_REFUSED = 98
_PR_SET_PDEATHSIG = 1
_LINE = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?([a-z_0-9]+)\(")

Act = Callable[[], object]


@dataclass(frozen=True)
class Scene:
    """A fresh spool in which an operation is about to be done."""

    home: Path
    spool: Spool
    evidence: witness.Evidence
    shells: list[int] = field(default_factory=list)
    """Of jobs that run; children of this process."""

    @classmethod
    def make(cls) -> Scene:
        home = Path(tempfile.mkdtemp(prefix="queuectl-syscalls-", dir=_fast_directory()))
        return cls(home, Spool(home / "spool", create=True), witness.Evidence(home / "evidence"))

    @property
    def journal(self) -> Path:
        return self.evidence.directory / "journal"

    def body(self, id: str = "x", code: int = 0, pause: str = ":", **more: object) -> dict[str, object]:
        body = {"id": id, "command": self.evidence.script(code, pause), "max_retries": 1, "backoff_base": 0, **more}
        return {**body, "torture_code": code}

    def submit(self, **body: object) -> None:
        witness.enqueue_all(self.spool.path, [self.body(**body)], self.journal)  # type: ignore[arg-type]

    def context(self) -> Context:
        return Context(self.spool, Report("json", StringIO()), settings.load(self.spool.layout))

    def lease(self) -> lease.WorkerLease:
        import socket

        return lease.WorkerLease(self.spool.layout, socket.gethostname(), {"boot_id": identity.boot_id()})

    def claim(self, worker: str) -> claims.Claim | None:
        (text,) = os.listdir(self.spool.layout.pending)
        return claims.claim(self.spool.layout, parsed(text), worker, clock.now)


def _fast_directory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


# --- the operations: each makes what must be there before, and returns what is struck


def enqueue(scene: Scene) -> Act:
    return lambda: witness.enqueue_all(scene.spool.path, [scene.body()], scene.journal)


def enqueue_group(scene: Scene) -> Act:
    jobs = [scene.body(id=f"x{n}") for n in range(10)]
    return lambda: witness.enqueue_all(scene.spool.path, jobs, scene.journal, group=10)


def enqueue_unique(scene: Scene) -> Act:
    """With a key that is free."""
    return lambda: witness.enqueue_all(scene.spool.path, [scene.body(unique="k")], scene.journal)


def enqueue_skipped(scene: Scene) -> Act:
    """With a key that a waiting job has."""
    scene.submit(unique="k")
    return lambda: _submit_with_key(scene, "skip")


def enqueue_replacing(scene: Scene) -> Act:
    """The same, and the body of that job is replaced by one that asks for the same."""
    scene.submit(unique="k", if_exists="replace")
    return lambda: _submit_with_key(scene, "replace")


def _submit_with_key(scene: Scene, how: str) -> None:
    body = {key: value for key, value in scene.body(unique="k", if_exists=how).items() if key != "id"}
    (outcome,) = scene.spool.enqueue_many([body])
    if isinstance(outcome, QueuectlError):
        raise outcome
    assert outcome.id == "x"


def claim(scene: Scene) -> Act:
    scene.submit()
    own = scene.lease()
    return lambda: _ignore(scene.claim(own.name))


def attempt(scene: Scene) -> Act:
    """From the claim to the settled job, as a slot does it."""
    scene.submit()
    own = scene.lease()
    context, waker = scene.context(), Waker()
    engine = Executor(scene.spool.layout.root, own.name)
    slots = Slots(context, own.name, 1, Attempts(context, waker.wake_before), waker, engine)
    (text,) = os.listdir(scene.spool.layout.pending)

    def act() -> None:
        held = slots._claim(parsed(text))
        if held is not None:
            slots._attempt(held)

    slots._hold_on = lambda: None  # type: ignore[method-assign]
    return act


def worker(scene: Scene) -> Act:
    """The main thread of a whole worker, from its start until nothing is left; a dropped file included."""
    for id in ("x", "y"):
        scene.submit(id=id)
    adopt_drop(scene, "z")
    running = Worker(scene.context(), drain=True)
    return running.run


def settle(scene: Scene) -> Act:
    scene.submit()
    own = scene.lease()
    held = scene.claim(own.name)
    assert held is not None
    with open(scene.evidence.ledger, "a", encoding="utf-8") as ledger:
        ledger.write("S x 1 1\nE x 1 0\n")
    logs.append_start(held.log, held.name, 1)
    logs.append_end(held.log, held.name, "exit=0")
    move = lifecycle.succeed(held.name, SUCCESS, 0.005, clock.now())
    return lambda: _ignore(claims.settle(scene.spool.layout, held.name, move))


def enqueue_waiting(scene: Scene) -> Act:
    """Of a job that waits for one that is there, and of one behind it."""
    scene.submit()
    jobs = [scene.body(id="y", after=["x"]), scene.body(id="z", after_end=["y"])]
    return lambda: witness.enqueue_all(scene.spool.path, jobs, scene.journal, group=2)


def settle_awaited(scene: Scene) -> Act:
    """Of a job that two others wait for: one starts, the other is brought to its own time by the end of the first."""
    act = settle(scene)
    scene.submit(id="y", after=["x"])
    scene.submit(id="z", after=["x", "y"])
    return act


def retry(scene: Scene) -> Act:
    """Of a job that an earlier life of the spool left dead, so that the ledger knows nothing of it."""
    path = scene.spool.path / "dead" / "20261124T034300.000Z-010-1-lost-1.500s-x.json"
    body = {"id": "x", "command": "true", "max_retries": 1}
    path.write_text(json.dumps(body))
    witness.append(scene.journal, json.dumps({"intent": "x", "body": body}))
    witness.append(scene.journal, json.dumps({"ack": "x"}))
    return lambda: _ignore(scene.spool.retry("x"))


def set_(scene: Scene) -> Act:
    """A change of the body and of the name."""
    scene.submit()

    def act() -> None:
        witness.append(scene.journal, json.dumps({"change": "x", "body": scene.body(timeout=60)}))
        scene.spool.set_fields("x", timeout=60, priority=3)
        witness.append(scene.journal, json.dumps({"changed": "x"}))

    return act


def hold(scene: Scene) -> Act:
    scene.submit()

    def act() -> None:
        scene.spool.hold("x")
        scene.spool.release("x")

    return act


def cancel(scene: Scene) -> Act:
    scene.submit()
    return lambda: _cancel(scene)


def cancel_running(scene: Scene) -> Act:
    """Of a job that has outlived its worker."""
    scene.submit(pause="sleep 0.3")
    dead = scene.lease()
    held = scene.claim(dead.name)
    assert held is not None
    scene.shells.append(Executor(str(scene.spool.path), dead.name).start(held).pid)
    os.close(held.log)
    dead._file.close()
    return lambda: _cancel(scene)


def _cancel(scene: Scene) -> None:
    witness.append(scene.journal, json.dumps({"cancel": "x"}))
    scene.spool.cancel("x", grace=1)
    witness.append(scene.journal, json.dumps({"cancelled": "x"}))


def adopt_drop(scene: Scene, id: str = "x") -> Act:
    body = scene.body(id)
    witness.append(scene.journal, json.dumps({"intent": id, "body": body}))
    witness.append(scene.journal, json.dumps({"ack": id}))
    (scene.spool.path / "pending" / "any.json").write_text(json.dumps(body))
    return lambda: _ignore(adopt.adopt(scene.spool.layout, "any.json", clock.now()))


def take_and_finish(scene: Scene) -> Act:
    _hand_in(scene, scene.body(_TAKEN))

    def act() -> None:
        id = take.take(scene.spool.layout, "any.json", lambda _: True)
        take.finish(scene.spool.layout, [id] if id else [], clock.now())

    return act


def finish_taken(scene: Scene) -> Act:
    """What another worker has taken before it died."""
    _hand_in(scene, scene.body(_TAKEN))
    take.take(scene.spool.layout, "any.json", lambda _: True)
    return lambda: _ignore(take.finish(scene.spool.layout, [_TAKEN], clock.now()))


def finish_finished(scene: Scene) -> Act:
    """The same, when its job is there already."""
    _hand_in(scene, scene.body(_TAKEN))
    take.take(scene.spool.layout, "any.json", lambda _: True)
    os.link(scene.spool.layout.taken_file(_TAKEN), f"{scene.home}/again")
    take.finish(scene.spool.layout, [_TAKEN], clock.now())
    os.rename(f"{scene.home}/again", scene.spool.layout.taken_file(_TAKEN))
    return lambda: _ignore(take.finish(scene.spool.layout, [_TAKEN], clock.now()))


def refuse_taken(scene: Scene) -> Act:
    _hand_in(scene, {"comand": "true"})
    take.take(scene.spool.layout, "any.json", lambda _: True)
    return lambda: _ignore(take.finish(scene.spool.layout, [_TAKEN], clock.now()))


_TAKEN = "root.aaaaaaaaaaaa"


def _hand_in(scene: Scene, body: dict[str, object]) -> None:
    """A file in a drop box, whose job will have a known id; as what it becomes in the journal."""
    take.new_id = lambda uid: _TAKEN
    layout, user = scene.spool.layout, take.submitter_of(os.geteuid())
    dropbox.make(layout, os.getegid())
    whole = {**body, "id": _TAKEN, "submitted_by": user}
    witness.append(scene.journal, json.dumps({"intent": _TAKEN, "body": whole}))
    witness.append(scene.journal, json.dumps({"ack": _TAKEN}))
    path = Path(layout.inbox, "any.json")
    path.write_text(json.dumps({**body, "id": "forged", "submitted_by": "forged", "group": "forged"}))
    path.chmod(0o644)


def rescue_never_started(scene: Scene) -> Act:
    return _rescue(scene, [])


def rescue_ended(scene: Scene) -> Act:
    return _rescue(scene, ["start", "end"])


def rescue_lost(scene: Scene) -> Act:
    return _rescue(scene, ["start"])


def _rescue(scene: Scene, lines: list[str]) -> Act:
    scene.submit()
    dead, own = scene.lease(), scene.lease()
    held = scene.claim(dead.name)
    assert held is not None
    if "start" in lines:
        logs.append_start(held.log, held.name, 1 << 22)
        witness.append(scene.evidence.ledger, "S x 1 1")
    if "end" in lines:
        logs.append_end(held.log, held.name, "exit=0")
        witness.append(scene.evidence.ledger, "E x 1 0")
    else:
        witness.append(scene.evidence.directory / "kills", "x 1")
    os.close(held.log)
    dead._file.close()
    context = scene.context()
    adopted = Adopted(context, own.name, Attempts(context, lambda _: None), selectors.DefaultSelector())
    (text,) = os.listdir(scene.spool.layout.running)
    name = RunningName.parse(text)
    assert name is not None
    return lambda: _ignore(adopted.rescue(name))


OPERATIONS: dict[str, Callable[[Scene], Act]] = {
    "enqueue": enqueue,
    "enqueue-group": enqueue_group,
    "enqueue-unique": enqueue_unique,
    "enqueue-skipped": enqueue_skipped,
    "enqueue-replacing": enqueue_replacing,
    "claim": claim,
    "attempt": attempt,
    "worker": worker,
    "settle": settle,
    "enqueue-waiting": enqueue_waiting,
    "settle-awaited": settle_awaited,
    "retry": retry,
    "set": set_,
    "hold": hold,
    "cancel": cancel,
    "cancel-running": cancel_running,
    "adopt": adopt_drop,
    "take": take_and_finish,
    "finish-taken": finish_taken,
    "finish-finished": finish_finished,
    "refuse-taken": refuse_taken,
    "rescue-never-started": rescue_never_started,
    "rescue-ended": rescue_ended,
    "rescue-lost": rescue_lost,
}


def _ignore(_: object) -> None:
    pass


# --- striking


@dataclass
class Figures:
    operation: str
    fault: str
    points: int = 0
    struck: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)


def _act(act: Act, said: Path) -> NoReturn:
    """Do it in this (forked) process and end; the exit code says how it went.

    Whatever happens, what forked it continues in the parent alone: a fault may strike the report too.
    """
    code, text = 0, ""
    try:
        try:
            act()
        except (QueuectlError, NotJsonError, OSError) as error:
            code, text = _REFUSED, f"{type(error).__name__}: {error}"
        except BaseException:
            code, text = _CRASHED, traceback.format_exc()
        if text:
            said.write_text(text)
    except OSError as error:
        os.write(2, f"{text} (not written to {said}: {error})\n".encode())
    finally:
        os._exit(code)


def _die_with_parent() -> None:
    """When a timeout ends the caller, nothing continues to strike and be counted."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _in_child(act: Act, said: Path, strace: list[str], trace: Path) -> int:
    """Fork, attach strace, let it act; its exit code, or minus the signal."""
    gate_r, gate_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        _die_with_parent()
        select.select([gate_r], [], [])
        _act(act, said)
    os.close(gate_r)
    tracer = subprocess.Popen(
        ["strace", "-o", str(trace), "-p", str(pid), *strace], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert tracer.stderr is not None
    while b"attached" not in (line := tracer.stderr.readline()):
        assert line, "strace cannot attach"
    os.write(gate_w, b"g")
    os.close(gate_w)
    _, status = os.waitpid(pid, 0)
    tracer.communicate()
    return os.waitstatus_to_exitcode(status)


def _calls(trace: Path) -> list[tuple[str, int]]:
    """Every call as (name, how many of that name so far), in order; not those that waited for the start.

    Of the hundreds that go through /proc, one process like the other, only every fiftieth.
    """
    seen: Counter[str] = Counter()
    found = []
    process_file = "none"
    for line in trace.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None or match[1] in _WAITING:
            continue
        seen[match[1]] += 1
        opened = re.search(r'openat\(.*"/proc/\d+/.* = (\d+)$', line)
        is_of_process = bool(opened or re.search(r'"/proc/\d+/', line)) or f"({process_file}," in line
        if opened:
            process_file = opened[1]
        elif f"close({process_file})" in line:
            is_of_process, process_file = True, "none"
        if not is_of_process or sum(seen.values()) % 50 == 0:
            found.append((match[1], seen[match[1]]))
    return found


def repair(scene: Scene) -> list[str]:
    """What a worker that starts afterwards leaves wrong."""
    problems = [f"before the repair: {text}" for text in check_files(scene)]
    for job in scene.spool.list((State.PENDING,)):
        if job.is_held and not (isinstance(job.name, PendingName) and job.name.is_asking):
            scene.spool.release(job)
    problems += drain(scene)
    for shell in scene.shells:
        os.kill(shell, signal.SIGCONT)  # a cancel that is killed may have stopped it, and it has no worker
        os.waitpid(shell, 0)
    for job in scene.spool.list((State.DONE,)):
        if job.result == SKIPPED:  # of a submit that was never acknowledged
            scene.spool.drop(job)
    problems += checker.check(scene.spool.path, scene.evidence.directory).problems
    for path in (scene.spool.layout.workers, scene.spool.layout.inbox, scene.spool.layout.taken):
        if os.path.isdir(path) and os.listdir(path):
            problems.append(f"{path} is not empty")
    return [*problems, *_check_outbox(scene)]


def drain(scene: Scene) -> list[str]:
    """A worker there that works until nothing is left; what it could not do."""
    said = scene.home / "repair"
    pid = os.fork()
    if pid == 0:
        _die_with_parent()
        _act(lambda: Worker(scene.context(), drain=True).run(), said)
    _, status = os.waitpid(pid, 0)
    return [f"the worker that was to repair it: {said.read_text() if said.exists() else status}"] if status else []


def _check_outbox(scene: Scene) -> list[str]:
    """One entry for each job that came through inbox/, which says where it is once a worker has looked."""
    if not os.path.isdir(scene.spool.layout.outbox):
        return []
    outbox.look(scene.spool.layout, outbox.Looked(), time.time())
    found = sorted(os.listdir(scene.spool.layout.outbox))
    wanted = [
        str(Entry.of(state, name))
        for state in STATES
        for text in os.listdir(scene.spool.layout.directory(state))
        if (name := query.parse_name(state, text)) is not None and name.id == _TAKEN
    ]
    return [] if found == wanted else [f"outbox/ has {found}, not {wanted}"]


def check_files(scene: Scene) -> list[str]:
    """One whole file per job, before anything is repaired."""
    entries, _ = checker.read_spool(scene.spool.path)
    problems = [f"{id} has {count} files" for id, count in Counter(e.id for e in entries).items() if count > 1]
    for entry in entries:
        try:
            json.loads(entry.data or b"")
        except ValueError:
            problems.append(f"{entry.state}/{entry.name} is torn")
    return problems


Repair = Callable[[Scene], list[str]]


def sweep(
    operation: str,
    fault: str,
    step: int = 1,
    *,
    make: Callable[[], Scene] = Scene.make,
    begin: Callable[[Scene], Act] | None = None,
    judge: Repair = repair,
    is_centred: bool = False,
) -> Figures:
    """Strike every `step`-th point of an operation by `kill` or by `error`; `judge` repairs, and says what is wrong.

    The first of them is struck, or, with `is_centred`, as many are left out before the first as after the last one.
    """
    _die_with_parent()
    figures = Figures(operation, fault)
    begin = begin or OPERATIONS[operation]
    scene = make()
    trace, said = scene.home / "trace", scene.home / "said"
    code = _in_child(begin(scene), said, [], trace)
    if code:
        figures.problems.append(f"without any fault: {code} {said.read_text() if said.exists() else ''}")
    points = _calls(trace)
    shutil.rmtree(scene.home)
    strikes = [(name, number, "signal=KILL") for name, number in points]
    if fault == "error":
        strikes = [(n, k, f"error={error}") for n, k in points if FALLIBLE.fullmatch(n) for error in ERRORS]
    figures.points = len(strikes)
    for name, number, what in strikes[len(strikes) % step // 2 if is_centred else 0 :: step]:
        scene = make()
        trace, said = scene.home / "trace", scene.home / "said"
        inject = ["-e", f"trace={name}", "-e", f"inject={name}:{what}:when={number}"]
        code = _in_child(begin(scene), said, inject, trace)
        where = f"{operation}, {what} at {name} number {number}"
        text = said.read_text() if said.exists() else ""
        if fault == "kill":
            figures.struck += code == -9
        else:
            figures.struck += "(INJECTED)" in trace.read_text(errors="replace")
            figures.refused += code == _REFUSED
        if code == _CRASHED or (fault == "error" and code not in (0, _REFUSED)):
            figures.problems.append(f"{where}: ended with {code}: {text}")
        figures.problems += [f"{where}: {problem} [{text}]" for problem in judge(scene)]
        shutil.rmtree(scene.home)
    return figures


def main(arguments: list[str]) -> int:
    operation, fault, *rest = arguments
    return report(sweep(operation, fault, int(rest[0]) if rest else 1))


def report(figures: Figures) -> int:
    print(json.dumps(vars(figures)))
    return 1 if figures.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
