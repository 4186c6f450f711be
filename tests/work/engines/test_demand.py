"""What a batch system is asked to make room for: the jobs that could start if there were any."""

from __future__ import annotations

from datetime import timedelta

import pytest

from queuectl import Spool
from queuectl.core.fields import Body
from queuectl.core.groups import ALL, Choice
from queuectl.core.settings import Settings
from queuectl.spool.system import clock
from queuectl.work.context import Context
from queuectl.work.engines.demand import Demand
from queuectl.work.report import Report
from queuectl.work.terms import Ask
from tests.support import CommandLine


class Terms:
    """An engine of at most four slots a job, and of an hour."""

    own_seats: frozenset[str] = frozenset()

    def ask_of(self, id: str, body: Body) -> Ask:
        return Ask(body.slots or 1, body.timeout)

    def has_place_for(self, ask: Ask) -> bool:
        return False

    def why_never(self, ask: Ask) -> str:
        return "too large" if ask.slots > 4 or (ask.timeout or 0) > 3600 else ""


def slots(spool: Spool, most: int = 100, choice: Choice = ALL) -> int:
    context = Context(spool, Report("quiet"), Settings())
    demand = Demand(context, choice, Terms())
    return sum(ask.slots for ask in demand.look(most))


def test_demand_is_of_what_could_start_now(spool: Spool) -> None:
    """Neither later nor held jobs count, nor those that fit nowhere, nor any of a paused queue."""
    assert slots(spool) == 0
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="wide", slots=3)
    spool.enqueue("true", id="later", run_at=clock.now() + timedelta(hours=1))
    spool.hold(spool.enqueue("true", id="held").id)
    spool.enqueue("true", id="never", slots=5)
    spool.enqueue("true", id="long", timeout=7200)
    assert slots(spool) == 4
    spool.pause()
    assert slots(spool) == 0


def test_demand_ends_at_what_can_be_given(spool: Spool) -> None:
    """Of a long backlog only the first jobs are read."""
    for number in range(30):
        spool.enqueue("true", id=f"x{number}")
    assert slots(spool, most=8) == 8


@pytest.mark.parametrize(("setting", "expected"), [("limit=2", 2), ("limit=0", 0), ("seats=3", 3)])
def test_demand_keeps_to_what_groups_allow(spool: Spool, cli: CommandLine, setting: str, expected: int) -> None:
    """To their limits and free seats; other groups are not concerned."""
    for number in range(5):
        spool.enqueue("true", id=f"gpu.{number}")
    spool.enqueue("true", id="x")
    cli.ok("group", "set", "gpu", setting)
    assert slots(spool) == expected + 1
    assert slots(spool, choice=Choice(("gpu",), ())) == expected
    assert slots(spool, choice=Choice((), ("gpu",))) == 1
