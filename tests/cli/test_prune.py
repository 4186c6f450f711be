"""`queuectl prune`: which jobs go, and what it says."""

from __future__ import annotations

from datetime import timedelta

import pytest

from queuectl import Spool
from queuectl.core.result import State
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
    out = cli.ok("prune", "--older-than", "2d")
    assert out.startswith("done  2 jobs, ")
    assert ids(spool) == {"done0", "done1"}
    assert len(ids(spool, State.DEAD)) == 4


def test_states(cli: CommandLine, spool: Spool) -> None:
    """--state says which jobs go; with all, each state keeps the number given."""
    cli.ok("prune", "--keep", "3", "--state", "dead")
    assert (len(ids(spool)), len(ids(spool, State.DEAD))) == (4, 3)
    cli.ok("prune", "--keep", "1", "--state", "all")
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
    cli.ok("prune", "--max-size", "1G")
    assert len(ids(spool)) == 4
    cli.ok("prune", "--max-size", "0")
    assert ids(spool) == set()


def test_prune_by_the_settings(cli: CommandLine, spool: Spool) -> None:
    """Without a limit the settings apply, and without those it is a usage error that deletes nothing."""
    done = cli.run("prune")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 3)
    cli.ok("config", "set", "keep-done-count", "1")
    cli.ok("prune")
    assert (ids(spool), len(ids(spool, State.DEAD))) == ({"done0"}, 4)
    cli.ok("config", "set", "keep-dead", "1d")
    cli.ok("prune", "--state", "done")
    assert len(ids(spool, State.DEAD)) == 4
    cli.ok("prune")
    assert ids(spool, State.DEAD) == {"dead0"}


@pytest.mark.parametrize(
    "words", [["--older-than", "soon"], ["--keep", "-1"], ["--max-size", "much"], ["--state", "pending", "--keep", "1"]]
)
def test_nonsense(cli: CommandLine, spool: Spool, words: list[str]) -> None:
    """What cannot be understood is a usage error, and nothing is deleted."""
    assert cli.run("prune", *words).returncode == 2
    assert len(ids(spool)) == 4
