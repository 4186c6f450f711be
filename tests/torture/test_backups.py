"""Backups of a live spool, in their short form; the long one is in `python -m tests.torture`."""

from __future__ import annotations

from pathlib import Path

from tests.support import need
from tests.torture import backups


def test_restored_backup_of_a_live_spool_means_what_it_did(tmp_path: Path) -> None:
    """Every job of the copy ends as the rules say, if all that it waits for is there too; none waits for ever."""
    need("rsync")
    found = backups.run(tmp_path, jobs=40, backups=2, seed=3)
    assert found.problems == []
    assert found.jobs
