"""Two hosts on two mounts of one spool: nothing is lost, and nothing happens twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.hosts.host import Host
from tests.support import need, need_root, wait_for
from tests.torture import hosts as torture


def test_storm_over_two_hosts(tmp_path: Path) -> None:
    """Ids, keys, dependencies and a limit, asked for on both hosts while workers are killed: each job runs once."""
    need_root()
    need("glusterfs", "glusterfsd", "unshare", "nsenter")
    found = torture.storm(tmp_path, jobs=24, kills=2, seed=7, workers=1)
    assert found.problems == []
    assert set(found.by_host) == {"web1", "web2"}


def test_ticks_that_both_hosts_make_and_prune(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    """Each tick becomes one job, which runs once, although workers of both hosts make them and delete the old ones."""
    ledger = tmp_path / "ledger"
    ledger.touch()
    hosts[0].ok("config", "set", "keep-done-count", "1")
    hosts[0].ok("schedule", "add", "beat", "--every", "1s", "--", "sh", "-c", f"echo $QUEUECTL_TICK >> {ledger}")
    for host in hosts:
        host.worker()
    wait_for(lambda: len(ledger.read_text().split()) >= 3, "some ticks")
    hosts[0].ok("prune", "--yes")
    wait_for(lambda: len(ledger.read_text().split()) >= 5, "more ticks")
    for host in hosts:
        host.ok("worker", "stop")
    ticks = Counter(ledger.read_text().split())
    assert set(ticks.values()) == {1}, ticks
