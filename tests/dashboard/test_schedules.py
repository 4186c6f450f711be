"""The page of the schedules: what it shows, running one now, pausing and resuming."""

from __future__ import annotations

import json
import os
import time

import pytest

from queuectl import Spool, State
from queuectl.dashboard.security import Policy
from queuectl.spool.system import pause, schedules
from queuectl.spool.system.clock import now
from tests.dashboard.browser import Browser
from tests.dashboard.client import Client
from tests.dashboard.conftest import Serve
from tests.support import CommandLine, wait_for


def add(spool: Spool, name: str, *, age: float = 0.0, **fields: object) -> None:
    body = {"command": ["./backup", "<b>"], "cron": "30 2 * * 1-5", "timezone": "Europe/Vienna", **fields}
    schedules.write(spool.layout, name, json.dumps(body).encode())
    at = time.time() - age
    os.utime(spool.layout.schedule(name), (at, at))


def test_page_shows_what_the_command_line_shows(spool: Spool, client: Client, cli: CommandLine) -> None:
    """When each runs, in words, how the last job ended, the next times, and what is wrong with a file."""
    assert "No schedules yet" in client.get("/schedules").text
    add(spool, "nightly")
    schedules.write(spool.layout, "bad", b'{"command": "x", "cron": "61 * * * *"}')
    os.utime(spool.layout.schedule("bad"), (0, 0))
    name = "20261001T023005.000Z-010-0-skipped-0.000s-nightly.20261001T0030Z.json"
    (spool.path / "done" / name).write_text('{"command": "x"}')
    wait_for(lambda: "skipped" in client.get("/schedules").text, "the tick")
    text = client.get("/schedules").text
    assert "At 02:30 on Monday through Friday" in text
    assert "&lt;b&gt;" in text
    assert "bad minute" in text
    assert client.get("/api/schedules").json == cli.json("schedule", "list")
    assert client.get("/api/status").json["schedules"] == cli.json("status")["schedules"]


def test_page_that_has_not_changed_is_not_sent_again(spool: Spool, client: Client) -> None:
    """And one whose schedule was edited is."""
    add(spool, "nightly")
    first = client.get("/schedules")
    assert client.get("/schedules", If_None_Match=str(first.headers["ETag"])).status in (200, 304)
    add(spool, "nightly", cron="45 3 * * *")
    answer = client.get("/schedules", If_None_Match=str(first.headers["ETag"]))
    assert answer.status == 200
    assert "At 03:45" in answer.text


def test_run_now_submits_a_job_and_shows_it(spool: Spool, client: Client) -> None:
    """The page of the job follows."""
    add(spool, "nightly", command="true")
    client.open("/schedules")
    answer = client.post("/actions/schedule-run", {"schedule": "nightly", "back": "/schedules"})
    assert answer.status == 303
    (job,) = spool.list()
    assert job.state is State.PENDING
    assert answer.headers["Location"] == f"/jobs/{job.id}"
    assert client.get(f"/jobs/{job.id}").status == 200


def test_run_now_is_recorded_like_any_other_action(
    spool: Spool, serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """On standard error with the job that it made, and in that job's log, each with who asked; so is a pause."""
    add(spool, "nightly", command="true")
    client = serve(Policy(is_public=True, may_act=True, names={"ops": "t" * 20}))
    client.get("/login")
    client.post("/login", {"token": "t" * 20})
    client.open("/schedules")
    client.post("/actions/schedule-run", {"schedule": "nightly", "back": "/schedules"})
    client.post("/actions/pause", {"group": "nightly", "reason": "disks", "until": "", "back": "/schedules"})
    client.post("/actions/resume", {"group": "nightly", "back": "/schedules"})
    (job,) = spool.list()
    assert [line.partition(" dashboard: ")[2] for line in capfd.readouterr().err.splitlines()] == [
        f"schedule-run by=ops from=127.0.0.1 schedule=nightly id={job.id}",
        "pause by=ops from=127.0.0.1 group=nightly reason=disks",
        "resume by=ops from=127.0.0.1 group=nightly",
    ]
    assert "Asked to run, by ops" in client.get(f"/jobs/{job.id}").text


def test_run_now_of_what_cannot_run_says_why(spool: Spool, client: Client) -> None:
    """A schedule that is gone, or wrong, submits nothing."""
    add(spool, "bad", cron="61 * * * *")
    add(spool, "good")
    client.open("/schedules")
    assert client.post("/actions/schedule-run", {"schedule": "none", "back": "/"}).status == 404
    assert client.post("/actions/schedule-run", {"schedule": "../x", "back": "/"}).status == 404
    answer = client.post("/actions/schedule-run", {"schedule": "bad", "back": "/"})
    assert answer.status == 409
    assert "bad minute" in answer.text
    assert client.post("/actions/schedule-run", {"name": "bad"}).status == 400
    assert not [*spool.list()]


def test_pause_is_the_groups(spool: Spool, client: Client) -> None:
    """A paused schedule says since when, and can be resumed there."""
    add(spool, "nightly")
    client.open("/schedules")
    answer = client.post("/actions/pause", {"group": "nightly", "reason": "disks", "until": "", "back": "/schedules"})
    assert answer.headers["Location"] == "/schedules"
    assert pause.read(spool.layout, now, "nightly") is not None
    text = client.get("/schedules").text
    assert "disks" in text
    client.open("/schedules")
    client.post("/actions/resume", {"group": "nightly", "back": "/schedules"})
    assert "disks" not in client.get("/schedules").text


def test_schedule_that_waits_for_a_worker_says_so(spool: Spool, client: Client) -> None:
    """Without a worker nothing runs."""
    add(spool, "hourly", age=7200, cron="0 * * * *")
    text = client.get("/schedules").text
    assert "Due since <time" in text
    assert "No worker is alive; to start one: <code>queuectl" in text


def test_read_only_dashboard_offers_no_action(spool: Spool, serve: Serve) -> None:
    """It shows the schedules, and refuses to run one."""
    add(spool, "nightly")
    client = serve(Policy(may_act=False))
    text = client.get("/schedules").text
    assert "Run now" not in text
    assert "/pause" not in text


def test_page_in_a_browser(spool: Spool, client: Client, window: Browser) -> None:
    """Run now works by a click."""
    add(spool, "nightly", command="true")
    window.go(client.address("/schedules"))
    window.wait("button[aria-label='Run nightly now']").click()
    wait_for(lambda: "/jobs/nightly.run-" in window.address, "the job's page")
