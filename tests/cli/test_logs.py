"""`queuectl logs`: output on stdout, the rest on stderr."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from queuectl import Spool
from tests.cli.given import run_on_terminal
from tests.spool.given import pending_name, put, put_finished
from tests.support import CommandLine, environment, wait_for, workers

LOG = b"""\
#queuectl start attempt=1 started_at=20261124T034300.000Z worker=web1.4242.k7f3 pid=1
first \x1b[31mred\xff

#queuectl end attempt=1 started_at=20261124T034300.000Z exit=1
#queuectl start attempt=2 started_at=20261124T034310.000Z worker=web1.4242.k7f3 pid=2
second
third, without a newline
#queuectl end attempt=2 started_at=20261124T034310.000Z signal=9
#queuectl retry at=2026-11-24T03:44:00.000Z after=signal9
"""
FIRST = b"first \x1b[31mred\xff\n"
SECOND = b"second\nthird, without a newline"


@pytest.fixture
def job(spool: Spool) -> str:
    """A job with that log."""
    put_finished(spool.layout, "job")
    spool.log_path("job").write_bytes(LOG)
    return "job"


def output(cli: CommandLine, *words: str) -> tuple[bytes, list[str]]:
    """(stdout as bytes, the lines of stderr)."""
    done = subprocess.run(cli.argv("logs", *words), check=True, capture_output=True, env=environment(TZ="UTC"))
    return done.stdout, done.stderr.decode().splitlines()


def test_logs(cli: CommandLine, job: str) -> None:
    """stdout has the output of all attempts to the byte; stderr tells where each begins and how it ended."""
    out, error = output(cli, job)
    assert out == FIRST + SECOND
    assert error == [
        "-- attempt 1 started at 2026-11-24 03:43:00 +0000 by web1.4242.k7f3",
        "-- attempt 1 ended: exit1",
        "-- attempt 2 started at 2026-11-24 03:43:10 +0000 by web1.4242.k7f3",
        "-- attempt 2 ended: signal9",
        "-- retry at=2026-11-24T03:44:00.000Z after=signal9",
    ]


@pytest.mark.parametrize(("attempt", "expected"), [("1", FIRST), ("2", SECOND)])
def test_one_attempt(cli: CommandLine, job: str, attempt: str, expected: bytes) -> None:
    """--attempt prints the output of that attempt alone."""
    out, error = output(cli, job, "--attempt", attempt)
    assert out == expected
    assert [line.split()[2] for line in error] == [attempt, attempt]


def test_an_attempt_that_never_was(cli: CommandLine, job: str) -> None:
    """An attempt that the log does not know is exit code 3, with those that it knows."""
    done = cli.run("logs", job, "--attempt", "7")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "queuectl: no attempt 7 in this log\n  attempts: 1, 2\n"


def test_raw(cli: CommandLine, job: str) -> None:
    """--raw is the file, byte for byte."""
    assert output(cli, job, "--raw") == (LOG, [])


def test_a_terminal_is_not_steered(cli: CommandLine, job: str, tmp_path: Path) -> None:
    """On a terminal control characters are escaped, lines stay lines."""
    code, screen = run_on_terminal(cli.argv("logs", job), tmp_path)
    assert code == 0
    assert "first \\x1b[31mred" in screen
    assert "\x1b" not in screen


def test_nothing_yet(cli: CommandLine, spool: Spool) -> None:
    """A job that has not started has no output, and stderr says why."""
    spool.enqueue("true", id="a")
    done = cli.run("logs", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing yet: a is pending\n")


def test_no_log(cli: CommandLine, spool: Spool) -> None:
    """A job whose log is missing is told in words."""
    put(spool.layout, pending_name("a"))
    done = cli.run("logs", "a")
    assert (done.returncode, done.stdout) == (6, "")
    assert "the log of a cannot be read" in done.stderr


@pytest.mark.parametrize("raw", [[], ["--raw"]], ids=["", "raw"])
def test_follow(cli: CommandLine, spool: Spool, tmp_path: Path, raw: list[str]) -> None:
    """-f prints output as it comes, from before the start, and ends with the job."""
    go = tmp_path / "go"
    spool.enqueue(f"echo one; while ! [ -e {go} ]; do sleep 0.01; done; echo two", id="a")
    seen = tmp_path / "seen"
    with seen.open("wb") as stdout:
        process = subprocess.Popen(cli.argv("logs", "-f", *raw, "a"), stdout=stdout, stderr=subprocess.DEVNULL)
    with workers(spool.path):
        wait_for(lambda: b"one" in seen.read_bytes(), "the first line")
        assert process.poll() is None
        go.touch()
        assert process.wait(30) == 0
    assert b"two\n" in seen.read_bytes()
    assert seen.read_bytes() == (spool.log_path("a").read_bytes() if raw else b"one\ntwo\n")


def test_follow_a_job_that_has_ended(cli: CommandLine, job: str) -> None:
    """-f of a finished job prints all there is and returns."""
    assert output(cli, "-f", job)[0] == FIRST + SECOND
