"""How a command is wrapped, on shells that run EXIT traps when a signal kills them."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.fields import Body
from queuectl.core.names import RunningName, format_time
from queuectl.core.result import State
from queuectl.core.settings import Settings
from queuectl.spool.moves import claims
from queuectl.spool.system import clock, lease, logs, processes
from queuectl.work.attempts import Attempts
from queuectl.work.context import Context
from queuectl.work.course import settle_run
from queuectl.work.engines import executor
from queuectl.work.report import Report
from tests.support import need, wait_for


def claim_of(spool: Spool, command: str | tuple[str, ...], id: str = "x") -> claims.Claim:
    name = RunningName(clock.now(), 10, 1, "host.1.aaaa", id)
    log = logs.open_log(spool.layout.log(id))
    assert lease.lock_attempt(log, name.started_at)
    return claims.Claim(name, name.started_at, Body(command), log, 0)


@pytest.mark.parametrize("shell", ["/bin/sh", "bash"])
@pytest.mark.parametrize(
    ("command", "expected"),
    [("exit 3", "exit3"), (("sh", "-c", "exit 4"), "exit4"), ("exec true", "exit0"), ("kill -TERM $$", "signal15")],
)
def test_outcome_is_recorded_by_every_shell(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, shell: str, command: str | tuple[str, ...], expected: str
) -> None:
    """The result is the same whether /bin/sh is dash or bash; an exit is in the log, a signal never as success."""
    need("bash")
    path = shell if shell.startswith("/") else f"/bin/{shell}"
    monkeypatch.setattr(executor, "SHELL", path)
    monkeypatch.setattr(executor, "_SHELL", path.encode())
    claim = claim_of(spool, command)
    run = executor.Executor(str(spool.path), "host.1.aaaa").start(claim)
    assert str(run.wait()) == expected
    attempt = logs.find_attempt(claim.log, claim.name)
    os.close(claim.log)
    assert attempt is not None
    assert attempt.pid == run.pid
    assert str(attempt.result) == expected


def test_shell_that_would_call_a_signal_death_success_is_wrapped(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With bash as /bin/sh, killing everything leaves no end line that says exit=0."""
    need("bash")
    monkeypatch.setattr(executor, "SHELL", "/bin/bash")
    monkeypatch.setattr(executor, "_SHELL", b"/bin/bash")
    claim = claim_of(spool, "true; sleep 600")
    run = executor.Executor(str(spool.path), "host.1.aaaa").start(claim)
    token = processes.token_of(claim.name, claim.name.worker)
    wait_for(lambda: len(processes.find(token)) > 1)  # the shell has started the command
    os.killpg(run.pid, signal.SIGTERM)
    assert str(run.wait()) == "signal15"
    attempt = logs.find_attempt(claim.log, claim.name)
    os.close(claim.log)
    assert attempt is not None
    assert str(attempt.result) == "signal15"
    assert b"exit=0" not in spool.log_path("x").read_bytes()


def test_stop_after_the_end_changes_no_result(spool: Spool) -> None:
    """A stop that comes when the shell has ended, but nobody has waited for it yet, changes no result."""
    claim = claim_of(spool, "exit 3")
    run = executor.Executor(str(spool.path), "host.1.aaaa").start(claim)
    os.waitid(os.P_PID, run.pid, os.WEXITED | os.WNOWAIT)
    run.stop("timeout", 5)
    assert (run.reason, str(run.wait())) == (None, "exit3")
    os.close(claim.log)


def test_stops_in_the_instant_of_the_end(spool: Spool) -> None:
    """However a stop and the end of a job meet, waiting raises nothing, and the result is what it was or the stop."""
    for number in range(100):
        claim = claim_of(spool, "exit 3", id=f"x{number}")
        run = executor.Executor(str(spool.path), "host.1.aaaa").start(claim)
        stopping = threading.Thread(target=run.stop, args=("timeout", 5))
        stopping.start()
        assert str(run.wait()) == ("timeout" if run.reason else "exit3")
        stopping.join()
        os.close(claim.log)


def test_lock_is_held_as_long_as_the_job_lives(spool: Spool, tmp_path: Path) -> None:
    """The worker's closing of its descriptor frees nothing while a process of the job is there."""
    go = tmp_path / "go"
    claim = claim_of(spool, f"while [ ! -e {go} ]; do sleep 0.01; done")
    run = executor.Executor(str(spool.path), "host.1.aaaa").start(claim)
    os.close(claim.log)
    assert lease.is_in_use(spool.layout.log("x"))
    go.touch()
    run.wait()
    assert not lease.is_in_use(spool.layout.log("x"))


@pytest.mark.parametrize(
    "written", ["", "#queuectl start attempt=1 started_at={} worker=host.1.aa"], ids=["nothing", "a part"]
)
def test_attempt_whose_start_was_not_written_is_given_back(spool: Spool, written: str) -> None:
    """The job has not failed by that; it has if its command was started and ended with the same status."""
    context = Context(spool, Report("quiet"), Settings())
    for id, attempts in (("x", 0), ("y", 1)):
        claim = claim_of(spool, "exit 125", id)
        Path(spool.layout.job(State.RUNNING, claim.name)).write_text('{"command": "exit 125"}')
        run = executor.Executor(str(spool.path), "host.1.aaaa").start(claim)
        result = run.wait()
        if not attempts:
            spool.log_path(id).write_text(written.format(format_time(claim.name.started_at)))
        settle_run(context, Attempts(context, lambda _: None), run, result, 0.1)
        os.close(claim.log)
        assert (spool.get(id).state, spool.get(id).attempts) == (State.PENDING, attempts)
