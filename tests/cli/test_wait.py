"""`queuectl wait`, `run` and `enqueue --wait`: block, and exit with the job's code."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from queuectl import Spool, State
from tests.cli.given import JOB_KEYS, run_on_terminal
from tests.spool.given import put, put_finished, running_name
from tests.support import CommandLine, WorkerProcess, environment, wait_for


@pytest.fixture
def worker(spool: Spool) -> WorkerProcess:
    return WorkerProcess(spool.path, "--count", "2").wait_ready()


# --- wait


@pytest.mark.parametrize(
    ("result", "code"),
    [("exit0", 0), ("exit7", 7), ("exit255", 255), ("signal9", 137), ("timeout", 124), ("cancelled", 1), ("lost", 1),
     ("invalid", 1)],
)  # fmt: skip
def test_code_of_one_job(cli: CommandLine, spool: Spool, result: str, code: int) -> None:
    """The exit code of `wait` for one job is the job's own."""
    put_finished(spool.layout, "x", result, State.DONE if code == 0 else State.DEAD)
    done = cli.run("wait", "x")
    assert (done.returncode, done.stdout, done.stderr) == (code, f"x {result} in 1.5 s\n", "")


def test_wait_for_several_jobs(cli: CommandLine, spool: Spool) -> None:
    """For several jobs 0 means that all have succeeded; a code of one of them is not the code of all."""
    put_finished(spool.layout, "good", "exit0", State.DONE)
    put_finished(spool.layout, "too", "exit0", State.DONE)
    put_finished(spool.layout, "bad", "exit7")
    assert cli.run("wait", "good", "too", "--quiet").returncode == 0
    done = cli.run("wait", "-", stdin="good\n\nbad exit7\n")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)
    assert cli.run("wait", "nope", "good").returncode == 3


def test_wait_for_any(cli: CommandLine, spool: Spool) -> None:
    """--any ends with the first, with its code, whatever the others do."""
    put(spool.layout, running_name("runs"), state=State.RUNNING)
    put_finished(spool.layout, "bad", "exit7")
    done = cli.run("wait", "--any", "runs", "bad", "--json")
    assert (done.returncode, [job["id"] for job in json.loads(done.stdout)]) == (7, ["bad"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--match", "^one-"], "2 jobs have not ended"),
        (["--state", "running"], "job one-1 is still running"),
        (["--all"], "3 jobs have not ended"),
        (["--all", "--match", "one-2"], "job one-2 is still pending"),
        (["--state", "held"], "job held is still pending"),
        (["--where", "body.sweep=2"], "job one-2 is still pending"),
        (["--match", "^one-", "--since", "1ms"], "2 jobs have not ended"),
        (["--state", "running", "--since", "1ms"], "job one-1 is still running"),
    ],
)
def test_selection(cli: CommandLine, spool: Spool, words: list[str], said: str) -> None:
    """Filters select jobs in every state; held ones are waited for only if that is said."""
    put_finished(spool.layout, "one-old", "exit1")
    put(spool.layout, running_name("one-1"), state=State.RUNNING)
    for id in ("one-2", "two", "held"):
        spool.enqueue("true", id=id, extra={"sweep": 2} if id == "one-2" else None)
    spool.hold("held")
    done = cli.run("wait", *words, "--timeout", "10ms")
    errors = [line for line in done.stderr.splitlines() if line.startswith("queuectl: ")]
    assert (done.returncode, errors) == (5, [f"queuectl: {said}"])


def test_selection_has_jobs_that_have_ended(cli: CommandLine, spool: Spool, worker: WorkerProcess) -> None:
    """A job that failed before `wait` began fails it all the same, whether others are left or none."""
    put_finished(spool.layout, "b2-bad", "exit7")
    spool.enqueue("true", id="b2-good")
    done = cli.run("wait", "--match", "^b2-")
    assert (done.returncode, {line.split()[0] for line in done.stdout.splitlines()}) == (1, {"b2-bad", "b2-good"})
    assert " of 2 ended before, the first " in done.stderr
    spool.wait("b2-good", timeout=30)
    assert cli.run("wait", "--match", "^b2-", "-q").returncode == 1
    alone = cli.run("wait", "--match", "^b2-bad")
    assert (alone.returncode, alone.stdout) == (7, "b2-bad exit7 in 1.5 s\n")
    assert cli.run("wait", "--match", "^b2-good", "-q").returncode == 0
    assert cli.run("wait", "--match", "^b2-", "--since", "1h", "-q").returncode == 0
    assert cli.run("wait", "--state", "failed", "-q").returncode == 7
    assert worker.process.poll() is None


