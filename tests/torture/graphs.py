"""Random graphs of jobs that wait for each other, whose workers, submitters and operators are killed at any moment.

    python -m tests.torture.graphs [JOBS] [KILLS] [SEED]

Some jobs fail, some only at first, some are cancelled. When all is at rest, a simulator that knows the rules alone says
of each job whether it ran, and how it ended or where it was skipped to. Then some of those that failed are retried, now
with success, which brings back what was skipped because of them; and the simulator is asked again. That no job began
before what it waits for had ended is read from lines that jobs append to one file. Prints figures and problems as JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from queuectl import Spool
from queuectl.core.result import State
from queuectl.errors import QueuectlError
from queuectl.spool.upkeep.fsck import check
from tests.support import WorkerProcess
from tests.torture.witness import append

_SPAWN = multiprocessing.get_context("spawn")
_BATCH = 40
_WORKERS = 3
_PATIENCE = 600.0
RULES = ("after", "after", "after", "after_end", "after_end", "after_failed")


@dataclass(frozen=True)
class Node:
    """A job of the graph: what it waits for, with groups as their members, and how it ends."""

    id: str
    rule: str = ""
    deps: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    fate: str = "good"  # good, flaky, bad, cancelled


@dataclass
class Found:
    """Figures of a run, and what is wrong."""

    jobs: int = 0
    kills: int = 0
    retried: int = 0
    ran: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)


# --- the simulator


def make_graph(number: int, seed: int) -> list[Node]:
    """Each job waits for some of those before it, near or far, or for all of a group that is complete."""
    rng = random.Random(seed)
    nodes: list[Node] = []
    groups: list[tuple[str, list[str]]] = []
    while len(nodes) < number:
        size = rng.choice((1, 1, 1, 1, 1, 1, 3, 6))
        prefix = f"p{len(groups)}." if size > 1 else ""
        before = [*nodes]
        members = []
        for n in range(size):
            members.append(_make_node(rng, f"{prefix}{n}" if prefix else f"j{len(nodes)}", before, groups))
            nodes.append(members[-1])
        if prefix:
            groups.append((prefix, [member.id for member in members]))
    return nodes


def _make_node(rng: random.Random, id: str, before: list[Node], groups: list[tuple[str, list[str]]]) -> Node:
    fate = rng.choices(("good", "flaky", "bad", "cancelled"), (85, 8, 6, 1))[0]
    if not before or rng.random() < 0.1:
        return Node(id, fate=fate)
    named, deps = [], []
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        if groups and rng.random() < 0.15:
            prefix, members = rng.choice(groups[-5:])
            named.append(prefix)
            deps += members
        else:
            other = rng.choice(before[-12:] if rng.random() < 0.8 else before).id
            named.append(other)
            deps.append(other)
    return Node(id, rng.choice(RULES), tuple(dict.fromkeys(deps)), tuple(dict.fromkeys(named)), fate)


def simulate(nodes: list[Node], healed: set[str], before: dict[str, str] | None = None) -> dict[str, str]:
    """How each job is when all is at rest: done, failed, cancelled, or skipped, with the directory.

    `before` is how they were before those in `healed` were retried: what has started then does not start again.
    """
    ends: dict[str, str] = {}
    for node in nodes:
        was = (before or {}).get(node.id, "")
        if was in ("done", "failed", "cancelled") and node.id not in healed:
            ends[node.id] = was
        elif was == "failed":
            ends[node.id] = "done"
        elif node.fate == "cancelled":
            ends[node.id] = "cancelled"
        else:
            skip = _skip_of(node, [ends[dep] for dep in node.deps])
            ends[node.id] = skip or ("failed" if node.fate == "bad" and node.id not in healed else "done")
    return ends


def _skip_of(node: Node, ends: list[str]) -> str:
    """Where a job is skipped to, if all that it waits for has ended like this."""
    if node.rule == "after_failed":
        return "" if "failed" in ends else "skipped done"
    bad = {end for end in ends if end != "done"}
    if node.rule != "after" or not bad:
        return ""
    return "skipped done" if bad == {"skipped done"} else "skipped dead"


# --- the run


def body_of(node: Node, home: Path) -> dict[str, Any]:
    """A job that says when it begins and ends; with a file of its name in healed/ it succeeds."""
    ledger, cure = shlex.quote(f"{home}/ledger"), shlex.quote(f"{home}/healed/{node.id}")
    code = {"bad": f"[ -e {cure} ]; code=$?", "flaky": "[ $QUEUECTL_ATTEMPT -gt 1 ]; code=$?"}.get(node.fate, "code=0")
    line = f"{node.id} $QUEUECTL_ATTEMPT"
    body: dict[str, Any] = {
        "id": node.id,
        "command": f"echo S {line} >>{ledger}; {code}; echo E {line} $code >>{ledger}; exit $code",
        "max_retries": 0 if node.fate == "bad" else 25,
        "backoff_base": 0,
    }
    if node.rule:
        body[node.rule] = [*node.named]
    return body


def submit(home: Path, number: int, seed: int) -> None:
    """Submit what is not there yet, in batches of any size; a job to be cancelled is held first."""
    rng, spool = random.Random(), Spool(home / "spool")
    nodes = make_graph(number, seed)
    known = {job.id for job in spool.list()}
    left = [node for node in nodes if node.id not in known]
    while left:
        size = rng.randrange(1, _BATCH)
        is_held = left[0].fate == "cancelled"
        size = next((n for n, node in enumerate(left[:size]) if (node.fate == "cancelled") != is_held), size)
        for outcome in spool.enqueue_many([body_of(node, home) for node in left[:size]], is_held=is_held):
            if isinstance(outcome, QueuectlError):
                append(home / "errors", f"{outcome}")
        left = left[size:]
    for node in nodes:
        if node.fate == "cancelled":
            with suppress(QueuectlError):
                spool.cancel(node.id)


def retry(home: Path, ids: list[str]) -> None:
    """Heal and retry those of these that are dead."""
    spool = Spool(home / "spool")
    for id in ids:
        (home / "healed" / id).touch()
        if spool.get(id).state is State.DEAD:
            with suppress(QueuectlError):
                spool.retry(id)


class _Storm:
    def __init__(self, home: Path, found: Found, seed: int) -> None:
        self.home, self.found, self.rng = home, found, random.Random(seed)
        self.fleet: list[WorkerProcess] = []

    def _start(self, *words: str) -> WorkerProcess:
        return WorkerProcess(self.home / "spool", *(words or ("--count", "3")))

    def rage(self, kills: int, act: Callable[..., None], *arguments: object) -> None:
        """Run `act` in a process to its end, and kill it and workers while it and they work; then let all end."""
        self.fleet = [self._start() for _ in range(_WORKERS)]
        begun, deadline = self.found.kills, time.monotonic() + _PATIENCE
        actor = _SPAWN.Process(target=act, args=(self.home, *arguments))
        actor.start()
        is_over = False
        while not is_over and time.monotonic() < deadline:
            time.sleep(self.rng.random() * 0.3)
            if self.found.kills - begun < kills:
                self.found.kills += 1
                if actor.is_alive() and self.rng.random() < 0.3:
                    actor.kill()
                else:
                    victim = self.rng.randrange(_WORKERS)
                    self.fleet[victim].kill()
                    self.fleet[victim] = self._start()
            if not actor.is_alive():
                actor.join()
                if actor.exitcode and actor.exitcode > 0:
                    self.found.problems.append(f"{act.__name__} failed")
                    return
                if actor.exitcode:
                    actor = _SPAWN.Process(target=act, args=(self.home, *arguments))
                    actor.start()
                else:
                    is_over = self.found.kills - begun >= kills or self._is_at_rest()
        for worker in self.fleet:
            worker.kill()
        last = self._start("--drain", "--count", "4")
        last.wait_exit(_PATIENCE)

    def _is_at_rest(self) -> bool:
        return not any(os.listdir(self.home / "spool" / state) for state in ("pending", "running"))


def run(home: Path, *, jobs: int, kills: int, seed: int) -> Found:
    """All of it, in `home`."""
    found = Found(jobs)
    nodes = make_graph(jobs, seed)
    found.jobs = len(nodes)
    spool = Spool(home / "spool", create=True)
    (home / "healed").mkdir()
    (home / "ledger").touch()
    storm = _Storm(home, found, seed)
    storm.rage(kills, submit, jobs, seed)
    first = simulate(nodes, set())
    began = _judge(spool, home, nodes, first, found, "at first")
    rng = random.Random(seed + 1)
    healed = {node.id for node in nodes if first[node.id] == "failed" and rng.random() < 0.6}
    found.retried = len(healed)
    order = sorted(healed)
    rng.shuffle(order)
    storm.rage(kills // 2, retry, order)
    # What fails in the second round may be bad, and is not healed; what is healed had failed in the first.
    second = simulate(nodes, healed, first)
    _judge(spool, home, nodes, second, found, "after the retries", began)
    found.ran = sum(end in ("done", "failed") for end in second.values())
    found.skipped = sum(end.startswith("skipped") for end in second.values())
    if (home / "errors").exists():
        found.problems += (home / "errors").read_text().splitlines()[:5]
    return found


# --- the verdict


def _judge(
    spool: Spool, home: Path, nodes: list[Node], expected: dict[str, str], found: Found, when: str, before: int = 0
) -> int:
    """Compare; how many lines the ledger has. Of it those after `before` count."""
    lines = [line.split() for line in (home / "ledger").read_text().splitlines()]
    have_run = {id for _, id, *_ in lines}
    there = {job.id: job for job in spool.list()}
    wrong: list[str] = []
    for node in nodes:
        job = there.get(node.id)
        end = end_of(job.state, job.result) if job is not None else "gone"
        if end != expected[node.id]:
            wrong.append(f"{node.id} is {end}, not {expected[node.id]}")
        if (node.id in have_run) != (end in ("done", "failed")):
            wrong.append(f"{node.id} has {'' if node.id in have_run else 'not '}run, and is {end}")
    wrong += _out_of_order(nodes, lines, before)
    if not before:  # later the log still names the first cause
        wrong += _without_cause(spool, nodes, expected)
    may_stay = {node.id for node in nodes if expected[node.id].startswith("skipped")}
    left = [path for path in Path(spool.layout.after).glob("*/*") if path.name.removesuffix("+") not in may_stay]
    wrong += [f"{path} is left" for path in left]
    wrong += [f"{each.path}: {each.what}" for each in check(spool.layout, "nohost") if "/after" in each.path]
    found.problems += [f"{when}: {problem}" for problem in wrong]
    return len(lines)


def _out_of_order(nodes: list[Node], lines: list[list[str]], before: int) -> Iterator[str]:
    """Jobs that began before what they wait for had ended for the last time.

    What had started by then does not wait for what is retried, so of the second round only what began in it counts, and
    only `after`: by another rule a job may have started by how its dependency had ended at first.
    """
    begins: dict[str, int] = {}
    ends: dict[str, int] = {}
    for at, (kind, id, *_) in enumerate(lines[before:]):
        if kind == "S":
            begins.setdefault(id, at)
        else:
            ends[id] = at
    for node in nodes:
        if node.id in begins and not (before and node.rule != "after"):
            for dep in node.deps:
                if ends.get(dep, -1) > begins[node.id]:
                    yield f"{node.id} began before {dep} had ended"


def _without_cause(spool: Spool, nodes: list[Node], expected: dict[str, str]) -> Iterator[str]:
    """Jobs that were skipped to dead/ and whose logs do not name a job that can have been the cause."""
    for node in nodes:
        if expected[node.id] == "skipped dead":
            log = spool.log_path(node.id).read_text()
            cause = log.rpartition("because=")[2].split()[0] if "because=" in log else ""
            if cause not in node.deps or expected[cause] in ("done", "skipped done"):
                yield f"{node.id} was skipped because of {cause!r}"


def end_of(state: State, result: object) -> str:
    """How a job has ended, in the words of `simulate`."""
    if str(result) == "skipped":
        return f"skipped {state}"
    if str(result) == "cancelled":
        return "cancelled"
    return {State.DONE: "done", State.DEAD: "failed"}.get(state, str(state))


def main(arguments: list[str]) -> int:
    jobs, kills, seed = (*map(int, arguments), *(2_000, 60, int(time.time()))[len(arguments) :])
    with tempfile.TemporaryDirectory(prefix="queuectl-graphs-") as home:
        found = run(Path(home), jobs=jobs, kills=kills, seed=seed)
    print(json.dumps({**vars(found), "seed": seed}))
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
