from __future__ import annotations

import re
from datetime import timedelta

import pytest

from queuectl import Spool, State
from queuectl.core.names import PendingName
from queuectl.dashboard import alarms, audit
from queuectl.dashboard.attempts import MOST, WINDOW, Attempts
from queuectl.dashboard.security import Policy
from queuectl.dashboard.snapshot import Snapshot
from queuectl.spool.moves import claims
from queuectl.spool.system import asked, logs
from queuectl.spool.system.clock import now
from tests.dashboard.conftest import Serve
from tests.spool.given import NOW, put, put_finished, running_name
from tests.support import CommandLine

TOKEN = "a-long-and-random-token"


def kinds(spool: Spool, max_wait: float | None = None) -> list[str]:
    snapshot = Snapshot(spool)
    try:
        return [alarm.kind for alarm in alarms.find(snapshot.view(), now() + timedelta(hours=1), max_wait)]
    finally:
        snapshot.close()


def test_alarms_of_a_quiet_spool(spool: Spool) -> None:
    """There are none while nothing waits and nothing runs."""
    put_finished(spool.layout, "x")
    assert kinds(spool, 1.0) == []


def test_alarms_say_what_is_wrong(spool: Spool) -> None:
    """No worker, one that died with a job, a wait that is too long, a wrong setting."""
    spool.enqueue("true")
    put(spool.layout, running_name(id="orphan"), state=State.RUNNING)
    (spool.path / "config.toml").write_text("timeout = 'x'\n")
    assert kinds(spool, 60.0) == ["no-worker", "dead-workers", "waiting", "settings"]
    assert "waiting" not in kinds(spool, 7200.0)


def test_job_of_a_paused_group_is_not_overdue(spool: Spool) -> None:
    """Nor one of a group within it; another that waits as long is."""
    for group in ("etl", "etl.load"):
        spool.pause("disks", group=group)
    spool.enqueue("true", id="etl.load.x")
    spool.enqueue("true", id="etl.y")
    assert "waiting" not in kinds(spool, 60.0)
    spool.enqueue("true", id="etlx")
    assert "waiting" in kinds(spool, 60.0)
    spool.cancel("etlx")
    spool.resume(group="etl")
    assert "waiting" in kinds(spool, 60.0)


def test_alarms_are_in_title_icon_and_healthz(spool: Spool, serve: Serve) -> None:
    """Every page says it in its title and its icon; /healthz gives the kinds, and nothing private."""
    spool.enqueue("secret", id="private")
    client = serve()
    page = client.get("/workers").text
    assert "<title>⚠ " in page
    assert "alarm=1" in page
    assert client.get("/healthz").json == {"status": "degraded", "reasons": ["no-worker"]}
    assert "b42318" in client.get("/favicon.svg?alarm=1").text


def test_attempts_are_limited_by_address() -> None:
    """After so many wrong tokens none is accepted from there until the window is over; others are not concerned."""
    at = [0.0]
    attempts = Attempts(lambda: at[0])
    for _ in range(MOST):
        assert attempts.left("2001:db8::1") == 0
        attempts.note_wrong("2001:db8::1")
    assert attempts.left("2001:db8::ffff") == WINDOW
    assert attempts.left("10.0.0.1") == attempts.left("unix") == 0
    at[0] = WINDOW
    assert attempts.left("2001:db8::1") == 0


def test_wrong_tokens_are_limited(serve: Serve) -> None:
    """Also for the right one, from there, at the login and for programs; who is logged in stays so."""
    client = serve(Policy(is_public=True, may_act=True, token=TOKEN))
    client.get("/login")
    client.post("/login", {"token": TOKEN})
    for _ in range(MOST):
        assert client.post("/login", {"token": "wrong"}).status == 403
    assert client.post("/login", {"token": TOKEN}).status == 429
    assert client.get("/").status == 200
    client.cookies.clear()
    assert client.get("/api/status", Authorization=f"Bearer {TOKEN}").status == 429


