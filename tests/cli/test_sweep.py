"""`queuectl enqueue --param` and `--each` of a table: a batch is one submit."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from queuectl import Spool
from queuectl.cli.sweep import Numbering, Sweep
from tests.cli.given import run_shell
from tests.cli.test_each import HARMLESS, HOSTILE
from tests.support import CommandLine, names

VALUES = st.sampled_from(HOSTILE) | HARMLESS
SCRIPT = "import os, sys, json; print(json.dumps([sys.argv[1:], os.environ['QUEUECTL_PARAM_A']]))"


@pytest.mark.parametrize(
    "command",
    ["printf '%s\\0' {a} {b c}", 'printf "%s\\0" "{a}" "{b c}"', "printf '%s\\0' '{a}' \"{b c}\"",
     "printf '%s\\0' \"$(printf %s {a}x | sed '$s/x$//')\" {b c}"],
)  # fmt: skip
@given(a=VALUES.filter(lambda text: not text.endswith("\n")), b=VALUES)
def test_values_in_a_command_for_the_shell(command: str, a: str, b: str) -> None:
    """Each value is one word for the shell and never syntax, wherever its place is, even if it looks like a place."""
    ((_, body),) = Sweep(command, {}, {"a": [a], "b c": [b]}, None, Numbering("g"))
    assert isinstance(body, dict)
    done = subprocess.run(["sh", "-c", body["command"]], check=True, capture_output=True, cwd="/", timeout=30)
    assert done.stdout == f"{a}\0{b}\0".encode()
    assert body["params"] == {"a": a, "b c": b}


@given(a=VALUES, b=VALUES)
def test_values_in_words(a: str, b: str) -> None:
    """Without a shell a value is a word, or a part of one. Other braces stay, also those in values."""
    words = ["{a}", "--x={b}", "{a}{b}", "{c}", "${a}", "{}", "{ a }"]
    ((_, body),) = Sweep(words, {"env": {"V": "<{b}>"}}, {"a": [a], "b": [b]}, None, Numbering("g"))
    assert isinstance(body, dict)
    assert body["command"] == [a, f"--x={b}", f"{a}{b}", "{c}", "${a}", "{}", "{ a }"]
    assert body["env"] == {"V": f"<{b}>"}


def test_hostile_values_reach_the_program(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """A worker gives the values of a table to a script as its arguments and in its environment, byte by byte."""
    values = [*HOSTILE, "'; touch hacked; '", "$(touch hacked)", "-n", "--help", "é\udcff"]
    with (tmp_path / "t.csv").open("w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows([["a", "b"], *([value, value[::-1]] for value in values)])
    (tmp_path / "script.py").write_text(SCRIPT)
    for group, words in {"s": ["python3 script.py {a} x{b}"], "w": ["python3", "script.py", "{a}", "x{b}"]}.items():
        assert cli.ok("enqueue", "-q", "-g", group, "--each", "t.csv", "--", *words) == f"{group}."
    cli.ok("worker", "start", "--drain", "-q", "--count", "2")
    for group in "sw":
        for number, value in enumerate(values, 1):
            printed = json.loads(spool.output(f"{group}.{number:04}"))
            assert printed == [[value, f"x{value[::-1]}"], value]
    assert not (tmp_path / "hacked").exists()


def test_product(cli: CommandLine, spool: Spool) -> None:
    """Every combination is a job, the last parameter changing fastest, numbered in its group, with its values."""
    done = cli.run("enqueue", "-g", "lr", "--param", "lr=0.1,0.01", "--param", "seed=1..3", "--timeout", "{seed}m",
                   "--", "train", "--lr={lr}", "{n}", "${seed}")  # fmt: skip
    assert done.stdout.split() == [f"lr.{number:04}" for number in range(1, 7)]
    assert done.stderr == "queued 6 as lr.0001 to lr.0006\n"
    pairs = [(lr, seed) for lr in ("0.1", "0.01") for seed in ("1", "2", "3")]
    for number, (lr, seed) in enumerate(pairs, 1):
        job = spool.get(f"lr.{number:04}")
        assert job.body is not None
        assert job.body.params == {"lr": lr, "seed": seed}
        assert job.command == ("train", f"--lr={lr}", f"{number:04}", "${seed}")
        assert job.body.timeout == 60 * int(seed)


def test_parameter_named_n(cli: CommandLine, spool: Spool) -> None:
    """A parameter n is what {n} stands for, and the ids are numbered as ever."""
    assert cli.ok("enqueue", "-q", "-g", "a", "--param", "n=5..6", "--", "echo {n}") == "a."
    assert [spool.get(f"a.000{number}").command for number in (1, 2)] == ["echo 5", "echo 6"]


def test_lines_with_parameters(cli: CommandLine, spool: Spool) -> None:
    """With --each and --param each line has all combinations; without a group there is a new one of random name."""
    done = cli.run("enqueue", "-q", "--each", "--param", "x=1,2", "--", "echo {} {x}", stdin="a\nb\n")
    group = done.stdout.removesuffix(".\n")
    assert len(group) == 12
    found = [spool.get(f"{group}.{number:04}").command for number in (1, 2, 3, 4)]
    assert found == ["echo a 1", "echo a 2", "echo b 1", "echo b 2"]


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.TSV", "\t")])
def test_table(cli: CommandLine, spool: Spool, tmp_path: Path, name: str, delimiter: str) -> None:
    """The first line of a table names its columns; values in quotes may hold anything, and bad rows are reported."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([["lr", " name "], ["1", 'a\n,\t"b'], [], ["2"], ["3", ""]])
    (tmp_path / name).write_text("\ufeff" + text.getvalue(), newline="")
    done = cli.run("enqueue", "-q", "-g", "t", "--each", name, "--cwd", "d/{lr}", "--", "echo", "{name}", "{lr}")
    assert (done.returncode, done.stdout) == (1, "t.\n")
    assert done.stderr == "line 5: it has 1 value, and there are 2 columns\n"
    assert [spool.get(f"t.000{number}").command for number in (1, 2)] == [("echo", 'a\n,\t"b', "1"), ("echo", "", "3")]
    assert names(tmp_path / "d") == ["1", "3"]


