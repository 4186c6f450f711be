"""Schedules under `kill -9`: several workers die and stop while a tick is due each second, prune deletes what has ended
as soon as it can, and jobs keep a ledger.

A job appends its tick and its attempt. A tick that was submitted twice, because prune had freed its id, begins twice
with attempt 1; one that was lost is missing between the first and the last.
"""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from queuectl import Spool
from queuectl.core.result import State
from queuectl.core.settings import Rule
from queuectl.spool.moves import prune
from queuectl.spool.system import clock, schedules
from tests.support import WorkerProcess, wait_for

_KEPT = timedelta(seconds=1)
_STOP = (0.2, 2.5)


@dataclass
class Outcome:
    """What came of it, and what is wrong."""

    ticks: int = 0
    kills: int = 0
    stops: int = 0
    pruned: int = 0
    problems: list[str] = field(default_factory=list)


def rage(home: Path, *, seconds: float, workers: int = 8, pause: float = 0.3, seed: int = 1) -> Outcome:
    """Run such a storm in `home` for so long, with a kill (or a stop) after each `pause` or so; judge the ledger."""
    rng = random.Random(seed)
    spool = Spool(home / "spool", create=True)
    ledger = home / "ledger"
    ledger.touch()
    outcome = Outcome()
    body = {"command": f"echo $QUEUECTL_TICK $QUEUECTL_ATTEMPT >>{ledger}", "every": "1s", "overlap": "queue"}
    schedules.write(spool.layout, "storm", json.dumps(body).encode())
    schedules.write(spool.layout, "bad", b"{")
    is_over = threading.Event()
    pruner = threading.Thread(target=_prune, args=(spool, is_over, outcome))
    pruner.start()
    fleet = [WorkerProcess(spool.path, "--count", "2") for _ in range(workers)]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(rng.uniform(0.0, 2 * pause))
        at = rng.randrange(workers)
        if rng.random() < 0.2:
            fleet[at].process.send_signal(signal.SIGSTOP)
            time.sleep(rng.uniform(*_STOP))
            fleet[at].process.send_signal(signal.SIGCONT)
            outcome.stops += 1
        else:
            fleet[at].kill()
            fleet[at] = WorkerProcess(spool.path, "--count", "2")
            outcome.kills += 1
    end = clock.now()
    wait_for(lambda: any(f"{tick}" >= f"{end:%Y-%m-%dT%H:%M:%S}" for tick, _ in _read(ledger)), "the last tick", 60)
    schedules.remove(spool.layout, "storm")
    wait_for(lambda: not any(spool.counts()[:4]), "the queue to be empty", 60)
    for worker in fleet:
        worker.process.send_signal(signal.SIGQUIT)
    for worker in fleet:
        worker.wait_exit(60)
    is_over.set()
    pruner.join()
    outcome.problems += judge(_read(ledger))
    outcome.ticks = len({tick for tick, _ in _read(ledger)})
    return outcome


def _prune(spool: Spool, is_over: threading.Event, outcome: Outcome) -> None:
    """Delete what ended more than a second ago, again and again."""
    while not is_over.wait(0.05):
        outcome.pruned += prune.prune(spool.layout, State.DONE, Rule(since=clock.now() - _KEPT)).jobs


def _read(ledger: Path) -> list[tuple[str, str]]:
    return [(words[0], words[1]) for words in map(str.split, ledger.read_text().splitlines()) if len(words) == 2]


def judge(lines: list[tuple[str, str]]) -> list[str]:
    """What is wrong with the ticks and attempts that a ledger has."""
    problems = [f"{tick} began {number} times with attempt {attempt}"
                for (tick, attempt), number in Counter(lines).items() if number > 1]  # fmt: skip
    found = sorted({datetime.fromisoformat(tick) for tick, _ in lines})
    if not found:
        return ["no tick ran"]
    missing = {found[0] + timedelta(seconds=n) for n in range(int((found[-1] - found[0]).total_seconds()))} - {*found}
    return problems + [f"{tick:%H:%M:%S} is missing" for tick in sorted(missing)]
