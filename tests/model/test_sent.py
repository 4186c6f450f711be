"""An attempt that was sent to an engine is settled as it should be, whichever bridges and processes die, and when."""

from __future__ import annotations

import pytest

from tests.model import sent
from tests.model.interleavings import Model, search, show


@pytest.mark.parametrize("case", sent.SOUND, ids=lambda case: case.name)
def test_takeover_is_sound(case: Model) -> None:
    """Nothing that has begun is given back for nothing, nothing that runs is lost, and all is settled in the end."""
    report = search(case)
    assert report.fault is None, show(report)
    assert report.states > 100


@pytest.mark.parametrize("case", sent.BROKEN, ids=lambda case: case.name)
def test_every_broken_reading_of_the_takeover_is_caught(case: Model) -> None:
    """Each part of the protocol is needed: without it the search finds a trace to what must not be."""
    report = search(case)
    assert report.fault is not None
    assert not report.fault.startswith("unfinished")
