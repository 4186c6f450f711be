"""`queuectl enqueue`: one job from words, JSON or a file; what is printed, refused and written."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.core.result import State
from tests.cli.given import JOB_KEYS, run, run_on_terminal, run_shell
from tests.spool.given import put_finished
from tests.support import CommandLine, names


def only_body(spool: Spool) -> Any:
    """What the only file in pending/ holds."""
    (name,) = names(spool.path / "pending")
    return json.loads((spool.path / "pending" / name).read_bytes())


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["--", "echo hi | tr a-z A-Z"], "echo hi | tr a-z A-Z"),
        (["--", "echo", "hi there", "$HOME"], ["echo", "hi there", "$HOME"]),
        (["--", "ls", "-q", "--json"], ["ls", "-q", "--json"]),
        (["--", "{ echo hi; }"], "{ echo hi; }"),
        (["--", '{"command": "true"}'], '{"command": "true"}'),
        (["--", "-"], "-"),
        (["--", "--", "x"], ["--", "x"]),
        (["-p", "5", "--", "echo", "-p", "7"], ["echo", "-p", "7"]),
        (["echo hi"], "echo hi"),
        (["echo", "hi"], ["echo", "hi"]),
        (["echo hi", "--priority", "5"], "echo hi"),
        (['{"command": "true"}'], "true"),
        (['{"command": "true"}', "--priority", "5"], "true"),
        (['{"command": ["a", "b"]}'], ["a", "b"]),
        ([' \n{"command": "true"}\n'], "true"),
    ],
)  # fmt: skip
def test_forms_of_a_command(cli: CommandLine, spool: Spool, words: list[str], command: Any) -> None:
    """One word is a command line, several run as they are, JSON is a body; behind -- nothing is anything else."""
    id = cli.ok("enqueue", *words)
    body = only_body(spool)
    assert (body["id"], body["command"]) == (id, command)
    assert body.get("priority", 5) == 5


@pytest.mark.parametrize(
    ("words", "option", "program"),
    [(["ls", "-l"], "-l", "ls"), (["grep", "-q", "x"], "-q", "grep"),
     (["make", "all", "--priority", "5"], "--priority", "make"),
     (["-p", "5", "ls", "-l"], "-l", "ls")],
)  # fmt: skip
def test_option_behind_a_program_is_never_guessed(
    cli: CommandLine, spool: Spool, words: list[str], option: str, program: str
) -> None:
    """An option that may be the program's or queuectl's is refused, with the line to type instead."""
    done = cli.run("enqueue", *words)
    assert (done.returncode, done.stdout, names(spool.path / "pending")) == (2, "", [])
    what, _, hint = done.stderr.splitlines()
    assert what == f"queuectl: is {option} meant for queuectl or for {program}?"
    at = words.index(program)
    assert hint == "  try: queuectl enqueue " + " ".join([*words[:at], "--", *words[at:]])


def test_options_become_fields_of_the_body(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Every option becomes the field of the body that it stands for."""
    options = [
        "--id", "a", "-p", "1", "--timeout", "1m30s", "--max-retries", "0", "--cwd", "sub", "--env", "A=b=c",
        "--retry-on", "75,1-3", "--no-retry-on", "2", "--on-lost", "dead", "--max-log", "64K", "--on-max-log", "kill",
    ]  # fmt: skip
    assert cli.ok("enqueue", *options, "--env", "HOST", "--", "true", env={"HOST": "h"}) == "a"
    assert only_body(spool) == {
        "command": "true", "id": "a", "priority": 1, "timeout": 90, "max_retries": 0, "cwd": str(tmp_path / "sub"),
        "env": {"A": "b=c", "HOST": "h"}, "retry_on": [1, 2, 3, 75], "no_retry_on": [2], "on_lost": "dead",
        "max_log": 65536, "on_max_log": "kill",
    }  # fmt: skip


