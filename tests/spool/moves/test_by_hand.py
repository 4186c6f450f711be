"""Verbs on one job: what they do, and that of two that act at once one wins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from queuectl import AlreadyExistsError, Job, Spool, State, WrongStateError
from queuectl.core.names import HELD_AT, PendingName, RunningName
from queuectl.spool.moves import claims
from queuectl.spool.system import clock, files, identity, logs, processes
from queuectl.spool.system.layout import Layout
from tests.spool.given import (
    NOW,
    WORKER,
    die,
    locked_log,
    parsed,
    pending_name,
    put,
    put_finished,
    read_log,
    run_at_once,
    run_to_death,
    running_name,
)
from tests.support import WorkerProcess, environment, names, wait_for, workers

# --- hold, release, first


def test_hold_and_release(spool: Spool) -> None:
    """A held job keeps its priority and attempts, is counted apart, and is due once it is released."""
    put(spool.layout, pending_name("x", attempts=2, priority=3))
    assert spool.hold("x").name == PendingName(3, HELD_AT, 2, "x")
    assert spool.hold("x").is_held
    assert names(spool.path / "pending") == ["003-99991231T235959.999Z-2-x.json"]
    counts = spool.counts()
    assert (counts.held, counts.pending, counts.scheduled, counts.retrying, counts.next_run_at) == (1, 1, 0, 0, None)
    released = spool.release("x")
    assert released.run_at is not None
    assert released.run_at <= datetime.now(UTC)
    with pytest.raises(WrongStateError, match="not held"):
        spool.release("x")


@pytest.mark.parametrize("act", [Spool.retry, Spool.release])
def test_jobs_that_are_retried_or_released_together_keep_their_order(
    spool: Spool, act: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They start in the order in which that was asked for, even within one millisecond, whatever their ids."""
    ids = [f"{letter}{number}" for letter in "zma" for number in range(5)]
    for id in ids:
        if act is Spool.release:
            spool.hold(spool.enqueue("true", id=id))
        else:
            put_finished(spool.layout, id)
    at = clock.now()
    monkeypatch.setattr("queuectl.spool.moves.by_hand.now", lambda: at)
    for id in ids:
        act(spool, id)
    assert [name.rpartition("-")[2].removesuffix(".json") for name in sorted(names(spool.path / "pending"))] == ids


def test_released_job_keeps_the_time_it_was_submitted_for(spool: Spool) -> None:
    """It is due when its body asks for if that lies ahead, or at the time given at the release."""
    spool.enqueue("true", id="x", run_at="2999-01-01T00:00:00Z")
    spool.hold("x")
    assert spool.release("x").run_at == datetime(2999, 1, 1, tzinfo=UTC)
    spool.hold("x")
    assert spool.release("x", run_at=NOW).run_at == NOW


def test_verbs_about_waiting_refuse_other_jobs(spool: Spool) -> None:
    """Running and finished jobs are in the wrong state for all verbs about waiting."""
    put(spool.layout, running_name("r"), state=State.RUNNING)
    put_finished(spool.layout, "f")
    for id in "rf":
        for verb in (spool.hold, spool.release, spool.first):
            with pytest.raises(WrongStateError, match="only a pending job"):
                verb(id)


def test_first(spool: Spool) -> None:
    """It comes before every job that is due, whatever their priorities; later ones and its own attempts stay."""
    put(spool.layout, PendingName(0, NOW, 0, "urgent"))
    put(spool.layout, PendingName(0, NOW.replace(year=2999), 0, "tomorrow"))
    put(spool.layout, PendingName(10, NOW, 0, "usual"))
    put(spool.layout, PendingName(500, NOW, 3, "x"))
    spool.hold("usual")
    for id in ("x", "usual", "x"):
        assert spool.first(id).attempts == (3 if id == "x" else 0)
        assert names(spool.path / "pending")[0].endswith(f"-{id}.json")
    assert spool.counts().held == 0


