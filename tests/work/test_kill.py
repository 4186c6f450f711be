"""kill -9 of workers changes nothing for their jobs: none lost, none run twice, every outcome true."""

from __future__ import annotations

import os
import random
import signal
import socket
from collections import Counter
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.names import FinishedName, PendingName, RunningName, format_worker
from queuectl.core.result import State
from queuectl.spool.system import clock, logs, processes
from tests.support import WorkerProcess, names, wait_for


def began(spool: Spool, id: str) -> int:
    """The pid of the job's shell, once it has begun."""
    log = spool.log_path(id)
    wait_for(
        lambda: log.exists() and b" pid=" in log.read_bytes() and log.read_bytes().count(b"\n") > 0, f"start of {id}"
    )
    return int(log.read_text().split(" pid=")[1].split()[0])


def finish(spool: Spool, *words: str) -> WorkerProcess:
    worker = WorkerProcess(spool.path, "--drain", *words)
    assert worker.wait_exit(60) == 0, worker.report.read_text()
    return worker


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("{wait}; exit 0", "exit0"),
        ("{wait}; exit 9", "exit9"),
        ("exec sh -c '{wait}; exit 5'", "exit5"),
        ("trap 'rm -f x' EXIT; {wait}; exit 6", "exit6"),
        (["sh", "-c", "{wait}; exit 7"], "exit7"),
        (["sh", "-c", "{wait}; kill -9 $$"], "signal9"),
    ],
)
def test_job_outlives_its_worker(spool: Spool, tmp_path: Path, command: str | list[str], expected: str) -> None:
    """The job continues undisturbed, ends once, and the next worker records its real outcome."""
    go, ledger = tmp_path / "go", tmp_path / "ledger"
    wait = f"echo begun >> {ledger}; while [ ! -e {go} ]; do sleep 0.01; done; echo ended >> {ledger}"
    words = (
        command.replace("{wait}", wait) if isinstance(command, str) else [w.replace("{wait}", wait) for w in command]
    )
    spool.enqueue(words, id="x", max_retries=0)
    first = WorkerProcess(spool.path)
    wait_for(lambda: ledger.exists() and "begun" in ledger.read_text())
    first.kill()
    second = WorkerProcess(spool.path, "--drain")
    wait_for(lambda: second.has("adopted", "x"))
    go.touch()
    assert second.wait_exit() == 0
    job = spool.get("x")
    assert (f"{job.result}", job.attempts) == (expected, 1)
    assert ledger.read_text().split() == ["begun", "ended"]
    assert names(spool.path / "workers") == []


def test_outcome_of_a_job_that_ended_while_no_worker_lived(spool: Spool, tmp_path: Path) -> None:
    """Its own shell has recorded it; the next worker settles it so, without running it again."""
    go = tmp_path / "go"
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.01; done; exit 3", id="x", max_retries=0)
    worker = WorkerProcess(spool.path)
    began(spool, "x")
    worker.kill()
    go.touch()
    wait_for(lambda: "exit=3" in spool.log_path("x").read_text())
    finish(spool)
    assert (f"{spool.get('x').result}", spool.get("x").attempts) == ("exit3", 1)


def test_timeout_of_an_adopted_job_is_enforced(spool: Spool) -> None:
    """It counts from the job's own start."""
    spool.enqueue("sleep 600", id="x", timeout=1.5, max_retries=0)
    worker = WorkerProcess(spool.path)
    pid = began(spool, "x")
    worker.kill()
    finish(spool)
    job = spool.get("x")
    assert (f"{job.result}", job.attempts) == ("timeout", 1)
    assert pid not in processes.find("", group=pid)


def test_adopted_job_counts_against_the_slots(spool: Spool, tmp_path: Path) -> None:
    """A worker of one slot that has adopted a job starts no other."""
    go = tmp_path / "go"
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.01; done", id="x", priority=0)
    first = WorkerProcess(spool.path)
    began(spool, "x")
    first.kill()
    spool.enqueue("true", id="y")
    second = WorkerProcess(spool.path, "--drain")
    wait_for(lambda: second.has("adopted", "x"))
    assert not second.has("start", "y")
    go.touch()
    assert second.wait_exit() == 0
    events = [(event["event"], event["job"]) for event in second.events()]
    assert events.index(("done", "x")) < events.index(("start", "y"))


def test_job_killed_with_its_worker_is_lost_and_tried_again(spool: Spool, tmp_path: Path) -> None:
    """Nobody knows its outcome: the attempt counts, what it left is ended, and the next attempt runs."""
    once = tmp_path / "once"
    spool.enqueue(
        f"[ -e {once} ] && exit 0; touch {once}; sleep 600 & sleep 600", id="x", max_retries=1, backoff_base=0
    )
    worker = WorkerProcess(spool.path)
    pid = began(spool, "x")
    wait_for(once.exists)
    worker.kill()
    os.kill(pid, signal.SIGKILL)
    second = finish(spool)
    job = spool.get("x")
    assert (f"{job.state}", f"{job.result}", job.attempts) == ("done", "exit0", 2)
    assert second.has("lost", "x")
    assert "result=lost" in spool.log_path("x").read_text()


def test_lost_job_that_must_not_run_twice_is_dead(spool: Spool) -> None:
    """With on_lost = dead nobody repeats an attempt whose outcome is unknown."""
    spool.enqueue("sleep 600", id="x", on_lost="dead")
    worker = WorkerProcess(spool.path)
    pid = began(spool, "x")
    worker.kill()
    os.kill(pid, signal.SIGKILL)
    finish(spool)
    job = spool.get("x")
    assert (f"{job.state}", f"{job.result}", job.attempts) == ("dead", "lost", 1)


