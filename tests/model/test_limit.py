"""The limit of a group holds in every order in which workers can claim, list, give back, die and be adopted from."""

from __future__ import annotations

import pytest

from tests.model import limit
from tests.model.interleavings import Model, search, show


@pytest.mark.parametrize("case", limit.SOUND, ids=lambda case: case.name)
def test_protocol_is_sound(case: Model) -> None:
    """Never more than the limit run, nobody waits for ever, and nobody goes round for ever."""
    report = search(case)
    assert report.fault is None, show(report)
    assert report.states > 500


@pytest.mark.parametrize("case", limit.BROKEN, ids=lambda case: case.name)
def test_every_broken_reading_is_caught(case: Model) -> None:
    """Each part of the protocol is needed: without it the search finds a trace to what must not be."""
    report = search(case)
    assert report.fault is not None
    assert not report.fault.startswith("unfinished")
