"""The command as a whole: help, errors, exit codes, terminals and pipes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from queuectl import Spool, __version__, errors
from queuectl.cli.main import app
from queuectl.core.names import PendingName
from queuectl.core.result import State
from tests.cli.given import run, run_on_terminal, run_shell
from tests.spool.given import NOW, put, put_finished
from tests.support import CommandLine, environment, need, wait_for


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below and including this one, with the words that lead to it."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below, (*path, name))


COMMANDS = dict(walk(app))
GROUPS = [path for path, command in COMMANDS.items() if isinstance(command, click.Group)]
HOSTILE = "echo \x1b[31mred\x07 \u202eback"


def test_commands_of_the_design_are_all_there() -> None:
    """The command line is the one that was promised (but for the dashboard)."""
    assert {" ".join(path) for path in COMMANDS} >= {
        "init", "enqueue", "worker start", "worker stop", "worker list", "status", "list", "show", "logs", "retry",
        "dlq list", "dlq retry", "dlq drop", "metrics", "config get", "config set", "config unset", "config list",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...], tmp_path: Path) -> None:
    """Every command's --help fits 80 columns and shows an example that begins with its own words."""
    code, screen = run_on_terminal([sys.executable, "-m", "queuectl", *path, "--help"], tmp_path)
    assert code == 0
    lines = screen.splitlines()
    assert max(map(len, lines)) <= 80
    example = lines[lines.index("  Example:") + 1]
    assert example.startswith("    queuectl " + " ".join(path))
    assert not re.search(r"^  \w.*\.\.\.$", screen.partition("-h, --help")[2], re.MULTILINE)


