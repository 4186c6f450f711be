"""What was found wrong with the life of a job, each as it was reproduced: real workers, real kills, two containers.

Where a moment is too short to be met, it is stretched (`stretched`), or the job's own shell stops in it: a function
named `printf` takes the place of the one that writes its end line.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.spool.system import clock
from tests.support import environment, names, need, wait_for
from tests.torture import checker, namespaces, stretched, witness
from tests.torture.namespaces import Container, Worker

LIMITS: dict[str, dict[str, Any]] = {"timeout": {"timeout": 4}, "max-log": {"max_log": 10_000, "on_max_log": "kill"}}


class Story:
    """A spool, the evidence of what ran on it, and the file that lets its jobs end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.spool = Spool(home / "spool", create=True)
        self.evidence = witness.Evidence(home / "evidence")
        self._probes = 0
        (self.spool.path / "config.toml").write_text("rescan = 0.2\ngrace = 0.2\n")

    @property
    def path(self) -> Path:
        return self.spool.path

    def until(self, word: str) -> str:
        """What a job says in order to wait for that word."""
        return f"while ! [ -e {self.home}/{word} ];do sleep 0.01;done"

    def say(self, word: str) -> None:
        (self.home / word).touch()

    def enqueue(self, before: str = "", pause: str = ":", **fields: Any) -> None:
        """The job x, which keeps the ledger. It may be tried many times at once after each other."""
        command = before + self.evidence.script(0, pause)
        self.spool.enqueue(command, id="x", **{"max_retries": 2, "backoff_base": 0, **fields})

    def starts(self) -> int:
        return sum(checker.read_evidence(self.evidence.directory).starts.values())

    def wait_for_start(self, number: int = 1) -> None:
        wait_for(lambda: self.starts() >= number, f"start {number} of the job")

    def log(self) -> str:
        return self.spool.log_path("x").read_text()

    def wait_for_looks(self) -> None:
        """Until some worker has looked at the whole spool again and again: it has run a job that was for later."""
        self._probes += 1
        id = f"probe{self._probes}"
        self.spool.enqueue("true", id=id, priority=0, run_at=clock.now() + timedelta(seconds=0.8))
        self.spool.wait(id, timeout=20)

    def shell(self, attempt: int = 1) -> int:
        """The number here of a process that has the shell's words, of that attempt of x; 0 if there is none."""
        for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
            try:
                variables = set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
                is_shell = b"#queuectl start" in Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            mine = {b"QUEUECTL_JOB_ID=x", b"QUEUECTL_ATTEMPT=%d" % attempt, f"QUEUECTL_SPOOL={self.path}".encode()}
            if is_shell and mine <= variables:
                return pid
        return 0

    def judge(self, starts: int = 1, result: str = "exit0") -> None:
        """One attempt after the other, as many as there were to be, and the job ended as it did."""
        evidence = checker.read_evidence(self.evidence.directory)
        assert evidence.overlaps == [], self.log()
        assert sum(evidence.starts.values()) == starts, self.log()
        assert f"{self.spool.get('x').result}" == result, self.log()
        assert sum(name.endswith("-x.json") for state in checker.STATES for name in names(self.path / state)) == 1


