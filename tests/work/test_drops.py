"""Dropped files in pending/: adopted when they are whole, waited for while they are not, refused in the end."""

from __future__ import annotations

import json
import os

import pytest

from queuectl import Spool
from queuectl.spool.moves import adopt
from queuectl.work.drops import Drops
from tests.spool.given import parsed
from tests.support import names
from tests.work.given import Reported


@pytest.fixture
def reported(spool: Spool) -> Reported:
    return Reported(spool)


@pytest.fixture
def drops(reported: Reported) -> Drops:
    return Drops(reported.context)


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
