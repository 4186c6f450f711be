"""Limits and seats of nested groups under `kill -9`: workers die, stop and continue while both change, and jobs keep a
ledger. Some leave a process behind.

A job appends a line when it begins and one before it ends, so whoever reads the lines in order never counts more jobs
at once than there were. How many ran in a group when one began must be within the limit that was in force. A limit that
was lowered is in force once its group has come down to it, and no worker is stopped: a worker may have decided before.
The same holds for how many seats there are; but that no two jobs have one seat holds at any time.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from queuectl import Spool
from queuectl.core import groups
from queuectl.core.seats import variable_of
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.seats import find_held
from tests.support import WorkerProcess, wait_for

LIMITS = {"a": 7, "a.b": 3, "a.b.c": 2, "d": 1}
SEATS = {"s": 7, "s.t": 3, "s.t.u": 2, "c": 1}
_IDS = ("a.{}", "a.b.{}", "a.b.c.{}", "d.{}", "free.{}", "s.{}", "s.t.{}", "s.t.u.{}", "c.{}")
_NEEDS: tuple[dict[str, int] | None, ...] = (None, None, {"c": 1}, {"s": 2}, {"s": 2, "c": 1})
_CHANGES = (1, 2, 3, 7)
_STOP = (0.2, 2.5)  # seconds; the longest is beyond every wait of a worker
_SLOTS = "6"
_LEFT_BEHIND, _DAEMON = 0.1, 3  # of the jobs, and seconds: a process that holds their logs and seats beyond their end


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
        self.limits = {**LIMITS, **SEATS}
        self.lowered: dict[str, int] = {}  # not in force yet
        for group, limit in self.limits.items():
            group_files.write(self.spool.layout, group, _setting(group), f"{limit}")
            self.note(f"{_setting(group)} {group} {limit}")
        self.ids = [_IDS[number % len(_IDS)].format(number) for number in range(jobs)]
        for number, id in enumerate(self.ids):
            self.spool.enqueue(self._command(), id=id, seats=_NEEDS[number % len(_NEEDS)])
        self.fleet = [self._start() for _ in range(workers)]
        self.stopped: tuple[WorkerProcess, float] | None = None
        self.outcome = Outcome(jobs)

    def _command(self) -> str:
        said = f">>{self.ledger} $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT"
        seats = " ".join(f"{group}=${variable_of(group)}" for group in SEATS)
        daemon = f"; sleep {_DAEMON} &" if self.rng.random() < _LEFT_BEHIND else ""
        return f"echo begin {said} {seats}; sleep {self.rng.choice((0.01, 0.05, 0.1, 0.3))}; echo end {said}{daemon}"

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
        group, limit = self.rng.choice([*self.limits]), self.rng.choice(_CHANGES)
        if group in self.lowered or (group == "s" and limit < 2):  # some of its jobs need two
            return
        if limit > self.limits[group]:
            self.note(f"{_setting(group)} {group} {limit}")
            self.limits[group] = limit
        elif limit < self.limits[group]:
            self.lowered[group] = limit
        if self.rng.random() < 0.5:
            group_files.write(self.spool.layout, group, _setting(group), f"{limit}")
        else:
            Path(self.spool.layout.group(group), _setting(group)).write_text(f"{limit}\n")
        self.outcome.changes += 1

    def settle_limits(self) -> None:
        """Have lowered limits judged, once what began before them is over."""
        if not self.lowered:
            return
        self.resume(is_due=True)
        for group, limit in self.lowered.items():
            running = wait_for(lambda g=group, n=limit: self._used(g) <= n, f"{group} to come down", 60.0)  # type: ignore[misc]
            assert running
        time.sleep(1.5)  # not waiting for anything: the longest for which a decision may be under way
        for group, limit in self.lowered.items():
            self.limits[group] = limit
            self.note(f"{_setting(group)} {group} {limit}")
        self.lowered = {}

    def _used(self, group: str) -> int:
        if group in SEATS:
            return len(find_held(self.spool.layout, group))
        return sum(f"-{group}." in name for name in os.listdir(self.spool.path / "running"))


def _setting(group: str) -> str:
    return "seats" if group in SEATS else "limit"


def rage(home: Path, *, jobs: int, kills: int, seed: int = 1, workers: int = 3, patience: float = 1800) -> Outcome:
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
    code: int | str
    try:
        code = last.process.wait(max(60.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        code = f"nothing, with {storm.left} jobs left"
    finally:
        last.kill()
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
    places: dict[str, dict[str, str]] = {}  # of each group with seats: which are taken, and by whom
    there: dict[str, int] = {}
    for line in lines:
        event, id, number, *seats = line.split()
        if event == "limit":
            limits[id] = int(number)
        elif event == "seats":
            there[id] = int(number)
            places.setdefault(id, {})
        elif event == "end":
            running.pop(id, None)
            ended[id] += 1
            for group, taken in places.items():
                places[group] = {seat: holder for seat, holder in taken.items() if holder != id}
        else:
            if id in running:
                problems.append(f"{id}: attempt {number} began while attempt {running[id]} ran")
            running[id] = number
            for group in groups.of(id):
                together = sum(groups.is_in(other, group) for other in running)
                most[group] = max(most[group], together)
                if together > limits.get(group, together):
                    problems.append(f"{id} began as number {together} of {group}, whose limit is {limits[group]}")
            problems += _seat(id, dict(seat.split("=") for seat in seats), places, there)
            most.update({group: max(most[group], len(taken)) - most[group] for group, taken in places.items()})
    problems += [f"{id} did not run to its end" for id in ids if not ended[id]]
    problems += [f"{id} ran {number} times" for id, number in ended.items() if number > 1]
    return problems


def _seat(id: str, said: dict[str, str], places: dict[str, dict[str, str]], there: dict[str, int]) -> list[str]:
    """Note the seats that a job says it has; what is wrong with them."""
    problems = [
        f"{id} began without a seat of {group}" for group in groups.of(id) if group in there and not said[group]
    ]
    for group, text in said.items():
        for seat in filter(None, text.split(",")):
            if seat in places[group]:
                problems.append(f"{id} and {places[group][seat]} had seat {seat} of {group} at once")
            places[group][seat] = id
        if text and len(places[group]) > there[group]:
            problems.append(
                f"{id} began with seats {text} of {group}, of which {len(places[group])} are taken, not {there[group]}"
            )
    return problems
