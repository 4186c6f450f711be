"""Ending an attempt: its shell is stopped, then its log is read, and only then are its processes ended."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core import lifecycle
from queuectl.core.names import RunningName
from queuectl.core.result import CANCELLED, TIMEOUT, Result, State
from queuectl.errors import WaitTimeoutError, WrongStateError
from queuectl.spool.moves import by_hand, ending
from queuectl.spool.moves.claims import Claim
from queuectl.spool.system import clock, lease, logs, processes
from queuectl.work.engines.executor import Executor
from tests.spool.given import pending_name, put, running_name
from tests.support import WorkerProcess, names, wait_for, workers

SLOW_TO_EXIT = "exec 3>&1; trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done"
"""A command that takes SIGTERM, and exits with 0."""


@pytest.fixture
def claim(spool: Spool) -> Iterator[Claim]:
    put(spool.layout, pending_name("x"), SLOW_TO_EXIT)
    (text,) = names(spool.path / "pending")
    from queuectl.spool.moves import claims
    from tests.spool.given import parsed

    held = claims.claim(spool.layout, parsed(text), "host.1.aaaa", clock.now)
    assert held is not None
    yield held
    processes.terminate(held.token, None, 0)
    os.close(held.log)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def start(spool: Spool, claim: Claim) -> int:
    run = Executor(str(spool.path), claim.name.worker).start(claim)
    wait_for(lambda: b"ready" in spool.log_path("x").read_bytes(), "the job")
    return run.pid


def test_end_on_record_is_not_ended(spool: Spool, claim: Claim) -> None:
    """A shell that has written its end line gets no signal but the stop, and continues."""
    pid = start(spool, claim)
    logs.append_end(claim.log, claim.name, "exit=0")
    assert not ending.end_attempt(claim.log, claim.name, claim.token, pid, "timeout", 5)
    wait_for(lambda: state_of(pid) in "SR", "the shell to continue")
    attempt = logs.find_attempt(claim.log, claim.name)
    assert attempt is not None
    assert (attempt.result, attempt.ending) == (Result.exit(0), None)


def test_exit_0_after_being_ended_is_not_a_success(spool: Spool, claim: Claim) -> None:
    """A command that takes SIGTERM and exits with 0 has been ended all the same, and that is on record before."""
    pid = start(spool, claim)
    assert ending.end_attempt(claim.log, claim.name, claim.token, pid, "timeout", 5)
    attempt = logs.find_attempt(claim.log, claim.name)
    assert attempt is not None
    assert (attempt.result, attempt.ending) == (TIMEOUT, "timeout")
    assert b"note ending attempt=1" in spool.log_path("x").read_bytes()


def test_attempt_that_has_not_begun_is_ended_at_once(spool: Spool, claim: Claim) -> None:
    """Without a start line nothing is stopped, which nobody could continue, and no grace is waited for."""
    stopped: list[int] = []
    pid = os.posix_spawn("/bin/sleep", ["sleep", "300"], {"QUEUECTL_TOKEN": claim.token}, setsid=True)
    real = processes.stop
    try:
        processes.stop = lambda pid: bool(stopped.append(pid)) or real(pid)  # type: ignore[func-returns-value]
        assert ending.end_attempt(claim.log, claim.name, claim.token, pid, "release", 60)
    finally:
        processes.stop = real
        os.waitpid(pid, 0)
    assert stopped == []


@pytest.mark.parametrize("reason", ["", "timeout"])
def test_shell_that_was_left_stopped_continues_or_is_ended(spool: Spool, tmp_path: Path, reason: str) -> None:
    """A worker that dies between its SIGSTOP and what follows leaves a stopped shell: who adopts it continues it, or
    carries out what the log says."""
    go = tmp_path / "go"
    spool.enqueue(f"echo ready; while [ ! -e {go} ]; do sleep 0.02; done; exit 4", id="x", max_retries=0)
    with workers(spool.path) as (first,):
        wait_for(lambda: "ready" in spool.log_path("x").read_text().splitlines(), "the job")
        name = RunningName.parse(names(spool.path / "running")[0])
        assert name is not None
        log = logs.open_log(spool.layout.log("x"))
        attempt = logs.find_attempt(log, name)
        assert attempt is not None
        assert attempt.pid is not None
        first.process.send_signal(signal.SIGSTOP)
        assert processes.stop(attempt.pid)
        if reason:
            logs.append_ending(log, name, reason)
        os.close(log)
        first.kill()
    go.touch()
    last = WorkerProcess(spool.path, "--drain")
    last.wait_exit(30)
    job = spool.get("x")
    assert (job.state, str(job.result)) == (State.DEAD, reason or "exit4")


@pytest.mark.parametrize("who", ["worker", "cancel"])
def test_shell_that_was_stopped_behind_its_end_line_is_continued(spool: Spool, tmp_path: Path, who: str) -> None:
    """Who settles a job by the end line that it finds lets its shell exit, or it would hold its lock for ever."""
    spool.enqueue("echo ready; sleep 300", id="x", max_retries=0)
    with workers(spool.path) as (first,):
        wait_for(lambda: "ready" in spool.log_path("x").read_text().splitlines(), "the job")
        first.kill()
    name = RunningName.parse(names(spool.path / "running")[0])
    assert name is not None
    log = logs.open_log(spool.layout.log("x"))
    attempt = logs.find_attempt(log, name)
    assert attempt is not None
    assert attempt.pid is not None
    processes.stop(attempt.pid)
    logs.append_end(log, name, "exit=0")
    os.close(log)
    try:
        if who == "worker":
            assert WorkerProcess(spool.path, "--drain").wait_exit(30) == 0
        else:
            with pytest.raises(WrongStateError):
                spool.cancel("x")
        assert spool.get("x").state is State.DONE
        wait_for(lambda: state_of(attempt.pid or 0) in "SR", "the shell to continue")
    finally:
        processes.terminate(processes.token_of(name, attempt.worker), None, 0)


# --- cancel


@pytest.mark.parametrize(
    ("said", "max_retries", "result"), [("exit=0", 3, "exit0"), ("exit=3", 0, "exit3"), ("exit=3", 3, "cancelled")]
)
def test_cancel_believes_what_is_on_record(spool: Spool, said: str, max_retries: int, result: str) -> None:
    """A job that has ended and is not settled yet has ended, though it is cancelled; but it is not tried again."""
    name = running_name("x")
    put(spool.layout, name, state=State.RUNNING, max_retries=max_retries)
    log = logs.open_log(spool.layout.log("x"))
    logs.append_start(log, name, 1 << 22)
    logs.append_end(log, name, said)
    os.close(log)
    if result == "cancelled":
        assert spool.cancel("x", grace=0).result == CANCELLED
    else:
        with pytest.raises(WrongStateError, match="has already ended"):
            spool.cancel("x", grace=0)
    assert str(spool.get("x").result) == result


def test_cancel_looks_again_once_the_lock_is_free(spool: Spool, claim: Claim, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that ends by itself between the look at its log and the rename is not recorded as cancelled."""
    real = by_hand.try_move

    def end_first(*words: object) -> object:
        monkeypatch.setattr(by_hand, "try_move", real)
        logs.append_start(claim.log, claim.name, 1 << 22)
        logs.append_end(claim.log, claim.name, "exit=0")
        return real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(by_hand, "try_move", end_first)
    with pytest.raises(WrongStateError, match="done, exit0"):
        spool.cancel("x", grace=0)
    assert spool.get("x").state is State.DONE


