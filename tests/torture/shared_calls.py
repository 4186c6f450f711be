"""Death, or an error, at every system call of what hosts that share a spool do, and what the others make of it.

    python -m tests.torture.shared_calls OPERATION|all kill|error [STEP]

As `tests.torture.syscalls`, whose judge and figures it has. The hosts are directories that stand for their memory: what
is struck is on `web1`, or, after that is gone, on `web2`. Then all that are left but one are said to be gone, and the
worker of the last one must bring every job to its end.
"""

from __future__ import annotations

import json
import os
import selectors
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from queuectl import Spool
from queuectl.core.names import FinishedName, RunningName, format_time
from queuectl.core.result import SUCCESS, State
from queuectl.errors import AlreadyExistsError
from queuectl.spool.moves import asked, prune
from queuectl.spool.reading import query
from queuectl.spool.system import beats, clock, files, host, lease, log_parts, logs
from queuectl.work import hosts
from queuectl.work.attempts import Attempts
from queuectl.work.engines.adopted import Adopted
from queuectl.work.requests import Requests
from tests.spool.given import parsed
from tests.support import wait_for
from tests.torture import checker, syscalls, witness
from tests.torture.syscalls import Act, Scene

OTHER = "web9.aaaaaa"
"""A host that is gone, or about to be, and its worker."""
_WORKER = f"{OTHER}.42.bbbb"


@dataclass(frozen=True)
class Shared(Scene):
    """A spool that several hosts share, seen from one of them."""

    @classmethod
    def make(cls) -> Shared:
        scene = super().make()
        os.mkdir(scene.spool.layout.hosts)
        os.mkdir(scene.spool.layout.asked)
        shared = cls(scene.home, Spool(scene.spool.path), scene.evidence)
        files.share(shared.spool.layout.root)
        shared.become("web1")
        return shared

    def become(self, name: str) -> None:
        """From now on this process is on that host."""
        memory, disk = self.home / name / "shm", self.home / name / "vartmp"
        for directory in (memory, disk):
            directory.mkdir(parents=True, exist_ok=True)
        host.MEMORY, host.DISK = str(memory), str(disk)
        host._known.clear()

    def note_kill(self, attempt: int = 1) -> None:
        """That attempt may be lost."""
        witness.append(self.evidence.directory / "kills", f"x {attempt}")

    def put_running(self, *lines: str) -> RunningName:
        """Make `x` run on the other host, with these lines in its log."""
        self.submit()
        (text,) = os.listdir(self.spool.layout.pending)
        pending = parsed(text)
        name = RunningName(clock.now(), pending.priority, 1, _WORKER, "x")
        os.rename(f"{self.spool.layout.pending}/{text}", self.spool.layout.job(State.RUNNING, name))
        log = logs.open_existing(self.spool.layout.log("x"))
        if "start" in lines:
            logs.append_start(log, name, 1 << 22)
            witness.append(self.evidence.ledger, "S x 1 1")
            witness.append(self.evidence.ledger, "E x 1 0")
        if "end" in lines:
            logs.append_end(log, name, "exit=0")
        else:
            self.note_kill()
        os.close(log)
        return name

    def let_beat(self, mark: str = f"{OTHER}-5-{_WORKER}") -> None:
        files.write_new(f"{self.spool.layout.hosts}/{mark}", b"")


# --- the operations


def submit(scene: Shared) -> Act:
    """Of an id, which another submits again afterwards (`_repair`)."""
    return lambda: witness.enqueue_all(scene.spool.path, [scene.body()], scene.journal)


def submit_waiting(scene: Shared) -> Act:
    """Of one that waits for one that is there."""
    scene.submit()
    jobs = [scene.body(id="y", after=["x"])]
    return lambda: witness.enqueue_all(scene.spool.path, jobs, scene.journal)


def claim(scene: Shared) -> Act:
    scene.note_kill()
    return syscalls.claim(scene)


def attempt(scene: Shared) -> Act:
    scene.note_kill()
    return syscalls.attempt(scene)


def worker(scene: Shared) -> Act:
    scene.note_kill()
    witness.append(scene.evidence.directory / "kills", "y 1")
    witness.append(scene.evidence.directory / "kills", "z 1")
    return syscalls.worker(scene)


def settle(scene: Shared) -> Act:
    return syscalls.settle(scene)