def test_body_is_what_was_given(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Without options a body has the command, the id and the directory it was typed in; no environment."""
    id = cli.ok("enqueue", "--", "true", env={"SECRET": "x"})
    assert only_body(spool) == {"command": "true", "id": id, "cwd": str(tmp_path)}
    assert re.fullmatch(r"[a-z2-7]{12}", id)


def test_options_go_before_the_json(cli: CommandLine, spool: Spool) -> None:
    """An option replaces the field of a JSON body, and its variables join those of the body."""
    given = {"command": "true", "priority": 9, "timeout": 5, "mine": 1, "env": {"A": "1", "B": "2"}, "cwd": "/"}
    cli.ok("enqueue", json.dumps(given), "-p", "3", "--id", "x", "--env", "B=3", "--cwd", "/tmp")
    assert only_body(spool) == {**given, "id": "x", "priority": 3, "env": {"A": "1", "B": "3"}, "cwd": "/tmp"}


def test_cwd_is_absolute(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """A relative directory, in an option or in JSON, is the one seen from here."""
    cli.ok("enqueue", "--id", "a", "--cwd", "x/../y", "--", "true")
    cli.ok("enqueue", '{"id": "b", "command": "true", "cwd": "z"}')
    assert [spool.get(id).fields["cwd"] for id in "ab"] == [f"{tmp_path}/y", f"{tmp_path}/z"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [(["--in", "5m"], 299, 301), (["--in", "90"], 89, 91), (["--at", "+1h"], 3599, 3601), (["--at", "1h"], 3599, 3601),
     (["--at", "in 2d"], 172799, 172801)],
)  # fmt: skip
def test_wait_is_echoed_as_an_instant(
    cli: CommandLine, spool: Spool, options: list[str], least: int, most: int
) -> None:
    """--in and --at say on stderr when, and how soon, the job will start."""
    before = datetime.now(UTC)
    done = cli.run("enqueue", *options, "--", "true")
    assert done.returncode == 0
    run_at = spool.get(done.stdout.strip()).run_at
    assert run_at is not None
    assert timedelta(seconds=least) < run_at - before < timedelta(seconds=most + 30)
    echo = re.fullmatch(r"starts at (\S+ \S+ \S+) \(in [^)]+\)\n", done.stderr)
    assert echo is not None
    assert datetime.strptime(echo[1], "%Y-%m-%d %H:%M:%S %z") == run_at.replace(microsecond=0)


def test_at_takes_a_local_time(cli: CommandLine, spool: Spool) -> None:
    """A time without a zone is local; the echo shows it with its offset."""
    done = cli.run("enqueue", "--id", "a", "--at", "2999-01-02 09:00", "--", "true", env={"TZ": "XYZ-5:30"})
    assert done.stderr.startswith("starts at 2999-01-02 09:00:00 +0530 (in ")
    assert spool.get("a").run_at == datetime(2999, 1, 2, 3, 30, tzinfo=UTC)


def test_time_in_the_past(cli: CommandLine, spool: Spool) -> None:
    """A job whose time has come is queued, and the echo says that it starts at once."""
    done = cli.run("enqueue", '{"id": "a", "command": "true", "run_at": "2025-11-08T14:00:00Z"}', env={"TZ": "UTC"})
    assert done.stdout == "a\n"
    assert done.stderr.startswith("starts at once; was due at 2025-11-08 14:00:00 +0000 (")
    assert spool.counts().ready == 1


@pytest.mark.parametrize("quiet", ["-q", "--quiet"])
def test_quiet_prints_the_id_alone(cli: CommandLine, quiet: str) -> None:
    """-q leaves nothing but the id, though there is a warning and a time to report."""
    done = cli.run("enqueue", quiet, "--in", "5m", '{"id": "a", "command": "true", "timout": 3}')
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", "")


WARNING = 'warning: unknown field "timout" is ignored; did you mean "timeout"?\n'
MISSPELT = '{"id": "a", "command": "true", "timout": 3}'


def test_misspelt_fields_are_reported(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """A field that looks misspelt earns a warning in every form of enqueue, with its line number in bulk."""
    assert cli.run("enqueue", MISSPELT).stderr == WARNING
    (tmp_path / "job.json").write_text(MISSPELT.replace('"a"', '"b"'))
    assert cli.run("enqueue", "--file", "job.json").stderr == WARNING
    done = cli.run("enqueue", "-", stdin='{"command": "true"}\n' + MISSPELT.replace('"a"', '"c"'))
    assert (done.returncode, done.stderr) == (0, f"line 2: {WARNING}queued 2\n")
    assert spool.get("a").fields == {**json.loads(MISSPELT), "cwd": str(tmp_path)}


def test_files(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """--file takes a job from a file, as often as it is given, and a pattern that the shell has expanded."""
    for id in "abcd":
        (tmp_path / f"{id}.json").write_text(json.dumps({"id": id, "command": f"echo {id}"}, indent=2))
    assert cli.ok("enqueue", "--file", "a.json", "--file", "b.json", "-p", "3").split() == ["a", "b"]
    assert cli.ok("enqueue", "--file", "c.json", "d.json").split() == ["c", "d"]
    assert [(job.id, job.priority) for job in spool.list((State.PENDING,))] == [
        ("a", 3),
        ("b", 3),
        ("c", 10),
        ("d", 10),
    ]


def test_json_arguments_are_a_job_each(cli: CommandLine) -> None:
    """Each argument that is JSON is a job."""
    assert cli.ok("enqueue", '{"id": "a", "command": "true"}', '{"id": "b", "command": "true"}').split() == ["a", "b"]


def test_bad_file_keeps_all_out(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Of several jobs none is queued if one of them cannot be one, and the error names its file."""
    (tmp_path / "good.json").write_text('{"command": "true"}')
    for name, text, what in (
        ("bad.json", '{"command": 5}', "queuectl: bad.json is not a runnable job"),
        ("torn.json", '{"command": "tr', "queuectl: torn.json is not valid JSON"),
        ("huge.json", '{"command": "true"}' + " " * (1 << 20), "queuectl: huge.json is too large for a job"),
    ):
        (tmp_path / name).write_text(text)
        done = cli.run("enqueue", "--file", "good.json", "--file", name)
        assert (done.returncode, done.stdout, done.stderr.splitlines()[0]) == (2, "", what)
    done = cli.run("enqueue", "--file", "none.json")
    assert (done.returncode, done.stderr) == (2, "queuectl: cannot read none.json\n  No such file or directory\n")
    assert names(spool.path / "pending") == []


def test_taken_id_among_several(cli: CommandLine, spool: Spool) -> None:
    """Of several jobs those with a free id are queued, every other is reported, and the exit code is 4."""
    for id in "ab":
        spool.enqueue("true", id=id)
    done = cli.run("enqueue", *(f'{{"id": "{id}", "command": "true"}}' for id in "abc"))
    assert (done.returncode, done.stdout) == (4, "c\n")
    assert [line for line in done.stderr.splitlines() if "taken" in line] == [
        "queuectl: the id 'a' is taken", "queuectl: the id 'b' is taken",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], ["nothing to queue", "try: queuectl enqueue -- echo hello; for the lines of stdin: --each"]),
        (["--"], ["nothing to queue", "try: queuectl enqueue -- echo hello; for the lines of stdin: --each"]),
        (["--", ""], ["this is not a runnable job", '"command" is empty']),
        (['{"command": "x", '], ["the argument is not valid JSON", "Expecting", "try: queuectl enqueue '{"]),
        (["{command: x}"], ["the argument is not valid JSON", "Expecting", "try: queuectl enqueue"]),
        (["{ echo hi; }"], ["the argument is not valid JSON", "Expecting", "try: queuectl enqueue -- '{ …'"]),
        (['{"command": "x"}', "y"], ["the argument is not valid JSON"]),
        (["{}"], ["this is not a runnable job", '"command" is missing']),
        (['{"comand": "x"}'], ["this is not a runnable job", '"command" is missing', 'unknown field "comand"']),
        (["--priority", "1x", "--", "x"], ["invalid value for '-p' / '--priority'", "see: queuectl enqueue --help"]),
        (["--priority", "1000", "--", "x"], ["this is not a runnable job", '"priority" must be a whole number']),
        (["--max-retries", "-1", "--", "x"], ["this is not a runnable job", '"max_retries" must be']),
        (["--id", "a b", "--", "x"], ["this is not a runnable job", '"id" must be']),
        (["--timeout", "0", "--", "x"], ["this is not a runnable job", '"timeout" must be a number above 0']),
        (["--timeout", "soon", "--", "x"], ["not a duration: 'soon'", "try 90, 5m, 1h30m or 2d"]),
        (["--in", "soon", "--", "x"], ["not a duration: 'soon'", "try 90, 5m, 1h30m or 2d"]),
        (["--at", "soon", "--", "x"], ["not a time: 'soon'", 'try 5m']),
        (["--at", "9:00", "--in", "5m", "--", "x"], ["both --at and --in", "use one of them"]),
        (["--env", "NOT_THERE", "--", "x"], ["--env NOT_THERE: not set in this environment", "give it a value"]),
        (["--env", "=x", "--", "x"], ["this is not a runnable job", '"env" has a bad variable name']),
        (["--id", "a", '{"command": "x"}', '{"command": "y"}'], ["one --id for several jobs", "put an id"]),
        (["--id", "a", "-"], ["one --id for many lines", "put an id into each line"]),
        (["--file", "x", "-"], ["both --file and -", "use one of them"]),
        (["--file", "x", "--", "true"], ["both --file and a command", "use one of them"]),
        (["-x", "--", "true"], ["no such option '-x'", "see: queuectl enqueue --help"]),
    ],
)  # fmt: skip
def test_arguments_that_are_refused(cli: CommandLine, spool: Spool, words: list[str], said: list[str]) -> None:
    """Words that make no job are a usage error of up to three lines, and nothing is queued."""
    done = cli.run("enqueue", *words)
    assert (done.returncode, done.stdout, names(spool.path / "pending")) == (2, "", [])
    lines = [line.removeprefix("queuectl: ").strip() for line in done.stderr.splitlines()]
    assert len(lines) <= 3
    assert [(line, start) for line, start in zip(lines, said, strict=False) if not line.startswith(start)] == []
    assert len(lines) >= len(said)


