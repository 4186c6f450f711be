"""`queuectl list`, `show` and `retry`."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from unicodedata import east_asian_width

import pytest

from queuectl import Spool
from queuectl.core.names import PendingName
from queuectl.core.result import State
from tests.cli.given import JOB_KEYS, RFC3339, put_foreign, put_one_of_each, run_audited, run_on_terminal
from tests.spool.given import NOW, put, put_finished, running_name
from tests.support import CommandLine, names, workers

EVERY = {"ready", "scheduled", "retrying", "running", "done", "failed"}


@pytest.mark.parametrize(
    ("word", "ids"),
    [
        ("pending", {"ready", "scheduled", "retrying"}), ("ready", {"ready"}), ("scheduled", {"scheduled"}),
        ("retrying", {"retrying"}), ("running", {"running"}), ("done", {"done"}), ("dead", {"failed"}), ("all", EVERY),
        ("processing", {"running"}), ("completed", {"done"}), ("failed", {"retrying", "failed"}), ("dlq", {"failed"}),
    ],
)  # fmt: skip
def test_states(cli: CommandLine, spool: Spool, word: str, ids: set[str]) -> None:
    """--state takes the states, their parts, and the words that other programs use."""
    put_one_of_each(spool.layout)
    assert {job["id"] for job in cli.json("list", "--state", word)} == ids


def test_list_json(cli: CommandLine, spool: Spool) -> None:
    """Every job has the documented keys and no others, times in RFC 3339 and durations in seconds."""
    put_one_of_each(spool.layout)
    jobs = cli.json("list")
    assert [set(job) for job in jobs] == [JOB_KEYS] * 6
    for job in jobs:
        times = [job[key] for key in ("run_at", "started_at", "finished_at") if job[key] is not None]
        assert len(times) == 1
        assert RFC3339.fullmatch(times[0])
    by_id = {job["id"]: job for job in jobs}
    failed = by_id["failed"]
    assert (failed["state"], failed["result"], failed["exit_code"], failed["duration"]) == ("dead", "exit7", 7, 1.5)
    assert by_id["scheduled"]["body"] == {"command": "echo scheduled"}


def test_list_as_a_table(cli: CommandLine, spool: Spool) -> None:
    """A table shows a job a line, under a header, and only columns that are not empty."""
    put_one_of_each(spool.layout)
    header, *rows = cli.ok("list").splitlines()
    assert header.split() == ["ID", "STATE", "PRIORITY", "ATTEMPTS", "WHEN", "RESULT", "DURATION", "COMMAND"]
    assert {row.split()[0] for row in rows} == EVERY
    assert cli.ok("list", "--state", "pending").splitlines()[0].split() == [
        "ID",
        "STATE",
        "PRIORITY",
        "ATTEMPTS",
        "WHEN",
        "COMMAND",
    ]


@pytest.mark.parametrize("columns", [1, 8, 20, 40, 59, 80, 200])
@pytest.mark.parametrize(
    "words", [["list"], ["dlq", "list"], ["list", "--columns", "id,state,path,body.note,worker"], ["worker", "list"]]
)
def test_table_fits_the_terminal(
    cli: CommandLine, spool: Spool, tmp_path: Path, words: list[str], columns: int
) -> None:
    """No line is wider than the terminal, however long ids and commands are and whatever they are written in."""
    put(spool.layout, PendingName(10, NOW, 0, "abcdefghijkl"), "echo " + "x" * 200)
    put(spool.layout, running_name("y" * 100), state=State.RUNNING)
    path = put_finished(spool.layout, "z" * 100, "exit127")
    path.write_text(json.dumps({"command": "echo " + "語" * 100, "note": "注" * 50}))
    code, screen = run_on_terminal(cli.argv(*words), tmp_path, columns=columns)
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in screen.splitlines()]
    assert code == 0
    assert len(lines) >= (1 if words[0] == "worker" else 2)
    assert max(sum(1 + (east_asian_width(char) in "WF") for char in line) for line in lines) <= columns


def test_table_that_is_cut(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """What is cut ends with an ellipsis; 40 columns have id, state and command; a pipe gets everything."""
    command = "echo " + "x" * 200
    put(spool.layout, PendingName(10, NOW, 0, "abcdefghijkl"), command)
    put_finished(spool.layout, "mnopqrstuvwx", "exit127", command=command)
    for columns in (40, 80):
        code, screen = run_on_terminal(cli.argv("list", "--color", "never"), tmp_path, columns=columns)
        header, *rows = screen.splitlines()
        assert (code, [len(row) for row in rows]) == (0, [columns] * 2)
        assert {"ID", "STATE", "RESULT"} < set(header.split())
        assert all(row.endswith("…") for row in rows)
        assert [row.split()[:2] for row in rows] == [["abcdefghijkl", "pending"], ["mnopqrstuvwx", "dead"]]
    assert cli.ok("list").count(command) == 2


@pytest.mark.parametrize(
    ("words", "env", "is_coloured"),
    [
        ([], {}, True), (["--color", "never"], {}, False), ([], {"NO_COLOR": "1"}, False), ([], {"NO_COLOR": ""}, True),
        ([], {"TERM": "dumb"}, False), (["--color", "always"], {"NO_COLOR": "1"}, True),
    ],
)  # fmt: skip
def test_colour(
    cli: CommandLine, spool: Spool, tmp_path: Path, words: list[str], env: dict[str, str], is_coloured: bool
) -> None:
    """On a terminal states have colours, unless NO_COLOR, TERM or --color says otherwise."""
    put_one_of_each(spool.layout)
    argv = ["env", *(f"{key}={value}" for key, value in env.items()), *cli.argv("list", *words)]
    _, screen = run_on_terminal(argv, tmp_path)
    assert ("\x1b[31mdead\x1b[0m" in screen) == is_coloured
    assert ("\x1b[" in screen) == is_coloured


def test_colour_of_a_pipe(cli: CommandLine, spool: Spool) -> None:
    """A pipe gets none but by --color=always."""
    put_one_of_each(spool.layout)
    assert "\x1b" not in cli.ok("list")
    assert "\x1b[32mdone\x1b[0m" in cli.ok("list", "--color=always")


def test_failed_says_which_is_which(cli: CommandLine, spool: Spool) -> None:
    """`--state failed` has the dead jobs and those that wait for another attempt, and counts both."""
    put_one_of_each(spool.layout)
    done = cli.run("list", "--state", "failed")
    assert [row.split()[:2] for row in done.stdout.splitlines()[1:]] == [["retrying", "pending"], ["failed", "dead"]]
    assert done.stderr == "2 jobs failed: 1 dead; 1 pending, for another attempt\n"
    assert cli.run("list", "--state", "failed", "--limit", "0", "--json").stderr == ""


def test_limit(cli: CommandLine, spool: Spool) -> None:
    """A table has twenty jobs unless --limit says otherwise, and stderr says when there are more."""
    for number in range(22):
        put(spool.layout, PendingName(number, NOW, 0, f"j{number}"))
    done = cli.run("list")
    assert (len(done.stdout.splitlines()), done.stderr) == (21, "there are more than 20; see --limit\n")
    done = cli.run("list", "--limit", "2", "--json")
    assert [job["id"] for job in json.loads(done.stdout)] == ["j0", "j1"]
    assert done.stderr == "there are more than 2; see --limit\n"
    assert cli.run("list", "--limit", "22").stderr == ""
    assert len(cli.ok("list", "--limit", "0").splitlines()) == 23


@pytest.mark.parametrize("words", [["list"], ["list", "--sort", "id"], ["dlq", "list"]])
def test_programs_get_all(cli: CommandLine, spool: Spool, words: list[str]) -> None:
    """--json and --format have no limit of their own."""
    for number in range(60):
        put_finished(spool.layout, f"j{number}")
    done = cli.run(*words, "--json")
    assert (len(json.loads(done.stdout)), done.stderr) == (60, "")
    if words[0] == "list":
        done = cli.run(*words, "--format", "{id}")
        assert (len(done.stdout.splitlines()), done.stderr) == (60, "")
        done = cli.run(*words, "--format", "{id}", "--limit", "3")
        assert (len(done.stdout.splitlines()), done.stderr) == (3, "there are more than 3; see --limit\n")


def test_fields_of_ones_own(cli: CommandLine, spool: Spool) -> None:
    """Columns, sorting, templates and conditions reach into the body; what a job lacks is empty, and sorted last."""
    for sweep in (10, 9, 2):
        own = {"sweep": sweep, "grid": {"x": [1, {"y": f"v{sweep}"}]}}
        spool.enqueue("true", id=f"s{sweep}", extra=own, timeout=sweep)
    spool.enqueue("true", id="none")
    rows = [line.split() for line in cli.ok("list", "--columns", "id,body.sweep,timeout,body.grid.x.1.y", "--sort",
                                            "-body.sweep").splitlines()]  # fmt: skip
    assert rows[0] == ["ID", "body.sweep", "TIMEOUT", "body.grid.x.1.y"]
    assert rows[1:] == [["s10", "10", "10", "v10"], ["s9", "9", "9", "v9"], ["s2", "2", "2", "v2"], ["none"]]
    template = "{id}:{body.sweep}:{body.grid}:{body.nope}"
    assert cli.ok("list", "--where", "body.sweep=2", "--format", template) == 's2:2:{"x": [1, {"y": "v2"}]}:'
    assert [job["id"] for job in cli.json("list", "--where", "body.sweep=")] == ["none"]
    assert {job["id"] for job in cli.json("list", "--where", "body.sweep>2", "--where", "timeout<10")} == {"s9"}


@pytest.mark.parametrize(("key", "read"), [("-duration", 3), ("id", 3), ("result", 3), ("command", 30)])
def test_body_is_read_where_it_is_needed(spool: Spool, tmp_path: Path, key: str, read: int) -> None:
    """To sort by what is in the names takes the bodies of the jobs that are shown, and of one more."""
    for number in range(30):
        put_finished(spool.layout, f"job-{number}")
    opened = run_audited(spool.path, ["open"], "list", "--limit", "2", "--sort", key, report=tmp_path / "report")
    assert sum("/dead/" in path for path in opened) == read


def test_match(cli: CommandLine, spool: Spool) -> None:
    """--match looks at ids and commands."""
    put_one_of_each(spool.layout)
    assert {job["id"] for job in cli.json("list", "--match", "ed")} == {"scheduled", "failed"}
    assert {job["id"] for job in cli.json("list", "--match", "echo r")} == {"ready", "retrying", "running"}


def test_empty_list(cli: CommandLine) -> None:
    """No jobs are nothing on stdout and a word on stderr; in JSON an empty array."""
    done = cli.run("list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no matching jobs\n")
    assert cli.json("list") == []


def test_foreign_names_are_not_listed(cli: CommandLine, spool: Spool) -> None:
    """Files that are not jobs do not appear, and do no harm."""
    put_one_of_each(spool.layout)
    put_foreign(spool.layout)
    assert {job["id"] for job in cli.json("list")} == EVERY


def test_job_that_is_none(cli: CommandLine, spool: Spool) -> None:
    """A dead file that holds no job is listed with what is wrong with it."""
    put_finished(spool.layout, "torn", "invalid").write_text('{"command": ')
    (job,) = cli.json("list")
    assert (job["body"], job["result"]) == (None, "invalid")
    assert "not valid JSON" in job["problem"]
    assert "(not valid JSON" in cli.ok("list")


def test_show_json(cli: CommandLine, spool: Spool) -> None:
    """`show --json` has the keys of a listed job, the log's path and the attempts so far."""
    spool.enqueue("exit 3", id="a", max_retries=1, backoff_base=0)
    with workers(spool.path):
        spool.wait("a", timeout=30)
    found = cli.json("show", "a")
    assert set(found) == JOB_KEYS | {"log", "history", "defaults", "waits_for", "awaited_by"}
    assert found["log"] == str(spool.log_path("a"))
    assert [(entry["attempt"], entry["result"]) for entry in found["history"]] == [(1, "exit3"), (2, "exit3")]
    keys = {"attempt", "started_at", "worker", "result", "max_rss", "cpu_user", "cpu_system", "waited"}
    assert [set(entry) for entry in found["history"]] == [keys] * 2
    assert all(RFC3339.fullmatch(entry["started_at"]) for entry in found["history"])
    lines = [line.split() for line in cli.ok("show", "a").splitlines()]
    assert [(line[0], line[4]) for line in lines if line[0] in ("1", "2")] == [("1", "exit3"), ("2", "exit3")]


