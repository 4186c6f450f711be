"""Shell completion, driven as bash drives it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from queuectl import Spool
from queuectl.cli import completion, id_completion
from queuectl.cli.main import app
from tests.cli.given import put_foreign, put_one_of_each, run, run_shell
from tests.support import PATIENCE, CommandLine, environment, names, need, workers


def complete(line: str, cwd: Path, **env: str) -> list[str]:
    """What completes the last word of a line; a line that ends with a blank asks for a new word."""
    words = line.split(" ")
    variables = {"_QUEUECTL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), **env}
    done = run(cwd=cwd, env=variables)
    assert (done.returncode, done.stderr) == (0, "")
    return [item.partition(",")[2] for item in done.stdout.splitlines() if item]


@pytest.fixture
def here(spool: Spool, tmp_path: Path) -> Path:
    """A directory with a spool that holds a job in every state, and what is none."""
    put_one_of_each(spool.layout)
    put_foreign(spool.layout)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("queuectl wo", ["worker"]), ("queuectl dlq ", ["causes", "drop", "list", "retry"]),
        ("queuectl list --st", ["--state"]),
        ("queuectl show r", ["ready", "retrying", "running"]), ("queuectl logs f", ["failed"]),
        ("queuectl retry ", ["done", "failed"]), ("queuectl dlq retry ", ["failed"]),
        ("queuectl dlq drop f", ["failed"]),
        ("queuectl show nope", []), ("queuectl list --state re", ["ready", "retrying"]),
        ("queuectl enqueue --after r", ["ready", "retrying", "running"]),
        ("queuectl run --after-end x,don", ["x,done"]), ("queuectl man sp", ["spool"]),
        ("queuectl man enq", ["enqueue"]), ("queuectl man worker st", ["start", "stop"]),
        ("queuectl config set max", ["max-failed", "max-log", "max-retries"]), ("queuectl config get set", ["settle"]),
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


def ids_by_click(line: str) -> list[str]:
    """What the commands themselves complete that line with."""
    os.environ["COMP_WORDS"] = line
    shell = completion.SHELLS["bash"](app, {}, "queuectl", "_QUEUECTL_COMPLETE")
    return [item for item in shell.complete().splitlines() if item]


def ids_alone(line: str, capsys: pytest.CaptureFixture[str]) -> list[str] | None:
    """What completes that line without them; None if they are asked."""
    os.environ["COMP_WORDS"] = line
    return capsys.readouterr().out.splitlines() if id_completion.answer() else None


@pytest.mark.parametrize("begun", ["", "r", "done", "f", "nope"])
def test_ids_that_are_found_without_the_commands(
    here: Path, begun: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that takes ids is among those that are not loaded for it, and each gives the same ids."""
    monkeypatch.chdir(here)
    for name in ("COMP_WORDS", "COMP_CWORD"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("_QUEUECTL_COMPLETE", "bash_complete")
    context = click.Context(app)
    ids = {f"plain,{id}" for id in ("ready", "running", "done", "failed")}
    leaves = [
        name for name in app.list_commands(context) if not isinstance(app.get_command(context, name), click.Group)
    ]
    taking = {name for name in leaves if ids.intersection(ids_by_click(f"queuectl {name} "))}
    assert taking - {"set"} == set(id_completion.COMMANDS)
    for name in id_completion.COMMANDS:
        for line in (f"queuectl {name} {begun}", f"queuectl {name} other {begun}"):
            assert ids_alone(line, capsys) == ids_by_click(line), line


@pytest.mark.parametrize(
    "line", ["queuectl show --js", "queuectl --spool x show r", "queuectl show 'r", "queuectl  show r", "queuectl sh",
             "queuectl show $x", "queuectl set r", "queuectl dlq r", "queuectl show x\\ r",
             "queuectl show --group x r", ""],
)  # fmt: skip
def test_lines_that_the_commands_complete(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anything but plain words is left to them."""
    monkeypatch.setenv("COMP_WORDS", "")
    monkeypatch.setenv("_QUEUECTL_COMPLETE", "zsh_complete")
    assert ids_alone(line, capsys) is None


def test_ids_are_completed_without_what_takes_long_to_load(here: Path) -> None:
    """A shell waits for it at each press of a key."""
    code = "import sys; from queuectl.cli import id_completion as ids; print(ids.answer(), 'click' in sys.modules)"
    variables = {"_QUEUECTL_COMPLETE": "fish_complete", "COMP_WORDS": "queuectl show rea", "COMP_CWORD": ""}
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=here,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("plain,ready\nTrue False\n", "")


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


HERE = ["my file.json", "plain.txt"]
"""Files beside the spool; and a directory `my dir`."""
COMMON = [
    ("queuectl sho", "show "),
    ("queuectl enqueue --time", "--timeout "),
    ("queuectl enqueue --file pl", "plain.txt "),
    ("queuectl enqueue --file=pl", "--file=plain.txt "),
    ("queuectl enqueue --each pl", "plain.txt "),
    ("queuectl enqueue --cwd my", "my\\ dir/"),
    ("queuectl --spool my", "my\\ dir/"),
    ("queuectl enqueue --file my", "my\\ "),
    ("queuectl enqueue -- wc pl", "plain.txt "),
    ("queuectl run --id x -- wc -l pl", "plain.txt "),
    ("queuectl enqueue -- queuectl-pro", "queuectl-program "),
    ("queuectl enqueue queuectl-pro", "queuectl-program "),
    ("queuectl list --result succ", "succeeded "),
    ("queuectl list --sort -du", "-duration "),
    ("queuectl list --state pending,do", "pending,done "),
    ("queuectl list --state=sched", "--state=scheduled "),
    ("queuectl list --columns id,com", "id,command "),
    ("queuectl kill --signal USR2", "USR2 "),
    ("queuectl kill -s WINC", "WINCH "),
    ("queuectl set ready prio", "priority="),
    ("queuectl set ready on_lost=re", "on_lost=retry "),
    ("queuectl set sch", "scheduled "),
    ("queuectl logs fai", "failed "),
    ("queuectl config set max-re", "max-retries "),
    ("queuectl config set on-lost de", "dead "),
    ("queuectl enqueue --on-lost de", "dead "),
    ("queuectl nonsense x", "x"),
]
"""What is typed, and what its last word becomes at TAB."""


@pytest.fixture
def typed_here(here: Path) -> Path:
    for name in HERE:
        (here / name).touch()
    (here / "my dir").mkdir()
    programs = here / "programs"
    programs.mkdir()
    (programs / "queuectl-program").write_text("#!/bin/sh\n")
    (programs / "queuectl-program").chmod(0o755)
    return here


def type_tab(shell: list[str], setup: str, lines: Sequence[str], cwd: Path) -> list[str]:
    """Type each line and TAB into an interactive shell; what the line is then. `setup` makes Ctrl-O show it."""
    path = f"{os.path.dirname(sys.executable)}:{cwd}/programs:/usr/bin:/bin"
    terminal, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    env = environment(PATH=path, HOME=str(cwd), TERM="dumb", PS1="", HISTFILE="", INPUTRC="/dev/null")
    process = subprocess.Popen(
        shell, stdin=inside, stdout=inside, stderr=inside, cwd=cwd, env=env, start_new_session=True
    )
    os.close(inside)
    seen = b""

    def show(keys: bytes, number: int) -> str:
        nonlocal seen
        os.write(terminal, keys)
        deadline = time.monotonic() + PATIENCE
        while (found := re.findall(rb"<<(.*?)>>", seen))[number:] == []:
            assert time.monotonic() < deadline, f"{keys!r}: {seen[-2000:]!r}"
            if select.select([terminal], [], [], 0.5)[0]:
                seen += os.read(terminal, 65536)
        return str(found[number], "utf-8")

    try:
        os.write(terminal, setup.encode() + b"\n")
        show(b"echo '<'\"<ready>>\"\n", 0)
        count = 1
        return [show(b"\x15" + line.encode() + b"\t\x0f", count + number) for number, line in enumerate(lines)]
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


BASH = (
    'eval "$(_QUEUECTL_COMPLETE=bash_source queuectl)"; bind "set bell-style none"; '
    """bind -x '"\\C-o": echo "<""<$READLINE_LINE>>"'"""
)
ZSH = (
    "unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit; compinit -u -D; setopt no_beep; "
    'eval "$(_QUEUECTL_COMPLETE=zsh_source queuectl)"; '
    "show() { print -r -- '<''<'$BUFFER'>>' }; zle -N show; bindkey -e; bindkey '^O' show"
)


@pytest.mark.parametrize(
    ("program", "setup"),
    [(["bash", "--norc", "--noprofile", "-i"], BASH), (["zsh", "-f", "-i"], ZSH)],
    ids=["bash", "zsh"],
)
def test_typed_into(program: list[str], setup: str, typed_here: Path) -> None:
    """TAB in a real shell: commands, options, files also after `--`, programs, states, keys, ids and values."""
    need(program[0])
    lines = [line for line, _ in COMMON]
    found = type_tab(program, setup, lines, typed_here)
    wrong = [
        (line, got) for (line, word), got in zip(COMMON, found, strict=True)
        if got.rstrip() != f"{line.rpartition(' ')[0]} {word}".rstrip()
    ]  # fmt: skip
    assert wrong == []


def test_in_fish(typed_here: Path) -> None:
    """The same in fish, which says by itself what it would offer; the command's own options as well."""
    need("fish")
    lines = [*(line for line, _ in COMMON), "queuectl enqueue -- ls --almost-a"]
    script = "_QUEUECTL_COMPLETE=fish_source queuectl | source\n" + "\n".join(
        f"set found (complete -C '{line}' | string replace -r '\\t.*' '' | string join '|'); echo \"<<$found>>\""
        for line in lines
    )
    done = run_shell(
        script,
        typed_here,
        {"PATH": f"{os.path.dirname(sys.executable)}:{typed_here}/programs:/usr/bin:/bin", "HOME": str(typed_here)},
        shell="fish",
    )
    found = re.findall(r"<<(.*)>>", done.stdout)
    words = [word.strip().replace("\\", "") for _, word in COMMON]
    words[7] = "my dir/|my file.json"
    words[-1] = ""
    words.append("--almost-all")
    assert [(line, got) for line, got, word in zip(lines, found, words, strict=True) if got != word] == []


@pytest.mark.parametrize("words", [["show", "re"], ["list", "--state", "re"]], ids=" ".join)
def test_scripts_without_a_line(here: Path, words: list[str]) -> None:
    """bash's function works from COMP_WORDS alone, as other programs drive it."""
    need("bash")
    script = f"""
        eval "$(_QUEUECTL_COMPLETE=bash_source queuectl)"
        COMP_WORDS=(queuectl {" ".join(words)}); COMP_CWORD={len(words)}
        _queuectl_completion queuectl
        echo "${{COMPREPLY[*]}}"
    """
    assert sorted(run_shell(script, here, shell="bash").stdout.split()) == ["ready", "retrying"]
