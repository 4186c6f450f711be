"""`queuectl enqueue --each`: a job for each line, whatever the line holds."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import Spool
from queuectl.cli.sweep import Numbering, Rows, Sweep
from queuectl.core.result import State
from queuectl.errors import QueuectlError, UsageError
from tests.cli.given import run_shell
from tests.support import CommandLine, names

HOSTILE = [
    "a b", "it's", '"', "'\"'", "$(touch hacked)", "`touch hacked`", "${HOME}", "$HOME", "a;touch hacked", "a\nb", "\n",
    "", "-rf", "--", "*", "~", "#x", "a\\", "\\n", "!x", "{}", "{n}", "ünï日本", "\u202e", "a\tb", "&", "|", ">hacked",
    "%s", "=", "\x1b[31m", "\r",
]  # fmt: skip
HARMLESS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20)
COMMANDS = [
    "printf '%s\\0' {}", 'printf "%s\\0" "{}"', "printf '%s\\0' '{}'", "printf '%s\\0' \"\"{}''",
    'printf "%s\\0" "$(printf %s {}x)" | sed s/x\\\\x00/\\\\x00/', 'x={}; printf "%s\\0" "$x"',
    "(printf '%s\\0' {})", "echo \"it's\" >/dev/null; printf '%s\\0' \"{}\"", "printf '%s\\0' {} ${UNSET} \\\n",
    "printf '%s\\0' \\\"{}\\\" | tr -d '\"' | cat; : '\"'",
]  # fmt: skip


def sweep(
    command: str | list[str], given: dict[str, Any], pieces: Iterable[bytes] = (), *, is_null: bool = False
) -> Sweep:
    """The sweep of `--each` over a stream of these pieces, in a group b."""
    return Sweep(command, given, {}, Rows(io.BytesIO(), pieces, "-", is_null=is_null), Numbering("b"))


def bodies(command: str | list[str], given: dict[str, Any], data: bytes, *, is_null: bool = False) -> list[Any]:
    return [fields for _, fields in sweep(command, given, data.splitlines(keepends=True), is_null=is_null)]


@pytest.mark.parametrize("command", COMMANDS[:4] + COMMANDS[5:9])
@given(value=st.sampled_from(HOSTILE) | HARMLESS)
def test_value_in_a_command_for_the_shell(command: str, value: str) -> None:
    """The shell gets the value as one word and never as syntax, wherever `{}` is, in quotes too."""
    (body,) = bodies(command, {}, value.encode() + b"\0", is_null=True)
    done = subprocess.run(["sh", "-c", body["command"]], check=True, capture_output=True, cwd="/", timeout=30)
    assert done.stdout.removesuffix(b"\0") == value.encode()


@given(value=st.sampled_from(HOSTILE) | HARMLESS)
def test_value_in_words(value: str) -> None:
    """Without a shell the value is in the words as it is."""
    (body,) = bodies(["a", "{}", "x{}y{}", "${}"], {}, value.encode() + b"\0", is_null=True)
    assert body["command"] == ["a", value, f"x{value}y{value}", "${}"]


@given(values=st.lists(st.sampled_from(HOSTILE) | HARMLESS, max_size=5), cut=st.integers(1, 7))
def test_values_between_nulls(values: list[str], cut: int) -> None:
    """-0 takes every value, also an empty one, however the input is cut into pieces; the last NUL may be missing."""
    data = b"".join(value.encode() + b"\0" for value in values)
    for text in (data, data[:-1] if values and values[-1] else data):
        pieces = [text[at : at + cut] for at in range(0, len(text), cut)]
        each = sweep(["a", "{}"], {}, pieces, is_null=True)
        found = [fields["command"][1] for _, fields in each if not isinstance(fields, QueuectlError)]
        assert found == values


def test_lines() -> None:
    """A line ends with LF or CRLF, the last one with nothing; empty lines are no jobs, a mark of UTF-8 is no text."""
    found = bodies(["a", "{}", "{n}"], {"id": "x.{n}"}, b"\xef\xbb\xbfone\r\n\r\n\n two \nthree")
    assert [body["command"][1:] for body in found] == [["one", "0001"], [" two ", "0002"], ["three", "0003"]]
    assert [body["id"] for body in found] == ["x.0001", "x.0002", "x.0003"]


@pytest.mark.parametrize(
    "command", ["echo `echo {}`", "cat <<E\n{}\nE", "echo $(( {} ))", "echo $'{}'", "true # {}", "echo ${x:-{}}",
                "echo \"$(case {} in a) echo {};; esac)\""],
)  # fmt: skip
def test_place_that_cannot_be_quoted(command: str) -> None:
    """Where a value could become syntax of the shell `{}` is refused, with the way that always works."""
    with pytest.raises(UsageError, match="cannot be quoted") as caught:
        sweep(command, {})
    assert caught.value.hint == "try: -- sh -c 'COMMAND \"$1\"' sh {}"


def test_it_queues_in_order(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Each line is a job whose id ends with its number; places in --id, --cwd and --env are filled."""
    done = cli.run("enqueue", "--each", "-p", "5", "--", "echo", "{}", stdin="b\na\nc\n")
    ids = done.stdout.split()
    (batch,) = {id.partition(".")[0] for id in ids}
    assert ids == [f"{batch}.{number:04}" for number in (1, 2, 3)]
    assert done.stderr == f"queued 3 as {ids[0]} to {ids[-1]}\n"
    assert [job.command for job in spool.list((State.PENDING,))] == [("echo", value) for value in "bac"]
    (tmp_path / "list").write_text("x\n")
    options = ["--id", "job-{}", "--cwd", "run/{n}", "--env", "V=<{}>", "--max-retries", "1"]
    assert cli.ok("enqueue", "--each", "list", *options, "--", "echo {}") == "job-x"
    assert spool.get("job-x").fields == {
        "command": "echo x", "id": "job-x", "cwd": f"{tmp_path}/run/0001", "env": {"V": "<x>"}, "max_retries": 1
    }  # fmt: skip
    assert names(tmp_path / "run") == ["0001"]