GOOD = '{"command": "true"}\n'


def test_bulk(cli: CommandLine, spool: Spool) -> None:
    """`enqueue -` queues every line and prints the ids in order; blank lines and a missing last newline are fine."""
    lines = "\n".join(f'{{"id": "j{number}", "command": "true"}}\n' for number in range(450)).rstrip("\n")
    done = cli.run("enqueue", "-", "-p", "7", stdin=lines)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [f"j{number}" for number in range(450)]
    assert done.stderr == "queued 450\n"
    assert {job.id for job in spool.list((State.PENDING,))} == set(done.stdout.split())
    assert {job.priority for job in spool.list((State.PENDING,))} == {7}


def test_bulk_with_bad_lines(cli: CommandLine, spool: Spool) -> None:
    """Bad lines are reported by their number on stderr, the exit code is 1, and the good ones are still queued."""
    spool.enqueue("true", id="taken")
    bad = {
        2: (b"nope", "not valid JSON"),
        3: (b'{"command": 5}', '"command" must be a string'),
        5: (b'{"command": "true", "id": "taken"}', "the id 'taken' is taken"),
        6: (b'{"command": "a"}{"command": "b"}', "not valid JSON"),
        7: (b"\xff\xfe", "not valid UTF-8"),
        8: (b'{"command": "true", "cwd": 5}', '"cwd" must be an absolute path'),
        9: (b'{"command": "a", "command": "b"}', "repeated key"),
        10: (b'"x"', "not a JSON object"),
    }
    data = b"\n".join(bad[number][0] if number in bad else GOOD.strip().encode() for number in range(1, 12))
    done = cli.run("enqueue", "-", stdin=data)
    assert done.returncode == 1
    *said, last = done.stderr.splitlines()
    assert {int(line.split(":")[0].removeprefix("line ")) for line in said} == set(bad)
    for line in said:
        number = int(line.split(":")[0].removeprefix("line "))
        assert bad[number][1] in line
    assert last == "queued 3, refused 8"
    assert len(done.stdout.split()) == 3
    assert {job.id for job in spool.list((State.PENDING,))} == {"taken", *done.stdout.split()}


