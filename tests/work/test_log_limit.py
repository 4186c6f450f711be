"""Limits of output: no job fills the disk, and no job's end is lost for that."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.spool.system import holes, log_entries, logs
from queuectl.work.log_limit import LogLimit, Step
from tests.spool.given import running_name
from tests.support import CommandLine, WorkerProcess, wait_for, workers
from tests.work.test_worker import drain, result

LIMIT = 64 << 10
FLOOD = "yes 0123456789abcde | head -c 30000000"
STREAM = "i=0; while [ $i -lt 4000000 ]; do i=$((i+1)); echo 0123456789abcde; done"
"""Takes seconds, and ends even where nobody ends it."""


def space(path: Path) -> int:
    """Bytes that a file takes on the disk."""
    return os.stat(path).st_blocks * 512


def test_middle_is_dropped(spool: Spool, cli: CommandLine) -> None:
    """The job continues to its own end; the beginning and the end of its output stay, within the limit."""
    spool.enqueue(f"echo first; {FLOOD}; echo last; exit 3", id="x", max_retries=0, max_log=LIMIT)
    worker = drain(spool)
    assert result(spool, "x") == "exit3"
    assert space(spool.log_path("x")) <= LIMIT + 8192
    done = cli.run("logs", "x")
    assert done.stdout.startswith("first\n0123456789abcde\n")
    assert done.stdout.endswith("0123456789abcde\nlast\n")
    assert "\0" not in done.stdout
    assert len(done.stdout) <= LIMIT + 8192
    dropped = re.search(r"-- dropped (\d+) bytes", done.stderr)
    assert dropped is not None
    assert len(done.stdout) + int(dropped[1]) == 30_000_000 + len("first\nlast\n")
    assert cli.json("show", "x")["history"][0]["result"] == "exit3"
    assert worker.has("done", "x") or worker.has("dead", "x")


def test_disk_is_spared_while_the_job_runs(spool: Spool) -> None:
    """Space is given back while the job writes, and the report says so once."""
    spool.enqueue(STREAM, id="x", max_log=LIMIT)
    with workers(spool.path) as (worker,):
        wait_for(lambda: os.stat(spool.log_path("x")).st_size > 5 * space(spool.log_path("x")), "several drops")
        spool.cancel("x")
    assert len([event for event in worker.events() if event["event"] == "warning"]) == 1
    with spool.log_path("x").open("rb") as log:
        log.seek(-1000, os.SEEK_END)
        assert b"\n#queuectl end attempt=1 " in log.read()


def test_job_is_killed(spool: Spool, cli: CommandLine) -> None:
    """With on_max_log = kill the attempt is ended, fails, and its log says why, even if it takes SIGTERM well."""
    spool.enqueue(STREAM, id="x", max_retries=1, backoff_base=0, max_log=LIMIT, on_max_log="kill")
    spool.enqueue(f"trap 'exit 0' TERM; {STREAM}", id="y", max_retries=0, max_log=LIMIT,
                  on_max_log="kill")  # fmt: skip
    drain(spool, "--count", "2")
    assert (result(spool, "x"), spool.get("x").attempts) == ("signal15", 2)
    assert result(spool, "y") == "signal15"
    assert "its output passed max-log, 64.0 KiB" in spool.log_path("x").read_text(errors="replace")


def test_setting_is_for_jobs_that_do_not_say(spool: Spool, cli: CommandLine) -> None:
    """max-log and on-max-log hold where the body has neither; within the limit nothing happens."""
    cli.ok("config", "set", "max-log", "64K")
    cli.ok("config", "set", "on-max-log", "kill")
    spool.enqueue(STREAM, id="x", max_retries=0)
    spool.enqueue("head -c 60000 /dev/zero | tr '\\0' x", id="small", max_retries=0)
    spool.enqueue(FLOOD, id="own", max_retries=0, max_log=1 << 30)
    drain(spool)
    assert [result(spool, id) for id in ("x", "small", "own")] == ["signal15", "exit0", "exit0"]
    assert len(cli.ok("logs", "own")) == 30_000_000 - 1
    assert len(cli.ok("logs", "small")) == 60_000


def test_adopted_job_is_limited_too(spool: Spool, cli: CommandLine, tmp_path: Path) -> None:
    """The worker that takes over continues where the dead one stopped, and the end is the job's own."""
    go, end = tmp_path / "go", tmp_path / "end"
    spool.enqueue(
        f"echo first; {FLOOD}; while ! [ -e {go} ]; do sleep 0.01; done; {FLOOD}; echo last;"
        f"while ! [ -e {end} ]; do sleep 0.01; done; exit 4",
        id="x", max_retries=0, max_log=LIMIT,
    )  # fmt: skip
    first = WorkerProcess(spool.path)
    wait_for(lambda: spool.log_path("x").stat().st_size > 30_000_000 and space(spool.log_path("x")) < 2 * LIMIT)
    first.kill()
    second = WorkerProcess(spool.path, "--drain")
    wait_for(lambda: second.has("adopted", "x"))
    go.touch()
    wait_for(lambda: spool.log_path("x").stat().st_size > 60_000_000 and space(spool.log_path("x")) < 2 * LIMIT)
    end.touch()
    assert second.wait_exit() == 0
    assert result(spool, "x") == "exit4"
    done = cli.run("logs", "x")
    assert done.stdout.startswith("first\n")
    assert done.stdout.endswith("last\n")
    assert space(spool.log_path("x")) <= LIMIT + 8192


