"""Faults of a queue on Slurm, in their short form."""

from __future__ import annotations

from pathlib import Path

from tests.support import need
from tests.torture import slurm


def test_faults_of_a_queue_on_slurm(tmp_path: Path) -> None:
    """A Dask scheduler that dies, and a worker that is stopped while another is started: nothing is lost but attempts,
    nothing runs twice at once, and nothing is left."""
    need("flock")
    found = slurm.rage(tmp_path, slurm.SHORT)
    assert found.problems == []
    assert found.faults == len(slurm.SHORT)
