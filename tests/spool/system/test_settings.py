"""Where settings come from, and when they are read again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.settings import Settings
from queuectl.spool.system import settings
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.settings import Found, Source


def set_file(layout: Layout, text: str, age: float = 60.0) -> None:
    """Write config.toml as if that many seconds ago."""
    path = Path(layout.config)
    path.write_text(text)
    os.utime(path, (time.time() - age, time.time() - age))


def test_settings_of_a_new_spool_are_the_defaults(spool: Spool) -> None:
    """Where nothing is set, in the file or beside it, the defaults hold."""
    assert spool.settings == Settings()
    os.remove(spool.layout.config)
    assert spool.settings == Settings()


def test_settings_are_read_again_when_the_file_changes(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read once for as long as config.toml stays as it is, and again after each change of it."""
    reads: list[Layout] = []
    examine = settings.examine

    def counted(layout: Layout) -> Found:
        reads.append(layout)
        return examine(layout)

    monkeypatch.setattr(settings, "examine", counted)
    source = Source(layout)
    set_file(layout, "grace = 7\n")
    assert [source.examine().settings.grace for _ in range(3)] == [7.0, 7.0, 7.0]
    assert len(reads) == 1
    set_file(layout, "grace = 8\n")
    assert source.examine().settings.grace == 8.0
    settings.store(layout, "grace", None)
    assert source.examine().settings.grace == 5.0


def test_settings_of_a_file_that_has_just_changed_are_not_kept(layout: Layout) -> None:
    """It may change again within one tick of the file system's clock: two edits of the same size both count."""
    source = Source(layout)
    for number in range(20):
        Path(layout.config).write_text(f"grace = {number % 10}\n")
        assert source.examine().settings.grace == number % 10


def test_wrong_settings_have_their_defaults(spool: Spool) -> None:
    """A value that cannot be is named in one line with its file, and stops nothing but the start of workers."""
    set_file(spool.layout, "grace = -1\nmin-free = 5\nno-such = 1\n")
    found = spool.examine_settings()
    assert (found.settings.grace, found.settings.min_free) == (5.0, 5)
    assert found.problem.startswith("grace: not a ")
    assert spool.layout.config in found.problem
    assert [error.what for error in found.unknown] == ["config.toml: unknown setting 'no-such' is ignored"]


def test_explain_counts_retries_by_the_setting(spool: Spool) -> None:
    """Of a job that does not say, `retry 2 of 7` is by max-retries of the spool."""
    set_file(spool.layout, "max-retries = 7\n")
    (spool.path / "pending" / "010-21000101T000000.000Z-2-x.json").write_text('{"command": "true"}')
    (retry, *_) = spool.explain("x").reasons
    assert retry.text.startswith("retry 2 of 7 ")
