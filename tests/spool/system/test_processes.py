"""The processes of an attempt: found by token or group, stopped, and ended to the last."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from queuectl.spool.system import processes
from tests.spool.given import running_name
from tests.support import wait_for

TOKEN = "host.1.aaaa:20261124T034300.000Z:processes"
"""Of no other attempt that may be under way on this machine."""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a shell of that script, in a session of its own, which has come as far as `touch READY`."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(script: str = "touch $READY; sleep 600", token: str = TOKEN) -> subprocess.Popen[bytes]:
        ready = tmp_path / f"ready{len(started)}"
        environment = {**os.environ, processes.TOKEN: token, "READY": str(ready)}
        process = subprocess.Popen(["/bin/sh", "-c", script], env=environment, start_new_session=True)
        started.append(process)
        wait_for(ready.exists, "the script to be ready")
        return process

    yield begin
    for process in started:
        processes.terminate(TOKEN, None, 0, is_signalled=True)
        process.kill()
        process.wait()


def state_of(pid: int) -> str:
    """The letter of the kernel's."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def only_child_of(pid: int) -> int:
    """Of a shell that waits for one, once the others have ended."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_for(lambda: len(children.read_text().split()) == 1, "a single child")
    return int(children.read_text())


def test_token_names_one_attempt() -> None:
    """Worker, time of the claim and job; another attempt has another."""
    name = running_name("x")
    assert processes.token_of(name, "host.1.aaaa") == "host.1.aaaa:20261124T034300.000Z:x"
    assert processes.token_of(name, "host.1.bbbb") != processes.token_of(name, "host.1.aaaa")


def test_find_finds_by_the_token_whatever_group_they_are_in(start: Start) -> None:
    """The shell and a child that leads a session of its own; not one of a token that merely begins the same."""
    shell = start("setsid sh -c 'touch $READY; sleep 600' & wait")
    start(token=f"{TOKEN}y")
    wait_for(lambda: len(processes.find(TOKEN)) >= 3, "the processes")
    found = processes.find(TOKEN)
    assert shell.pid in found
    assert len({os.getsid(pid) for pid in found}) == 2


def test_find_finds_by_the_group_what_has_another_environment(start: Start) -> None:
    """A command run by `env -i` carries no token, but is in its shell's group."""
    shell = start("env -i sleep 600 & touch $READY; wait")
    child = only_child_of(shell.pid)
    wait_for(lambda: child not in processes.find(TOKEN), "the child to lose the token")
    assert set(processes.find(TOKEN, shell.pid)) == {shell.pid, child}


def test_find_finds_no_dead_process(start: Start) -> None:
    """A shell that has ended and was not waited for is over."""
    shell = start("touch $READY; exit 3")
    wait_for(lambda: state_of(shell.pid) == "Z")
    assert processes.find(TOKEN, shell.pid) == []
    assert not processes.is_alive(shell.pid)
    assert not processes.stop(shell.pid)


def test_find_spares_the_caller(start: Start) -> None:
    """A worker that was started by a job never ends itself."""
    start()
    assert os.getpid() not in processes.find(TOKEN, os.getpgid(0))


def test_shell_is_one_only_with_the_token(start: Start) -> None:
    """A number that another process has now is not taken for the shell; nor is one of nobody."""
    shell = start()
    assert processes.is_shell(shell.pid, TOKEN)
    assert not processes.is_shell(shell.pid, TOKEN[:-1])
    assert not processes.is_shell(os.getpid(), TOKEN)
    assert not processes.is_shell(1 << 22, TOKEN)


def test_stop_returns_when_the_process_is_stopped(start: Start) -> None:
    """From then on it writes nothing; resuming it lets it continue, and resuming one that is gone does nothing."""
    shell = start()
    assert processes.stop(shell.pid)
    assert state_of(shell.pid) == "T"
    processes.resume(shell.pid)
    wait_for(lambda: state_of(shell.pid) != "T")
    processes.resume(1 << 22)


