"""What became of the jobs of dead workers, found out with real workers that are killed."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from queuectl import Result, Spool
from queuectl.core.names import RunningName
from queuectl.core.result import LOST, State
from queuectl.spool.system import clock, identity, lease, logs, processes
from queuectl.spool.system.layout import Layout
from queuectl.spool.upkeep import rescue
from queuectl.spool.upkeep.rescue import Fate
from tests.spool.given import locked_log, put, running_name
from tests.support import WorkerProcess, names, wait_for


@dataclass
class Orphans:
    """Starts jobs whose workers are then killed; each job waits for `release`."""

    spool: Spool
    gate: Path

    def make(self, then: str = "exit 3") -> RunningName:
        """A running job whose worker has been killed. Once released it continues with `then`."""
        command = f"echo begun; while [ ! -e '{self.gate}' ]; do sleep 0.02; done; {then}"
        job = self.spool.enqueue(command, id="x")
        worker = WorkerProcess(self.spool.path)
        wait_for(lambda: "begun" in Path(self.spool.log_path(job.id)).read_text(), "the job's start")
        worker.kill()
        (text,) = names(self.spool.path / "running")
        name = RunningName.parse(text)
        assert name is not None
        return name

    def release(self) -> None:
        self.gate.touch()

    def shell_of(self, name: RunningName) -> int:
        verdict = rescue.examine(self.spool.layout, name)
        assert (verdict.fate, verdict.result) == (Fate.ALIVE, None)
        assert verdict.pid is not None
        return verdict.pid


@pytest.fixture
def orphans(spool: Spool, tmp_path: Path) -> Iterator[Orphans]:
    yield Orphans(spool, tmp_path / "gate")
    for text in names(spool.path / "running"):
        name = RunningName.parse(text)
        if name:
            processes.terminate(processes.token_of(name, name.worker), None, 0)


def is_ended(layout: Layout, name: RunningName) -> bool:
    return rescue.examine(layout, name).fate is Fate.ENDED


def test_job_that_keeps_running_is_alive(layout: Layout, orphans: Orphans) -> None:
    """A job outlives its worker, and its shell is known by pid and token."""
    name = orphans.make()
    verdict = rescue.examine(layout, name)
    assert verdict.fate is Fate.ALIVE
    assert verdict.pid is not None
    assert processes.carries_token(verdict.pid, verdict.token)
    assert verdict.token == processes.token_of(name, name.worker)


@pytest.mark.parametrize(
    ("then", "result"),
    [
        ("exit 0", Result.exit(0)),
        ("exit 3", Result.exit(3)),
        ("exec sh -c 'kill -9 $$'", Result.signal(9)),
        ("sleep 300 & exit 4", Result.exit(4)),
    ],
    ids=["success", "failure", "death by signal", "a daemon keeps the lock"],
)
def test_end_line_shows_the_result(layout: Layout, orphans: Orphans, then: str, result: Result) -> None:
    """A job that ended without its worker is settled by its end line, no matter who still holds its lock."""
    name = orphans.make(then)
    orphans.release()
    wait_for(lambda: is_ended(layout, name), "the job's end")
    verdict = rescue.examine(layout, name)
    assert verdict.result == result
    assert verdict.ended_at is not None
    assert verdict.ended_at >= name.started_at
    assert lease.is_in_use(layout.log("x")) == ("&" in then)


def test_job_killed_with_its_worker_is_lost(layout: Layout, orphans: Orphans) -> None:
    """When shell and worker are both gone without an end line, the outcome is unknown and the token finds the rest."""
    name = orphans.make("true")
    pid = orphans.shell_of(name)
    group = os.getpgid(pid)
    os.killpg(group, signal.SIGKILL)
    wait_for(lambda: is_ended(layout, name), "the verdict")
    verdict = rescue.examine(layout, name)
    assert (verdict.result, verdict.token) == (LOST, processes.token_of(name, name.worker))
    processes.terminate(verdict.token, None, 0)
    wait_for(lambda: not processes.find(verdict.token, group), "the end of what it left")


@pytest.mark.parametrize(
    "log", [None, "", "#queuectl retry by hand\n", "#queuectl start attempt=2 started_at=x pid=1\n"]
)
def test_job_that_never_started(layout: Layout, log: str | None) -> None:
    """A claim whose worker died before the command began does not count as an attempt."""
    name = running_name("x")._replace(started_at=clock.now())
    put(layout, name, state=State.RUNNING)
    if log is not None:
        Path(layout.log("x")).write_text(log)
    assert rescue.examine(layout, name).fate is Fate.NEVER_STARTED


def test_end_of_another_attempt_is_not_believed(layout: Layout) -> None:
    """The end line of an earlier attempt says nothing about this one."""
    name = running_name("x", attempt=2)._replace(started_at=clock.now())
    put(layout, name, state=State.RUNNING)
    with locked_log(layout, "x") as log:
        logs.append_start(log, running_name("x"), 1)
        logs.append_end(log, running_name("x"), "exit=0")
    assert rescue.examine(layout, name).fate is Fate.NEVER_STARTED
    with locked_log(layout, "x") as log:
        logs.append_start(log, name, 1 << 22)
    assert rescue.examine(layout, name).result == LOST


def test_pid_alone_is_never_trusted(layout: Layout) -> None:
    """A living process that has the shell's old pid but not its token is not the job."""
    name = running_name("x")
    put(layout, name, state=State.RUNNING)
    with locked_log(layout, "x") as log:
        logs.append_start(log, name, os.getppid())
    verdict = rescue.examine(layout, name)
    assert (verdict.fate, verdict.result) == (Fate.ENDED, LOST)


