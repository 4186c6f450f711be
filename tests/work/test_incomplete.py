"""How long a file that does not parse is waited for."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from queuectl.work.incomplete import QUIET, Incomplete


def test_file_is_given_up_only_after_lying_unchanged_for_the_settle_time(tmp_path: Path) -> None:
    """Each change starts the time again; without one, waiting ends at the settle time and not before."""
    file = tmp_path / "x.json"
    file.write_text("{")
    incomplete = Incomplete()
    assert incomplete.wait("x.json", str(file), 0.0, 60.0)
    assert incomplete.wait("x.json", str(file), 59.9, 60.0)
    file.write_text('{"command"')
    assert incomplete.wait("x.json", str(file), 60.0, 60.0)
    assert incomplete.wait("x.json", str(file), 119.9, 60.0)
    assert not incomplete.wait("x.json", str(file), 120.0, 60.0)


def test_pause_between_looks_doubles(tmp_path: Path) -> None:
    """A file that does not change is looked at less and less often, and once more when its time is up."""
    file = tmp_path / "x.json"
    file.write_text("{")
    incomplete = Incomplete()
    now, looks = 0.0, []
    while incomplete.wait("x.json", str(file), now, 60.0):
        following = incomplete.next_look()
        assert following is not None
        looks.append(following - now)
        now = following
    assert now == 60.0
    assert len(looks) < 20
    assert all(later >= earlier for earlier, later in pairwise(looks[:-1]))


def test_files_that_are_gone_are_forgotten(tmp_path: Path) -> None:
    """Only names of the last listing are kept."""
    incomplete = Incomplete()
    for name in ("a.json", "b.json"):
        incomplete.wait(name, str(tmp_path / name), 0.0, 60.0)
    incomplete.keep_only({"b.json"})
    assert "a.json" not in incomplete
    assert incomplete.due(100.0) == ["b.json"]


def test_file_is_busy_until_it_has_not_changed_for_a_while(tmp_path: Path) -> None:
    """What counts is the file system's time of the last change, whatever it was."""
    file = tmp_path / "x.json"
    file.write_text("{}")
    incomplete = Incomplete()
    written = file.stat().st_ctime
    assert incomplete.is_busy("x.json", str(file), 0.0, written + 0.1)
    assert incomplete.next_look() == pytest.approx(QUIET - 0.1, abs=0.01)
    assert not incomplete.is_busy("x.json", str(file), 0.0, written + QUIET)
    os.utime(file, ns=(1, 1))
    changed = file.stat().st_ctime
    assert incomplete.is_busy("x.json", str(file), 0.0, changed)
    assert incomplete.next_look() == pytest.approx(QUIET, abs=0.01)


@pytest.mark.parametrize("behind", [0.001, 3600.0, 1e9])
def test_file_of_the_future_is_not_busy_for_ever(tmp_path: Path, behind: float) -> None:
    """After the clock was set back, it counts how long a file has been seen unchanged."""
    file = tmp_path / "x.json"
    file.write_text("{}")
    clock = file.stat().st_ctime - behind
    incomplete = Incomplete()
    assert incomplete.is_busy("x.json", str(file), 0.0, clock)
    assert incomplete.next_look() == QUIET
    assert not incomplete.is_busy("x.json", str(file), QUIET, clock)


def test_time_in_whole_seconds_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a time may be that of a file system which keeps no better: the change may be a second younger."""
    file = tmp_path / "x.json"
    file.write_text("{}")
    real = os.lstat(file)
    coarse = SimpleNamespace(
        st_ino=real.st_ino, st_size=2, st_mtime_ns=10**18, st_ctime_ns=10**18, st_ctime=1e9, st_nlink=1
    )
    monkeypatch.setattr(os, "lstat", lambda _: coarse)
    incomplete = Incomplete()
    assert incomplete.is_busy("x.json", str(file), 0.0, 1e9 + 0.9)
    assert not incomplete.is_busy("x.json", str(file), QUIET, 1e9 + 0.9)
    assert not Incomplete().is_busy("x.json", str(file), 0.0, 1e9 + 3)


def test_looks_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    """However many files are waited for; what was not looked at is due again later, and none is lost."""
    incomplete = Incomplete()
    names = [f"{number}.json" for number in range(5)]
    for now, name in enumerate(names):
        incomplete.wait(name, str(tmp_path / name), float(now), 60.0)
    assert incomplete.due(3.0) == names[:3]
    assert incomplete.due(100.0, 3) == [*names[3:], names[0]]
    assert incomplete.due(100.0) == names[1:3]
    assert sorted(incomplete.due(200.0)) == names
    for name in names:
        incomplete.forget(name)
    assert (incomplete.due(1000.0), incomplete.next_look()) == ([], None)
