"""What `queuectl doctor` tries out, and what it advises."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyFD

from queuectl import Spool
from queuectl.core.result import State
from queuectl.spool.moves import dropbox
from queuectl.spool.system import files, groups, shared
from queuectl.spool.system.layout import Layout
from queuectl.spool.upkeep import doctor
from queuectl.spool.upkeep.doctor import Check, Health
from tests.spool.given import put_finished
from tests.support import CommandLine, names

MIN_FREE = 1 << 20


def examine(layout: Layout) -> dict[str, Check]:
    return {check.subject: check for check in doctor.examine(layout, MIN_FREE)}


def test_sound_place(spool: Spool, cli: CommandLine) -> None:
    """Where everything can be done nothing is bad, and nothing is left behind."""
    done = cli.json("doctor")
    assert done["spool"] == str(spool.path)
    assert [check for check in done["checks"] if check["health"] == "bad"] == []
    assert names(spool.path / "tmp") == []
    assert all(check["advice"] for check in done["checks"] if check["health"] != "ok")


def test_race_of_two_processes(tmp_path: Path) -> None:
    """In a shared spool two processes claim the same files, and both get some: else it would say nothing."""
    spool = Spool(tmp_path / "spool", create=True)
    os.mkdir(spool.layout.hosts)
    claims = examine(Layout(str(spool.path)))["claims"]
    assert claims.health is Health.OK
    assert re.fullmatch(r"two processes claimed 200 files: [1-9]\d* and [1-9]\d*, each of them once", claims.found)


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EOPNOTSUPP, "Operation not supported")


def no_locks(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(fcntl, "flock", refuse)
    return "locks"


def locks_that_do_not_exclude(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(fcntl, "flock", lambda *_: None)
    return "locks"


def no_locks_of_open_files(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(fcntl, "fcntl", refuse)
    return "attempt locks"


def no_directory_fsync(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(files, "sync_directory", refuse)
    return "durability"


def a_rename_that_replaces(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(files, "move_new", files.move)
    return "no-replace rename"


def no_inotify(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    patch.setattr(InotifyFD, "_create_inotify_fd", staticmethod(refuse))
    return "file events"


def open_to_everybody(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    os.chmod(layout.pending, 0o777)
    return "permissions"


def without_logs(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    os.rmdir(layout.logs)
    return "permissions"


def a_clock_set_back(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    path = put_finished(layout, "x", "exit0", State.DONE)
    path.rename(path.parent / path.name.replace("2026", "2999"))
    return "clock"


def a_limit_that_is_no_number(layout: Layout, patch: pytest.MonkeyPatch) -> str:
    os.makedirs(layout.group("gpu"))
    Path(layout.group("gpu"), "limit").write_text("")
    return "groups"


@pytest.mark.parametrize(
    ("spoil", "health"),
    [
        (no_locks, Health.BAD),
        (locks_that_do_not_exclude, Health.BAD),
        (no_locks_of_open_files, Health.BAD),
        (no_directory_fsync, Health.BAD),
        (a_rename_that_replaces, Health.WARN),
        (no_inotify, Health.WARN),
        (open_to_everybody, Health.BAD),
        (without_logs, Health.BAD),
        (a_clock_set_back, Health.WARN),
        (a_limit_that_is_no_number, Health.BAD),
    ],
)
def test_doctor_reports_what_is_missing_and_what_to_do(
    layout: Layout,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Layout, pytest.MonkeyPatch], str],
    health: Health,
) -> None:
    """Each thing that the surroundings lack has its own line, how bad it is, and an advice."""
    with monkeypatch.context() as patch:
        subject = spoil(layout, patch)
        found = examine(layout)[subject]
    assert found.health is health
    assert found.advice


def test_doctor_reports_too_little_space(layout: Layout) -> None:
    """Below min-free it says that no job starts."""
    checks = {check.subject: check for check in doctor.examine(layout, 1 << 60)}
    assert checks["free space"].health is Health.BAD


TABLE = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 22 0:5 / /srv rw - nfs4 host:/x rw,vers=4.2
31 30 0:6 / /srv/fast\\040disk rw,noatime - xfs /dev/vdb rw,nobarrier
32 22 0:7 / /srv2 ro - btrfs /dev/vdc ro
"""


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/home/x", "/", "ext4"),
        ("/srv", "/srv", "nfs4"),
        ("/srv/fast disk/q", "/srv/fast disk", "xfs"),
        ("/srv22", "/", "ext4"),
    ],
)
def test_mount_of_a_path(path: str, point: str, kind: str) -> None:
    """The nearest mount above a path is the one that counts, whatever its name looks like."""
    mount = shared.find_mount(path, TABLE)
    assert mount is not None
    assert (mount.point, mount.kind) == (point, kind)


@pytest.mark.parametrize(
    ("path", "subject"),
    [("/srv/q", "file system"), ("/srv/fast disk/q", "mount options"), ("/srv2/q", "mount options")],
)
def test_risky_mount_is_reported(monkeypatch: pytest.MonkeyPatch, path: str, subject: str) -> None:
    """A network file system, no write barriers, or a read-only mount do not pass as ok."""
    real = shared.find_mount
    monkeypatch.setattr(shared, "find_mount", lambda root: real(root, TABLE))
    check = {"file system": doctor._check_file_system, "mount options": doctor._check_mount_options}[subject]
    assert check(Layout(path)).health is not Health.OK


def drop_box(layout: Layout, allow_users: str = "") -> Check:
    checks = {check.subject: check for check in doctor.examine(layout, MIN_FREE, allow_users)}
    return checks["drop box"]


def test_drop_box(layout: Layout) -> None:
    """None is well; one whose files nobody's are taken from, or which holds what is not taken, is reported."""
    assert drop_box(layout).health is Health.OK
    dropbox.make(layout, os.getegid())
    assert "no user's files" in drop_box(layout).found
    assert drop_box(layout, "root").health is Health.OK
    assert "do not see" not in drop_box(layout, "root").found
    os.rmdir(layout.outbox)
    assert "do not see" in drop_box(layout, "root").found
    os.mkdir(f"{layout.inbox}/x.json")
    check = drop_box(layout, "root")
    assert (check.health, "x.json: it is not a regular file" in check.found) == (Health.WARN, True)


def test_drop_box_that_others_can_tamper_with(layout: Layout) -> None:
    """Without its sticky bit, or beside a pending/ that others write to, it is none."""
    dropbox.make(layout, os.getegid())
    os.chmod(layout.inbox, 0o730)
    assert drop_box(layout, "root").health is Health.BAD
    os.chmod(layout.inbox, dropbox.MODE)
    os.chmod(layout.pending, 0o1770)
    assert drop_box(layout, "root").health is Health.BAD
    os.rmdir(layout.taken)
    assert "missing" in drop_box(layout, "root").found


def test_groups_are_only_reported_where_there_are_any(spool: Spool) -> None:
    """With how many have settings, if all of them can be read."""
    assert "groups" not in examine(spool.layout)
    groups.write(spool.layout, "gpu", "limit", "2")
    assert examine(spool.layout)["groups"].found == "1 group with settings, all of which can be read"


def test_directory_that_ignores_case_is_refused(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `Report` and `report` are one file, two jobs would be one."""
    is_gone = files.is_gone
    monkeypatch.setattr(files, "is_gone", lambda path: is_gone(path.replace("DOCTOR-", "doctor-")))
    check = examine(spool.layout)["case of names"]
    assert check.health is Health.BAD
    assert "differ in case only" in check.found
