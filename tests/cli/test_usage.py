"""What attempts used: in the log, in `show` and its `--json`."""

from __future__ import annotations

import sys

import pytest

from queuectl import Spool
from queuectl.spool.system import logs
from tests.support import CommandLine, WorkerProcess, wait_for, workers

_HUNGRY = f"{sys.executable} -c 'import time; x = bytearray(150 << 20)\nwhile time.process_time() < 0.3: pass'; exit 3"


def test_show_memory_and_cpu_time_of_each_attempt(cli: CommandLine, spool: Spool) -> None:
    """Each attempt has its own figures, those of all processes that its shell has waited for."""
    spool.enqueue(_HUNGRY, id="x", max_retries=1, backoff_base=0)
    spool.enqueue("true", id="small")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    first, second = cli.json("show", "x")["history"]
    for attempt in (first, second):
        assert 150 << 20 < attempt["max_rss"] < 400 << 20
        assert 0.2 < attempt["cpu_user"] + attempt["cpu_system"] < 60
    (small,) = cli.json("show", "small")["history"]
    assert small["max_rss"] < 100 << 20
    lines = [line for line in cli.ok("show", "x").splitlines() if "CPU time" in line]
    assert len(lines) == 2
    assert "MiB of memory" in lines[0]


def test_usage_is_no_line_of_what_logs_print(cli: CommandLine, spool: Spool) -> None:
    """`logs` prints what the job wrote, its start and its end; the log itself has the line, as the last."""
    spool.enqueue("echo hi", id="x")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    done = cli.run("logs", "x")
    assert (done.stdout, len(done.stderr.splitlines())) == ("hi\n", 2)
    assert spool.log_path("x").read_text().splitlines()[-1].startswith("#queuectl note used attempt=1 max_rss=")


def test_usage_of_an_attempt_that_timed_out(cli: CommandLine, spool: Spool) -> None:
    """What ends an attempt makes no difference, unless its job may have started again."""
    spool.enqueue("sleep 600", id="x", timeout=0.2, max_retries=0)
    spool.enqueue("sleep 600", id="y")
    with workers(spool.path, 1, "--count", "2"):
        spool.wait("x", timeout=20)
        wait_for(lambda: "pid=" in spool.log_path("y").read_text())
        spool.cancel("y")
    assert cli.json("show", "x")["history"][0]["max_rss"] > 0
    assert cli.json("show", "y")["history"][0]["max_rss"] is None


@pytest.mark.parametrize(
    "text", ["max_rss=1", "max_rss=x cpu_user=1 cpu_system=1", "max_rss=1 cpu_user=nan cpu_system=1"]
)
def test_usage_that_a_job_has_made_up_is_ignored(text: str) -> None:
    """A job can write such lines too."""
    mark = logs.parse_mark(f"#queuectl note used attempt=1 {text}\n".encode())
    assert mark is not None
    assert mark.usage is None
