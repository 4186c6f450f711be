"""A short storm of submitters of a few keys; the long one is in `python -m tests.torture`."""

from __future__ import annotations

from tests.support import need
from tests.torture import keys


def test_killed_submitters_leave_one_job_of_a_key() -> None:
    """No two jobs of a key run at once, none that was acknowledged is gone, and every key is free afterwards."""
    need("flock")
    figures = keys.storm(8, 4.0)
    assert figures["problems"] == []
    assert figures["acknowledged"]
