"""Many jobs, in the short form: the counts show how it would continue."""

from __future__ import annotations

from pathlib import Path

from tests.torture import crowd


def test_crowd_of_jobs(tmp_path: Path) -> None:
    """Twice the jobs cost a command at most twice the work, and a worker no memory and no work for each job."""
    found = crowd.gather(tmp_path, 10_000, window=2000)
    assert found.problems == []
