"""Why a job is not running: each reason, in the order in which they matter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from queuectl import NotFoundError, Spool, State
from queuectl.core.names import HELD_AT, FinishedName, PendingName
from queuectl.core.result import Result
from queuectl.spool.reading import explain
from queuectl.spool.reading.explain import Explanation
from queuectl.spool.system import clock, lease
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, put, put_finished, running_name


@pytest.fixture
def worker(layout: Layout) -> Iterator[str]:
    """The name of a worker with two slots, according to its file."""
    with lease.WorkerLease(layout, "web1", {"slots": 2}) as living:
        yield living.name


def words(found: Explanation) -> list[str]:
    return [reason.reason for reason in found.reasons]


def soon(seconds: float) -> datetime:
    return clock.now() + timedelta(seconds=seconds)


def test_due(spool: Spool, worker: str) -> None:
    """With a free slot and nothing in its way a job starts at any moment."""
    assert worker
    put(spool.layout, PendingName(10, NOW, 0, "x"))
    found = spool.explain("x")
    assert (words(found), found.ahead, found.state) == (["due"], 0, "pending")
    assert found.starts_at is not None


def test_explain_without_a_worker(spool: Spool) -> None:
    """When it starts is unknown."""
    put(spool.layout, PendingName(10, NOW, 0, "x"))
    found = spool.explain("x")
    assert (words(found), found.starts_at) == (["no-worker"], None)


def test_stopping_worker_takes_no_job(spool: Spool) -> None:
    """It counts for nothing, whatever slots it has; another worker beside it does."""
    put(spool.layout, PendingName(10, NOW, 0, "x"))
    with lease.WorkerLease(spool.layout, "web1", {"slots": 2}) as stopping:
        stopping.say_stopping(NOW)
        (reason,) = spool.explain("x").reasons
        assert reason.text == "all workers are stopping; to start one: queuectl worker start"
        with lease.WorkerLease(spool.layout, "web1", {"slots": 1}):
            assert words(spool.explain("x")) == ["due"]


def test_job_behind_many_that_wait_for_seats(spool: Spool, worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker passes over so many, and no more; a job that is not behind them starts."""
    assert worker
    monkeypatch.setattr(explain, "MOST_ASIDE", 3)
    for number in range(4):
        put(spool.layout, PendingName(5, NOW, 0, f"a{number}"), seats={"gpu": 1})
    put(spool.layout, PendingName(10, NOW, 0, "x"))
    with lease.WorkerLease(spool.layout, "web1", {"slots": 2}):
        assert "line" in words(spool.explain("x"))
        assert "line" not in words(spool.explain("a1"))


def test_scheduled_retrying_held(spool: Spool, worker: str) -> None:
    """Its own time comes first, with how often it was tried and how that ended."""
    assert worker
    later, again = soon(3600), soon(14)
    put(spool.layout, PendingName(10, later, 0, "later"))
    put(spool.layout, PendingName(10, again, 2, "again"), max_retries=5)
    put(spool.layout, PendingName(10, HELD_AT, 0, "held"))
    note = "#queuectl note attempt=2 ended_at=20261124T034312.420Z duration=0.532\n"  # which follows in a worker's log
    Path(spool.layout.log("again")).write_text(f"x\n\n#queuectl end attempt=2 started_at=x exit=7\n{note}")
    scheduled, *_ = spool.explain("later").reasons
    assert (scheduled.reason, scheduled.until) == ("scheduled", later)
    (retry,) = spool.explain("again").reasons
    assert (retry.reason, retry.until) == ("retry", again)
    assert retry.text.startswith("retry 2 of 5 in 1")
    assert retry.text.endswith(", after exit7")
    found = spool.explain("held")
    assert (words(found), found.ahead, found.starts_at) == (["held"], None, None)


