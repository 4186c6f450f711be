"""Starting a program: what it inherits, and what it does not."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from queuectl.work.spawn import Spawner, strings


def output_of(script: str, environment: Sequence[bytes] = (), **descriptors: int) -> str:
    """What a shell prints that is started with this environment, and with these descriptors as `fd9=...`."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    given = ((0, null), (1, writer), (2, null), *((int(name[2:]), number) for name, number in descriptors.items()))
    pid = Spawner().spawn(b"/bin/sh", strings([b"sh", b"-c", script.encode()]), strings(environment), given)
    os.close(writer)
    os.close(null)
    with open(reader, encoding="ascii") as file:
        printed = file.read()
    assert os.waitpid(pid, 0) == (pid, 0)
    return printed


def test_spawn_gives_the_environment_and_no_other() -> None:
    """A variable of the caller's is not there, and a value may hold any byte but NUL."""
    printed = output_of("cat /proc/self/environ | tr '\\0' ';'", [b"PATH=/usr/bin:/bin", b"ODD=a=b c"])
    assert "PATH=/usr/bin:/bin;" in printed
    assert "ODD=a=b c;" in printed
    assert "HOME=" not in printed


def test_spawn_gives_the_descriptors_and_no_others(tmp_path: Path) -> None:
    """Those that were asked for, under their numbers; what is closed on exec stays with the caller."""
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    secret = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 200)
    try:
        printed = output_of("echo x >&9; exec ls /proc/$$/fd", [b"PATH=/usr/bin:/bin"], fd9=file)
    finally:
        os.close(file)
        os.close(secret)
    assert {"0", "1", "2", "9"} <= set(printed.split())
    assert str(secret) not in printed.split()
    assert (tmp_path / "file").read_text() == "x\n"


def test_spawn_makes_a_session_of_its_own() -> None:
    """The program leads a session and a process group: a signal to its group reaches nobody else."""
    pid, group, session = output_of("read -r p c s pp g t rest </proc/self/stat; echo $p $g $t").split()
    assert pid == group == session
    assert int(session) != os.getsid(0)


def test_spawn_blocks_and_ignores_no_signal() -> None:
    """Whatever the caller does with signals, the program has the kernel's defaults, so that SIGTERM ends it."""
    ignored = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
    try:
        printed = output_of("while read -r name value; do echo $name $value; done </proc/$$/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGUSR2, ignored)
    masks = dict(line.split()[:2] for line in printed.splitlines() if line.startswith("Sig"))
    ours = sum(1 << number - 1 for number in signal.Signals if number < 32)  # 32 and 33 belong to the C library
    assert (int(masks["SigBlk:"], 16) & ours, int(masks["SigIgn:"], 16) & ours) == (0, 0)


@pytest.mark.parametrize(
    ("program", "error"), [(b"/nonexistent/sh", FileNotFoundError), (b"/etc/passwd", PermissionError)]
)
def test_spawn_raises_what_keeps_the_program_from_starting(program: bytes, error: type[OSError]) -> None:
    """The kernel's own error, and no process is left to wait for."""
    with pytest.raises(error):
        Spawner().spawn(program, strings([b"sh"]), strings([]), ())
