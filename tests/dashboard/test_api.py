from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from typing import Any

import pytest

from queuectl import Spool, State
from queuectl.core.names import FinishedName
from queuectl.core.result import Result
from queuectl.dashboard import joblog
from queuectl.spool.system.clock import now
from tests.dashboard.client import Client
from tests.spool.given import put, put_finished
from tests.support import CommandLine, need, wait_for, workers


def fill(spool: Spool) -> None:
    spool.enqueue("echo waiting", id="waiting", priority=3)
    spool.enqueue("true", id="later", run_at="2100-01-01T00:00:00Z")
    put_finished(spool.layout, "gone", "exit127")
    put_finished(spool.layout, "good", "exit0", State.DONE)


def test_api_says_what_the_command_line_says(spool: Spool, cli: CommandLine, client: Client) -> None:
    """Each answer is what `--json` prints, to the letter, but for free space, which moves."""
    fill(spool)
    wait_for(lambda: len(client.get("/api/jobs").json) == 4, "the jobs")
    assert client.get("/api/jobs").json == cli.json("list")
    assert client.get("/api/jobs?state=ready").json == cli.json("list", "--state", "ready")
    assert client.get("/api/jobs?match=waiting&limit=1").json == cli.json("list", "--match", "waiting")
    assert client.get("/api/jobs/gone").json == cli.json("show", "gone")
    assert client.get("/api/dead").json == cli.json("dlq", "list")
    assert client.get("/api/workers").json == cli.json("worker", "list")
    assert client.get("/api/metrics").json == cli.json("metrics")
    status, expected = client.get("/api/status").json, cli.json("status")
    for found in (status, expected):
        assert found.pop("free_bytes") > 0
        assert found.pop("free_inodes") > 0
    assert status == expected


def test_pause_and_held_jobs_are_reported_alike(spool: Spool, cli: CommandLine, client: Client) -> None:
    """The status and the list of held jobs, to the letter."""
    fill(spool)
    spool.hold("waiting")
    spool.pause("moving the database", datetime(2100, 1, 1, tzinfo=UTC))
    wait_for(lambda: client.get("/api/status").json["counts"]["held"] == 1, "the held job")
    wait_for(lambda: 'queuectl_jobs{state="held"} 1' in client.get("/metrics").text, "the held job")
    assert "queuectl_paused 1\n" in client.get("/metrics").text
    assert client.get("/api/jobs?state=held").json == cli.json("list", "--state", "held")
    assert client.get("/api/jobs?state=scheduled").json == cli.json("list", "--state", "scheduled")
    moving = ("free_bytes", "free_inodes")
    status, expected = (
        {key: value for key, value in found.items() if key not in moving}
        for found in (client.get("/api/status").json, cli.json("status"))
    )
    assert status["pause"]["reason"] == "moving the database"
    assert status == expected


def test_live_worker_is_reported_alike(spool: Spool, cli: CommandLine, client: Client) -> None:
    """With its slots, and what it runs; only the time it has been up continues in the meantime."""

    def without_uptime(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        assert all(worker["uptime"] >= 0 for worker in found)
        return [{**worker, "uptime": None} for worker in found]

    with workers(spool.path, 1, "--count", "2"):
        wait_for(lambda: client.get("/api/workers").json != [], "the worker")
        assert without_uptime(client.get("/api/workers").json) == without_uptime(cli.json("worker", "list"))


def test_unknown_jobs_are_404(client: Client) -> None:
    """In JSON, as everything below /api."""
    answer = client.get("/api/jobs/none")
    assert (answer.status, answer.json) == (404, {"error": "no job none"})


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("state=bogus", "no such state: 'bogus': it is one of all, ready,"), ("state=DEAD", "no such state"),
        ("result=bogus", "no such result: 'bogus': it is one of exitN,"), ("result=exit256", "no such result"),
        ("age=99d", "no such age: '99d': it is one of 15m, 1h, 24h, 7d"), ("start=-1", "no such start: '-1'"),
        ("limit=many", "no such limit: 'many'"), ("limit=0", "no such limit"), ("limit=%D9%A3", "no such limit"),
        ("state=done&age=" + "9" * 5000, "no such age: '999"), ("since=banana", "no such field: 'since'"),
        ("state=done&state=done", "state is given twice"), ("match=" + "a" * 201, "that text is too long"),
        ("match=%00", "match holds a NUL"), ("match=%ff", "that address is not valid UTF-8"),
        ("match=a&q=b", "match and q are the same"),
        ("&".join(f"a{n}=" for n in range(51)), "that address has too many fields"),
    ],
)  # fmt: skip
def test_query_that_makes_no_sense_is_400(spool: Spool, client: Client, asked: str, why: str) -> None:
    """With the reason, and short; never jobs that were not asked for."""
    answer = client.get(f"/api/jobs?{asked}")
    assert answer.status == 400
    assert answer.json["error"].startswith(why)
    assert len(answer.body) < 300


def test_dead_letters_are_of_one_state(spool: Spool, client: Client) -> None:
    """A state makes no sense in the question, all else is as for other jobs."""
    fill(spool)
    wait_for(lambda: len(client.get("/api/dead").json) == 1, "the dead letter")
    assert client.get("/api/dead?state=done").status == 400
    assert client.get("/api/dead?result=bogus").status == 400


