"""Several hosts that share a spool: the protocol in every order of its steps, with hosts that die, stop and return."""

from __future__ import annotations

import pytest

from tests.model import hosts_cases, hosts_replies
from tests.model.interleavings import Model, search, show


@pytest.mark.parametrize(
    "case", [*hosts_cases.SOUND, *hosts_cases.WIDE, *hosts_replies.SOUND], ids=lambda case: case.name
)
def test_protocol_is_sound(case: Model) -> None:
    """No job runs twice at once unless a false gone was said, none is lost, and each comes to its end."""
    report = search(case)
    assert report.fault is None, show(report)
    assert report.states > 8


@pytest.mark.parametrize("case", [*hosts_cases.BROKEN, *hosts_replies.BROKEN], ids=lambda case: case.name)
def test_every_broken_reading_is_caught(case: Model) -> None:
    """Each part of the protocol is needed: without it the search finds a trace to what must not be."""
    report = search(case)
    assert report.fault is not None
    assert not report.fault.startswith("unfinished")