def say_gone(scene: Shared) -> Act:
    """`worker gone`, of a host whose attempt is lost."""
    scene.put_running("start")
    scene.let_beat()

    def act() -> None:
        mark = beats.find(scene.spool.layout, OTHER)
        assert mark is not None
        beats.say_gone(scene.spool.layout, mark, "web1")

    return act


def take_lost(scene: Shared) -> Act:
    return _take(scene, "start")


def take_ended(scene: Shared) -> Act:
    return _take(scene, "start", "end")


def take_cancelled(scene: Shared) -> Act:
    """Of a job that was asked to end before its host was gone."""
    witness.append(scene.journal, '{"cancel": "x"}')
    name = scene.put_running("start")
    (Path(scene.spool.layout.asked) / str(name)).touch()
    return _taking(scene)


def _take(scene: Shared, *lines: str) -> Act:
    scene.put_running(*lines)
    return _taking(scene)


def _taking(scene: Shared) -> Act:
    scene.let_beat(f"{OTHER}-gone-web1")
    scene.note_kill()
    own, context = scene.lease(), scene.context()
    adopted = Adopted(context, own.name, Attempts(context, lambda _: None), selectors.DefaultSelector())
    return lambda: _ignore(adopted.rescue_all([]))


def beat(scene: Shared) -> Act:
    """A worker joins its host, renews the beat twice, and leaves."""
    scene.submit()
    own, context = scene.lease(), scene.context()

    def act() -> None:
        with own:
            hosts.begin(context)
            keeper = hosts.Keeper(context, own, lambda: None, lambda: None)
            keeper._run = lambda: None  # type: ignore[method-assign]
            with keeper:
                for _ in range(2):
                    keeper._renewed_at -= beats.BEAT
                    keeper._look()

    return act


def clear_marks(scene: Shared) -> Act:
    """Remove the mark of a host that has left."""
    scene.submit()
    scene.let_beat("web8.aaaaaa-5-left")
    return lambda: _ignore(beats.clear(scene.spool.layout, clock.now().timestamp() + 60))


def come_back(scene: Shared) -> Act:
    """The first worker of a host that was said to be gone: it ends what runs here, and takes another key."""
    scene.submit()
    scene.let_beat(f"{host.here(scene.spool.layout).name}-gone-web9")
    context = scene.context()
    return lambda: hosts.begin(context)


def ask(scene: Shared) -> Act:
    """A cancel of a job on another host, up to where it waits for the answer."""
    witness.append(scene.journal, '{"cancel": "x"}')
    name = scene.put_running("start")
    scene.let_beat()
    return lambda: _ignore(asked._write(scene.spool.layout, str(name)))


def answer(scene: Shared) -> Act:
    """Look at requests whose jobs are over, twice, which removes them."""
    name = scene.put_running("start", "end")
    scene.let_beat(f"{OTHER}-gone-web1")
    for suffix in ("", ".signal15"):
        (Path(scene.spool.layout.asked) / f"{name._replace(id='over')}{suffix}").touch()
    context = scene.context()
    requests = Requests(context, Attempts(context, lambda _: None))

    def act() -> None:
        requests.look()
        requests.look()

    return act


def begin_part(scene: Shared) -> Act:
    """Claim a job for its second attempt, whose first one was on another host."""
    scene.put_running("start")
    scene.let_beat(f"{OTHER}-gone-web1")
    (text,) = os.listdir(scene.spool.layout.running)
    name = RunningName.parse(text)
    assert name is not None
    log = logs.open_existing(scene.spool.layout.log("x"))
    logs.append_end(log, name, "result=lost")
    os.close(log)
    pending = f"010-{format_time(clock.now() - timedelta(seconds=1))}-1-x.json"
    os.rename(scene.spool.layout.job(State.RUNNING, name), f"{scene.spool.layout.pending}/{pending}")
    scene.note_kill(2)
    own = scene.lease()
    return lambda: _ignore(scene.claim(own.name))


def delete_parts(scene: Shared) -> Act:
    """Prune a job whose log has parts of three hosts; what is left of it is pruned again (`_repair`)."""
    layout = scene.spool.layout
    scene.submit()
    name = FinishedName(clock.now(), 10, 1, SUCCESS, 5, "old")
    Path(layout.job(State.DONE, name)).write_text('{"command": "true"}')
    for each in ("web1", "web2", "web3"):
        scene.become(each)
        log = logs.open_log(layout.log("old"))
        os.close(log_parts.own(log))
    return lambda: _ignore(prune.delete(layout, State.DONE, name))


