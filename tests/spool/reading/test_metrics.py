"""How the queue has been doing, from names alone."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.names import FinishedName
from queuectl.core.result import Result, State
from queuectl.spool.reading.metrics import Metrics, Used, measure, percentile
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, pending_name, put, put_finished, running_name


def finish(layout: Layout, result: str, age: timedelta, seconds: float, attempts: int = 1) -> None:
    parsed = Result.parse(result)
    state = State.DONE if parsed.is_success else State.DEAD
    id = f"j{age.total_seconds():.0f}-{result}-x"
    put(layout, FinishedName(NOW - age, 10, attempts, parsed, round(seconds * 1000), id), state=state)


def test_empty_spool(layout: Layout) -> None:
    """Of nothing there is no rate, no mean and no percentile."""
    assert measure(layout, NOW) == Metrics(0, 0, 0, 0, None, 0, {}, None, None, None, None, 0, 0, 0, 0.0)


def test_day_that_does_not_exist(layout: Layout) -> None:
    """A file of another's making, newer than all others, makes no rate impossible."""
    Path(layout.directory(State.DONE), "20261131T101010.101Z-010-1-exit0-1.000s-a.json").touch()
    assert measure(layout, NOW).per_minute == pytest.approx(1 / 60)


def test_numbers_from_names(layout: Layout) -> None:
    """Counts, rates and durations are those in the names of done/ and dead/."""
    finish(layout, "exit0", timedelta(seconds=30), 1.0)
    finish(layout, "exit0", timedelta(seconds=60), 2.0, attempts=3)
    finish(layout, "exit0", timedelta(minutes=30), 3.0)
    finish(layout, "exit1", timedelta(hours=1), 4.0, attempts=4)
    finish(layout, "timeout", timedelta(hours=2), 10.0)
    finish(layout, "cancelled", timedelta(hours=3), 500.0)
    finish(layout, "invalid", timedelta(days=2), 0.0, attempts=0)
    put(layout, pending_name("p"))
    put(layout, running_name("r"), state=State.RUNNING)
    for state in (State.DONE, State.DEAD):
        put(layout, "99999999T999999.999Z-010-1-exit0-1.000s-x.json", state=state)
        put(layout, "notes.json", state=state)
    found = measure(layout, NOW)
    assert (found.finished, found.done, found.dead, found.success_rate) == (7, 3, 4, 3 / 7)
    assert found.attempts == 1 + 3 + 1 + 4 + 1 + 1
    assert found.results == {"exit0": 3, "exit1": 1, "timeout": 1, "cancelled": 1, "invalid": 1}
    assert next(iter(found.results)) == "exit0"
    assert (found.mean, found.p50, found.p95, found.longest) == (4.0, 3.0, 10.0, 10.0)
    assert (found.last_minute, found.last_hour, found.last_day) == (2, 4, 6)
    assert found.per_minute == 4 / 60


@pytest.mark.parametrize(
    ("age", "minutes"), [(timedelta(minutes=10), 10), (timedelta(0), 1 / 60), (-timedelta(hours=1), 1 / 60)]
)
def test_young_spool(layout: Layout, age: timedelta, minutes: float) -> None:
    """Before an hour has passed the rate is that since the first job, of a second at least."""
    finish(layout, "exit0", age, 1.0)
    assert measure(layout, NOW).per_minute == pytest.approx(1 / minutes)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.5, 7.0),
        ([7.0], 0.95, 7.0),
        ([1.0, 2.0], 0.5, 1.0),
        ([1.0, 2.0, 3.0], 0.5, 2.0),
        ([15.0, 20.0, 35.0, 40.0, 50.0], 0.3, 20.0),
        ([15.0, 20.0, 35.0, 40.0, 50.0], 0.4, 20.0),
        ([15.0, 20.0, 35.0, 40.0, 50.0], 1.0, 50.0),
        ([float(value) for value in range(1, 101)], 0.95, 95.0),
        ([float(value) for value in range(1, 20)], 0.95, 19.0),
        ([float(value) for value in range(1, 21)], 0.95, 19.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float | None) -> None:
    """A percentile is the smallest value that at least that share do not exceed."""
    assert percentile(Counter(round(value * 1000) for value in values), share) == expected


def test_metrics_of_a_group_say_what_its_jobs_used(spool: Spool) -> None:
    """The most memory, that of the median, all CPU time, and the waits, by the logs that say it; no other jobs."""
    for number, size in enumerate((30, 10, 20)):
        put_finished(spool.layout, f"gpu.{number}")
        used = f"note used attempt=1 max_rss={size} cpu_user=1.5 cpu_system=0.25 waited={size / 10}"
        Path(spool.layout.log(f"gpu.{number}")).write_text(f"out\n#queuectl {used}\n")
    for id, text in (("gpu.odd", "max_rss=9 is what it printed"), ("other.x", ""), ("gpu.empty", "")):
        put_finished(spool.layout, id)
        Path(spool.layout.log(id)).write_text(text)
    assert spool.metrics(group="gpu").usage == Used(3, 30, 20, 5.25, 2, 3)
    assert spool.metrics(group="other").usage is None
    assert spool.metrics().usage is None
