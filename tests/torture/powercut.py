"""The power goes while jobs are submitted and run; afterwards every acknowledged job must be there, and those that wait
for others with all of their edges."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from queuectl import Spool
from tests.support import WorkerProcess, environment
from tests.torture import checker, witness
from tests.torture.volumes import Volume, volume
from tests.torture.witness import Evidence

_PRODUCER = """
import json, sys
from tests.torture import variants, witness
from pathlib import Path
spool, journal, jobs, variant, group = sys.argv[1:6]
if variant:
    variants.VARIANTS[variant]()
with open(jobs) as file:
    witness.enqueue_all(Path(spool), map(json.loads, file), Path(journal), group=int(group))
"""


@dataclass
class Outage:
    """What came of a number of cuts."""

    cuts: int = 0
    acknowledged: int = 0
    unanswered: int = 0
    repeated: int = 0
    problems: list[str] = field(default_factory=list)


def rage(kind: str, home: Path, *, cuts: int, seed: int = 1, variant: str = "") -> Outage:
    """Cut the power that many times, on one file system that ages as it goes."""
    rng = random.Random(seed)
    outage = Outage()
    with volume(kind, home, options=",commit=300" if kind == "btrfs" else "") as disk:
        for number in range(cuts):
            _strike(disk, home, number, rng, outage, variant)
            if variant and outage.problems:
                break
    return outage


def _strike(disk: Volume, home: Path, number: int, rng: random.Random, outage: Outage, variant: str) -> None:
    evidence = Evidence(home / f"evidence{number}")
    spool = Spool(disk.path / f"spool{number}", create=True)
    (spool.path / "config.toml").write_text("settle = 1\n")
    _hold_gate(spool, evidence)
    disk.sync()
    producers = [_start_producer(spool, evidence, index, rng.randrange(1 << 30), variant) for index in range(3)]
    worker = _start_worker(spool, home)
    journals = [evidence.directory / f"journal{index}" for index in range(3)]
    _wait_for_acks(journals, rng.randrange(3, 30), producers)
    durable = set()
    if number % 2:
        disk.sync()
        durable = {value[0] for name in os.listdir(spool.path / "done") if (value := checker.parse("done", name))}
        disk.sync()
        ran = _starts(evidence)
        _wait_for_acks(journals, _acks(journals) + rng.randrange(1, 10), producers)
    time.sleep(rng.random() * 0.05)
    everyone = [*(producer.pid for producer in producers), worker.process.pid]
    for pid in everyone if disk.kind == "btrfs" else []:
        _signal(pid, signal.SIGSTOP)
    disk.cut_power()
    for producer in producers:
        producer.kill()
        producer.wait()
    worker.kill()
    _end_jobs(spool)
    disk.restore_power()
    outage.cuts += 1
    outage.problems += [f"cut {number}: {problem}" for problem in _judge(spool, evidence, home)]
    outage.acknowledged += _acks(journals)
    outage.unanswered += sum(path.read_text().count('"intent"') for path in journals) - _acks(journals)
    if durable:
        again = [id for id in durable if _starts(evidence)[id] != ran[id]]
        outage.problems += [f"cut {number}: {id} was done and durable, and ran again" for id in again]
    outage.repeated += sum(count > 1 for count in _starts(evidence).values())
    if not outage.problems:
        shutil.rmtree(spool.path)  # with its ballast; the file system grows old all the same


def _judge(spool: Spool, evidence: Evidence, home: Path) -> list[str]:
    """At once after the mount, and again when a worker has brought everything to its end."""
    found = checker.check(spool.path, evidence.directory, is_settled=False, may_run_again=True).problems
    found += [
        f"after the mount: {path.name} is empty" for path in spool.path.glob("pending/*") if not path.stat().st_size
    ]
    found += _lacking(spool, evidence)
    spool.release(_GATE)
    last = _start_worker(spool, home, "--drain", "--count", "4")
    try:
        if last.process.wait(120):
            found.append(f"the worker afterwards: {last.report.read_text()[-300:]}")
    except subprocess.TimeoutExpired:
        last.kill()
        found.append(f"the worker afterwards hangs: {last.report.read_text()[-300:]}")
    return found + checker.check(spool.path, evidence.directory, may_run_again=True).problems


_CHILDREN = 2  # the producer whose jobs wait for others, up to a dozen
_GATE = "gate"
"""A held job: what waits for it waits until the power is back."""


def _hold_gate(spool: Spool, evidence: Evidence) -> None:
    body = {"id": _GATE, "command": evidence.script(0), "max_retries": 1, "torture_code": 0, "torture_text": ""}
    witness.enqueue_all(spool.path, [body], evidence.directory / "journal-gate")
    spool.hold(_GATE)


def _lacking(spool: Spool, evidence: Evidence) -> Iterator[str]:
    """Acknowledged jobs that do not wait any more, or not for all that they named."""
    lines = map(json.loads, (evidence.directory / "journal2").read_text().splitlines())
    bodies: dict[str, list[str]] = {}
    for line in lines:
        if "intent" in line:
            bodies[line["intent"]] = line["body"]["after_end"]
        elif not (spool.path / f"pending/010-99990101T000000.000Z-0-{line['ack']}.json").exists():
            yield f"after the mount: {line['ack']} does not wait"
        else:
            for dep in bodies[line["ack"]]:
                if not (spool.path / f"after/{dep}/{line['ack']}").exists():
                    yield f"after the mount: after/{dep}/{line['ack']} is not there"


def _start_worker(spool: Spool, home: Path, *words: str) -> WorkerProcess:
    """Its report lies outside, on a disk that has power."""
    return WorkerProcess(spool.path, *(words or ("--count", "2")), env={"QUEUECTL_MIN_FREE": "1M"}, report=home)


def _start_producer(spool: Spool, evidence: Evidence, index: int, seed: int, variant: str) -> subprocess.Popen[bytes]:
    jobs = evidence.directory / f"jobs{index}"
    made = [*witness.make_jobs(evidence, 400, seed, prefix=f"p{index}j")]
    if index == _CHILDREN:
        for number, job in enumerate(made):
            job["after_end"] = [_GATE, *(earlier["id"] for earlier in made[max(0, number - number % 12) : number])]
    jobs.write_text("".join(json.dumps(job) + "\n" for job in made))
    (evidence.directory / f"journal{index}").touch()
    words = [spool.path, evidence.directory / f"journal{index}", jobs, variant, (1, 12, 5)[index]]
    return subprocess.Popen(
        [sys.executable, "-c", _PRODUCER, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )


def _wait_for_acks(journals: Sequence[Path], least: int, producers: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + 60
    while _acks(journals) < least and any(producer.poll() is None for producer in producers):
        assert time.monotonic() < deadline, "nothing is acknowledged"
        time.sleep(0.002)


def _acks(journals: Sequence[Path]) -> int:
    return sum(path.read_bytes().count(b'"ack"') for path in journals)


def _starts(evidence: Evidence) -> Counter[str]:
    lines = (line.split() for line in evidence.ledger.read_text().splitlines())
    return Counter(words[1] for words in lines if words[0] == "S")


def _end_jobs(spool: Spool) -> None:
    """No process outlives a power cut."""
    mark = f"QUEUECTL_SPOOL={spool.path}".encode()
    deadline = time.monotonic() + 5
    is_clear = False
    while not is_clear and time.monotonic() < deadline:
        is_clear = True
        for entry in os.listdir("/proc"):
            try:
                if entry.isdecimal() and mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                    os.kill(int(entry), signal.SIGKILL)
                    is_clear = False
            except OSError:
                continue


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
