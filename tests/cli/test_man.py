"""`queuectl man`, `completion` and `schema`: what comes with the package for other programs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from queuectl import schemas
from tests.cli.given import run, run_shell
from tests.support import need


@pytest.mark.parametrize(
    ("words", "title"),
    [
        ((), "queuectl"),
        (("enqueue",), "queuectl-enqueue"),
        (("worker", "start"), "queuectl-worker-start"),
        (("spool",), "queuectl-spool"),
    ],
)
def test_page_is_shown(words: tuple[str, ...], title: str, tmp_path: Path) -> None:
    """A command, one of a group, the queue and the spool have a page, which `man` shows."""
    need("man")
    done = run("man", *words, cwd=tmp_path, env={"LC_ALL": "C.UTF-8"})
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{title} - " in " ".join(done.stdout.split())


def test_page_that_does_not_exist(tmp_path: Path) -> None:
    """A word that is no command is an error; so is a path."""
    for words in (("nothing",), ("../man1/queuectl",), ("worker", "nothing")):
        done = run("man", *words, cwd=tmp_path)
        assert done.returncode == 3
        assert "no manual page" in done.stderr


def test_man_is_not_installed(tmp_path: Path) -> None:
    """Then the message names the page, and `--help`."""
    done = run("man", "enqueue", cwd=tmp_path, env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "queuectl-enqueue.1" in done.stderr
    assert "queuectl enqueue --help" in done.stderr


def test_directory_of_pages_is_a_manpath(tmp_path: Path) -> None:
    """With $MANPATH as the help has it, `man queuectl-list` finds the page."""
    need("man")
    done = run_shell('export MANPATH="$(queuectl man --path):"; man queuectl-list', tmp_path, {"LC_ALL": "C.UTF-8"})
    assert "queuectl-list - " in done.stdout


@pytest.mark.parametrize(
    ("shell", "path"),
    [
        ("bash", "data/bash-completion/completions/queuectl"),
        ("zsh", "data/zsh/site-functions/_queuectl"),
        ("fish", "config/fish/completions/queuectl.fish"),
    ],
)
def test_completion_is_installed(shell: str, path: str, tmp_path: Path) -> None:
    """The script goes where the shell of $SHELL looks for those of this user, and the path is printed."""
    env = {"SHELL": f"/bin/{shell}", "XDG_DATA_HOME": f"{tmp_path}/data", "XDG_CONFIG_HOME": f"{tmp_path}/config"}
    done = run("completion", "--install", cwd=tmp_path, env=env)
    assert done.returncode == 0
    assert done.stdout == f"{tmp_path / path}\n"
    assert (tmp_path / path).read_text() == run("completion", cwd=tmp_path, env=env).stdout


def test_installed_script_completes_in_bash(tmp_path: Path) -> None:
    """bash-completion sources the file when the command is first completed: then it completes."""
    need("bash")
    data = {"XDG_DATA_HOME": str(tmp_path)}
    script = """
        . "$(queuectl completion bash --install 2>/dev/null)"
        COMP_WORDS=(queuectl sho); COMP_CWORD=1
        _queuectl_completion queuectl
        echo "${COMPREPLY[*]}"
    """
    done = run_shell(script, tmp_path, data, shell="bash")
    assert (done.stdout, done.stderr) == ("show\n", "")


def test_installed_script_completes_in_zsh(tmp_path: Path) -> None:
    """compinit finds the file in $fpath."""
    need("zsh")
    script = """
        queuectl completion zsh --install > path 2>/dev/null
        zsh -f -c 'fpath=($(dirname $(<path)) $fpath)
            autoload -Uz compinit; compinit -u -d dump; echo $_comps[queuectl]'
    """
    done = run_shell(script, tmp_path, {"XDG_DATA_HOME": str(tmp_path)})
    assert done.stdout == "_queuectl\n"


def test_installed_script_completes_in_fish(tmp_path: Path) -> None:
    """fish loads it by itself."""
    need("fish")
    script = "queuectl completion fish --install >/dev/null 2>&1; fish -c 'complete -C \"queuectl sho\"'"
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_DATA_HOME": str(tmp_path), "HOME": str(tmp_path)}
    assert run_shell(script, tmp_path, home).stdout == "show\n"


def test_shell_that_is_not_known(tmp_path: Path) -> None:
    """Without an argument the shell is that of $SHELL; another one is an error that names those there are."""
    done = run("completion", cwd=tmp_path, env={"SHELL": "/bin/ksh"})
    assert done.returncode == 2
    assert "bash zsh fish" in done.stderr


@pytest.mark.parametrize("name", schemas.NAMES)
def test_schema_is_printed(name: str, tmp_path: Path) -> None:
    """What is printed is the schema that is shipped."""
    done = run("schema", name, cwd=tmp_path)
    assert json.loads(done.stdout) == schemas.load(name)
    assert os.listdir(tmp_path) == []
