"""The storm over containers: one spool, workers in PID namespaces that do not see each other, and agents of all kinds.

Each agent is a thread with random numbers of its own that does one thing after the other to the spool, to workers or to
jobs, and writes in the ledger what it is about to do and what it was answered. `ledger` judges.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from queuectl import Spool
from tests.support import environment
from tests.torture import checker, ledger, stretched
from tests.torture.namespaces import Container, Worker

_CROWD = 24
"""Jobs that wait or run at a time."""
_RESCAN, _GRACE = 0.3, 0.2
WAYS = {"kill": 9, "detach": 3, "stop": 2, "stop-now": 2, "suspend": 4, "container": 1}
"""What befalls workers, and how often."""
SHOTS = {"stop": 2, "kill": 2, "kill-all": 1, "term-all": 1}
"""What befalls the shells of jobs."""


@dataclass(frozen=True)
class Outcome:
    verdict: ledger.Verdict
    seconds: float


class _OverError(Exception):
    """The time is up."""


class _NothingError(Exception):
    """There is no such job right now."""


class Storm:
    """The state that the agents share."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.seed = seed
        self.spool = Spool(home / "spool", create=True)
        (self.spool.path / "config.toml").write_text(f"rescan = {_RESCAN}\ngrace = {_GRACE}\nsettle = 20\n")
        (home / "mutex").mkdir()
        self.ledger = ledger.Ledger(home / "ledger")
        self.is_over = threading.Event()
        self.crashes: list[str] = []
        self.places: list[Container | None] = [Container(), Container(), None]
        self.counts: Counter[str] = Counter()
        self._jobs = 0
        self._lock = threading.Lock()

    def rest(self, seconds: float) -> None:
        if self.is_over.wait(seconds):
            raise _OverError

    def names(self, state: str) -> list[str]:
        return [name for name in os.listdir(self.spool.path / state) if checker.parse(state, name)]

    def pick(self, rng: random.Random, *states: str) -> tuple[str, str, str]:
        """(state, name, id) of a job; of those that have ended a recent one. Raises _NothingError if there is none."""
        for state in rng.sample(states, len(states)):
            names = self.names(state)
            if names:
                name = rng.choice(names if state in ("pending", "running") else sorted(names)[-6:])
                value = checker.parse(state, name)
                assert value is not None
                return state, name, value[0]
        raise _NothingError

    def body(self, rng: random.Random) -> dict[str, Any]:
        with self._lock:
            self._jobs += 1
            id = f"j{self._jobs}"
        return {"id": id, "command": self.command(rng), "max_retries": rng.choice((0, 1, 3)), "backoff_base": 0}

    def command(self, rng: random.Random) -> str | list[str]:
        """Short and long, good and bad ones; some leave daemons, some catch SIGTERM or take no notice of it."""
        code = rng.choice((0, 0, 0, 3))
        line, book = "$QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT $QUEUECTL_TOKEN", self.home / "ledger"
        # What is left behind is made before the mutex is taken: until it executes, a process has all of its parent's.
        leave = rng.choice(
            (
                *("", "", "", "", "(sleep 1.5)&", "setsid sleep 2 &"),
                "(exec sleep 1 9>&- >/dev/null 2>&1)&",
            )
        )
        work = rng.choice(
            (
                ":",
                "sleep 0.05",
                "sleep 0.3",
                "sleep 1",
                "sleep 2.5",
                "sleep 4",
                "sleep 6",
                "sleep 0.4 9>&- >/dev/null 2>&1",
            )
        )
        trap = rng.choice(
            ("", "", "", "", "trap '' TERM;", "trap : TERM;", f"trap 'echo E {line} 0 >>{book};exit 0' TERM;")
        )
        if rng.random() < 0.3:  # the first attempt fails and leaves something, the second is long
            leave = f"if [ $QUEUECTL_ATTEMPT = 1 ];then (sleep {rng.choice((0.5, 1, 3))})& fi;"
            fail = f"echo E {line} 3 >>{book};exit 3"
            work = f"if [ $QUEUECTL_ATTEMPT = 1 ];then {fail};fi;sleep {rng.choice((1.5, 3, 5))}"
        values = " ".join(f"${{V{number}:-0}}" for number in range(ledger.SETTERS))
        script = (
            f"{trap}{leave}{{ flock -n -E 77 8;[ $? = 77 ]&&echo O {line}>>{book};echo S {line} {values}>>{book};"
            f'{work};echo E {line} {code} >>{book};exit {code};}} 8>>"{self.home}/mutex/$QUEUECTL_JOB_ID"'
        )
        return ["sh", "-c", script] if rng.random() < 0.15 else script

    def act(self, kind: str, id: str, do: Callable[[], bool | None]) -> None:
        """Do it between two lines of the ledger; `do` says True, False or, for what was killed, None."""
        self.counts[kind] += 1
        number = self.ledger.begin(kind, id)
        outcome = do()
        self.ledger.end(number, {True: "ok", False: "no", None: "?"}[outcome])


