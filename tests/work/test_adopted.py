"""Taking charge of jobs that outlived their worker."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
from io import StringIO
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.names import RunningName
from queuectl.core.result import State
from queuectl.spool.system import clock, logs, processes, settings
from queuectl.work.attempts import Attempts
from queuectl.work.context import Context
from queuectl.work.engines.adopted import Adopted
from queuectl.work.report import Report
from tests.spool.given import put, running_name
from tests.support import CommandLine, names, wait_for, workers


@pytest.fixture
def adopted(spool: Spool) -> Adopted:
    context = Context(spool, Report("json", StringIO()), settings.load(spool.layout))
    return Adopted(context, "host.1.mine", Attempts(context, lambda _: None), selectors.DefaultSelector())


def test_number_that_goes_to_another_process_meanwhile_is_not_awaited(
    spool: Spool, adopted: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that ends between the verdict and the pidfd, its pid being used again, is not taken for alive."""
    name: RunningName = running_name("x")._replace(started_at=clock.now())
    put(spool.layout, name, state=State.RUNNING)
    answers = [True]
    real = processes.carries_token
    monkeypatch.setattr(processes, "carries_token", lambda *words: answers.pop() if answers else real(*words))
    with subprocess.Popen(["sleep", "600"]) as stranger:
        log = logs.open_log(spool.layout.log("x"))
        logs.append_start(log, name, stranger.pid)
        try:
            assert not adopted.rescue(name)
            assert not adopted._attempts.without_slot
            assert names(spool.path / "running") == [str(name)]
        finally:
            stranger.kill()


@pytest.mark.parametrize("how", ["timeout", "release"])
def test_leftovers_of_the_shell_are_gone_before_the_next_attempt(
    spool: Spool, cli: CommandLine, tmp_path: Path, how: str
) -> None:
    """An adopted job of which something ignores SIGTERM is settled when its grace is over and nothing of it lives."""
    cli.ok("config", "set", "grace", "0.5")
    timeout = 1 if how == "timeout" else None
    stubborn = f"(trap '' TERM; echo $$ >{tmp_path}/pid; exec 9>&-; while :; do sleep 0.05; done); exit 1"
    spool.enqueue(stubborn, id="x", timeout=timeout, max_retries=0)
    with workers(spool.path) as (first,):
        wait_for((tmp_path / "pid").exists, "the job")
        first.kill()
    with workers(spool.path) as (second,):
        wait_for(lambda: second.has("adopted", "x"), "the adoption")
        (name,) = names(spool.path / "running")
        running = RunningName.parse(name)
        assert running is not None
        attempt = logs.read_attempt(spool.layout.log("x"), running)[0]
        assert attempt is not None
        token = processes.token_of(running, attempt.worker)
        assert processes.find(token)
        if how == "release":
            second.process.send_signal(signal.SIGQUIT)
            assert second.wait_exit() == 0
        else:
            wait_for(lambda: second.has("dead", "x"), "the end")
        assert not processes.find(token)
    assert str(spool.get("x").result) == ("timeout" if how == "timeout" else "None")


def test_leftovers_of_a_lost_attempt_block_no_other_job(spool: Spool, cli: CommandLine, tmp_path: Path) -> None:
    """While its processes have their grace, other jobs start; it is settled when they are gone."""
    cli.ok("config", "set", "grace", "3")
    stubborn = f"(trap '' TERM; echo $$ >{tmp_path}/pid; exec 9>&-; while :; do sleep 0.05; done); exit 1"
    spool.enqueue(stubborn, id="x", max_retries=0)
    with workers(spool.path) as (first,):
        wait_for((tmp_path / "pid").exists, "the job")
        first.kill()
    running = RunningName.parse(names(spool.path / "running")[0])
    assert running is not None
    attempt = logs.read_attempt(spool.layout.log("x"), running)[0]
    assert attempt is not None
    assert attempt.pid is not None
    os.kill(attempt.pid, signal.SIGKILL)
    spool.enqueue("true", id="y")
    with workers(spool.path, 1, "--count", "2") as (second,):
        wait_for(lambda: second.has("dead", "x"), "the end")
        assert not processes.find(processes.token_of(running, attempt.worker))
        ends = [event["job"] for event in second.events() if event["event"] in ("done", "dead")]
    assert ends == ["y", "x"]
    assert str(spool.get("x").result) == "lost"