def test_width_of_numbers(cli: CommandLine, spool: Spool) -> None:
    """Numbers have at least four digits, and more if there are more jobs, so that ids sort as numbers."""
    out = cli.run("enqueue", "--dry-run", "-g", "a", "--param", "x=1..10000", "--", "echo {x}").stdout.splitlines()
    assert (out[0], out[-1], out == sorted(out, key=lambda line: line.split()[0])) == (
        "a.00001  echo 1", "a.10000  echo 10000", True,
    )  # fmt: skip


def test_limits_are_in_force_before_the_first_job(cli: CommandLine, spool: Spool) -> None:
    """--limit and --max-failed are settings of the group; with them and --hold a sweep waits for `release`."""
    words = ["--limit", "2", "--max-failed", "5%", "--hold", "--param", "x=1..3", "--", "true"]
    group = cli.ok("enqueue", "-q", *words).removesuffix(".")
    assert (spool.path / f"groups/{group}/limit").read_text() == "2\n"
    assert (spool.path / f"groups/{group}/max-failed").read_text() == "5%\n"
    assert all(job.is_held for job in spool.list())
    cli.ok("release", f"{group}.", "--yes")
    assert not any(job.is_held for job in spool.list())
    cli.ok("enqueue", "-g", "one", "--limit", "1", "--", "true")
    assert (spool.path / "groups/one/limit").read_text() == "1\n"


def test_group_that_has_jobs(cli: CommandLine, spool: Spool) -> None:
    """A sweep into it is refused with the ways on; --append continues the numbers, and nothing else changes."""
    sweep = ["-g", "lr", "--param", "x=1..3", "--", "echo {x}"]
    cli.ok("enqueue", *sweep)
    done = cli.run("enqueue", "--limit", "7", *sweep)
    assert (done.returncode, done.stdout) == (4, "")
    assert "the group lr has 3 jobs already" in done.stderr
    assert all(way in done.stderr for way in ("--group", "--append", "--if-exists skip", "queuectl retry lr."))
    assert not (spool.path / "groups").exists()
    assert cli.ok("enqueue", "--append", *sweep).split() == ["lr.0004", "lr.0005", "lr.0006"]
    assert cli.ok("enqueue", "--append", "-q", *sweep) == "lr."
    assert spool.counts().pending == 9


