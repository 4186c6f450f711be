"""`queuectl prune`: which jobs go, and what it says."""

from __future__ import annotations

import os
import pty
from datetime import timedelta
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.result import State
from tests.cli.given import run_on_terminal
from tests.spool.moves.test_prune import finished, ids
from tests.support import CommandLine


@pytest.fixture(autouse=True)
def _jobs(spool: Spool) -> None:
    """Done and dead jobs of 0 to 3 days."""
    for days in range(4):
        finished(spool, f"done{days}", timedelta(days=days, minutes=1))
        finished(spool, f"dead{days}", timedelta(days=days, minutes=1), State.DEAD)


def test_prune_by_age(cli: CommandLine, spool: Spool) -> None:
    """--older-than deletes done jobs and no dead ones, and says how many."""
    out = cli.ok("prune", "-y", "--older-than", "2d")
    assert out.startswith("done  2 jobs, ")
    assert ids(spool) == {"done0", "done1"}
    assert len(ids(spool, State.DEAD)) == 4


def test_states(cli: CommandLine, spool: Spool) -> None:
    """--state says which jobs go; with all, each state keeps the number given."""
    cli.ok("prune", "-y", "--keep", "3", "--state", "dead")
    assert (len(ids(spool)), len(ids(spool, State.DEAD))) == (4, 3)
    cli.ok("prune", "-y", "--keep", "1", "--state", "all")
    assert (ids(spool), ids(spool, State.DEAD)) == ({"done0"}, {"dead0"})


def test_dry_run(cli: CommandLine, spool: Spool) -> None:
    """--dry-run deletes nothing and says so; its JSON has the numbers."""
    done = cli.run("prune", "--keep", "0", "--dry-run")
    assert done.stdout.startswith("done  4 jobs, ")
    assert done.stderr == "nothing was deleted: this was a dry run\n"
    found = cli.json("prune", "--keep", "0", "--state", "all", "--dry-run")
    assert (found["dry_run"], found["jobs"], found["states"]["dead"]["jobs"]) == (True, 8, 4)
    assert found["bytes"] == sum(state["bytes"] for state in found["states"].values())
    assert len(ids(spool)) == 4


def test_prune_by_size(cli: CommandLine, spool: Spool) -> None:
    """--max-size 0 keeps nothing, a large one everything."""
    cli.ok("prune", "-y", "--max-size", "1G")
    assert len(ids(spool)) == 4
    cli.ok("prune", "-y", "--max-size", "0")
    assert ids(spool) == set()


def test_prune_by_the_settings(cli: CommandLine, spool: Spool) -> None:
    """Without a limit the settings apply, and without those it is a usage error that deletes nothing."""
    done = cli.run("prune", "-y")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 3)
    cli.ok("config", "set", "keep-done-count", "1")
    cli.ok("prune", "-y")
    assert (ids(spool), len(ids(spool, State.DEAD))) == ({"done0"}, 4)
    cli.ok("config", "set", "keep-dead", "1d")
    cli.ok("prune", "-y", "--state", "done")
    assert len(ids(spool, State.DEAD)) == 4
    cli.ok("prune", "-y")
    assert ids(spool, State.DEAD) == {"dead0"}


@pytest.mark.parametrize(
    "words",
    [
        ["--older-than", "soon"],
        ["--older-than", "5"],
        ["--older-than", "+0.5"],
        ["--keep", "-1"],
        ["--max-size", "much"],
        ["--state", "pending", "--keep", "1"],
    ],
)
def test_nonsense(cli: CommandLine, spool: Spool, words: list[str]) -> None:
    """What cannot be understood is a usage error, and nothing is deleted."""
    assert cli.run("prune", *words).returncode == 2
    assert len(ids(spool)) == 4


