from __future__ import annotations

import ast
import os
import re
import signal
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.dashboard import markup
from queuectl.dashboard.app import GET
from queuectl.dashboard.wording import cli
from queuectl.spool.system import lease
from queuectl.spool.system.clock import now
from tests.dashboard import hostile
from tests.dashboard.client import Client
from tests.dashboard.conftest import Serve
from tests.spool.given import put, put_finished, read_log, running_name
from tests.support import wait_for, workers

TRAVERSALS = (
    "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "..%5c..", "a%00b", "%ff", "x/../../config.toml",
    "-x", ".x", "x" * 101, "%25", "a%0d%0aX-Injected:%20y",
)  # fmt: skip


class Structure(HTMLParser):
    """Collects what a browser would run: scripts without a file of ours, handlers, and styles in place."""

    def __init__(self) -> None:
        super().__init__()
        self.harmful: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if tag in ("img", "iframe", "object", "embed", "style", "base"):
            self.harmful.append(tag)
        if tag == "script" and not (given.get("src") or "").startswith("/static/"):
            self.harmful.append("script")
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.harmful.append(f"{tag} {name}")
            if name in ("href", "src", "action", "formaction") and not re.match(r"[/#?]", value or "#"):
                self.harmful.append(f"{tag} {name}={value}")


def check(text: str) -> None:
    structure = Structure()
    structure.feed(text)
    assert structure.harmful == []
    for marker in hostile.MARKERS:
        assert marker not in text.replace("<svg class", "")


def test_hostile_text_is_only_shown(spool: Spool, client: Client) -> None:
    """Whatever a command, id, log, variable, file or worker says, no page holds markup of its making."""
    hostile.fill(spool)
    wait_for(lambda: len(client.get("/api/jobs?limit=1000").json) == 7 * len(hostile.CORPUS), "all jobs")
    for schedule in Path(spool.layout.schedules).iterdir():
        os.utime(schedule, (0, 0))
    paths = ["/", "/jobs", "/dead", "/workers", "/refused", "/groups", "/schedules", "/dead?q=s&in=logs"]
    paths += [f"/jobs?state={word}" for word in ("ready", "running", "done", "waiting")]
    for number in (0, 1, 3, 6, 8, 11):
        paths += [f"/groups/g{number}/set", f"/pause?group=g{number}", f"/jobs/dead-{number}?find=e"]
        paths += [f"/jobs/pending-{number}/set", f"/jobs/dead-{number}/edit", f"/jobs/g{number}.after"]
    for kind in ("pending", "running", "done", "dead", "refused"):
        paths += [f"/jobs/{kind}-{number}" for number in range(len(hostile.CORPUS))]
    for path in paths:
        answer = client.get(path)
        assert answer.status == 200 or (answer.status == 303 and path.endswith("/set")), path  # not a valid job
        assert answer.status == 303 or answer.headers["Content-Type"] == "text/html; charset=utf-8"
        check(answer.text)
    client.open("/dead")
    chosen = [f"dead-{number}" for number in range(len(hostile.CORPUS))]
    for path, form in (
        ("/actions/drop", {"id": chosen}),
        ("/actions/change", {"id": chosen, "find": "true", "text": hostile.CORPUS[1], "step": "preview"}),
        ("/actions/retry", {"all": "1", "state": "dead", "line": hostile.CORPUS[0]}),
        ("/actions/retry", {"all": "1", "state": "dead", "q": hostile.CORPUS[2]}),
    ):
        answer = client.post(path, form)
        assert answer.status == 200, answer.text
        check(answer.text)
    client.post("/actions/retry", {"id": chosen, "back": "/dead"})
    check(client.get("/dead").text)  # with the operation, and why some could not be retried


@pytest.mark.parametrize("number", range(len(hostile.CORPUS)))
def test_hostile_questions_are_only_shown(client: Client, number: int) -> None:
    """The same of what the address says: filters, places, searches."""
    from urllib.parse import quote

    text = quote(hostile.CORPUS[number].encode("utf-8", "surrogatepass"))[:4000]
    for path in (
        "/jobs?q={}&state={}&result={}&age={}&start={}",
        "/dead?q={}",
        "/jobs/{}",
        "/login?next={}",
        "/favicon.svg?dead={}",
    ):
        answer = client.get(path.format(*[text] * 5))
        assert answer.status in (200, 400, 404), path
        check(answer.text)


def wait_text(client: Client, path: str, text: str) -> str:
    """The page, once it holds that text."""
    wait_for(lambda: text in client.get(path).text, text)
    return client.get(path).text