def test_help_lists_every_command_under_a_heading(tmp_path: Path) -> None:
    """The commands are in groups by what they are for, and each is in one of them."""
    code, screen = run_on_terminal([sys.executable, "-m", "queuectl", "--help"], tmp_path)
    assert code == 0
    listed = screen.partition("-h, --help")[2]
    assert re.findall(r"^(\w.*):$", listed, re.MULTILINE) == ["Submit", "Look", "Act on jobs", "Operate"]
    names = re.findall(r"^  (\w+)  +\w", listed, re.MULTILINE)
    assert sorted(names) == sorted({path[0] for path in COMMANDS if path})


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_group_alone_prints_its_help(path: tuple[str, ...], tmp_path: Path) -> None:
    """A command that needs another word shows its help on stderr, with exit code 2."""
    done = run(*path, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == run(*path, "--help", cwd=tmp_path).stdout


def test_version(tmp_path: Path) -> None:
    """--version names the program and its version; -h is --help."""
    assert run("--version", cwd=tmp_path).stdout.split()[::2] == ["queuectl,", __version__]
    assert run("-h", cwd=tmp_path).stdout.startswith("Usage: queuectl ")


@pytest.mark.parametrize(
    ("words", "code", "lines"),
    [
        (["statu"], 2, ["queuectl: no such command 'statu'", "  did you mean: queuectl"]),
        (["unpause"], 2, ["queuectl: no such command 'unpause'", "  did you mean: queuectl"]),
        (["delete", "x"], 2, ["queuectl: no such command 'delete'", "  did you mean: queuectl"]),
        (["enqueue", "--delay", "5m", "--", "true"], 2,
         ["queuectl: no such option '--delay'", "  did you mean: queuectl"]),
        (["top", "--json"], 2, ["queuectl: no such option '--json'", "  did you mean: queuectl"]),
        (["frobnicate"], 2, ["queuectl: no such command 'frobnicate'", "  see: queuectl --help"]),
        (["dlq", "mail"], 2, ["queuectl: no such command 'mail'", "  see: queuectl dlq --help"]),
        (["--what", "x", "status"], 2, ["queuectl: no such option '--what'", "  see: queuectl --help"]),
        (["list", "--limit", "-1"], 2, ["queuectl: invalid value for '--limit'", "  see: queuectl list --help"]),
        (["list", "--state", "x"], 2, ["queuectl: unknown state 'x'", "  states: pending ready"]),
        (["show"], 2, ["queuectl: missing argument 'ID... | -'", "  see: queuectl show --help"]),
        (["show", "nope"], 3, ["queuectl: no job 'nope'", "  see: queuectl list"]),
        (["show", "job"], 2, ["queuectl: 'job' matches 2 jobs", "  job-1, job-2", "  type more of the id"]),
        (["show", "a b"], 3, ["queuectl: no job 'a b'"]),
        (["retry", "job-1"], 1, ["queuectl: job job-1 is pending", "  only a done or dead job"]),
        (["enqueue", "--id", "job-1", "--", "true"], 4,
         ["queuectl: the id 'job-1' is taken", "  that job is pending", "  see: queuectl show job-1"]),
        (["worker", "stop", "nope"], 3, ["queuectl: no worker 'nope'", "  see: queuectl worker list"]),
        (["config", "get", "nope"], 2, ["queuectl: unknown setting 'nope'"]),
    ],
)  # fmt: skip
def test_errors(cli: CommandLine, spool: Spool, words: list[str], code: int, lines: list[str]) -> None:
    """An error is at most three lines on stderr, which say what, why and what to type next; nothing on stdout."""
    for id in ("job-1", "job-2"):
        spool.enqueue("true", id=id)
    done = cli.run(*words)
    assert (done.returncode, done.stdout) == (code, "")
    said = done.stderr.splitlines()
    assert len(said) <= 3
    assert [line for line, start in zip(said, lines, strict=False) if not line.startswith(start)] == []
    assert len(said) >= len(lines)


def test_exit_codes() -> None:
    """Each kind of error has the code of the design."""
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert {kind.__name__: getattr(kind, "exit_code", None) for kind in kinds} == {
        "QueuectlError": 1, "WrongStateError": 1, "BrakedError": 1, "UsageError": 2, "InvalidJobError": 2,
        "NotJsonError": 2, "AmbiguousIdError": 2, "ConfigError": 2, "NotFoundError": 3, "AlreadyExistsError": 4,
        "WaitTimeoutError": 5, "SpoolError": 6, "DurabilityError": 6,
    }  # fmt: skip


@pytest.mark.parametrize(
    "words", [["list", "--color=never"], ["dlq", "list", "--color=never"], ["show", "evil"]], ids=" ".join
)
def test_control_characters_are_escaped_on_a_terminal(
    cli: CommandLine, spool: Spool, tmp_path: Path, words: list[str]
) -> None:
    """What a job is called or runs never steers the terminal that shows it."""
    put_finished(spool.layout, "evil").write_text('{"command": "echo \\u001b[31mred\\u0007 \\u202eback"}')
    code, screen = run_on_terminal(cli.argv(*words), tmp_path, columns=120)
    assert code == 0
    assert "\\x1b[31mred\\x07 \\u202eback" in screen
    assert screen.replace("\n", "").isprintable()


def test_control_characters_in_errors_are_escaped(cli: CommandLine) -> None:
    """An error never repeats a control character."""
    done = cli.run("show", "\x1b[31m")
    assert done.returncode == 3
    assert "\x1b" not in done.stderr


def test_reader_that_goes_away(spool: Spool, tmp_path: Path) -> None:
    """`| head -1` gets its line, and no traceback follows."""
    need("bash")
    for number in range(1500):
        put_finished(spool.layout, f"a-job-of-some-length-{number}")
    script = f"queuectl --spool {spool.path} list --limit 1500 | head -1; echo ${{PIPESTATUS[0]}}"
    done = run_shell(script, tmp_path, shell="bash")
    header, code = done.stdout.splitlines()
    assert header.split() == ["ID", "STATE", "PRIORITY", "ATTEMPTS", "WHEN", "RESULT", "DURATION", "COMMAND"]
    assert (code, done.stderr) == ("141", "")


READING = [
    ["--help"], ["--version"], ["list", "--help"], ["list"], ["list", "--json"], ["list", "--format", "{id}"],
    ["status"], ["status", "--watch"], ["status", "--json"], ["show", "a"], ["show", "a", "--json"], ["explain", "b"],
    ["metrics"], ["metrics", "--json"], ["logs", "a"], ["logs", "-f", "a"], ["logs", "-f", "a", "c"],
    ["logs", "--json", "a"],
    ["wait", "a"], ["dlq", "list"], ["config", "list"], ["doctor"],
]  # fmt: skip


@pytest.fixture
def ended(spool: Spool) -> Spool:
    """A spool with a job that waits, `b`, and two that are dead, `a` and `c`, with logs."""
    put(spool.layout, PendingName(10, NOW, 0, "b"))
    for id in ("a", "c"):
        put_finished(spool.layout, id)
        spool.log_path(id).write_text("line\n")
    return spool


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_pipe_that_nobody_reads(cli: CommandLine, ended: Spool, words: list[str]) -> None:
    """A command that shows something ends as SIGPIPE would end it: with 141, and silently."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        cli.argv(*words), check=False, stdout=writing, stderr=subprocess.PIPE, env=environment(), timeout=60
    )
    os.close(writing)
    said = [line for line in done.stderr.splitlines() if not line.startswith(b"-- ")]
    assert (done.returncode, said) == (141, [])


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["enqueue", "--", "true"], b""), (["enqueue", "-"], b'{"command": "true"}\n' * 3),
        (["cancel", "b"], b""), (["cancel", "b", "--json"], b""), (["retry", "--all", "-y"], b""),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)  # fmt: skip
def test_command_that_acts_finishes_although_nobody_reads(
    cli: CommandLine, ended: Spool, words: list[str], stdin: bytes
) -> None:
    """It does all that it was asked to, reports the sum on stderr if it is one of several jobs, and ends with 141."""
    reading, writing = os.pipe()
    os.close(reading)
    before = len(list(ended.list((State.PENDING,))))
    done = subprocess.run(
        cli.argv(*words),
        check=False,
        input=stdin,
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=60,
    )
    os.close(writing)
    assert done.returncode == 141
    assert len(list(ended.list((State.PENDING,)))) - before == {"enqueue": len(stdin.splitlines()) or 1}.get(
        words[0], -1 if words[0] == "cancel" else 2
    )
    if stdin:
        assert done.stderr == b"queued 3\n"


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("list >&-", 0, ""), ("list --json >&-", 0, ""), ("enqueue - <&-", 0, "queued 0\n"), ("show nope 2>&-", 3, ""),
        ("show nope 2>/dev/full", 3, ""), ("enqueue -- true 2>/dev/full >&-", 0, ""),
        *((f"{words} >/dev/full", 1, "queuectl: input or output failed\n  No space left on device\n") for words in (
            "list", "list --json", "--help", "status", "metrics", "enqueue -- true", "cancel a")),
    ],
)  # fmt: skip
def test_closed_and_full_streams(spool: Spool, tmp_path: Path, ending: str, code: int, said: str) -> None:
    """A closed stream is not a crash, and a full one is reported as what it is, if there is where."""
    put(spool.layout, PendingName(10, NOW, 0, "a"))
    done = run_shell(f"queuectl --spool {spool.path} {ending}", tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.removeprefix("1 job cancelled\n") == said


def test_stdout_that_is_not_utf_8(cli: CommandLine, spool: Spool) -> None:
    """Where the locale cannot show a character it is escaped, and nothing crashes."""
    put(spool.layout, PendingName(10, NOW, 0, "a"), "echo 日本")
    done = cli.run("list", env={"PYTHONIOENCODING": "latin-1"})
    assert done.returncode == 0
    assert "echo \\u65e5\\u672c" in done.stdout


def test_json_is_ascii(cli: CommandLine, spool: Spool) -> None:
    """JSON holds no byte that a pipe, a log or a terminal could garble, and is indented only on a terminal."""
    put(spool.layout, PendingName(10, NOW, 0, "a"), "echo ä\x1b[31m")
    text = cli.ok("list", "--json")
    assert text.isascii()
    assert text.isprintable()
    code, screen = run_on_terminal(cli.argv("list", "--json"), spool.path)
    assert (code, screen.count("\n") > 5) == (0, True)


IMPORTED = """
import sys
sys.argv = ["queuectl", *sys.argv[1:]]
from queuectl.cli.main import main
try:
    main()
except SystemExit as end:
    assert end.code == 0, end.code
print(*sys.modules, file=sys.stderr)
"""
HEAVY = {
    "asyncio", "bottle", "concurrent.futures", "difflib", "email", "hashlib", "http", "importlib.metadata", "logging",
    "multiprocessing", "portalocker", "shlex", "shutil", "socket", "ssl", "subprocess", "tempfile",
    "tomllib", "unittest", "watchdog",
}  # fmt: skip


@pytest.mark.parametrize(
    "words", [["--", "true"], ['{"command": "true"}'], ["--quiet", "--id", "a", "--", "echo", "hi"]]
)
def test_enqueue_imports_only_what_it_needs(spool: Spool, tmp_path: Path, words: list[str]) -> None:
    """Submitting loads nothing heavy, and of queuectl no worker, settings or other command."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, "--spool", str(spool.path), "enqueue", *words],
        check=True,
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env=environment(),
    )
    loaded = set(done.stderr.split())
    assert {"click", "json", "queuectl.cli.enqueue"} <= loaded
    assert loaded & HEAVY == set()
    ours = {name for name in loaded if name.startswith(("queuectl.cli.", "queuectl.work", "queuectl.dashboard"))}
    assert ours == {f"queuectl.cli.{name}" for name in ("bodies", "context", "enqueue", "groups", "interrupts", "main")}
    assert "queuectl.core.settings" not in loaded