def state_of(pid: int) -> str:
    """Of a process: R, S, T, Z, …; X if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


@pytest.fixture
def story(tmp_path: Path) -> Story:
    need("flock")
    return Story(tmp_path)


@pytest.fixture
def container() -> Iterator[Callable[[], Container]]:
    """Makes containers, and ends them."""
    need("unshare", "nsenter")
    if reason := namespaces.missing():
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    made: list[Container] = []

    def make() -> Container:
        made.append(Container())
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


def end(story: Story, worker: Worker) -> None:
    """Let a worker finish what there is."""
    wait_for(lambda: not names(story.path / "running") and not names(story.path / "pending"), "the end of the jobs")
    worker.signal(signal.SIGTERM)
    worker.wait_exit()


# --- who is alive, over two containers


@pytest.mark.parametrize("leave", ["detached", "killed"])
@pytest.mark.parametrize("where", ["in another container", "on the host"])
def test_job_whose_worker_changed_twice(
    story: Story, container: Callable[[], Container], leave: str, where: str
) -> None:
    """A worker that cannot see the processes of a job by their numbers neither ends it nor starts it again."""
    home = container()
    story.enqueue(pause=story.until("go"))
    for turn in range(2):
        worker = Worker(story.path, home)
        wait_for(lambda worker=worker, turn=turn: worker.has("adopted" if turn else "start", "x"))  # type: ignore[misc]
        story.wait_for_start()
        worker.detach() if leave == "detached" else worker.kill()
    shell = story.shell()
    stranger = Worker(story.path, container() if where == "in another container" else None, "--count", "2")
    story.wait_for_looks()
    assert state_of(shell) in "RSD", story.log()
    assert story.starts() == 1, story.log()
    story.say("go")
    end(story, stranger)
    story.judge()


# --- claims that are overtaken


@pytest.mark.parametrize("is_retried", [False, True])
def test_worker_that_sleeps_before_it_starts_the_command(story: Story, is_retried: bool) -> None:
    """After a cancel that was acknowledged nothing starts; nor beside an attempt that a retry has brought about."""
    point = stretched.Point(story.home, "spawn")
    sleeper = Worker(story.path, program=stretched.command(story.home, "spawn"))
    story.enqueue(pause=story.until("go"))
    wait_for(lambda: point.is_reached)
    words = [sys.executable, "-m", "queuectl", "--spool", str(story.path), "cancel", "x", "--grace", "0.1"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=60)
    other = Worker(story.path, None, "--count", "2")
    if is_retried:
        story.spool.retry("x")
    story.wait_for_looks()
    point.let_go()
    story.wait_for_looks()
    assert is_retried or done.returncode or "#queuectl start" not in story.log(), f"{done.stderr}\n{story.log()}"
    story.say("go")
    sleeper.signal(signal.SIGTERM)
    sleeper.wait_exit()
    end(story, other)
    evidence = checker.read_evidence(story.evidence.directory)
    assert evidence.overlaps == [], story.log()
    assert f"{story.spool.get('x').result}" == ("exit0" if is_retried else "cancelled")


# --- what an earlier attempt has left


@pytest.mark.parametrize("how", ["cancelled and retried", "its worker killed"])
def test_attempt_beside_a_daemon_of_the_last(story: Story, container: Callable[[], Container], how: str) -> None:
    """An attempt holds a lock of its own, whatever the last one has left: from elsewhere it is seen to live."""
    daemon = f'if [ "$QUEUECTL_ATTEMPT" = 1 ]&&mkdir {story.home}/first;then ({story.until("daemon")})& exit 1;fi;'
    inside, outside = container(), container()
    story.enqueue(daemon, story.until("go"))
    worker = Worker(story.path, inside)
    story.wait_for_start()
    story.say("daemon")
    wait_for(lambda: not story.shell(1), "the daemon's end")
    if how == "its worker killed":
        worker.kill()
    else:
        worker.signal(signal.SIGSTOP)  # or it would end what is cancelled
        done = outside.run(story.path, "cancel", "x", "--grace", "0.1")
        assert done.returncode, done.stderr
        story.spool.retry("x")
    other = Worker(story.path, outside, "--count", "2")
    story.wait_for_looks()
    assert story.starts() == 1, story.log()
    worker.signal(signal.SIGCONT)
    story.say("go")
    end(story, other)
    assert checker.read_evidence(story.evidence.directory).overlaps == [], story.log()
    assert f"{story.spool.get('x').result}" == "exit0"


def test_worker_that_wakes_up_beside_a_later_attempt(story: Story, container: Callable[[], Container]) -> None:
    """It writes nothing about its own, older attempt behind the start of the new one, which so stays alive for all."""
    inside, outside = container(), container()
    story.enqueue(pause=story.until("go"))
    first = Worker(story.path, inside)
    story.wait_for_start()
    first.kill()
    sleeper = Worker(story.path, inside)
    wait_for(lambda: sleeper.has("adopted", "x"))
    sleeper.signal(signal.SIGSTOP)
    assert inside.run(story.path, "cancel", "x", "--grace", "0.1").returncode == 0
    story.spool.retry("x")
    third = Worker(story.path, inside)
    story.wait_for_start(2)
    third.signal(signal.SIGSTOP)  # which knows nothing of what follows
    sleeper.signal(signal.SIGCONT)
    sleeper.signal(signal.SIGTERM)
    sleeper.wait_exit()
    lines = [line for line in story.log().splitlines() if line.startswith(("#queuectl start", "#queuectl end"))]
    assert lines[-1].startswith("#queuectl start"), story.log()
    outside.run(story.path, "cancel", "x", "--grace", "0.1")
    story.spool.retry("x")
    stranger = Worker(story.path, outside, "--count", "2")
    story.wait_for_looks()
    assert story.starts() == 2, story.log()
    third.signal(signal.SIGCONT)
    story.say("go")
    end(story, stranger)
    assert checker.read_evidence(story.evidence.directory).overlaps == [], story.log()


# --- shells at bad moments


def test_shell_that_is_slow_to_speak(story: Story) -> None:
    """A shell that has not written its start line when its worker dies is neither ended nor forgotten."""
    point = stretched.Point(story.home, "shell")
    first = Worker(story.path, program=stretched.command(story.home, "shell"))
    story.enqueue()
    wait_for(lambda: point.is_reached)
    shell = story.shell()
    first.kill()
    second = Worker(story.path, None, "--count", "2")
    story.wait_for_looks()
    assert state_of(shell) in "RSD", story.log()
    point.let_go()
    end(story, second)
    story.judge()


def test_shell_that_ends_while_rescue_looks(story: Story) -> None:
    """A job that begins and ends between a rescuer's looks at its log and at the processes does not run again."""
    point, find = stretched.Point(story.home, "shell"), stretched.Point(story.home, "find")
    first = Worker(story.path, program=stretched.command(story.home, "shell"))
    story.enqueue()
    wait_for(lambda: point.is_reached)
    shell = story.shell()
    first.kill()
    second = Worker(story.path, None, "--count", "2", program=stretched.command(story.home, "find"))
    wait_for(lambda: find.is_reached or second.has("worker"))
    deadline = time.monotonic() + 1.5
    wait_for(lambda: find.is_reached or time.monotonic() > deadline)
    point.let_go()
    wait_for(lambda: state_of(shell) in "ZX")
    find.let_go()
    end(story, second)
    story.judge()


