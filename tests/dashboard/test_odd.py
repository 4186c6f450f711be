"""Whatever is asked, and whatever lies in the spool: an answer, never a failure of the dashboard."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queuectl import Spool
from queuectl.dashboard.app import GET, POST
from queuectl.dashboard.operations import VERBS
from tests.dashboard import odd
from tests.dashboard.client import Client
from tests.support import wait_for

ADDRESSES = [
    path.replace("<id>", id) for path in GET for id in (odd.IDS if "<id>" in path else ("",)) if path != "/login"
]


@pytest.mark.parametrize("kind", odd.KINDS)
@pytest.mark.parametrize("place", ["logs", "jobs", "others"])
def test_address_answers_whatever_lies_in_the_spool(spool: Spool, client: Client, place: str, kind: str) -> None:
    """Every page, log and number is there or is not found, with pipes, directories, links and nonsense in any place."""
    odd.replace(odd.fill(spool)[place], kind)
    wait_for(lambda: client.get("/jobs/good").status == 200, "the jobs")
    for path in ADDRESSES:
        answer = client.get(path)
        assert answer.status in (200, 303, 404, 409), f"{path}: {answer.status} {answer.body[:200]!r}"
        assert b"root:" not in answer.body, path


TEXTS = st.one_of(
    st.sampled_from(
        ["", "dead", "all", "1", "-1", "1e9", "abc", "exit1", "24h", "TERM", "x" * 10_000, "\0", "é", "\u202e"]
    ),
    st.sampled_from(odd.IDS),
    st.text(max_size=20).filter(
        lambda text: text.isprintable() and not any("\ud800" <= each <= "\udfff" for each in text)
    ),
)
NAMES = st.sampled_from(
    [
        "state",
        "q",
        "match",
        "result",
        "age",
        "start",
        "limit",
        "attempt",
        "find",
        "at",
        "from",
        "to",
        "least",
        "style",
        "next",
        "since",
        "id",
        "one",
        "all",
        "confirmed",
        "until",
        "priority",
        "signal",
        "back",
        "receipt",
        "text",
        "version",
        "retry",
        "reason",
        "held",
        "command",
        "was_command",
        "run_at",
        "set_env",
        "timeout",
        "group",
        "limit",
        "was_limit",
    ]
)
QUERIES = st.lists(st.tuples(NAMES, TEXTS), max_size=6)
ACTIONS = [path.replace("<name>", name) for path in POST for name in (*VERBS, "none") if path != "/login"]
ANYTHING = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_address_answers_whatever_is_asked(spool: Spool, client: Client) -> None:
    """With any fields in any number, a page is there, is elsewhere, is not found, or is refused."""
    odd.fill(spool)
    wait_for(lambda: client.get("/jobs/good").status == 200, "the jobs")

    @ANYTHING
    @given(st.sampled_from(ADDRESSES), QUERIES)
    def look(path: str, query: list[tuple[str, str]]) -> None:
        answer = client.get(f"{path}?{urlencode(query)}")
        assert answer.status in (200, 303, 400, 404, 409), f"{path} {query}: {answer.status} {answer.body[:200]!r}"

    look()


def test_form_answers_whatever_it_holds(spool: Spool, client: Client) -> None:
    """With fields that are missing, repeated or unknown, and jobs that have moved or vanished in the meantime."""
    odd.fill(spool)
    wait_for(lambda: client.get("/jobs/good").status == 200, "the jobs")
    client.open("/jobs/good")

    @ANYTHING
    @given(st.sampled_from(ACTIONS), QUERIES)
    def send(path: str, form: list[tuple[str, str]]) -> None:
        body = urlencode([("csrf", client.csrf), *form])
        headers = {"Origin": client.origin, "Content_Type": "application/x-www-form-urlencoded"}
        answer = client.ask("POST", path, body, **headers)
        assert answer.status in (200, 303, 400, 404, 409), f"{path} {form}: {answer.status} {answer.body[:200]!r}"

    send()
    assert client.get("/").status == 200
