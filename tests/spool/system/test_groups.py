"""The settings of groups are files, and what cannot be read starts nothing."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from queuectl.core.admission import Group
from queuectl.core.seats import parse
from queuectl.errors import ConfigError
from queuectl.spool.store import Spool
from queuectl.spool.system import groups, pause, seats

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def _now() -> datetime:
    return NOON


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool", create=True)


def test_read_gives_what_the_files_say(spool: Spool) -> None:
    """By hand or by the functions here, it is the same."""
    assert not groups.has_any(spool.layout)
    assert groups.read(spool.layout, "gpu", _now) is None

    os.makedirs(spool.path / "groups/gpu")
    (spool.path / "groups/gpu/limit").write_text("2\n")
    assert groups.read(spool.layout, "gpu", _now) == Group("gpu", 2)

    groups.write(spool.layout, "gpu", "limit", "3")
    pause.write(spool.layout, "new driver", group="gpu")
    found = groups.read(spool.layout, "gpu", _now)
    assert found is not None
    assert (found.limit, found.paused and found.paused.reason) == (3, "new driver")
    assert groups.names(spool.layout) == ["gpu"]


@pytest.mark.parametrize(("text", "problem"), [("", "is empty"), ("many\n", "is not a whole number: 'many'")])
def test_read_of_a_wrong_value_is_a_problem_and_not_no_limit(spool: Spool, text: str, problem: str) -> None:
    """As while `echo 2 > limit` has emptied the file and not yet written."""
    os.makedirs(spool.path / "groups/gpu")
    (spool.path / "groups/gpu/limit").write_text(text)
    assert groups.read(spool.layout, "gpu", _now) == Group("gpu", problem=f"groups/gpu/limit {problem}")


def test_read_of_odd_files_is_a_problem_and_never_blocks(spool: Spool) -> None:
    """A pipe, a directory or a link in the place of a value."""
    os.makedirs(spool.path / "groups/gpu")
    os.mkfifo(spool.path / "groups/gpu/limit")
    found = groups.read(spool.layout, "gpu", _now)
    assert found is not None
    assert found.problem.startswith("groups/gpu/limit cannot be read")
    (spool.path / "groups/net").symlink_to("nowhere")
    assert groups.read(spool.layout, "net", _now) is None


def test_write_refuses_what_is_not_a_number(spool: Spool) -> None:
    """Nothing is written then."""
    with pytest.raises(ConfigError, match="not a whole number"):
        groups.write(spool.layout, "gpu", "limit", "two")
    assert not groups.has_any(spool.layout)


def test_unset_removes_the_folder_with_its_last_setting(spool: Spool) -> None:
    """And says whether there was such a setting."""
    groups.write(spool.layout, "gpu", "limit", "3")
    pause.write(spool.layout, group="gpu")
    assert groups.unset(spool.layout, "gpu", "limit")
    assert groups.names(spool.layout) == ["gpu"]
    assert pause.remove(spool.layout, "gpu")
    assert not groups.unset(spool.layout, "gpu", "limit")
    assert groups.names(spool.layout) == []


def test_what_seats_and_a_pause_leave_behind_is_no_setting(spool: Spool) -> None:
    """Locks stay in held/, and the time of the last resume beside them; `group list` does not show such a group."""
    groups.write(spool.layout, "gpu", "seats", "2")
    taken = seats.take(spool.layout, "gpu", parse("2"), 1, "gpu.1")
    assert taken is not None
    seats.give_back(spool.layout, [taken])
    pause.write(spool.layout, group="gpu")
    assert pause.remove(spool.layout, "gpu")
    assert groups.unset(spool.layout, "gpu", "seats")
    assert sorted(os.listdir(spool.layout.group("gpu"))) == ["held", "resumed"]
    assert groups.read(spool.layout, "gpu", _now) is None


def test_examine_waits_for_a_value_that_is_being_written(spool: Spool) -> None:
    """What is wrong only while it is written is not reported."""
    groups.write(spool.layout, "gpu", "limit", "3")
    path = spool.path / "groups/gpu/limit"
    path.write_text("")
    looks: list[None] = []

    def now() -> datetime:
        return NOON

    def written(*_: object) -> None:
        looks.append(None)
        path.write_text("4\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("queuectl.spool.system.groups.time.sleep", written)
        assert groups.examine(spool.layout, "gpu", now) == Group("gpu", 4)
    assert len(looks) == 1
