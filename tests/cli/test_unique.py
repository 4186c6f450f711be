"""Keys on the command line: the id of the job that counts on stdout, what became of the new one on stderr."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from queuectl import Spool
from tests.support import CommandLine, names, workers


def test_skip_prints_the_holder(spool: Spool, cli: CommandLine) -> None:
    """The id on stdout is that of the job that is there, the note is on stderr, and the exit code is 0."""
    first = cli.ok("enqueue", "--unique", "k", "--", "true").strip()
    done = cli.run("enqueue", "--unique", "k", "--", "false")
    assert (done.returncode, done.stdout.strip()) == (0, first)
    assert done.stderr == f"skipped: {first}, which is pending, has the key 'k'\n"
    assert cli.run("enqueue", "-q", "--unique", "k", "--", "false").stderr == ""
    assert len(names(spool.path / "pending")) == 1


def test_replace_and_fail(cli: CommandLine) -> None:
    """A replacement keeps the id, which `fail` names with exit code 4; another id cannot be had that way."""
    first = cli.ok("enqueue", "--unique", "k", "--", "true").strip()
    done = cli.run("enqueue", "--unique", "k", "--if-exists", "replace", "--", "echo new")
    assert (done.returncode, done.stdout.strip()) == (0, first)
    assert done.stderr.startswith("replaced: ")
    assert "echo new" in cli.ok("show", first)
    done = cli.run("enqueue", "--unique", "k", "--if-exists", "fail", "--", "true")
    assert (done.returncode, done.stdout) == (4, "")
    assert first in done.stderr
    assert cli.run("enqueue", "--unique", "k", "--if-exists", "replace", "--id", "x", "--", "true").returncode == 2


def test_job_of_the_same_id_is_said_with_its_state_alone(spool: Spool, cli: CommandLine) -> None:
    """Neither with a key that was not asked for, nor with what else is said of a new job, in a batch as well."""
    spool.enqueue("true", id="keyed", unique="k", run_at="2020-01-01")
    spool.enqueue("true", id="ended")
    spool.cancel("ended")
    lines = '{"command": "true", "id": "ended", "if_exists": "skip"}\n'
    for words, stdin, said in (
        (("--id", "keyed", "--if-exists", "skip", "--", "true"), "", "a job keyed already, which is pending\n"),
        (("--id", "ended", "--if-exists", "skip", "--", "true"), "", "a job ended already, which is dead\n"),
        (("-",), lines, "a job ended already, which is dead\nqueued 0, skipped 1 that is there\n"),
    ):
        done = cli.run("enqueue", *words, stdin=stdin)
        assert (done.returncode, done.stderr.partition("skipped: there is ")[2]) == (0, said)


def test_list_and_show_have_the_key(cli: CommandLine) -> None:
    """`show` has a line for it, `list` a column, and --where finds it."""
    id = cli.ok("enqueue", "--unique", "my key", "--", "true").strip()
    assert "unique       my key" in cli.ok("show", id)
    assert "my key" in cli.ok("list", "--columns", "id,unique")
    assert id in cli.ok("list", "--where", "unique=my key")


def test_lines_files_and_sweeps(cli: CommandLine) -> None:
    """Each job of a batch has the key of its body; the summary counts what was there."""
    lines = "".join(json.dumps({"command": "true", "unique": key}) + "\n" for key in "aba")
    done = cli.run("enqueue", "-", stdin=lines)
    assert done.returncode == 0
    assert len(set(done.stdout.split())) == 2
    assert "queued 2, skipped 1 that is there" in done.stderr
    done = cli.run("enqueue", "--each", "-", "--unique", "f {}", "--", "echo {}", stdin="x\ny\nx\n")
    assert "line 3: skipped: " in done.stderr
    outcomes = json.loads(cli.ok("enqueue", "--json", "--unique", "a", "--if-exists", "replace", "--", "true"))
    assert [outcome["existing"] for outcome in outcomes] == ["replaced"]


def test_sweep_swaps_what_waits(cli: CommandLine) -> None:
    """`--if-exists replace` of the same sweep gives its waiting jobs the new command."""
    cli.ok("enqueue", "-g", "lr", "--param", "x=1..2", "--", "echo old {x}")
    cli.ok("enqueue", "-g", "lr", "--param", "x=1..3", "--if-exists", "replace", "--", "echo new {x}")
    assert cli.ok("list", "lr.", "--format", "{command}", "--sort", "id").splitlines() == [
        "echo new 1", "echo new 2", "echo new 3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--if-exists", "skip", "--", "true"], '"if_exists" needs a key'),
        (["--each", "-", "--unique", "k", "--", "echo {}"], "one --unique for many jobs"),
        (["--unique", "k", "-"], "one --unique for many lines"),
        (["--unique", "k", '[{"command": "true"}, {"command": "true"}]'], "one --unique for several jobs"),
        (["--unique", "", "--", "true"], '"unique" must be a text'),
    ],
)
def test_use_that_is_wrong(spool: Spool, cli: CommandLine, words: list[str], what: str) -> None:
    """It is refused with exit code 2, and nothing is queued."""
    done = cli.run("enqueue", *words, stdin="a\nb\n")
    assert done.returncode == 2
    assert what in done.stderr
    assert names(spool.path / "pending") == []


def test_run_follows_the_holder(spool: Spool, cli: CommandLine) -> None:
    """`run` with a key that is taken shows the output of the job that has it."""
    fifo = spool.path.parent / "fifo"
    os.mkfifo(fifo)
    first = cli.ok("enqueue", "--unique", "k", "--", f"cat {fifo}").strip()
    words = cli.argv("run", "--unique", "k", "--", "echo from the second")
    with workers(spool.path), subprocess.Popen(words, stdout=-1, stderr=-1, text=True) as run:
        assert run.stderr is not None
        assert first in run.stderr.readline()  # until it has been left out, the first one has its key
        fifo.write_text("from the first\n")
        out, _ = run.communicate(timeout=60)
    assert "from the first" in out


def test_worker_finishes_what_a_killed_submit_left(spool: Spool, cli: CommandLine) -> None:
    """A job that was left asking runs; `explain` and `fsck` say what it waits for."""
    (spool.path / "logs/left.log").touch()
    job = {"command": "echo ran", "unique": "k", "id": "left"}
    (spool.path / "pending/010-99990102T000000.000Z-0-left.json").write_text(json.dumps(job))
    (spool.path / "unique").mkdir()
    assert "asks for its key 'k'" in cli.ok("explain", "left")
    assert "asking     1        for their keys" in cli.ok("status")
    counts = cli.json("status")["counts"]
    assert (counts["asking"], counts["held"], counts["pending"]) == (1, 0, 1)
    assert "1 job asks for its key" in cli.run("doctor").stdout
    assert "still asks for its key" in cli.run("fsck").stdout
    with workers(spool.path):
        assert spool.wait("left", timeout=30).result is not None
    assert spool.output("left") == "ran\n"
