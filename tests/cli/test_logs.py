"""`queuectl logs`: output on stdout, the rest on stderr."""

from __future__ import annotations

import json
import socket
import subprocess
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.core.names import format_time
from queuectl.spool.system import clock
from tests.cli.given import Terminal, audited, run_on_terminal
from tests.spool.given import pending_name, put, put_finished, running_name
from tests.support import CommandLine, environment, wait_for, workers

LOG = b"""\
#queuectl start attempt=1 started_at=20261124T034300.000Z worker=web1.4242.k7f3 pid=1
first \x1b[31mred\xff

#queuectl end attempt=1 started_at=20261124T034300.000Z exit=1
#queuectl start attempt=2 started_at=20261124T034310.000Z worker=web1.4242.k7f3 pid=2
second
third, without a newline
#queuectl end attempt=2 started_at=20261124T034310.000Z signal=9
#queuectl retry at=2026-11-24T03:44:00.000Z after=signal9
"""
FIRST = b"first \x1b[31mred\xff\n"
SECOND = b"second\nthird, without a newline"


@pytest.fixture
def job(spool: Spool) -> str:
    """A job with that log."""
    put_finished(spool.layout, "job")
    spool.log_path("job").write_bytes(LOG)
    return "job"


def output(cli: CommandLine, *words: str) -> tuple[bytes, list[str]]:
    """(stdout as bytes, the lines of stderr)."""
    done = subprocess.run(cli.argv("logs", *words), check=True, capture_output=True, env=environment(TZ="UTC"))
    return done.stdout, done.stderr.decode().splitlines()


def test_logs(cli: CommandLine, job: str) -> None:
    """stdout has the output of all attempts to the byte; stderr says where each begins and how it ended."""
    out, error = output(cli, job)
    assert out == FIRST + SECOND
    assert error == [
        "-- attempt 1 started at 2026-11-24 03:43:00 +0000 by web1.4242.k7f3",
        "-- attempt 1 ended: exit1",
        "-- attempt 2 started at 2026-11-24 03:43:10 +0000 by web1.4242.k7f3",
        "-- attempt 2 ended: signal9",
        "-- retried at 2026-11-24 03:44:00 +0000, after signal9",
    ]


@pytest.mark.parametrize(("attempt", "expected"), [("1", FIRST), ("2", SECOND)])
def test_attempt_selects_one_attempt(cli: CommandLine, job: str, attempt: str, expected: bytes) -> None:
    """--attempt prints the output of that attempt alone."""
    out, error = output(cli, job, "--attempt", attempt)
    assert out == expected
    assert [line.split()[2] for line in error] == [attempt, attempt]


def test_attempt_that_never_was(cli: CommandLine, job: str) -> None:
    """An attempt that the log does not know is exit code 3, with those that it knows."""
    done = cli.run("logs", job, "--attempt", "7")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "queuectl: no attempt 7 in this log\n  attempts: 1, 2\n"


def test_raw(cli: CommandLine, job: str) -> None:
    """--raw is the file, byte for byte."""
    assert output(cli, job, "--raw") == (LOG, [])


