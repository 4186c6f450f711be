"""Random names and mutated bodies, in their short form."""

from __future__ import annotations

from pathlib import Path

from tests.torture import litter


def test_litter_in_pending(tmp_path: Path) -> None:
    """Whatever a file is called and holds: it is adopted, refused with a reason, or left alone; no byte changes."""
    found = litter.strew(tmp_path, names=800, bodies=300)
    assert found.problems == []
    assert min(found.adopted, found.refused, found.left_alone) > 50