@pytest.mark.parametrize("id", TRAVERSALS)
@pytest.mark.parametrize(
    "path", ["/jobs/{}", "/jobs/{}/log", "/jobs/{}/tail", "/api/jobs/{}", "/api/jobs/{}/log", "/static/{}"]
)
def test_ids_reach_no_other_file(client: Client, path: str, id: str) -> None:
    """What is not an id of a job is not found; nothing outside is read."""
    answer = client.get(path.format(id))
    assert answer.status in (403, 404)
    assert b"root:" not in answer.body
    assert "X-Injected" not in answer.headers


def test_logs_are_never_run(spool: Spool, client: Client) -> None:
    """A log that is a page is still plain text, and a download is named after its job."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_text("<script>alert(1)</script>")
    headers = client.get("/jobs/x/log?download=1").headers
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Disposition"] == 'attachment; filename="x.log"'


def test_unchanged_page_is_not_sent_again(spool: Spool, client: Client) -> None:
    """A page asked for with its ETag is 304 until something changes; then it comes whole."""
    client.get("/")
    tag = client.get("/").headers["ETag"]
    for _ in range(3):  # unless the minute has just changed
        answer = client.get("/", If_None_Match=tag)
        if answer.status == 304:
            break
        tag = answer.headers["ETag"]
    assert (answer.status, answer.body) == (304, b"")
    spool.enqueue("true", id="news")
    wait_for(lambda: client.get("/", If_None_Match=tag).status == 200, "the change")


@pytest.mark.parametrize("path", ["/", "/jobs", "/dead", "/workers", "/refused"])
def test_empty_spool_says_what_to_type(spool: Spool, client: Client, path: str) -> None:
    """An empty state does not give an empty page."""
    page = client.get(path).text
    assert f"{cli(spool.path)} enqueue" in page or " worker start" in page or "pending/" in page or "retries" in page


def test_title_and_the_icon_count_the_dead(spool: Spool, client: Client) -> None:
    """A tab in the background says how many jobs gave up."""
    for number in range(3):
        put_finished(spool.layout, f"x{number}")
    page = wait_text(client, "/workers", "(3) Workers")
    assert "/favicon.svg?dead=3" in page
    assert ">3</text>" in client.get("/favicon.svg?dead=3").text


def test_alerts_are_on_every_page(spool: Spool, client: Client) -> None:
    """Jobs that wait without a worker, and a pause."""
    spool.enqueue("true")
    (spool.path / "paused").touch()
    for path in ("/", "/jobs", "/workers"):
        page = wait_text(client, path, "Paused.")
        assert "No worker is alive" in page


def test_pause_says_why_and_until_when(spool: Spool, client: Client) -> None:
    """The reason, which can be anything, and the time; a pause whose time is over is none."""
    spool.enqueue("true", id="x")
    spool.pause("moving <b>the</b> database", datetime(2100, 1, 1, tzinfo=UTC))
    page = wait_text(client, "/workers", "Paused")
    assert "moving &lt;b&gt;the&lt;/b&gt; database" in page
    assert 'until <time class="clock" datetime="2100-01-01T00:00:00' in page
    spool.pause("for good")
    page = wait_text(client, "/workers", "for good")
    assert "until <time" not in page
    spool.pause("over", datetime(2020, 1, 1, tzinfo=UTC))
    wait_for(lambda: "Paused" not in client.get("/workers").text, "the end of the pause")


def test_job_that_waits_is_not_held(spool: Spool, client: Client) -> None:
    """It has a list, a word and a number of its own, also in `/metrics`, and no time that nobody means."""
    spool.enqueue("true", id="x")
    spool.enqueue("true", id="y", after=["x"])
    for path in ("/jobs", "/jobs?state=pending", "/jobs?state=waiting", "/jobs/y"):
        page = wait_text(client, path, "waiting</span>")
        assert 'datetime="9999' not in page
    assert "/jobs/y" not in client.get("/jobs?state=held").text
    waiting = client.get("/jobs?state=waiting").text
    assert 'data-key="x"' not in waiting
    assert '<span class="label">after </span><a href="/jobs/x">x</a>' in waiting
    page = client.get("/").text
    assert "1 job waits for others" in page
    assert "held</a>" not in page
    metrics = client.get("/metrics").text
    assert 'queuectl_jobs{state="waiting"} 1\n' in metrics
    assert 'queuectl_jobs{state="held"} 0\n' in metrics
    assert 'queuectl_jobs{state="ready"} 1\n' in metrics


def test_held_job_is_shown_as_held(spool: Spool, client: Client) -> None:
    """By icon and word in lists and on its page, with no time that nobody means; it has a list of its own."""
    spool.enqueue("true", id="x")
    spool.enqueue("true", id="later", run_at="2100-01-01T00:00:00Z")
    spool.hold("x")
    for path in ("/jobs", "/jobs?state=pending", "/jobs?state=held", "/jobs/x"):
        page = wait_text(client, path, '#i-held"/></svg>held</span>')
        assert 'datetime="9999' not in page
    page = client.get("/jobs/x").text
    assert f"It is held; to release it: <code>{cli(spool.path)} release x</code>." in page
    assert f"{cli(spool.path)} first x" in page
    assert f"{cli(spool.path)} hold later" in client.get("/jobs/later").text
    assert "/jobs/x" not in client.get("/jobs?state=scheduled").text
    assert "/jobs/later" not in client.get("/jobs?state=held").text
    page = client.get("/").text
    assert "1 job held" in page
    assert 'datetime="9999' not in page


def test_templates_never_switch_escaping_off() -> None:
    """The frame puts the page in; no template shows a value raw."""
    raw = {path.name: re.findall(r"\{\{!(.*?)\}\}", path.read_text()) for path in Path(markup.TEMPLATES).iterdir()}
    assert {name: found for name, found in raw.items() if found} == {"layout.html": ["base"]}


def test_templates_leave_the_values_of_the_frame_alone() -> None:
    """A name that a template assigns is assigned for the frame around it too, and for its parts."""

    def names(file: str, kind: type[ast.expr_context]) -> set[str]:
        code = ast.parse(markup.Template(name=file, lookup=[markup.TEMPLATES]).code)
        return {each.id for each in ast.walk(code) if isinstance(each, ast.Name) and isinstance(each.ctx, kind)}

    frame = names("layout.html", ast.Load) - names("layout.html", ast.Store)
    for file in os.listdir(markup.TEMPLATES):
        if file not in ("layout.html", "problem.html"):  # the latter gives what the frame lacks
            assert names(file, ast.Store) & frame == set(), file


def test_addresses_all_answer_head(client: Client) -> None:
    """HEAD is GET without the body."""
    for path in GET:
        answer = client.ask("HEAD", path.replace("<id>", "x"))
        assert answer.status in (200, 404)
        assert answer.body == b""


def test_job_page_shows_who_handed_it_in(spool: Spool, client: Client) -> None:
    """Its page names the submitter; a job of the spool's own has no such line."""
    spool.enqueue("true", id="ann.x", submitted_by="ann<b>")
    spool.enqueue("true", id="own")
    wait_for(lambda: client.get("/jobs/own").status == 200)
    assert "<dt>Submitted by</dt><dd>ann&lt;b&gt;</dd>" in client.get("/jobs/ann.x").text
    assert "Submitted by" not in client.get("/jobs/own").text


