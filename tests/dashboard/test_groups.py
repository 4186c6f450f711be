from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.core.groups import MaxFailed
from queuectl.core.seats import parse
from queuectl.dashboard.security import Policy
from queuectl.dashboard.snapshot import Snapshot
from queuectl.spool.system import groups, pause, seats
from queuectl.spool.system.clock import now
from tests.dashboard.browser import Browser
from tests.dashboard.client import Client
from tests.dashboard.conftest import Serve
from tests.spool.given import put, put_finished, running_name
from tests.support import CommandLine, wait_for


def fill(spool: Spool) -> None:
    """Two groups, one in the other, and a job that is in none."""
    for id in ("gpu.train.1", "gpu.train.2", "gpu.x", "gpux"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="gpu.later", run_at=now() + timedelta(days=1))
    put(spool.layout, running_name("gpu.runs"), state=State.RUNNING)
    put_finished(spool.layout, "gpu.train.good", "exit0", State.DONE)
    put_finished(spool.layout, "gpu.train.bad", "exit1")
    put_finished(spool.layout, "net.bad", "exit1")


def ids(answer: object) -> set[str]:
    assert isinstance(answer, list)
    return {job["id"] for job in answer}


@pytest.fixture
def snapshot(spool: Spool) -> Iterator[Snapshot]:
    taken = Snapshot(spool)
    yield taken
    taken.close()


@pytest.mark.parametrize("state", ["all", "pending", "ready", "scheduled", "held", "running", "done", "dead"])
def test_group_filter_shows_what_the_command_line_shows(
    spool: Spool, cli: CommandLine, client: Client, state: str
) -> None:
    """In every list, also beside a text, a result and an age."""
    fill(spool)
    spool.hold(spool.enqueue("true", id="gpu.held"))
    wait_for(lambda: len(client.get("/api/jobs").json) == 10, "the jobs")
    words = ("list", "--group", "gpu", "--state", state)
    assert client.get(f"/api/jobs?state={state}&group=gpu").json == cli.json(*words)
    assert ids(client.get(f"/api/jobs?state={state}&group=gpu&match=train").json) == ids(
        cli.json(*words, "--match", "train")
    )


def test_group_filter_finds_no_id_of_another_group(spool: Spool, client: Client) -> None:
    """A text that is the whole id of a job is searched for in the group only."""
    fill(spool)
    wait_for(lambda: len(client.get("/api/jobs").json) == 9, "the jobs")
    assert ids(client.get("/api/jobs?group=net&q=gpu.x").json) == set()
    assert ids(client.get("/api/jobs?group=gpu&q=gpu.x").json) == {"gpu.x"}
    assert ids(client.get("/api/dead?group=gpu.train&result=exit1").json) == {"gpu.train.bad"}
    assert ids(client.get("/api/dead?group=net&age=15m").json) == set()


@pytest.mark.parametrize("group", ["gpu.", ".gpu", "a b", "x" * 88, "a..b", "<b>"])
def test_wrong_group_in_an_address_is_refused(client: Client, group: str) -> None:
    """It never stands for all jobs."""
    for path in ("/jobs", "/dead", "/api/jobs", "/pause"):
        assert client.get(f"{path}?group={group.replace(' ', '+')}").status == 400


def test_action_on_all_that_match_stays_in_the_group(spool: Spool, client: Client) -> None:
    """The form of a list names the group of the list."""
    fill(spool)
    wait_for(lambda: "gpu.train.1" in client.open("/jobs?state=ready&group=gpu.train").text, "the list")
    page = client.open("/jobs?state=ready&group=gpu.train").text
    list_form = page[page.index('<form class="list"') :]
    hidden = dict(re.findall(r'name="(state|group|q|result|age)" value="([^"]*)"', list_form))
    asked = client.post("/actions/cancel", {**hidden, "all": "1"})
    assert "gpu.train.1" in asked.text
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    client.post("/actions/cancel", form)
    wait_for(lambda: {job.id for job in spool.list(State.PENDING)} == {"gpu.x", "gpux", "gpu.later"}, "the others")


def test_groups_are_counted_as_on_the_command_line(spool: Spool, cli: CommandLine, client: Client) -> None:
    """The API is `group list --all --json`, to the letter."""
    fill(spool)
    groups.write(spool.layout, "gpu", "limit", "1")
    groups.write(spool.layout, "net", "max-failed", "5%")
    spool.pause("new driver", datetime(2100, 1, 1, tzinfo=UTC), group="gpu.train")
    wait_for(lambda: client.get("/api/groups").json == cli.json("group", "list", "--all"), "the same groups")