def test_if_exists_skip(cli: CommandLine, spool: Spool) -> None:
    """The same sweep again submits what is missing; with other values, or another command for a line, it is refused."""
    sweep = ["-g", "lr", "--param", "x=1..3", "--", "echo {x}"]
    cli.ok("enqueue", *sweep)
    cli.ok("cancel", "lr.0002")
    cli.ok("rm", "lr.0002")
    done = cli.run("enqueue", "--if-exists", "skip", *sweep)
    assert (done.stdout, done.stderr) == ("lr.0002\n", "queued 1, skipped 2 that are there\n")
    done = cli.run("enqueue", "-q", "--if-exists", "skip", *sweep)
    assert (done.returncode, done.stdout, done.stderr) == (0, "lr.\n", "")
    done = cli.run("enqueue", "--if-exists", "skip", "-g", "lr", "--param", "x=1,5..9", "--", "echo {x}")
    assert (done.returncode, done.stdout) == (4, "")
    assert "the job lr.0002 is there, but with other parameters" in done.stderr
    cli.ok("enqueue", "-g", "l", "--each", "--", "echo {}", stdin="a\nb\n")
    cli.ok("enqueue", "--if-exists", "skip", "-g", "l", "--each", "--", "echo {}", stdin="a\nb\nc\n")
    assert (
        "with another command"
        in cli.run("enqueue", "--if-exists", "skip", "-g", "l", "--each", "--", "echo {}", stdin="b\n").stderr
    )
    assert spool.counts().pending == 6


def test_dry_run(cli: CommandLine, tmp_path: Path, spool: Spool) -> None:
    """--dry-run prints the jobs, and leaves no trace: no job, no setting, no directory, no spool."""
    words = ["--limit", "2", "--param", "x=1..2", "--cwd", "d/{x}", "--", "echo", "a {x}"]
    done = cli.run("enqueue", "--dry-run", "-g", "a", *words)
    assert done.stdout == "a.0001  echo 'a 1'\na.0002  echo 'a 2'\n"
    assert done.stderr == "would queue 2 jobs in the group a\n"
    bodies = json.loads(cli.ok("enqueue", "--dry-run", "--json", "-g", "a", *words))
    assert [body["params"] for body in bodies] == [{"x": "1"}, {"x": "2"}]
    assert cli.run("enqueue", "--dry-run", "--", "echo hi").stdout == "-  echo hi\n"
    assert spool.counts().pending == 0
    assert not (tmp_path / "d").exists()
    assert not (spool.path / "groups").exists()
    assert cli.run("--spool", "new", "enqueue", "--dry-run", *words).returncode == 0
    assert not (tmp_path / "new").exists()


def test_misspelt_place(cli: CommandLine, spool: Spool) -> None:
    """Braces that look like a misspelt parameter are queued as they are, with a warning; any others without."""
    words = ["enqueue", "--param", "seed=1", "--", "awk", "{print} {Seed} {sead} {} ${sed}", "{seed}"]
    assert cli.run(*words).stderr.splitlines()[:-1] == [
        "warning: {Seed} stays as it is; did you mean {seed}?", "warning: {sead} stays as it is; did you mean {seed}?"
    ]  # fmt: skip
    assert next(spool.list()).command == ("awk", "{print} {Seed} {sead} {} ${sed}", "1")


