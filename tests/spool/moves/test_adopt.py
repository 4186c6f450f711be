"""Files that tools drop into pending/: adopted, waited for, or refused; never lost, never a crash."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from queuectl import InvalidJobError, Spool
from queuectl.core.names import FinishedName, PendingName, is_valid_id
from queuectl.core.result import State
from queuectl.errors import NotJsonError
from queuectl.spool.moves import adopt
from queuectl.spool.system import clock, files, lease, logs
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, locked_log, pending_name, put, put_finished, read_log, run_at_once, running_name
from tests.spool.malformed import INCOMPLETE, INVALID, NAMES, SPECIAL
from tests.support import names


def drop(layout: Layout, name: str, data: bytes) -> Path:
    path = Path(layout.pending, name)
    path.write_bytes(data)
    return path


def adopt_one(layout: Layout, path: Path) -> PendingName:
    name = adopt.adopt(layout, path.name, NOW)
    assert name is not None
    assert names(Path(layout.pending)) == [str(name)]
    assert not lease.is_in_use(layout.log(name.id))
    return name


def assert_refused(layout: Layout, path: Path, reason: str) -> None:
    """Refuse the file, and find it in dead/, the very same, with the reason in its log."""
    before = os.lstat(path)
    id = adopt.refuse(layout, path.name, reason, NOW)
    assert id is not None
    assert is_valid_id(id)
    assert names(Path(layout.pending)) == []
    (dead,) = names(Path(layout.directory(State.DEAD)))
    assert dead == f"20261124T034300.000Z-010-0-invalid-0.000s-{id}.json"
    after = os.lstat(layout.job(State.DEAD, dead))
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)
    assert read_log(layout, id).startswith("#queuectl refused file=")
    assert read_log(layout, id).count("\n") == 1
    assert f"reason={logs.quote(reason)}" in read_log(layout, id)


@pytest.mark.parametrize("data", INCOMPLETE.values(), ids=INCOMPLETE.keys())
def test_bytes_that_do_not_parse_wait(layout: Layout, data: bytes) -> None:
    """Bytes that are not exactly one object stay where they are; refused later, they are kept as they were."""
    path = drop(layout, "x.json", data)
    with pytest.raises(NotJsonError) as caught:
        adopt.adopt(layout, path.name, NOW)
    assert (names(Path(layout.pending)), names(Path(layout.logs))) == ([path.name], [])
    assert_refused(layout, path, str(caught.value))
    (dead,) = Path(layout.directory(State.DEAD)).iterdir()
    assert dead.read_bytes() == data


@pytest.mark.parametrize("data", INVALID.values(), ids=INVALID.keys())
def test_adopt_reports_an_invalid_job(layout: Layout, data: bytes) -> None:
    """A complete object that cannot run is an InvalidJobError that names a problem, and no id is taken for it."""
    path = drop(layout, "x.json", data)
    with pytest.raises(InvalidJobError) as caught:
        adopt.adopt(layout, path.name, NOW)
    assert caught.value.problems
    assert names(Path(layout.logs)) == []
    assert_refused(layout, path, "; ".join(caught.value.problems))


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL.keys())
def test_adopt_reports_what_is_not_a_file(layout: Layout, make: Callable[[Path], None]) -> None:
    """Links are not followed, pipes not waited for, directories not entered: they are moved away as they are."""
    path = Path(layout.pending, "x.json")
    make(path)
    with pytest.raises(InvalidJobError, match="regular file"):
        adopt.adopt(layout, path.name, NOW)
    assert_refused(layout, path, "it is not a regular file")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_file_of_any_name_is_adopted(layout: Layout, name: str) -> None:
    """A job may be dropped under any name: its id is made of what an id can hold of it."""
    path = drop(layout, name, b'{"command": "echo hi"}')
    adopted = adopt_one(layout, path)
    assert is_valid_id(adopted.id)
    assert Path(layout.job(State.PENDING, adopted)).read_bytes() == b'{"command": "echo hi"}'
    assert os.path.getsize(layout.log(adopted.id)) == 0


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_invalid_file_of_any_name_is_refused(layout: Layout, name: str) -> None:
    """What is not a job is refused under any name, and its log stays one line."""
    path = drop(layout, name, b"{}")
    with pytest.raises(InvalidJobError):
        adopt.adopt(layout, path.name, NOW)
    assert_refused(layout, path, 'two lines\nand a "quote"')


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "report"}, PendingName(10, NOW, 0, "report")),
        ({"id": "report", "priority": 0}, PendingName(0, NOW, 0, "report")),
        (
            {"id": "r", "run_at": "2026-11-25T10:00:00+01:00", "priority": 999},
            PendingName(999, datetime(2026, 11, 25, 9, tzinfo=UTC), 0, "r"),
        ),
    ],
)
def test_body_shows_the_name(layout: Layout, body: dict[str, Any], expected: PendingName) -> None:
    """Id, priority and time of a dropped job are those of its body."""
    assert adopt_one(layout, put(layout, "night.json", **body)) == expected


def test_stem_becomes_the_id(layout: Layout) -> None:
    """Without an id the file's name serves with a random suffix, so that it can be dropped every night."""
    ids = []
    for _ in range(3):
        name = adopt_one(layout, put(layout, "night.json"))
        ids.append(name.id)
        os.unlink(layout.job(State.PENDING, name))
    assert all(re.fullmatch(r"night-[a-z2-7]{6}", id) for id in ids)
    assert len(set(ids)) == 3


