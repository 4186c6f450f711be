"""The protocol of schedules holds in every order in which workers, prune and people can do their steps."""

from __future__ import annotations

import pytest

from tests.model import ticks
from tests.model.interleavings import Model, search, show


@pytest.mark.parametrize("case", ticks.SOUND, ids=lambda case: case.name)
def test_protocol_is_sound(case: Model) -> None:
    """No tick is submitted twice, and none that is wanted is left out for ever."""
    report = search(case)
    assert report.fault is None, show(report)
    assert report.states > 20


@pytest.mark.parametrize("case", ticks.BROKEN, ids=lambda case: case.name)
def test_every_broken_reading_is_caught(case: Model) -> None:
    """Each part of the protocol is needed: without it the search finds a trace to what must not be."""
    report = search(case)
    assert report.fault is not None
    assert not report.fault.startswith("unfinished")
