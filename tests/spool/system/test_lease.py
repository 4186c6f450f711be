"""Locks that show who is alive: of a worker, and of any process of a job."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import portalocker
import pytest

from queuectl.core.names import parse_worker
from queuectl.spool.system import files, identity, lease, logs
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, PROCESSES, locked_log, running_name
from tests.support import environment, names, wait_for

HOLDER = """
import os, subprocess, sys, time
from datetime import datetime
from queuectl.spool.system import lease, logs
fd = logs.open_log(sys.argv[1])
assert lease.lock_attempt(fd, datetime.fromisoformat("2026-11-24T03:43:00+00:00"))
child = subprocess.Popen(["sleep", "300"], pass_fds=[fd]) if sys.argv[2] == "child" else None
print(child.pid if child else 0, flush=True)
time.sleep(300)
"""


@contextmanager
def holder(path: str, child: str = "") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds a log's lock, and the pid of its child that inherited it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path, child], stdout=subprocess.PIPE, text=True, env=environment()
    )
    with process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            yield process, pid
        finally:
            process.kill()
            if pid:
                end(pid)


def end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def test_lock_dies_with_its_process(layout: Layout) -> None:
    """A log is locked for as long as the process lives that locked it, and not an instant longer than kill -9."""
    path = layout.log("x")
    assert not lease.is_in_use(path)
    with holder(path) as (process, _):
        assert lease.is_in_use(path)
        process.kill()
        process.wait()
        assert not lease.is_in_use(path)


def test_child_keeps_the_lock(layout: Layout) -> None:
    """When the worker is killed, the lock is held for as long as a process of its job lives."""
    path = layout.log("x")
    with holder(path, "child") as (process, pid):
        process.kill()
        process.wait()
        assert lease.is_in_use(path)
        end(pid)
        wait_for(lambda: not lease.is_in_use(path), "the end of the lock")


def test_closing_a_copy_keeps_the_childs_lock(layout: Layout) -> None:
    """The worker closes its own descriptor, and the job that inherited it still holds the lock."""
    path = layout.log("x")
    with locked_log(layout, "x") as log:
        child = subprocess.Popen(["sleep", "300"], pass_fds=[log])
    try:
        assert lease.is_in_use(path)
    finally:
        child.kill()
        child.wait()
    assert not lease.is_in_use(path)


def test_lock_has_one_holder(layout: Layout) -> None:
    """A second descriptor cannot have the lock, and asking does not take it away."""
    with locked_log(layout, "x"):
        second = os.open(layout.log("x"), os.O_RDWR)
        assert not lease.lock_attempt(second, NOW)
        assert not lease.lock_whole(second)
        assert lease.is_in_use(layout.log("x"))
        assert lease.is_in_use(layout.log("x"))
        os.close(second)
    assert not lease.is_in_use(layout.log("x"))


def test_attempts_have_a_lock_each(layout: Layout) -> None:
    """What an attempt has left holds its own lock, and no other; the id has another."""
    path, later = layout.log("x"), NOW + timedelta(milliseconds=1)
    with locked_log(layout, "x") as first, locked_log(layout, "x", later) as second:
        assert lease.lock_id(second)
        assert lease.is_attempt_held(path, NOW)
        assert lease.is_attempt_held(path, later)
        assert not lease.is_attempt_held(path, NOW - timedelta(milliseconds=1))
        assert not lease.is_attempt_held(path, NOW + timedelta(milliseconds=2))
        assert lease.running_attempts(first) == [later]
        assert lease.running_attempts(second) == [NOW]
        assert not lease.lock_id(first)
    assert not lease.is_in_use(path)


@pytest.mark.parametrize("number", [0, 1, 2, 7])
def test_running_attempts_are_all_found(layout: Layout, number: int) -> None:
    """However many attempts hold their locks, those are found whose end is not on record."""
    times = [NOW + timedelta(milliseconds=100 * index) for index in range(number)]
    with ExitStack() as stack:
        for index, at in enumerate(times):
            log = stack.enter_context(locked_log(layout, "x", at))
            name = running_name("x")._replace(started_at=at)
            logs.append_start(log, name, 1)
            if index % 2:
                logs.append_end(log, name, "exit=1")
        own = stack.enter_context(locked_log(layout, "x", NOW - timedelta(days=1)))
        assert sorted(lease.running_attempts(own)) == times[::2]
        assert lease.may_be_running(own) == bool(times)
        assert lease.is_running(layout.log("x"))


def test_attempt_of_an_older_version_is_seen(layout: Layout) -> None:
    """An earlier version locks the whole log with flock: its attempts are not taken for dead."""
    log = logs.open_log(layout.log("x"))
    logs.append_start(log, running_name("x"), 1)
    other = logs.open_log(layout.log("x"))
    fcntl.flock(log, fcntl.LOCK_EX)
    try:
        assert lease.is_attempt_held(layout.log("x"), NOW)
        assert lease.may_be_running(other)
        assert not lease.lock_whole(other)
        logs.append_end(log, running_name("x"), "exit=1")
        assert not lease.may_be_running(other)
    finally:
        os.close(log)
        os.close(other)


def _is_flocked(path: str) -> bool:
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_asking_does_not_disturb_those_who_ask(layout: Layout) -> None:
    """Many who ask at once whether a free log is locked all learn that it is not."""
    path = layout.log("x")
    Path(path).touch()
    found: list[bool] = []
    askers = [
        threading.Thread(target=lambda: found.extend(lease.is_in_use(path) for _ in range(300))) for _ in range(4)
    ]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert (len(found), any(found)) == (1200, False)


@pytest.mark.parametrize("kind", ["missing", "link"])
def test_lock_of_a_missing_or_linked_log(layout: Layout, kind: str) -> None:
    """A log that is missing, or is a link, is not locked."""
    if kind == "link":
        os.symlink("/dev/null", layout.log("x"))
    assert not lease.is_in_use(layout.log("x"))


def test_worker_is_locked_before_it_is_seen(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no instant does a worker's file lie in workers/ without its lock and its whole content."""
    real = files.publish
    published = []

    def publish(source: str, target: str) -> None:
        assert names(Path(layout.workers)) == []
        assert _is_flocked(source)
        assert Path(source).read_text().endswith("}\n")
        published.append(target)
        real(source, target)

    monkeypatch.setattr(files, "publish", publish)
    with lease.WorkerLease(layout, "web1", {"slots": 2}) as held:
        assert published == [layout.worker(held.name)]
        assert names(Path(layout.tmp)) == []