def _ignore(_: object) -> None:
    pass


OPERATIONS: dict[str, Callable[[Shared], Act]] = {
    "submit": submit,
    "submit-waiting": submit_waiting,
    "claim": claim,
    "attempt": attempt,
    "worker": worker,
    "settle": settle,
    "say-gone": say_gone,
    "take-lost": take_lost,
    "take-ended": take_ended,
    "take-cancelled": take_cancelled,
    "beat": beat,
    "clear-marks": clear_marks,
    "come-back": come_back,
    "ask": ask,
    "answer": answer,
    "begin-part": begin_part,
    "delete-parts": delete_parts,
}


# --- what the others make of it


def _repair(scene: Scene) -> list[str]:
    """What is wrong after all hosts but `web3` were said to be gone, and a worker there has done what was left."""
    assert isinstance(scene, Shared)
    layout = scene.spool.layout
    problems = [f"before the repair: {text}" for text in syscalls.check_files(scene)]
    _await_jobs(scene)
    scene.become("web3")
    _submit_again(scene)
    _prune_again(scene)
    workers = {each.worker for each in query.running(layout)}
    workers |= {entry.removesuffix(".json") for entry in os.listdir(layout.workers)}
    for name in {lease.host_of(worker) for worker in workers} | {*beats.look(layout)}:
        mark = beats.find(layout, name)
        if mark is None:
            beats.say_unknown_gone(layout, name, "web3")
        elif not mark.is_gone and not beats.say_gone(layout, mark, "web3"):
            problems.append(f"{mark} cannot be said to be gone")
    problems += syscalls.drain(scene)
    context = scene.context()
    requests = Requests(context, Attempts(context, lambda _: None))
    requests.look()
    requests.look()
    problems += checker.check(scene.spool.path, scene.evidence.directory).problems
    for path in (layout.workers, layout.asked):
        if os.listdir(path):
            problems.append(f"{path} is not empty: {os.listdir(path)}")
    marks = [*beats.look(layout).values()]
    problems += [f"hosts/ has {mark}" for mark in marks if not mark.is_gone and not mark.has_left]
    return problems


def _await_jobs(scene: Shared) -> None:
    """Until no process of a job is left: what a worker that died has started ends by itself."""
    token = b"QUEUECTL_SPOOL=" + os.fsencode(scene.spool.layout.root) + b"\0"

    def is_one(entry: str) -> bool:
        with suppress(OSError):
            return token in Path(f"/proc/{entry}/environ").read_bytes()
        return False

    wait_for(lambda: not any(is_one(entry) for entry in os.listdir("/proc") if entry.isdecimal()), "the end of jobs")


def _submit_again(scene: Shared) -> None:
    """Whoever submits an id whose submitter has died finishes that submit."""
    entries = [json.loads(line) for line in scene.journal.read_text().splitlines()] if scene.journal.exists() else []
    acknowledged = {entry.get("ack") for entry in entries}
    for entry in entries:
        if "intent" in entry and entry["intent"] not in acknowledged:
            with suppress(AlreadyExistsError):
                next(iter(scene.spool.enqueue_many([entry["body"]])))


def _prune_again(scene: Shared) -> None:
    layout = scene.spool.layout
    for text in query.list_names(layout, State.DONE):
        name = FinishedName.parse(text)
        if name is not None and name.id == "old":
            prune.delete(layout, State.DONE, name)


def sweep(operation: str, fault: str, step: int) -> syscalls.Figures:
    """Of one operation, or of `all`."""
    if operation == "all":
        every = [sweep(each, fault, step) for each in OPERATIONS]
        figures = syscalls.Figures(operation, fault)
        for each in every:
            figures.points, figures.struck = figures.points + each.points, figures.struck + each.struck
            figures.refused += each.refused
            figures.problems += each.problems
        return figures
    begin: Callable[[Scene], Act] = OPERATIONS[operation]  # type: ignore[assignment]
    return syscalls.sweep(operation, fault, step, make=Shared.make, begin=begin, judge=_repair, is_centred=True)


def main(arguments: list[str]) -> int:
    operation, fault, *rest = arguments
    return syscalls.report(sweep(operation, fault, int(rest[0]) if rest else 1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