def test_prune_asks(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """It asks like every command that acts on many: with the count on a terminal, else it needs --yes."""
    done = cli.run("prune", "--keep", "0", "--state", "all")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "queuectl: this would delete 8 jobs (4 done, 4 dead)"
    for answer, left in ((b"n\n", 4), (b"y\n", 1)):
        master, inside = pty.openpty()
        with open(inside, "rb") as stdin:
            os.write(master, answer)
            _, screen = run_on_terminal(cli.argv("prune", "--keep", "1"), tmp_path, stdin=stdin)
            os.close(master)
        assert "delete 3 jobs (3 done)? [y/N]" in screen
        assert len(ids(spool)) == left
    assert cli.ok("prune", "--keep", "1").startswith("done  0 jobs")


@pytest.mark.parametrize(
    ("word", "left"),
    [("failed", (4, 0)), ("dlq", (4, 0)), ("completed", (0, 4)), ("done,dead", (0, 0)), ("all", (0, 0))],
)
def test_words_for_states(cli: CommandLine, spool: Spool, word: str, left: tuple[int, int]) -> None:
    """--state takes the words that it takes everywhere."""
    cli.ok("prune", "-y", "--keep", "0", "--state", word)
    assert (len(ids(spool)), len(ids(spool, State.DEAD))) == left


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["prune", "--older-than", "5"], "queuectl prune --older-than 5d"),
        (["config", "set", "keep-done", "5"], "queuectl config set keep-done 5d"),
        (["config", "set", "keep_dead", "0.5"], "queuectl config set keep_dead 0.5d"),
        (["dlq", "drop", "--until", "30", "-y"], "--until 30d"),
        (["rm", "--until", "30", "-y"], "--until 30d"),
    ],
)
def test_time_without_a_unit(cli: CommandLine, spool: Spool, words: list[str], line: str) -> None:
    """Where a time decides what is deleted, a bare number is refused, with the line to type."""
    done = cli.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"  try: {line}, or " in done.stderr
    assert (len(ids(spool)), len(ids(spool, State.DEAD))) == (4, 4)
    assert cli.ok("config", "get", "keep-done") == "none"


def test_setting_without_a_unit(cli: CommandLine, spool: Spool) -> None:
    """Nor does a bare number delete anything in the environment or in config.toml; what is set has its unit there."""
    assert cli.run("worker", "start", "--drain", env={"QUEUECTL_KEEP_DONE": "5"}).returncode == 2
    said = cli.run("config", "set", "keep-done", "12h").stderr
    assert said == "keep-done = 43200s (12 h 00 m; older jobs are deleted)\n"
    assert cli.ok("config", "get", "keep-done") == "43200s"
    assert (spool.path / "config.toml").read_text().splitlines()[-1] == 'keep-done = "12h"'
    assert cli.json("config", "get", "keep-done") == {"value": 43200.0, "source": "config.toml"}
    assert cli.json("config", "set", "keep-done", cli.ok("config", "get", "keep-done"))["value"] == 43200.0
    assert cli.json("config", "unset", "keep-done") == {"value": None, "source": "default"}
    (spool.path / "config.toml").write_text("keep-done = 5\n")
    assert cli.run("worker", "start", "--drain").returncode == 2
    assert len(ids(spool)) == 4


def test_rm(cli: CommandLine, spool: Spool) -> None:
    """`rm` deletes done and dead jobs with their logs; others are refused, with the command that ends them."""
    spool.enqueue("true", id="waits")
    spool.log_path("done1").write_text("output\n")
    done = cli.run("rm", "done1", "dead2", "wai", "nope")
    assert (done.returncode, done.stdout) == (1, "done1\ndead2\n")
    assert done.stderr.splitlines() == [
        "queuectl: job waits is pending", "  only a done or dead job can be deleted", "  try: queuectl cancel waits",
        "queuectl: no job 'nope'", "  see: queuectl list", "2 jobs deleted",
    ]  # fmt: skip
    assert (len(ids(spool)), len(ids(spool, State.DEAD)), spool.log_path("done1").exists()) == (3, 3, False)
    assert cli.ok("enqueue", "--id", "done1", "--", "true") == "done1"
    assert cli.run("rm", "--all").returncode == 2
    assert set(cli.ok("rm", "--match", "^d.*0$", "-y").split()) == {"done0", "dead0"}
    assert [outcome["ok"] for outcome in cli.json("rm", "done2")] == [True]


def test_prune_of_a_group(cli: CommandLine, spool: Spool) -> None:
    """Limits count the jobs of the group, and no others go; the settings are limits too."""
    for days in range(3):
        finished(spool, f"lr.{days}", timedelta(days=days, minutes=1))
        finished(spool, f"lrx.{days}", timedelta(days=days, minutes=1))
    others = ids(spool) - {"lr.0", "lr.1", "lr.2"}
    assert cli.ok("prune", "--dry-run", "--group", "lr", "--older-than", "1d").startswith("done  2 jobs, ")
    cli.ok("prune", "-y", "--group", "lr", "--keep", "2")
    assert ids(spool) == {*others, "lr.0", "lr.1"}
    cli.ok("config", "set", "keep-done-count", "1")
    cli.ok("prune", "-y", "--group", "lr.")
    assert ids(spool) == {*others, "lr.0"}
    cli.ok("prune", "-y", "--group", "lr", "--keep", "0", "--state", "all")
    assert (ids(spool), len(ids(spool, State.DEAD))) == (others, 4)
    assert cli.run("prune", "-y", "--group", "a b", "--keep", "0").returncode == 2