def test_worker_file_describes_its_worker(layout: Layout) -> None:
    """A worker's file names its host, its pid and what it adds, and is private; it goes with the worker."""
    with lease.WorkerLease(layout, "Web-1.example.org", {"slots": 2}) as held:
        host, pid, nonce = parse_worker(held.name)
        assert (host, pid, len(nonce)) == ("web_1.example.org", os.getpid(), 4)
        assert lease.host_of(held.name) == "web_1.example.org"
        info = lease.read_worker(layout, held.name)
        assert info == {"worker": held.name, "host": "Web-1.example.org", "pid": os.getpid(), "slots": 2}
        assert stat.S_IMODE(os.stat(layout.worker(held.name)).st_mode) == 0o600
        assert lease.is_worker_alive(layout, held.name)
    assert not lease.is_worker_alive(layout, held.name)
    assert names(Path(layout.workers)) == []


def test_worker_says_once_that_it_stops(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same file, still locked, says the rest and since when; where it cannot be written nothing happens."""
    with lease.WorkerLease(layout, "web1", {"slots": 2}) as held:
        before, status = lease.read_worker(layout, held.name), os.stat(layout.worker(held.name))
        held.say_stopping(NOW)
        held.say_stopping(NOW + timedelta(seconds=1))
        assert lease.read_worker(layout, held.name) == {**before, "stopping_at": "20261124T034300.000Z"}
        assert os.stat(layout.worker(held.name)).st_ino == status.st_ino
        assert lease.is_worker_alive(layout, held.name)
    with lease.WorkerLease(layout, "web1", {}) as held:
        monkeypatch.setattr(os, "pwrite", full_disk)
        held.say_stopping(NOW)
        assert lease.is_worker_alive(layout, held.name)


def full_disk(*_: object) -> int:
    raise OSError(errno.ENOSPC, "no space")


@pytest.mark.parametrize(
    ("is_alive", "info", "is_busy", "is_paused", "state"),
    [
        (True, {}, True, False, "working"),
        (True, {}, True, True, "working"),
        (True, {}, False, False, "idle"),
        (True, {}, False, True, "paused"),
        (True, {"stopping_at": "20261124T034300.000Z"}, True, True, "stopping"),
        (True, {"stopping_at": "20261124T034300.000Z"}, False, False, "stopping"),
        (False, {"stopping_at": "20261124T034300.000Z"}, True, True, "gone"),
    ],
)
def test_worker_state_is_one_word(
    is_alive: bool, info: dict[str, str], is_busy: bool, is_paused: bool, state: str
) -> None:
    """One word, the one that matters most."""
    assert lease.state_of(info, is_alive=is_alive, is_busy=is_busy, is_paused=is_paused) == state


def test_worker_that_failed_leaves_its_file(layout: Layout) -> None:
    """After an error the file stays, unlocked, for the next worker to rescue what ran."""
    with pytest.raises(ZeroDivisionError), lease.WorkerLease(layout, "web1", {}) as held:
        raise ZeroDivisionError
    assert names(Path(layout.workers)) == [f"{held.name}.json"]
    assert not lease.is_worker_alive(layout, held.name)


def _be_a_worker(root: str) -> None:
    with lease.WorkerLease(Layout(root), "web1", {}):
        signal.pause()


def test_killed_worker_is_dead(layout: Layout) -> None:
    """After kill -9 a worker's file is left, and its lock says that it is dead."""
    process = PROCESSES.Process(target=_be_a_worker, args=(layout.root,))
    process.start()
    (file,) = wait_for(lambda: names(Path(layout.workers)), "the worker's file")
    worker = file.removesuffix(".json")
    assert parse_worker(worker)[1] == process.pid
    assert lease.is_worker_alive(layout, worker)
    process.kill()
    process.join()
    assert not lease.is_worker_alive(layout, worker)
    assert names(Path(layout.workers)) == [file]
    lease.forget(layout, worker)
    assert names(Path(layout.workers)) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1'])
def test_torn_worker_file(layout: Layout, content: str) -> None:
    """What is not a worker's whole file says nothing, and nobody holds it."""
    Path(layout.worker("web1.1.aaaa")).write_text(content)
    assert lease.read_worker(layout, "web1.1.aaaa") == {}
    assert lease.read_worker(layout, "web1.2.aaaa") == {}
    assert not lease.is_worker_alive(layout, "web1.1.aaaa")


def test_settings_have_one_writer(layout: Layout) -> None:
    """While one changes the settings another cannot, and then can."""
    with open(f"{layout.tmp}/config.lock", "a", encoding="utf-8") as other:
        with lease.locked_settings(layout), pytest.raises(portalocker.AlreadyLocked):
            portalocker.lock(other, portalocker.LOCK_EX | portalocker.LOCK_NB)
        portalocker.lock(other, portalocker.LOCK_EX | portalocker.LOCK_NB)


def test_random_text() -> None:
    """Random text is base32 in lower case and never the same."""
    assert len({identity.random_text(12) for _ in range(100)}) == 100
    assert set(identity.random_text(5000)) == set("abcdefghijklmnopqrstuvwxyz234567")


def test_lock_that_the_system_refuses_is_an_error_of_the_spool(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where locks do not work a worker, or a change of settings, ends with the system's reason; nothing is left."""

    error = OSError(errno.ENOLCK, "No locks available")

    def refuse(*_: object) -> None:
        raise error

    def refuse_portalocker(*_: object) -> None:
        raise portalocker.LockException(error)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuse)
        with pytest.raises(OSError, match="No locks available"):
            lease.WorkerLease(layout, "web1", {})
        patch.setattr(portalocker.Lock, "acquire", refuse_portalocker)
        with pytest.raises(OSError, match="No locks available"), lease.locked_settings(layout):
            pytest.fail("it was not locked")
    assert names(Path(layout.tmp)) == []
    assert names(Path(layout.workers)) == []
