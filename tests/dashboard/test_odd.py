"""Whatever is asked, and whatever lies in the spool: an answer, never a failure of the dashboard."""

from __future__ import annotations

import pytest

from queuectl import Spool
from queuectl.dashboard.app import GET
from tests.dashboard import odd
from tests.dashboard.client import Client
from tests.support import wait_for

ADDRESSES = [
    path.replace("<id>", id) for path in GET for id in (odd.IDS if "<id>" in path else ("",)) if path != "/login"
]
LISTS = ("/jobs", "/dead", "/api/jobs", "/api/dead")


@pytest.mark.parametrize("kind", odd.KINDS)
@pytest.mark.parametrize("place", ["logs", "jobs", "workers", "paused", "settings", "others"])
def test_address_answers_whatever_lies_in_the_spool(spool: Spool, client: Client, place: str, kind: str) -> None:
    """Every page, log and number is there or is not found, with pipes, directories, links and nonsense in any place."""
    odd.replace(odd.fill(spool)[place], kind)
    wait_for(lambda: client.get("/jobs/good").status == 200, "the jobs")
    for path in ADDRESSES:
        answer = client.get(path)
        assert answer.status in (200, 303, 404, 409), f"{path}: {answer.status} {answer.body[:200]!r}"
        assert b"root:" not in answer.body, path
