"""Who may make a worker run commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.errors import SpoolError, UsageError
from queuectl.spool.system import trust
from queuectl.spool.system.layout import Layout
from tests.support import CommandLine, WorkerProcess, names, need_root, wait_for, workers

STRANGER = 65_534


def dangers(layout: Layout) -> str:
    return "\n".join(trust.find_dangers(layout))


def test_new_spool_is_safe(layout: Layout) -> None:
    """What `init` makes below a directory of one's own can be written by nobody else, /tmp being sticky."""
    assert dangers(layout) == ""


@pytest.mark.parametrize("name", ["", "pending", "running", "done", "dead", "tmp", "logs", "workers", "config.toml"])
@pytest.mark.parametrize("mode", [0o002, 0o020])
def test_directories_others_can_write_are_a_danger(layout: Layout, name: str, mode: int) -> None:
    """Each part of the spool counts, for its group as for everybody."""
    path = Path(layout.root, name)
    if mode == 0o020 and trust._is_private_group(path.stat().st_gid):
        need_root()
        os.chown(path, -1, STRANGER)
    path.chmod(path.stat().st_mode | mode)
    assert f"{path}" in dangers(layout)
    with pytest.raises(SpoolError, match="other users"):
        trust.require_safe(layout)


def test_directory_above_counts(layout: Layout) -> None:
    """Who can rename the spool away can put another one there; unless the directory is sticky."""
    above = Path(layout.root).parent
    above.chmod(0o777)
    assert f"{above}" in dangers(layout)
    above.chmod(0o1777)
    assert dangers(layout) == ""
    above.chmod(0o700)


def test_sticky_is_enough_for_inbox_alone(layout: Layout) -> None:
    """Files that others add to a sticky inbox/ are looked at one by one; elsewhere nobody may add any."""
    os.mkdir(layout.inbox)
    os.chmod(layout.inbox, 0o1733)
    assert dangers(layout) == ""
    os.chmod(layout.inbox, 0o733)
    assert layout.inbox in dangers(layout)
    os.chmod(layout.inbox, 0o1733)
    for path in (layout.running, layout.pending):
        os.chmod(path, 0o1777)
        assert path in dangers(layout)


def test_drop_box_of_an_older_version_is_shown_the_fix(layout: Layout) -> None:
    """A pending/ to which others may add files is refused, with the command that makes it an inbox/."""
    os.chmod(layout.pending, 0o1777)
    with pytest.raises(SpoolError) as caught:
        trust.require_safe(layout)
    assert f"queuectl init {layout.root} --drop-box GROUP" in str(caught.value)


def test_taken_is_private(layout: Layout) -> None:
    """taken/ counts as the other directories of the spool do."""
    os.mkdir(layout.taken)
    os.chmod(layout.taken, 0o1777)
    assert layout.taken in dangers(layout)


def test_link_that_leads_to_the_spool_counts(layout: Layout, tmp_path: Path) -> None:
    """A directory in which somebody could replace a link of the spool's path is as bad as one above the spool."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "link").symlink_to(Path(layout.root).parent)
    assert f"{shared}" in dangers(Layout(f"{shared}/link/spool"))
    shared.chmod(0o1777)
    assert dangers(Layout(f"{shared}/link/spool")) == ""
    (tmp_path / "second").symlink_to("shared/link")
    shared.chmod(0o777)
    assert f"{shared}" in dangers(Layout(f"{tmp_path}/second/spool"))


def test_link_of_another_user_counts(layout: Layout, tmp_path: Path) -> None:
    """In a sticky directory the owner of a link can replace it."""
    need_root()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "link").symlink_to(layout.root)
    os.chown(shared / "link", STRANGER, -1, follow_symlinks=False)
    assert f"{shared}/link belongs to" in dangers(Layout(f"{shared}/link"))


def test_links_that_lead_in_a_circle_are_not_a_trap(tmp_path: Path) -> None:
    """A path without an end is given up, as the kernel does."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert f"{tmp_path}/b" in [*trust._ways_to(f"{tmp_path}/a/spool")]


def test_link_out_of_the_spool(layout: Layout, tmp_path: Path) -> None:
    """A state's directory that is a link is not followed."""
    elsewhere = tmp_path / "elsewhere"
    Path(layout.logs).rename(elsewhere)
    Path(layout.logs).symlink_to(elsewhere)
    assert "link" in dangers(layout)


def test_directory_of_another_owner(layout: Layout) -> None:
    """A directory of another user is that user's to change."""
    need_root()
    os.chown(layout.pending, STRANGER, -1)
    assert "belongs to" in dangers(layout)


def test_worker_refuses_an_unsafe_spool_by_default(spool: Spool, cli: CommandLine) -> None:
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
def test_file_of_another_user_in_pending_is_refused(spool: Spool, cli: CommandLine, name: str) -> None:
    """It goes to the dead letters, allowed or not: what others hand in comes through inbox/, as the reason says."""
    need_root()
    cli.ok("config", "set", "allow-users", str(STRANGER))
    with workers(spool.path) as (worker,):
        file = spool.path / "tmp" / name
        file.write_text('{"command": "true", "id": "theirs"}')
        os.chown(file, STRANGER, -1)
        file.rename(spool.path / "pending" / name)
        wait_for(lambda: worker.has("refused"))
        assert "inbox/" in next(e["message"] for e in worker.events() if e["event"] == "refused")
    (dead,) = names(spool.path / "dead")
    assert "-invalid-" in dead


def test_owners_trusted_in_the_spool_of_another_user(layout: Layout) -> None:
    """Files of the worker's user, of root and of the spool's owner are run, and of nobody else."""
    need_root()
    os.chown(layout.root, STRANGER, -1)
    trusted = [uid for uid in (0, STRANGER, 1, 2) if trust.is_trusted(layout, uid)]
    assert trusted == [0, STRANGER]
    os.chown(layout.root, 0, -1)
    os.seteuid(STRANGER)
    try:
        assert [uid for uid in (0, STRANGER, 1, 2) if trust.is_trusted(Layout("/"), uid)] == [0, STRANGER]
    finally:
        os.seteuid(0)


def test_allowed_users_are_read_as_names_and_numbers() -> None:
    """Between commas or spaces, each for itself; a star is everyone; a name of nobody is kept apart."""
    assert trust.find_users("root, 1000") == (frozenset({0, 1000}), ())
    assert trust.find_users("") == (frozenset(), ())
    assert trust.find_users("*").allows(7)
    assert not trust.find_users("8").allows(7)
    assert trust.find_users("gone-for-good root") == (frozenset({0}), ("gone-for-good",))
    with pytest.raises(UsageError, match="no such user"):
        trust.require_users("root gone-for-good")


def test_user_who_is_gone_locks_nobody_out(spool: Spool, cli: CommandLine) -> None:
    """`config set` refuses the name of nobody; in config.toml it stops no worker, and doctor reports it."""
    assert cli.run("config", "set", "allow-users", "gone-for-good").returncode == 2
    (spool.path / "config.toml").write_text('allow-users = "root gone-for-good"\n')
    assert cli.ok("config", "get", "allow-users") == "root gone-for-good"
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert "gone-for-good" in cli.run("doctor").stdout
