"""Hosts whose clocks are an hour apart, while that of the file server is a third one."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.hosts.conftest import MakeHost
from tests.hosts.test_gone import LONG, mark_of
from tests.support import need, wait_for

AHEAD = timedelta(hours=1)


def test_clocks_an_hour_apart(make_host: MakeHost, tmp_path: Path) -> None:
    """Each tick is one job, jobs are retried, those of a host that died are taken, and prune deletes none that has just
    ended elsewhere; what the clocks differ by is shown."""
    need("faketime")
    web1, web2 = make_host("web1", "m1"), make_host("web2", "m2")
    for host in (web1, web2):
        host.program = (str(Path(__file__).with_name("quick.py")),)
    web2.prefix = ("env", "NO_FAKE_STAT=1", "faketime", "--exclude-monotonic", "-f", f"+{AHEAD.seconds}s")
    ledger, ticks = tmp_path / "ledger", tmp_path / "ticks"
    web1.ok("schedule", "add", "tick", "--every", "1s", "--overlap", "queue", "--", f"echo $QUEUECTL_TICK >> {ticks}")
    web2.ok("enqueue", json.dumps({"id": "x", "command": LONG.format(ledger=ledger, last=2), "backoff_base": 0}))
    web2.worker("--count", "2", "--poll", "0.2")
    wait_for(ledger.is_file, "the start of the job on web2")
    other = web1.worker("--count", "2", "--poll", "0.2")
    wait_for(lambda: "is about 1 h" in web1.ok("status"), "what the clocks differ by")
    web1.ok("enqueue", json.dumps({"id": "y", "command": "exit 1", "max_retries": 1, "backoff_base": 0}))
    wait_for(lambda: web1.json("show", "y")["state"] == "dead", "the end of y")
    web2.die()
    web1.ok("worker", "gone", mark_of(web1, "web2").partition("-")[0], "--yes")
    wait_for(lambda: other.has("done", "x"), "the second attempt")
    assert ledger.read_text().splitlines() == ["attempt 1 on web2", "attempt 2 on web1"]
    made = Counter(ticks.read_text().splitlines())
    assert [tick for tick, times in made.items() if times > 1] == []
    now = datetime.now(UTC)
    ahead = [tick > f"{now + AHEAD / 2:%Y-%m-%dT%H:%M:%SZ}" for tick in made]
    assert any(ahead)
    assert not all(ahead)
    assert web1.json("prune", "--older-than", "30m", "--state", "all", "--yes")["jobs"] == 0
