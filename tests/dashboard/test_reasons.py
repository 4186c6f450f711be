"""The pages show every reason that `queuectl explain` can give, in its words."""

from __future__ import annotations

import json
import os
import re
from contextlib import ExitStack
from datetime import timedelta
from html import unescape
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.core.names import ASKING_AT, PendingName, format_time
from queuectl.dashboard import wording
from queuectl.spool.reading import explain
from queuectl.spool.reading.explain import Explanation
from queuectl.spool.system import groups, lease, processes, schedules
from queuectl.spool.system.clock import now
from tests.dashboard.client import Client
from tests.dashboard.conftest import Serve
from tests.spool.given import NOW, locked_log, put, put_finished, running_name
from tests.support import reason_words, wait_for

OWN = {
    "running": "attempt 1, started",
    "ended": "after 1 attempt",
    "dropped": "Not taken yet",
}
"""Reasons that a page gives in its own way, and what it says."""

ABOUT_HOSTS = {"lost-contact", "host-gone"}


class Pages:
    """Compares what pages show with what `explain` says; `seen` are the words that were shown."""

    def __init__(self, spool: Spool, client: Client) -> None:
        self._spool = spool
        self._client = client
        self.seen: set[str] = set()

    def check(self, id: str, word: str) -> None:
        """`explain` gives that reason for it, and its page shows that, and each other one."""
        found = self._spool.explain(id)
        assert word in [reason.reason for reason in found.reasons], (id, found.reasons)
        wait_for(lambda: not self._left(id, found), f"every reason of {id}, {found.reasons}")
        self.seen.update(reason.reason for reason in found.reasons)

    def _left(self, id: str, found: Explanation) -> list[str]:
        """What the page does not show."""
        path = {"dropped": "/refused", "schedule": "/schedules"}.get(found.state, f"/jobs/{id}")
        page = as_text(self._client.get(path).text)
        is_own = {word for word, text in OWN.items() if text in page}
        is_own |= {"invalid"} if found.state == "dead" and "it is not a runnable job" not in page else set()
        if found.state == "schedule":
            is_own |= {"scheduled"} if "next" in page else set()
        start = wording.cli(self._spool.path)
        said = {each: re.sub(": queuectl ", f": {start} ", each.text[1:]) for each in found.reasons}
        return [text for each, text in said.items() if each.reason not in is_own and plain(text) not in page]


