"""A job on another host is ended by its worker, because it was asked to."""

from __future__ import annotations

from tests.hosts.host import Host
from tests.support import wait_for


def test_cancel_and_kill_of_a_job_on_another_host(hosts: tuple[Host, Host]) -> None:
    """A signal reaches it; cancelled, it is in dead/ once none of its processes is left, and no request stays."""
    web1, web2 = hosts
    worker = web2.worker()
    traps = "trap 'echo hup' HUP; trap 'echo ended; exit 3' TERM"
    web1.ok("enqueue", "-q", "--id", "long", f"{traps}; echo begun; while :; do sleep 1; done")
    wait_for(lambda: "begun" in web1.ok("logs", "long"), "the job's start")
    name = next((web1.spool / "running").iterdir()).name
    (web1.spool / "asked" / name.replace("-long", "-over")).touch()  # of a job that is over
    web1.ok("kill", "-HUP", "long")
    wait_for(lambda: "hup" in web1.ok("logs", "long"), "the signal")
    web1.ok("cancel", "long")
    job = web1.json("show", "long")
    assert (job["state"], job["result"]) == ("dead", "cancelled")
    wait_for(lambda: worker.has("cancelled", "long"), "the report of the cancel")
    wait_for(lambda: "ended" in web1.ok("logs", "long"), "its last words, on this mount")
    wait_for(lambda: not [*(web1.spool / "asked").iterdir()], "the end of the requests")
