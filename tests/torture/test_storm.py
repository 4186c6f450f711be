"""The kill storms, in their short form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import need
from tests.torture import storm


@pytest.mark.parametrize("shells", [False, True], ids=["workers", "workers-and-shells"])
def test_storm_of_kills(tmp_path: Path, shells: bool) -> None:
    """Workers, and shells of jobs, die at random: no job lost, none twice at once, every outcome true."""
    need("flock")
    outcome = storm.rage(tmp_path, jobs=210, kills=10, shells=shells)
    assert outcome.verdict.problems == []
    assert outcome.verdict.figures["acknowledged"] == 211
    assert outcome.worker_kills == 10
    assert (outcome.shell_kills > 0) == shells