def plain(text: str) -> str:
    """The text without times, which the pages show as they show all times, and without what passes."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}|\b\d\d:\d\d:\d\d\b", "@", text)
    return re.sub(r"\d{4}-\d\d-\d\d @", "@", re.sub(r"\bin \d+(\.\d+)? \w+( \d+ \w)?\b", "in N", text))


def as_text(page: str) -> str:
    return plain(unescape(re.sub("<[^>]*>", "", page)))


def jobs_by_hand(spool: Spool, worker: str) -> dict[str, str]:
    """A job for each reason that depends on it alone: the words, by ids."""
    layout, soon = spool.layout, now() + timedelta(hours=1)
    groups.write(layout, "full", "limit", "0")
    groups.write(layout, "net", "timeout", "2h")
    Path(layout.group("odd")).mkdir()
    Path(layout.group("odd"), "limit").write_text("many")
    spool.pause("new <disks>", group="stop")
    for id, at, attempts, fields in (
        ("now", NOW, 0, {}), ("later", soon, 0, {}), ("again", soon, 2, {}), ("full.x", NOW, 0, {}),
        ("odd.x", NOW, 0, {}), ("stop.x", NOW, 0, {}), ("chairs", NOW, 0, {"seats": {"none": 2}}),
        ("last", NOW + timedelta(days=1), 0, {}),
        ("wide", NOW, 0, {"slots": 64}), ("still", NOW, 1, {}), ("keyed", ASKING_AT, 0, {"unique": "k"}),
    ):  # fmt: skip
        put(layout, PendingName(5 if id == "now" else 10, at, attempts, id), **fields)
    put(layout, PendingName(10, NOW, 0, "broken")).write_text('{"command": 7}')
    put(layout, running_name("runs", worker=worker), state=State.RUNNING)
    put(layout, running_name("orphan"), state=State.RUNNING)
    put(layout, running_name("frozen", worker=worker), state=State.RUNNING)
    put_finished(layout, "failed")
    put_finished(layout, "torn", "invalid").write_text("{")
    put_finished(layout, "nightly.20261001T0030Z", "skipped", State.DONE)
    spool.hold(spool.enqueue("true", id="held"))
    spool.enqueue("true", id="waits", after=["now"])
    spool.enqueue("true", id="then", after=["waits"])
    spool.enqueue("true", id="pack.1")
    spool.enqueue("true", id="unpack", after=["pack."])
    spool.enqueue("true", id="use", after=["unpack"])
    spool.cancel("pack.1")
    return {
        "now": "due", "later": "scheduled", "again": "retry", "full.x": "limit", "odd.x": "group", "stop.x": "paused",
        "chairs": "seats", "last": "line", "wide": "slots", "still": "running", "keyed": "key", "broken": "invalid",
        "runs": "running", "orphan": "orphaned", "frozen": "stopped", "failed": "ended", "torn": "invalid",
        "nightly.20261001T0030Z": "skipped", "held": "held", "waits": "waiting", "then": "chain", "unpack": "skipped",
        "use": "cause",
    }  # fmt: skip


def files_by_hand(spool: Spool) -> dict[str, str]:
    """A file in pending/ for each reason why it is no job, and schedules: the words, by names."""
    pending = spool.path / "pending"
    (pending / "torn-off.json").write_text('{"command": "tr')
    (pending / "wrong.json").write_text('{"command": 7}')
    (pending / "copy.json").write_text('{"command": "true", "id": "now"}')
    (pending / "job.jsn").write_text('{"command": "true"}')
    (pending / "folder.json").mkdir()
    for name, cron in (("hourly", "0 * * * *"), ("yearly", "0 0 1 1 *"), ("never", "61 * * * *")):
        schedules.write(spool.layout, name, json.dumps({"command": "true", "cron": cron}).encode())
        if name != "yearly":
            os.utime(spool.layout.schedule(name), (0, 0))
    return {
        "torn-off.json": "incomplete", "wrong.json": "invalid", "copy.json": "duplicate", "job.jsn": "ignored",
        "folder.json": "unreadable", "hourly": "due", "yearly": "scheduled", "never": "invalid",
    }  # fmt: skip


def test_pages_show_every_reason_of_explain(spool: Spool, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each word in the source there is a case here, and its page says what `explain` says of it, and no less."""
    monkeypatch.setattr(explain, "MOST_ASIDE", 1)
    monkeypatch.setattr(processes, "find_stopped", lambda: frozenset([f"{format_time(NOW)}:frozen"]))
    with ExitStack() as stack:
        worker = stack.enter_context(lease.WorkerLease(spool.layout, "web1", {"slots": 3, "format": 99})).name
        cases = jobs_by_hand(spool, worker)
        stack.enter_context(locked_log(spool.layout, "still"))
        cases |= files_by_hand(spool)
        pages = Pages(spool, serve())
        for id, word in cases.items():
            pages.check(id, word)
        put(spool.layout, running_name("more", worker=worker), state=State.RUNNING)
        pages.check("last", "busy")
    for id in ("now", "wrong.json", "hourly"):
        pages.check(id, "no-worker")
    with lease.WorkerLease(spool.layout, "web1", {"slots": 0, "batch": "Slurm", "longest": 3575.0}):
        put(spool.layout, PendingName(10, NOW, 0, "net.x"))
        pages.check("net.x", "timeout")
    config = spool.path / "config.toml"
    config.write_text('min-free = "much"\n')
    pages.check("now", "settings")
    config.write_text('min-free = "1024T"\n')
    pages.check("now", "full")
    assert pages.seen == reason_words() - ABOUT_HOSTS, pages.seen ^ reason_words()


def test_pages_show_every_reason_about_hosts(spool: Spool, serve: Serve) -> None:
    """That the host of a running job has lost contact, or is gone."""
    away, gone = "web8.k7f3q2.4242.abcd", "web9.k7f3q2.4242.abcd"
    Path(spool.layout.hosts).mkdir()
    Path(spool.layout.hosts, beat := f"web8.k7f3q2-17-{away}").touch()
    Path(spool.layout.hosts, f"web9.k7f3q2-gone-{away}").touch()
    Path(spool.layout.worker(gone)).write_text(json.dumps({"worker": gone, "lost": [beat]}))
    put(spool.layout, running_name("lost", worker=away), state=State.RUNNING)
    put(spool.layout, running_name("left", worker=gone), state=State.RUNNING)
    spool.layout.__dict__.pop("shared", None)  # was asked before
    pages = Pages(spool, serve())
    pages.check("lost", "lost-contact")
    pages.check("left", "host-gone")
    assert pages.seen >= ABOUT_HOSTS
