"""Which spool is meant: --spool, QUEUECTL_SPOOL, a parent directory's spool/, or one in the home directory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from queuectl import Spool
from tests.cli.given import run
from tests.support import names


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory for XDG_STATE_HOME, outside of which nothing may be made."""
    return tmp_path / "home"


def where(*words: str, cwd: Path, **env: str) -> str:
    """The path of the spool that `status` finds."""
    done = run(*words, "status", "--json", cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    found: str = json.loads(done.stdout)["spool"]
    return found


def test_nearest_parent_directory(tmp_path: Path, home: Path) -> None:
    """spool/ in this directory counts, else that of the nearest parent that has one."""
    far = Spool(tmp_path / "spool", create=True).path
    near = Spool(tmp_path / "a" / "spool", create=True).path
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    assert where(cwd=tmp_path) == str(far)
    assert where(cwd=tmp_path / "a") == str(near)
    assert where(cwd=deep) == str(near)


def test_spool_that_is_none_does_not_count(tmp_path: Path) -> None:
    """A directory that is called spool but lacks one of the four state directories is passed over, as /var/spool is."""
    real = Spool(tmp_path / "spool", create=True).path
    inner = tmp_path / "var"
    for name in ("cron", "mail", "pending", "running", "done"):
        (inner / "spool" / name).mkdir(parents=True)
    assert where(cwd=inner) == str(real)
    assert names(inner / "spool") == ["cron", "done", "mail", "pending", "running"]


def test_precedence(tmp_path: Path) -> None:
    """--spool goes before QUEUECTL_SPOOL, and that before the directories; empty counts as not given."""
    here, variable, flag = (str(Spool(tmp_path / name / "spool", create=True).path) for name in ("here", "env", "flag"))
    cwd = tmp_path / "here"
    assert where("--spool", flag, cwd=cwd, QUEUECTL_SPOOL=variable) == flag
    assert where(cwd=cwd, QUEUECTL_SPOOL=variable) == variable
    assert where(cwd=cwd, QUEUECTL_SPOOL="") == here
    assert where("--spool", "../flag/spool", cwd=cwd) == flag


def test_spool_of_last_resort(tmp_path: Path, home: Path) -> None:
    """Where there is none, $XDG_STATE_HOME/queuectl/spool is made on first use, and said aloud once."""
    expected = home / "queuectl" / "spool"
    env = {"XDG_STATE_HOME": str(home)}
    first = run("enqueue", "--id", "a", "--", "true", cwd=tmp_path, env=env)
    assert (first.returncode, first.stdout) == (0, "a\n")
    assert first.stderr == f"created the spool {expected}\n"
    second = run("enqueue", "--id", "b", "--", "true", cwd=tmp_path, env=env)
    assert (second.returncode, second.stderr) == (0, "")
    assert Spool(expected).counts().ready == 2


def test_spool_of_last_resort_when_reading(tmp_path: Path) -> None:
    """A command that only reads makes it too, below ~/.local/state where XDG_STATE_HOME is not set."""
    done = run("list", cwd=tmp_path, env={"HOME": str(tmp_path / "me"), "XDG_STATE_HOME": ""})
    assert done.returncode == 0
    assert done.stderr.startswith(f"created the spool {tmp_path}/me/.local/state/queuectl/spool\n")


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_enqueue_creates_the_spool_that_is_named(tmp_path: Path, by: str) -> None:
    """A spool that is named but not there is made by `enqueue`, which says so."""
    spool = tmp_path / "new" / "spool"
    flag = ["--spool", str(spool)] if by == "flag" else []
    done = run(*flag, "enqueue", "--id", "a", "--", "true", cwd=tmp_path, env={"QUEUECTL_SPOOL": str(spool)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\n", f"created the spool {spool}\n")
    assert Spool(spool).get("a").command == "true"


def test_job_that_cannot_run_creates_no_spool(tmp_path: Path) -> None:
    """A refused job leaves no directory behind."""
    done = run("--spool", "new", "enqueue", '{"command": 5}', cwd=tmp_path)
    assert done.returncode == 2
    assert names(tmp_path) == []


def test_worker_start_creates_the_spool_that_is_named(tmp_path: Path) -> None:
    """`worker start` makes a spool that is named but not there, and says so."""
    done = run("--spool", "new", "worker", "start", "--drain", cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith(f"created the spool {tmp_path}/new\n")


@pytest.mark.parametrize(
    "words",
    ["status", "list", "show x", "logs x", "retry x", "dlq list", "dlq retry x", "dlq drop x", "metrics",
     "config list", "config get timeout", "config unset timeout", "worker list", "worker stop"],
)  # fmt: skip
def test_commands_that_read_refuse_a_missing_spool(tmp_path: Path, words: str) -> None:
    """A spool that is named but not there is exit code 6 for every command that does not fill it."""
    done = run("--spool", "none", *words.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (6, "")
    assert (
        done.stderr == f"queuectl: there is no spool at {tmp_path}/none\n  create one: queuectl init {tmp_path}/none\n"
    )
    assert names(tmp_path) == []


def test_directory_that_is_not_a_spool(tmp_path: Path) -> None:
    """Any other directory is refused with 6 and left as it is, and so is a file."""
    (tmp_path / "file").write_text("x")
    for path in (".", "file"):
        done = run("--spool", path, "list", cwd=tmp_path)
        assert done.returncode == 6
        assert "is not a spool" in done.stderr
    done = run("--spool", "file/spool", "enqueue", "--", "true", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (6, "")
    assert "cannot use the spool" in done.stderr
    assert len(done.stderr.splitlines()) <= 3
    assert names(tmp_path) == ["file"]


def test_init(tmp_path: Path) -> None:
    """`init` makes ./spool, or the directory named, or that of --spool, and says which."""
    done = run("init", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"created the spool {tmp_path}/spool\n")
    assert {"pending", "running", "done", "dead", "tmp", "logs", "workers"} <= set(names(tmp_path / "spool"))
    assert run("init", "a/b", cwd=tmp_path).returncode == 0
    assert run("--spool", "c", "init", cwd=tmp_path).returncode == 0
    assert Spool(tmp_path / "a" / "b").counts() == Spool(tmp_path / "c").counts()


def test_init_leaves_what_is_there(tmp_path: Path) -> None:
    """On a spool `init` changes nothing and says so; what is missing it adds."""
    spool = Spool(tmp_path / "spool", create=True)
    spool.enqueue("true", id="a")
    (spool.path / "config.toml").write_text("max-retries = 7\n")
    done = run("init", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, f"already a spool: {tmp_path}/spool\n")
    (spool.path / "dead").rmdir()
    assert run("init", cwd=tmp_path).stderr == f"created the spool {tmp_path}/spool\n"
    assert spool.get("a").command == "true"
    assert (spool.path / "config.toml").read_text() == "max-retries = 7\n"


def test_init_where_it_cannot(tmp_path: Path) -> None:
    """Where a directory cannot be made, `init` ends with 6."""
    (tmp_path / "file").write_text("x")
    assert run("init", "file/spool", cwd=tmp_path).returncode == 6
    assert run("init", "file", cwd=tmp_path).returncode == 2


def test_init_as_json(tmp_path: Path) -> None:
    """--json says where the spool is and whether it is new."""
    made = [json.loads(run("init", "s", "--json", cwd=tmp_path).stdout) for _ in range(2)]
    path = str(tmp_path / "s")
    assert made == [{"spool": path, "created": is_new, "shared": False} for is_new in (True, False)]


def test_init_for_several_hosts(tmp_path: Path) -> None:
    """--shared makes a spool that several hosts may share, or one that is there, and says so."""
    path, new = tmp_path / "spool", tmp_path / "new"
    assert run("init", cwd=tmp_path).returncode == 0
    assert run("init", "--shared", cwd=tmp_path).stderr == f"already a spool: {path}, which several hosts may share\n"
    assert run("init", cwd=tmp_path).stderr == f"already a spool: {path}, which several hosts may share\n"
    made = run("init", "--shared", str(new), cwd=tmp_path)
    assert made.stderr == f"created the spool {new}, which several hosts may share\n"
    assert json.loads(run("status", "--json", cwd=tmp_path).stdout)["shared"] is True
    assert run("status", cwd=tmp_path).stdout.splitlines()[0] == f"spool      {path}, shared by hosts"
