from __future__ import annotations

from queuectl import Spool, State
from tests.dashboard.client import Client
from tests.dashboard.test_operations import receipt, undo
from tests.spool.given import put_finished
from tests.support import wait_for


def fill(spool: Spool) -> None:
    for number in range(4):
        put_finished(spool.layout, f"bad-{number}", command=f"run --in /old/{number}")
    put_finished(spool.layout, "other", command="run --in /else")


def change(client: Client, step: str, **form: object) -> str:
    """Replace /old by /new in all dead letters; what the operation says."""
    client.open("/dead")
    given = {"all": "1", "state": "dead", "find": "/old", "text": "/new", "back": "/dead", "step": step, **form}
    answer = client.post("/actions/change", given)
    assert answer.status == 303, answer.text
    return receipt(client)


def test_preview_shows_three_and_changes_nothing(spool: Spool, client: Client) -> None:
    """How many have the text, and the first three before and after; no job is touched."""
    fill(spool)
    client.open("/dead")
    given = {"all": "1", "state": "dead", "find": "/old", "text": "/n<b>ew", "back": "/dead", "step": "preview"}
    page = client.post("/actions/change", given).text
    assert "4 of 5 change" in page
    assert page.count('<pre class="new">') == 3
    assert "<del>old</del>" in page
    assert "<ins>n&lt;b&gt;ew</ins>" in page
    assert {job.command for job in spool.list(State.DEAD)} >= {"run --in /old/0", "run --in /else"}


def test_change_and_retry_and_its_undo(spool: Spool, client: Client) -> None:
    """Those with the text are changed and pending; undone each is the dead letter that it was, with its command."""
    fill(spool)
    names = {job.name: job.command for job in spool.list(State.DEAD)}
    assert change(client, "retry") == "Changed and retried 4 jobs. Undo"
    assert sorted(str(job.command) for job in spool.list(State.PENDING)) == [f"run --in /new/{n}" for n in range(4)]
    assert [job.id for job in spool.list(State.DEAD)] == ["other"]
    assert undo(client) == "Undid: changed and retried 4 jobs."
    assert {job.name: job.command for job in spool.list(State.DEAD)} == names
    assert spool.counts().pending == 0


def test_change_and_hold(spool: Spool, client: Client) -> None:
    """Retried jobs can be held, so that none starts before it is released."""
    fill(spool)
    assert change(client, "hold").startswith("Changed, retried and held 4 jobs.")
    assert {job.is_held for job in spool.list(State.PENDING)} == {True}


def test_change_only_and_of_chosen_ones(spool: Spool, client: Client) -> None:
    """The chosen ones are changed where they are, waiting ones too; an undo restores them."""
    fill(spool)
    spool.enqueue("run /old/9", id="waits", priority=3)
    given = {"all": "", "state": "", "id": ["bad-1", "waits", "other", "gone"], "back": "/dead"}
    assert change(client, "only", **given) == "Changed 2 jobs. Undo"
    assert (spool.get("bad-1").command, spool.get("bad-1").state) == ("run --in /new/1", State.DEAD)
    assert (spool.get("waits").command, spool.get("waits").priority) == ("run /new/9", 3)
    assert spool.get("bad-2").command == "run --in /old/2"
    assert undo(client) == "Undid: changed 2 jobs."
    assert (spool.get("bad-1").command, spool.get("waits").command) == ("run --in /old/1", "run /old/9")


def test_undo_leaves_a_job_that_was_edited_or_has_started(spool: Spool, client: Client) -> None:
    """What has happened since is not undone, and the operation says so."""
    fill(spool)
    change(client, "retry")
    spool.set_fields("bad-0", command="mine")
    spool.cancel("bad-1")
    assert undo(client).startswith("Undid: changed and retried 2 jobs. 2 jobs could not be.")
    assert spool.get("bad-0").command == "mine"


def test_form_that_makes_no_sense_changes_nothing(spool: Spool, client: Client) -> None:
    """An empty search in commands, a field or a step that does not exist, and no job at all."""
    fill(spool)
    client.open("/dead")
    base = {"all": "1", "state": "dead", "find": "/old", "text": "/new", "step": "retry"}
    for wrong in (
        {"find": ""}, {"field": "id"}, {"step": "x"}, {"all": ""}, {"field": "timeout", "find": "", "text": "soon"},
        {"text": "x" * 20_001}, {"state": "nowhere"},
    ):  # fmt: skip
        assert client.post("/actions/change", {**base, **wrong}).status == 400, wrong
    assert {job.state for job in spool.list()} == {State.DEAD}


def test_command_that_is_empty_then_is_refused_for_that_job(spool: Spool, client: Client) -> None:
    """The preview says why a job cannot be changed so, and the operation does too; the job stays as it is."""
    put_finished(spool.layout, "x", command="old")
    client.open("/dead")
    given = {"all": "1", "state": "dead", "find": "old", "text": "", "back": "/dead", "step": "preview"}
    assert "is empty" in client.post("/actions/change", given).text
    client.post("/actions/change", {**given, "step": "retry"})
    wait_for(lambda: "is empty" in receipt(client), "the reason")
    assert (spool.get("x").command, spool.get("x").state) == ("old", State.DEAD)
