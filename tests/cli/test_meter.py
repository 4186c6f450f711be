"""`status GROUP.` and `wait GROUP.`: how far a batch is, on a terminal and elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.cli.meter import as_bar
from queuectl.spool.reading.batch import Batch
from tests.support import CommandLine, environment, wait_for, workers

_SEEN = Batch("lr", 500, 308, 4, 0, 8, 180, 0, per_minute=31.4, left=360.0)


@pytest.mark.parametrize("width", [0, 1, 20, 60, 80, 200])
def test_bar_fits_into_the_terminal(width: int) -> None:
    """It is never wider; the bar itself gives way first."""
    text = as_bar(_SEEN, width)
    assert len(text) <= width
    if width >= 80:
        assert text.startswith("lr [#")
    if width >= 60:
        assert "312/500" in text


def test_bar_shows_failures_and_the_rest() -> None:
    """One mark for each share that has ended, a ! for failures, however few, and a dot for what is left."""
    assert re.search(r"\[#{13}!\.{10}\]", as_bar(_SEEN, 200))
    assert as_bar(_SEEN._replace(done=0, failed=0, waiting=492), 200).startswith("lr [........................]")


def test_status_of_a_group(cli: CommandLine, spool: Spool) -> None:
    """A line, or JSON, for `lr.` and --group lr alike; a group without jobs is not found, an id no group."""
    spool.enqueue("true", id="lr.1")
    assert (
        cli.ok("status", "lr.") == cli.ok("status", "--group", "lr") == "lr: 0 of 1 done, no living worker takes them"
    )
    assert cli.json("status", "lr.")["waiting"] == 1
    assert [cli.run("status", *words).returncode for words in (("gpu.",), ("lr",), ("lr.", "--group", "lr"))] == [
        3,
        2,
        2,
    ]


def test_status_follows_a_group_to_its_end(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """A line for each change, and the exit code of `wait`; held jobs are not waited for."""
    go = tmp_path / "go"
    for number in range(2):
        spool.enqueue(f"until [ -e {go} ]; do sleep 0.02; done; exit {number}", id=f"lr.{number}", max_retries=0)
    spool.hold(spool.enqueue("true", id="lr.held"))
    argv = cli.argv("status", "lr.", "--watch", "--interval", "0.1")
    with workers(spool.path), subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        while "1 running" not in (line := following.stdout.readline()):
            assert line
        go.touch()
        *_, last = following.stdout.read().splitlines()
        assert following.wait(30) == 1
    assert last == "lr: 1 of 3 done, 1 failed, 1 held"
    spool.drop("lr.1")
    assert cli.run("status", "lr.", "--watch").stdout == "lr: 1 of 2 done, 1 held\n"
    assert cli.run("status", "lr.", "--watch").returncode == 0


def test_wait_for_a_group_reports_to_stderr(cli: CommandLine, spool: Spool) -> None:
    """stdout stays a line for each job; on stderr there is a line for a change, and the last says how it ended."""
    for number in range(3):
        spool.enqueue("exit 1" if number == 1 else "true", id=f"lr.{number}", max_retries=0)
    with workers(spool.path):
        done = cli.run("wait", "lr.")
        quiet = cli.run("wait", "lr.", "--quiet")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 3)
    assert done.stderr.splitlines()[-1] == "lr: 2 of 3 done, 1 failed"
    assert (quiet.stdout, quiet.stderr) == ("", "")


def test_wait_for_a_group_draws_a_bar_on_a_terminal(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """The bar is drawn over itself, leaves a job's line whole, and stays at the end."""
    for number in range(2):
        spool.enqueue("true", id=f"lr.{number}")
    master, inside = pty.openpty()
    waiting = subprocess.Popen(
        cli.argv("wait", "lr."), stdin=inside, stdout=inside, stderr=inside, cwd=tmp_path,
        env=environment(TERM="xterm", COLUMNS="100"),
    )  # fmt: skip
    os.close(inside)
    os.set_blocking(master, False)
    screen = ""

    def shows(text: str) -> bool:
        nonlocal screen
        with suppress(OSError):
            screen += os.read(master, 65536).decode()
        return text in screen

    try:
        wait_for(lambda: shows("lr [........................]  0/2"), "the first bar")
        with workers(spool.path):
            wait_for(lambda: shows("] ") and shows("2/2"), "the last bar")
        assert waiting.wait(20) == 0
    finally:
        waiting.kill()
        waiting.wait()
        os.close(master)
    lines = [line.rpartition("\r")[2] for line in screen.replace("\r\n", "\n").splitlines()]
    assert sum(line.startswith("lr.") and " exit0" in line for line in lines) == 2
