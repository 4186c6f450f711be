from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote

import pytest

from queuectl import Spool, State
from queuectl.dashboard import table
from queuectl.dashboard.snapshot import Snapshot
from queuectl.spool.system.clock import now
from tests.dashboard import hostile
from tests.dashboard.client import Client
from tests.dashboard.conftest import Serve
from tests.dashboard.test_operations import receipt
from tests.spool.given import put, put_finished, running_name
from tests.spool.reading.test_causes import died

LINE = quote("KeyError: N")


def shown(text: str) -> list[tuple[str, str, str]]:
    """(count, result, line) of each cause on a page."""
    found = re.findall(r'<li class="cause".*?</li>', text, re.DOTALL)
    return [tuple(re.findall(r'class="(?:value|result|said)"[^>]*>([^<]*)<', each)) for each in found]


def fill(spool: Spool) -> None:
    for number in range(3):
        died(spool, f"key-{number}", f"KeyError: {number}")
    died(spool, "killed", "Killed", "signal9")


def test_dead_letters_are_grouped_by_their_last_line(spool: Spool, serve: Serve) -> None:
    """With counts; a click lists those of one cause alone, whatever its numbers were."""
    fill(spool)
    client = serve()
    assert shown(client.get("/dead").text) == [("3", "exit1", "KeyError: N"), ("1", "signal9", "Killed")]
    page = client.get(f"/dead?result=exit1&line={LINE}").text
    assert shown(page) == [("3", "exit1", "KeyError: N")]
    assert sorted(re.findall(r'data-key="(key-\d|killed)"', page)) == ["key-0", "key-1", "key-2"]
    assert [job["id"] for job in client.get("/api/dead?line=Killed").json] == ["killed"]
    assert shown(client.get("/dead?group=none").text) == []


def test_skipped_jobs_are_grouped_under_their_cause(spool: Spool, serve: Serve) -> None:
    """By the job because of which they were skipped, whatever its name ends in; a click lists them."""
    for id in ("lr.1", "lr.2"):
        spool.enqueue("true", id=id)
        spool.cancel(id)
    for id, cause in (("a", "lr.1"), ("b", "lr.1"), ("c", "lr.2")):
        spool.enqueue("true", id=id, after=[cause])
    client = serve()
    found = shown(client.get("/dead").text)
    assert ("2", "skipped", "because of lr.1") in found
    assert ("1", "skipped", "because of lr.2") in found
    page = client.get(f"/dead?result=skipped&line={quote('because of lr.1')}").text
    assert sorted(re.findall(r'data-key="([abc])"', page)) == ["a", "b"]


def test_all_of_one_cause_are_retried(spool: Spool, client: Client) -> None:
    """Those of another cause stay."""
    fill(spool)
    client.open("/dead")
    form = {"all": "1", "state": "dead", "result": "exit1", "line": "KeyError: N", "back": "/dead"}
    assert "Retry 3 jobs?" in client.post("/actions/retry", form).text
    client.post("/actions/retry", {**form, "confirmed": "1"})
    assert receipt(client) == "Retried 3 jobs. Undo"
    assert [job.id for job in spool.list(State.DEAD)] == ["killed"]


def test_hostile_last_lines_are_text(spool: Spool, client: Client) -> None:
    """Whatever jobs have written last is shown as text, and its link finds them."""
    for number, text in enumerate(hostile.CORPUS):
        died(spool, f"x{number}", text.encode("utf-8", "replace").decode())
    page = client.get("/dead").text
    assert not any(marker in page for marker in hostile.MARKERS)
    for _, _, line in shown(page):
        assert line


def test_search_in_logs(spool: Spool, serve: Serve) -> None:
    """Jobs whose logs have a text, with the line, marked, and a link to it; running ones too; ids do not count."""
    fill(spool)
    put(spool.layout, running_name(id="runs"), state=State.RUNNING)
    spool.log_path("runs").write_text("a keyerror: here\n")
    client = serve()
    page = client.get("/jobs?q=keyerror&in=logs").text
    assert sorted(re.findall(r'<tr class="row" data-key="([^"]*)"', page)) == ["key-0", "key-1", "key-2", "runs"]
    assert "a <mark>keyerror</mark>: here" in page
    at = re.search(r"/jobs/key-1\?find=keyerror&amp;hit=(\d+)", page)
    assert at is not None
    assert "<mark>KeyError</mark>: 1" in client.get(f"/jobs/key-1?find=keyerror&hit={at[1]}").text
    assert 'data-key="killed"' not in client.get("/jobs?q=killed-&in=logs").text
    assert client.get("/jobs?in=nowhere").status == 400


def test_search_in_logs_continues_inside_a_long_one(
    spool: Spool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that runs out of time says so, and goes on from there to the end, in the middle of a log if need be."""
    put_finished(spool.layout, "long")
    with spool.log_path("long").open("wb") as log:
        for _ in range(3):
            log.write(b"hay hay hay hay\n" * (1 << 17))
        log.write(b"the needle\n")
    wanted, pages = table.Filter(text="needle", in_logs=True), 0
    monkeypatch.setattr(table, "_LOG_SEARCH_TIME", 0.0)
    snapshot = Snapshot(spool)
    try:
        found = table.load(spool.layout, snapshot.view(), wanted, now())
        while not found.jobs and found.next_start is not None:
            pages += 1
            wanted = replace(wanted, start=found.next_start, at=found.next_at)
            found = table.load(spool.layout, snapshot.view(), wanted, now())
    finally:
        snapshot.close()
    assert [job.id for job in found.jobs] == ["long"]
    assert pages > 2