def test_continue_shell_respects_who_stopped_the_job(start: Start) -> None:
    """A shell that alone is stopped was left by a dead worker; a job that is stopped as a whole stays so."""
    shell = start("sleep 600 & touch $READY; wait")
    child = only_child_of(shell.pid)
    for pid in (shell.pid, child):
        assert processes.stop(pid)
    processes.continue_shell(shell.pid, TOKEN)
    assert (state_of(shell.pid), state_of(child)) == ("T", "T")
    processes.resume(child)
    wait_for(lambda: state_of(child) != "T")
    processes.continue_shell(shell.pid, "another token")
    assert state_of(shell.pid) == "T"
    processes.continue_shell(shell.pid, TOKEN)
    wait_for(lambda: state_of(shell.pid) != "T")


def test_terminate_lets_them_clean_up(start: Start, tmp_path: Path) -> None:
    """SIGTERM first, also to what is stopped, which continues for it; it returns when the last has gone."""
    shell = start(f"trap 'touch {tmp_path}/clean; exit' TERM; touch $READY; while :; do sleep 0.01; done")
    assert processes.stop(shell.pid)
    processes.terminate(TOKEN, shell.pid, 20)
    assert processes.find(TOKEN, shell.pid) == []
    assert (tmp_path / "clean").exists()


def test_terminate_kills_what_is_left_after_the_grace(start: Start, tmp_path: Path) -> None:
    """What ignores SIGTERM, also in a session of its own; and at once what has had its SIGTERM."""
    stubborn = "trap '' TERM; touch $READY; while :; do sleep 0.01; done"
    for is_signalled in (False, True):
        shell = start(f'setsid sh -c "{stubborn}" & wait')
        processes.terminate(TOKEN, shell.pid, 0.05, is_signalled=is_signalled)
        assert processes.find(TOKEN, shell.pid) == []
        shell.wait()


def test_terminate_sends_one_sigterm_only(start: Start, tmp_path: Path) -> None:
    """A program that takes the second for `at once` has its whole grace for the first."""
    count = tmp_path / "count"
    script = f"trap 'echo x >>{count}; [ -e {tmp_path}/go ] || touch {tmp_path}/go' TERM; touch $READY"
    start(f"{script}; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; sleep 0.3")
    processes.terminate(TOKEN, None, 20)
    assert count.read_text() == "x\n"


@pytest.mark.parametrize(("number", "lives"), [(signal.SIGHUP, True), (signal.SIGTERM, False)])
def test_send_spares_the_shell_of_a_signal_that_is_news(start: Start, number: int, lives: bool) -> None:
    """SIGHUP is for the command that reloads; SIGTERM ends the shell as well."""
    shell = start("sleep 600 & touch $READY; wait; sleep 600")
    child = only_child_of(shell.pid)
    assert processes.send(TOKEN, shell.pid, number) == 2
    wait_for(lambda: child not in processes.find(TOKEN), "the end of the command")
    if lives:
        assert shell.poll() is None
    else:
        assert shell.wait(20) == -number


def test_age_does_not_go_by_the_wall_clock(start: Start) -> None:
    """Seconds since the process was made; None of one that is gone."""
    shell = start()
    age = processes.age(shell.pid)
    own = processes.age(os.getpid())
    assert age is not None
    assert own is not None
    assert 0 <= age < own
    assert processes.age(1 << 22) is None


def test_command_that_starts_after_sigterm_gets_it_too(start: Start) -> None:
    """A shell that outlives SIGTERM and starts its command only then does not keep it running for the whole grace."""
    script = "trap is_told=1 TERM; touch $READY; while [ -z $is_told ]; do :; done; sleep 600; exit 3"
    shell = start(script)
    wait_for(lambda: processes.find(TOKEN, shell.pid) == [shell.pid], "the shell to be alone")
    processes.terminate(TOKEN, shell.pid, 300)
    assert shell.wait() == 3