def test_terminal_is_not_steered(cli: CommandLine, job: str, tmp_path: Path) -> None:
    """A terminal gets the colours of each attempt, and nothing else that it would obey; lines stay lines."""
    code, screen = run_on_terminal(cli.argv("logs", job), tmp_path)
    assert code == 0
    assert "\nfirst \x1b[31mred\ufffd\x1b[0m\n-- attempt 1 ended" in screen
    assert "\nsecond\nthird, without a newline\n-- attempt 2 ended" in screen


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_terminal_without_colours_gets_none(
    cli: CommandLine, job: str, tmp_path: Path, plain: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a dumb terminal, or with NO_COLOR, there is text alone."""
    for name, value in plain.items():
        monkeypatch.setenv(name, value)
    _, screen = run_on_terminal(cli.argv("logs", job), tmp_path, term=plain.get("TERM", "xterm"))
    assert "\nfirst red\ufffd\n" in screen
    assert "\x1b" not in screen


def test_several_progress_bars_on_a_terminal(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Each line begins with the id, and shows what is left of it in the end."""
    for id in ("a", "b"):
        put_finished(spool.layout, id)
        spool.log_path(id).write_bytes(b"\r10%\r\x1b[K20%\r\n\r99%\r100%")
    _, screen = run_on_terminal(cli.argv("logs", "a", "b"), tmp_path)
    assert screen == "a | 20%\na | 100%\nb | 20%\nb | 100%\n"


@pytest.mark.parametrize("words", [["logs", "-f", "a"], ["run", "--id", "b", "--"]], ids=" ".join)
def test_progress_bar_moves(cli: CommandLine, spool: Spool, tmp_path: Path, words: list[str]) -> None:
    """A line that is drawn again and again is drawn again on the terminal that follows the job, as text alone."""
    script = (
        "printf '\\033]0;title\\a 10%%'; for n in 20 30 100; do until [ -e $0$n ]; do sleep 0.01; done; "
        'printf "\\r\\033[K%3d%%" $n; done; echo; printf "\\033[1;32mdone\\033[0m"'
    )
    command = ["/bin/sh", "-c", script, str(tmp_path / "go")]
    if words[0] == "run":
        words = [*words, *command]
    else:
        spool.enqueue(command, id="a")
    with workers(spool.path):
        terminal = Terminal(cli.argv(*words), tmp_path)
        for before, number in ((" 10%", 20), (" 20%", 30), (" 30%", 100)):
            wait_for(lambda: before in terminal.text(), "the bar")  # noqa: B023 - called at once
            (tmp_path / f"go{number}").touch()
        code, screen = terminal.end()
    assert code == 0
    assert " 10%\r 20%\r 30%\r100%\n\x1b[1;32mdone\x1b[0m\n" in screen


def test_job_without_output_yet(cli: CommandLine, spool: Spool) -> None:
    """A job that has not started has no output, and stderr says why."""
    spool.enqueue("true", id="a")
    done = cli.run("logs", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing yet: a is pending\n")


def test_empty_log_of_an_ended_job(cli: CommandLine, spool: Spool) -> None:
    """A job that has ended and whose log somebody has emptied has nothing to come."""
    put_finished(spool.layout, "a")
    spool.log_path("a").touch()
    assert cli.run("logs", "a").stderr == "the log of a is empty\n"


def test_missing_log_is_reported(cli: CommandLine, spool: Spool) -> None:
    """A job whose log is missing is reported in words."""
    put(spool.layout, pending_name("a"))
    done = cli.run("logs", "a")
    assert (done.returncode, done.stdout) == (6, "")
    assert "the log of a cannot be read" in done.stderr


@pytest.mark.parametrize("raw", [[], ["--raw"]], ids=["", "raw"])
def test_follow(cli: CommandLine, spool: Spool, tmp_path: Path, raw: list[str]) -> None:
    """-f prints output as it comes, from before the start, and ends with the job."""
    go = tmp_path / "go"
    spool.enqueue(f"echo one; while ! [ -e {go} ]; do sleep 0.01; done; echo two", id="a")
    seen = tmp_path / "seen"
    with seen.open("wb") as stdout:
        process = subprocess.Popen(cli.argv("logs", "-f", *raw, "a"), stdout=stdout, stderr=subprocess.DEVNULL)
    with workers(spool.path):
        wait_for(lambda: b"one" in seen.read_bytes(), "the first line")
        assert process.poll() is None
        go.touch()
        assert process.wait(30) == 0
    assert b"two\n" in seen.read_bytes()
    assert seen.read_bytes() == (spool.log_path("a").read_bytes() if raw else b"one\ntwo\n")


def test_follow_a_job_that_has_ended(cli: CommandLine, job: str) -> None:
    """-f of a finished job prints all there is and returns."""
    assert output(cli, "-f", job)[0] == FIRST + SECOND


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--tail", "2"], b"second\nthird, without a newline"),
        (["--tail", "1"], b"third, without a newline"),
        (["--tail", "0"], b""),
        (["--tail", "99"], FIRST + SECOND),
        (["--head", "1"], FIRST),
        (["--head", "2"], FIRST + b"second\n"),
        (["--grep", "^s|, w"], SECOND),
        (["--grep", "first", "--tail", "1"], FIRST),
        (["--attempt", "2", "--head", "1"], b"second\n"),
        (["--since", "2026-11-24T03:43:05Z"], SECOND),
        (["--since", "2999-01-01T00:00:00Z"], b""),
    ],
)
def test_parts(cli: CommandLine, job: str, words: list[str], expected: bytes) -> None:
    """--head, --tail, --grep and --since leave the lines that are asked for."""
    assert output(cli, job, *words)[0] == expected