def test_audit_names_the_token(spool: Spool, serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    """One line for what was done, with the name of the token; none for a question, and no token in it."""
    put_finished(spool.layout, "x")
    client = serve(Policy(is_public=True, may_act=True, names={"ops": TOKEN}))
    client.get("/login")
    client.post("/login", {"token": TOKEN})
    client.open("/dead")
    client.post("/actions/drop", {"id": "x"})
    client.post("/actions/retry", {"id": "x", "back": "/dead"})
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith("dashboard: retry by=ops from=127.0.0.1 id=x")
    assert TOKEN not in line


def test_audit_is_in_the_log_of_the_job(spool: Spool, serve: Serve, cli: CommandLine) -> None:
    """Each action is a line of its own before what it does, with the name of the token; so is its undo."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_text("out\n\n#queuectl end attempt=1 started_at=20261124T034258.500Z exit=1\n")
    client = serve(Policy(is_public=True, may_act=True, names={'o"p s': TOKEN}))
    client.get("/login")
    client.post("/login", {"token": TOKEN})
    client.open("/dead")
    client.post("/actions/retry", {"id": "x", "back": "/dead"})
    receipt = re.search(r'name="receipt" value="(\w+)"', client.get("/dead").text)
    assert receipt
    client.post("/actions/undo", {"receipt": receipt[1], "back": "/dead"})
    client.post("/actions/retry", {"id": "x", "back": "/dead"})
    client.post("/actions/hold", {"id": "x", "back": "/dead"})
    marks = [mark for line in spool.log_path("x").read_bytes().splitlines() if (mark := logs.parse_mark(line))]
    said = [(mark.fields.get("action") or mark.event, mark.fields.get("by"), mark.attempt) for mark in marks[1:]]
    who = 'o"p s'
    assert said == [
        ("retry", who, 1), ("retry", None, 1), ("undo", who, 0), ("note", None, None),
        ("retry", who, 1), ("retry", None, 1), ("hold", who, 0),
    ]  # fmt: skip
    assert "Asked to hold, by o&quot;p s" in client.get("/jobs/x").text
    assert '-- hold asked for in the dashboard by o"p s at ' in cli.run("logs", "x").stderr


def test_audit_in_the_log_of_a_job_that_runs_begins_a_line(spool: Spool) -> None:
    """Half a line that the job has written is not continued by it, and a claim does not search for copies for it."""
    put(spool.layout, running_name(id="x"), state=State.RUNNING)
    spool.log_path("x").write_text("half")
    asked.append(spool.layout, spool.get("x"), "kill", "")
    assert re.fullmatch(
        r'half\n#queuectl note asked attempt=1 at=\S+ action=kill by=""\n', spool.log_path("x").read_text()
    )
    spool.enqueue("true", id="y")
    asked.append(spool.layout, spool.get("y"), "hold", "ops")
    with open(spool.log_path("y"), "rb") as log:
        assert claims._is_expected(log.fileno(), PendingName(10, NOW, 0, "y"))
        assert not claims._is_expected(log.fileno(), PendingName(10, NOW, 1, "y"))


def test_audit_line_is_one_line() -> None:
    """Whatever was typed, nothing of it begins a new line or a colour."""
    text = audit.line("/actions/pause", {"reason": ["a\nb \x1b[31m" + "x" * 500], "csrf": ["1"]}, {})
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert len(text) < 350


def test_errors_are_pages_for_browsers(serve: Serve) -> None:
    """What does not exist is a page with the way back, for programs one line."""
    client = serve()
    assert "<h1>No such page</h1>" in client.get("/nowhere", Accept="text/html").text
    assert client.get("/nowhere", Accept="text/html").status == 404
    assert client.get("/nowhere").text == "There is no such page.\n"
    assert client.get("/api/nowhere", Accept="text/html").text == "There is no such page.\n"
