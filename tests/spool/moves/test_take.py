"""Taking a file out of inbox/ and making a job of it: once, as a file of our own, with the submitter on record."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.core.names import FinishedName, is_valid_id
from queuectl.core.result import SUCCESS, State
from queuectl.core.settings import Rule
from queuectl.errors import NotJsonError, SpoolError
from queuectl.spool.moves import dropbox, prune, submit, take
from queuectl.spool.moves.take import Finished, UnfitError
from queuectl.spool.reading import query
from queuectl.spool.system import clock, files, logs
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, locked_log, read_log, run_at_once
from tests.support import names

ME = take.submitter_of(os.geteuid())


@pytest.fixture
def box(layout: Layout) -> Layout:
    """A spool with a drop box."""
    dropbox.make(layout, os.getegid())
    return layout


def drop(layout: Layout, data: object = None, name: str = "any.json", mode: int = 0o644) -> Path:
    path = Path(layout.inbox, name)
    body = {"command": "true"} if data is None else data
    path.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
    path.chmod(mode)
    return path


def take_it(layout: Layout, name: str = "any.json", **options: Any) -> str | None:
    return take.take(layout, name, lambda _: True, **options)


def taken(layout: Layout, **options: Any) -> str:
    id = take_it(layout, **options)
    assert id is not None
    assert names(Path(layout.taken)) == [id]
    return id


def finish(layout: Layout, id: str) -> list[Finished]:
    return take.finish(layout, [id], clock.now())


def test_file_becomes_a_job_of_ours(box: Layout) -> None:
    """Its id begins with the user and is new; the job's file is another one, private, and says who it is from."""
    path = drop(box, {"command": "echo hi", "priority": 3, "mine": [1]})
    inode = path.stat().st_ino
    id = taken(box)
    assert not path.exists()
    (done,) = finish(box, id)
    job = query.find(box, id)
    assert done.job is not None
    assert (done.job.path, job.priority, job.submitted_by, job.state) == (job.path, 3, ME, State.PENDING)
    assert job.fields == {"command": "echo hi", "priority": 3, "mine": [1], "id": id, "submitted_by": ME}
    assert id.partition(".")[0] == take.user_of(ME)
    assert (os.stat(job.path).st_ino != inode, os.stat(job.path).st_mode & 0o777) == (True, 0o600)
    assert (names(Path(box.taken)), names(Path(box.tmp))) == ([], [])


def test_claims_of_a_file_about_itself_are_ignored(box: Layout, spool: Spool) -> None:
    """An id of another job, a group and another submitter are not taken over, and the other job stays as it is."""
    held = spool.enqueue("true", id="pay")
    drop(box, {"command": "echo theirs", "id": "pay", "group": "pay", "submitted_by": "root2"})
    id = taken(box)
    finish(box, id)
    fields = query.find(box, id).fields
    assert fields == {"command": "echo theirs", "id": id, "submitted_by": ME}
    assert query.find(box, "pay").path == held.path


def test_canonical_name_in_inbox_is_a_name_like_any_other(box: Layout) -> None:
    """It holds neither priority, time nor id."""
    drop(box, name="000-20200101T000000.000Z-0-pay.json")
    id = take_it(box, "000-20200101T000000.000Z-0-pay.json")
    assert id is not None
    (done,) = finish(box, id)
    assert done.job is not None
    assert (done.job.id, done.job.priority) == (id, 10)


def _link(path: Path) -> None:
    os.link(path, path.with_name("second"))


