"""A full disk, in its short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import need
from tests.torture import fulldisk
from tests.torture.test_powercut import need_volume


@pytest.mark.parametrize(("kind", "what"), [("tmpfs", "bytes"), ("tmpfs", "inodes"), ("ext4", "bytes")])
def test_full_disk(tmp_path: Path, kind: str, what: str) -> None:
    """Submissions are refused with exit code 6, acknowledged jobs stay whole, and all jobs run when there is room."""
    need("flock")
    need_volume(kind)
    found = fulldisk.rage(kind, tmp_path, what=what, rounds=2)
    assert found.problems == []
    assert found.refused > 0
    assert found.acknowledged > 0