@pytest.mark.parametrize(
    ("since", "expected"),
    [("1h", b"line\n"), ("in 1h", b""), ("+1h", b""), ("tomorrow", b""), ("tomorrow 9:00", b"")],
)
def test_since(cli: CommandLine, spool: Spool, since: str, expected: bytes) -> None:
    """Of an attempt that has just begun nothing is shown if what is wanted begins at a time to come."""
    put_finished(spool.layout, "new")
    start = f"#queuectl start attempt=1 started_at={format_time(clock.now())} worker=w pid=1\nline\n"
    spool.log_path("new").write_text(start)
    assert output(cli, "new", "--since", since)[0] == expected


@pytest.mark.parametrize(
    "words",
    [["--head", "1", "--tail", "1"], ["--raw", "--tail", "1"], ["--raw", "--json"], ["--grep", "("], ["--since", "x"]],
)
def test_contradictions(cli: CommandLine, job: str, words: list[str]) -> None:
    """What does not go together, or cannot be understood, is a usage error."""
    assert cli.run("logs", job, *words).returncode == 2


def test_end_of_a_long_log_is_found_from_its_end(cli: CommandLine, spool: Spool) -> None:
    """The last lines are those that sorting all would find, also in a log of many blocks and many attempts."""
    put_finished(spool.layout, "long")
    lines = b"".join(b"line %d %s\n" % (number, b"x" * (number % 300)) for number in range(20_000))
    spool.log_path("long").write_bytes(LOG + LOG[:86] + lines)
    for number in (1, 10, 1000, 19_999):
        assert output(cli, "long", "--tail", f"{number}")[0] == b"".join(lines.splitlines(keepends=True)[-number:])


@pytest.mark.parametrize(
    "words", [["long"], ["long", "--grep", "1"], ["long", "--json"], ["long", "other"], ["-f", "long", "other"]]
)
def test_line_is_not_a_write(cli: CommandLine, spool: Spool, words: list[str]) -> None:
    """Lines are written many at a time, however they are shown: nobody looks at what is already there line by line."""
    for id in ("long", "other"):
        put_finished(spool.layout, id)
        spool.log_path(id).write_text("".join(f"line {number}\n" for number in range(1000, 3000)))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # which keeps writes apart
    with ours, theirs:
        process = subprocess.Popen(cli.argv("logs", *words), stdout=theirs.fileno(), env=environment())
        theirs.close()
        writes = list(iter(lambda: ours.recv(1 << 20), b""))
        assert process.wait(30) == 0
    lines = b"".join(writes).splitlines()
    assert len(lines) >= 1000
    assert len(writes) < len(lines) / 20


def test_lines_of_several_jobs_begin_with_their_ids(cli: CommandLine, spool: Spool, job: str) -> None:
    """Lines of several jobs begin with their ids; a job named twice is shown once."""
    put_finished(spool.layout, "other")
    spool.log_path("other").write_bytes(b"hello\n")
    out, error = output(cli, "other", job, "other", "--tail", "1")
    assert out == b"other | hello\njob | third, without a newline\n"
    assert error[-1].startswith("-- job: retried ")


@pytest.mark.parametrize("follow", [[], ["-f"]], ids=["", "follow"])
def test_failing_id_does_not_hide_the_rest(cli: CommandLine, spool: Spool, job: str, follow: list[str]) -> None:
    """Ids may come from stdin; what is not there is reported, the others are shown, and the code is the first's."""
    put_finished(spool.layout, "bare")
    done = cli.run("logs", "-", "--tail", "1", *follow, stdin=f"nope\nbare\n{job} of this line only the first word\n")
    assert (done.returncode, done.stdout) == (3, "job | third, without a newline\n")
    assert "no job 'nope'" in done.stderr
    assert "the log of bare cannot be read" in done.stderr
    assert cli.run("logs", "-", *follow).returncode == 0