def test_show_shows_everything(cli: CommandLine, spool: Spool) -> None:
    """A waiting job is shown with its time, its settings, its warnings and where its files lie."""
    spool.enqueue(
        ["echo", "a b"], id="a", priority=3, run_at="2999-01-02T03:04:05Z", timeout=90, max_retries=5, backoff_base=3,
        backoff_max=60, cwd="/srv", env={"A": "b c"}, extra={"timout": 1},
    )  # fmt: skip
    shown = dict(line.split(maxsplit=1) for line in cli.ok("show", "a").splitlines())
    (name,) = names(spool.path / "pending")
    assert shown.pop("run_at").startswith("2999-01-0")
    assert shown == {
        "id": "a", "state": "pending", "command": "echo 'a b'", "priority": "3", "timeout": "1 m 30 s",
        "max_retries": "5", "backoff_base": "3.0", "backoff_max": "1 m 00 s", "cwd": "/srv", "env": "A='b c'",
        "warning": 'unknown field "timout" is ignored; did you mean "timeout"?', "attempts": "0",
        "file": f"{spool.path}/pending/{name}", "log": f"{spool.path}/logs/a.log",
    }  # fmt: skip


def test_show_several_jobs(cli: CommandLine, spool: Spool) -> None:
    """Each is shown, one after the other; one that is not there is reported and the others are shown all the same."""
    put_one_of_each(spool.layout)
    done = cli.run("show", "done", "nope", "rea")
    assert (done.returncode, done.stderr.splitlines()[0]) == (3, "queuectl: no job 'nope'")
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("id ")] == ["done", "ready"]
    assert [job["id"] for job in cli.json("show", "done", "ready")] == ["done", "ready"]
    assert [job["id"] for job in json.loads(cli.run("show", "-", "--json", stdin="done x\nready\n").stdout)] == [
        "done",
        "ready",
    ]
    assert cli.json("show", "done")["id"] == "done"
    gone = cli.run("show", "nope", "--json")
    assert (gone.returncode, gone.stdout) == (3, "")