def test_bulk_of_one_id(cli: CommandLine, spool: Spool) -> None:
    """Of two lines with one id the first is queued and the second refused."""
    done = cli.run("enqueue", "-", stdin='{"command": "a", "id": "x"}\n{"command": "b", "id": "x"}\n')
    assert (done.returncode, done.stdout) == (1, "x\n")
    assert done.stderr.startswith("line 2: the id 'x' is taken")
    assert spool.get("x").command == "a"


def test_bulk_of_nothing(cli: CommandLine) -> None:
    """Empty input queues nothing and is not an error."""
    done = cli.run("enqueue", "-", stdin="\n \n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "queued 0\n")


def test_quiet_bulk(cli: CommandLine) -> None:
    """-q leaves the ids and the bad lines."""
    done = cli.run("enqueue", "-q", "-", stdin=GOOD + "nope\n" + MISSPELT)
    assert done.returncode == 1
    assert len(done.stdout.split()) == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["line 2"]


def test_dash_behind_dashes_is_a_command(cli: CommandLine, spool: Spool) -> None:
    """`enqueue -- -` does not read standard input."""
    cli.ok("enqueue", "--", "-", stdin=GOOD)
    assert [job.command for job in spool.list((State.PENDING,))] == ["-"]


@pytest.fixture
def long_input(tmp_path: Path) -> Path:
    """A file of 450 jobs, and a bad line amid them, that is long enough for a progress bar."""
    lines = [json.dumps({"command": "true", "pad": "x" * 700})] * 450
    path = tmp_path / "jobs"
    path.write_text("\n".join([*lines[:249], "nope", *lines[249:]]) + "\n")
    return path


def test_progress(cli: CommandLine, spool: Spool, tmp_path: Path, long_input: Path) -> None:
    """On a terminal long input has a bar that ends at 100 %, and neither an id nor a bad line shares its line."""
    with long_input.open("rb") as stdin:
        code, screen = run_on_terminal(cli.argv("enqueue", "-"), tmp_path, stdin=stdin)
    assert code == 1
    assert re.search(r"queueing .*100%", screen)
    shown = [line.rpartition("\r\x1b[K")[2] for line in screen.split("\n")]
    ids = [line for line in shown if re.fullmatch(r"[a-z2-7]{12}", line)]
    assert sorted(ids) == sorted(job.id for job in spool.list((State.PENDING,)))
    assert [line for line in shown if line.startswith("line 250: not valid JSON")]
    assert "queued 450, refused 1" in shown


def test_progress_is_hidden_for_short_input_and_without_a_terminal(
    cli: CommandLine, tmp_path: Path, long_input: Path
) -> None:
    """There is no bar for short input, nor where stderr is not a terminal."""
    short = tmp_path / "short"
    short.write_text(GOOD)
    with short.open("rb") as stdin:
        code, screen = run_on_terminal(cli.argv("enqueue", "-"), tmp_path, stdin=stdin)
    assert (code, "queueing" in screen) == (0, False)
    done = cli.run("enqueue", "-", stdin=long_input.read_bytes())
    assert (done.returncode, done.stderr.splitlines()[1:]) == (1, ["queued 450, refused 1"])


def test_spool_that_is_not_there_in_bulk(tmp_path: Path) -> None:
    """Bulk input creates the spool that is named, as one job does."""
    done = run("--spool", "new", "enqueue", "-", cwd=tmp_path, stdin=GOOD)
    assert (done.returncode, done.stderr) == (0, f"created the spool {tmp_path}/new\nqueued 1\n")


def test_terminal_as_input_is_reported(cli: CommandLine, tmp_path: Path) -> None:
    """A person who types jobs by hand sees what is expected, and how to end."""
    keyboard, stdin = pty.openpty()
    os.write(keyboard, GOOD.encode() + b"\x04")
    with os.fdopen(stdin, "rb") as file:
        code, screen = run_on_terminal(cli.argv("enqueue", "-"), tmp_path, stdin=file)
    os.close(keyboard)
    assert code == 0
    assert screen.splitlines()[0] == "reading jobs, one JSON object a line; end with Ctrl-D"
    assert screen.splitlines()[-1] == "queued 1"


MANY = '{"command": "", "timeout": -1, "priority": 1000, "max_retries": "x", "env": 3, "run_at": "x"}'


def test_problems_of_a_job_have_a_line_each(cli: CommandLine) -> None:
    """So that no line is wider than a terminal, whatever is wrong with a job."""
    done = cli.run("enqueue", MANY)
    assert (done.returncode, done.stdout) == (2, "")
    head, *problems = done.stderr.splitlines()
    assert head == "queuectl: this is not a runnable job"
    assert sorted(re.findall(r'^  "(\w+)"', "\n".join(problems), re.MULTILINE)) == [
        "command", "env", "max_retries", "priority", "run_at", "timeout",
    ]  # fmt: skip
    assert max(map(len, done.stderr.splitlines())) <= 80
    done = cli.run("enqueue", "-", stdin=f"{MANY}\n")
    *lines, last = done.stderr.splitlines()
    assert (done.returncode, len(lines), last) == (1, 6, "queued 0, refused 1")
    assert all(line.startswith('line 1: "') and len(line) <= 80 for line in lines)


def test_json_of_what_was_queued(cli: CommandLine, spool: Spool) -> None:
    """--json has the outcome for each job, those that were refused too, and leaves the exit code."""
    put_finished(spool.layout, "taken")
    spool.log_path("taken").write_text("output\n")
    (one,) = json.loads(cli.ok("enqueue", "--json", "--id", "x", "--", "true"))
    assert (one["id"], one["ok"], one["error"], one["line"], set(one["job"])) == ("x", True, None, None, JOB_KEYS)
    done = cli.run("enqueue", "--json", '{"command": "true", "id": "taken"}', '{"command": "true", "id": "y"}')
    refused, queued = json.loads(done.stdout)
    assert (done.returncode, done.stderr, refused["id"], refused["ok"], refused["job"]) == (4, "", "taken", False, None)
    assert (refused["error"].splitlines()[0], queued["job"]["state"]) == ("the id 'taken' is taken", "pending")
    waited = cli.run("enqueue", "--json", "--wait", '{"command": ""}')
    assert (waited.returncode, waited.stdout) == (2, "")


def test_json_of_lines(cli: CommandLine, spool: Spool) -> None:
    """Each line has its outcome with its number; nothing else is on stdout, and no line is nothing."""
    lines = [json.dumps({"command": "true", "id": f"j{number}"}) for number in range(450)]
    lines[7] = "nonsense"
    lines[9] = '{"command": "true", "id": "j0", "timout": 1}'
    done = cli.run("enqueue", "-", "--json", stdin="\n".join(lines))
    found = {outcome["line"]: outcome for outcome in json.loads(done.stdout)}
    assert (done.returncode, done.stderr, len(found)) == (1, "", 450)
    assert sorted(line for line, outcome in found.items() if not outcome["ok"]) == [8, 10]
    assert found[1]["job"]["id"] == "j0"
    assert spool.counts().ready == 448
    assert json.loads(cli.ok("enqueue", "-", "--json")) == []


# --- arrays, other encodings, files and directories


@pytest.mark.parametrize("where", ["argument", "file", "line", "lines"])
def test_array_is_its_jobs(cli: CommandLine, spool: Spool, tmp_path: Path, where: str) -> None:
    """A JSON array of jobs is each of them, in order, wherever JSON is taken."""
    jobs = [{"id": id, "command": "true"} for id in "abc"]
    path = tmp_path / "jobs"
    path.write_text(json.dumps(jobs, indent=2))
    words, stdin = {
        "argument": ([json.dumps(jobs)], ""),
        "file": (["--file", str(path)], ""),
        "line": (["-"], json.dumps(jobs)),
        "lines": (["-"], "\n" + path.read_text() + "\n"),
    }[where]
    assert cli.ok("enqueue", "-p", "3", *words, stdin=stdin).split() == ["a", "b", "c"]
    assert {(job.id, job.priority) for job in spool.list()} == {("a", 3), ("b", 3), ("c", 3)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"command": "true"}, 5]', "job 2 of the argument is not a JSON object"),
        ('["cat", "x"]', "job 1 of the argument is not a JSON object"),
        ('[{"command": "true"}, {"command": 5}]', "job 2 of this is not a runnable job"),
        ('[{"command": "true"}', "the argument is not valid JSON"),
        ("[]", "nothing to queue"),
    ],
)
def test_array_that_is_not_of_jobs(cli: CommandLine, spool: Spool, text: str, said: str) -> None:
    """Nothing of it is queued, and what is wrong with which is said."""
    done = cli.run("enqueue", text)
    assert (done.returncode, done.stdout, list(spool.list())) == (2, "", [])
    assert done.stderr.startswith(f"queuectl: {said}\n")


