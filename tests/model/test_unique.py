"""The protocol of unique keys holds in every order in which submitters, workers and people can do their steps."""

from __future__ import annotations

import pytest

from tests.model import unique
from tests.model.interleavings import Model, search, show


@pytest.mark.parametrize("case", unique.SOUND, ids=lambda case: case.name)
def test_protocol_is_sound(case: Model) -> None:
    """One job of a key runs, one waits at most, none that was acknowledged is lost, and nothing blocks for ever."""
    report = search(case)
    assert report.fault is None, show(report)
    assert report.states > 1000


@pytest.mark.parametrize("case", unique.BROKEN, ids=lambda case: case.name)
def test_every_broken_reading_is_caught(case: Model) -> None:
    """Each part of the protocol is needed: without it the search finds a trace to what must not be."""
    report = search(case)
    assert report.fault is not None
    assert not report.fault.startswith("unfinished")