def test_cancel_is_not_acknowledged_while_the_lock_is_held(spool: Spool, claim: Claim) -> None:
    """What holds the attempt's lock may start the command yet: the answer is that nobody knows, with exit code 5."""
    with pytest.raises(WaitTimeoutError, match="not known yet") as caught:
        spool.cancel("x", grace=0)
    assert caught.value.exit_code == 5
    assert spool.get("x").result == CANCELLED
    assert lease.is_attempt_held(spool.layout.log("x"), claim.name.started_at)


def test_cancel_wakes_the_worker_that_cannot_be_seen(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in another container ends a cancelled job at once, and not at its next look at the whole spool."""
    (spool.path / "config.toml").write_text("rescan = 600\n")
    with workers(spool.path):
        spool.enqueue("echo ready; sleep 300", id="x")
        wait_for(lambda: "ready" in spool.log_path("x").read_text().splitlines(), "the job")
        monkeypatch.setattr(processes, "find", lambda *_, **__: [])
        monkeypatch.setattr(processes, "is_own", lambda _: False)
        assert spool.cancel("x", grace=5).result == CANCELLED


def test_cancelling_again_ends_what_an_interrupted_cancel_has_left(spool: Spool) -> None:
    """A cancel that died after its rename can be given again, also where no worker lives."""
    spool.enqueue("echo ready; sleep 300", id="x")
    with workers(spool.path) as (first,):
        wait_for(lambda: "ready" in spool.log_path("x").read_text().splitlines(), "the job")
        first.kill()
    name = RunningName.parse(names(spool.path / "running")[0])
    assert name is not None
    move = lifecycle.cancel(name, clock.now())
    (spool.path / "running" / str(name)).rename(spool.layout.job(*move))
    assert spool.cancel("x", grace=1).result == CANCELLED
    assert not spool.is_alive("x")
    with pytest.raises(WrongStateError, match="has already ended"):
        spool.cancel("x", grace=1)


def test_job_that_is_cancelled_and_retried_waits_for_the_attempt_that_is_left(spool: Spool, tmp_path: Path) -> None:
    """An attempt that nobody looks after any more is ended before the next one starts, by the worker that claims it."""
    go = tmp_path / "go"
    spool.enqueue(f"echo ready; while [ ! -e {go} ]; do sleep 0.02; done", id="x", max_retries=0)
    with workers(spool.path) as (first,):
        wait_for(lambda: "ready" in spool.log_path("x").read_text().splitlines(), "the job")
        first.kill()
    name = RunningName.parse(names(spool.path / "running")[0])
    assert name is not None
    path = spool.path / "running" / str(name)
    path.rename(spool.path / "pending" / str(pending_name("x")))
    with workers(spool.path) as (second,):
        wait_for(lambda: second.has("waits"), "the notice")
        wait_for(lambda: spool.log_path("x").read_text().splitlines().count("ready") == 2, "the next attempt")
        assert not lease.is_attempt_held(spool.layout.log("x"), name.started_at)
        go.touch()
        assert spool.wait("x", timeout=20).state is State.DONE
