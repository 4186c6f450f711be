"""The ten lines of shell in spool/README.md queue any command line, from any number of processes at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from queuectl import Spool, State
from tests.docs.markdown import ROOT, blocks
from tests.support import CommandLine, environment, need

COMMANDS = [
    "echo plain",
    "echo \"double\" 'single' `true` $HOME",
    "printf '%s\\n' back\\\\slash \\\"",
    "echo one\necho two\n\necho three",
    "printf 'a\tb\n'",
    "echo 100% & wait; echo $((1 < 2)) > /dev/null",
    "echo 'ä € 𝄞'",
    "true #" + "x" * 5000,
]


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The script as the document has it."""
    (block,) = [block for block in blocks((ROOT / "spool/README.md").read_text()) if block.file == "submit"]
    path = tmp_path / "submit"
    path.write_text(block.text)
    return path


def submit(script: Path, spool: Spool, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["dash", str(script), *words], env=environment(QUEUECTL_SPOOL=str(spool.path)))


def test_producer_has_ten_lines_at_most(script: Path) -> None:
    """As promised."""
    assert len(script.read_text().splitlines()) <= 10


def test_commands_arrive_as_they_were(script: Path, spool: Spool, cli: CommandLine) -> None:
    """Quotes, backslashes, newlines, tabs and letters of all kinds survive, and each job is queued once."""
    need("dash")
    started = [submit(script, spool, command) for command in COMMANDS]
    assert [process.wait(30) for process in started] == [0] * len(COMMANDS)
    cli.ok("worker", "start", "--drain", "--quiet", "--count", "4")
    assert sorted(str(job.command) for job in spool.list((State.DONE,))) == sorted(COMMANDS)
    assert [entry.name for entry in (spool.path / "tmp").iterdir() if entry.name.startswith("submit")] == []


def test_producer_replaces_nothing(script: Path, spool: Spool) -> None:
    """A name that is taken makes it fail, and the file that has the name stays."""
    need("dash")
    text = script.read_text().replace("$(date +%s)-$$", "taken")
    script.write_text(text)
    (spool.path / "pending/submit-taken.json").write_text("{}")
    assert submit(script, spool, "echo two").wait(30) != 0
    assert (spool.path / "pending/submit-taken.json").read_text() == "{}"


def test_crontab_in_the_environment_of_cron(tmp_path: Path) -> None:
    """What docs/submitting.md gives cron to run is found there, though its PATH has no virtual environment."""
    block = (ROOT / "docs/submitting.md").read_text().partition("```crontab\n")[2].partition("```")[0]
    programs = tmp_path / "queuectl-env/bin"
    programs.mkdir(parents=True)
    (programs / "queuectl").symlink_to(Path(sys.executable).parent / "queuectl")
    spool = Spool(tmp_path / "spool", create=True)
    (tmp_path / "nightly.json").write_text('{"command": "true"}')
    for line in block.splitlines():
        command = line.split(maxsplit=5)[5]
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            check=False,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "ann"},
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert len(os.listdir(spool.path / "pending")) == 2
