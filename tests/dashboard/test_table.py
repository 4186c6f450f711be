from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from queuectl import Job, Spool
from queuectl.dashboard import table
from queuectl.dashboard.snapshot import Snapshot, View
from queuectl.dashboard.table import Filter
from queuectl.spool.system.clock import now
from tests.spool.given import put_finished


@pytest.fixture
def view(spool: Spool) -> Iterator[View]:
    """Eight jobs: two of each kind of waiting, and finished ones from an hour ago."""
    for number in range(2):
        spool.enqueue(f"echo Ready {number}", id=f"ready-{number}")
        spool.enqueue("true", id=f"later-{number}", run_at=now() + timedelta(hours=1))
    put_finished(spool.layout, "old-failed", "exit1")
    put_finished(spool.layout, "old-timeout", "timeout")
    snapshot = Snapshot(spool)
    yield snapshot.view()
    snapshot.close()


def ids(spool: Spool, view: View, wanted: Filter) -> list[str]:
    return [job.id for job in table.load(spool.layout, view, wanted, now()).jobs]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"state": "ready"}, {"ready-0", "ready-1"}),
        ({"state": "scheduled"}, {"later-0", "later-1"}),
        ({"state": "dead", "result": "timeout"}, {"old-timeout"}),
        ({"state": "dead", "age": "15m"}, set()),
        ({"q": "READY 1"}, {"ready-1"}),
        ({"q": "old-"}, {"old-failed", "old-timeout"}),
        ({"q": "old-failed"}, {"old-failed"}),
        ({"result": "exit1"}, {"old-failed"}),
    ],
)
def test_filter_shows_what_it_says(spool: Spool, view: View, query: dict[str, str], expected: set[str]) -> None:
    """State, text, result and age, each alone."""
    found = ids(spool, view, Filter.parse(query))
    assert len(found) == len(set(found))
    assert set(found) == expected


def test_pages_hold_every_job_once(spool: Spool, view: View) -> None:
    """Following `next` shows all, in the order of `queuectl list`."""
    start: int | None = 0
    found: list[Job] = []
    while start is not None:
        page = table.load(spool.layout, view, Filter(start=start), now(), rows=2)
        found += page.jobs
        start = page.next_start
    assert [job.id for job in found] == [job.id for job in spool.list()]


def test_search_continues_where_its_time_was_over(spool: Spool, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time for all, the page says where to search on, and nothing is lost between pages."""
    monkeypatch.setattr(table, "_SEARCH_TIME", 0.0)
    monkeypatch.setattr(table, "_SEARCH_STEP", 1)
    start: int | None = 0
    found: list[str] = []
    while start is not None:
        page = table.load(spool.layout, view, Filter(text="true", start=start), now())
        assert page.looked <= 1
        found += [job.id for job in page.jobs]
        start = page.next_start
    assert sorted(found) == ["later-0", "later-1", "old-failed", "old-timeout"]


def test_address_holds_the_filter() -> None:
    """Parsing what `address` wrote gives the filter again, whatever its text."""
    from urllib.parse import parse_qsl

    wanted = Filter("dead", 'a&b=<"ü%', "exit1", "1h", 200)
    assert Filter.parse(dict(parse_qsl(wanted.address()[1:]))) == wanted
    assert Filter().address() == ""


def test_action_on_all_that_match_reaches_beyond_the_page(spool: Spool) -> None:
    """An action for all that match gets every job that the filter selects."""
    for number in range(table.ROWS + 20):
        put_finished(spool.layout, f"job-{number}", "exit1" if number % 2 else "timeout")
    snapshot = Snapshot(spool)
    found = list(table.matching(spool.layout, snapshot.view(), Filter("dead", result="exit1", start=40), now()))
    snapshot.close()
    assert len(found) == (table.ROWS + 20) // 2