def test_full_disk_is_why_a_job_waits(spool: Spool, client: Client) -> None:
    """With less free space than min-free its page says what `explain` says: the disk is full."""
    spool.enqueue("true", id="x")
    (spool.path / "config.toml").write_text('min-free = "1024T"\n')
    with lease.WorkerLease(spool.layout, "web1", {"slots": 1}):
        page = wait_text(client, "/jobs/x", "The disk is full: ")
        assert "a worker takes it" not in page
        assert "<b>The disk is full.</b>" in page


def test_stopping_worker_is_why_a_job_waits(spool: Spool, client: Client) -> None:
    """If the only worker is stopping, its page says what `explain` says, though its slot is taken."""
    spool.enqueue("true", id="x")
    with lease.WorkerLease(spool.layout, "web1", {"slots": 1}) as worker:
        worker.say_stopping(now())
        put(spool.layout, running_name("runs", worker=worker.name), state=State.RUNNING)
        text = spool.explain("x").reasons[0].text
        assert text.startswith("all workers are stopping")
        assert "busy" not in wait_text(client, "/jobs/x", "All workers are stopping; to start one: <code>queuectl")


SENSELESS = (
    *("state=foo", "since=banana", "prio=x", "state=done&state=dead", "q=" + "x" * 10_000, "q=%00", "q=%ff", "q=a&q=a"),
    *("start=-1", "start=1e9", "start=abc", "start=%D9%A3", "start=" + "9" * 30, "age=1y", "result=%3Cb%3E", "=x"),
    *(
        "result=exit256",
        "result=failed",
        "limit=5",
        "q=%ed%a0%80",
        "state%00=done",
        "&".join(f"a{n}=" for n in range(51)),
    ),
)


