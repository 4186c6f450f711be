"""`queuectl status` and `metrics`: from names alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool, __version__
from queuectl.core.result import State
from queuectl.spool.system import groups
from tests.cli.given import RFC3339, put_foreign, put_one_of_each, run_on_terminal
from tests.spool.given import WORKER, put_finished
from tests.support import CommandLine, workers

COUNTS = {
    "ready": 1,
    "scheduled": 1,
    "retrying": 1,
    "held": 0,
    "waiting": 0,
    "asking": 0,
    "pending": 3,
    "running": 1,
    "done": 1,
    "dead": 1,
    "dropped": 0,
    "skipped_done": 0,
    "skipped_dead": 0,
}
STATUS_KEYS = {
    "hosts",
    "shared",
    "spool",
    "paused",
    "pause",
    "counts",
    "oldest_ready_at",
    "next_run_at",
    "groups",
    "schedules",
    "workers",
    "free_bytes",
    "free_inodes",
}
WORKER_KEYS = {
    "worker", "alive", "state", "host", "pid", "slots", "started_at", "uptime", "version", "groups",
    "not_groups", "on", "runs", "batch_jobs", "contact", "poll", "seats",
}  # fmt: skip
METRICS_KEYS = {
    "finished", "done", "dead", "success_rate", "attempts", "results", "mean", "p50", "p95", "longest", "last_minute",
    "last_hour", "last_day", "per_minute", "skipped", "usage",
}  # fmt: skip


@pytest.fixture
def full(spool: Spool) -> Spool:
    """A job in every state, and in every directory what is not a job."""
    put_one_of_each(spool.layout)
    put_foreign(spool.layout)
    return spool


def test_status_json(cli: CommandLine, full: Spool) -> None:
    """Status counts jobs and nothing else, in the documented shape."""
    found = cli.json("status")
    assert set(found) == STATUS_KEYS
    assert found["spool"] == str(full.path)
    assert found["paused"] is False
    assert found["counts"] == COUNTS
    assert found["oldest_ready_at"] == "2026-11-24T03:43:00.000Z"
    assert found["next_run_at"] == "2999-11-24T03:43:00.000Z"
    assert found["free_bytes"] > 0
    (worker,) = found["workers"]
    assert set(worker) == WORKER_KEYS
    assert (worker["worker"], worker["alive"], worker["runs"], worker["started_at"]) == (
        WORKER,
        False,
        ["running"],
        None,
    )


def table(text: str) -> dict[str, list[str]]:
    """The words of each line by its first."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()}


def test_status(cli: CommandLine, full: Spool) -> None:
    """The six counts, the oldest that waits, the workers, what dead ones left, and the free space."""
    found = table(cli.ok("status"))
    assert {name: int(words[0]) for name, words in found.items() if name in COUNTS} == {
        name: number
        for name, number in COUNTS.items()
        if name not in ("pending", "dropped", "held", "waiting", "asking", "skipped_done", "skipped_dead")
    }
    assert found["ready"][1:5] == ["the", "oldest", "has", "waited"]
    assert found["scheduled"][1:4] == ["the", "next", "starts"]
    assert found["dead"][1:] == ["see:", "queuectl", "dlq", "list"]
    assert found["workers"] == ["none", "start", "one:", "queuectl", "worker", "start"]
    assert found["orphaned"][0] == "1"
    assert found["free"][1].startswith(("MiB", "GiB", "TiB"))


def test_status_fits_the_terminal(cli: CommandLine, full: Spool, tmp_path: Path) -> None:
    """No line is wider than 80 columns, but for the path of the spool."""
    code, screen = run_on_terminal(cli.argv("status"), tmp_path)
    assert code == 0
    assert max(len(line) for line in screen.splitlines() if not line.startswith("spool")) <= 80


def test_status_of_an_empty_spool(cli: CommandLine) -> None:
    """Nothing is zero, and no hint is given."""
    found = table(cli.ok("status"))
    assert [found[name] for name in ("ready", "scheduled", "retrying", "running", "done", "dead")] == [["0"]] * 6
    assert found["workers"] == ["none"]
    assert cli.json("status")["oldest_ready_at"] is None


