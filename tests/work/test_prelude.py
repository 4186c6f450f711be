"""Jobs that signal their own process group, in every form that a command can have."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.fields import Body
from queuectl.core.result import State
from queuectl.spool.system import logs
from queuectl.work import prelude
from queuectl.work.engines import executor
from tests.support import WorkerProcess, need, wait_for
from tests.work.given import claim_of

SCRIPTS = {
    # what setsid -w ./script makes of each
    "own-end": ('#!/bin/bash\ntrap exit INT TERM; trap "kill 0" EXIT; sleep 30 & echo work >>count; exit 0\n', "exit0"),
    "by-pid": ('#!/bin/bash\nset -e; trap exit TERM; trap "kill -- -\\$\\$" EXIT; sleep 30 & exit 0\n', "exit0"),
    "hang-up": ("#!/bin/bash\ntrap 'exit 3' HUP; kill -HUP -$$; sleep 30; exit 1\n", "exit3"),
    "ignores": (
        "#!/bin/sh\ntrap '' TERM INT USR1 ABRT; for n in TERM INT USR1 ABRT; do kill -$n 0; done; exit 0\n",
        "exit0",
    ),
    "dies": ("#!/bin/sh\nkill -TERM 0; sleep 30\n", "signal15"),
    "is-killed": ("#!/bin/sh\nkill -9 0; sleep 30\n", "signal9"),
    "python": ("#!/usr/bin/env python3\nimport os\nos.killpg(0, 34)\n", "signal34"),
}
FORMS: list[str | tuple[str, ...]] = [
    "./{}",
    ("./{}",),
    "exec ./{}",
    "cd . && ./{}",
    "umask 022; A='b c' ./{} -x \"$HOME\" >out 2>&1",
    ("sh", "-c", "exec ./{}"),
    "trap '' QUIT; exec ./{}",
]


def _result(claim_spool: Spool, command: str | tuple[str, ...], cwd: Path, grace: float = 0.0) -> tuple[str, str]:
    """How a command ended, for its worker and in its log; a signal that no shell outlives leaves nothing there."""
    claim = claim_of(claim_spool)._replace(body=Body(command, cwd=str(cwd)))
    run = executor.Executor(str(claim_spool.path), claim.name.worker).start(claim)
    result = str(run.wait(grace))
    attempt = logs.find_attempt(claim.log, claim.name)
    os.close(claim.log)
    return result, str(attempt.result if attempt else None)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with the scripts."""
    need("bash", "setsid")
    for name, (text, _) in SCRIPTS.items():
        path = tmp_path / name
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return tmp_path


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("script", SCRIPTS)
def test_job_that_signals_its_group_ends_as_by_itself(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, place: Path, script: str, form: str | tuple[str, ...], shell: str
) -> None:
    """What a job does to its process group does not reach the record of its end: it is as if setsid(1) had run it."""
    monkeypatch.setattr(executor, "SHELL", shell)
    monkeypatch.setattr(executor, "_SHELL", shell.encode())
    command = form.format(script) if isinstance(form, str) else tuple(word.format(script) for word in form)
    expected = SCRIPTS[script][1]
    result, recorded = _result(spool, command, place)
    assert result == expected
    assert recorded == expected or (script == "is-killed" and recorded == "None")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("kill 0", "signal15"),
        (("kill", "0"), "signal15"),
        ("kill -HUP -$$; sleep 30", "signal1"),
        ("trap '' TERM; kill -TERM 0; exit 0", "exit0"),
        ("trap 'exit 3' HUP; kill -HUP -$$; sleep 30", "exit3"),
        ('trap exit TERM; trap "kill 0" EXIT; sleep 30 & exit 0', "exit0"),
        ("./own-end; echo not reached; exit 4", "signal15"),
        (("bash", "-c", "trap 'exit 5' USR1; kill -USR1 -$$; sleep 30"), "exit5"),
        ("kill -TERM $$; sleep 30", "signal15"),
    ],
    ids=str,
)
def test_command_line_that_signals_its_group(
    spool: Spool, place: Path, command: str | tuple[str, ...], expected: str
) -> None:
    """The same holds for a shell that is the job itself."""
    assert _result(spool, command, place) == (expected, expected)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("exit", "3"), "exit127"),
        (("cd", "/"), "exit127"),
        (("eval", "exit 3"), "exit127"),
        (("test", "a", "=", "b"), "exit1"),
    ],
    ids=str,
)
def test_array_is_a_program(spool: Spool, tmp_path: Path, command: tuple[str, ...], expected: str) -> None:
    """The first word of an array is looked for on the PATH, also where a shell has a builtin of that name."""
    assert _result(spool, command, tmp_path) == (expected, expected)