def test_adopted_job_is_killed_too(spool: Spool, tmp_path: Path) -> None:
    """So it is for one that is to be ended."""
    go = tmp_path / "go"
    spool.enqueue(
        f"while ! [ -e {go} ]; do sleep 0.01; done; {STREAM}", id="x", max_retries=0, max_log=LIMIT, on_max_log="kill"
    )
    first = WorkerProcess(spool.path)
    wait_for(lambda: first.has("start", "x"))
    wait_for(lambda: b" pid=" in spool.log_path("x").read_bytes())
    first.kill()
    second = WorkerProcess(spool.path, "--drain")
    wait_for(lambda: second.has("adopted", "x"))
    go.touch()
    assert second.wait_exit() == 0
    assert result(spool, "x") == "signal15"


def test_job_over_the_limit_is_ended_where_there_are_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that cannot give space back, a full disk is still nobody's lot."""
    path = tmp_path / "x.log"
    path.write_bytes(b"x" * 3 * LIMIT)
    log = os.open(path, os.O_RDWR)
    assert LogLimit(LIMIT, False, 0, 0.0).check(log, 1.0) is Step.DROPPED
    path.write_bytes(b"x" * 3 * LIMIT)
    monkeypatch.setattr(holes, "punch", lambda *_: False)
    assert LogLimit(LIMIT, False, 0, 0.0).check(log, 1.0) is Step.MUST_END
    os.close(log)


def test_note_of_an_ending_is_kept_until_the_end_is_on_record(tmp_path: Path) -> None:
    """What a command writes while it is being ended must not drop the note that says its end was not its own."""
    path, name = tmp_path / "x.log", running_name("x")
    log = logs.open_log(str(path))
    logs.append_start(log, name, 7)
    limit = LogLimit(LIMIT, True, os.fstat(log).st_size, 0.0)
    os.write(log, b"x" * 2 * LIMIT)
    assert limit.check(log, 1.0) is Step.MUST_END
    os.write(log, b"x" * LIMIT)
    logs.append_ending(log, name, "max-log")
    for now in (2.0, 3.0):
        os.write(log, b"y" * 3 * LIMIT)
        assert limit.check(log, now, is_ending=True) is Step.MUST_END
        limit.drop(log, keeps_note=True)
    assert b" reason=max-log\n" in path.read_bytes()
    assert space(path) >= 6 * LIMIT
    logs.append_end(log, name, "exit=0")
    attempt = logs.find_attempt(log, name)
    assert attempt is not None
    assert (attempt.ending, f"{attempt.result}") == ("max-log", "signal15")
    logs.append_end(log, name, "signal=15")
    limit.drop(log)
    assert space(path) <= LIMIT + 3 * 4096
    attempt = logs.find_attempt(log, name)
    os.close(log)
    assert attempt is not None
    assert f"{attempt.result}" == "signal15"


def test_fast_writer_is_looked_at_more_often(tmp_path: Path) -> None:
    """The next look is the sooner the faster the log grows, and never later than a quarter of a second."""
    path = tmp_path / "x.log"
    path.touch()
    log = os.open(path, os.O_RDWR)
    waits = []
    for rate in (0, 1000, 1_000_000_000):
        limit = LogLimit(100_000_000, False, 0, 0.0)
        os.truncate(path, rate // 100)
        limit.check(log, 0.01)
        waits.append(limit.check_at - 0.01)
    os.close(log)
    assert waits[0] == waits[1] == pytest.approx(0.25)
    assert waits[2] < 0.1


def test_attempts_are_found_behind_long_holes(tmp_path: Path) -> None:
    """A hole of terabytes costs a search nothing."""
    path, name = tmp_path / "x.log", running_name("x")
    log = logs.open_log(str(path))
    logs.append_start(log, name, 7)
    os.truncate(path, 8 << 40) if _allows(path, 8 << 40) else os.truncate(path, 8 << 30)
    logs.append_end(log, name, "exit=3")
    attempt = logs.find_attempt(log, name)
    os.close(log)
    assert attempt is not None
    assert (f"{attempt.result}", attempt.pid) == ("exit3", 7)


def _allows(path: Path, size: int) -> bool:
    done = subprocess.run(["truncate", "-s", str(size), path], check=False, stderr=subprocess.DEVNULL)
    return done.returncode == 0


def test_holes_are_read_as_marks(tmp_path: Path) -> None:
    """What is before and behind a hole is read to the byte; zeros that a job wrote are output."""
    path = tmp_path / "x.log"
    path.write_bytes(b"a\0b\n" + b"x" * 300_000 + b"\nz\n")
    with path.open("r+b") as file:
        assert holes.punch(file.fileno(), 8192, 204_800)
        found = list(log_entries.read_entries(file))
    output = b"".join(entry for entry in found if isinstance(entry, bytes))
    (mark,) = [entry for entry in found if isinstance(entry, logs.Mark)]
    assert output == b"a\0b\n" + b"x" * (300_000 - (204_800 - 8192)) + b"\nz\n"
    assert mark.fields == {"bytes": str(204_800 - 8192)}
