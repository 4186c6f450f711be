"""Jobs that wait for others: the protocol in every order in which its steps can come, with crashes between any two."""

from __future__ import annotations

import pytest

from tests.model import edges_cases, looks, renumber
from tests.model.interleavings import Model, search, show


@pytest.mark.parametrize("case", [*edges_cases.SOUND, *looks.SOUND, *renumber.SOUND], ids=lambda case: case.name)
def test_protocol_is_sound(case: Model) -> None:
    """No job starts before its condition holds, none has two files, and all come to where they belong."""
    report = search(case)
    assert report.fault is None, show(report)
    assert report.states > 15


@pytest.mark.parametrize("case", [*edges_cases.BROKEN, *looks.BROKEN, *renumber.BROKEN], ids=lambda case: case.name)
def test_every_broken_reading_is_caught(case: Model) -> None:
    """Each part of the protocol is needed: without it the search finds a trace to what must not be."""
    report = search(case)
    assert report.fault is not None
    assert not report.fault.startswith("unfinished")