def test_show_a_running_job(cli: CommandLine, spool: Spool) -> None:
    """A running job is shown with its worker and its start; an attempt that has not ended says so."""
    name = running_name("a")
    put(spool.layout, name, state=State.RUNNING)
    start = f"attempt=1 started_at=20261124T034300.000Z worker={name.worker} pid=1"
    spool.log_path("a").write_text(f"#queuectl start {start}\nsome output\n")
    shown = [line.split(maxsplit=1) for line in cli.ok("show", "a").splitlines()]
    assert ["state", "running"] in shown
    assert ["worker", name.worker] in shown
    assert next(rest for first, rest in shown if first == "1").endswith("  under way")


def test_show_without_a_log(cli: CommandLine, spool: Spool) -> None:
    """A job whose log is missing is shown all the same."""
    put_finished(spool.layout, "a")
    assert cli.json("show", "a")["history"] == []
    assert "state        dead (exit1)" in cli.ok("show", "a")


@pytest.mark.parametrize(
    "words", [["show", "rep"], ["logs", "rep"], ["retry", "rep"], ["dlq", "retry", "rep"], ["dlq", "drop", "rep"]]
)
def test_unique_prefix_is_enough(cli: CommandLine, spool: Spool, words: list[str]) -> None:
    """Every command that takes an id takes its beginning, as long as only one job's id begins so."""
    put_finished(spool.layout, "report-1")
    put_finished(spool.layout, "other")
    spool.log_path("report-1").touch()
    assert cli.run(*words).returncode == 0
    put_finished(spool.layout, "report-2")
    put_finished(spool.layout, "report-3")
    done = cli.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "type more of the id" in done.stderr


