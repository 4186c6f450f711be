"""Names and texts that are not UTF-8, as the shell passes them on: submitted, changed, shown and run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from queuectl.core.fields import Body
from queuectl.core.result import State
from queuectl.spool.store import Spool
from tests.cli.given import run_on_terminal
from tests.support import CommandLine, environment, names, workers

NAME = b"caf\xe9 \xc3\xa9.txt"
"""Half of it Latin-1, half of it UTF-8."""
TEXT = os.fsdecode(NAME)
PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def odd(cli: CommandLine) -> bytes:
    """A directory of that name, which is the current one."""
    path = os.path.join(os.fsencode(cli.cwd), NAME)
    os.mkdir(path)
    cli.cwd = Path(os.fsdecode(path))
    return path


def written(spool: Spool) -> list[bytes]:
    """The bytes of the waiting jobs."""
    return [(spool.path / "pending" / name).read_bytes() for name in names(spool.path / "pending")]


def variables(spool: Spool, id: str) -> Mapping[str, str]:
    body = spool.get(id).body
    assert body is not None
    return body.env


def test_words_and_variables_of_bytes(cli: CommandLine, spool: Spool) -> None:
    """They reach the job as they were typed; its file is JSON in UTF-8 without surrogates."""
    (cli.cwd / TEXT).write_text("content\n")
    cli.ok("enqueue", "--id", "a", "--", "cat", TEXT)
    given = ["--env", f"X={TEXT}", "--env", "Y"]
    cli.ok("enqueue", "--id", "b", *given, "--", 'printf "%s|%s|é" "$X" "$Y"', env={"Y": TEXT})
    cli.ok("enqueue", "--id", "c", "--", f"printf %s '{TEXT}'")
    for data in written(spool):
        assert json.loads(data.decode())["charset"] == "latin-1"
        assert "\\ud" not in data.decode()
    with workers(spool.path):
        assert [str(job.result) for job in spool.wait(["a", "b", "c"], timeout=30)] == ["exit0"] * 3
    assert spool.output("a") == "content\n"
    assert NAME + b"|" + NAME + "|é".encode() in spool.log_path("b").read_bytes()
    assert NAME in spool.log_path("c").read_bytes()


def test_directory_of_bytes(cli: CommandLine, spool: Spool, odd: bytes) -> None:
    """Whatever is enqueued in such a directory runs there: words, JSON, lines, and with a relative --cwd."""
    cli.ok("enqueue", "--id", "a", "--", "pwd; echo é")
    cli.ok("enqueue", '{"id": "b", "command": "pwd; echo é"}')
    cli.ok("enqueue", "-", stdin='{"id": "c", "command": ["sh", "-c", "pwd; echo é"]}')
    cli.ok("enqueue", "--id", "d", "--cwd", ".", "--", "pwd; echo é")
    with workers(spool.path):
        spool.wait(["a", "b", "c", "d"], timeout=30)
    for id in "abcd":
        assert odd + "\né\n".encode() in spool.log_path(id).read_bytes()


def test_bytes_are_shown(cli: CommandLine, spool: Spool, odd: bytes) -> None:
    """Every command that prints shows them as `\\xe9` in any locale; JSON has the body as it is in the file."""
    cli.ok("enqueue", "--id", "a", "--env", f"X={TEXT}", "--", "echo", TEXT)
    shown = r"caf\xe9 é.txt"
    columns = ["list", "--columns", "cwd"]
    for words in (["show", "a"], ["list"], ["list", "--format", "{command}"], columns, ["explain", "a"], ["status"]):
        for env in ({}, PLAIN_C, {"LC_ALL": "C"}):
            done = cli.run(*words, env=env)
            assert done.returncode == 0, done.stderr
            assert shown in done.stdout or words[0] in ("explain", "status")
    code, screen = run_on_terminal(cli.argv("show", "a"), cli.cwd)
    assert (code, screen.count(shown)) == (0, 3)
    assert repr(spool.get("a")) == f"Job(id='a', state='pending', attempts=0, command=('echo', {TEXT!r}))"
    (job,) = cli.json("list")
    assert job["body"] == json.loads(written(spool)[0])


def test_bytes_that_come_back(cli: CommandLine, spool: Spool) -> None:
    """What `show --json` says of a job can be enqueued again, and `list --match` finds it."""
    cli.ok("enqueue", "--id", "a", "--", "echo", TEXT)
    fields = cli.json("show", "a")["body"]
    cli.ok("enqueue", "-", stdin=json.dumps({**fields, "id": "b"}))
    cli.ok("enqueue", "--id", "c", "--env", "A=é", json.dumps({**fields, "id": None}))
    assert {spool.get(id).command for id in "abc"} == {("echo", TEXT)}
    assert variables(spool, "c") == {"A": "é"}
    assert cli.ok("list", "--match", TEXT[3:], "--format", "{id}").split() == ["a", "b", "c"]


def test_bytes_that_are_changed(cli: CommandLine, spool: Spool) -> None:
    """`set` and `edit` keep what they do not change, and the file is in plain UTF-8 again once it can be."""
    cli.ok("enqueue", "--id", "a", "--cwd", "/", "--", "echo é")
    cli.ok("set", "a", f"env.X={TEXT}", "timeout=5")
    assert spool.get("a").command == "echo é"
    assert variables(spool, "a") == {"X": TEXT}
    cli.ok("edit", "a", env={"EDITOR": "sed -i 's/echo/printf %s/'"})
    assert spool.get("a").command == "printf %s é"
    assert variables(spool, "a") == {"X": TEXT}
    cli.ok("set", "a", "env.X=none")
    assert spool.get("a").fields == {"command": "printf %s é", "id": "a", "cwd": "/", "priority": 10, "timeout": 5}


def test_bytes_in_json_are_refused(cli: CommandLine, spool: Spool) -> None:
    """JSON that is not UTF-8 is refused with a way out; so is the escape of half a character."""
    done = cli.run("enqueue", os.fsdecode(b'{"command": "cat caf\xe9"}'))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "queuectl: the argument is not valid UTF-8"
    assert '"charset": "latin-1"' in done.stderr
    done = cli.run("enqueue", r'{"command": "cat caf\udce9"}')
    assert done.returncode == 2
    assert '"charset": "latin-1"' in done.stderr
    assert not list(spool.list())


def test_spool_in_a_directory_of_bytes(tmp_path: Path) -> None:
    """A spool may lie anywhere: all commands work there, and its jobs get its path as it is."""
    home = tmp_path / TEXT
    home.mkdir()
    cli = CommandLine(home / "spool", home)
    cli.ok("init", str(home / "spool"))
    cli.ok("enqueue", "--id", "a", "--", 'printf %s "$QUEUECTL_SPOOL"')
    cli.ok("worker", "start", "--drain", "--json")
    assert os.fsencode(home) + b"/spool" in (home / "spool/logs/a.log").read_bytes()
    for words in (["status"], ["show", "a"], ["fsck"], ["doctor"], ["metrics"], ["worker", "list"], ["logs", "a"]):
        done = cli.run(*words, env=PLAIN_C)
        assert done.returncode == 0, done.stderr
    assert [job.id for job in Spool(home / "spool").list(State.DONE)] == ["a"]


def test_bytes_in_a_latin_1_locale(cli: CommandLine, spool: Spool, tmp_path: Path) -> None:
    """What is typed where the locale is Latin-1 is the bytes of the terminal, too."""
    made = subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(tmp_path / "de_DE.ISO-8859-1")], check=False,
        capture_output=True,
    )  # fmt: skip
    if made.returncode and not (tmp_path / "de_DE.ISO-8859-1").exists():
        pytest.skip("localedef cannot make a locale here")
    env = environment(LOCPATH=str(tmp_path), LC_ALL="de_DE.ISO-8859-1", PYTHONUTF8="0")
    argv = [os.fsencode(word) for word in cli.argv("enqueue", "--id", "a", "--", "echo")]
    subprocess.run([*argv, b"caf\xe9"], check=True, env=env, cwd=cli.cwd, capture_output=True)
    assert spool.get("a").command == ("echo", os.fsdecode(b"caf\xe9"))


def test_lines_of_bytes(cli: CommandLine, spool: Spool, odd: bytes) -> None:
    """--each takes names that are not UTF-8, as `find -print0` has them."""
    cli.ok("enqueue", "--each", "-", "-0", "--id", "a{n}", "--env", "X={}", "--", "echo {}", stdin=NAME + b"\0b\0")
    assert spool.get("a0001").command == f"echo '{TEXT}'"
    assert variables(spool, "a0001") == {"X": TEXT}
    assert spool.get("a0002").command == "echo b"
    assert os.fsencode((spool.get("a0002").body or Body("")).cwd or "") == odd