def test_test_of_the_shell_is_no_array(cli: CommandLine, spool: Spool) -> None:
    """`[ … ]` is a command line; behind `--` anything is."""
    cli.ok("enqueue", "[ -e x ] && true")
    cli.ok("enqueue", "--", '[{"command": "true"}]')
    assert {job.command for job in spool.list()} == {"[ -e x ] && true", '[{"command": "true"}]'}


def test_array_on_stdin_with_bad_jobs(cli: CommandLine) -> None:
    """The good ones are queued, the bad ones reported by their number."""
    done = cli.run("enqueue", "-", stdin='[\n{"command": "true", "id": "a"}, 7,\n{"command": ""}]\n')
    assert (done.returncode, done.stdout) == (1, "a\n")
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "job 2 of stdin", "job 3 of stdin", "queued 1, refused 2",
    ]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_input_in_another_encoding(cli: CommandLine, spool: Spool, tmp_path: Path, encoding: str) -> None:
    """It is refused in one error that names the encoding and converts it, from stdin and from a file."""
    data = (GOOD * 3).encode(encoding)
    path = tmp_path / "jobs"
    path.write_bytes(GOOD.encode(encoding))
    for words, stdin in ((["-"], data), (["--file", str(path)], b"")):
        done = cli.run("enqueue", *words, stdin=stdin)
        assert (done.returncode, done.stdout, list(spool.list())) == (2, "", [])
        _, why, hint = done.stderr.splitlines()
        assert why == f"  it is {hint.split()[4]}"
        name = hint.split()[4]
        converted = subprocess.run(["iconv", "-f", name, "-t", "UTF-8"], input=data, capture_output=True, check=True)
        assert converted.stdout.decode() == GOOD * 3
    cli.ok("enqueue", "-", stdin=b"\xef\xbb\xbf" + GOOD.encode())