def test_whole_id_is_not_a_prefix(cli: CommandLine, spool: Spool) -> None:
    """An id that is the beginning of another names its own job."""
    for id in ("a", "ab"):
        put(spool.layout, PendingName(10, NOW, 0, id))
    assert cli.json("show", "a")["id"] == "a"


def test_retry(cli: CommandLine, spool: Spool) -> None:
    """`retry` makes done and dead jobs pending with no attempts made; ids on stdout, a summary on stderr."""
    put_one_of_each(spool.layout)
    done = cli.run("retry", "done", "fai")
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\nfailed\n", "2 jobs pending again\n")
    for id in ("done", "failed"):
        job = spool.get(id)
        assert (job.state, job.attempts) == (State.PENDING, 0)


@pytest.mark.parametrize("command", [["retry"], ["dlq", "retry"]], ids=" ".join)
def test_retry_of_some(cli: CommandLine, spool: Spool, command: list[str]) -> None:
    """Of several ids each that fails is reported and the rest still done; the first failure's code counts."""
    put_one_of_each(spool.layout)
    done = cli.run(*command, "nope", "failed", "nor-this")
    assert (done.returncode, done.stdout) == (3, "failed\n")
    said = [line.removesuffix(" in dead") for line in done.stderr.splitlines() if not line.startswith(" ")]
    assert said == ["queuectl: no job 'nope'", "queuectl: no job 'nor-this'", "1 job pending again"]


def test_retry_of_what_cannot_run(cli: CommandLine, spool: Spool) -> None:
    """A waiting job is not retried (1), and a file that is not a job stays dead (2)."""
    put_one_of_each(spool.layout)
    put_finished(spool.layout, "torn", "invalid").write_text("{")
    done = cli.run("retry", "ready")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "queuectl: job ready is pending")
    done = cli.run("retry", "torn")
    assert done.returncode == 2
    assert "fix it with: queuectl retry --edit torn" in done.stderr
    assert spool.get("torn").state is State.DEAD


def test_column_when_is_relative_to_now(cli: CommandLine, spool: Spool) -> None:
    """WHEN is short: how long ago, or how soon."""
    from queuectl.spool.system.clock import now

    put(spool.layout, PendingName(10, now() + timedelta(hours=5, minutes=30), 0, "later"))
    put(spool.layout, PendingName(10, now() - timedelta(days=3, hours=1), 0, "waiting"))
    rows = [line.split() for line in cli.ok("list").splitlines()[1:]]
    assert {row[0]: row[4:6] for row in rows} == {"later": ["in", "5h"], "waiting": ["3d", "ago"]}