class Hand:
    """A process in one of the places that acts on jobs through the library, and is killed now and then."""

    def __init__(self, storm: Storm, place: int, rng: random.Random) -> None:
        self._storm, self._place, self._rng = storm, place, rng
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        verbs = ["enqueue"] * 6 + ["cancel"] * 4 + ["cancel+retry"] * 5 + ["retry"] * 5 + ["set"] * 6
        verbs += ["hold+release"] * 2 + ["first"] * 2 + ["drop"]
        try:
            while True:
                try:
                    getattr(self, f"_{self._rng.choice(verbs).replace('+', '_')}")()
                except _NothingError:
                    self._enqueue()
                self._storm.rest(self._rng.random() * 0.15)
        finally:
            if self._process is not None:
                self._kill()

    def _ask(self, verb: str, id: str, given: dict[str, Any] | None = None) -> bool | None:
        """What it answers; None if it is killed before it does."""
        if self._process is None:
            place = self._storm.places[self._place]
            words = [*(place.words if place else ()), sys.executable, "-P", "-m", "tests.torture.hand"]
            self._process = subprocess.Popen(
                [*words, str(self._storm.home), str(self._storm.spool.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=environment(PYTHONPATH=str(Path(__file__).parents[2])),
            )
            if place:
                place.entered.append(self._process)  # type: ignore[arg-type]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        killer = threading.Timer(self._rng.random() * 0.05, self._kill_children) if self._rng.random() < 0.06 else None
        answer = ""
        if killer:
            killer.start()
        with suppress(OSError):
            self._process.stdin.write(json.dumps([verb, id, given or {}]) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if killer:
            killer.join()
            self._kill()
        if not answer.endswith("\n"):
            self._kill()
            return None
        if not answer.startswith("ok"):
            self._storm.ledger.say(f"# {verb} {id} {answer.strip()}")
        return answer.startswith("ok")

    def _kill_children(self) -> None:
        """What runs inside of nsenter; or itself, where there is none."""
        process = self._process
        if process is None:
            return
        with suppress(OSError, ValueError):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(children[0]) if self._storm.places[self._place] and children else process.pid, signal.SIGKILL)

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            self._process = process
            self._kill_children()
            self._process = None
            process.kill()
            with suppress(OSError):  # what was not written any more
                process.communicate()

    def _enqueue(self) -> None:
        storm = self._storm
        if len(storm.names("pending")) + len(storm.names("running")) < _CROWD:
            body = storm.body(self._rng)
            if self._rng.random() < 0.3:
                body["timeout"] = self._rng.choice((0.3, 0.8))
            if self._rng.random() < 0.4:
                at = datetime.now(UTC) + timedelta(seconds=self._rng.random() * 1.5)
                body["run_at"] = at.isoformat()
            storm.act("enqueue", body["id"], lambda: self._ask("enqueue", body["id"], body))

    def _cancel(self) -> str:
        _, _, id = self._storm.pick(self._rng, "running", "running", "pending")
        self._storm.act("cancel", id, lambda: self._ask("cancel", id))
        return id

    def _cancel_retry(self) -> None:
        id = self._cancel()
        self._storm.act("retry", id, lambda: self._ask("retry", id))

    def _retry(self) -> None:
        _, _, id = self._storm.pick(self._rng, "dead", "done")
        self._storm.act("retry", id, lambda: self._ask("retry", id))

    def _set(self) -> None:
        """A variable of this hand's own, whose value is the number of the act."""
        storm = self._storm
        _, _, id = storm.pick(self._rng, "pending")
        kind = f"set{self._place}"
        storm.counts[kind] += 1
        number = storm.ledger.begin(kind, id)
        given: dict[str, Any] = {"env": {f"V{self._place}": str(number)}}
        if self._rng.random() < 0.4:
            given["priority"] = self._rng.randrange(5, 15)
        if self._rng.random() < 0.3:
            given["timeout"] = self._rng.choice((0.4, 1.2, None))
        outcome = self._ask("set", id, given)
        storm.ledger.end(number, {True: "ok", False: "no", None: "?"}[outcome])

    def _hold_release(self) -> None:
        _, _, id = self._storm.pick(self._rng, "pending")
        self._storm.act("hold", id, lambda: self._ask("hold", id))
        self._storm.act("release", id, lambda: self._ask("release", id))

    def _first(self) -> None:
        _, _, id = self._storm.pick(self._rng, "pending")
        self._storm.act("first", id, lambda: self._ask("first", id))

    def _drop(self) -> None:
        _, _, id = self._storm.pick(self._rng, "dead")
        if self._rng.random() < 0.3:
            self._storm.act("drop", id, lambda: self._ask("drop", id))


class Crew:
    """The workers: two in each place, which come and go in every way there is."""

    def __init__(self, storm: Storm, rng: random.Random, each: int) -> None:
        self._storm, self._rng = storm, rng
        self._workers = [(place, self._start(place)) for place in range(len(storm.places)) for _ in range(each)]

    def _start(self, place: int, *words: str) -> Worker:
        program = stretched.command(self._storm.home, "anywhere")
        return Worker(self._storm.spool.path, self._storm.places[place], *(words or ("--count", "3")), program=program)

    def run(self) -> None:
        try:
            while True:
                self._storm.rest(self._rng.random() * 0.8)
                index = self._rng.randrange(len(self._workers))
                place, worker = self._workers[index]
                way = self._rng.choices([*WAYS], [*WAYS.values()])[0]
                if way == "container" and self._storm.places[place] is None:
                    continue
                self._storm.counts[f"worker-{way}"] += 1
                self._storm.ledger.say(f"# {way} of the worker {worker.pid} of place {place}")
                if way == "suspend":
                    worker.signal(signal.SIGSTOP)
                    try:
                        self._storm.rest(self._rng.choice((0.1, 0.5, 2 * _RESCAN, 4 * _RESCAN)))
                    finally:
                        worker.signal(signal.SIGCONT)
                    continue
                if way == "container":
                    self._replace_container(place)
                    continue
                self._leave(worker, way)
                self._workers[index] = place, self._start(place)
        finally:
            for _, worker in self._workers:
                worker.signal(signal.SIGCONT)

    def _leave(self, worker: Worker, way: str) -> None:
        number = {"kill": signal.SIGKILL, "detach": signal.SIGUSR1, "stop": signal.SIGTERM, "stop-now": signal.SIGQUIT}[
            way
        ]
        worker.signal(number)
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(3 if way != "stop" else 0.5)
        if worker.process.returncode is None:
            worker.kill()
        elif worker.process.returncode not in (0, -9, 137):
            said = worker.report.read_text(errors="replace")[-2000:]
            if "Traceback" in said:
                self._storm.crashes.append(f"a worker ended with {worker.process.returncode}: {said}")

    def _replace_container(self, place: int) -> None:
        """All that runs in it dies at once, and another takes its place."""
        old = self._storm.places[place]
        assert old is not None
        self._storm.places[place] = Container()
        old.__exit__()
        self._workers = [(p, self._start(p) if p == place else worker) for p, worker in self._workers]

    def drain(self, patience: float) -> str | None:
        """Let all workers go, then one in each place end what is there; what is wrong with that."""
        for _, worker in self._workers:
            worker.kill()
        last = [self._start(place, "--count", "4") for place in range(len(self._storm.places))]
        deadline = time.monotonic() + patience
        while self._storm.names("pending") or self._storm.names("running") or self._foreign():
            if time.monotonic() > deadline:
                break
            time.sleep(0.05)
        else:
            deadline = 0
        for worker in last:
            worker.signal(signal.SIGTERM)
        for worker in last:
            with suppress(subprocess.TimeoutExpired):
                worker.process.wait(10)
            worker.kill()
            said = worker.report.read_text(errors="replace")
            if "Traceback" in said:
                return f"a worker: {said[-2000:]}"
        return f"not all jobs have ended {patience:g} s after the storm" if deadline else None

    def _foreign(self) -> list[str]:
        return [name for name in os.listdir(self._storm.spool.path / "pending") if not name.startswith(".")]


def _shells(storm: Storm) -> list[tuple[int, str]]:
    """(pid here, token) of the shells of attempts, whether they have said a word or not."""
    found = []
    spool = f"QUEUECTL_SPOOL={storm.spool.path}".encode()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            if b"#queuectl start" in Path(f"/proc/{pid}/cmdline").read_bytes():
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                token = next((v[15:].decode() for v in variables if v.startswith(b"QUEUECTL_TOKEN=")), "")
                if spool in variables and token:
                    found.append((int(pid), token))
    return found


def _shoot(storm: Storm, rng: random.Random) -> None:
    """Stop, continue and kill the shells of jobs, and whole jobs."""
    storm.rest(rng.random() * 0.3)
    shells = _shells(storm)
    if not shells:
        return
    pid, token = rng.choice(shells)
    way = rng.choices([*SHOTS], [*SHOTS.values()])[0]
    storm.counts[f"shell-{way}"] += 1
    storm.ledger.say(f"# {way} of the shell {pid} of {token} ")
    with suppress(ProcessLookupError):
        if way == "stop":
            os.kill(pid, signal.SIGSTOP)
            try:
                storm.rest(rng.choice((0.05, 0.3, 3 * _RESCAN)))
            finally:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        elif way == "kill":
            os.kill(pid, signal.SIGKILL)
        else:
            os.killpg(os.getpgid(pid), signal.SIGKILL if way == "kill-all" else signal.SIGTERM)


def _again(work: Callable[[], None]) -> None:
    """One thing after the other."""
    while True:
        with suppress(_NothingError):
            work()


def _move(storm: Storm, rng: random.Random) -> None:
    """What people do with mv, rm and cp."""
    root = storm.spool.path

    def rename(source: Path, target: Path) -> bool:
        try:
            source.rename(target)
        except FileNotFoundError:
            return False
        return True

    storm.rest(rng.random() * 0.5)
    way = rng.choice(("drop-file", "drop-file", "mv-running", "mv-dead", "rm"))
    if way == "drop-file":
        body = storm.body(rng)
        data = json.dumps(body).encode()
        target = root / "pending" / f"dropped {body['id']}.json"
        if rng.random() < 0.5:
            temporary = root / "tmp" / f"drop-{body['id']}"
            temporary.write_bytes(data)
            storm.act(way, body["id"], lambda t=temporary, to=target: rename(t, to))  # type: ignore[misc]
        else:
            number = storm.ledger.begin(way, body["id"])
            with target.open("wb", buffering=0) as file:
                file.write(data[:20])
                time.sleep(rng.random() * 0.1)
                file.write(data[20:])
            storm.ledger.end(number, "ok")
    elif way == "rm":
        _, name, id = storm.pick(rng, "pending")
        if rng.random() < 0.3:
            storm.act(way, id, lambda n=name: _remove(root / "pending" / n))  # type: ignore[misc]
    else:
        state = way.removeprefix("mv-")
        _, name, id = storm.pick(rng, state)
        storm.act(way, id, lambda s=state, n=name: rename(root / s / n, root / "pending" / n))  # type: ignore[misc]


def _remove(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _type(storm: Storm, rng: random.Random) -> None:
    """The real command line, in any place, killed in the middle now and then."""
    storm.rest(rng.random() * 0.6)
    verb = rng.choice(("enqueue", "cancel", "cancel", "retry", "fsck", "status", "list", "prune", "explain"))
    id, words = "-", [verb]
    gone: list[str] = []
    if verb == "enqueue":
        body = storm.body(rng)
        id, words = body["id"], ["enqueue", json.dumps(body)]
    elif verb in ("cancel", "explain"):
        _, _, id = storm.pick(rng, "running", "pending")
        words.append(id)
    elif verb == "retry":
        _, _, id = storm.pick(rng, "dead", "done")
        words.append(id)
    elif verb == "prune":
        words += ["--state", "done", "--older-than", "2s", "--yes"]
        gone = [value[0] for name in storm.names("done") if (value := checker.parse("done", name))]
    place = storm.places[rng.randrange(len(storm.places))]
    program = [*(place.words if place else ()), *stretched.command(storm.home, "anywhere")]

    def do(program: list[str] = program, words: list[str] = words) -> bool | None:
        process = subprocess.Popen(
            [*program, "--spool", str(storm.spool.path), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environment(),
        )
        if place:
            place.entered.append(process)
        is_killed = rng.random() < 0.3
        try:
            _, said = process.communicate(timeout=rng.random() * 0.6 if is_killed else 30)
        except subprocess.TimeoutExpired:
            with suppress(OSError, ValueError):
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(children[0]) if place and children else process.pid, signal.SIGKILL)
            _, said = process.communicate()
        if b"Traceback" in said:
            storm.crashes.append(f"queuectl {' '.join(words)}: {said.decode()[-2000:]}")
        if process.returncode in (-9, 137):
            return None
        return process.returncode == 0 and b"still runs" not in said

    acts = [storm.ledger.begin("prune", one) for one in gone]
    storm.act(verb, id, do)
    for number in acts:
        storm.ledger.end(number, "?")


def _main(storm: Storm, work: Callable[[], None]) -> None:
    try:
        work()
    except _OverError:
        pass
    except BaseException as error:
        if not storm.is_over.is_set():
            import traceback

            storm.crashes.append(f"an agent: {error!r} {traceback.format_exc()}")


def rage(home: Path, *, seconds: float, seed: int = 1, each: int = 1, patience: float = 40) -> Outcome:
    """A storm of that many seconds, and its verdict. `each` is the number of workers in each place."""
    begun = time.monotonic()
    storm = Storm(home, seed)
    try:
        crew = Crew(storm, random.Random(seed), each)
        agents: list[Callable[[], None]] = [
            crew.run,
            *(Hand(storm, place, random.Random(seed + 10 + place)).run for place in range(len(storm.places))),
            partial(_again, partial(_shoot, storm, random.Random(seed + 20))),
            partial(_again, partial(_move, storm, random.Random(seed + 30))),
            partial(_again, partial(_type, storm, random.Random(seed + 40))),
        ]
        threads = [threading.Thread(target=_main, args=(storm, agent)) for agent in agents]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        storm.is_over.set()
        for thread in threads:
            thread.join(60)
        for name in storm.names("pending"):
            value = checker.parse("pending", name)
            if value and "-9999" in name:
                with suppress(Exception):
                    storm.spool.release(value[0])
        wrong = crew.drain(patience)
        verdict = ledger.judge(storm.spool.path, storm.ledger.path)
        verdict.problems += storm.crashes + ([wrong] if wrong else [])
        verdict.figures.update({kind: storm.counts[kind] for kind in storm.counts.keys() - verdict.figures.keys()})
        return Outcome(verdict, time.monotonic() - begun)
    finally:
        storm.is_over.set()
        for place in storm.places:
            if place is not None:
                place.__exit__()


def main(arguments: list[str]) -> int:
    """SECONDS [SEED [DIRECTORY]]"""
    import tempfile

    home = Path(arguments[2] if len(arguments) > 2 else tempfile.mkdtemp(prefix="queuectl-containers-", dir="/dev/shm"))
    outcome = rage(home, seconds=float(arguments[0]), seed=int(arguments[1]) if len(arguments) > 1 else 1)
    for problem in outcome.verdict.problems:
        print(problem)
    print(home, f"{outcome.seconds:.0f} s", dict(outcome.verdict.figures), f"{len(outcome.verdict.problems)} problems")
    return 1 if outcome.verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