def test_object_over_several_lines_on_stdin(cli: CommandLine, spool: Spool) -> None:
    """It is refused at once, not line by line, with what makes lines of it."""
    done = cli.run("enqueue", "-", stdin='{\n  "command": "true"\n}\n')
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == ["  try: jq -c . | queuectl enqueue -"]
    assert not list(spool.list())


def test_file_of_several_lines_of_json(cli: CommandLine, tmp_path: Path) -> None:
    """--file takes one job, or an array; for lines `enqueue -` is named."""
    (tmp_path / "jobs").write_text(GOOD * 2)
    assert cli.run("enqueue", "--file", "jobs").stderr.splitlines()[-1] == "  one job a line: queuectl enqueue -"


@pytest.mark.parametrize("stdin", [False, True])
def test_directory_that_is_not_there(cli: CommandLine, spool: Spool, stdin: bool) -> None:
    """It may come to be, so the job is queued, with a warning; of many jobs once for each directory."""
    text = '{"command": "true", "cwd": "/nope"}\n'
    done = cli.run("enqueue", "-", stdin=text * 3) if stdin else cli.run("enqueue", "--cwd", "/nope", "--", "true")
    assert done.returncode == 0
    assert done.stderr.count("the directory /nope does not exist yet") == 1
    assert "nope" not in cli.run("enqueue", "-q", "--cwd", "/nope", "--", "true").stderr


