"""The pause: any file, with a reason and a time to continue if it says so."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.spool.system import pause

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "until", "reason"),
    [
        ("", None, ""),
        ("back after lunch\n", None, "back after lunch"),
        ("until: 2026-11-24T12:00:00Z\n", NOON, ""),
        ("until: 2026-11-24T12:00:00Z\nreason: new disks\n", NOON, "new disks"),
        ("new disks\nand a fan\nUntil = 2026-11-24T13:00:00+01:00", NOON, "new disks and a fan"),
        ("until: 2030-01-01", pause.parse("until: 2030-01-01T00:00")[0], ""),
        ("until: tomorrow", None, "until: tomorrow"),
        ("until: 9999-99-99T00:00:00Z", None, "until: 9999-99-99T00:00:00Z"),
        ("\x00\ufffd", None, "\x00\ufffd"),
    ],
)
def test_text_of_the_file(text: str, until: datetime | None, reason: str) -> None:
    """What cannot be read as a time is part of the reason, and the pause has no end."""
    assert pause.parse(text) == pause.Said(until, reason)


def test_pause_and_resume(spool: Spool) -> None:
    """What is written is read back; a second pause replaces the first; nothing is left after the end."""
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    spool.pause("new\ndisks", until)
    found = spool.paused()
    assert found is not None
    assert (found.reason, found.until) == ("new disks", until)
    spool.pause()
    found = spool.paused()
    assert found is not None
    assert (found.reason, found.until, spool.is_paused()) == ("", None, True)
    assert (spool.resume(), spool.resume(), spool.paused()) == (True, False, None)
    assert {"paused"}.isdisjoint(os.listdir(spool.path))


def test_pause_whose_time_is_over_is_none(spool: Spool) -> None:
    """The file may lie there: nothing has to remove it."""
    spool.pause("", datetime.now(UTC) - timedelta(milliseconds=1))
    assert not spool.is_paused()
    assert (spool.path / "paused").exists()


@pytest.mark.parametrize("kind", ["link", "directory", "fifo"])
def test_pause_file_of_any_content_pauses(spool: Spool, kind: str) -> None:
    """What cannot be read pauses until it is gone."""
    path = Path(spool.layout.paused)
    if kind == "link":
        path.symlink_to("/nowhere")
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    found = spool.paused()
    assert found is not None
    assert (found.until, found.reason) == (None, "")
