"""The protocols of the drop box and the outbox, in every order of their steps, with crashes between any two."""

from __future__ import annotations

import pytest

from tests.model import inbox, outbox
from tests.model.interleavings import Model, search, show


@pytest.mark.parametrize("case", [*inbox.SOUND, *outbox.SOUND], ids=lambda case: case.name)
def test_protocol_is_sound(case: Model) -> None:
    """No file is lost, none becomes two, no job is unseen or without entry, and the end can always be reached."""
    report = search(case)
    assert report.fault is None, show(report)
    assert report.states > 20


@pytest.mark.parametrize("case", [*inbox.BROKEN, *outbox.BROKEN], ids=lambda case: case.name)
def test_broken_readings_are_all_caught(case: Model) -> None:
    """Each part of the protocol is needed: without it the search finds a trace to what must not be."""
    report = search(case)
    assert report.fault is not None
    assert not report.fault.startswith("unfinished")
    assert report.trace


def test_merging_states_hides_nothing() -> None:
    """Identifying actors by their place and variables finds what identifying them by all that they have seen does."""
    for case in (*inbox.BROKEN[:4], inbox.BROKEN[7]):
        merged, whole = search(case), search(case, merge=False, most=300_000)
        assert (merged.fault, len(merged.trace)) == (whole.fault, len(whole.trace))
