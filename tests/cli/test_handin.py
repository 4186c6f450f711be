"""`queuectl enqueue` of a user who may hand in jobs through inbox/, and do nothing else with the spool."""

from __future__ import annotations

import grp
import json
import os
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.cli import handin
from queuectl.cli.bulk import open_lines
from queuectl.cli.init import init
from queuectl.errors import SpoolError, UsageError
from queuectl.spool.moves import dropbox
from tests.support import names


@pytest.fixture
def inbox(spool: Spool) -> Path:
    """That of a spool with a drop box."""
    dropbox.make(spool.layout, os.getegid())
    return spool.path / "inbox"


def hand_in(spool: Spool, jobs: list[dict[str, Any]] | None, *, is_awaited: bool = False, is_held: bool = False) -> int:
    lines = open_lines({"priority": 5}) if jobs is None else None
    return handin.hand_in(spool.layout, jobs, lines, quiet=False, is_awaited=is_awaited, is_held=is_held)


def test_job_is_handed_in_whole(spool: Spool, inbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a file of its own in inbox/, with the directory it was typed in; no id is printed, as there is none yet."""
    assert hand_in(spool, [{"command": "true"}]) == 0
    (name,) = names(inbox)
    assert json.loads((inbox / name).read_text()) == {"command": "true", "cwd": os.getcwd()}
    printed = capsys.readouterr()
    said, how = printed.err.splitlines()
    assert (printed.out, said) == ("", f"handed in as inbox/{name}; a worker will take it")
    assert how == f"to see what becomes of it: grep -l {name} {spool.path}/outbox/*"


def test_id_is_the_workers_to_give(spool: Spool, inbox: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that asks for one is not handed in, as it would not get it."""
    assert hand_in(spool, [{"command": "true", "id": "x"}]) == 2
    assert names(inbox) == []
    assert "gets its id from the worker" in capsys.readouterr().err


def test_wait_refuses_jobs_that_were_handed_in(spool: Spool, inbox: Path) -> None:
    """Its end is not for this user to see."""
    with pytest.raises(SpoolError, match="nothing else there"):
        hand_in(spool, [{"command": "true"}], is_awaited=True)
    with pytest.raises(UsageError, match="not hold"):
        hand_in(spool, [{"command": "true"}], is_held=True)
    with pytest.raises(UsageError, match="nothing"):
        hand_in(spool, [])
    assert names(inbox) == []


def test_lines_are_handed_in_one_by_one(
    spool: Spool, inbox: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad ones are reported by their numbers, and the exit code is 1."""
    lines = b'{"command": "true"}\n\n{"comand": "true"}\n{x\n{"command": "false"}\n'
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(lines)))
    assert hand_in(spool, None) == 1
    assert sorted(json.loads((inbox / name).read_text())["command"] for name in names(inbox)) == ["false", "true"]
    said = capsys.readouterr().err
    assert ("line 3:" in said, "line 4:" in said, "handed in 2" in said) == (True, True, True)


def test_init_that_cannot_make_the_drop_box_leaves_no_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does it say that it made one; an existing spool stays as it was."""

    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    group = grp.getgrgid(os.getegid()).gr_name
    existing = Spool(tmp_path / "existing", create=True)
    before = names(existing.path)
    monkeypatch.setattr(os, "fchown", fail)
    for path in (tmp_path / "new", existing.path):
        with pytest.raises(SpoolError, match="cannot use the spool"):
            init.main([str(path), "--drop-box", group], standalone_mode=False)
    assert not (tmp_path / "new").exists()
    assert names(existing.path) == before
    assert "created" not in capsys.readouterr().err
