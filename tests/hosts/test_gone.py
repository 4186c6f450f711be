"""Hosts that die, return, stop or are rebooted, while others share their spool."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.hosts.conftest import MakeHost
from tests.hosts.gluster import Gluster
from tests.hosts.host import Host, HostWorker
from tests.support import wait_for

LONG = "echo attempt $QUEUECTL_ATTEMPT on $(hostname) >> {ledger}; test $QUEUECTL_ATTEMPT = {last} || sleep 600"


@pytest.fixture
def pair(hosts: tuple[Host, Host]) -> tuple[Host, Host]:
    """Two hosts, whose beats come more often."""
    for host in hosts:
        host.program = (str(Path(__file__).with_name("quick.py")),)
    return hosts


def start_on(host: Host, ledger: Path, *, last: int = 2) -> HostWorker:
    """A worker there that runs the job `x`, which ends in attempt `last` alone."""
    command = LONG.format(ledger=ledger, last=last)
    host.ok("enqueue", json.dumps({"id": "x", "command": command, "backoff_max": 0.2}))
    worker = host.worker()
    wait_for(lambda: ledger.is_file() and ledger.read_text(), "the start of the job")
    return worker


def ran(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines()


def mark_of(host: Host, other: str) -> str:
    return next(name for name in os.listdir(host.spool / "hosts") if name.startswith(f"{other}."))


def test_host_that_died_is_shown_and_its_jobs_are_taken_once_it_is_said_to_be_gone(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    """Its job stays where it is until then; another host runs the next attempt, and the log has both."""
    web1, web2 = pair
    ledger = tmp_path / "ledger"
    start_on(web2, ledger)
    other = web1.worker("--poll", "0.2")
    web2.die()
    wait_for(lambda: "has lost contact" in other.report.read_text(), "lost contact", 60)
    (row,) = [each for each in web1.json("worker", "list") if each["host"] == "web2"]
    assert (row["state"], row["alive"], row["contact"], row["runs"]) == ("lost", True, "lost", ["x"])
    assert f"queuectl worker gone {mark_of(web1, 'web2').partition('-')[0]}" in web1.ok("status")
    assert ran(ledger) == ["attempt 1 on web2"]
    gone = web1.json("worker", "gone", "web2", "--yes")
    assert (gone["gone"], gone["runs"]) == (True, ["x"])
    wait_for(lambda: other.has("done", "x"), "the second attempt")
    assert ran(ledger) == ["attempt 1 on web2", "attempt 2 on web1"]
    assert [each["result"] for each in web1.json("show", "x")["history"]] == ["lost", "exit0"]
    assert "which is gone" in web1.run("logs", "x").stderr
    assert sorted(path.name for path in (web1.spool / "logs").iterdir()) == ["x.log", "x.log.1", "x.log.2"]


def test_host_that_lives_is_not_gone_unless_that_is_forced_and_then_ends_its_jobs(
    pair: tuple[Host, Host], tmp_path: Path
) -> None:
    """Refused while its beat moves; forced, its processes end, the log says until when, and it works on as another."""
    web1, web2 = pair
    ledger = tmp_path / "ledger"
    worker = start_on(web2, ledger)
    name = mark_of(web2, "web2").partition("-")[0]
    refused = web1.run("worker", "gone", "web2", "--yes")
    assert (refused.returncode, "is alive" in refused.stderr) == (1, True)
    assert worker.process.poll() is None
    web1.ok("worker", "gone", name, "--yes", "--force")
    assert worker.wait() == 6
    assert worker.has("error")
    assert "has said that this host is gone" in worker.report.read_text()
    assert not any(b"sleep" in path.read_bytes() for path in web2.processes())
    web1.ok("worker", "start", "--drain")
    assert ran(ledger) == ["attempt 1 on web2", "attempt 2 on web1"]
    assert f"was ended on {name}" in web1.run("logs", "x").stderr
    again = web2.worker()
    assert again.process.poll() is None
    assert len([mark for mark in os.listdir(web2.spool / "hosts") if mark.startswith("web2.")]) == 2


def test_host_that_returns_ends_what_others_have_taken(
    gluster: Gluster, pair: tuple[Host, Host], tmp_path: Path
) -> None:
    """Cut off from the file server for longer than its caches keep anything, it is said to be gone, and finds out."""
    web1, web2 = pair
    ledger = tmp_path / "ledger"
    worker = start_on(web2, ledger)
    client = gluster.client("m2")
    os.kill(client, signal.SIGSTOP)
    try:
        web1.ok("worker", "gone", "web2", "--yes")
        web1.ok("worker", "start", "--drain")
        assert ran(ledger) == ["attempt 1 on web2", "attempt 2 on web1"]
    finally:
        os.kill(client, signal.SIGCONT)
    assert worker.wait() == 6
    assert not any(b"sleep" in path.read_bytes() for path in web2.processes())
    show = web1.json("show", "x")
    assert (show["state"], [each["result"] for each in show["history"]]) == ("done", ["lost", "exit0"])


def test_host_that_was_rebooted_is_gone_by_itself(pair: tuple[Host, Host], tmp_path: Path) -> None:
    """A worker that starts there takes the jobs of before, under another key, and nobody has to say anything."""
    web1, web2 = pair
    ledger = tmp_path / "ledger"
    start_on(web2, ledger)
    before = mark_of(web1, "web2")
    web2.reboot()
    worker = web2.worker("--poll", "0.2")
    wait_for(lambda: worker.has("done", "x"), "the next attempt", 40)
    assert ran(ledger) == ["attempt 1 on web2", "attempt 2 on web2"]
    marks = [name for name in os.listdir(web1.spool / "hosts") if name.startswith("web2.")]
    assert len({name.partition("-")[0] for name in marks}) == 2
    assert any(name.startswith(f"{before.partition('-')[0]}-gone-") for name in marks)


def test_hosts_of_one_name_and_one_boot_are_told_apart(make_host: MakeHost, tmp_path: Path) -> None:
    """Clones of one machine do not judge each other's workers by locks, whatever is killed."""
    one = make_host("web1", "m1", boot_id="5f0d3c1e-0000-4000-8000-000000000001")
    other = make_host("web1", "m2", boot_id="5f0d3c1e-0000-4000-8000-000000000001")
    ledger = tmp_path / "ledger"
    worker = start_on(one, ledger, last=9)
    worker.signal(signal.SIGKILL)
    other.ok("enqueue", "--id", "y", "--", "true")
    other.ok("worker", "start", "--idle-exit", "1")
    assert other.json("show", "y")["state"] == "done"
    assert other.json("show", "x")["state"] == "running"
    adopter = one.worker()
    wait_for(lambda: adopter.has("adopted", "x"), "the adoption")
    assert ran(ledger) == ["attempt 1 on web1"]
    keys = {name.partition("-")[0] for name in os.listdir(one.spool / "hosts") if name != "id"}
    assert len(keys) == 2


def test_restart_of_the_file_server_frees_nothing(gluster: Gluster, pair: tuple[Host, Host], tmp_path: Path) -> None:
    """Jobs run on while the server is away, and nobody takes them when it is back."""
    web1, web2 = pair
    ledger = tmp_path / "ledger"
    worker = start_on(web2, ledger, last=9)
    other = web1.worker("--poll", "0.2")
    gluster.kill()
    gluster.start()
    wait_for(lambda: web1.run("enqueue", "--id", "y", "--", "true").returncode in (0, 4), "the mount", 30)
    wait_for(lambda: other.has("done", "y") or worker.has("done", "y"), "another job", 40)
    assert (web1.json("show", "x")["state"], ran(ledger)) == ("running", ["attempt 1 on web2"])
    assert not other.has("adopted")
    assert not other.has("taken")