def test_worker_leaves_held_jobs_alone(spool: Spool) -> None:
    """A worker that drains runs the others and exits; a held job starts once it is released."""
    for id in ("held", "free"):
        spool.enqueue("true", id=id)
    spool.hold("held")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 1
    assert (spool.get("held").state, spool.get("free").state) == (State.PENDING, State.DONE)
    with workers(spool.path):
        spool.release("held")
        assert spool.wait("held", timeout=20).state is State.DONE


def _act(root: str, verb: str) -> str:
    try:
        getattr(Spool(root), verb)("x")
    except WrongStateError:
        return "lost"
    return verb


@pytest.mark.parametrize("verb", ["cancel", "first", "hold"])
def test_actions_at_once_have_one_winner(spool: Spool, verb: str) -> None:
    """Several processes do the same to one job: it stays exactly one file, and losing is a normal error."""
    put(spool.layout, pending_name("x"))
    outcomes = run_at_once(6, _act, str(spool.path), verb)
    assert set(outcomes) <= {verb, "lost"}
    assert verb in outcomes
    assert sum(len(names(spool.path / state)) for state in State) == 1
    if verb == "cancel":
        assert outcomes.count("cancel") == 1


def _claim_or_hold(root: str) -> str:
    spool = Spool(root)
    (text,) = names(spool.path / "pending") or [str(pending_name("none"))]
    if os.getpid() % 2:
        return "hold" if _act(root, "hold") == "hold" else "lost"
    worker = f"web1.{os.getpid()}.{identity.random_text(4)}"
    return "claim" if claims.claim(spool.layout, parsed(text), worker, clock.now) else "lost"


def test_hold_and_a_claim_exclude_each_other(spool: Spool) -> None:
    """Anyone who is second loses: a job is claimed or held, never both."""
    for _ in range(5):
        path = put(spool.layout, pending_name("x"))
        outcomes = run_at_once(6, _claim_or_hold, str(spool.path))
        pending, running = names(spool.path / "pending"), names(spool.path / "running")
        assert (len(pending), len(running)) == ((0, 1) if "claim" in outcomes else (1, 0))
        for state in (State.PENDING, State.RUNNING):
            for name in names(spool.path / state):
                (spool.path / state / name).unlink()
        Path(spool.layout.log("x")).unlink(missing_ok=True)
        assert not path.exists()


# --- cancel


def test_cancel_follows_a_job_that_is_claimed_in_the_meantime(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the rename a worker may claim the job: then the running job is cancelled."""
    put(spool.layout, pending_name("x"))
    move = files.move
    claimed: list[str] = []

    def overtaken(source: str, target: str) -> bool:
        if not claimed:
            claimed.append(source)
            move(source, spool.layout.job(State.RUNNING, running_name("x")))
        return move(source, target)

    monkeypatch.setattr(files, "move", overtaken)
    job = spool.cancel("x", grace=0)
    assert (job.state, str(job.result), job.attempts) == (State.DEAD, "cancelled", 1)
    assert sum(len(names(spool.path / state)) for state in State) == 1


def test_job_cancelled_right_after_its_claim_never_starts(
    spool: Spool, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has claimed a job looks once more, after it has locked the log and before it starts anything."""
    path = put(layout, pending_name("x"))
    open_log = logs.open_log

    def cancelled_first(log: str, *, exclusive: bool = False) -> int:
        monkeypatch.setattr(logs, "open_log", open_log)
        spool.cancel("x", grace=0)
        return open_log(log, exclusive=exclusive)

    monkeypatch.setattr(logs, "open_log", cancelled_first)
    assert claims.claim(layout, parsed(path.name), WORKER, clock.now) is None
    assert spool.get("x").state is State.DEAD
    assert not spool.is_alive("x")


def test_cancel_waits_for_a_worker_that_is_about_to_start(spool: Spool, layout: Layout) -> None:
    """While a worker holds the log it may start the command yet: cancelling ends that too, and then answers."""
    name = RunningName(NOW, 10, 1, WORKER, "x")
    put(layout, name, state=State.RUNNING)
    answered = threading.Event()

    def cancel() -> None:
        spool.cancel("x", grace=0)
        answered.set()

    with locked_log(layout, "x"):
        thread = threading.Thread(target=cancel)
        thread.start()
        wait_for(lambda: spool.get("x").state is State.DEAD, "the rename")
        late = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(300)"],
            env=environment(**{processes.TOKEN: processes.token_of(name, WORKER)}),
        )
        assert late.wait(20) < 0
        assert not answered.is_set()
    thread.join(20)
    assert answered.is_set()


