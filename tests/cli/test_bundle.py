"""`queuectl bundle`: what a report of a bug needs, without secrets."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile

import pytest

from queuectl import Spool, __version__
from queuectl.core.result import State
from tests.spool.given import put
from tests.support import CommandLine

SECRET = "hunter2-is-my-secret"


def unpack(data: bytes) -> dict[str, str]:
    """The files of a bundle, without their directory."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {member.name.partition("/")[2]: tar.extractfile(member) for member in tar.getmembers()}
        return {name: file.read().decode() for name, file in found.items() if file}


@pytest.fixture
def files(cli: CommandLine, spool: Spool) -> dict[str, str]:
    """The bundle of a job that has shown its secrets wherever it can."""
    words = ("--id", "leaky", "--max-retries", "0", "--env", f"SOME_VALUE={SECRET}", "--env", "TOKEN=abc", "--")
    cli.ok("enqueue", *words, "echo value $SOME_VALUE token=$TOKEN; echo mail ann; curl --password=topsecret x; exit 3")
    cli.ok("enqueue", "--id", "other", "--hold", "--", "echo nothing to do with it")
    cli.run("worker", "start", "--drain", "--quiet")
    cli.ok("config", "set", "notify-url", "http://127.0.0.1:9/hook-s3cr3t-path")
    path = cli.cwd / "b.tar.gz"
    assert cli.ok("bundle", "leak", "-o", str(path)) == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return unpack(path.read_bytes())


def test_bundle_has_what_a_report_needs(files: dict[str, str]) -> None:
    """The job, its log, its names, why it is where it is, versions and settings."""
    assert json.loads(files["leaky/job.json"])["max_retries"] == 0
    assert json.loads(files["leaky/show.json"])["result"] == "exit3"
    assert json.loads(files["leaky/explain.json"])["state"] == "dead"
    assert "mail ann" in files["leaky/log.txt"]
    assert "#queuectl start attempt=1" in files["leaky/log.txt"]
    assert f"queuectl           {__version__}\n" in files["versions.txt"]
    assert "portalocker" in files["versions.txt"]
    assert "-leaky.json" in files["names.txt"]
    assert "pending/   1\n" in files["names.txt"]
    assert "max-retries" in files["settings.txt"]
    assert "locks" in files["doctor.txt"]


def test_bundle_has_no_secret_and_no_other_job(files: dict[str, str]) -> None:
    """Neither the values of variables, nor what is named as a secret, nor a setting with an address is in any file."""
    everything = "".join(files.values())
    for text in (SECRET, "topsecret", "token=abc", "s3cr3t", "nothing to do with it", "other.json"):
        assert text not in everything, text
    assert json.loads(files["leaky/job.json"])["env"] == {"SOME_VALUE": "(left out)", "TOKEN": "(left out)"}
    assert "value (left out) token=(left out)" in files["leaky/log.txt"]


def test_bundle_of_a_file_that_is_no_job(cli: CommandLine, spool: Spool) -> None:
    """What is not JSON is in it as text, and what a job without a log lacks is empty."""
    name = put(spool.layout, "20301124T034300.000Z-010-0-invalid-0.000s-bad.json", "x", State.DEAD)
    name.write_text("{ password=topsecret")
    files = unpack((cli.cwd / cli.ok("bundle", "bad")).read_bytes())
    assert files["bad/job.json"] == "{ password=(left out)"
    assert files["bad/log.txt"] == ""


def test_bundle_replaces_no_file(cli: CommandLine, spool: Spool) -> None:
    """A file that is there is kept; an id that is unknown is an error; without an id, the spool is described."""
    spool.enqueue("true", id="x")
    target = cli.cwd / cli.ok("bundle", "x")
    before = target.read_bytes()
    assert cli.run("bundle", "x").returncode == 2
    assert target.read_bytes() == before
    assert cli.run("bundle", "nothing").returncode == 3
    done = cli.run("bundle", "-o", os.devnull)
    assert done.returncode == 2  # it is a file that is there
    assert set(unpack((cli.cwd / cli.ok("bundle")).read_bytes())) == {
        *("README.txt", "versions.txt", "names.txt", "settings.txt", "doctor.txt")
    }


def test_long_log_is_in_it_without_its_middle(cli: CommandLine, spool: Spool) -> None:
    """Of a log over a megabyte the first and the last part are kept."""
    job = spool.enqueue("true", id="long")
    spool.log_path(job).write_text("first\n" + "x" * 3_000_000 + "\nlast\n")
    text = unpack((cli.cwd / cli.ok("bundle", "long")).read_bytes())["long/log.txt"]
    assert text.startswith("first\n")
    assert text.endswith("\nlast\n")
    assert "bytes left out" in text
    assert len(text) < 1_100_000
