"""Limits of nested groups under `kill -9`: workers die, stop and continue while limits change, and jobs keep a ledger.

A job appends a line when it begins and one before it ends, so whoever reads the lines in order never counts more jobs
at once than there were. How many ran in a group when one began must be within the limit that was in force. A limit that
was lowered is in force once its group has come down to it, and no worker is stopped: a worker may have decided before.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from queuectl import Spool
from queuectl.core import groups
from queuectl.spool.system import groups as group_files
from tests.support import WorkerProcess, wait_for

LIMITS = {"a": 7, "a.b": 3, "a.b.c": 2, "d": 1}
_IDS = ("a.{}", "a.b.{}", "a.b.c.{}", "d.{}", "free.{}")
_CHANGES = (1, 2, 3, 7)
_STOP = (0.2, 2.5)  # seconds; the longest is beyond every wait of a worker
_SLOTS = "6"


@dataclass
class Outcome:
    """What came of it: the most that ran at once in each group, and what is wrong."""

    jobs: int = 0
    kills: int = 0
    stops: int = 0
    changes: int = 0
    most: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class _Storm:
    def __init__(self, home: Path, jobs: int, seed: int, workers: int) -> None:
        self.rng = random.Random(seed)
        self.ledger = home / "ledger"
        self.ledger.touch()
        self.spool = Spool(home / "spool", create=True)
        self.limits = dict(LIMITS)
        self.lowered: dict[str, int] = {}  # not in force yet
        for group, limit in LIMITS.items():
            group_files.write(self.spool.layout, group, "limit", f"{limit}")
            self.note(f"limit {group} {limit}")
        self.ids = [_IDS[number % len(_IDS)].format(number) for number in range(jobs)]
        for id in self.ids:
            self.spool.enqueue(self._command(), id=id)
        self.fleet = [self._start() for _ in range(workers)]
        self.stopped: tuple[WorkerProcess, float] | None = None
        self.outcome = Outcome(jobs)

    def _command(self) -> str:
        said = f"$QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT >>{self.ledger}"
        return f"echo begin {said}; sleep {self.rng.choice((0.01, 0.05, 0.1, 0.3))}; echo end {said}"

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self.spool.path, "--count", _SLOTS)

    def note(self, text: str) -> None:
        with self.ledger.open("a") as ledger:
            ledger.write(f"{text}\n")

    @property
    def left(self) -> int:
        return len(os.listdir(self.spool.path / "pending")) + len(os.listdir(self.spool.path / "running"))

    def kill(self) -> None:
        at = self.rng.randrange(len(self.fleet))
        if self.stopped is not None and self.stopped[0] is self.fleet[at]:
            self.stopped = None
        self.fleet[at].kill()
        self.fleet[at] = self._start()
        self.outcome.kills += 1

    def stop(self) -> None:
        if self.stopped is None:
            worker = self.rng.choice(self.fleet)
            worker.process.send_signal(signal.SIGSTOP)
            self.stopped = worker, time.monotonic() + self.rng.uniform(*_STOP)
            self.outcome.stops += 1

    def resume(self, *, is_due: bool) -> None:
        if self.stopped is not None and (is_due or time.monotonic() >= self.stopped[1]):
            self.stopped[0].process.send_signal(signal.SIGCONT)
            self.stopped = None

    def change(self) -> None:
        """Set another limit: by a command's way, or as `echo` does, which empties the file first."""
        group, limit = self.rng.choice([*LIMITS]), self.rng.choice(_CHANGES)
        if group in self.lowered:
            return
        if limit > self.limits[group]:
            self.note(f"limit {group} {limit}")
            self.limits[group] = limit
        elif limit < self.limits[group]:
            self.lowered[group] = limit
        if self.rng.random() < 0.5:
            group_files.write(self.spool.layout, group, "limit", f"{limit}")
        else:
            Path(self.spool.layout.group(group), "limit").write_text(f"{limit}\n")
        self.outcome.changes += 1

    def settle_limits(self) -> None:
        """Have lowered limits judged, once what began before them is over."""
        if not self.lowered:
            return
        self.resume(is_due=True)
        for group, limit in self.lowered.items():
            running = wait_for(lambda g=group, n=limit: self._running(g) <= n, f"{group} to come down", 60.0)  # type: ignore[misc]
            assert running
        time.sleep(1.5)  # not waiting for anything: the longest for which a decision may be under way
        for group, limit in self.lowered.items():
            self.limits[group] = limit
            self.note(f"limit {group} {limit}")
        self.lowered = {}

    def _running(self, group: str) -> int:
        return sum(f"-{group}." in name for name in os.listdir(self.spool.path / "running"))


def rage(home: Path, *, jobs: int, kills: int, seed: int = 1, workers: int = 3, patience: float = 600) -> Outcome:
    """Run such a storm in `home`, and judge it by the ledger."""
    storm = _Storm(home, jobs, seed, workers)
    deadline = time.monotonic() + patience
    while storm.outcome.kills < kills and storm.left and time.monotonic() < deadline:
        time.sleep(storm.rng.uniform(0.02, 0.3))
        storm.resume(is_due=False)
        act = storm.rng.choices((storm.kill, storm.stop, storm.change, storm.settle_limits), (8, 3, 2, 1))[0]
        act()
    storm.settle_limits()
    storm.resume(is_due=True)
    for worker in storm.fleet:
        worker.kill()
    last = WorkerProcess(storm.spool.path, "--drain", "--count", "12")
    try:
        code = last.process.wait(max(60.0, deadline - time.monotonic()))
    except Exception:
        last.kill()
        raise
    problems = storm.outcome.problems
    problems += [f"the last worker ended with {code}"] if code else []
    problems += judge(storm.ledger.read_text().splitlines(), storm.ids, storm.outcome.most)
    return storm.outcome


def judge(lines: list[str], ids: list[str], most: Counter[str]) -> list[str]:
    """What is wrong with a ledger of those jobs; notes the most of a group that ran at once."""
    problems: list[str] = []
    limits: dict[str, int] = {}
    running: dict[str, str] = {}
    ended: Counter[str] = Counter()
    for line in lines:
        event, id, number = line.split()
        if event == "limit":
            limits[id] = int(number)
        elif event == "end":
            running.pop(id, None)
            ended[id] += 1
        else:
            if id in running:
                problems.append(f"{id}: attempt {number} began while attempt {running[id]} ran")
            running[id] = number
            for group in groups.of(id):
                together = sum(groups.is_in(other, group) for other in running)
                most[group] = max(most[group], together)
                if together > limits.get(group, together):
                    problems.append(f"{id} began as number {together} of {group}, whose limit is {limits[group]}")
    problems += [f"{id} did not run to its end" for id in ids if not ended[id]]
    problems += [f"{id} ran {number} times" for id, number in ended.items() if number > 1]
    return problems
