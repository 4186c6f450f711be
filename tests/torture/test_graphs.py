"""Random graphs of dependencies under kills, in their short form; the long one is in `python -m tests.torture`."""

from __future__ import annotations

from pathlib import Path

from tests.torture import graphs


def test_random_graph_ends_as_its_rules_say(tmp_path: Path) -> None:
    """Whatever is killed, exactly what must run has run, in order, and the rest is skipped, into its directory; also
    after some of those that failed were retried."""
    found = graphs.run(tmp_path, jobs=60, kills=4, seed=7)
    assert found.problems == []
    assert found.ran
    assert found.skipped
    assert found.retried
