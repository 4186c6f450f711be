"""The storm over two hosts: submitters, workers and kills on two mounts of one spool; the ledger is on a local disk.

Each job makes a directory while it runs, which fails if another attempt of it runs; those of the group `one`, whose
limit is 1, make one in common. Submitters give chosen ids, keys and dependencies, on both hosts at once, and write down
what they were answered. A worker that is killed leaves its job running, for the next worker of its host.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system.layout import Layout
from tests.hosts.gluster import Gluster
from tests.hosts.host import Host, HostWorker

_JOB = """\
exec > /dev/null 2>&1  # mkdir(1) and others fail if they cannot close a file whose server is away
mkdir {ledger}/run.$QUEUECTL_JOB_ID || echo "$QUEUECTL_JOB_ID twice" >> {ledger}/jobs
{before}echo "$QUEUECTL_JOB_ID began $QUEUECTL_WORKER" >> {ledger}/jobs; sleep 0.0{tenth}
echo "$QUEUECTL_JOB_ID ended" >> {ledger}/jobs
{after}rmdir {ledger}/run.$QUEUECTL_JOB_ID"""
SUBMITTER = """\
import json, sys, time
from queuectl import Spool, QueuectlError, SpoolError
for line in sys.stdin:
    fields = json.loads(line)
    while True:
        try:
            outcome = next(Spool(sys.argv[1]).enqueue_many([fields]))
            if not isinstance(outcome, SpoolError):
                break
        except (SpoolError, OSError):  # the server is away: what was begun is there, or is begun again
            time.sleep(0.1)
    how = type(outcome).__name__
    id = None if isinstance(outcome, QueuectlError) else outcome.id
    print(json.dumps([fields["id"], id, how]), flush=True)
