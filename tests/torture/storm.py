"""The kill storm: workers, and on demand the shells of jobs, die by SIGKILL at random moments while jobs come in."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from queuectl import Spool
from tests.support import WorkerProcess
from tests.torture import checker, witness
from tests.torture.witness import Evidence

_FORK = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Storm:
    """What came of one: the checker's verdict, and how many kills struck."""

    verdict: checker.Verdict
    worker_kills: int
    shell_kills: int
    seconds: float


def rage(
    home: Path,
    *,
    jobs: int,
    kills: int,
    seed: int = 1,
    workers: int = 4,
    shells: bool = False,
    start: Sequence[str] = (),
    patience: float = 600,
) -> Storm:
    """Run a storm in `home` and judge it.

    `start` is put in front of the worker's own words: the variants use it.
    """
    begun = time.monotonic()
    rng = random.Random(seed)
    spool, evidence = Spool(home / "spool", create=True), Evidence(home / "evidence")
    producers = _start_producers(spool.path, evidence, jobs, seed, retries=20 if shells else None)
    fleet = [_start_worker(spool.path, start) for _ in range(workers)]
    struck = shots = 0
    deadline = time.monotonic() + patience
    while struck < kills and time.monotonic() < deadline:
        settled = _settled(spool)
        if settled >= jobs and not any(producer.is_alive() for producer in producers):
            break
        # one kill for each share of the jobs, at a moment of its own
        target = min(jobs * (struck + 1) // (kills + 1), settled + rng.randrange(1, 2 + 2 * jobs // kills))
        while _settled(spool) < target and time.monotonic() < deadline:
            if shells:
                shots += _shoot(spool.path, evidence, rng)
            time.sleep(rng.random() * 0.02)
        victim = rng.randrange(workers)
        fleet[victim].kill()
        struck += 1
        fleet[victim] = _start_worker(spool.path, start)
    for producer in producers:
        producer.join(patience)
    for worker in fleet:
        worker.kill()
    last = _start_worker(spool.path, start, "--drain", "--count", "4")
    last.wait_exit(patience)
    verdict = checker.check(spool.path, evidence.directory)
    left = sorted(os.listdir(spool.path / "workers"))
    if left:
        verdict.problems.append(f"workers/ still holds {', '.join(left)}")
    return Storm(verdict, struck, shots, time.monotonic() - begun)


def _start_producers(
    spool: Path, evidence: Evidence, jobs: int, seed: int, *, retries: int | None
) -> list[multiprocessing.context.SpawnProcess]:
    """Three: one job at a time, groups, and files dropped without queuectl."""
    share = jobs // 3
    made = list(witness.make_jobs(evidence, jobs, seed, retries=retries))
    journals = [evidence.directory / f"journal{n}" for n in range(3)]
    producers = [
        _FORK.Process(target=witness.enqueue_all, args=(spool, made[:share], journals[0])),
        _FORK.Process(
            target=witness.enqueue_all, args=(spool, made[share : 2 * share], journals[1]), kwargs={"group": 50}
        ),
        _FORK.Process(target=witness.drop_all, args=(spool, made[2 * share :], journals[2])),
    ]
    for producer in producers:
        producer.start()
    return producers


def _start_worker(spool: Path, start: Sequence[str], *words: str) -> WorkerProcess:
    return WorkerProcess(spool, *(words or ("--count", "2")), prefix=start)


def _settled(spool: Spool) -> int:
    return sum(len(os.listdir(spool.path / state)) for state in ("done", "dead"))


def _shoot(spool: Path, evidence: Evidence, rng: random.Random) -> int:
    """Kill the shell of a running job, if one can be caught; how many died."""
    names = os.listdir(spool / "running")
    if not names or rng.random() < 0.6:
        return 0
    name = rng.choice(names)
    value = checker.parse("running", name)
    if value is None:
        return 0
    id, attempt, _ = value
    try:
        log = (spool / "logs" / f"{id}.log").read_text(errors="replace")
        line = next(
            line for line in reversed(log.splitlines()) if line.startswith(f"#queuectl start attempt={attempt} ")
        )
        pid = int(line.rsplit("pid=", 1)[1])
        descriptor = os.pidfd_open(pid)
    except (OSError, StopIteration, ValueError, IndexError):
        return 0
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        is_it = {f"QUEUECTL_JOB_ID={id}".encode(), f"QUEUECTL_ATTEMPT={attempt}".encode()} <= set(variables)
        if not is_it:
            return 0
        witness.append(evidence.directory / "kills", f"{id} {attempt}")
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return 0
    finally:
        os.close(descriptor)
    return 1
