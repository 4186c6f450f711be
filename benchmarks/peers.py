"""Other ways to run queued commands, in the same run, on the same file system.

`peer-NAME`: N jobs of `true` that are queued first and then run two at a time, from the first job to the last
(each of these two writes the time at which it runs), against `xargs -P2`. `peer-NAME-latency`: from submitting
one job, by the peer's command or call, to its start, two workers idle, against a direct spawn. No row is judged.

A peer that is not installed, or cannot be used here, gives a row that says why. Python peers are looked for in
`.venv-peers` (or $BENCH_PEERS): make that with `python -m venv .venv-peers` and pip.
What they promise differs: most keep no output, no result, or nothing after a crash.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.drain import xargs
from benchmarks.measure import Meter, Take
from benchmarks.program import COMMAND, ENVIRONMENT, FailedError, StuckError, run, wait_for
from benchmarks.rows import Row, reason_of
from benchmarks.session import Session

_VENV = Path(os.environ.get("BENCH_PEERS", Path(__file__).parent.parent / ".venv-peers"))
_PATIENCE = 120.0


class Peer:
    """A queue: jobs are submitted, workers started, all in a directory of its own."""

    name: ClassVar[str]
    note: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    """Programs that must be there."""
    modules: ClassVar[tuple[str, ...]] = ()
    """Python modules that must be there, in the peers' environment."""
    most: ClassVar[int] = 1_000_000
    """Jobs that it can hold without trouble."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = dict(ENVIRONMENT)
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    def problem(cls) -> str:
        """Why it cannot be used here; empty if it can."""
        missing = [name for name in cls.needs if find_program(name) is None]
        if missing:
            return f"{' '.join(missing)} not installed"
        if not cls.modules:
            return ""
        python = _VENV / "bin" / "python"
        if not python.exists():
            return f"{' '.join(cls.modules)} not installed: there is no {_VENV.name}"
        found = subprocess.run([python, "-c", f"import {', '.join(cls.modules)}"], check=False, capture_output=True)
        return f"{' '.join(cls.modules)} not installed in {_VENV.name}" if found.returncode else ""

    def prepare(self) -> None:
        """Start what must run before jobs can be submitted."""

    def submit(self, commands: Sequence[str]) -> None:
        """Queue commands for /bin/sh."""
        raise NotImplementedError

    def start_workers(self) -> None:
        """Let two jobs run at a time."""
        raise NotImplementedError

    def stop(self) -> None:
        """End what is not a child of `spawn`."""

    def spawn(self, *argv: str) -> subprocess.Popen[bytes]:
        """A process that lives until `close`, at the head of its own group."""
        with open(self.directory / "peer.log", "ab") as log:
            child = subprocess.Popen(
                argv, cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._children.append(child)
        return child

    def call(self, *argv: str, stdin: bytes = b"") -> None:
        """Run to the end. Its errors go to a file: a pipe would stay open in the servers that some of them leave."""
        with open(self.directory / "peer.log", "ab") as log:
            done = subprocess.run(
                argv, check=False, cwd=self.directory, env=self.environment, input=stdin, stdout=subprocess.DEVNULL,
                stderr=log,
            )  # fmt: skip
        if done.returncode:
            said = (self.directory / "peer.log").read_text(encoding="utf-8", errors="replace")[-200:]
            raise FailedError(f"{argv[0]} ended with {done.returncode}: {said}")

    def python(self, program: str, *arguments: str, stdin: bytes = b"") -> None:
        """Run a few lines in the peers' environment."""
        self.call(str(_VENV / "bin" / "python"), "-c", program, *arguments, stdin=stdin)

    def close(self) -> None:
        try:
            self.stop()
        finally:
            for child in self._children:
                _end_group(child)


class Queuectl(Peer):
    name = "queuectl"
    note = "durable, results, logs, retries"

    def prepare(self) -> None:
        self.call(*COMMAND, "init", "spool")

    def submit(self, commands: Sequence[str]) -> None:
        lines = "".join(json.dumps({"command": command}) + "\n" for command in commands)
        self.call(*COMMAND, "--spool", "spool", "enqueue", "-", stdin=lines.encode())

    def start_workers(self) -> None:
        self.spawn(*COMMAND, "--spool", "spool", "worker", "start", "--count", "2")


class _Held(Peer):
    """A queue that starts at once what it is given: two jobs that wait for a pipe hold the others back."""

    def prepare(self) -> None:
        os.mkfifo(self.directory / "gate")
        self._gate = os.open(self.directory / "gate", os.O_RDWR)
        self._is_held = True
        for _ in range(2):
            self.submit([f"read line < {self.directory}/gate"])

    def start_workers(self) -> None:
        if self._is_held:
            self._is_held = False
            os.write(self._gate, b"\n\n")

    def stop(self) -> None:
        self.start_workers()
        time.sleep(0.2)
        os.close(self._gate)