def test_claim_that_never_began_does_not_count(spool: Spool) -> None:
    """A worker that died between the claim and the command leaves a job that simply starts again."""
    spool.enqueue("true", id="x", max_retries=0)
    dead = format_worker(socket.gethostname(), 999_999, "aaaa")
    (pending,) = names(spool.path / "pending")
    running = RunningName(clock.now(), 10, 1, dead, "x")
    os.rename(spool.path / "pending" / pending, spool.path / "running" / str(running))
    finish(spool)
    assert (f"{spool.get('x').state}", spool.get("x").attempts) == ("done", 1)


@pytest.mark.parametrize("log", ["", "{start}\n", "{start}\n\n{end}\n", "{start}\noutput"])
def test_move_of_which_a_power_cut_undid_half(spool: Spool, log: str) -> None:
    """A job that was to be tried again and has its old name in running/ as well is one job still."""
    job = spool.enqueue("true", id="x")
    dead = format_worker(socket.gethostname(), 999_999, "aaaa")
    running = RunningName(clock.now(), 10, 1, dead, "x")
    os.rename(job.path, spool.path / "pending" / str(PendingName(10, clock.now(), 1, "x")))
    os.link(spool.path / "pending" / names(spool.path / "pending")[0], spool.path / "running" / str(running))
    start, end = logs.format_start(running, "999999"), logs.format_end(running, "exit=3")
    spool.log_path("x").write_text(log.format(start=start, end=end))
    finish(spool)
    assert [len(names(spool.path / state)) for state in State] == [0, 0, 1, 0]
    assert (spool.get("x").state, spool.get("x").attempts) == ("done", 2)


def test_jobs_of_another_host_are_left_alone(spool: Spool) -> None:
    """A lock cannot be seen from here, so nothing is concluded about its worker."""
    spool.enqueue("true", id="x")
    (pending,) = names(spool.path / "pending")
    running = RunningName(clock.now(), 10, 1, "far_away.1.aaaa", "x")
    os.rename(spool.path / "pending" / pending, spool.path / "running" / str(running))
    spool.enqueue("true", id="y")
    worker = WorkerProcess(spool.path)
    spool.wait("y", timeout=20)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.wait_exit() == 0
    assert names(spool.path / "running") == [str(running)]


def test_storm_of_kills(spool: Spool, tmp_path: Path) -> None:
    """Workers killed at random moments: every job starts once, ends once, with its own exit code, in one attempt."""
    rng = random.Random(20261124)
    ledger = tmp_path / "ledger"
    ledger.touch()
    expected: dict[str, int] = {}

    def job(number: int) -> dict[str, object]:
        code = rng.choice([0, 0, 0, 3, 200])
        pause = rng.choice([":", ":", "sleep 0.01", "sleep 0.05", "sleep 0.3"])
        expected[f"j{number}"] = code
        script = f"echo S {number} >> {ledger}; {pause}; echo E {number} >> {ledger}; exit {code}"
        command: object = ["sh", "-c", script] if number % 7 == 0 else script
        return {"id": f"j{number}", "command": command, "max_retries": 0}

    list(spool.enqueue_many(job(number) for number in range(250)))
    running = [WorkerProcess(spool.path, "--count", "2") for _ in range(2)]
    settled = 0
    for kill in range(15):
        done = settled + rng.randrange(2, 15)
        wait_for(lambda done=done: spool.counts().done + spool.counts().dead >= min(done, 240))  # type: ignore[misc]
        settled = spool.counts().done + spool.counts().dead
        running[kill % 2].kill()
        running[kill % 2] = WorkerProcess(spool.path, "--count", "2")
    for worker in running:
        worker.kill()
    finish(spool, "--count", "2")

    lines = Counter(ledger.read_text().splitlines())
    assert set(lines.values()) == {1}
    assert len(lines) == 2 * len(expected)
    ended = [FinishedName.parse(name) for state in ("done", "dead") for name in names(spool.path / state)]
    assert {name.id: f"{name.result}" for name in ended if name} == {id: f"exit{code}" for id, code in expected.items()}
    assert {name.attempts for name in ended if name} == {1}
    assert names(spool.path / "pending") == names(spool.path / "running") == names(spool.path / "workers") == []


def test_sigterm_at_any_time(spool: Spool, tmp_path: Path) -> None:
    """Workers stopped at random moments lose nothing and run nothing twice."""
    rng = random.Random(7)
    ledger = tmp_path / "ledger"
    ledger.touch()
    jobs = [{"id": f"j{n}", "command": f"echo {n} >> {ledger}; exit 0", "max_retries": 0} for n in range(300)]
    list(spool.enqueue_many(jobs))
    while spool.counts().done < 250:
        worker = WorkerProcess(spool.path, "--count", "2")
        least = spool.counts().done + rng.randrange(0, 40)
        wait_for(lambda least=least: spool.counts().done >= min(least, 300))  # type: ignore[misc]
        worker.process.send_signal(rng.choice([signal.SIGTERM, signal.SIGINT]))
        assert worker.wait_exit() in (0, -signal.SIGTERM, -signal.SIGINT, 130)
    finish(spool)
    assert sorted(map(int, ledger.read_text().split())) == list(range(300))
    assert spool.counts().done == 300