def test_status_of_a_paused_spool(cli: CommandLine, spool: Spool) -> None:
    """A paused spool says so, and how to continue."""
    (spool.path / "paused").touch()
    assert cli.json("status")["paused"] is True
    assert cli.json("status")["pause"]["reason"] == ""
    assert "to continue: queuectl resume" in cli.ok("status")


def test_status_says_which_groups_start_no_jobs(cli: CommandLine, spool: Spool) -> None:
    """A line for each that is paused, limited to 0 or wrongly set; none for one that is open, or without settings."""
    assert "\ngroup " not in cli.ok("status")
    assert cli.json("status")["groups"] == []
    spool.pause("new driver", group="gpu")
    groups.write(spool.layout, "net", "limit", "0")
    groups.write(spool.layout, "open", "limit", "3")
    groups.write(spool.layout, "db", "limit", "3")
    (spool.path / "groups/db/limit").write_text("tow\n")
    lines = [line for line in cli.ok("status").splitlines() if line.startswith("group ")]
    assert [re.sub(r" since .*:", ":", line) for line in lines] == [
        "group      groups/db/limit is not a whole number: 'tow'; no job of the group db is started",
        "group      the group gpu has been paused: new driver",
        "group      the limit of the group net is 0",
    ]
    db, gpu = cli.json("status")["groups"]
    assert (db["group"], db["paused"], "not a whole number" in db["problem"]) == ("db", None, True)
    assert (gpu["group"], gpu["paused"]["reason"], gpu["problem"]) == ("gpu", "new driver", None)


def test_status_with_dropped_files(cli: CommandLine, spool: Spool) -> None:
    """Files that no worker has looked at are counted apart."""
    (spool.path / "pending" / "job.json").write_text('{"command": "true"}')
    assert table(cli.ok("status"))["dropped"][0] == "1"
    assert cli.json("status")["counts"]["dropped"] == 1


def test_status_with_files_of_other_names(cli: CommandLine, spool: Spool) -> None:
    """Files that look meant as jobs and are ignored are mentioned, with one of their names; leftovers are not."""
    for name in ("upper.JSON", "job", "b.json.~1~", ".hidden", "x.json.tmp", "x.json~"):
        (spool.path / "pending" / name).write_text('{"command": "true"}')
    (line,) = [line for line in cli.ok("status").splitlines() if line.startswith("ignored")]
    assert line.split()[1] == "3"
    assert line.endswith("such as b.json.~1~; see: queuectl fsck")
    report = cli.run("fsck")
    for name in ("upper.JSON", "job", "b.json.~1~"):
        assert f"pending/{name}" in report.stdout
    assert "x.json" not in report.stdout


def test_living_worker(cli: CommandLine, spool: Spool) -> None:
    """A worker that lives is shown with its slots and since when, in status and in `worker list`."""
    with workers(spool.path, 1, "--count", "3"):
        (worker,) = cli.json("status")["workers"]
        (again,) = cli.json("worker", "list")
        assert {**worker, "uptime": again["uptime"]} == again
        assert (worker["alive"], worker["slots"], worker["runs"]) == (True, 3, [])
        assert RFC3339.fullmatch(worker["started_at"])
        assert table(cli.ok("status"))["worker"] == [worker["worker"], "3", "slots,", "runs", "0"]
        header, row = cli.ok("worker", "list").splitlines()
    assert header.split() == ["WORKER", "STATE", "SLOTS", "SINCE", "VERSION", "RUNS"]
    assert row.split()[:3] == [worker["worker"], "idle", "3"]
    assert row.split()[4:] == ["ago", __version__, "-"]


@pytest.fixture
def finished(spool: Spool) -> Spool:
    """Nineteen done jobs and a dead one, of 1 to 20 seconds, among names that are foreign."""
    for second in range(1, 20):
        name = f"20261124T0343{second:02d}.000Z-010-1-exit0-{second}.000s-j{second}.json"
        (spool.path / "done" / name).write_text('{"command": "true"}')
    put_finished(spool.layout, "j20", "timeout").rename(
        spool.path / "dead" / "20261124T034320.000Z-010-4-timeout-20.000s-j20.json"
    )
    put_foreign(spool.layout)
    return spool