def test_byte_order_mark_is_not_an_obstacle(layout: Layout) -> None:
    """A file that an editor began with a UTF-8 byte order mark is a job."""
    assert adopt_one(layout, drop(layout, "x.json", b'\xef\xbb\xbf{"command": "true", "id": "x"}')).id == "x"


@pytest.mark.parametrize("state", [State.DEAD, State.DONE])
def test_moving_a_finished_job_back_retries_it(layout: Layout, state: State) -> None:
    """`mv dead/X pending/` brings the job back under its own id and priority, with no attempts made."""
    path = put_finished(layout, "x", state=state, id="x", priority=1)
    Path(layout.log("x")).write_text("#queuectl end attempt=1\n")
    data = path.read_bytes()
    name = adopt_one(layout, path.rename(Path(layout.pending, path.name)))
    assert name == PendingName(10, NOW, 0, "x")
    assert Path(layout.job(State.PENDING, name)).read_bytes() == data
    assert read_log(layout, "x").splitlines()[1].startswith("#queuectl retry by hand")


def test_refused_file_that_comes_back_asks_for_its_own_id(layout: Layout) -> None:
    """What was refused as a duplicate gets the id of its body when it is moved back, once that is free."""
    path = put_finished(layout, "drop-abcdef", result="invalid", id="x", priority=1)
    back = path.rename(Path(layout.pending, path.name))
    assert adopt_one(layout, back) == PendingName(1, NOW, 0, "x")


def test_file_that_comes_back_under_an_id_in_its_group_keeps_it(layout: Layout) -> None:
    """GROUP.ID is the id of a body that names its group and its id apart."""
    path = put_finished(layout, "night.x", id="x", group="night")
    assert adopt_one(layout, path.rename(Path(layout.pending, path.name))).id == "night.x"


def test_moving_a_running_job_back_waits_for_it(layout: Layout) -> None:
    """A running job's file moved into pending is taken back only once none of its processes is left."""
    path = put(layout, running_name("x"))
    with locked_log(layout, "x"), pytest.raises(NotJsonError, match="taken"):
        adopt.adopt(layout, path.name, NOW)
    assert adopt_one(layout, path) == PendingName(10, NOW, 0, "x")


@pytest.mark.parametrize("has_log", [True, False], ids=["with log", "log deleted"])
def test_copying_a_finished_job_is_a_duplicate(layout: Layout, has_log: bool) -> None:
    """`cp dead/X pending/` asks for a second job of an id that the original still holds."""
    original = put_finished(layout, "x")
    if has_log:
        Path(layout.log("x")).touch()
    copy = Path(shutil.copy(original, layout.pending))
    with pytest.raises(InvalidJobError, match="duplicate"):
        adopt.adopt(layout, copy.name, NOW)
    copied = FinishedName.parse(copy.name)
    assert copied is not None
    adopt.refuse(layout, copy.name, "duplicate", NOW)
    assert original.exists()
    assert len(names(original.parent)) == 2


def test_id_that_is_held_is_refused(layout: Layout, spool: Spool) -> None:
    """A drop that asks for the id of another job is a duplicate, and the other stays as it is."""
    held = Path(spool.enqueue("true", id="x").path)
    path = put(layout, "drop.json", id="x")
    with pytest.raises(InvalidJobError, match=r"duplicate.*'x'"):
        adopt.adopt(layout, path.name, NOW)
    assert (held.exists(), path.exists()) == (True, True)


