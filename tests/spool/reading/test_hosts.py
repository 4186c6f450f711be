"""What is known of the hosts that share a spool."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest

from queuectl import Spool
from queuectl.core.groups import ALL
from queuectl.core.names import RunningName, format_time
from queuectl.core.result import State
from queuectl.spool.reading import hosts
from queuectl.spool.reading.itself import Itself
from queuectl.spool.system import beats, clock, host, versions
from queuectl.spool.system.beats import Mark
from queuectl.spool.upkeep import fsck
from queuectl.work import drain
from queuectl.work.context import Context
from queuectl.work.report import Report
from tests.spool.given import put

OTHER = "web2.aaaaaa"
WORKER = f"{OTHER}.42.bbbb"


def mark(spool: Spool, number: int | None, by: str = WORKER) -> Mark:
    """The mark of another host."""
    found = Mark(OTHER, number, by)
    (spool.path / "hosts" / str(found)).touch()
    return found


def worker(spool: Spool, name: str = WORKER, **info: Any) -> None:
    """What a worker's file says."""
    known = {"worker": name, "host": "web2.example.org", "format": versions.FORMAT}
    (spool.path / "workers" / f"{name}.json").write_text(json.dumps({**known, **info}))


def state(spool: Spool) -> hosts.HostState:
    return next(each for each in spool.hosts() if each.host == OTHER)


def test_local_spool_has_none(spool: Spool) -> None:
    """Nor has anything else of a spool that is not shared changed by that."""
    assert spool.hosts() == []
    assert [*fsck.check(spool.layout, "web1")] == []


def test_host_that_beats_lives(shared: Spool) -> None:
    """With what runs there, as names in running/ say."""
    mark(shared, 3)
    worker(shared)
    put(shared.layout, RunningName(clock.now(), 10, 1, WORKER, "x"), state=State.RUNNING)
    found = state(shared)
    assert (found.name, found.contact, found.workers, found.runs) == ("web2.example.org", "alive", (WORKER,), ("x",))
    assert found.problems == []
    (listed,) = shared.workers()
    assert (listed["alive"], listed["state"], listed["contact"]) == (True, "working", "alive")


def test_beat_that_a_worker_has_watched_for_a_minute_has_lost_contact(shared: Spool) -> None:
    """So a command knows it that looks for the first time; not of the next beat."""
    seen = mark(shared, 3)
    worker(shared)
    worker(shared, "web3.cccccc.7.dddd", host="web3", lost=[str(seen)])
    assert state(shared).contact == "lost"
    assert f"queuectl worker gone {OTHER}" in state(shared).advice
    assert [each["state"] for each in shared.workers() if each["worker"] == WORKER] == ["lost"]
    assert any(OTHER in finding.what for finding in fsck.check(shared.layout, "web1"))
    assert beats.renew(shared.layout, seen, WORKER)
    assert state(shared).contact == "alive"


@pytest.mark.parametrize(("number", "by", "contact"), [(None, "web1", "gone"), (4, "left", "left")])
def test_host_without_beats_is_shown_while_something_of_it_is_left(
    shared: Spool, number: int | None, by: str, contact: str
) -> None:
    """Once it is gone, or has left; later it is not shown."""
    mark(shared, number, by)
    assert shared.hosts() == []
    worker(shared)
    assert state(shared).contact == contact
    assert [each["alive"] for each in shared.workers()] == [contact != "gone"]


@pytest.mark.parametrize(
    ("ahead", "said"),
    [(3600, "ahead"), (-3600, "behind"), (0, ""), (-9, ""), (20, "")],
)
def test_clock_that_differs_is_reported(shared: Spool, ahead: float, said: str) -> None:
    """From the time of a beat that this host has just seen; not what a beat's delay explains."""
    mark(shared, 3)
    worker(shared, beat=3, beat_at=format_time(clock.now() + timedelta(seconds=ahead)))
    problem = state(shared).clock_problem
    assert said in problem
    assert bool(problem) == bool(said)
    assert state(shared).ahead == pytest.approx(ahead, abs=12)


@pytest.mark.parametrize(
    ("number", "said"), [(3, f"queuectl worker gone {OTHER}"), (None, "the next worker of any host")]
)
def test_job_of_such_a_host_is_explained(shared: Spool, number: int | None, said: str) -> None:
    """With what to do about it; and --drain does not wait for one of a host that has lost contact."""
    seen = mark(shared, number, WORKER)
    worker(shared, lost=[str(seen)])
    put(shared.layout, RunningName(clock.now(), 10, 1, WORKER, "x"), state=State.RUNNING)
    assert any(said in reason.text for reason in shared.explain("x").reasons)
    context = Context(shared, Report(stream=io.StringIO()), shared.settings)
    is_over = drain.can_nothing_start(context, Itself("", ""), ALL, (), is_paused=False)
    assert is_over == (number is not None)
    assert any(said in text for text in drain.describe_left(context, ALL, {})) == (number is not None)


def test_this_host_is_known(shared: Spool) -> None:
    """It needs no beats of its own to be seen."""
    beats.join(shared.layout, "web1")
    (found,) = shared.hosts()
    assert (found.host, found.contact) == (host.here(shared.layout).name, "here")