def test_groups_page_says_what_keeps_jobs_from_starting(spool: Spool, client: Client) -> None:
    """Settings, a full group, a pause with its reason, and a wrong value; groups of one job are left out."""
    fill(spool)
    groups.write(spool.layout, "gpu", "limit", "1")
    spool.pause("new <b>driver</b>", group="gpu.train")
    Path(spool.layout.group("db")).mkdir(parents=True)
    Path(spool.layout.group("db"), "limit").write_text("tow")

    def look() -> str | None:
        text = client.get("/groups").text
        return text if "not a whole number" in text else None

    text = re.sub(r"<[^>]*>|\s+", " ", str(wait_for(look, "the wrong value")))
    text = re.sub(r"\s+", " ", text)
    for part in ("limit 1", "full", "new &lt;b&gt;driver&lt;/b&gt;", "wrong setting", "1 running", "1 dead"):
        assert part in text, part
    assert 'data-key="net"' not in client.get("/groups").text


def test_groups_page_says_who_holds_each_seat(spool: Spool, client: Client) -> None:
    """With a link to a job of this spool, the spool of another's, and how many are free; none free is full."""
    groups.write(spool.layout, "gpu", "seats", "a,a,b")
    layout, names = spool.layout, parse("a,a,b")

    def look(*parts: str) -> bool:
        text = re.sub(r"\s+", " ", re.sub(r"<(?!a )[^>]*>", "", client.get("/groups").text))
        return all(part in text for part in parts)

    wait_for(lambda: look("3 of 3 seats free"), "free seats")
    one = seats.take(layout, "gpu", names, 1, "gpu.x")
    assert one
    wait_for(lambda: look('a <a class="id" href="/jobs/gpu.x">gpu.x', "2 of 3 seats free"), "who has one")
    elsewhere = seats.take(layout, "gpu", names, 2, "y")
    assert elsewhere
    for number, text in enumerate((b"y<b> /other/spool", b"")):
        os.pwrite(elsewhere.descriptors[number], text.ljust(200), 0)
    wait_for(lambda: look("y&lt;b&gt; of /other/spool", "held by hand", "0 of 3 seats free", "full"), "all")
    seats.give_back(layout, (one, elsewhere))


def test_value_that_is_being_written_is_not_reported(spool: Spool, snapshot: Snapshot) -> None:
    """An empty file shows what was there before, until it has been empty for a second."""
    groups.write(spool.layout, "gpu", "limit", "2")
    wait_for(lambda: snapshot.view(is_fresh=True).groups, "the limit")
    limit = Path(spool.layout.group("gpu"), "limit")
    limit.write_text("")
    seen = snapshot.view(is_fresh=True, patience=5).groups["gpu"]
    assert (seen.limit, seen.problem) == (2, "")
    wait_for(lambda: snapshot.view(is_fresh=True).groups["gpu"].problem, "the report")
    limit.write_text("3\n")
    wait_for(lambda: snapshot.view(is_fresh=True).groups["gpu"] == groups.read(spool.layout, "gpu", now), "the value")


def test_job_page_says_that_its_group_is_full(spool: Spool, client: Client) -> None:
    """As `explain` does, with how many run."""
    fill(spool)
    groups.write(spool.layout, "gpu", "limit", "1")
    wait_for(lambda: "runs 1 job, its limit is 1" in client.get("/jobs/gpu.x").text, "the reason")
    assert 'href="/jobs?group=gpu"' in client.get("/jobs/gpu.x").text
    assert "its limit is" not in client.get("/jobs/gpux").text


def test_group_that_has_paused_itself_is_on_every_page(spool: Spool, client: Client) -> None:
    """With the reason, and a button that resumes it; a pause by hand is only on the page of the groups."""
    spool.pause("by hand", group="net")
    groups.write(spool.layout, "gpu", "max-failed", "10")
    pause.write(spool.layout, "10 jobs have failed", None, "gpu", pause.counted_from(spool.layout, now, "gpu"))
    wait_for(lambda: "10 jobs have failed" in client.get("/workers").text, "the banner")
    page = client.open("/workers").text
    assert "by hand" not in page
    client.post("/actions/resume", {"group": "gpu", "back": "/workers"})
    assert (spool.paused(group="gpu"), spool.paused(group="net") is not None) == (None, True)
    wait_for(lambda: "10 jobs have failed" not in client.get("/workers").text, "its end")


def test_group_is_paused_by_the_form(spool: Spool, client: Client) -> None:
    """Only the group, with reason and time; a form without a name for it pauses nothing."""
    page = client.open("/pause?group=gpu").text
    assert "Pause the group gpu" in page
    answer = client.post("/actions/pause", {"group": "gpu", "reason": "new driver", "until": "30m", "back": "/groups"})
    assert answer.headers["Location"] == "/groups"
    found = spool.paused(group="gpu")
    assert found is not None
    assert (found.reason, found.until is not None, spool.paused()) == ("new driver", True, None)
    for wrong in ("", "gpu.", "a b"):
        assert client.post("/actions/pause", {"group": wrong}).status == 400
        assert client.post("/actions/resume", {"group": wrong}).status == 400
    assert (spool.paused(), spool.paused(group="gpu")) == (None, found)