def test_metrics_json(cli: CommandLine, finished: Spool) -> None:
    """Metrics count finished jobs, in the documented shape, durations in seconds by nearest rank."""
    found: dict[str, Any] = cli.json("metrics")
    assert set(found) == METRICS_KEYS
    assert {name: found[name] for name in ("finished", "done", "dead", "success_rate", "attempts", "results")} == {
        "finished": 20, "done": 19, "dead": 1, "success_rate": 0.95, "attempts": 23,
        "results": {"exit0": 19, "timeout": 1},
    }  # fmt: skip
    assert [found[name] for name in ("mean", "p50", "p95", "longest")] == [10.5, 10.0, 19.0, 20.0]


def test_metrics_of_a_group(cli: CommandLine, finished: Spool) -> None:
    """Only its jobs count, however it is typed; the numbers of one without jobs are those of an empty spool."""
    for id, result in (("gpu.train.1", "exit1"), ("gpu.train.2", "exit2"), ("gpux.1", "exit1")):
        put_finished(finished.layout, id, result)
    assert cli.json("metrics", "--group", "gpu")["results"] == {"exit1": 1, "exit2": 1}
    assert cli.json("metrics", "--group", "gpu.train.")["finished"] == 2
    assert finished.metrics(group="gpu").dead == 2
    assert cli.json("metrics", "--group", "none")["finished"] == 0
    assert cli.run("metrics", "--group", "a..b").returncode == 2


def test_metrics(cli: CommandLine, finished: Spool) -> None:
    """The same for people."""
    found = table(cli.ok("metrics"))
    assert (found["finished"], found["success"], found["results"]) == (
        ["20"],
        ["95.0%"],
        ["19", "exit0,", "1", "timeout"],
    )
    assert (found["mean"], found["p95"]) == (["10.5", "s"], ["19.0", "s"])
    assert found["throughput"][1:] == ["a", "minute"]


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (8, "8 exit1, 7 exit2, 6 exit3, 5 exit4, 4 exit5, 3 exit6, 2 exit7, 1 exit8"),
        (9, "9 exit1, 8 exit2, 7 exit3, 6 exit4, 5 exit5, 4 exit6, 3 exit7, 2 exit8, 1 exit9"),
        (10, "10 exit1, 9 exit2, 8 exit3, 7 exit4, 6 exit5, 5 exit6, 4 exit7, 3 exit8, and 3 jobs of 2 other kinds"),
    ],
)
def test_metrics_of_many_kinds(cli: CommandLine, spool: Spool, kinds: int, expected: str) -> None:
    """No result is left out in silence: those seldom seen are counted together."""
    for code in range(1, kinds + 1):
        for number in range(code, kinds + 1):
            put_finished(spool.layout, f"j{code}x{number}", f"exit{code}")
    assert " ".join(table(cli.ok("metrics"))["results"]) == expected


def test_metrics_of_an_empty_spool(cli: CommandLine) -> None:
    """Before the first job has ended there is no rate and no duration."""
    found = cli.json("metrics")
    assert [found[name] for name in ("finished", "success_rate", "mean", "p50", "p95", "per_minute")] == [
        0,
        None,
        None,
        None,
        None,
        0,
    ]
    assert table(cli.ok("metrics"))["success"] == ["-"]


def test_names_only(cli: CommandLine, full: Spool) -> None:
    """Status and metrics open no job's file: what those hold does not matter."""
    for state in State:
        for path in (full.path / state).iterdir():
            if path.suffix == ".json" and path.is_file():
                path.unlink()
                path.symlink_to("/nowhere")
    assert cli.json("status")["counts"] == COUNTS
    assert cli.json("metrics")["finished"] == 2


def test_colour_of_counts(cli: CommandLine, spool: Spool) -> None:
    """States that have jobs are in colour where colours are wanted, and nowhere else."""
    put_one_of_each(spool.layout)
    lines = cli.ok("status", "--color=always").splitlines()
    assert any(line.startswith("\x1b[31mdead       1") for line in lines)
    assert not any("held" in line for line in lines)
    assert "\x1b" not in cli.ok("status")