def _replace(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        make(path)

    return change


UNFIT: dict[str, tuple[Callable[[Path], None], str]] = {
    "two names": (_link, "another name"),
    "its group can write": (lambda path: path.chmod(0o664), "others can write"),
    "all can write": (lambda path: path.chmod(0o646), "others can write"),
    "a link": (_replace(lambda path: path.symlink_to("/etc/passwd")), "regular"),
    "a directory": (_replace(Path.mkdir), "regular"),
    "a pipe": (_replace(os.mkfifo), "regular"),
    "too large": (lambda path: os.truncate(path, 1 << 40), "larger"),
}


@pytest.mark.parametrize(("change", "why"), UNFIT.values(), ids=UNFIT)
def test_files_that_are_not_taken(box: Layout, change: Callable[[Path], None], why: str) -> None:
    """It stays where it is, with the reason: what others can change, reach by another name, or that is not a file."""
    path = drop(box)
    change(path)
    with pytest.raises(UnfitError, match=why):
        take_it(box)
    with pytest.raises(UnfitError, match=why):
        take_it(box, is_whole=False)
    assert why in take.why_unfit(box, path.name, lambda _: True)
    assert os.path.lexists(path)
    assert names(Path(box.taken)) == []


def test_owner_who_is_not_allowed_is_not_taken_from(box: Layout) -> None:
    """The owner of the file is asked for, whatever it says."""
    drop(box)
    with pytest.raises(UnfitError, match="allow-users"):
        take.take(box, "any.json", lambda _: False)


def test_file_that_is_gone_is_a_normal_none(box: Layout) -> None:
    """Somebody else took it, or its owner removed it."""
    assert take_it(box) is None
    assert finish(box, "nobody.aaaaaaaaaaaa") == []
    assert names(Path(box.logs)) == []


def test_bytes_that_do_not_parse_wait_or_are_refused(box: Layout) -> None:
    """It is not taken while it may still be being written; then its bytes go to the dead letters, in a file of ours."""
    path = drop(box, b'{"command": "tr')
    inode = path.stat().st_ino
    with pytest.raises(NotJsonError):
        take_it(box)
    id = taken(box, is_whole=False)
    (done,) = finish(box, id)
    assert (done.job, "not valid JSON" in done.reason) == (None, True)
    (dead,) = Path(box.directory(State.DEAD)).iterdir()
    name = FinishedName.parse(dead.name)
    assert name is not None
    assert (name.id, str(name.result)) == (id, "invalid")
    assert dead.read_bytes() == b'{"command": "tr'
    assert dead.stat().st_ino != inode
    assert read_log(box, id).startswith(f'#queuectl refused file=inbox submitted_by="{ME}" reason=')
    assert names(Path(box.taken)) == []


@pytest.mark.parametrize("depth", [100, 500, 900, 940, 960, 970, 975, 980, 985, 990, 995, 1000, 100_000])
def test_body_that_is_nested_deeply_is_refused(box: Layout, depth: int) -> None:
    """Whatever it overflows, what reads it or what writes it again, it keeps no other file from being taken."""
    drop(box, b'{"command": "true", "x": ' + b"[" * depth + b"]" * depth + b"}")
    (done,) = finish(box, taken(box, is_whole=False))
    assert done.reason
    assert names(Path(box.taken)) == []


@pytest.mark.parametrize(
    "data",
    [{"comand": "x"}, b'{"command": "x", "y": 1e999}', {"command": "x", "timeout": -1}, {"command": "x" * 200_000}],
)
def test_object_that_is_not_a_job_is_refused_at_once(box: Layout, data: object) -> None:
    """It is complete, so there is nothing to wait for."""
    drop(box, data)
    (done,) = finish(box, taken(box))
    assert done.reason


def test_refused_object_names_who_handed_it_in(box: Layout) -> None:
    """And nobody else, so that it can be edited and retried without a look at that."""
    drop(box, {"comand": "x", "submitted_by": "root2", "id": "pay"})
    id = taken(box)
    finish(box, id)
    assert (query.find(box, id).submitted_by, query.find(box, id).problem) == (ME, '"command" is missing')


def test_job_that_grows_too_large_by_its_submitter_is_refused(box: Layout) -> None:
    """A file of just the largest size has no room for who it is from."""
    text = b'{"command": "true", "mine": "%s"}'
    drop(box, text % (b"x" * ((1 << 20) - len(text) + 2)))
    (done,) = finish(box, taken(box))
    assert "too large" in done.reason


def test_finishing_twice_makes_one_job(box: Layout) -> None:
    """Anyone who finds the job there removes the taken file; who read it before that finds it gone, and gives up."""
    drop(box)
    id = taken(box)
    os.link(box.taken_file(id), f"{box.tmp}/kept")
    finish(box, id)
    os.rename(f"{box.tmp}/kept", box.taken_file(id))
    assert finish(box, id) == []
    assert (len(names(Path(box.pending))), names(Path(box.taken))) == (1, [])


def test_reserved_id_is_left_to_who_has_it(box: Layout) -> None:
    """While another worker publishes the job, the taken file stays: that worker may die yet."""
    drop(box)
    id = taken(box)
    with locked_log(box, id):
        assert finish(box, id) == []
        assert names(Path(box.taken)) == [id]
    assert finish(box, id)[0].job is not None


def test_slow_finisher_finds_the_taken_file_gone(box: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another has finished it, and the job has ended and was pruned: the id is free, and is given up again."""
    drop(box)
    id = taken(box)
    real = submit.reserve

    def reserve(layout: Layout, wanted: str, **options: Any) -> submit.Reservation:
        monkeypatch.setattr(submit, "reserve", real)
        finish(box, id)
        os.unlink(query.find(box, id).path)
        os.unlink(box.log(id))
        return real(layout, wanted, **options)

    monkeypatch.setattr(submit, "reserve", reserve)
    assert finish(box, id) == []
    assert (names(Path(box.pending)), names(Path(box.logs))) == ([], [])


def test_prune_leaves_a_job_whose_taken_file_is_there(box: Layout) -> None:
    """Else who has read it would find its id free, and submit it again."""
    drop(box)
    id = taken(box)
    os.link(box.taken_file(id), f"{box.tmp}/kept")
    finish(box, id)
    os.rename(f"{box.tmp}/kept", box.taken_file(id))
    name = FinishedName(NOW, 10, 1, SUCCESS, 1500, id)
    os.rename(query.find(box, id).path, box.job(State.DONE, name))
    rule = Rule(count=0)
    assert prune.prune(box, State.DONE, rule).jobs == 0
    assert finish(box, id) == []
    assert prune.prune(box, State.DONE, rule).jobs == 1


def test_file_swapped_in_the_instant_of_the_rename_goes_back(box: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is not the one that was looked at is judged again, and leaves nothing reserved."""
    path = drop(box)
    real = files.move

    def move(source: str, target: str) -> bool:
        other = drop(box, {"command": "echo other"}, "other", 0o666)
        os.rename(other, path)
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "move", move)
        assert take_it(box) is None
    (back,) = names(Path(box.inbox))
    assert (back.endswith(".json"), names(Path(box.taken)), names(Path(box.logs))) == (True, [], [])
    with pytest.raises(UnfitError, match="others can write"):
        take_it(box, back)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_entry_of_taken_that_is_not_a_file_goes_back(box: Layout, make: Callable[[Path], None]) -> None:
    """Anyone who finishes looks at what it is: the worker that took it may have died before its second look."""
    make(Path(box.taken_file("ann.aaaaaaaaaaaa")))
    assert finish(box, "ann.aaaaaaaaaaaa") == []
    assert (names(Path(box.taken)), names(Path(box.inbox))) == ([], ["ann.aaaaaaaaaaaa.json"])


def test_unreadable_taken_file_does_not_block_the_others(box: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that its owner has closed since it was taken goes back, and the others are finished."""
    drop(box, name="a.json")
    drop(box, name="b.json")
    first, second = take_it(box, "a.json"), take_it(box, "b.json")
    real = files.read

    def read(path: str) -> files.Content:
        if path.endswith(f"{first}"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(files, "read", read)
    assert [done.id for done in take.finish(box, [f"{first}", f"{second}"], NOW)] == [second]
    assert names(Path(box.inbox)) == [f"{first}.json"]


def test_error_of_the_disk_leaves_it_taken(box: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the spool cannot take now is finished later, and no answer is taken for `it is gone`."""
    drop(box)
    id = taken(box)

    def fail(path: str) -> bool:
        raise OSError(5, "Input/output error", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", fail)
        with pytest.raises(SpoolError):
            finish(box, id)
    assert (names(Path(box.taken)), names(Path(box.pending)), names(Path(box.logs))) == ([id], [], [])
    assert finish(box, id)[0].job is not None


def _take_all(root: str) -> list[str]:
    layout = Layout(root)
    made = []
    for name in sorted(os.listdir(layout.inbox)):
        id = take.take(layout, name, lambda _: True)
        made += [done.id for done in take.finish(layout, [id] if id else [], clock.now()) if done.job]
        made += [done.id for done in take.finish(layout, take.list_taken(layout, 5), clock.now()) if done.job]
    return made


def test_files_each_become_one_job(box: Layout) -> None:
    """When 6 workers take the same 120 files and finish what the others have taken, each file becomes one job."""
    for number in range(120):
        drop(box, {"command": "true", "number": number}, f"{number}.json")
    made = [id for ids in run_at_once(6, _take_all, box.root) for id in ids]
    take.finish(box, take.list_taken(box, 1000), clock.now())
    jobs = [query.load(box, State.PENDING, name) for name in names(Path(box.pending))]
    assert sorted(job.fields["number"] for job in jobs if job and job.fields) == list(range(120))
    assert len(set(made)) == len(made)
    assert (names(Path(box.taken)), names(Path(box.inbox))) == ([], [])


@pytest.mark.parametrize(
    ("name", "user"),
    [("ann", "ann"), ("Ann_B-2", "Ann_B-2"), ("ann.b", "ann_b"), ("_apt", "u_apt"), ("-", "u-"),
     ("CORP\\ann", "CORP_ann"), ("ünal", "u_nal"), ("x" * 300, "x" * 87)],
)  # fmt: skip
def test_ids_begin_with_the_user_name(monkeypatch: pytest.MonkeyPatch, name: str, user: str) -> None:
    """The user's name, as far as an id can hold it, and without a dot: it is the group of his jobs."""
    entry = pwd.struct_passwd((name, "x", 7, 7, "", "/", "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
    assert (take.submitter_of(7), take.user_of(name)) == (name, user)
    assert is_valid_id(take.new_id(7))
    assert take.new_id(7) != take.new_id(7)


def test_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """`uid1000` is used instead."""

    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert (take.submitter_of(1000), take.new_id(1000)[:8]) == ("uid1000", "uid1000.")


def test_user_who_is_renamed_in_the_meantime_keeps_his_files(box: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was taken years ago is of the user in its name."""
    drop(box)
    os.rename(box.taken_file(taken(box)), box.taken_file("before.aaaaaaaaaaaa"))
    (done,) = finish(box, "before.aaaaaaaaaaaa")
    assert done.job is not None
    assert done.job.submitted_by == "before"


def test_lines_of_the_log_are_one_line(box: Layout) -> None:
    """What a stranger writes cannot add lines of queuectl's own to a log."""
    drop(box, b'{"a\\n#queuectl end attempt=1": 1, "a\\n#queuectl end attempt=1": 2}')
    id = taken(box)
    finish(box, id)
    assert read_log(box, id).count("\n") == 1
    assert logs.PREFIX.decode() in read_log(box, id)
