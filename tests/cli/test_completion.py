"""Shell completion, driven as bash drives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl import Spool
from tests.cli.given import put_foreign, put_one_of_each, run, run_shell
from tests.support import CommandLine, names, need, workers


def complete(line: str, cwd: Path, **env: str) -> list[str]:
    """What completes the last word of a line; a line that ends with a blank asks for a new word."""
    words = line.split(" ")
    variables = {"_QUEUECTL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), **env}
    done = run(cwd=cwd, env=variables)
    assert (done.returncode, done.stderr) == (0, "")
    return [item.partition(",")[2] for item in done.stdout.split()]


@pytest.fixture
def here(spool: Spool, tmp_path: Path) -> Path:
    """A directory with a spool that holds a job in every state, and what is none."""
    put_one_of_each(spool.layout)
    put_foreign(spool.layout)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("queuectl wo", ["worker"]), ("queuectl dlq ", ["drop", "list", "retry"]), ("queuectl list --st", ["--state"]),
        ("queuectl show r", ["ready", "retrying", "running"]), ("queuectl logs f", ["failed"]),
        ("queuectl retry ", ["done", "failed"]), ("queuectl dlq retry ", ["failed"]),
        ("queuectl dlq drop f", ["failed"]),
        ("queuectl show nope", []), ("queuectl list --state re", ["ready", "retrying"]),
        ("queuectl config set max", ["max-log", "max-retries"]), ("queuectl config get set", ["settle"]),
    ],
)  # fmt: skip
def test_words(here: Path, line: str, expected: list[str]) -> None:
    """Commands, options, ids of the jobs that a command can act on, states and settings are completed."""
    assert sorted(complete(line, here)) == expected


def test_spool_that_is_typed(here: Path, tmp_path: Path) -> None:
    """Ids come from the spool that the line names, or the environment does."""
    other = Spool(tmp_path / "other", create=True)
    other.enqueue("true", id="elsewhere")
    assert complete("queuectl --spool other show ", tmp_path) == ["elsewhere"]
    assert complete("queuectl show ", tmp_path, QUEUECTL_SPOOL=str(other.path)) == ["elsewhere"]


def test_completion_makes_nothing(tmp_path: Path) -> None:
    """Without a spool, nothing completes, nothing is printed, and nothing is created."""
    assert complete("queuectl show ", tmp_path, XDG_STATE_HOME=str(tmp_path / "state")) == []
    assert complete("queuectl --spool none dlq retry ", tmp_path) == []
    assert complete("queuectl worker stop ", tmp_path, XDG_STATE_HOME=str(tmp_path / "state")) == []
    assert names(tmp_path) == []


def test_workers(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """`worker stop` completes the workers that live."""
    with workers(spool.path):
        (worker,) = cli.json("worker", "list")
        assert complete("queuectl worker stop ", tmp_path) == [worker["worker"]]


def test_completion_in_bash(here: Path) -> None:
    """The line from the help, typed into bash, completes job ids."""
    need("bash")
    script = """
        eval "$(_QUEUECTL_COMPLETE=bash_source queuectl)"
        COMP_WORDS=(queuectl show re); COMP_CWORD=2
        _queuectl_completion queuectl
        echo "${COMPREPLY[*]}"; complete -p queuectl
    """
    done = run_shell(script, here, shell="bash")
    replies, registered = done.stdout.splitlines()
    assert sorted(replies.split()) == ["ready", "retrying"]
    assert registered.endswith("queuectl")
    assert done.stderr == ""