def test_held_jobs_are_named(cli: CommandLine, spool: Spool) -> None:
    """A held job that is selected is named and not waited for; with no other there is nothing to wait for."""
    put_finished(spool.layout, "b-good", "exit0", State.DONE)
    spool.enqueue("true", id="b-held")
    spool.hold("b-held")
    done = cli.run("wait", "--match", "^b-")
    assert (done.returncode, done.stderr.splitlines()[0]) == (0, "not waiting for 1 held job: b-held")
    done = cli.run("wait", "--match", "held")
    said = done.stderr.splitlines()[1:3]
    assert (done.returncode, said) == (3, ["queuectl: nothing to wait for", "  only held jobs match"])


def test_commands_of_several_jobs(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Of several jobs each is printed with its command."""
    put_finished(spool.layout, "bad", "exit7", command="make report")
    put_finished(spool.layout, "good", "exit0", State.DONE, command="make clean")
    lines = cli.run("wait", "bad", "good").stdout.splitlines()
    assert sorted(lines) == ["bad exit7 in 1.5 s  make report", "good exit0 in 1.5 s  make clean"]
    _, screen = run_on_terminal(cli.argv("wait", "bad", "good"), tmp_path, columns=24)
    assert sorted(screen.splitlines()) == ["bad exit7 in 1.5 s  mak…", "good exit0 in 1.5 s  ma…"]


@pytest.mark.parametrize("words", [["--match", "nope"], ["--state", "running"], ["--result", "lost", "--all"]])
def test_wait_for_an_empty_selection(cli: CommandLine, spool: Spool, words: list[str]) -> None:
    """A selection of nothing is an error, not a success."""
    put_finished(spool.layout, "x", "exit0", State.DONE)
    done = cli.run("wait", *words, "--json")
    assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (3, "[]\n", "queuectl: no job matches")


def test_wait_for_all_of_an_empty_queue(cli: CommandLine, spool: Spool) -> None:
    """--all waits until nothing is running or waiting; an empty queue has got there, whatever failed in the past."""
    put_finished(spool.layout, "old", "exit1")
    done = cli.run("wait", "--all", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "no job is running or waiting\n")


def test_timeout_of_wait(cli: CommandLine, spool: Spool) -> None:
    """The code is 5, and JSON holds those that had ended by then."""
    put(spool.layout, running_name("runs"), state=State.RUNNING)
    put_finished(spool.layout, "bad", "exit7")
    done = cli.run("wait", "runs", "bad", "--timeout", "10ms", "--json")
    assert (done.returncode, done.stderr) == (5, "queuectl: job runs is still running\n  waited 0.01 s\n")
    (job,) = json.loads(done.stdout)
    assert set(job) == JOB_KEYS


def test_waiting_for_a_job_that_runs(cli: CommandLine, spool: Spool, worker: WorkerProcess) -> None:
    """It blocks over retries until the job has ended."""
    spool.enqueue("exit 75", id="x", max_retries=100_000, backoff_base=0)
    waiting = subprocess.Popen(cli.argv("wait", "x"), stdout=subprocess.PIPE, env=environment())
    wait_for(lambda: spool.get("x").attempts > 3, "some attempts")
    assert (waiting.poll(), worker.process.poll()) == (None, None)
    spool.cancel("x")
    out, _ = waiting.communicate(timeout=30)
    assert (waiting.returncode, out.split()[:2]) == (1, [b"x", b"cancelled"])


def test_enqueue_and_wait(cli: CommandLine, worker: WorkerProcess) -> None:
    """`enqueue --wait` prints the ids at once and exits as `wait` does, for one job, several, and many lines."""
    done = cli.run("enqueue", "--wait", "--id", "x", "--max-retries", "0", "--", "exit 9")
    assert (done.returncode, done.stdout, done.stderr) == (9, "x\n", "")
    lines = '{"command": "true"}\n{"command": "exit 9", "max_retries": 0}\n'
    assert cli.run("enqueue", "--wait", "-", stdin=lines).returncode == 1
    assert cli.run("enqueue", "--wait", "-", stdin='{"command": "true"}\n').returncode == 0
    assert worker.process.poll() is None


# --- run


def test_run(cli: CommandLine, worker: WorkerProcess) -> None:
    """The command's output goes to stdout, byte for byte, and its code is the exit code."""
    done = cli.run("run", "-q", "--max-retries", "0", "--", "printf 'a\\n\\n#queuectl \\nb'; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "a\n\n#queuectl \nb", "")
    done = cli.run("run", "--id", "x", "--", "echo", "a b")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a b\n", "x is queued\n")
    assert worker.process.poll() is None


def test_run_of_a_job_as_json(cli: CommandLine, spool: Spool, worker: WorkerProcess) -> None:
    """One JSON object is one job, as for `enqueue`; several, and `-`, are refused before anything is queued."""
    done = cli.run("run", "-q", "--max-retries", "0", '{"command": "echo $X; exit 3", "id": "x", "env": {"X": "one"}}')
    assert (done.returncode, done.stdout) == (3, "one\n")
    for words in (["-"], ["{}", "{}"], ['{"command": ""}']):
        done = cli.run("run", *words, stdin='{"command": "true"}\n')
        assert (done.returncode, done.stdout) == (2, "")
    assert "for many: queuectl enqueue --wait -" in cli.run("run", "-").stderr
    assert spool.counts().done + spool.counts().pending == 0
    assert cli.run("run", "-q", "--max-retries", "0", "--", "-").returncode == 127
    assert worker.process.poll() is None


def test_run_over_retries(cli: CommandLine, worker: WorkerProcess) -> None:
    """Every attempt's output comes, and the last one's code counts."""
    command = 'echo "try $QUEUECTL_ATTEMPT"; test "$QUEUECTL_ATTEMPT" = 2'
    done = cli.run("run", "--id", "x", "--max-retries", "1", "--", command)
    assert (done.returncode, done.stdout) == (0, "try 1\ntry 2\n")
    assert done.stderr.splitlines() == ["x is queued", "-- attempt 1 ended: exit1", "-- attempt 2"]
    assert worker.process.poll() is None


def test_run_as_json(cli: CommandLine, worker: WorkerProcess) -> None:
    """--json prints the job once it has ended, and nothing of its output."""
    done = cli.run("run", "--json", "-q", "--", "echo hi")
    assert (set(json.loads(done.stdout)), done.returncode) == (JOB_KEYS, 0)
    assert worker.process.poll() is None


def test_run_without_a_worker(cli: CommandLine, spool: Spool) -> None:
    """After a second it says why nothing happens; SIGINT without a terminal leaves the job to itself."""
    running = subprocess.Popen(
        cli.argv("run", "--id", "x", "--", "true"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert running.stderr is not None
    assert running.stderr.readline() == b"x is queued\n"
    assert running.stderr.readline().startswith(b"x is waiting: no worker is alive")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=20)
    assert (running.returncode, said) == (130, b"x keeps running; see: queuectl logs -f x\n")
    assert spool.get("x").state is State.PENDING


class Terminal:
    """A `queuectl run` whose three streams are a terminal."""

    def __init__(self, argv: list[str], cwd: Path) -> None:
        self._master, inside = pty.openpty()
        self.process = subprocess.Popen(
            argv, stdin=inside, stdout=inside, stderr=inside, cwd=cwd, env=environment(TERM="xterm")
        )
        os.close(inside)
        os.set_blocking(self._master, False)
        self.screen = ""

    def shows(self, text: str) -> bool:
        with suppress(OSError):  # nothing is there yet, or nobody is any more
            self.screen += os.read(self._master, 65536).decode()
        return text in self.screen

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def terminal(cli: CommandLine, tmp_path: Path, worker: WorkerProcess) -> Iterator[Terminal]:
    """It runs the job x, which has begun."""
    assert worker.process.poll() is None
    terminal = Terminal(cli.argv("run", "--id", "x", "--", "echo begun; sleep 300"), tmp_path)
    wait_for(lambda: terminal.shows("begun"), "the output")
    yield terminal
    terminal.close()


@pytest.mark.parametrize(("answer", "code", "state"), [("c\n", 1, State.DEAD), ("\n", 130, State.RUNNING)])
def test_ctrl_c_on_a_terminal_asks(terminal: Terminal, spool: Spool, answer: str, code: int, state: State) -> None:
    """Cancel ends the job; anything else leaves it to itself, and says how to look at it."""
    terminal.process.send_signal(signal.SIGINT)
    wait_for(lambda: terminal.shows("[d]etach, or [c]ancel it?"), "the question")
    terminal.type(answer)
    assert wait_for(lambda: terminal.process.poll() is not None and [terminal.process.returncode], "the end") == [code]
    assert spool.get("x").state is state


def test_second_ctrl_c_detaches(terminal: Terminal, spool: Spool) -> None:
    """Who presses it again wants to go."""
    terminal.process.send_signal(signal.SIGINT)
    wait_for(lambda: terminal.shows("[c]ancel it?"), "the question")
    terminal.process.send_signal(signal.SIGINT)
    assert wait_for(lambda: terminal.process.poll() is not None and [terminal.process.returncode], "the end") == [130]
    assert spool.get("x").state is State.RUNNING


def test_wait_for_no_ids(cli: CommandLine) -> None:
    """`wait -` that reads no ids waits for nothing, and does not exit as if something had succeeded."""
    done = cli.run("wait", "-", stdin="\n")
    assert (done.returncode, done.stderr.splitlines()[0]) == (3, "queuectl: no ids on stdin")
    done = cli.run("wait", "-", "--json")
    assert (done.returncode, done.stdout) == (3, "[]\n")