def stop_after_its_end_line(story: Story) -> int:
    """Let the job end, and stop its shell as soon as that has written its end line; the shell."""
    shell = story.shell()
    stop = ["-e", "trace=write", "-e", "inject=write:signal=STOP:when=1"]
    with subprocess.Popen(["strace", "-qq", "-o", os.devnull, "-p", f"{shell}", *stop]) as tracer:
        status = Path(f"/proc/{shell}/status")
        wait_for(lambda: f"TracerPid:\t{tracer.pid}\n" in status.read_text(), "the tracer")
        story.say("go")
        wait_for(lambda: " exit=0\n" in story.log() and state_of(shell) in "tT", "the end line")
        tracer.terminate()
    wait_for(lambda: state_of(shell) == "T", "the shell to be stopped")
    return shell


@pytest.mark.parametrize("is_adopted", [False, True], ids=["own", "adopted"])
@pytest.mark.parametrize("what", ["killed", "timeout", "max-log", "stop --now", "cancel"])
def test_shell_that_has_written_its_end_line(story: Story, what: str, is_adopted: bool) -> None:
    """Whatever ends it before it exits, its own line is what counts: the job is done, and does not run again."""
    need("strace")
    story.enqueue(pause=story.until("go"), **LIMITS.get(what, {}))
    worker = Worker(story.path)
    story.wait_for_start()
    if is_adopted:
        worker.kill()
        worker = Worker(story.path)
        wait_for(lambda: worker.has("adopted", "x"))
    shell = stop_after_its_end_line(story)
    if what == "killed":
        os.kill(shell, signal.SIGKILL)
    elif what == "max-log":
        with story.spool.log_path("x").open("ab") as log:
            log.write(bytes(100_000))
    elif what == "stop --now":
        worker.signal(signal.SIGQUIT)
        worker.wait_exit()
        worker = Worker(story.path)
    elif what == "cancel":
        words = [sys.executable, "-m", "queuectl", "--spool", str(story.path), "cancel", "x", "--grace", "0.1"]
        done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=60)
        assert done.returncode, "the job had ended already"
    wait_for(lambda: story.spool.counts().running == 0 or story.starts() > 1, "the end of the job")
    if state_of(shell) == "T":
        os.kill(shell, signal.SIGCONT)
    end(story, worker)
    story.judge()


def test_cancel_of_a_job_that_ended_without_a_worker(story: Story) -> None:
    """What is on record is not replaced by `cancelled`: the cancel says that the job has ended."""
    story.enqueue(pause=story.until("go"))
    worker = Worker(story.path)
    story.wait_for_start()
    worker.kill()
    shell = story.shell()
    story.say("go")
    wait_for(lambda: state_of(shell) in "ZX")
    words = [sys.executable, "-m", "queuectl", "--spool", str(story.path), "cancel", "x"]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment(), timeout=60)
    assert done.returncode, done.stdout
    end(story, Worker(story.path))
    story.judge()


# --- two changes at once


def test_change_that_is_killed_beside_another(story: Story) -> None:
    """A `set` that is killed right after its exchange takes nothing away that another has set in the meantime."""
    need("strace")
    story.spool.enqueue("true", id="x")
    (path,) = (story.path / "pending").iterdir()
    delay = "inject=renameat2:delay_enter=700000:delay_exit=1500000:when=1"
    program = [sys.executable, "-m", "queuectl", "--spool", str(story.path), "set", "x"]
    trace = story.home / "trace"
    slow = subprocess.Popen(
        ["strace", "-qq", "-o", str(trace), "-e", "trace=renameat2", "-e", delay, *program, "env.SLOW=1"],
        env=environment(),
    )
    wait_for(lambda: list((story.path / "tmp").glob("x.*.json")), "the slow one's new body")
    quick = subprocess.Popen([*program, "env.QUICK=1"], env=environment())
    wait_for(lambda: "SLOW" in path.read_text(), "the slow one's exchange")
    for child in Path(f"/proc/{slow.pid}/task/{slow.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    slow.wait()
    assert quick.wait() == 0
    assert json.loads(path.read_text())["env"]["QUICK"] == "1"