def test_behind_others(spool: Spool, worker: str) -> None:
    """Those that will be due before it and stand before it are counted, and their time is estimated."""
    put(spool.layout, PendingName(10, NOW, 0, "x"))
    put(spool.layout, PendingName(9, NOW, 0, "before"))
    put(spool.layout, PendingName(9, soon(3600), 0, "urgent-but-later"))
    put(spool.layout, PendingName(9, HELD_AT, 0, "urgent-but-held"))
    put(spool.layout, PendingName(11, NOW, 0, "after"))
    for id in ("a", "b"):
        put(spool.layout, running_name(id, worker=worker), state=State.RUNNING)
    for number, result in enumerate((Result.exit(0), Result.exit(0), Result("cancelled"))):
        name = FinishedName(NOW, 10, 1, result, (10_000, 30_000, 900_000)[number], f"f{number}")
        put(spool.layout, name, state=State.DONE if result.is_success else State.DEAD)
    found = spool.explain("x")
    assert (words(found), found.ahead) == (["busy", "behind"], 1)
    assert found.starts_at is not None
    assert 9 <= (found.starts_at - clock.now()).total_seconds() <= 10
    assert found.reasons[1].text == "1 job before it"


def test_paused(spool: Spool, worker: str) -> None:
    """With the reason; if the pause has an end, so has the estimate."""
    assert worker
    put(spool.layout, PendingName(10, NOW, 0, "x"))
    spool.pause("new disks")
    (reason,) = spool.explain("x").reasons
    assert (reason.reason, reason.until) == ("paused", None)
    assert "new disks" in reason.text
    until = soon(600)
    spool.pause("", until)
    found = spool.explain("x")
    assert (found.reasons[0].until, found.starts_at) == (until, until)


def test_full_disk(spool: Spool, worker: str) -> None:
    """Too little room keeps every job from starting."""
    assert worker
    put(spool.layout, PendingName(10, NOW, 0, "x"))
    (spool.path / "config.toml").write_text('min-free = "1024T"\n')
    found = spool.explain("x")
    assert (words(found), found.starts_at) == (["full"], None)


def test_jobs_that_do_not_wait(spool: Spool, worker: str) -> None:
    """A running job is reported with its worker, or that it has none; a finished one with how it ended."""
    put(spool.layout, running_name("runs", worker=worker), state=State.RUNNING)
    put(spool.layout, running_name("orphan"), state=State.RUNNING)
    put_finished(spool.layout, "ended")
    put_finished(spool.layout, "torn", "invalid").write_text("{")
    assert words(spool.explain("runs")) == ["running"]
    assert words(spool.explain("orphan")) == ["running", "orphaned"]
    assert spool.explain("ended").reasons[0].text == "it ended after 1 attempt: exit1 in 1.5 s"
    assert words(spool.explain("torn")) == ["ended", "invalid"]


@pytest.mark.parametrize(
    ("name", "data", "asked", "reason"),
    [
        ("report.json", '{"command": "tr', "report", "incomplete"),
        ("report.json", '{"command": 7}', "report.json", "invalid"),
        ("report.json", '{"command": "true", "id": "x"}', "pending/report.json", "duplicate"),
        ("report.json~", "{}", "report.json~", "ignored"),
    ],
)
def test_file_that_is_not_a_job_yet(spool: Spool, worker: str, name: str, data: str, asked: str, reason: str) -> None:
    """A dropped file is found by its name, and reported with the reason why it is not adopted."""
    assert worker
    put_finished(spool.layout, "x")
    Path(spool.layout.job(State.PENDING, name)).write_text(data)
    found = spool.explain(asked)
    assert (found.state, words(found)) == ("dropped", ["dropped", reason])


def test_explain_of_an_unknown_name(spool: Spool) -> None:
    """Neither a job nor a file is NotFoundError."""
    with pytest.raises(NotFoundError):
        spool.explain("nothing")


@pytest.mark.parametrize(
    ("id", "said", "text"),
    [
        (
            "gpu.1",
            {"not_groups": ["gpu"]},
            "no living worker takes the group gpu; to start one: queuectl worker start --group gpu",
        ),
        ("x", {"groups": ["gpu"]}, "no living worker takes jobs without a group; to start one: queuectl worker start"),
    ],
)
def test_explain_a_job_that_no_living_worker_takes(
    spool: Spool, id: str, said: dict[str, list[str]], text: str
) -> None:
    """Workers for other jobs do not count, and the line to type starts one that takes it."""
    put(spool.layout, PendingName(10, NOW, 0, id))
    with lease.WorkerLease(spool.layout, "web1", {"slots": 2, **said}):
        found = spool.explain(id)
    assert ([reason.text for reason in found.reasons], found.starts_at) == ([text], None)