def test_sweep_of_nothing(cli: CommandLine, spool: Spool) -> None:
    """No lines make no jobs, no group, and no setting of one."""
    done = cli.run("enqueue", "-q", "--limit", "2", "--each", "--", "echo {}", stdin="\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (spool.path / "groups").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--limit", "x", "-g", "a", "--", "true"], "limit is not a whole number"),
        (["--limit", "2", "--", "true"], "--limit is for a group"),
        (["--max-failed", "2", "--", "true"], "--max-failed is for a group"),
        (["-g", "a", "--max-failed", "x", "--", "true"], "max-failed is neither a number"),
        (["--append", "--", "true"], "--append is for --param and --each"),
        (["--append", "--param", "x=1", "--", "true"], "--append without a group"),
        (["--if-exists", "skip", "-g", "a", "--", "true"], '"if_exists" needs a key, "unique", or an "id"'),
        (["--param", "x=1", "--id", "a", "--", "true"], "one --id for many jobs"),
        (["--param", "x=1"], "--param needs a command"),
        (["--param", "x=1", "-"], "--param needs a command"),
        (["--param", "x=1", "--file", "f"], "both --file and a command"),
        (["--param", "x=1", "--", "echo `{x}`"], "{x} cannot be quoted in this command"),
        (["--param", "LR=1", "--each", "t.csv", "--", "true"], "lr and LR are too much alike"),
        (["-0", "--each", "t.csv", "--", "true"], "-0 is for lines"),
        (["--each", "semi.csv", "--", "true"], "it has semicolons, not commas"),
        (["--param", "x=1", '{"command": "echo {x}"}'], "not a job in JSON"),
        (["--each", "empty.csv", "--", "true"], "empty.csv: line 1 does not name the columns"),
        (["--each", "utf16.csv", "--", "true"], "utf16.csv is not UTF-8"),
    ],
)
def test_use_that_is_wrong(cli: CommandLine, spool: Spool, tmp_path: Path, words: list[str], said: str) -> None:
    """It is refused with exit code 2, and nothing is queued or set."""
    (tmp_path / "t.csv").write_text("lr\n1\n")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "semi.csv").write_text("lr;seed\n1;2\n")
    (tmp_path / "utf16.csv").write_text("lr,x\n1,2\n", encoding="utf-16")
    done = cli.run("enqueue", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert spool.counts().pending == 0
    assert not (spool.path / "groups").exists()


def test_group_of_a_sweep_in_a_script(spool: Spool, tmp_path: Path) -> None:
    """`B=$(queuectl enqueue -q --each …)` names the batch for `wait` and `list`."""
    script = f"""
        export QUEUECTL_SPOOL={spool.path}
        B=$(seq 3 | queuectl enqueue -q --each - --env V={{}} -- 'echo $V')
        queuectl worker start --drain -q
        queuectl wait -q $B && queuectl list $B --columns last --csv | sort
    """
    done = run_shell(script, tmp_path)
    assert (done.returncode, done.stdout.split()) == (0, ["1", "2", "3", "last"])


def test_workers_own_parameters(cli: CommandLine, spool: Spool) -> None:
    """Variables of the worker's environment that are about another job never reach its own."""
    names_ = ["QUEUECTL_PARAM_X", "QUEUECTL_PARAM_Y", "QUEUECTL_SEAT_GPU", "QUEUECTL_AFTER", "QUEUECTL_TICK"]
    cli.ok("enqueue", "--id", "plain", "--", "env")
    cli.ok("enqueue", "-g", "a", "--param", "x=1", "--env", "MINE=2", "--", "env")
    cli.ok("worker", "start", "--drain", "-q", env=dict.fromkeys(names_, "foreign"))
    found = [[line for line in spool.output(id).splitlines() if "=foreign" in line] for id in ("plain", "a.0001")]
    assert found == [[], []]
    assert {"QUEUECTL_PARAM_X=1", "MINE=2"} <= set(spool.output("a.0001").splitlines())


def test_list_of_a_sweep(cli: CommandLine, spool: Spool) -> None:
    """`list lr.` has a column for each parameter, the time and the last line, as a table, CSV, lines and JSON."""
    script = "echo first; printf 'a\\r'; printf '\\033[1mloss {x}, \"{y}\"\\033[0m\\n\\n'; test {x} != 2"
    cli.ok("enqueue", "-g", "lr", "--max-retries", "0", "--param", "x=1,2,10", "--param", "y=é", "--", script)
    cli.ok("enqueue", "--id", "other", "--", "true")
    cli.run("worker", "start", "--drain", "-q")
    columns = ["--columns", "id,params,result,took,last", "--sort", "params.x"]
    header, *rows = csv.reader(cli.ok("list", "lr.", *columns, "--csv").splitlines())
    assert header == ["id", "x", "y", "result", "took", "last"]
    assert [[*row[:4], row[5]] for row in rows] == [
        [f"lr.000{number}", x, "é", result, f'loss {x}, "é"']
        for number, x, result in ((1, "1", "exit0"), (2, "2", "exit1"), (3, "10", "exit0"))
    ]
    assert all(float(row[4]) >= 0 for row in rows)
    assert cli.ok("list", "lr.", *columns).splitlines()[0].split() == ["ID", "x", "y", "RESULT", "TOOK", "LAST"]
    assert cli.ok("list", "lr.", "--sort", "-params.x", "--format", "{params.x} {last}").splitlines()[0] == (
        '10 loss 10, "é"'
    )
    assert [job["params"]["x"] for job in cli.json("list", "lr.", "--where", "params.x>2")] == ["10"]
    job = cli.json("list", "lr.", "--columns", "id,params,last", "--where", "params.x=1")
    assert job == [{"id": "lr.0001", "params": {"x": "1", "y": "é"}, "last": 'loss 1, "é"'}]
    assert cli.json("list", "lr.", "--where", "params.x=1")[0]["last"] == 'loss 1, "é"'
    assert cli.run("list", "none.").returncode == 3
    assert "queuectl list lr." in cli.run("list", "lr").stderr
    assert "queuectl list --state done" in cli.run("list", "done").stderr