@pytest.mark.parametrize("command", ["exit 137", "echo a; exit 143", "test -e /nowhere || exit 130"])
def test_exit_code_of_builtins_is_exact(spool: Spool, tmp_path: Path, command: str) -> None:
    """An exit code over 128 is no signal where the shell of the job itself records it."""
    expected = f"exit{command.rsplit(maxsplit=1)[-1]}"
    assert _result(spool, command, tmp_path) == (expected, expected)


def test_variables_of_a_job_are_its_own(spool: Spool, tmp_path: Path) -> None:
    """Variables of the shell that waits do not get in the way of the job's."""
    claim = claim_of(spool)._replace(body=Body("printenv s k", env={"s": "one", "k": "two"}))
    run = executor.Executor(str(spool.path), claim.name.worker).start(claim)
    assert str(run.wait()) == "exit0"
    os.close(claim.log)
    assert "one\ntwo\n" in spool.log_path("x").read_text()


@pytest.mark.parametrize(
    ("command", "is_alone"),
    [
        ("true", True),
        ("echo $HOME >>out; exit 3", True),
        ("[ -e 'a b' ] && printf x || false\n", True),
        ("kill 0", False),
        ("echo $(kill 0)", False),
        ("echo `kill 0`", False),
        ("echo a | sh", False),
        ("true & kill 0", False),
        ("exit 9>out", False),
        ('echo "$(kill 0)"', False),
        ('echo "a\\`kill 0\\`"', False),
        ("true\nkill 0", False),
        ("trap x 0", False),
        ("exec true", False),
    ],
)
def test_builtins_are_recognized(command: str, is_alone: bool) -> None:
    """Only what cannot start a program, send a signal or lose its EXIT trap runs in the shell that records."""
    assert prelude.is_builtins(command) is is_alone


def test_long_commands_are_recognized_in_no_time() -> None:
    """However a command of a megabyte looks, its form is found at once."""
    began = time.monotonic()
    for command in ("true;" * 200_000 + "(", "echo " + "a " * 500_000, "a=b " * 250_000 + "("):
        assert not prelude.is_builtins(command)
    assert time.monotonic() - began < 20


def test_end_is_on_record_without_a_worker(spool: Spool, place: Path) -> None:
    """A job that signals its group after its worker was killed is settled by its own end, and runs once."""
    go = place / "go"
    path = place / "waits"
    path.write_text(
        f"#!/bin/bash\necho run >>count\nwhile [ ! -e {go} ]; do sleep 0.01; done\ntrap '' TERM\nkill -TERM 0\nexit 0\n"
    )
    path.chmod(0o755)
    spool.enqueue("./waits", id="x", cwd=str(place))
    worker = WorkerProcess(spool.path)
    wait_for((place / "count").exists, "the job's start")
    worker.kill()
    go.touch()
    wait_for(lambda: "exit=0" in spool.log_path("x").read_text(), "the end line")
    WorkerProcess(spool.path, "--drain").wait_exit()
    job = spool.get("x")
    assert (job.state, str(job.result), job.attempts) == (State.DONE, "exit0", 1)
    assert (place / "count").read_text() == "run\n"