@pytest.mark.parametrize("query", SENSELESS)
def test_senseless_address_is_refused(spool: Spool, client: Client, query: str) -> None:
    """With a message and a way back, and never with all jobs and the buttons to act on all of them."""
    put_finished(spool.layout, "x")
    for path in ("/jobs", "/dead", "/refused"):
        answer = client.get(f"{path}?{query}")
        assert answer.status == 400
        check(answer.text)
        assert f'href="{path}"' in answer.text
        assert 'name="all"' not in answer.text
        assert "data-key" not in answer.text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("attempt=1", 200), ("attempt=2", 404), ("attempt=x", 400), ("at=-1", 400), ("at=999999999999", 200),
        ("find=" + "x" * 201, 400), ("find=out", 200), ("nonsense=1", 400), ("at=1&at=2", 400),
    ],
)  # fmt: skip
def test_place_in_a_log_must_make_sense(spool: Spool, client: Client, query: str, status: int) -> None:
    """An attempt that the log does not have is not found; the whole log is never shown instead."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_text(
        "#queuectl start attempt=1 started_at=20261124T034300.120Z worker=web1.4242.k7f3 pid=1\nout\n"
    )
    assert client.get(f"/jobs/x?{query}").status == status


@pytest.mark.parametrize("path", ["/dead", "/jobs?state=dead&", "/refused", "/jobs?"])
def test_page_beyond_the_end_is_the_last_one(spool: Spool, client: Client, path: str) -> None:
    """Jobs that were dropped in the meantime do not leave an empty page; it says how many there are."""
    for number in range(130):
        put_finished(spool.layout, f"x{number:03d}", "invalid")
    wait_for(lambda: "of 130" in client.get("/dead").text, "the jobs")
    if path == "/jobs?state=dead&":
        assert client.get(path + "start=5000").headers["Location"] == "/dead?start=5000"
        return
    page = client.get(f"{path}{'' if path.endswith('?') else '?'}start=5000").text
    assert "There are only 130 here; this is the last page." in page
    assert 'rel="prev"' in page
    assert "x000" in page


def test_search_beyond_the_end_leads_to_its_beginning(spool: Spool, client: Client) -> None:
    """A search that continues where there is nothing any more says so, with the way back."""
    put_finished(spool.layout, "x")
    page = wait_text(client, "/dead?q=x&start=5000", "No more matches")
    assert 'href="/dead?q=x"' in page


def test_stopping_workers_take_no_jobs(spool: Spool, client: Client) -> None:
    """With the only worker stopping the pages say so, and count no slot of it."""
    spool.enqueue("true", id="x")
    with lease.WorkerLease(spool.layout, "web1", {"slots": 3}) as worker:
        page = wait_text(client, "/", "of 3 slots")
        assert "No worker is alive" not in page
        worker.say_stopping(now())
        page = wait_text(client, "/", "All workers are stopping")
        assert "of 0 slots, 1 stopping" in page
        assert "queuectl_slots 0\n" in client.get("/metrics").text
        assert "queuectl_workers 1\n" in client.get("/metrics").text


def test_stopped_job_is_shown_in_the_dashboard(spool: Spool, client: Client) -> None:
    """The list of jobs, the job's page and the API say that it is stopped."""
    with workers(spool.path):
        spool.enqueue("echo ready; sleep 600", id="x")
        wait_for(lambda: "ready" in read_log(spool.layout, "x").splitlines(), "the job's start")
        spool.kill("x", signal.SIGSTOP)
        client.open("/jobs/x")
        wait_for(lambda: "Its processes are stopped" in client.get("/jobs/x").text, "the page of the job")
        assert ">stopped<" in client.get("/jobs?state=running").text
        assert client.get("/api/jobs").json[0]["stopped"] is True
        spool.cancel("x")


def test_job_page_shows_progress_and_what_attempts_used(spool: Spool, client: Client) -> None:
    """What the job says of itself while it runs, with its memory; afterwards what each attempt needed."""
    go = spool.path / "go"
    command = 'echo "42% <b>" >"$QUEUECTL_PROGRESS"; until [ -e "$GO" ]; do sleep 0.05; done'
    with workers(spool.path):
        spool.enqueue(command, id="x", env={"GO": str(go)})
        wait_for(lambda: "42% &lt;b&gt;" in client.get("/jobs/x").text, "the progress")
        wait_for(
            lambda: "<dt>Memory</dt>" in client.get("/jobs/x").text, "a look at its processes, shared for a second"
        )
        go.touch()
        spool.wait("x", timeout=30)
        wait_for(lambda: "of memory, " in client.get("/jobs/x").text, "what it used")
        assert "had waited" in client.get("/jobs/x").text
        assert 'class="progress"' not in client.get("/jobs/x").text


def test_job_page_gives_the_same_estimate_as_explain(spool: Spool, serve: Serve) -> None:
    """It says when a job should start, if that can be said."""
    for number in range(3):
        put_finished(spool.layout, f"done-{number}", "exit0", State.DONE)
        spool.enqueue("true", id=f"first-{number}", priority=1)
    spool.enqueue("true", id="x")
    spool.enqueue("true", id="gpu.y")
    with lease.WorkerLease(spool.layout, "web1", {"slots": 1, "not_groups": ["gpu"]}):
        client = serve()
        assert spool.explain("x").starts_at is not None
        assert "It should start about" in client.get("/jobs/x").text
        assert spool.explain("gpu.y").starts_at is None
        assert "It should start about" not in client.get("/jobs/gpu.y").text