def test_what_is_empty_is_not_asked(spool: Spool, client: Client) -> None:
    """As a form sends it whose fields are not filled in; a limit over the highest is the highest."""
    fill(spool)
    wait_for(lambda: len(client.get("/api/jobs").json) == 4, "the jobs")
    everything = client.get("/api/jobs").json
    assert client.get("/api/jobs?state=&match=&result=&age=&start=&limit=").json == everything
    assert client.get("/api/jobs?state=all&limit=" + "9" * 5000).json == everything
    assert [job["id"] for job in client.get("/api/jobs?state=pending&start=0").json] == ["waiting", "later"]


@pytest.mark.parametrize(
    ("attempt", "status", "expected"),
    [
        ("", 200, None), ("1", 200, b"one\n"), ("2", 200, b"two\n"), ("3", 404, b"attempt 3 in this log: it has 1, 2"),
        ("x", 400, b"no such attempt: 'x'"), ("0", 400, b"no such attempt"), ("-1", 400, b"no such attempt"),
    ],
)  # fmt: skip
def test_log_of_an_attempt(spool: Spool, client: Client, attempt: str, status: int, expected: bytes | None) -> None:
    """Its bytes alone; an attempt that is not there is 404, what is not a number 400, never the whole log."""
    log = b"".join(
        b"#queuectl start attempt=%d started_at=20261124T03430%d.000Z worker=w pid=1\n%s\n" % (number, number, text)
        for number, text in ((1, b"one"), (2, b"two"))
    )
    put_finished(spool.layout, "x")
    spool.log_path("x").write_bytes(log)
    for path in ("/api/jobs/x/log", "/jobs/x/log"):
        answer = client.get(f"{path}?attempt={attempt}")
        assert answer.status == status
        assert (expected or log) in answer.body
        assert expected is None or len(answer.body) < len(log)


def test_attempt_is_not_given_up_before_the_whole_log_is_searched(
    spool: Spool, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a log that takes longer than one question may, 503 says to ask again; all of it is to be had at once."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_bytes(b"one\n")
    monkeypatch.setattr(joblog, "_SCAN_TIME", -1)
    assert client.get("/api/jobs/x/log?attempt=1").status == 503
    assert client.get("/api/jobs/x/log").body == b"one\n"


def test_prometheus_can_read_the_metrics(spool: Spool, client: Client) -> None:
    """Each sample is well-formed and labelled by state or result; counts are those of the spool."""
    fill(spool)
    put(spool.layout, FinishedName(now(), 10, 1, Result.exit(0), 5, "waited"), state=State.DONE)
    used = "used attempt=1 max_rss=9 cpu_user=1.000 cpu_system=1.000 waited=2.500"
    spool.log_path("waited").write_text(f"#queuectl note {used}\n")
    wait_for(lambda: 'wait_seconds{quantile="0.95"} 2.5\n' in client.get("/metrics").text, "the done job")
    text = client.get("/metrics").text
    sample = re.compile(r'queuectl_[a-z_]+(?:\{[a-z]+="[A-Za-z0-9.]+"\})? -?\d+(?:\.\d+)?(?:e[+-]\d+)?')
    for line in text.splitlines():
        assert line.startswith(("# HELP queuectl_", "# TYPE queuectl_")) or sample.fullmatch(line), line
    for expected in (
        'jobs{state="ready"} 1',
        'jobs{state="scheduled"} 1',
        'finished_jobs{result="exit127"} 1',
        "workers 0",
        "up 1",
    ):
        assert f"queuectl_{expected}\n" in text


@pytest.mark.parametrize("is_filled", [False, True], ids=["empty", "filled"])
def test_promtool_finds_nothing_wrong_with_the_metrics(spool: Spool, client: Client, is_filled: bool) -> None:
    """`promtool check metrics` has no remark, whether or not there are any jobs."""
    need("promtool")
    if is_filled:
        fill(spool)
        wait_for(lambda: 'state="dead"} 1' in client.get("/metrics").text, "the dead job")
        assert 'quantile="0.95"' in client.get("/metrics").text
    checked = subprocess.run(
        ["promtool", "check", "metrics"], check=False, capture_output=True, text=True, input=client.get("/metrics").text
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_health_follows_the_spool(spool: Spool, client: Client) -> None:
    """200 while it can be read, 503 while it cannot."""
    assert client.get("/healthz").status == 200
    away = spool.path.rename(spool.path.with_name("away"))
    wait_for(lambda: client.get("/healthz").status == 503, "the alarm")
    away.rename(spool.path)
    wait_for(lambda: client.get("/healthz").status == 200, "its end")


def test_log_is_tailed_by_offset(spool: Spool, client: Client) -> None:
    """Each answer says where the next one begins; nonsense in the question is 400."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_text("one\ntwo\n")
    first = client.get("/jobs/x/tail?from=0").json
    assert (first["html"], first["stop"], first["size"]) == ("<div>one</div><div>two</div>", 8, 8)
    spool.log_path("x").write_text("one\ntwo\nthree\nfo")
    more = client.get(f"/jobs/x/tail?from={first['stop']}").json
    assert (more["html"], more["partial"], more["stop"]) == ("<div>three</div>", "fo", 14)
    assert client.get("/jobs/x/tail?from=4&style=x").json["html"] == "<div>two</div><div>three</div>"
    assert [client.get(f"/jobs/x/tail?{text}").status for text in ("from=-1", "to=x", "least=%00")] == [400] * 3
    assert client.get("/jobs/x/log").body == b"one\ntwo\nthree\nfo"