def test_bad_line(cli: CommandLine, spool: Spool) -> None:
    """A line that makes no job is reported by its number, the others are queued, and the exit code is 1."""
    done = cli.run("enqueue", "--each", "--id", "j-{}", "--", "echo {}", stdin=b"a\nb c\n\nj/\nd\n")
    assert (done.returncode, done.stdout.split()) == (1, ["j-a", "j-d"])
    *errors, end = done.stderr.splitlines()
    assert [line.partition(":")[0] for line in errors] == ["line 2", "line 4"]
    assert end == "queued 2 as j-a to j-d, refused 2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--each", "--", "gzip", "-9"],
         "there is no {} for the line in the command\n  put it where the line goes: -- gzip -9 '{}'"),
        (["--each", "-", "--id", "x", "--", "echo {}"], "one --id for many jobs\n  give each its number: --id 'x.{n}'"),
        (["--each", "-", "--param", "x=1..2"], "--param needs a command\n"
         "  try: queuectl enqueue --param x=1..10 -- COMMAND {x}, or --each FILE -- COMMAND {}"),
        (["--each", "none", "--", "echo {}"], "cannot read none\n  No such file or directory\n  for stdin: --each -"),
        (["--each", "-", "--file", "f"], "both --file and a command\n  use one of them"),
        (["-0", "--", "echo {}"], "-0 is for --each\n  see: queuectl enqueue --help"),
    ],
)  # fmt: skip
def test_use_that_is_wrong(cli: CommandLine, spool: Spool, words: list[str], said: str) -> None:
    """It says what is missing, and queues nothing."""
    done = cli.run("enqueue", *words, stdin="a\n")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"queuectl: {said}\n")
    assert spool.counts().pending == 0


def test_plain_lines_for_a_dash(cli: CommandLine, spool: Spool) -> None:
    """`find | queuectl enqueue -` is told of --each, once, below what is wrong with the lines."""
    done = cli.run("enqueue", "-", stdin="./a.avi\n./b.avi\n")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2:] == [
        "for one job a line of text: queuectl enqueue --each - [-- COMMAND {}]", "queued 0, refused 2",
    ]  # fmt: skip
    assert "--each" not in cli.run("enqueue", "-", stdin='{"command": 7}\n{"comm').stderr


def test_lines_without_a_command_are_commands(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Each is a command line for the shell, as it is; `enqueue` of the file alone names the option."""
    lines = "echo 'a  b' | tr a-z A-Z\n\necho {n} ${HOME}\n"
    (tmp_path / "list").write_text(lines)
    done = cli.run("enqueue", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "queuectl: list is a file, and not a program\n  its job: --file list; a job for each line"
    )
    assert cli.run("enqueue", "--each", "list", "-g", "mine").returncode == 0
    found = [job.command for job in spool.list((State.PENDING,))]
    assert found == ["echo 'a  b' | tr a-z A-Z", "echo {n} ${HOME}"]
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    assert (
        "a table needs a command\n  put it behind --: -- COMMAND {a} {b}"
        in cli.run("enqueue", "--each", "list.csv").stderr
    )


def test_find(spool: Spool, tmp_path: Path) -> None:
    """The line of the README, with file names of every kind, run by a worker."""
    wanted = [name for name in HOSTILE if name and "/" not in name and name not in ("-rf", "--")]
    (tmp_path / "in").mkdir()
    for name in wanted:
        (tmp_path / "in" / name).touch()
    script = f"""
        cd in; find . -type f -print0 | queuectl --spool {spool.path} enqueue -q --each - -0 -- 'cp {{}} ../out/{{}}'
        mkdir ../out; queuectl --spool {spool.path} worker start --drain -q
    """
    done = run_shell(script, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert names(tmp_path / "out") == sorted(name for name in wanted if not name.startswith("."))
    assert not (tmp_path / "in" / "hacked").exists()


def test_hold(cli: CommandLine, spool: Spool) -> None:
    """--hold queues jobs that do not start before they are released, however they are given."""
    done = cli.run("enqueue", "--hold", "--id", "a", "--at", "2020-01-01", "--", "true")
    assert done.stderr == "held; to let it start: queuectl release a\n"
    cli.ok("enqueue", "--hold", "-q", "--each", "-", "--", "echo {}", stdin="x\n")
    cli.ok("enqueue", "--hold", "-q", "-", stdin='{"command": "true"}\n')
    assert [job.is_held for job in spool.list()] == [True] * 3
    assert cli.run("worker", "start", "--drain", "-q").returncode == 1  # it leaves them
    cli.ok("release", "--all", "-y")
    cli.ok("worker", "start", "--drain", "-q")
    assert spool.counts().done == 3


def test_error_is_of_the_body() -> None:
    """Bytes that are not UTF-8 are kept for the check of the body to judge."""
    ((_, body),) = sweep(["a", "{}"], {}, [b"\xff\n"])
    assert not isinstance(body, QueuectlError)
    assert body["command"] == ["a", "\udcff"]
