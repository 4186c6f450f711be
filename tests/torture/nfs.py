"""A storm over NFS: a kernel's server and its clients in three emulated machines, a referee outside of them.

On both clients at once jobs are submitted, with chosen ids, keys, dependencies and a limit, and cancelled from the one
while they run on the other; a schedule ticks; what has ended is pruned. In the meantime workers are killed, the server
is restarted, and loses its power. Then one client dies with jobs that run, is said to be gone, and returns.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from tests.hosts.machine import HERE, Ended, Machines, Remote, up
from tests.support import wait_for
from tests.torture import hosts
from tests.torture.referee import Referee

SPOOL = "/mnt/spool"
_SLOW = 300.0  # seconds within which anything happens, on machines that share this one with others
_ENDED = ("done", "dead")


@dataclass
class Outcome:
    """What was done, how soon jobs began, and what came out wrong."""

    jobs: int = 0
    kills: int = 0
    restarts: int = 0
    cancels: int = 0
    ticks: int = 0
    pruned: int = 0
    by_host: Counter[str] = field(default_factory=Counter)
    idle: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shares = " and ".join(f"{number} on {host}" for host, number in sorted(self.by_host.items()))
        text = f"{self.jobs} submits, {self.kills} workers killed, {self.restarts} restarts of the server, "
        text += f"{self.cancels} cancels, {self.ticks} ticks, {self.pruned} pruned; {shares}"
        for name, seconds in (("idle", self.idle), ("busy", self.busy)):
            if seconds:
                text += f"; from the other host, {name}: {median(seconds):.1f} s, at most {max(seconds):.1f}"
        return text


class Storm:
    """A server `nas`, its clients `web1` and `web2`, and a spool there; `skew` seconds are between their clocks."""

    def __init__(self, root: Path, seed: int, skew: float = 0.0) -> None:
        self.rng, self.found = random.Random(seed), Outcome()
        self.referee = Referee()
        self.machines = Machines(root / "machines")
        self._reports = 0
        clock = datetime.now(UTC) + timedelta(seconds=skew) if skew else None
        self.nas = self.machines.boot("nas")
        self.clients = [self.machines.boot("web1"), self.machines.boot("web2", clock=clock)]
        try:
            up([self.nas, *self.clients])
            self.nas.serve()
            for client in self.clients:
                client.mount(self.nas)
            self.ok(0, "init")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.machines.close()
        self.referee.close()

    # --- on a client

    def run(self, client: int, *words: str, stdin: str = "") -> Ended:
        """`queuectl` there."""
        return self.clients[client].run(*_queuectl(*words), stdin=stdin, env=_ENV, patience=_SLOW)

    def ok(self, client: int, *words: str, stdin: str = "") -> str:
        done = self.run(client, *words, stdin=stdin)
        assert done.code == 0, f"web{client + 1}: queuectl {' '.join(words)}: {done.code}\n{done.err}"
        return done.out.removesuffix("\n")

    def worker(self, client: int, *words: str) -> Remote:
        """A worker there, which writes what it reports into a file of that machine."""
        self._reports += 1
        started = _queuectl("worker", "start", "--json", "--count", "2", *words)
        return self.clients[client].popen(*started, stderr=f"/tmp/report-{self._reports}", env=_ENV)

    def kill(self, client: int, worker: Remote, signal: str = "KILL") -> None:
        self.clients[client].run("kill", "-s", signal, str(worker.pid))

    def submit(self, client: int, id: str, text: str, *words: str) -> str:
        """Submit a job that does this; its id."""
        body = {"id": id, "command": self.referee.job(text, HERE), "backoff_base": 0}
        return self.ok(client, "enqueue", *words, json.dumps(body))

    def places(self) -> dict[str, list[str]]:
        """Where each job is: directory and name."""
        text = self.clients[0].shell(f"cd {SPOOL}; ls -1 -d pending/* running/* done/* dead/* 2>/dev/null || true")
        found: dict[str, list[str]] = {}
        for path in text.splitlines():
            found.setdefault(path.removesuffix(".json").split("-", _FIELDS[path.split("/")[0]])[-1], []).append(path)
        return found

    # --- the storm

    def rage(self, *, jobs: int, kills: int, restarts: int, cancels: int) -> None:
        """Submit `jobs` on each client while workers are killed, the server is restarted, jobs are cancelled."""
        self.ok(0, "group", "set", "one", "limit=1")
        self.ok(1, "config", "set", "grace", "1")
        tick: dict[str, object] = {"every": "7s", "overlap": "queue", "priority": 1, "max_retries": 0}
        tick["command"] = self.referee.job("sleep 0.1", HERE)
        self.ok(1, "schedule", "add", "tick", json.dumps(tick))
        workers = [(client, self.worker(client)) for client in (0, 1, 0, 1)]
        submits = [self._submit_all(client, jobs) for client in (0, 1)]
        is_over = threading.Event()
        others = [
            threading.Thread(target=self._noting, args=(act,))
            for act in (lambda: self._prune(is_over), lambda: self._cancel_some(cancels))
        ]
        for thread in others:
            thread.start()
        every = max(1, kills // (restarts + 1))
        for number in range(kills):
            time.sleep(self.rng.uniform(0.5, 4.0))
            if number % every == every - 1 and self.found.restarts < restarts:
                self._restart_server(is_crash=self.found.restarts % 2 == 1)
            which = self.rng.randrange(len(workers))
            client, worker = workers[which]
            self.kill(client, worker)
            workers[which] = client, self.worker(client)
            self.found.kills += 1
        answers = [json.loads(line) for submit in submits for line in submit.wait(1800).out.splitlines()]
        others[1].join()
        self.ok(0, "schedule", "remove", "tick")
        for client, worker in workers:
            self.kill(client, worker, "TERM")
        for _, worker in workers:
            worker.wait(_SLOW)
        is_over.set()
        others[0].join()
        for last in [self.worker(client, "--drain") for client in (0, 1)]:
            last.wait(600)
        self.found.jobs += 2 * jobs
        self._judge(answers)

    def _submit_all(self, client: int, jobs: int) -> Remote:
        def command(index: int) -> list[str]:
            return self.referee.job(f"sleep 0.{index % 5}", HERE)

        wanted = "".join(f"{json.dumps(body)}\n" for body in hosts.bodies(jobs, f"web{client + 1}", command))
        return self.clients[client].popen(sys.executable, "-c", hosts.SUBMITTER, SPOOL, stdin=wanted, env=_ENV)

    def _noting(self, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:
            self.found.problems.append(f"{type(error).__name__}: {error}")

    def _prune(self, is_over: threading.Event) -> None:
        """On both clients in turn, until it is over; what it fails with while the server is away does not matter."""
        client = 0
        while not is_over.wait(5):
            done = self.run(client, "prune", "--older-than", "20s", "--state", "all", "--yes", "--json")
            if done.code == 0:
                self.found.pruned += done.json()["jobs"]
            client = 1 - client

    def _cancel_some(self, number: int) -> None:
        """Each from the client on which it does not run; then none of its processes is left."""
        for index in range(number):
            id = f"long-{index}"
            self.submit(index % 2, id, "sleep 600", "--priority", "1")
            wait_for(lambda id=id: id in self.referee.running, f"the start of {id}", _SLOW)  # type: ignore[misc]
            done = self.run(int(self.referee.running[id].startswith("web1")), "cancel", id)
            if done.code not in (0, 5):
                self.found.problems.append(f"cancel {id}: {done.code} {done.err}")
            wait_for(lambda id=id: id not in self.referee.running, f"the end of {id}", _SLOW)  # type: ignore[misc]
            self.found.cancels += 1

    def _restart_server(self, *, is_crash: bool) -> None:
        self.found.restarts += 1
        if not is_crash:
            self.nas.shell("rpc.nfsd 0; sleep 2; rpc.nfsd --no-nfs-version 3 4")
            return
        self.nas.die()
        self.nas.start()
        self.nas.wait_up().serve()

    def _judge(self, answers: list[tuple[str, str | None, str]]) -> None:
        referee, problems = self.referee, self.found.problems
        problems += referee.problems
        problems += [f"{id} still runs" for id in referee.running]
        problems += [f"{id} began {times} times" for id, times in referee.began.items() if times > 1]
        places = self.places()
        for id, paths in places.items():
            if len(paths) != 1 or not paths[0].startswith(_ENDED):
                problems.append(f"{id} is {' and '.join(paths)}")
            if paths[0].startswith("done/") and "skipped" not in paths[0] and not referee.ended[id]:
                problems.append(f"{id} is {paths[0]} and never ended")
        for id, of, how in answers:
            is_there = of is None or of in places or bool(referee.began[of])
            if how == "Job":
                is_there = bool(referee.ended[id]) or _may_be_skipped(id)
            if not is_there:
                problems.append(f"{id} was answered with {of} ({how}), and never ran: {places.get(id)}")
        self.found.ticks += sum(id.startswith("tick.") for id in referee.began)
        self.found.by_host += referee.by_host

    # --- how soon

    def measure(self, number: int) -> None:
        """Seconds from a submit on web1 to the start on web2, whose worker is idle, and then has just worked."""
        worker = self.worker(1)
        for index in range(number):
            time.sleep(30 if index else 90)  # for so long there has been no work
            self.found.idle.append(self._time_to_start(f"idle-{index}"))
        for index in range(2 * number):
            self.found.busy.append(self._time_to_start(f"busy-{index}"))
        self.kill(1, worker, "TERM")
        worker.wait(_SLOW)

    def _time_to_start(self, id: str) -> float:
        self.submit(0, id, "true")
        begun = time.monotonic()
        wait_for(lambda: self.referee.began[id], f"the start of {id}", _SLOW)
        return time.monotonic() - begun

    # --- a host that dies

    def lose_a_host(self) -> None:
        """web2 dies while jobs run there; they stay there until it is said to be gone, and run on web1 then."""
        self.worker(1)
        ids = [f"death-{index}" for index in range(2)]
        for id in ids:
            self.submit(0, id, "test $QUEUECTL_ATTEMPT = 2 || sleep 600")
        wait_for(lambda: all(id in self.referee.running for id in ids), "the start of both", _SLOW)
        self.clients[1].die()
        lives = self.worker(0)
        wait_for(lambda: "lost contact" in self.ok(0, "status"), "lost contact", _SLOW)
        moved = [id for id in ids if self.referee.began[id] != 1]
        self.ok(0, "worker", "gone", "web2", "--yes")
        wait_for(lambda: all(self.referee.ended[id] for id in ids), "the second attempts", _SLOW)
        self.clients[1].start()
        self.clients[1].wait_up().mount(self.nas)
        again = self.worker(1, "--drain")
        self.kill(0, lives, "TERM")
        codes = [worker.wait(_SLOW).code for worker in (again, lives)]
        marks = self.clients[0].shell(f"ls {SPOOL}/hosts").split()
        if moved or codes != [0, 0] or sum(mark.startswith("web2.") for mark in marks) != 2:
            self.found.problems.append(f"a host that died: {moved} {codes} {marks}")


_FIELDS = {"pending": 3, "running": 4, "done": 5, "dead": 5}
_ENV = {"PYTHONDONTWRITEBYTECODE": "1"}


def _queuectl(*words: str) -> list[str]:
    return [sys.executable, "-m", "queuectl", "--spool", SPOOL, *words]


def _may_be_skipped(id: str) -> bool:
    """Whether what a submitter asked for may never run: it has a key, or waits for others."""
    number = id.rpartition("-")[2]
    return number.isdecimal() and int(number) % 6 in (4, 5)


def rage(root: Path, *, short: bool, seed: int, skew: float = 0.0) -> Outcome:
    """`skew` seconds are between the clocks of the clients; how soon jobs start is measured if there are none."""
    storm = Storm(root, seed, skew)
    jobs, kills, restarts, cancels = (30, 6, 2, 2) if short else (60, 15, 4, 4) if skew else (100, 24, 4, 5)
    try:
        storm.rage(jobs=jobs, kills=kills, restarts=restarts, cancels=cancels)
        if not skew:
            storm.measure(1 if short else 3)
        storm.lose_a_host()
        return storm.found
    finally:
        storm.close()