def test_drops_of_one_id_are_one_job_and_one_duplicate(layout: Layout) -> None:
    """Two files that ask for the same id are one job and one duplicate."""
    adopt_one(layout, put(layout, "first.json", id="x"))
    second = put(layout, "second.json", id="x")
    with pytest.raises(InvalidJobError, match="duplicate"):
        adopt.adopt(layout, second.name, NOW)


def _adopt_all(root: str, files: list[str]) -> tuple[list[str], list[str]]:
    layout = Layout(root)
    adopted, failed = [], []
    for text in files:
        try:
            name = adopt.adopt(layout, text, clock.now())
        except (InvalidJobError, NotJsonError) as error:
            failed.append(str(error))
        else:
            if name is not None:
                adopted.append(name.id)
    return adopted, failed


def test_drops_are_each_adopted_once(layout: Layout) -> None:
    """When 8 processes adopt the same 300 files at once, each is adopted exactly once and none is refused."""
    for index in range(150):
        put(layout, f"named{index}.json", id=f"id{index}")
        put(layout, f"stem{index}.json")
    outcomes = run_at_once(8, _adopt_all, layout.root, names(Path(layout.pending)))
    adopted = [id for ids, _ in outcomes for id in ids]
    assert [error for _, errors in outcomes for error in errors] == []
    assert sorted(id.split("-")[0] for id in adopted) == sorted(
        [f"id{index}" for index in range(150)] + [f"stem{index}" for index in range(150)]
    )
    parsed = [PendingName.parse(text) for text in names(Path(layout.pending))]
    assert sorted(name.id for name in parsed if name) == sorted(adopted)
    assert len(names(Path(layout.logs))) == 300


def test_racing_drops_of_one_id_are_one_job(layout: Layout) -> None:
    """When 8 processes meet 40 files that ask for 20 ids, each id names one job and no file is lost."""
    for index in range(20):
        put(layout, f"a{index}.json", id=f"id{index}")
        put(layout, f"b{index}.json", id=f"id{index}")
    adopted = [id for ids, _ in run_at_once(8, _adopt_all, layout.root, names(Path(layout.pending))) for id in ids]
    assert sorted(adopted) == sorted(f"id{index}" for index in range(20))
    assert len(names(Path(layout.pending))) == 40


def test_file_that_is_gone(layout: Layout) -> None:
    """Adopting or refusing what somebody has removed is a normal None and leaves no log."""
    assert adopt.adopt(layout, "gone.json", NOW) is None
    assert adopt.refuse(layout, "gone.json", "why", NOW) is None
    assert names(Path(layout.logs)) == []