class Nq(_Held):
    name = "nq"
    note = "two queues in turn, as one runs one job at a time; a waiting process for each job"
    needs = ("nq",)
    most = 500

    def prepare(self) -> None:
        self._turn = 0
        super().prepare()

    def submit(self, commands: Sequence[str]) -> None:
        for command in commands:
            self._turn += 1
            queue = self.directory / f"queue{self._turn % 2}"
            queue.mkdir(exist_ok=True)
            self.environment["NQDIR"] = str(queue)
            self.call("nq", "-q", "/bin/sh", "-c", command)


class TaskSpooler(_Held):
    name = "task-spooler"
    note = "a waiting process for each job"
    needs = ("tsp",)
    most = 500

    def prepare(self) -> None:
        (self.directory / "out").mkdir()
        self.environment |= {
            "TS_SOCKET": str(self.directory / "socket"),
            "TMPDIR": str(self.directory / "out"),
            "TS_SLOTS": "2",
        }
        super().prepare()

    def submit(self, commands: Sequence[str]) -> None:
        for command in commands:
            self.call("tsp", "/bin/sh", "-c", command)

    def stop(self) -> None:
        super().stop()
        self.call("tsp", "-K")


class Parallel(Peer):
    name = "parallel"
    note = "GNU parallel, reading a growing file of commands"
    needs = ("parallel",)

    def prepare(self) -> None:
        self._jobs = self.directory / "jobs"
        self._jobs.touch()

    def submit(self, commands: Sequence[str]) -> None:
        with self._jobs.open("a", encoding="utf-8") as file:
            file.writelines(f"{command}\n" for command in commands)

    def start_workers(self) -> None:
        self.spawn("sh", "-c", "tail -n +1 -f jobs | parallel --will-cite -u -j2")


class At(Peer):
    name = "at"
    note = "runs everything at once, not two at a time"
    needs = ("at", "atd")
    most = 200

    @classmethod
    def problem(cls) -> str:
        reason = super().problem()
        if reason:
            return reason
        if os.geteuid() != 0:
            return "only root can start an atd"
        if subprocess.run(["pgrep", "-x", "atd"], check=False, capture_output=True).returncode == 0:
            return "an atd runs already"
        if subprocess.run(["atq"], check=False, capture_output=True).stdout:
            return "somebody has jobs waiting"
        return ""

    def submit(self, commands: Sequence[str]) -> None:
        for command in commands:
            self.call("at", "-M", "now", stdin=f"{command}\n".encode())

    def start_workers(self) -> None:
        self.spawn(find_program("atd") or "atd", "-f")

    def stop(self) -> None:
        left = subprocess.run(["atq"], check=False, capture_output=True, text=True).stdout.splitlines()
        for line in left:
            self.call("atrm", line.split()[0])


class _Redis(Peer):
    """A queue in a redis-server of its own, on a socket, with the snapshots that are its default."""

    needs = ("redis-server",)

    def prepare(self) -> None:
        self.socket = f"{self.directory}/redis"
        server = self.spawn("redis-server", "--port", "0", "--unixsocket", self.socket, "--dir", str(self.directory))
        wait_for(lambda: os.path.exists(self.socket) or server.poll() is not None, 0.01, 20)
        if server.poll() is not None:
            raise FailedError(f"redis-server ended with {server.returncode}")


class Rq(_Redis):
    name = "rq"
    note = "redis, two workers"
    modules = ("rq", "redis")
    _SUBMIT = """
import sys, redis, rq
queue = rq.Queue(connection=redis.Redis(unix_socket_path=sys.argv[1]))
commands = sys.stdin.read().splitlines()
queue.enqueue_many([rq.Queue.prepare_data("subprocess.call", (["/bin/sh", "-c", command],)) for command in commands])
"""

    def submit(self, commands: Sequence[str]) -> None:
        self.python(self._SUBMIT, self.socket, stdin="\n".join(commands).encode())

    def start_workers(self) -> None:
        for _ in range(2):
            self.spawn(str(_VENV / "bin" / "rq"), "worker", "-q", "-u", f"unix://{self.socket}")


class _Tasks(Peer):
    """A queue that is a Python module with one task."""

    tasks: ClassVar[str]
    """The lines that make the queue, down to the decorator of the task."""
    call_task: ClassVar[str]

    def prepare(self) -> None:
        super().prepare()
        head = self.tasks.format(directory=self.directory)
        text = f"import subprocess\n{head}\ndef sh(command):\n    subprocess.call(['/bin/sh', '-c', command])\n"
        (self.directory / "bench_tasks.py").write_text(text, encoding="utf-8")
        self.environment["PYTHONPATH"] = str(self.directory)

    def submit(self, commands: Sequence[str]) -> None:
        submit = f"import sys, bench_tasks\nfor line in sys.stdin: bench_tasks.{self.call_task}(line[:-1])"
        self.python(submit, stdin="".join(f"{command}\n" for command in commands).encode())


class Huey(_Tasks):
    name = "huey"
    note = "SQLite, two worker processes, which poll"
    modules = ("huey",)
    tasks = """
from huey import SqliteHuey
huey = SqliteHuey(filename='{directory}/huey.db', results=False)
@huey.task()"""
    call_task = "sh"

    def start_workers(self) -> None:
        consumer = str(_VENV / "bin" / "huey_consumer")
        self.spawn(consumer, "bench_tasks.huey", "-w", "2", "-k", "process", "-q")