def test_json(cli: CommandLine, job: str) -> None:
    """--json prints one object a line for each line of output and for each line of queuectl's."""
    entries = [json.loads(line) for line in output(cli, job, "--json")[0].splitlines()]
    assert [entry["event"] for entry in entries] == [
        "start", "output", "end", "start", "output", "output", "end", "retry"
    ]  # fmt: skip
    assert entries[1] == {
        "job": "job", "event": "output", "attempt": 1, "text": "first \x1b[31mred\ufffd", "started_at": None,
        "worker": None, "result": None, "bytes": None,
    }  # fmt: skip
    assert entries[0]["started_at"] == "2026-11-24T03:43:00.000Z"
    assert entries[6]["result"] == "signal9"
    assert len({tuple(entry) for entry in entries}) == 1


def test_follow_several(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """-f of several jobs prints each line as it comes, and ends with the last of them."""
    go = tmp_path / "go"
    for id in ("a", "b"):
        spool.enqueue(f"echo one; while ! [ -e {go} ]; do sleep 0.01; done; echo two", id=id)
    seen = tmp_path / "seen"
    with seen.open("wb") as stdout:
        process = subprocess.Popen(cli.argv("logs", "-f", "a", "b"), stdout=stdout, stderr=subprocess.DEVNULL)
    with workers(spool.path, 1, "--count", "2"):
        wait_for(lambda: seen.read_bytes().count(b"one") == 2, "the first lines")
        go.touch()
        assert process.wait(30) == 0
    assert sorted(seen.read_text().splitlines()) == ["a | one", "a | two", "b | one", "b | two"]


def test_following_lists_no_directory_again(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """However often the log grows, only that file is read: the trigger reports that, and the end."""
    running = put(spool.layout, running_name("a"), state=State.RUNNING)
    log, seen, report = spool.log_path("a"), tmp_path / "seen", tmp_path / "report"
    log.touch()
    argv = audited(spool.path, ["os.listdir", "os.scandir"], "logs", "-f", "a", report=report)
    with seen.open("wb") as stdout:
        process = subprocess.Popen(argv, stdout=stdout, stderr=subprocess.DEVNULL)
    for number in range(20):
        with log.open("a") as file:
            file.write(f"line {number}\n")
        wait_for(lambda: len(seen.read_bytes().splitlines()) > number, "the line")  # noqa: B023 - called at once
    running.rename(spool.path / "done" / "20261124T034300.000Z-010-1-exit0-1.500s-a.json")
    assert process.wait(30) == 0
    assert 0 < len(report.read_text().splitlines()) < 20


def test_logs_of_ids_from_stdin(cli: CommandLine, job: str) -> None:
    """`-` takes the first word of each line."""
    done = cli.run("logs", "--head", "2", "-", stdin=f"{job} exit7\n")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "second")


def test_job_that_goes_while_it_is_followed(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Its end is reported, with the code for a job that is not there."""
    running = put(spool.layout, running_name("a"), state=State.RUNNING)
    spool.log_path("a").write_text("line\n")
    process = subprocess.Popen(cli.argv("logs", "-f", "a"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"line\n"
    running.unlink()
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr.splitlines()[0]) == (3, b"queuectl: job a is gone")


def test_follow_from_the_tail(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """-f --tail prints the last lines of what is there, then whatever follows."""
    go = tmp_path / "go"
    spool.enqueue(f"seq 100; while ! [ -e {go} ]; do sleep 0.01; done; seq 3", id="a")
    seen = tmp_path / "seen"
    with workers(spool.path):
        wait_for(lambda: b"\n100\n" in spool.log_path("a").read_bytes(), "the first lines")
        with seen.open("wb") as stdout:
            process = subprocess.Popen(
                cli.argv("logs", "-f", "--tail", "2", "a"), stdout=stdout, stderr=subprocess.DEVNULL
            )
        wait_for(lambda: seen.read_bytes() == b"99\n100\n", "the last lines")
        go.touch()
        assert process.wait(30) == 0
    assert seen.read_bytes() == b"99\n100\n1\n2\n3\n"


def test_follow_a_job_without_a_log(cli: CommandLine, spool: Spool) -> None:
    """-f of a job that another tool has dropped waits until its log is made."""
    put(spool.layout, pending_name("a"), "echo hello")
    process = subprocess.Popen(cli.argv("logs", "-f", "a"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with workers(spool.path):
        assert process.communicate(timeout=30)[0] == b"hello\n"


def test_logs_of_selected_jobs(cli: CommandLine, spool: Spool) -> None:
    """Filters select the jobs whose logs are printed; those that have not started are counted."""
    for id, result, state in (("good", "exit0", State.DONE), ("bad", "exit1", State.DEAD)):
        put_finished(spool.layout, id, result=result, state=state)
        spool.log_path(id).write_bytes(LOG)
    put(spool.layout, pending_name("dropped"), "true", State.PENDING)
    spool.enqueue("true", id="new")
    assert cli.ok("logs", "--result", "failed", "--tail", "1") == "third, without a newline"
    assert cli.ok("logs", "-f", "--state", "done,dead", "--tail", "1").count("| third") == 2
    assert cli.run("logs", "--match", "^nothing", "--where", "priority<5").stderr == "no matching jobs\n"
    assert cli.run("logs", "--state", "pending").stderr == "2 jobs not started yet\n"
    assert cli.run("logs", "good", "--state", "done").stderr.startswith("queuectl: both ids and a selection")
    assert cli.run("logs").stderr.startswith("queuectl: name the jobs, or select them")


def test_logs_of_a_group(cli: CommandLine, spool: Spool) -> None:
    """Each line of its jobs with the id, in the order of ids; those that have not started are counted."""
    for id in ("lr.2", "lr.1", "lrx.1"):
        put_finished(spool.layout, id)
        spool.log_path(id).write_text(f"output of {id}\n")
    spool.enqueue("true", id="lr.3")
    for words in (["lr."], ["--group", "lr"]):
        done = cli.run("logs", *words)
        assert (done.returncode, done.stdout) == (0, "lr.1 | output of lr.1\nlr.2 | output of lr.2\n")
        assert "1 job not started yet" in done.stderr
    assert cli.run("logs", "none.").returncode == 3
    assert (cli.run("logs", "lr.", "lr.1").returncode, cli.run("logs").returncode) == (2, 2)


def test_follow_a_group(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """-f shows what its jobs write as they run, however many wait, also those that join; then it ends."""
    go = tmp_path / "go"
    for id in ("lr.1", "lr.2", "lr.3"):
        spool.enqueue(f"echo one; while ! [ -e {go} ]; do sleep 0.01; done; echo two", id=id)
    spool.hold(spool.enqueue("echo held", id="lr.held"))
    spool.enqueue("echo no", id="other.1", priority=999)
    seen = tmp_path / "seen"
    with seen.open("wb") as stdout:
        process = subprocess.Popen(cli.argv("logs", "-f", "lr."), stdout=stdout, stderr=subprocess.DEVNULL)
    with workers(spool.path, 1, "--count", "2"):
        wait_for(lambda: seen.read_bytes().count(b"one") == 2, "the first lines")
        spool.enqueue("echo one; echo two", id="lr.joins", priority=0)
        go.touch()
        assert process.wait(30) == 0
    ids = ("lr.1", "lr.2", "lr.3")
    lines = set(seen.read_text().splitlines())
    assert lines - {"lr.joins | one", "lr.joins | two"} == {f"{id} | {word}" for id in ids for word in ("one", "two")}


def test_follow_a_group_that_has_ended(cli: CommandLine, spool: Spool) -> None:
    """There is nothing to follow, and that is no failure."""
    put_finished(spool.layout, "lr.1")
    done = cli.run("logs", "-f", "lr.")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "nothing is left to run\n")