def test_cancelling_while_workers_claim(spool: Spool) -> None:
    """Jobs are cancelled as they come while two workers take them: each is settled once, and nothing continues."""
    with workers(spool.path, 2, "--count", "2"):
        ids = [spool.enqueue("sleep 300", max_retries=5).id for _ in range(16)]
        threads = [threading.Thread(target=spool.cancel, args=(id,), kwargs={"grace": 0.2}) for id in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert [id for id in ids if spool.is_alive(id)] == []
        assert {str(job.result) for job in spool.list()} == {"cancelled"}
        assert [len(names(spool.path / state)) for state in State] == [0, 0, 0, 16]
        mark = b"QUEUECTL_SPOOL=" + os.fsencode(spool.path)
        assert not [pid for pid in filter(str.isdecimal, os.listdir("/proc")) if mark in _environ(pid)]


def _environ(pid: str) -> bytes:
    try:
        return Path("/proc", pid, "environ").read_bytes()
    except OSError:
        return b""


def _cancel_and_die(root: str) -> None:
    processes.terminate = die
    Spool(root).cancel("x")


def test_cancel_that_breaks_off(spool: Spool) -> None:
    """Who cancels and dies after the rename has settled the job; its worker ends it at its next look."""
    (spool.path / "config.toml").write_text("rescan = 0.2\n")
    with workers(spool.path) as (worker,):
        spool.enqueue("echo ready; sleep 300", id="x")
        wait_for(lambda: "ready\n" in read_log(spool.layout, "x"), "the job's start")
        run_to_death(_cancel_and_die, str(spool.path))
        assert str(spool.get("x").result) == "cancelled"
        wait_for(lambda: not spool.is_alive("x"), "the end of the job")
        wait_for(lambda: worker.has("cancelled", "x"), "the worker's notice")
    assert spool.get("x").state is State.DEAD


# --- kill


@pytest.mark.parametrize(
    ("command", "number", "result"),
    [
        ("{trap}", signal.SIGUSR1, "exit3"),
        ("{trap}", signal.SIGTERM, "exit3"),
        ("sh {script}", signal.SIGUSR1, "exit3"),
        ("sh {script}", signal.SIGTERM, "exit3"),
        ("sh {script}; exit $?", signal.SIGTERM, "signal15"),  # which is for the shell of the command line as well
    ],
)
def test_kill_signals_and_nothing_else(spool: Spool, command: str, number: signal.Signals, result: str) -> None:
    """The command gets the signal, whatever shell waits for it; what it makes of it is its result."""
    trap = f"trap 'echo caught; exit 3' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    spool.path.joinpath("script").write_text(trap)
    with workers(spool.path):
        spool.enqueue(command.format(trap=trap, script=spool.path / "script"), id="x", max_retries=0)
        wait_for(lambda: "ready" in read_log(spool.layout, "x").splitlines(), "the job's start")
        assert spool.kill("x", number).state is State.RUNNING
        ended = spool.wait("x", timeout=20)
    assert str(ended.result) == result
    assert "caught" in read_log(spool.layout, "x").splitlines()


@pytest.mark.parametrize("verb", ["cancel", "kill"])
@pytest.mark.parametrize("command", ["sh {script}", "sh {script} && true", ["sh", "{script}"]], ids=str)
def test_command_has_the_grace_to_clean_up(spool: Spool, command: str | list[str], verb: str) -> None:
    """Its shell may die of SIGTERM at once: the command has it once, and time to end, before SIGKILL."""
    script = spool.path / "script"
    script.write_text("trap 'sleep 0.4; echo cleaned; exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    words = (
        command.format(script=script) if isinstance(command, str) else [word.format(script=script) for word in command]
    )
    with workers(spool.path):
        spool.enqueue(words, id="x", max_retries=0)
        wait_for(lambda: "ready" in read_log(spool.layout, "x").splitlines(), "the job's start")
        if verb == "cancel":
            spool.cancel("x", grace=10)
            assert not spool.is_alive("x")
        else:
            spool.kill("x")
            spool.wait("x", timeout=20)
    assert read_log(spool.layout, "x").splitlines().count("cleaned") == 1


def test_kill_ends_a_command_without_a_trap(spool: Spool) -> None:
    """What dies of the signal has failed, and is retried like any other."""
    with workers(spool.path):
        spool.enqueue(["sh", "-c", "echo ready; sleep 300"], id="x", max_retries=1, backoff_base=0)
        for attempt in (1, 2):
            wait_for(lambda: read_log(spool.layout, "x").count("\nready\n") == attempt, "an attempt")  # noqa: B023
            spool.kill("x")
        ended = spool.wait("x", timeout=20)
    assert (ended.state, str(ended.result), ended.attempts) == (State.DEAD, "signal15", 2)


def test_kill_of_what_does_not_run_here(spool: Spool) -> None:
    """A job that does not run, or not on this host, cannot be signalled, and the error says so."""
    put(spool.layout, pending_name("p"))
    put(spool.layout, running_name("r"), state=State.RUNNING)
    with pytest.raises(WrongStateError, match="is pending"):
        spool.kill("p")
    with pytest.raises(WrongStateError, match="no process of r is on this host"):
        spool.kill("r")
    assert spool.get("r").state is State.RUNNING


def test_reschedule_keeps_the_rest(spool: Spool) -> None:
    """A job whose Job is handed in is not searched for again."""
    job = spool.enqueue("true", id="x")
    assert spool.reschedule(job, run_at=NOW + timedelta(hours=1)).run_at == NOW + timedelta(hours=1)
    with pytest.raises(WrongStateError, match="just changed state"):
        spool.cancel(job)


def test_refused_job_is_retried_under_its_own_id(spool: Spool) -> None:
    """What was refused as a duplicate asks for its body's id: refused while that is taken, then queued under it."""
    layout = spool.layout
    dead = put_finished(layout, "drop-abcdef", result="invalid", id="x")
    Path(layout.log("drop-abcdef")).write_text("#queuectl refused file=drop.json reason=duplicate\n")
    spool.enqueue("true", id="x")
    with pytest.raises(AlreadyExistsError):
        spool.retry("drop-abcdef")
    assert dead.exists()
    os.unlink(spool.get("x").path)
    os.unlink(layout.log("x"))
    retried = spool.retry("drop-abcdef")
    assert (retried.id, retried.state) == ("x", State.PENDING)
    assert Path(layout.log("x")).read_text().splitlines()[0] == "#queuectl refused file=drop.json reason=duplicate"
    assert not os.path.exists(layout.log("drop-abcdef"))


def test_retry_under_another_id_that_breaks_off_frees_it(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever fails before the rename, the job stays dead, and the id can be had again."""
    put_finished(spool.layout, "drop-abcdef", result="invalid", id="x")
    with monkeypatch.context() as patch:
        patch.setattr(files, "move", lambda *_: False)
        with pytest.raises(WrongStateError):
            spool.retry("drop-abcdef")
    assert spool.retry("drop-abcdef").id == "x"