def test_command_is_the_module(spool: Spool, tmp_path: Path) -> None:
    """`queuectl` and `python -m queuectl` are the same."""
    script = f"queuectl --spool {spool.path} status; {sys.executable} -m queuectl --spool {spool.path} status"
    first, second = run_shell(script, tmp_path).stdout.split("spool ")[1:]
    assert first.splitlines()[:7] == second.splitlines()[:7]


@pytest.mark.parametrize(("target", "code"), [("/dev/stdout", 0), ("/dev/full", 1)])
def test_process_ends_at_once_but_not_before_all_is_written(tmp_path: Path, target: str, code: int) -> None:
    """What a command left unflushed gets to its reader; a full output is not a success."""
    script = (
        "import atexit, sys; from queuectl import __main__; from queuectl.cli import main\n"
        "atexit.register(print, 'taken apart', file=sys.stderr)\n"
        "main._run = lambda: sys.stdout.write('unflushed') - 9\n"
        "__main__.run()"
    )
    done = run_shell(f'{sys.executable} -c "{script}" >{target}', tmp_path)
    assert (done.returncode, done.stdout) == (code, "unflushed" if target == "/dev/stdout" else "")
    assert "taken apart" not in done.stderr


def test_interrupt(spool: Spool, cli: CommandLine) -> None:
    """Ctrl-C ends a command with 130 and one line."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        cli.argv("enqueue", "-"), stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    os.close(reading)
    lines = b"".join(b'{"command": "true"}\n' for _ in range(200))
    os.write(writing, lines)
    assert process.stdout is not None
    assert process.stdout.readline()  # a group was queued, so it waits for more
    process.send_signal(2)
    error = process.communicate(timeout=30)[1]
    os.close(writing)
    assert (process.returncode, error) == (130, b"queuectl: interrupted\n")
    assert len(list(spool.list((State.PENDING,)))) == 200


CALL = re.compile(r"(\w+)\(")


@pytest.mark.parametrize(
    "words", [["--help"], ["list"], ["enqueue", "--", "true"], ["logs", "nope"], ["status", "--json"]], ids=" ".join
)
def test_interrupt_at_any_moment(spool: Spool, tmp_path: Path, words: list[str]) -> None:
    """From the first lines of queuectl to the last, imports included, Ctrl-C is 130 and one line.

    (What comes before that is Python's own start, which nothing in a Python program can change.)
    """
    need("strace")
    argv = [sys.executable, "-m", "queuectl", "--spool", str(spool.path), *words]
    trace = tmp_path / "trace"
    subprocess.run(["strace", "-qq", "-o", trace, *argv], check=False, capture_output=True, env=environment())
    lines = trace.read_text().splitlines()
    ready = [at for at, line in enumerate(lines) if line.startswith("rt_sigaction(SIGINT, {")][1]
    calls = [found[1] for line in lines if (found := CALL.match(line))]
    for at in range(ready + 1, len(calls) - 5, (len(calls) - ready) // 12):
        name, number = calls[at], calls[: at + 1].count(calls[at])
        if name == "futex":  # how many there are varies
            continue
        inject = f"inject={name}:signal=INT:when={number}"
        done = subprocess.run(
            ["strace", "-qq", "-o", "/dev/null", "-e", inject, *argv],
            check=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=environment(),
        )
        assert (done.returncode, done.stderr) == (130, "queuectl: interrupted\n"), inject


def test_interrupt_that_python_would_swallow(tmp_path: Path) -> None:
    """One that comes in a destructor, whose exceptions Python prints and forgets, counts all the same."""
    script = (
        "import os, signal\n"
        "from queuectl.cli import interrupts, main\n"
        "class Late:\n"
        "    def __del__(self): os.kill(os.getpid(), signal.SIGINT)\n"
        "interrupts.end_at_once()\n"
        "main._run = lambda: [Late() and 0][0]\n"
        "main.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, encoding="utf-8")
    assert (done.returncode, done.stderr) == (130, "queuectl: interrupted\n")


def test_interrupt_that_is_ignored(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """Where the caller ignores it (nohup, a background job of a script), it stays ignored."""
    seen = tmp_path / "seen"
    with seen.open("wb") as stdout:
        words = cli.argv("status", "--watch", "--interval", "0.1")
        process = subprocess.Popen(
            ["env", "--ignore-signal=INT", *words], stdout=stdout, stderr=subprocess.PIPE, env=environment()
        )
    wait_for(seen.read_bytes)
    process.send_signal(signal.SIGINT)
    size = seen.stat().st_size
    wait_for(lambda: seen.stat().st_size > size + 500, "another look")
    process.terminate()
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == -signal.SIGTERM
