"""The disk, or its table of inodes, is full again and again while jobs are submitted and run."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from queuectl import Spool
from tests.support import WorkerProcess, environment
from tests.torture import checker, witness
from tests.torture.volumes import Volume, volume
from tests.torture.witness import Evidence

OPTIONS = {"tmpfs": "size=8m,nr_inodes=1500"}
_ROUND = 40  # submissions while full


@dataclass
class Fullness:
    """What came of it: how many submissions were refused, and how."""

    rounds: int = 0
    acknowledged: int = 0
    refused: int = 0
    settled_while_full: int = 0
    problems: list[str] = field(default_factory=list)


def rage(kind: str, home: Path, *, what: str = "bytes", rounds: int = 4, seed: int = 1) -> Fullness:
    """Fill up `bytes` or `inodes`, submit, let running jobs end, free the space again; then judge."""
    rng = random.Random(seed)
    found = Fullness()
    with volume(kind, home, OPTIONS.get(kind, ""), 64 if kind == "ext4" else None) as disk:
        evidence = Evidence(home / "evidence")
        spool = Spool(disk.path / "spool", create=True)
        (spool.path / "config.toml").write_text("min-free = 0\nrescan = 0.2\n")
        worker = WorkerProcess(spool.path, "--count", "2", report=home).wait_ready()
        for number in range(rounds):
            jobs = list(witness.make_jobs(evidence, _ROUND, rng.randrange(1 << 30), prefix=f"r{number}j"))
            for job in jobs[: _ROUND // 2]:
                _submit(spool, evidence, job, found)
            before = _settled(spool)
            fill(disk, what)
            for job in jobs[_ROUND // 2 :]:
                _submit(spool, evidence, job, found)
            _check_command_line(spool, found)
            deadline = time.monotonic() + 0.5  # in which what runs may end
            while time.monotonic() < deadline and os.listdir(spool.path / "running"):
                time.sleep(0.01)
            found.settled_while_full += _settled(spool) - before
            free(disk)
            found.rounds += 1
        _drain(spool, worker, home, found)
        found.problems += checker.check(spool.path, evidence.directory, trust_logs=False).problems
    return found


def _submit(spool: Spool, evidence: Evidence, job: dict[str, object], found: Fullness) -> None:
    try:
        witness.enqueue_all(spool.path, [job], evidence.directory / "journal")
        found.acknowledged += 1
    except Exception as error:
        found.refused += 1
        if getattr(error, "exit_code", None) != 6:
            found.problems.append(f"{job['id']} is refused with {type(error).__name__}: {error}")


def _check_command_line(spool: Spool, found: Fullness) -> None:
    """While the disk is full, `queuectl enqueue` says so in three lines and exits with 6; or it succeeds."""
    words = [sys.executable, "-m", "queuectl", "--spool", str(spool.path), "enqueue", "-q", "--", "true"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=60)
    if done.returncode == 0:  # a block was free after all: it is nobody's in the evidence
        with suppress(Exception):
            spool.cancel(done.stdout.strip())
        for path in (*spool.path.glob(f"*/*-{done.stdout.strip()}.json"),):
            path.unlink()
    elif done.returncode != 6 or len(done.stderr.splitlines()) > 3:
        found.problems.append(f"enqueue on a full disk: {done.returncode}: {done.stderr}")


def fill(disk: Volume, what: str) -> None:
    """Until the very last block, or inode, is gone."""
    filler = disk.path / "filler"
    filler.mkdir()
    if what == "inodes":
        with suppress(OSError):
            for number in range(1 << 20):
                (filler / f"{number}").touch()
        return
    fd = os.open(filler / "bytes", os.O_WRONLY | os.O_CREAT)
    for size in (1 << 24, 1 << 20, 1 << 16, 1 << 12):
        with suppress(OSError):
            while os.write(fd, bytes(size)) == size:
                pass
    with suppress(OSError):
        os.fsync(fd)
    os.close(fd)


def free(disk: Volume) -> None:
    for path in (disk.path / "filler").iterdir():
        path.unlink()
    (disk.path / "filler").rmdir()


def _settled(spool: Spool) -> int:
    return sum(len(os.listdir(spool.path / state)) for state in ("done", "dead"))


def _drain(spool: Spool, worker: WorkerProcess, home: Path, found: Fullness) -> None:
    """The same worker must continue by itself; it is given a minute."""
    deadline = time.monotonic() + 60
    while any(os.listdir(spool.path / state) for state in ("pending", "running")) and time.monotonic() < deadline:
        if worker.process.poll() is not None:
            found.problems.append(
                f"the worker ended with {worker.process.returncode}: {worker.report.read_text()[-500:]}"
            )
            worker = WorkerProcess(spool.path, "--count", "2", report=home)
        time.sleep(0.05)
    worker.kill()
