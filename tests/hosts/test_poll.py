"""Work that comes from another host starts soon, although no event says so."""

from __future__ import annotations

import subprocess
import time

from tests.hosts.host import Host

Hosts = tuple[Host, Host]


def test_job_of_another_host_starts_within_a_second(hosts: Hosts) -> None:
    """A worker that has had work a moment ago starts a job that another host submits within a poll."""
    web1, web2 = hosts
    worker = web2.worker()
    assert [each["poll"] for each in web1.json("worker", "list")] == ["auto"]
    assert "polls every 0.5 to 10 s" in web1.ok("status")
    assert sum("polls" in event["message"] for event in worker.events()) == 1
    for _ in range(3):
        begun = time.monotonic()
        web1.ok("run", "-q", "true")
        assert time.monotonic() - begun < 10  # of which a loaded machine takes most


def test_output_of_another_host_is_followed(hosts: Hosts) -> None:
    """`logs -f` shows what a job on another host writes while it runs."""
    web1, web2 = hosts
    web2.worker()
    id = web1.ok("enqueue", "-q", "echo begun; sleep 60")
    with web1.popen(*web1.queuectl("logs", "-f", id), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "begun\n"
        web1.ok("cancel", id)
