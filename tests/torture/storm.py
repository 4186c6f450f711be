"""The kill storm: workers, and on demand the shells of jobs, die by SIGKILL at random moments while jobs come in."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
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
    _leave_claim_of_dead_worker(spool.path, evidence)
    fleet = [_start_worker(spool.path, start) for _ in range(workers)]
    struck = shots = 0
    problems: list[str] = []
    deadline = time.monotonic() + patience
    while struck < kills and time.monotonic() < deadline:
        settled = _settled(spool)
        if settled >= jobs and not any(producer.is_alive() for producer in producers):
            break
        # one kill for each share of the jobs, at a moment of its own
        target = min(jobs * (struck + 1) // (kills + 1), settled + rng.randrange(1, 2 + 2 * jobs // kills))
        while _settled(spool) < target and time.monotonic() < deadline:
            problems += _probe(spool.path, rng)
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
    try:
        last.process.wait(patience)
    except subprocess.TimeoutExpired:
        last.kill()
    else:
        problems += [f"the last worker ended with {last.process.returncode}"] if last.process.returncode else []
    verdict = checker.check(spool.path, evidence.directory)
    verdict.problems += problems
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


def _leave_claim_of_dead_worker(spool: Path, evidence: Evidence) -> None:
    """A job claimed by a worker that died, whose pid now belongs to another process: to this one."""
    body = {"id": "recycled", "command": evidence.script(0), "torture_code": 0}
    host = re.sub(r"[^a-z0-9_.]", "_", socket.gethostname().lower())[:20]
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.000Z")
    name = f"{at}-010-1-{host}.{os.getpid()}.aaaa-recycled.json"
    witness.append(evidence.directory / "journal9", json.dumps({"intent": "recycled", "body": body}))
    (spool / "running" / name).write_text(json.dumps(body))
    witness.append(evidence.directory / "journal9", json.dumps({"ack": "recycled"}))


def _start_worker(spool: Path, start: Sequence[str], *words: str) -> WorkerProcess:
    return WorkerProcess(spool, *(words or ("--count", "2")), prefix=start)


def _settled(spool: Spool) -> int:
    return sum(len(os.listdir(spool.path / state)) for state in ("done", "dead"))


def _catch(spool: Path, rng: random.Random) -> tuple[str, int, int, int] | None:
    """(id, attempt, pid, pidfd) of a running job's shell that is certainly that; None if none can be caught."""
    names = os.listdir(spool / "running")
    value = checker.parse("running", rng.choice(names)) if names else None
    if value is None:
        return None
    id, attempt, _ = value
    mark = f"#queuectl start attempt={attempt} "
    try:
        log = (spool / "logs" / f"{id}.log").read_text(errors="replace")
        pid = int(next(line for line in reversed(log.splitlines()) if line.startswith(mark)).rsplit("pid=", 1)[1])
        descriptor = os.pidfd_open(pid)
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    with suppress(OSError):
        variables = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
        if {f"QUEUECTL_JOB_ID={id}".encode(), f"QUEUECTL_ATTEMPT={attempt}".encode()} <= variables:
            return id, attempt, pid, descriptor
    os.close(descriptor)
    return None


def _is_alive(descriptor: int) -> bool:
    """Whether the process of a pidfd has not ended: it becomes readable when that happens."""
    return not select.select([descriptor], [], [], 0)[0]


def _probe(spool: Path, rng: random.Random) -> list[str]:
    """What is wrong with a job whose shell lives: it is in the hands of no worker, or its log can be locked."""
    caught = _catch(spool, rng)
    if caught is None:
        return []
    id, attempt, pid, descriptor = caught
    try:
        for name in os.listdir(spool / "running"):
            worker = name.split("-", 4)[3]
            is_known = not name.endswith(f"-{id}.json") or (spool / "workers" / f"{worker}.json").exists()
            if not is_known and (spool / "running" / name).exists() and _is_alive(descriptor):
                return [f"{id}: runs under {name}, and there is no worker {worker}"]
        with (spool / "logs" / f"{id}.log").open("rb") as log:
            asked = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 1, 0, 0)
            kind, *_ = struct.unpack("@hhqqi4x", fcntl.fcntl(log, fcntl.F_OFD_GETLK, asked))
            if kind == fcntl.F_UNLCK and _is_alive(descriptor):
                return [f"{id}: nobody holds the lock of attempt {attempt}, and its shell {pid} lives"]
    except OSError:
        return []
    finally:
        os.close(descriptor)
    return []


def _shoot(spool: Path, evidence: Evidence, rng: random.Random) -> int:
    """Kill the shell of a running job, if one can be caught; how many died."""
    caught = _catch(spool, rng) if rng.random() < 0.4 else None
    if caught is None:
        return 0
    id, attempt, _, descriptor = caught
    try:
        witness.append(evidence.directory / "kills", f"{id} {attempt}")
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return 0
    finally:
        os.close(descriptor)
    return 1