def test_held_lock_means_alive(layout: Layout) -> None:
    """While its lock is held by processes that cannot be seen from here, as in another container, nothing is decided,
    whatever is known of its worker."""
    name = running_name("x")
    put(layout, name, state=State.RUNNING)
    with locked_log(layout, "x") as log:
        assert rescue.examine(layout, name).fate is Fate.UNCLEAR
        logs.append_start(log, name, 1)
        assert rescue.examine(layout, name).fate is Fate.UNCLEAR
        logs.append_end(log, name, "exit=0")
        assert rescue.examine(layout, name).fate is Fate.ENDED


def test_shell_of_another_pid_namespace_is_not_adopted(
    layout: Layout, orphans: Orphans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that sees the processes of a container under other numbers leaves them alone."""
    name = orphans.make()
    monkeypatch.setattr(processes, "pid_namespace", lambda: 1)
    assert rescue.examine(layout, name).fate is Fate.UNCLEAR


def test_leftovers_of_a_killed_shell_are_not_a_shell(layout: Layout, orphans: Orphans) -> None:
    """Processes that hold the lock and carry the token, without their shell, are to be ended before a verdict."""
    name = orphans.make("echo last; sleep 300")
    pid = orphans.shell_of(name)
    orphans.release()
    wait_for(lambda: "last" in Path(layout.log("x")).read_text().splitlines(), "the last command")
    wait_for(lambda: len(processes.find(processes.token_of(name, name.worker))) == 3, "its processes")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: rescue.examine(layout, name).fate is Fate.HEADLESS, "the end of the shell")
    processes.terminate(processes.token_of(name, name.worker), None, 0, is_ours=True)
    verdict = rescue.examine(layout, name)
    assert (verdict.fate, verdict.result) == (Fate.ENDED, LOST)


def test_shell_that_ends_between_two_looks(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that writes its end line while it is being examined is not lost."""
    name = running_name("x")
    put(layout, name, state=State.RUNNING)
    real = processes.carries_token
    with locked_log(layout, "x") as log:
        logs.append_start(log, name, 1 << 22)

        def end_meanwhile(pid: int, token: str) -> bool:
            logs.append_end(log, name, "exit=0")
            return real(pid, token)

        monkeypatch.setattr(processes, "carries_token", end_meanwhile)
        assert rescue.examine(layout, name).fate is Fate.UNCLEAR
    assert rescue.examine(layout, name).result == Result.exit(0)


# --- who is an orphan


def test_orphans_are_jobs_of_dead_workers_of_this_host(layout: Layout) -> None:
    """Jobs of a living worker, of oneself and of another host are left alone, and so are foreign files."""
    with lease.WorkerLease(layout, "web1", {}) as living:
        workers = {
            "living": living.name,
            "mine": "web1.7.mine",
            "dead": "web1.4242.k7f3",
            "other": "db2.4242.k7f3",
            "longer": "web11.4242.k7f3",
        }
        for id, worker in workers.items():
            put(layout, running_name(id, worker=worker), state=State.RUNNING)
        put(layout, "web1.json", state=State.RUNNING)
        assert [name.id for name in rescue.find_orphans(layout, "web1", "web1.7.mine")] == ["dead"]
    assert {name.id for name in rescue.find_orphans(layout, "web1", "web1.7.mine")} == {"dead", "living"}


@pytest.mark.parametrize(("boot", "is_here"), [("this", True), ("another", False), ("", False)])
def test_container_on_the_same_kernel_is_here(layout: Layout, boot: str, is_here: bool) -> None:
    """A worker of another host name is of this host if it ran on this very boot of this kernel."""
    worker = "c0ffee.1.aaaa"
    put(layout, running_name("x", worker=worker), state=State.RUNNING)
    boot_id = identity.boot_id() if boot == "this" else boot
    assert boot_id or boot != "this"
    Path(layout.worker(worker)).write_text(f'{{"boot_id": "{boot_id}"}}')
    assert bool(rescue.find_orphans(layout, "web1", "web1.7.mine")) == is_here


def test_job_of_a_killed_worker_is_an_orphan(layout: Layout, orphans: Orphans) -> None:
    """kill -9 of a worker makes its job an orphan, and its file stays until the job is rescued."""
    name = orphans.make()
    host = lease.host_of(name.worker)
    assert rescue.find_orphans(layout, host, "me.1.aaaa") == [name]
    rescue.forget_dead_workers(layout, host)
    assert names(Path(layout.workers)) == [f"{name.worker}.json"]


def test_dead_workers_are_forgotten(layout: Layout) -> None:
    """The file of a dead worker of this host goes once no running job bears its name; all others stay."""
    for worker in ("web1.1.dead", "web1.2.busy", "db2.1.aaaa"):
        Path(layout.worker(worker)).write_text("{}")
    Path(layout.workers, "notes.json").write_text("{}")
    put(layout, running_name("x", worker="web1.2.busy"), state=State.RUNNING)
    with lease.WorkerLease(layout, "web1", {}) as living:
        rescue.forget_dead_workers(layout, "web1")
        left = {f"{living.name}.json", "web1.2.busy.json", "db2.1.aaaa.json", "notes.json"}
        assert set(names(Path(layout.workers))) == left


# --- evidence that cannot be read


@pytest.mark.parametrize("what", ["log", "lock", "processes", "environment"])
def test_verdict_needs_what_can_be_read(
    layout: Layout, orphans: Orphans, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """When the system refuses a look (out of descriptors, say), a job that still runs is not declared dead."""
    name = orphans.make()
    shell = orphans.shell_of(name)
    real_open, real_list = os.open, os.listdir
    looks = {"log": 1, "lock": 2}

    def refuse(path: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    def open_file(path: str, *arguments: Any, **keywords: Any) -> int:
        if what in looks and str(path) == layout.log("x"):
            looks[what] -= 1
            if looks[what] == 0:
                refuse(path)
        return real_open(path, *arguments, **keywords)

    def list_directory(path: str = ".") -> list[str]:
        if path == "/proc" and what == "processes":
            refuse(path)
        return real_list(path)

    def open_environment(path: str, *arguments: Any, **keywords: Any) -> Any:
        if what == "environment" and str(path) == f"/proc/{shell}/environ":
            refuse(path)
        return io.open(path, *arguments, **keywords)  # noqa: UP020 - the one that is not replaced

    if what in ("lock", "processes"):  # looked at only where no start line says of a shell
        Path(layout.log("x")).write_text("")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_file)
        patch.setattr(os, "listdir", list_directory)
        patch.setattr(processes, "open", open_environment, raising=False)
        with pytest.raises(OSError, match="Too many open files"):
            rescue.examine(layout, name)


def test_worker_whose_lock_cannot_be_looked_at_counts_as_alive(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the lock itself (ENOLCK of a network file system) makes no orphan of its jobs."""
    put(layout, running_name("x"), state=State.RUNNING)
    Path(layout.worker(running_name("x").worker)).write_text("{}")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert rescue.find_orphans(layout, "web1", "web1.7.mine") == []
    with pytest.raises(OSError, match="No locks available"):
        lease.is_worker_alive(layout, running_name("x").worker)


# --- no start line


def test_shell_that_is_slow_to_speak_is_waited_for(layout: Layout) -> None:
    """A lock that outlives its worker may be held by a shell that is about to begin, however long that takes."""
    name = running_name("x")._replace(started_at=clock.now())
    put(layout, name, state=State.RUNNING)
    with locked_log(layout, "x", name.started_at) as log:
        child = subprocess.Popen(["sleep", "600"], pass_fds=[log])
    try:
        assert rescue.examine(layout, name).fate is Fate.UNCLEAR
    finally:
        child.kill()
        child.wait()
    assert rescue.examine(layout, name).fate is Fate.NEVER_STARTED


def test_shell_that_spoke_while_the_lock_was_looked_at_is_not_started_again(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that began and ended between two looks has its result: the log is read after the lock was seen free."""
    name = running_name("x")
    put(layout, name, state=State.RUNNING)
    real = lease.is_attempt_held

    def speak_first(path: str, started_at: datetime) -> bool:
        with locked_log(layout, "x") as log:
            logs.append_start(log, name, 1)
            logs.append_end(log, name, "exit=0")
        return real(path, started_at)

    monkeypatch.setattr(lease, "is_attempt_held", speak_first)
    assert rescue.examine(layout, name).fate is Fate.UNCLEAR
    assert rescue.examine(layout, name).result == Result.exit(0)


def test_daemon_of_an_earlier_attempt_hides_no_claim_that_never_began(layout: Layout) -> None:
    """A lock held by what an earlier attempt left behind says nothing about this claim."""
    name = running_name("x", attempt=2)._replace(started_at=clock.now())
    put(layout, name, state=State.RUNNING)
    with locked_log(layout, "x") as log:
        child = subprocess.Popen(["sleep", "600"], pass_fds=[log])
    try:
        assert rescue.examine(layout, name).fate is Fate.NEVER_STARTED
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    ("reason", "fate", "result"),
    [
        ("timeout", Fate.ENDED, Result("timeout")),
        ("release", Fate.RELEASED, None),
        ("max-log", Fate.ENDED, Result.signal(15)),
    ],
)
@pytest.mark.parametrize("said", ["", "exit=0"])
def test_ending_whose_worker_died(layout: Layout, reason: str, fate: Fate, result: Result | None, said: str) -> None:
    """An attempt that was being ended when its worker died has the result of that, whatever its shell said then."""
    name = running_name("x")
    put(layout, name, state=State.RUNNING)
    with locked_log(layout, "x") as log:
        logs.append_start(log, name, 1 << 22)
        logs.append_ending(log, name, reason)
        if said:
            logs.append_end(log, name, said)
        assert rescue.examine(layout, name).fate is Fate.UNCLEAR
    verdict = rescue.examine(layout, name)
    assert (verdict.fate, verdict.result, verdict.is_recorded) == (fate, result, False)


@pytest.mark.parametrize(
    ("boot", "fate"), [("this", Fate.NEVER_STARTED), ("another", Fate.ENDED), ("unknown", Fate.ENDED)]
)
def test_missing_start_line_proves_nothing_after_a_power_cut(layout: Layout, boot: str, fate: Fate) -> None:
    """Logs are not made durable: an attempt of an earlier boot without a start line is lost, and counts."""
    name = running_name("x")
    if boot != "this":
        name = name._replace(started_at=clock.booted_at() - timedelta(seconds=1))
    put(layout, name, state=State.RUNNING)
    if boot != "unknown":
        boot_id = identity.boot_id() if boot == "this" else "11111111-2222-3333-4444-555555555555"
        Path(layout.worker(name.worker)).write_text(f'{{"boot_id": "{boot_id}"}}')
    verdict = rescue.examine(layout, name)
    assert verdict.fate is fate
    assert verdict.result == (LOST if fate is Fate.ENDED else None)
