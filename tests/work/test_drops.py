"""Dropped files in pending/: adopted when they are whole, waited for while they are not, refused in the end."""

from __future__ import annotations

import json
import os
import stat

import pytest

from queuectl import Spool
from queuectl.spool.moves import adopt
from queuectl.work import incomplete
from queuectl.work.drops import Drops
from tests.spool.given import parsed
from tests.support import names, wait_for
from tests.work.given import Reported


@pytest.fixture
def reported(spool: Spool) -> Reported:
    return Reported(spool)


@pytest.fixture
def drops(reported: Reported) -> Drops:
    return Drops(reported.context)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pause after a file was written; what it is for is tested below, and in test_incomplete.py."""
    monkeypatch.setattr(incomplete, "QUIET", 0.0)


def write(spool: Spool, name: str, text: str) -> None:
    (spool.path / "pending" / name).write_text(text)


def test_drops_adopt_what_is_whole(spool: Spool, drops: Drops, reported: Reported) -> None:
    """Each gets a canonical name, under which it can be claimed, and the report says from which file."""
    write(spool, "a.json", '{"command": "true"}')
    write(spool, "b.json", '{"command": "false"}')
    found = drops.look_at(["a.json", "b.json", "gone.json"])
    assert sorted(found) == names(spool.path / "pending")
    ids = [parsed(name).id for name in found]
    assert [id.partition("-")[0] for id in ids] == ["a", "b"]
    said = [(line["job"], line["file"]) for line in reported.events("adopted")]
    assert said == [(ids[0], "a.json"), (ids[1], "b.json")]


def test_drops_wait_for_what_is_still_written(spool: Spool, drops: Drops, reported: Reported) -> None:
    """It is not to be claimed and looked at again later; once it is whole it is adopted."""
    write(spool, "x.json", '{"command": ')
    assert drops.look("x.json") is None
    assert list(drops) == ["x.json"]
    assert drops.next_look() is not None
    write(spool, "x.json", '{"command": "true"}')
    assert drops.look("x.json") is not None
    assert (list(drops), drops.next_look()) == ([], None)
    assert [line["event"] for line in reported.events()] == ["adopted"]


def test_drops_refuse_what_stays_broken(spool: Spool, drops: Drops, reported: Reported) -> None:
    """Once it has been unchanged for the setting `settle`; the report says what is wrong with it."""
    reported.context.settings = reported.context.settings._replace(settle=0.0)
    write(spool, "x.json", '{"command": ')
    assert drops.look("x.json") is None
    (line,) = reported.events()
    assert (line["event"], str(spool.get(line["job"]).result)) == ("refused", "invalid")
    assert line["message"].startswith("pending/x.json is not a valid job: ")
    assert line["message"].endswith("; unchanged for 0 s")
    assert list(drops) == []


def test_drops_refuse_at_once_what_can_never_be_a_job(spool: Spool, drops: Drops, reported: Reported) -> None:
    """Bytes that are one JSON object are complete, so there is nothing to wait for."""
    write(spool, "x.json", json.dumps({"command": 5}))
    assert drops.look("x.json") is None
    assert [line["event"] for line in reported.events()] == ["refused"]
    assert names(spool.path / "pending") == []


def test_drops_look_closely_at_a_canonical_name_that_was_incomplete(spool: Spool, drops: Drops) -> None:
    """It keeps its name, and can be claimed once it parses; a file that is gone is forgotten."""
    name = "010-20261124T034300.000Z-0-x.json"
    write(spool, name, '{"comm')
    assert drops.look(name) is None
    assert name in drops
    write(spool, name, '{"command": "true"}')
    assert drops.look(name) == name
    write(spool, name, '{"comm')
    drops.look(name)
    os.unlink(spool.path / "pending" / name)
    assert drops.look(name) is None
    assert name not in drops


def test_drops_leave_what_cannot_be_moved(
    spool: Spool, drops: Drops, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that can neither be adopted nor refused is reported once, and looked at again after a long pause."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(adopt, "refuse", refuse)
    write(spool, "x.json", json.dumps({"command": 5}))
    for _ in range(2):
        drops.look("x.json")
    (line,) = reported.events()
    assert line["message"].endswith("; it cannot be moved: Read-only file system")
    assert list(drops) == ["x.json"]
    assert drops.due() == []
    drops.keep_only(set())
    assert list(drops) == []


@pytest.mark.parametrize("name", ["x.json", "010-20261124T034300.000Z-0-x.json"])
def test_drops_leave_a_file_alone_that_has_just_been_written(
    spool: Spool, drops: Drops, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer may return to it, or remove it; once it has been quiet it is adopted, with the mode it has by then."""
    monkeypatch.setattr(incomplete, "QUIET", 0.25)
    path = spool.path / "pending" / name
    write(spool, name, '{"command": "true"}')
    assert drops.look(name) is None
    assert name in drops
    assert drops.is_soon
    path.chmod(0o640)
    wait_for(lambda: drops.due() == [name], "the next look")
    adopted = wait_for(lambda: drops.look(name), "the end of the pause")
    assert adopted is not None
    assert stat.S_IMODE((spool.path / "pending" / adopted).stat().st_mode) == 0o640
    assert not drops.is_soon


def test_drops_do_not_run_a_file_that_is_removed_at_once(
    spool: Spool, drops: Drops, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary files of other tools have come and gone before they would become jobs."""
    monkeypatch.setattr(incomplete, "QUIET", 0.25)
    write(spool, "x.json", '{"command": "true"}')
    drops.look("x.json")
    (spool.path / "pending/x.json").unlink()
    wait_for(lambda: drops.due() == ["x.json"], "the next look")
    assert drops.look("x.json") is None
    assert (list(drops), reported.events()) == ([], [])


@pytest.mark.parametrize("is_linked", [False, True])
def test_drops_adopt_at_once_what_was_put_in_place(
    spool: Spool, drops: Drops, is_linked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename, which an event reports, or a hard link: the file was finished elsewhere."""
    monkeypatch.setattr(incomplete, "QUIET", 60.0)
    write(spool, "x.json", '{"command": "true"}')
    if is_linked:
        os.link(spool.path / "pending/x.json", spool.path / "tmp/x")
    assert len(drops.look_at(["x.json"], {"x.json"} if not is_linked else ())) == 1
