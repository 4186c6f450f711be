"""Filters: what each lets through, by names alone where that is possible."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from queuectl import Spool, State
from queuectl.core.names import HELD_AT, FinishedName, PendingName
from queuectl.core.result import Result
from queuectl.spool.reading.filters import Filter, select
from queuectl.spool.system.layout import STATES
from tests.spool.given import NOW, put, running_name

HOUR = timedelta(hours=1)


@pytest.fixture
def full(spool: Spool) -> Spool:
    """Jobs of every state, at NOW or an hour around it."""
    put(spool.layout, PendingName(10, NOW + HOUR, 0, "later"), "rsync a b")
    put(spool.layout, PendingName(10, HELD_AT, 0, "held"), ["echo", "a", "b"])
    put(spool.layout, running_name("runs"), "sleep 9", State.RUNNING)
    put(spool.layout, FinishedName(NOW - HOUR, 10, 1, Result.exit(0), 5, "good"), "true", State.DONE)
    put(spool.layout, FinishedName(NOW, 10, 1, Result.exit(3), 5, "bad"), "rsync c d", State.DEAD)
    put(spool.layout, FinishedName(NOW + HOUR, 10, 1, Result.signal(9), 5, "shot"), "sleep 9", State.DEAD)
    put(spool.layout, FinishedName(NOW, 10, 1, Result("invalid"), 0, "torn"), state=State.DEAD).write_text("{")
    return spool


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Filter(STATES), {"later", "held", "runs", "good", "bad", "shot", "torn"}),
        (Filter((State.DEAD,)), {"bad", "shot", "torn"}),
        (Filter(STATES, lambda name: name.id.startswith("s")), {"shot"}),
        (Filter(STATES, since=NOW), {"later", "held", "runs", "bad", "shot", "torn"}),
        (Filter(STATES, until=NOW), {"runs", "good", "bad", "torn"}),
        (Filter(STATES, since=NOW, until=NOW), {"runs", "bad", "torn"}),
        (Filter(STATES, results=("exit3",)), {"bad"}),
        (Filter(STATES, results=("exit",)), {"good", "bad"}),
        (Filter(STATES, results=("signal", "invalid")), {"shot", "torn"}),
        (Filter(STATES, results=("failed",)), {"bad", "shot", "torn"}),
        (Filter(STATES, results=("succeeded",)), {"good"}),
        (Filter(STATES, match=re.compile("^rsync")), {"later", "bad"}),
        (Filter(STATES, match=re.compile("a b$")), {"later", "held"}),
        (Filter(STATES, match=re.compile("o{2}")), {"good"}),
        (Filter((State.DEAD,), match=re.compile("sleep"), results=("exit",)), set()),
    ],
)
def test_filters_that_match(full: Spool, wanted: Filter, ids: set[str]) -> None:
    """A job must be everything that is asked for; the text is looked for in ids and commands."""
    assert {job.id for job in select(full.layout, wanted)} == ids


def test_order_and_the_limit(full: Spool) -> None:
    """Finished jobs come newest first, and no more than asked for."""
    assert [job.id for job in select(full.layout, Filter((State.DEAD,)), 1)] == ["shot"]
    assert [job.id for job in select(full.layout, Filter((State.DEAD,), results=("exit", "signal")))] == ["shot", "bad"]
