"""`queuectl dlq`: the dead letters."""

from __future__ import annotations

from pathlib import Path

from queuectl import Spool
from queuectl.core.result import State
from tests.cli.given import JOB_KEYS, put_foreign, put_one_of_each, run_on_terminal
from tests.spool.given import put_finished
from tests.support import CommandLine, names


def test_list(cli: CommandLine, spool: Spool) -> None:
    """`dlq list` shows the dead jobs alone, newest first, in the shape of `list`."""
    put_one_of_each(spool.layout)
    put_foreign(spool.layout)
    (spool.path / "dead" / "20261124T034301.000Z-010-2-timeout-9.000s-newer.json").write_text('{"command": "sleep 9"}')
    found = cli.json("dlq", "list")
    assert [job["id"] for job in found] == ["newer", "failed"]
    assert set(found[0]) == JOB_KEYS
    header, *rows = cli.ok("dlq", "list").splitlines()
    assert header.split() == ["ID", "ATTEMPTS", "WHEN", "RESULT", "DURATION", "COMMAND"]
    assert [row.split()[0] for row in rows] == ["newer", "failed"]
    assert rows[0].split()[-3:] == ["s", "sleep", "9"]


def test_list_on_a_terminal(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """The table fits 80 columns with room for the command."""
    put_finished(spool.layout, "abcdefghijkl", "cancelled", command="x" * 300)
    code, screen = run_on_terminal(cli.argv("dlq", "list", "--color", "never"), tmp_path)
    assert (code, [len(line) for line in screen.splitlines()[1:]]) == (0, [80])
    assert "x" * 16 in screen


def test_list_limit(cli: CommandLine, spool: Spool) -> None:
    """--limit shows so many, and stderr says that there are more."""
    for id in "abc":
        put_finished(spool.layout, id)
    done = cli.run("dlq", "list", "--limit", "2")
    assert (len(done.stdout.splitlines()), done.stderr) == (3, "there are more than 2; see --limit\n")
    assert len(cli.json("dlq", "list", "--limit", "0")) == 3


def test_list_takes_filters(cli: CommandLine, spool: Spool) -> None:
    """The filters select among the dead jobs alone; a state in which no job is dead is refused."""
    put_one_of_each(spool.layout)
    put_finished(spool.layout, "slow", "timeout")
    assert [job["id"] for job in cli.json("dlq", "list", "--result", "timeout")] == ["slow"]
    assert {job["id"] for job in cli.json("dlq", "list", "--match", "true", "--state", "failed")} == {"slow", "failed"}
    assert cli.run("dlq", "list", "--state", "done").returncode == 2


def test_empty_list(cli: CommandLine) -> None:
    """Without dead letters there is nothing on stdout, and an empty array in JSON."""
    done = cli.run("dlq", "list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no dead letters\n")
    assert cli.json("dlq", "list") == []


def test_retry_says_the_same_as_retry(cli: CommandLine, spool: Spool) -> None:
    """`dlq retry` makes a dead job pending, prints its id, and reports as `retry` does."""
    for id in ("one", "two"):
        put_finished(spool.layout, id)
    by_dlq, by_retry = cli.run("dlq", "retry", "on"), cli.run("retry", "tw")
    assert (by_dlq.returncode, by_dlq.stdout, by_dlq.stderr) == (0, "one\n", "1 job pending again\n")
    assert (by_retry.returncode, by_retry.stdout, by_retry.stderr) == (0, "two\n", "1 job pending again\n")
    assert {job.id for job in spool.list((State.PENDING,))} == {"one", "two"}


def test_retry_all(cli: CommandLine, spool: Spool) -> None:
    """--all retries every dead letter that can run; those that cannot stay, are reported, and make the code theirs."""
    for id in ("one", "two"):
        put_finished(spool.layout, id)
    put_finished(spool.layout, "torn", "invalid").write_text("{")
    done = cli.run("dlq", "retry", "--all")
    assert (done.returncode, sorted(done.stdout.split())) == (2, ["one", "two"])
    assert done.stderr.splitlines()[:2] == ["3 jobs (3 dead) selected", "queuectl: this is not a runnable job"]
    assert done.stderr.splitlines()[-1] == "2 jobs pending again"
    assert [job.id for job in spool.list((State.DEAD,))] == ["torn"]


def test_retry_all_of_none(cli: CommandLine) -> None:
    """--all of nothing is not an error."""
    done = cli.run("dlq", "retry", "--all")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no matching jobs\n")


def test_retry_needs_ids_or_all(cli: CommandLine, spool: Spool) -> None:
    """Neither or both of ids and --all are a usage error, and nothing is retried."""
    put_finished(spool.layout, "one")
    for words, said in (([], "name the jobs, or select them"), (["one", "--all"], "both ids and a selection")):
        done = cli.run("dlq", "retry", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[0] == f"queuectl: {said}"
    assert spool.counts().dead == 1


def test_dlq_refuses_jobs_that_are_not_dead(cli: CommandLine, spool: Spool) -> None:
    """A job in another state is refused by the name of that state, and does not make a prefix ambiguous."""
    put_one_of_each(spool.layout)
    put_finished(spool.layout, "done-too")
    for command in ("retry", "drop"):
        done = cli.run("dlq", command, "ready", "running", "nope")
        assert (done.returncode, done.stdout) == (1, "")
        lines = [line for line in done.stderr.splitlines() if line.startswith("queuectl: ")]
        assert lines == [
            "queuectl: job ready is pending",
            "queuectl: job running is running",
            "queuectl: no job 'nope'",
        ]
    assert cli.ok("dlq", "retry", "don") == "done-too"
    assert spool.get("done").state is State.DONE


def test_drop(cli: CommandLine, spool: Spool) -> None:
    """`dlq drop` deletes dead jobs with their logs; the rest stays, and the id is free again."""
    put_one_of_each(spool.layout)
    put_finished(spool.layout, "other")
    for id in ("failed", "other"):
        spool.log_path(id).write_text("output\n")
    done = cli.run("dlq", "drop", "fail", "nope")
    assert (done.returncode, done.stdout) == (3, "failed\n")
    assert done.stderr.splitlines()[0] == "queuectl: no job 'nope'"
    assert done.stderr.splitlines()[-1] == "1 job dropped"
    assert [job.id for job in spool.list((State.DEAD,))] == ["other"]
    assert names(spool.path / "logs") == ["other.log"]
    assert cli.ok("enqueue", "--id", "failed", "--", "true") == "failed"


def test_causes_counts_what_failed_alike(cli: CommandLine, spool: Spool) -> None:
    """`dlq causes` counts dead letters by result and folded last line; --limit says that there are more kinds."""
    for id, line in (("a", "KeyError: 1"), ("b", "KeyError: 22"), ("c", "Killed")):
        put_finished(spool.layout, id)
        spool.log_path(id).write_text(f"#queuectl start attempt=1\n{line}\n")
    found = cli.json("dlq", "causes")
    assert [(each["count"], each["line"]) for each in found] == [(2, "KeyError: N"), (1, "Killed")]
    done = cli.run("dlq", "causes", "--limit", "1")
    assert (len(done.stdout.splitlines()), "1 more" in done.stderr) == (2, True)
    assert cli.run("dlq", "causes", "--match", "none").stderr == "no dead letters\n"
