"""Every way in which something of a queue on Slurm can end or stop while jobs run, on a real Slurm of two nodes.

By the jobs' own ledger: each ends with its own exit code, or as `lost` where the fault may cost that; no two attempts
of a job at a time; what was only asked for, or only stopped, costs no attempt. Afterwards nothing is left.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from queuectl import Spool
from queuectl.core.result import State
from tests.support import WorkerProcess, names, wait_for
from tests.work.engines.clusters import marked
from tests.work.engines.slurms import Slurm

PILOT, SCHEDULER = "queuectl.work.engines.pilot", "queuectl.work.engines.own_scheduler"
_SLOW = 240.0
_JOBS, _DRAINED = 12, 500
_LONG = 3.0  # seconds that the jobs take that are hit
_SCRIPT = (
    "exec 9>>{home}/lock.$QUEUECTL_JOB_ID; flock -n 9 || echo overlap $QUEUECTL_JOB_ID >>{home}/ledger; "
    "echo begin $QUEUECTL_JOB_ID >>{home}/ledger; sleep {seconds}; exit {code}"
)


class Scene:
    """A spool, a Slurm, and the worker between them."""

    def __init__(self, home: Path, slurm: Slurm, limit: str = "10m") -> None:
        home.mkdir()
        self.home, self.slurm, self._limit = home, slurm, limit
        self.spool = Spool(home / "spool", create=True)
        self.worker = self.start()
        self.spare: list[WorkerProcess] = []

    def start(self) -> WorkerProcess:
        words = ("--on", "slurm", "--max", "2", "--count", "2", "--time", self._limit, "--keep", "3", "--address")
        return WorkerProcess(Path(self.spool.path), *words, "127.0.0.1", env=self.slurm.environment)

    def restart(self) -> None:
        self.worker = self.start()

    def ledger(self, what: str) -> list[str]:
        path = self.home / "ledger"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(what)]

    def send(self, number: int, *patterns: str) -> list[int]:
        """Send a signal to every process of this trial whose command line has one of these texts."""
        found = [pid for pattern in patterns for pid in self.slurm.pids(pattern)]
        for pid in found:
            os.kill(pid, number)
        return found


class Fault(NamedTuple):
    """`strike` is called while jobs run; `may_lose` is whether attempts may be lost by it."""

    name: str
    strike: Callable[[Scene], None]
    may_lose: bool = False
    limit: str = "10m"


def _running(scene: Scene) -> list[str]:
    return [*scene.slurm.jobs("RUNNING")]


def _stop_for(scene: Scene, seconds: float, *patterns: str) -> None:
    scene.send(signal.SIGSTOP, *patterns)
    _let_pass(seconds)
    scene.send(signal.SIGCONT, *patterns)


def _let_pass(seconds: float) -> None:
    time.sleep(seconds)  # the fault lasts for so long


def _ask(scene: Scene) -> None:
    scene.slurm.run("scancel", "-b", "-s", "TERM", *_running(scene)[:1])


def _cancel(scene: Scene) -> None:
    scene.slurm.run("scancel", *_running(scene)[:1])


def _requeue(scene: Scene) -> None:
    scene.slurm.run("scontrol", "requeue", *_running(scene)[:1])


def _kill_pilot(scene: Scene) -> None:
    os.kill(scene.slurm.pids(PILOT)[0], signal.SIGKILL)


def _stop_pilot(scene: Scene) -> None:
    _stop_for(scene, 10, PILOT)


def _kill_step(scene: Scene) -> None:
    for pid in marked("slurmstepd: ["):  # of any Slurm here: what it has done to its environment hides whose it is
        os.kill(pid, signal.SIGKILL)


def _cut_off(scene: Scene) -> None:
    """For longer than SlurmdTimeout: the node is down, says Slurm, although all of it lives."""
    _stop_for(scene, 45, "slurmd\0-D\0-N\0n1")


def _kill_node(scene: Scene) -> None:
    node = scene.slurm.processes["n1"]
    node.kill()
    node.wait()
    _let_pass(5)
    scene.slurm.start_node("n1")


def _kill_controller(scene: Scene) -> None:
    controller = scene.slurm.processes["controller"]
    controller.kill()
    controller.wait()
    _let_pass(25)
    scene.slurm.start_controller()


def _stop_controller(scene: Scene) -> None:
    _stop_for(scene, 25, "slurmctld\0-D")


def _kill_scheduler(scene: Scene) -> None:
    scene.send(signal.SIGKILL, SCHEDULER)


def _stop_scheduler(scene: Scene) -> None:
    _stop_for(scene, 20, SCHEDULER)


def _kill_bridge(scene: Scene) -> None:
    scene.worker.kill()
    _let_pass(3)
    scene.restart()


def _stop_bridge(scene: Scene) -> None:
    """Another is refused in the meantime."""
    scene.worker.process.send_signal(signal.SIGSTOP)
    other = scene.start()
    assert other.process.wait(_SLOW) == 6
    scene.worker.process.send_signal(signal.SIGCONT)


def _detach_bridge(scene: Scene) -> None:
    scene.worker.process.send_signal(signal.SIGUSR1)
    scene.worker.process.wait(_SLOW)
    scene.restart()


def _reach_limit(scene: Scene) -> None:
    """Nothing is to be done but to wait: the jobs are told apart by how long they take."""


FAULTS = (
    Fault("scancel -b", _ask),
    Fault("scancel", _cancel),
    Fault("scontrol requeue", _requeue),
    Fault("kill -9 of a Dask worker", _kill_pilot, may_lose=True),
    Fault("kill -STOP of the Dask workers", _stop_pilot),
    Fault("kill -9 of slurmstepd", _kill_step),
    Fault("slurmd cut off", _cut_off, may_lose=True),
    Fault("death of a node", _kill_node, may_lose=True),
    Fault("controller killed", _kill_controller),
    Fault("controller stopped", _stop_controller),
    Fault("kill -9 of the Dask scheduler", _kill_scheduler, may_lose=True),
    Fault("kill -STOP of the Dask scheduler", _stop_scheduler),
    Fault("kill -9 of the worker", _kill_bridge),
    Fault("kill -STOP of the worker", _stop_bridge),
    Fault("detaching the worker", _detach_bridge),
    Fault("time limit", _reach_limit, limit="1m"),
)
SHORT = ("kill -9 of the Dask scheduler", "kill -STOP of the worker")


class Outcome(NamedTuple):
    faults: int
    jobs: int
    attempts: int
    lost: int
    problems: list[str]


def rage(home: Path, wanted: Sequence[str] = ()) -> Outcome:
    """These faults, or all of them, one after the other."""
    faults = [fault for fault in FAULTS if not wanted or fault.name in wanted]
    slurm = Slurm(home / "slurm")
    jobs = attempts = lost = 0
    problems: list[str] = []
    try:
        for number, fault in enumerate(faults):
            scene = Scene(home / f"{number}", slurm, fault.limit)
            try:
                found = _try(scene, fault)
            finally:
                scene.worker.process.send_signal(signal.SIGCONT)
                scene.worker.process.send_signal(signal.SIGQUIT)
                scene.worker.process.wait(_SLOW)
            problems += [f"{fault.name}: {problem}" for problem in (*found, *_leftovers(scene))]
            jobs += _JOBS
            attempts += len(scene.ledger("begin"))
            lost += sum(str(scene.spool.get(f"x{id}").result) == "lost" for id in range(_JOBS))
        if not wanted:
            problems += _drain(home / "drain", slurm)
            jobs, attempts = jobs + _DRAINED, attempts + _DRAINED
    finally:
        slurm.close()
    return Outcome(len(faults), jobs, attempts, lost, problems)


def _try(scene: Scene, fault: Fault) -> list[str]:
    """What is wrong with what became of the jobs."""
    is_limit = fault.limit == "1m"
    codes: dict[str, int] = {}
    for number in range(_JOBS):
        id, code = f"x{number}", number % 3
        seconds = 300 if is_limit and number == 0 else _LONG
        script = _SCRIPT.format(home=scene.home, seconds=seconds, code=code)
        scene.spool.enqueue(script, id=id, max_retries=0, on_lost="dead" if number % 2 else "retry")
        codes[id] = code
    wait_for(lambda: len(names(scene.home / "spool" / "running")) == 4, "jobs on both nodes", _SLOW)
    fault.strike(scene)
    jobs = [*codes]
    deadline = time.monotonic() + _SLOW
    while not all(scene.spool.get(id).state in (State.DONE, State.DEAD) for id in jobs):
        if time.monotonic() < deadline:
            time.sleep(0.1)
            continue
        left = [id for id in jobs if scene.spool.get(id).state not in (State.DONE, State.DEAD)]
        return [f"{left} have not ended; the worker said {scene.worker.report.read_text()[-1500:]}"]
    problems = [f"{id} ran twice at a time" for id in scene.ledger("overlap")]
    for id, code in codes.items():
        result = str(scene.spool.get(id).result)
        expected = "timeout" if is_limit and id == "x0" else f"exit{code}"
        if result != expected and not (fault.may_lose and result == "lost"):
            problems.append(f"{id} ended as {result}, not {expected}")
    if is_limit and scene.ledger("begin").count("x0") != 2:
        problems.append(f"x0 began {scene.ledger('begin').count('x0')} times, not 2")
    return problems


def _drain(home: Path, slurm: Slurm) -> list[str]:
    """Many jobs without any fault: what is wrong with their exit codes and logs."""
    scene = Scene(home, slurm)
    ids = [f"x{number}" for number in range(_DRAINED)]
    for number, id in enumerate(ids):
        scene.spool.enqueue(f"echo out {number}; exit {number % 5}", id=id, max_retries=0)
    wait_for(lambda: all(scene.spool.get(id).state in (State.DONE, State.DEAD) for id in ids), "the end", 2 * _SLOW)
    scene.worker.process.send_signal(signal.SIGTERM)
    scene.worker.process.wait(_SLOW)
    problems = _leftovers(scene)
    for number, id in enumerate(ids):
        said = (home / "spool" / "logs" / f"{id}.log").read_text().splitlines()
        if str(scene.spool.get(id).result) != f"exit{number % 5}" or said.count(f"out {number}") != 1:
            problems.append(f"{id} ended as {scene.spool.get(id).result}, and said {said}")
    return problems


def _leftovers(scene: Scene) -> list[str]:
    """What is still there although the worker has stopped."""

    def find() -> list[str]:
        kinds = (PILOT, SCHEDULER, f"{scene.home}/lock.")
        left = [f"{kind}: {pids}" for kind in kinds if (pids := scene.slurm.pids(kind))]
        return left + [f"Slurm job {id}" for id in scene.slurm.jobs("PENDING", "RUNNING")]

    deadline = time.monotonic() + 60
    while (left := find()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return [f"left: {each}" for each in left]
