"""`queuectl schedule`, and what the other commands say of schedules."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import CommandLine, names, wait_for, workers

NIGHTLY = ("schedule", "add", "nightly", "--cron", "30 2 * * 1-5")


def file_of(cli: CommandLine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((cli.spool / f"schedules/{name}.json").read_text())
    return found


def test_add_writes_the_file_with_this_machines_zone(cli: CommandLine, tmp_path: Path) -> None:
    """What is in the file is what was typed, with the directory, and the zone, so that it means the same elsewhere."""
    done = cli.run(*NIGHTLY, "--timeout", "2h", "--env", "A=b", "--", "./backup", "-x", env={"TZ": "Europe/Vienna"})
    assert (done.returncode, done.stdout) == (0, "nightly\n"), done.stderr
    assert "At 02:30 on Monday through Friday, Europe/Vienna time; next " in done.stderr
    assert "no worker is running" in done.stderr
    assert file_of(cli, "nightly") == {
        "command": ["./backup", "-x"],
        "timeout": 7200,
        "env": {"A": "b"},
        "cron": "30 2 * * 1-5",
        "timezone": "Europe/Vienna",
        "cwd": str(tmp_path),
    }
    cli.ok("schedule", "add", "-q", "poll", "--every", "15m", "--catch-up", "none", "--overlap", "queue", "--jitter",
           "1m", "--", "echo hi")  # fmt: skip
    assert file_of(cli, "poll").items() >= {"command": "echo hi", "every": "15m", "catch_up": "none",
                                            "overlap": "queue", "jitter": "1m"}.items()  # fmt: skip
    assert "timezone" not in file_of(cli, "poll")


def test_add_takes_json(cli: CommandLine) -> None:
    """A whole schedule as one object; options on top of it win."""
    cli.ok("schedule", "add", "a", '{"command": "x", "cron": "@daily", "timezone": "UTC", "mine": 1}', "--every", "5m")
    assert file_of(cli, "a").items() >= {"command": "x", "every": "5m", "mine": 1}.items()
    assert "cron" not in file_of(cli, "a")


def test_add_refuses_a_name_that_is_there(cli: CommandLine) -> None:
    """Nothing is replaced unless that is asked for."""
    cli.ok(*NIGHTLY, "--", "one")
    done = cli.run(*NIGHTLY, "--", "two")
    assert done.returncode == 4
    assert "queuectl schedule edit nightly" in done.stderr
    assert file_of(cli, "nightly")["command"] == "one"
    cli.ok(*NIGHTLY, "--replace", "--", "two")
    assert file_of(cli, "nightly")["command"] == "two"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "--cron", "61 * * * *", "--", "x"], "bad minute"),
        (["a", "--cron", "* * * * *", "--every", "5m", "--", "x"], "both"),
        (["a", "--", "x"], 'needs "cron" or "every"'),
        (["a", "--cron", "* * * * *"], "nothing to run"),
        (["a/b", "--cron", "* * * * *", "--", "x"], "not a name of a schedule"),
        (["a", "--cron", "* * * * *", "--timezone", "Europe/Viena", "--", "x"], "did you mean Europe/Vienna?"),
        (["a", "--cron", "0 0 31 4 *", "--", "x"], "bad day-of-month"),
        (["a", "--cron", "0 0 */31 2 MON#5", "--", "x"], "never comes"),
        (["a", "--every", "1h", "--overlap", "kill", "--", "x"], '"skip" or "queue"'),
        (["a", "--cron", "@reboot", "--", "x"], "queuectl enqueue"),
        (["a", '{"command": "x", "every": "1h", "id": "y"}'], '"id" is not for a schedule'),
    ],
)
def test_add_refuses_what_is_wrong_and_writes_nothing(cli: CommandLine, words: list[str], said: str) -> None:
    """Each mistake is said in a line or two, with exit code 2."""
    done = cli.run("schedule", "add", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert not (cli.spool / "schedules").exists()


def test_list_shows_the_last_tick_and_the_next_three(cli: CommandLine) -> None:
    """With the result of the last; a skip is one; a bad file is named and hides no other."""
    cli.ok("schedule", "add", "a", "--every", "1s", "--", "true")
    cli.ok("schedule", "add", "b", "--cron", "0 0 1 1 *", "--timezone", "Europe/Vienna", "--", "true")
    (cli.spool / "schedules/c.json").write_text("{")
    os.utime(cli.spool / "schedules/c.json", (0, 0))
    with workers(cli.spool):
        wait_for(lambda: any("-exit0-" in name for name in names(cli.spool / "done")), "a job")
    a, b, c = cli.json("schedule", "list")
    assert a["last"]["result"] in ("exit0", "skipped")
    assert a["last"]["id"].startswith("a.2")
    assert len(a["next"]) == len(b["next"]) == 3
    assert b["next"][0].endswith("-12-31T23:00:00Z")
    assert (b["last"], c["next"]) == (None, [])
    assert "not valid JSON" in c["problem"]
    text = cli.run("schedule", "list")
    assert "0 0 1 1 *" in text.stdout
    assert "c: not valid JSON" in text.stderr


def test_show_explains_what_it_does(cli: CommandLine) -> None:
    """In words, with the next five times in its own zone."""
    cli.ok(*NIGHTLY, "--timezone", "Asia/Kolkata", "--jitter", "10m", "--", "./backup", "a b")
    text = cli.ok("schedule", "show", "nightly")
    assert "At 02:30 on Monday through Friday" in text
    assert "./backup 'a b'" in text
    assert text.count(" 02:30 +0530") == 5
    assert cli.run("schedule", "show", "nigtly").returncode == 3


def test_check_explains_an_expression_and_its_next_five_times(cli: CommandLine) -> None:
    """Without a spool, for a crontab's expression, for a word of cron's, and for a time."""
    text = cli.ok("schedule", "check", "30 2 * * 1-5", "--timezone", "Europe/Vienna")
    assert "At 02:30 on Monday through Friday" in text
    assert text.count(" 02:30 +0") == 5
    assert len(cli.json("schedule", "check", "@daily")["next"]) == 5
    assert "Every 90s" in cli.ok("schedule", "check", "90s")
    assert cli.run("schedule", "check", "61 * * * *").returncode == 2


def test_run_submits_a_job_now(cli: CommandLine) -> None:
    """Its id is printed, it is of the schedule's group, and the schedule's times do not change."""
    cli.ok(*NIGHTLY, "--", "echo $QUEUECTL_TICK")
    id = cli.ok("schedule", "run", "-q", "nightly")
    assert id.startswith("nightly.run-")
    cli.ok("worker", "start", "--drain", "--quiet")
    assert cli.json("show", id)["result"] == "exit0"
    assert cli.ok("logs", id).startswith("20")
    assert cli.json("schedule", "list")[0]["last"] is None


def test_pause_is_the_pause_of_its_group(cli: CommandLine) -> None:
    """`schedule pause` and `pause --group` are the same, and so are both ways back."""
    cli.ok(*NIGHTLY, "--", "true")
    cli.ok("schedule", "pause", "nightly", "new", "disks")
    assert (cli.spool / "groups/nightly/paused").read_text() == "reason: new disks\n"
    (view,) = cli.json("schedule", "list")
    assert view["paused_by"] == "nightly"
    assert view["pause"]["reason"] == "new disks"
    assert "paused" in cli.ok("schedule", "list")
    assert "it waits, as the group nightly is paused" in cli.run("schedule", "run", "nightly").stderr
    cli.ok("schedule", "resume", "nightly")
    assert cli.json("schedule", "list")[0]["paused_by"] is None
    assert cli.run("schedule", "pause", "nigtly").returncode == 3


def test_remove_leaves_its_jobs(cli: CommandLine) -> None:
    """The file and the mark go; what ran stays."""
    cli.ok(*NIGHTLY, "--", "true")
    (cli.spool / "schedules/nightly.past").write_text("2026-01-01T00:00:00Z\n")
    cli.ok("schedule", "run", "nightly")
    cli.ok("schedule", "remove", "nightly")
    assert names(cli.spool / "schedules") == []
    assert len(names(cli.spool / "pending")) == 1
    assert cli.run("schedule", "remove", "nightly").returncode == 3
    assert cli.run("schedule", "remove", "../config").returncode == 3


def test_edit_saves_what_is_right_and_keeps_what_is_wrong(cli: CommandLine) -> None:
    """A wrong text is not lost, and does not replace the schedule; a bad file can be mended."""
    cli.ok("schedule", "add", "a", "--every", "5m", "--", "true")
    cli.run("schedule", "edit", "a", env={"EDITOR": "sed -i s/5m/7m/"})
    assert file_of(cli, "a")["every"] == "7m"
    done = cli.run("schedule", "edit", "a", env={"EDITOR": "sed -i s/7m/7x/"})
    assert done.returncode == 2
    kept = Path(done.stderr.rsplit("your text is in ", 1)[1].strip())
    assert "7x" in kept.read_text()
    kept.unlink()
    assert file_of(cli, "a")["every"] == "7m"


def test_status_says_that_schedules_wait_and_since_when(cli: CommandLine) -> None:
    """Without a worker nothing runs: that is where people look first."""
    assert "schedules" not in cli.ok("status")
    assert cli.json("status")["schedules"] is None
    cli.ok("schedule", "add", "a", "--every", "1h", "--", "true")
    assert "if a worker runs by then" in cli.ok("status")
    at = time.time() - 7200
    os.utime(cli.spool / "schedules/a.json", (at, at))
    text = cli.ok("status")
    assert "1 due, the first 1 h" in text
    assert "no worker is there" in text
    assert "start one: queuectl worker start" in text
    found = cli.json("status")["schedules"]
    assert (found["total"], found["waiting"]) == (1, 1)
    assert found["waiting_since"] is not None


def test_bad_file_is_reported_by_status_fsck_and_doctor(cli: CommandLine) -> None:
    """With what is wrong, wherever one looks."""
    os.mkdir(cli.spool / "schedules")
    (cli.spool / "schedules/a.json").write_text('{"command": "x", "cron": "61 * * * *"}')
    os.utime(cli.spool / "schedules/a.json", (0, 0))
    assert "a makes no jobs" in cli.ok("status")
    for command in ("fsck", "doctor"):
        done = cli.run(command)
        assert done.returncode == 1
        assert "bad minute" in done.stdout


def test_fsck_accepts_ticks_and_skips(cli: CommandLine) -> None:
    """A skipped tick in done/ is as it should be, and so is a mark."""
    cli.ok("schedule", "add", "a", "--every", "1s", "--", "sleep 2")
    with workers(cli.spool):
        wait_for(lambda: any("-skipped-" in name for name in names(cli.spool / "done")), "a skip")
    cli.ok("prune", "--keep", "0", "--yes")
    (cli.spool / "schedules/gone.past").write_text("2026-01-01T00:00:00Z\n")
    done = cli.run("fsck")
    assert done.returncode == 0, done.stdout
    assert "the mark of a schedule that is gone" in done.stdout
    skips = [job for job in cli.json("list", "--state", "done") if job["result"] == "skipped"]
    if skips:
        assert "left out" in cli.ok("explain", skips[0]["id"])


def test_explain_knows_schedules(cli: CommandLine) -> None:
    """Its name, or a tick that has no job yet, is answered with when the next job is made and what is in the way."""
    cli.ok(*NIGHTLY, "--", "true")
    for id in ("nightly", "nightly.20301001T0230Z"):
        text = cli.ok("explain", id)
        assert text.startswith("nightly is a schedule")
        assert "no worker is alive" in text
        assert "makes its next job at" in text
    cli.ok("schedule", "run", "nightly")
    assert "is a schedule" in cli.ok("explain", "nightly")
    cli.ok("schedule", "pause", "nightly")
    assert "the group nightly has been paused" in cli.ok("explain", "nightly")


def test_names_are_completed(cli: CommandLine) -> None:
    """A shell completes the names of schedules."""
    cli.ok(*NIGHTLY, "--", "true")
    words = {"_QUEUECTL_COMPLETE": "bash_complete", "COMP_WORDS": f"queuectl --spool {cli.spool} schedule show ni",
             "COMP_CWORD": "5"}  # fmt: skip
    assert "nightly" in cli.run(env=words).stdout
