"""Two hosts on two mounts of one spool: nothing is lost, and nothing happens twice."""

from __future__ import annotations

import json
from pathlib import Path

from tests.hosts.host import Host

Hosts = tuple[Host, Host]


def test_hosts_share_jobs(hosts: Hosts, tmp_path: Path) -> None:
    """Each of many jobs, submitted on both hosts, runs once, and both hosts run some."""
    ledger = tmp_path / "ledger"
    assert hosts[0].json("status")["shared"] is True
    for host in hosts:
        command = f"echo $QUEUECTL_JOB_ID $(hostname) >> {ledger}; sleep 0.02"
        host.ok("enqueue", "-", stdin=f"{json.dumps({'command': command})}\n" * 40)
    workers = [host.worker("--drain", "--count", "2") for host in hosts]
    assert [worker.wait() for worker in workers] == [0, 0]
    ran = [line.split() for line in ledger.read_text().splitlines()]
    assert len({id for id, *_ in ran}) == len(ran) == 80
    assert {where for *_, where in ran} == {"web1", "web2"}
    counts = hosts[1].json("status")["counts"]
    assert (counts["done"], counts["pending"], counts["running"], counts["dead"]) == (80, 0, 0, 0)