"""


@dataclass
class Outcome:
    """What was done, and what came out wrong."""

    jobs: int
    kills: int
    restarts: int
    by_host: Counter[str]
    seconds: float
    problems: list[str]


def bodies(number: int, host: str, command: Callable[[int], str | list[str]]) -> list[dict[str, Any]]:
    """The jobs that a submitter of that host asks for, with the command of each number.

    Every third id is asked for on both hosts; of each six one is in the group `one`, one has a key, and one waits for
    another.
    """
    found = []
    for index in range(number):
        kind = index % 6
        id = f"{'both' if kind < 2 else host}-{index}"
        fields: dict[str, Any] = {"command": command(index), "id": id if kind != 3 else f"one.{id}", "backoff_base": 0}
        if kind == 4:
            fields["unique"] = f"key-{index % 5}"
        if kind == 5 and index > 6:
            fields["after"] = [f"{host}-{index - 3}"]  # one that was submitted before on the same host
        found.append(fields)
    return found


def _command(ledger: Path, index: int) -> str:
    is_one = index % 6 == 3
    return _JOB.format(
        ledger=ledger,
        tenth=index % 5,
        before=f"mkdir {ledger}/one || echo 'one over' >> {ledger}/jobs\n" if is_one else "",
        after=f"rmdir {ledger}/one\n" if is_one else "",
    )


def storm(root: Path, *, jobs: int, kills: int, restarts: int = 0, seed: int = 0, workers: int = 2) -> Outcome:
    """Submit `jobs` on each of two hosts while workers are killed, and the file server is restarted, so many times."""
    rng, ledger, begun = random.Random(seed), root / "ledger", time.monotonic()
    ledger.mkdir()
    server = Gluster(root / "gluster")
    hosts: list[Host] = []
    try:
        hosts += [Host(root / name, name, server.mount(name) / "spool") for name in ("web1", "web2")]
        hosts[0].ok("init")
        hosts[1].ok("group", "set", "one", "limit=1")
        hosts[0].ok("config", "set", "grace", "0.5")
        running = [host.worker("--count", "2") for host in hosts for _ in range(workers)]
        submits = [_submit(host, bodies(jobs, host.name, lambda index: _command(ledger, index))) for host in hosts]
        every = max(1, kills // (restarts + 1))
        for number in range(kills):
            time.sleep(rng.uniform(0.05, 0.4))
            if restarts and number % every == every - 1:
                server.kill()
                server.start()
            victim = rng.randrange(len(running))
            host = hosts[victim // workers]
            _kill(running[victim])
            running[victim] = _start(host)
        answers = [_answers(host, submit) for host, submit in zip(hosts, submits, strict=True)]
        for worker in running:
            if worker.process.poll() is None:
                worker.signal(signal.SIGTERM)
        for worker in running:
            worker.wait()
        last = [host.worker("--count", "2", "--drain") for host in hosts]
        for worker in last:
            worker.wait(120)
        lines = (ledger / "jobs").read_text().split("\n")
        by_host = Counter(line.split()[2].partition(".")[0] for line in lines if " began " in line)
        reports = [
            line for host in hosts for file in host.home.glob("*.report") for line in file.read_text().split("\n")
        ]
        away = ('"event": "lost"', "died before it began")
        lost = Counter(json.loads(line)["job"] for line in reports if restarts and any(word in line for word in away))
        problems = judge(Layout(str(hosts[0].spool)), ledger, answers, lost)
        return Outcome(2 * jobs, kills, restarts, by_host, time.monotonic() - begun, problems)
    finally:
        for host in hosts:
            host.die()
        server.close()


def _submit(host: Host, wanted: list[dict[str, Any]]) -> subprocess.Popen[str]:
    path = host.home / "wanted"
    path.write_text("".join(f"{json.dumps(fields)}\n" for fields in wanted))
    with path.open() as lines, (host.home / "answers").open("w") as answers:
        return host.popen(sys.executable, "-c", SUBMITTER, str(host.spool), stdin=lines, stdout=answers, cwd="/")


def _answers(host: Host, submit: subprocess.Popen[str]) -> list[Any]:
    """For each id that was asked for, the id of the job that was answered with, and the kind of answer."""
    assert submit.wait(600) == 0
    return [json.loads(line) for line in (host.home / "answers").read_text().splitlines()]


def _start(host: Host) -> HostWorker:
    """A worker there, as soon as the server lets it start."""
    worker = host.worker("--count", "2")
    while worker.process.poll() is not None:
        time.sleep(0.2)
        worker = host.worker("--count", "2")
    return worker


def _kill(worker: HostWorker) -> None:
    if worker.process.poll() is None:
        with suppress(ProcessLookupError, FileNotFoundError):
            worker.signal(signal.SIGKILL)
    worker.process.wait(20)


def judge(layout: Layout, ledger: Path, answers: list[list[Any]], lost: Counter[str]) -> list[str]:
    """What is wrong with what jobs and submitters have written down.

    A job that ends while the file server is away cannot write that down. If its worker is killed then, too, its outcome
    is `lost`, or, if its start could not be written either, it counts as never begun; so often it may run again.
    """
    problems = []
    lines = [line.split(" ")[:2] for line in (ledger / "jobs").read_text().splitlines()]
    began, ended = (Counter(id for id, what in lines if what == word) for word in ("began", "ended"))
    problems += [f"{id} {what}" for id, what in lines if what not in ("began", "ended")]  # twice, or over
    problems += [f"{id} ran {times} times" for id, times in began.items() if times > 1 + lost[id]]
    places: dict[str, list[str]] = {}
    for state in State:
        for text in query.list_names(layout, state):
            name = query.parse_name(state, text)
            places.setdefault(name.id if name else text, []).append(f"{state}/{text}")
    problems += [f"{id} is {' and '.join(found)}" for id, found in places.items() if len(found) != 1]
    problems += [f"{id} is {found[0]}" for id, found in places.items() if not found[0].startswith(("done/", "dead/"))]
    for id, of, how in (each for found in answers for each in found):
        if of is not None and of not in places:
            problems.append(f"{id} was answered with {of} ({how}), which is nowhere")
        if how == "Job" and id in places and "skipped" not in places[id][0] and not ended[id]:
            problems.append(f"{id} was submitted and never ran: {places[id]}")
    return problems
