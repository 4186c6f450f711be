"""How long a file that does not parse is waited for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from queuectl.work.incomplete import Incomplete


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
