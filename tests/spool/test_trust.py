"""Who may make a worker run commands."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.errors import SpoolError, UsageError
from queuectl.spool import trust
from queuectl.spool.layout import Layout
from tests.support import CommandLine, WorkerProcess, names, wait_for, workers

STRANGER = 65_534


def need_root() -> None:
    """These tests give files to other users."""
    if os.geteuid() != 0:
        if os.environ.get("CI"):
            pytest.fail("needs root")
        pytest.skip("needs root")


def dangers(layout: Layout) -> str:
    return "\n".join(trust.find_dangers(layout))


def test_a_new_spool_is_safe(layout: Layout) -> None:
    """What `init` makes below a directory of one's own can be written by nobody else, /tmp being sticky."""
    assert dangers(layout) == ""


@pytest.mark.parametrize("name", ["", "pending", "running", "done", "dead", "tmp", "logs", "workers", "config.toml"])
@pytest.mark.parametrize("mode", [0o002, 0o020])
def test_what_others_can_write_is_a_danger(layout: Layout, name: str, mode: int) -> None:
    """Each part of the spool counts, for its group as for everybody."""
    path = Path(layout.root, name)
    if mode == 0o020 and trust._is_private_group(path.stat().st_gid):
        need_root()
        os.chown(path, -1, STRANGER)
    path.chmod(path.stat().st_mode | mode)
    assert f"{path}" in dangers(layout)
    with pytest.raises(SpoolError, match="other users"):
        trust.require_safe(layout)


def test_a_directory_above_counts(layout: Layout) -> None:
    """Who can rename the spool away can put another one there; unless the directory is sticky."""
    above = Path(layout.root).parent
    above.chmod(0o777)
    assert f"{above}" in dangers(layout)
    above.chmod(0o1777)
    assert dangers(layout) == ""
    above.chmod(0o700)


def test_sticky_is_enough_for_pending_alone(layout: Layout) -> None:
    """Files that others add to a sticky pending/ are looked at one by one; elsewhere nobody may add any."""
    os.chmod(layout.pending, 0o1777)
    assert dangers(layout) == ""
    os.chmod(layout.running, 0o1777)
    assert layout.running in dangers(layout)


def test_a_link_out_of_the_spool(layout: Layout, tmp_path: Path) -> None:
    """A state's directory that is a link is not followed."""
    elsewhere = tmp_path / "elsewhere"
    Path(layout.logs).rename(elsewhere)
    Path(layout.logs).symlink_to(elsewhere)
    assert "link" in dangers(layout)


def test_another_owner(layout: Layout) -> None:
    """A directory of another user is that user's to change."""
    need_root()
    os.chown(layout.pending, STRANGER, -1)
    assert "belongs to" in dangers(layout)


def test_a_worker_refuses_an_unsafe_spool_unless_told_otherwise(spool: Spool, cli: CommandLine) -> None:
    """It ends at once, with exit code 6, the reason and the way out; with --trust-anyone it works."""
    spool.enqueue("true", id="x")
    (spool.path / "pending").chmod(0o777)
    done = cli.run("worker", "start", "--drain")
    assert done.returncode == 6
    assert "chmod o-w" in done.stderr
    assert "--trust-anyone" in done.stderr
    assert spool.get("x").state == "pending"
    assert cli.run("worker", "start", "--drain", "--trust-anyone").returncode == 0
    assert spool.get("x").state == "done"


@pytest.mark.parametrize("name", ["any.json", "010-20261124T034300.000Z-0-theirs.json"])
def test_files_of_other_users_are_refused_unless_they_are_allowed(spool: Spool, cli: CommandLine, name: str) -> None:
    """A stranger's file goes to the dead letters with the reason; once the user is allowed, such files run."""
    need_root()

    def drop(id: str) -> None:
        file = spool.path / "tmp" / name
        file.write_text(f'{{"command": "true", "id": "{id}"}}')
        os.chown(file, STRANGER, -1)
        file.rename(spool.path / "pending" / name.replace("theirs", id))

    with workers(spool.path) as (worker,):
        drop("theirs")
        wait_for(lambda: worker.has("refused"))
        (dead,) = names(spool.path / "dead")
        assert "-invalid-" in dead
        user = pwd.getpwuid(STRANGER).pw_name
        assert f"config set allow-users {user}" in next(
            e["message"] for e in worker.events() if e["event"] == "refused"
        )
        cli.ok("config", "set", "allow-users", user)
    with workers(spool.path) as (worker,):
        drop("trusted")
        wait_for(lambda: worker.has("done", "trusted"))
    assert f"{spool.get('trusted').result}" == "exit0"


def test_a_drop_box(spool: Spool, cli: CommandLine, tmp_path: Path) -> None:
    """`init --drop-box` lets a group add files to pending/ and nothing more, and a worker takes the spool."""
    need_root()
    group = grp.getgrgid(STRANGER).gr_name
    cli.ok("init", str(spool.path), "--drop-box", group)
    modes = {path.name: oct(path.stat().st_mode & 0o7777) for path in spool.path.iterdir() if path.is_dir()}
    assert modes.pop("pending") == "0o1770"
    assert set(modes.values()) == {"0o700"}
    assert (spool.path.stat().st_mode & 0o7777, spool.path.stat().st_gid) == (0o710, STRANGER)
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert cli.run("init", str(tmp_path / "other"), "--drop-box", "no-such-group").returncode == 2


def test_who_is_allowed_is_read_as_names_and_numbers() -> None:
    """Between commas or spaces; a star is everyone; a name that does not exist is an error."""
    assert trust.parse_users("root, 1000") == frozenset({0, 1000})
    assert trust.parse_users("") == frozenset()
    assert trust.parse_users("*") is None
    with pytest.raises(UsageError):
        trust.parse_users("no-such-user-anywhere")