def test_settings_form_sets_and_removes(spool: Spool, client: Client) -> None:
    """What was changed is written, what was emptied is removed, and another's change is kept."""
    groups.write(spool.layout, "gpu", "max-failed", "5")
    client.open("/groups/gpu/set")
    form = {"group": "gpu", "back": "/groups", "was_limit": "", "was_max-failed": "5"}
    assert client.post("/actions/group", {**form, "limit": " 3 ", "max-failed": "5"}).headers["Location"] == "/groups"
    found = groups.read(spool.layout, "gpu", now)
    assert found is not None
    assert (found.limit, found.max_failed) == (3, MaxFailed(5))
    refused = client.post("/actions/group", {**form, "limit": "4", "max-failed": "5"})
    assert (refused.status, "changed in the meantime, to 3" in refused.text) == (400, True)
    client.post("/actions/group", {**form, "was_limit": "3", "limit": "", "max-failed": ""})
    assert groups.read(spool.layout, "gpu", now) is None


def test_settings_form_has_the_defaults_for_its_jobs(spool: Spool, client: Client) -> None:
    """They are set and removed like the others, and the list of groups and the pages of jobs show them."""
    spool.enqueue("true", id="net.1")
    spool.enqueue("true", id="net.2", timeout=5)
    spool.enqueue("true", id="net.in.1")
    groups.write(spool.layout, "net.in", "timeout", "7m")
    client.open("/groups/net/set")
    form = {"group": "net", "timeout": "10m", "max-retries": "8", "on-max-log": "never"}
    refused = client.post("/actions/group", form)
    assert (refused.status, 'value="10m"' in refused.text, "<details open" in refused.text) == (400, True, True)
    client.post("/actions/group", {**form, "on-max-log": "kill"})
    found = groups.read(spool.layout, "net", now)
    assert found is not None
    assert found.defaults == {"timeout": 600.0, "max_retries": 8, "on_max_log": "kill"}
    for text in ("timeout <b>600</b>", "max-retries <b>8</b>"):
        wait_for(lambda text=text: text in client.get("/groups").text, text)  # type: ignore[misc]
    assert "10 m 00 s  from groups/net/timeout" in client.get("/jobs/net.1").text
    assert "from groups/net/timeout" not in client.get("/jobs/net.2").text
    inner = client.get("/jobs/net.in.1").text
    assert ("7 m 00 s  from groups/net.in/timeout" in inner, "from groups/net/timeout" in inner) == (True, False)
    client.post(
        "/actions/group", {"group": "net", "was_timeout": "10m", "was_max-retries": "8", "was_on-max-log": "kill"}
    )
    assert groups.read(spool.layout, "net", now) is None


def test_wrong_setting_is_refused_beside_its_field(spool: Spool, client: Client) -> None:
    """With all that was typed; nothing is set."""
    client.open("/groups/gpu/set")
    form = {"group": "gpu", "was_limit": "", "was_max-failed": "", "limit": "many", "max-failed": "7"}
    answer = client.post("/actions/group", form)
    assert answer.status == 400
    assert all(text in answer.text for text in ("not a whole number", 'value="many"', 'value="7"'))
    assert not groups.has_any(spool.layout)


def test_read_only_dashboard_shows_groups_and_changes_none(spool: Spool, serve: Serve) -> None:
    """No button, and no form."""
    groups.write(spool.layout, "gpu", "limit", "2")
    client = serve(Policy(may_act=False))
    wait_for(lambda: 'data-key="gpu"' in client.get("/groups").text, "the group")
    assert "/pause" not in client.get("/groups").text
    assert [client.get(path).status for path in ("/groups/gpu/set", "/pause?group=gpu")] == [403, 403]


def test_limit_is_set_in_a_browser(spool: Spool, client: Client, window: Browser) -> None:
    """From the list of groups to the form and back; the list shows it, and resumes without leaving the page."""
    fill(spool)
    spool.pause("new driver", group="gpu")
    wait_for(lambda: 'data-key="gpu"' in client.get("/groups").text, "the group")
    window.go(client.address("/groups"))
    window.wait("[data-key=gpu] .group-actions a", "Settings").click()
    window.wait("#f-limit").type("1")
    window.wait(".form-end button", "Save").click()
    window.wait("[data-key=gpu] .setting", "limit 1")
    window.wait("[data-key=gpu] .group-actions button", "Resume").click()
    window.wait("[data-key=gpu] .group-state", "full")
    assert spool.paused(group="gpu") is None


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_groups_page_fits_every_screen(spool: Spool, client: Client, window: Browser, width: int) -> None:
    """Nothing sticks out to the right, also with the longest name and reason."""
    name = "w" * 87
    spool.enqueue("true", id=f"{name}.x")
    groups.write(spool.layout, name, "max-failed", "12.5%")
    spool.pause("r" * 900, group=name)
    wait_for(lambda: "rrr" in client.get("/groups").text, "the group")
    window.resize(width, 900)
    window.go(client.address("/groups"))
    window.wait(".group-why")
    assert window.run("return document.documentElement.scrollWidth <= innerWidth")