class Celery(_Tasks, _Redis):
    name = "celery"
    note = "redis, two prefork workers"
    modules = ("celery", "redis")
    tasks = """
from celery import Celery
app = Celery('bench_tasks', broker='redis+socket://{directory}/redis')
app.conf.task_ignore_result = True
@app.task"""
    call_task = "sh.delay"

    def start_workers(self) -> None:
        self.environment["C_FORCE_ROOT"] = "1"
        argv = ("-A", "bench_tasks", "worker", "-c", "2", "-P", "prefork", "-l", "ERROR")
        self.spawn(str(_VENV / "bin" / "celery"), *argv)


PEERS: tuple[type[Peer], ...] = (Queuectl, Nq, TaskSpooler, Parallel, At, Rq, Huey, Celery)


def find_program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def peers(session: Session) -> Iterator[Row]:
    """Every peer in turn, queuectl among them by the same rule."""
    for kind in PEERS:
        yield from measure(session, kind)


def measure(session: Session, kind: type[Peer]) -> Iterator[Row]:
    """The rows of one peer, or one that says why there are none."""
    reason = kind.problem()
    if not reason:
        try:
            yield _drain(session, kind)
            yield _latency(session, kind)
        except (FailedError, StuckError, OSError) as error:
            reason = reason_of(error)
    if reason:
        yield Row(name=f"peer-{kind.name}", what=kind.name, place=session.place.kind, skipped=reason)


def _drain(session: Session, kind: type[Peer]) -> Row:
    jobs = min(session.sizes.peer_jobs, kind.most)
    takes = session.interleave(
        {"xargs": lambda: xargs(jobs), "peer": lambda: _with(session, kind, lambda peer: _drain_once(peer, jobs))}
    )
    mine, floor = takes["peer"], takes["xargs"]
    return Row(
        name=f"peer-{kind.name}", what=f"{kind.name}: drain {jobs:,} jobs ({kind.note})", place=session.place.kind,
        value=mine.median, unit="jobs/s", floor=floor.median, floor_what="xargs -P2", figure=mine.ratio(floor),
        n=len(mine.takes), foreign=max(mine.foreign, floor.foreign), samples=mine.values, floor_samples=floor.values,
    )  # fmt: skip


def _latency(session: Session, kind: type[Peer]) -> Row:
    number = min(session.sizes.drops, 20)
    floor = statistics.median(_spawn_once(session) for _ in range(number))
    takes = session.interleave({"peer": lambda: _with(session, kind, lambda peer: _latency_block(peer, number))})
    mine = takes["peer"]
    return Row(
        name=f"peer-{kind.name}-latency", what=f"{kind.name}: submit to start, idle", place=session.place.kind,
        value=statistics.median(mine.samples), unit="ms", floor=floor, floor_what="spawning it directly",
        figure=statistics.median(mine.samples) - floor, figure_unit="ms more", n=len(mine.samples),
        foreign=mine.foreign, samples=mine.samples,
    )  # fmt: skip


def _with(session: Session, kind: type[Peer], use: Callable[[Peer], Take]) -> Take:
    with session.scratch() as directory:
        peer = kind(directory)
        try:
            peer.prepare()
            return use(peer)
        finally:
            peer.close()


def _drain_once(peer: Peer, jobs: int) -> Take:
    first, last = peer.directory / "first", peer.directory / "last"
    peer.submit([_stamping(first), *["true"] * (jobs - 2), _stamping(last)])
    with Meter() as meter:
        peer.start_workers()
        wait_for(lambda: last.exists() and first.exists(), 0.01, _PATIENCE)
    return Take((jobs - 1) / max(_read(last) - _read(first), 1e-6), foreign=meter.foreign)


def _latency_block(peer: Peer, number: int) -> Take:
    peer.start_workers()
    ready = [peer.directory / f"ready{index}" for index in range(4)]  # parallel starts with a full batch
    peer.submit([_stamping(path) for path in ready])
    wait_for(ready[0].exists, 0.01, _PATIENCE)
    samples = []
    for index in range(number):
        time.sleep(0.1)
        stamp = peer.directory / f"stamp{index}"
        begun = time.time()
        peer.submit([_stamping(stamp)])
        wait_for(stamp.exists, 0.002, _PATIENCE)
        samples.append((_read(stamp) - begun) * 1e3)
    return Take(statistics.median(samples), samples=tuple(samples))


def _spawn_once(session: Session) -> float:
    with session.scratch() as directory:
        begun = time.time()
        run(["/bin/sh", "-c", _stamping(directory / "stamp")])
        return (_read(directory / "stamp") - begun) * 1e3


def _stamping(path: Path) -> str:
    return f"date +%s%N > {path}.part; mv {path}.part {path}"


def _read(path: Path) -> float:
    return int(path.read_text(encoding="ascii")) / 1e9


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End a process and all of its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
            child.wait(5)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    child.wait()
