"""Backups of a live spool by `cp -a`, `rsync` and `tar`, whose directories are copied in any order, and restored.

    python -m tests.torture.backups [JOBS] [BACKUPS] [SEED]

While random graphs of jobs that wait for each other are submitted and run (`graphs`), the spool is copied again and
again. Each copy gets a worker, as a restored backup does, and then the simulator says how each of its jobs must have
ended, as far as all that it waits for is in the copy. No job may be left waiting, none may have two files. Prints
figures and problems as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from queuectl import Spool
from queuectl.errors import QueuectlError
from queuectl.spool.system import place
from tests.support import WorkerProcess, wait_for
from tests.torture import graphs

_SPAWN = multiprocessing.get_context("spawn")
TOOLS = ("cp", "rsync", "tar")
_PATIENCE = 120.0


@dataclass
class Found:
    """Figures of a run, and what is wrong."""

    backups: int = 0
    jobs: int = 0
    twins: int = 0
    without_all: int = 0
    problems: list[str] = field(default_factory=list)


def copy(spool: Path, to: Path, tool: str, rng: random.Random) -> list[str]:
    """Copy the spool piece by piece; in which order. What vanishes while it is copied is no error."""
    order = sorted(os.listdir(spool))
    rng.shuffle(order)
    to.mkdir()
    if tool == "tar":
        archive = f"{to}.tar"
        subprocess.run(["tar", "cf", archive, "-C", spool, *order], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["tar", "xf", archive, "-C", to], check=True)
        os.unlink(archive)
    else:
        for name in order:
            words = [tool, "-a", f"{spool / name}", f"{to}"]
            subprocess.run(words, check=False, stderr=subprocess.DEVNULL)
    return order


def run(home: Path, *, jobs: int, backups: int, seed: int) -> Found:
    """All of it, in `home`: the backups are made within the time that the graph takes."""
    rng, found = random.Random(seed), Found()
    nodes = graphs.make_graph(jobs, seed)
    spool = Spool(home / "spool", create=True)
    place.settle_in(spool.layout, is_copied=False)
    (home / "healed").mkdir()
    (home / "ledger").touch()
    actor = _SPAWN.Process(target=graphs.submit, args=(home, jobs, seed))
    actor.start()
    workers = [WorkerProcess(spool.path, "--count", "2") for _ in range(2)]
    wait_for(lambda: os.listdir(spool.layout.pending) or os.listdir(spool.path / "done"), "the first jobs")
    copies: list[tuple[Path, str]] = []
    while len(copies) < backups:
        ended = sum(len(os.listdir(spool.path / state)) for state in ("done", "dead"))
        if ended >= jobs and copies:
            break
        tool = TOOLS[len(copies) % len(TOOLS)]
        copies.append((home / f"copy{len(copies)}", tool))
        order = copy(spool.path, *copies[-1], rng)
        (home / f"copy{len(copies) - 1}.order").write_text(" ".join(order))
        time.sleep(rng.random() * 0.2)
    actor.join()
    for worker in workers:
        worker.kill()
    for path, tool in copies:
        _restore(path, nodes, found)
        found.problems = [
            text if text.startswith("copy") else f"{path.name} by {tool}: {text}" for text in found.problems
        ]
        if not found.problems:
            shutil.rmtree(path)
    found.backups = len(copies)
    return found


def _restore(path: Path, nodes: list[graphs.Node], found: Found) -> None:
    spool = Spool(path)
    before = Counter(job.id for job in spool.list())
    found.jobs += len(before)
    found.twins += sum(number > 1 for number in before.values())
    for node in nodes:
        if node.fate == "cancelled" and node.id in before:
            with suppress(QueuectlError):
                spool.cancel(node.id)
    worker = WorkerProcess(path, "--drain", "--count", "4", "--copied", env={"QUEUECTL_SETTLE": "1"})
    try:
        worker.wait_exit(_PATIENCE)
    finally:
        worker.kill()
    expected = graphs.simulate(nodes, set())
    ends: dict[str, list[str]] = {}
    for job in spool.list():
        ends.setdefault(job.id, []).append(graphs.end_of(job.state, job.result))
    has_all: dict[str, bool] = {}
    for node in nodes:
        has_all[node.id] = node.id in before and all(has_all[dep] for dep in node.deps)
        if node.id not in before:
            continue
        found.without_all += not has_all[node.id]
        end = ends.get(node.id, [])
        is_over = len(end) == 1 and end[0] in ("done", "failed", "cancelled", "skipped done", "skipped dead")
        if not is_over or (has_all[node.id] and end[0] != expected[node.id]):
            found.problems.append(f"{node.id} is {' and '.join(end) or 'gone'}, not {expected[node.id]}")


def main(arguments: list[str]) -> int:
    jobs, backups, seed = (*map(int, arguments), *(300, 12, int(time.time()))[len(arguments) :])
    with tempfile.TemporaryDirectory(prefix="queuectl-backups-") as home:
        found = run(Path(home), jobs=jobs, backups=backups, seed=seed)
    print(json.dumps({**vars(found), "seed": seed}))
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