def test_current_directory_that_is_gone(cli: CommandLine, tmp_path: Path) -> None:
    """It is an error of two lines, for every command that needs one; --cwd does without."""
    gone = tmp_path / "gone"
    gone.mkdir()
    line = " ".join(map(shlex.quote, cli.argv()))
    for words in ("enqueue -- true", "set x cwd=y", "list --columns nope"):
        done = run_shell(f"rmdir ../gone; {line} {words}", gone)
        gone.mkdir(exist_ok=True)
        if words.startswith("enqueue"):
            assert done.stderr == "queuectl: the current directory no longer exists\n  cd to one that does\n"
        assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    done = run_shell(f"rmdir ../gone; {line} enqueue --cwd / -- true; {sys.executable} -m queuectl list", gone)
    assert (done.returncode, len(done.stdout.split())) == (2, 1)


@pytest.mark.parametrize("word", ["{home}/with space/x.sh", "with space/x.sh", "it's/$x.sh"])
def test_one_word_that_is_a_program(cli: CommandLine, spool: Spool, word: str) -> None:
    """The path of an executable file that the shell would take apart is run as it is, and that is said."""
    path = cli.cwd / word.format(home=cli.cwd)
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\n")
    cli.ok("enqueue", "--id", "line", "--", str(path))
    path.chmod(0o755)
    done = cli.run("enqueue", "--id", "file", "--", word.format(home=cli.cwd))
    assert "this runs the file" in done.stderr
    assert spool.get("file").command == (word.format(home=cli.cwd),)
    assert spool.get("line").command == str(path)
    assert cli.run("enqueue", "-q", "--", word.format(home=cli.cwd)).stderr == ""
    cli.ok("enqueue", "--id", "there", "--cwd", str(path.parent), "--", f"./{path.name}")
    cli.ok("enqueue", "--id", "two", "--", f"{path.name} argument")
    assert spool.get("two").command == f"{path.name} argument"


def test_number_of_many_digits(cli: CommandLine, spool: Spool) -> None:
    """It is refused in a clear line, wherever in a job it is."""
    done = cli.run("enqueue", '{"command": "true", "mine": [' + "9" * 5000 + "]}")
    assert (done.returncode, list(spool.list())) == (2, [])
    assert done.stderr.splitlines()[1] == "  a number has 5000 digits: put it in quotes"
