"""Where a spool is, and how one is made."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from pathlib import Path

import pytest

from queuectl import SpoolError, UsageError
from queuectl.core.result import State
from queuectl.spool.system import layout
from tests.support import names


def test_create_makes_a_whole_spool(tmp_path: Path) -> None:
    """A new spool has its directories (0700), its settings and a README (0600)."""
    root = tmp_path / "deep" / "spool"
    assert layout.create(root)
    assert names(root) == ["README.md", "config.toml", "dead", "done", "logs", "pending", "running", "tmp", "workers"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in root.iterdir() if path.is_dir()}
    assert (modes, stat.S_IMODE(root.stat().st_mode)) == ({0o700}, 0o700)
    assert {stat.S_IMODE(path.stat().st_mode) for path in root.iterdir() if path.is_file()} == {0o600}
    assert layout.is_spool(root)


def test_create_again_changes_nothing(tmp_path: Path) -> None:
    """Creating a spool that exists says that nothing is new and keeps what it holds."""
    layout.create(tmp_path)
    (tmp_path / "config.toml").write_text("max-retries = 1\n")
    (tmp_path / "pending" / "x.json").write_text("{}")
    assert not layout.create(tmp_path)
    assert (tmp_path / "config.toml").read_text() == "max-retries = 1\n"
    assert names(tmp_path / "pending") == ["x.json"]


@pytest.mark.parametrize("missing", ["tmp", "logs", "workers", "README.md", "config.toml", *State])
def test_create_completes_a_spool(tmp_path: Path, missing: str) -> None:
    """What a spool lacks is put back."""
    layout.create(tmp_path)
    path = tmp_path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert layout.create(tmp_path)
    assert path.exists()


@pytest.mark.parametrize("place", ["file", "file/spool"])
def test_create_where_there_can_be_none(tmp_path: Path, place: str) -> None:
    """A path that cannot become a directory is a SpoolError that names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="file"):
        layout.create(tmp_path / place)


@pytest.mark.parametrize("missing", State)
def test_spool_has_all_four_states(tmp_path: Path, missing: State) -> None:
    """A directory that lacks a state, such as /var/spool, is not a spool."""
    layout.create(tmp_path)
    os.rmdir(tmp_path / missing)
    assert not layout.is_spool(tmp_path)


def test_discover_looks_in_the_parents(tmp_path: Path) -> None:
    """The nearest parent's spool/ is found, and a directory of that name that is not a spool is passed over."""
    far, near, here = tmp_path / "spool", tmp_path / "a" / "spool", tmp_path / "a" / "b" / "c"
    here.mkdir(parents=True)
    assert layout.discover(here) is None
    layout.create(far)
    assert layout.discover(here) == str(far)
    (tmp_path / "a" / "b" / "spool" / "mail").mkdir(parents=True)
    assert layout.discover(here) == str(far)
    layout.create(near)
    assert layout.discover(here) == str(near)


def test_discover_starts_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a place to start from, the search begins where the user is."""
    layout.create(tmp_path / "spool")
    monkeypatch.chdir(tmp_path / "spool")
    assert layout.discover() == str(tmp_path / "spool")


@pytest.mark.parametrize(("home", "state"), [(None, None), ("", ""), ("here", "here")])
def test_home_that_is_none(monkeypatch: pytest.MonkeyPatch, home: str | None, state: str | None) -> None:
    """A path that is empty or not absolute counts as not given: then the home is that of the table of users."""
    for name, value in (("HOME", home), ("XDG_STATE_HOME", state)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    own = pwd.getpwuid(os.getuid()).pw_dir
    assert layout.state_home_spool() == f"{own}/.local/state/queuectl/spool"
    monkeypatch.setattr(os, "getuid", lambda: 3_000_000_000)
    with pytest.raises(UsageError, match="no home"):
        layout.state_home_spool()


def test_spool_of_last_resort(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It lies in $XDG_STATE_HOME, or where that is by default."""
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert layout.state_home_spool() == "/state/queuectl/spool"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert layout.state_home_spool() == f"{tmp_path}/.local/state/queuectl/spool"