def test_file_replaced_while_it_is_read(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is no longer the one that was read is left for the next look."""
    path = put(layout, "x.json", "old")
    real = files.read_descriptor

    def read_and_replace(fd: int, name: str) -> files.Content:
        content = real(fd, name)
        os.replace(put(layout, "other", "new"), path)
        return content

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_descriptor", read_and_replace)
        assert adopt.adopt(layout, path.name, NOW) is None
    assert names(Path(layout.pending)) == ["x.json"]
    assert names(Path(layout.logs)) == []


def test_refused_canonical_file_keeps_its_priority(layout: Layout) -> None:
    """A refused file of ours is filed under its own id and priority, and its mode stays."""
    path = put(layout, pending_name("x", priority=3), state=State.PENDING)
    path.chmod(0o640)
    id = adopt.refuse(layout, path.name, "why", NOW, 3)
    (dead,) = Path(layout.directory(State.DEAD)).iterdir()
    assert id is not None
    assert (id.split("-")[0], stat.S_IMODE(dead.stat().st_mode)) == ("x", 0o640)
    assert FinishedName.parse(dead.name) is not None
    assert f"file={logs.quote(path.name)}" in read_log(layout, id)


def test_canonical_name_that_another_tool_chose_is_not_replaced(layout: Layout) -> None:
    """A file that would be adopted under the name of one that was dropped canonically is a duplicate; both are kept."""
    first = drop(layout, "010-20261124T034300.000Z-0-x.json", b'{"command": "echo first"}')
    second = drop(layout, "any.json", b'{"command": "echo second", "id": "x", "run_at": "2026-11-24T03:43:00Z"}')
    with pytest.raises(InvalidJobError, match="duplicate"):
        adopt.adopt(layout, second.name, NOW)
    assert first.read_bytes() == b'{"command": "echo first"}'
    assert names(Path(layout.pending)) == [first.name, second.name]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL])
def test_file_system_without_such_a_rename(layout: Layout, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Where a rename that replaces nothing is unknown, the same holds by a look beforehand."""
    monkeypatch.setattr(files, "_renameat2", lambda *_: code)
    test_canonical_name_that_another_tool_chose_is_not_replaced(layout)
    os.rename(f"{layout.pending}/any.json", f"{layout.pending}/other.json")
    os.unlink(f"{layout.pending}/010-20261124T034300.000Z-0-x.json")
    assert adopt.adopt(layout, "other.json", NOW) is not None
    assert adopt.adopt(layout, "gone.json", NOW) is None


def test_files_that_come_back_are_looked_for_together(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mv dead/* pending/` lists the spool as often as `mv` of two, and still finds the copy among them."""
    kept = put_finished(layout, "j0")
    returned = [put(layout, path.name) for path in (put_finished(layout, f"j{index}") for index in range(12))]
    for index in range(1, 12):
        Path(layout.directory(State.DEAD), returned[index].name).unlink()
    listings: list[str] = []
    real = os.scandir

    def count(path: str) -> Any:
        listings.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", count)

    def refuse(path: str) -> list[str]:
        if path.startswith(layout.after):  # what waits for that job: there is nothing
            raise FileNotFoundError(path)
        pytest.fail(f"{path} was listed for one file alone")

    monkeypatch.setattr(os, "listdir", refuse)
    locate = adopt.locate_returned([path.name for path in returned])
    with pytest.raises(InvalidJobError, match="duplicate"):
        adopt.adopt(layout, returned[0].name, NOW, locate=locate)
    adopted = [adopt.adopt(layout, path.name, NOW, locate=locate) for path in returned[1:]]
    assert [name.id for name in adopted if name] == [f"j{index}" for index in range(1, 12)]
    assert len(listings) == 2 * len(State)
    assert kept.exists()


COPIES = [
    "{} (ann's conflicted copy 2026-01-01).json",  # Dropbox
    "{} (conflicted copy 2026-01-01 120000).json",  # Nextcloud
    "{} (1).json",  # Google Drive, browsers
    "{}(1).json",  # OneDrive
    "{}-Copy (2).json",
    "{} copy.json",  # macOS
    "Copy of {}.json",
    "{}.sync-conflict-20260101-120000-ABCDEFG.json",  # Syncthing
    "{}_conflict-20260101-120000 é.json",
]


@pytest.mark.parametrize("pattern", COPIES)
@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.DONE, State.DEAD])
def test_copies_of_other_tools_are_duplicates(layout: Layout, spool: Spool, pattern: str, state: State) -> None:
    """Of a job's file in any state: whatever was added to its name, it does not become a second job."""
    spool.enqueue("true", id="o")
    names_of = {
        State.PENDING: pending_name("o"),
        State.RUNNING: running_name("o"),
        State.DONE: FinishedName.parse("20261124T034312.420Z-010-1-exit0-12.300s-o.json"),
        State.DEAD: FinishedName.parse("20261124T034312.420Z-010-4-exit1-0.532s-o.json"),
    }
    copy = pattern.format(str(names_of[state]).removesuffix(".json"))
    put(layout, copy, id="o")
    assert PendingName.parse(copy) or _is_refused(layout, copy)


@pytest.mark.parametrize("pattern", [each for each in COPIES if each.startswith("{}") and "_conflict" not in each])
@pytest.mark.parametrize("name", [pending_name("o-abcdef"), running_name("o-abcdef")])
def test_copies_of_jobs_without_an_id_in_their_bodies_are_duplicates(
    layout: Layout, pattern: str, name: object
) -> None:
    """Their names say what they are: one of ours with something added."""
    copy = pattern.format(str(name).removesuffix(".json"))
    put(layout, copy)
    assert _is_refused(layout, copy)


@pytest.mark.parametrize(
    "name", ["report 2026-01-01 (1).json", "010-x (1).json", "a.sync-conflict-x.json", "1-2-3-4.json"]
)
def test_other_names_are_no_copies(layout: Layout, name: str) -> None:
    """What is not made of a name of ours is a dropped file like any other."""
    put(layout, name)
    assert adopt.adopt(layout, name, NOW) is not None


def _is_refused(layout: Layout, name: str) -> bool:
    with pytest.raises(InvalidJobError, match="duplicate"):
        adopt.adopt(layout, name, NOW)
    return True
