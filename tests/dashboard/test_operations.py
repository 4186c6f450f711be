from __future__ import annotations

import re
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.core.names import PendingName
from queuectl.dashboard import table
from queuectl.dashboard.security import SESSION, Policy
from tests.dashboard.client import Client
from tests.dashboard.conftest import Serve
from tests.spool.given import NOW, pending_name, put, put_finished, read_log, running_name
from tests.support import WorkerProcess, wait_for, workers


def receipt(client: Client, path: str = "/workers") -> str:
    """The operation on a page, without its markup; empty if there is none."""
    found = re.search(r'<section id="receipts".*?</section>', client.get(path).text, re.DOTALL)
    assert found is not None
    return " ".join(re.sub(r"<[^>]*>", " ", found[0]).split())


def undo(client: Client, text: str = "") -> str:
    """Press Undo on the newest operation; what the next operation says."""
    page = client.open("/workers").text
    found = re.search(r'name="receipt" value="([0-9a-f]+)"', page)
    assert found is not None
    assert client.post("/actions/undo", {"receipt": found[1], "back": "/"}).status == 303
    return receipt(client)


def act(client: Client, path: str, verb: str, **form: object) -> str:
    """Send the form of a page; what the operation says."""
    client.open(path)
    answer = client.post(f"/actions/{verb}", {"back": path, **form})
    assert (answer.status, answer.headers.get("Location")) == (303, path), answer.text
    return receipt(client)


@pytest.mark.parametrize(("state", "result"), [(State.DEAD, "exit1"), (State.DEAD, "cancelled"), (State.DONE, "exit0")])
def test_retry_and_its_undo(spool: Spool, client: Client, state: State, result: str) -> None:
    """A finished job is pending again, and undone it is what it was: its name says when and how it ended."""
    before = put_finished(spool.layout, "x", result, state)
    assert act(client, "/jobs/x", "retry", id="x", confirmed="1") == "Retried x. Undo"
    assert spool.get("x").state is State.PENDING
    assert undo(client).startswith("Undid: retried x.")
    assert before.exists()
    assert spool.counts().pending == 0
    assert "The retry was undone" in client.get("/jobs/x").text


def test_undo_leaves_what_has_started_or_changed_and_says_so(spool: Spool, client: Client) -> None:
    """Of many dead letters those that nobody touched are back; for each of the others the page says why it is not."""
    ids = ["back", "edited", "gone", "ran", "runs", "tried"]
    before = {id: put_finished(spool.layout, id) for id in ids}
    assert act(client, "/dead", "retry", id=ids) == "Retried 6 jobs. Undo"
    spool.set_fields("edited", command="false")
    Path(spool.get("gone").path).unlink()
    for id, state, name in (
        ("ran", State.DONE, "20261124T034300.000Z-010-1-exit0-1.500s-ran.json"),
        ("runs", State.RUNNING, running_name("runs")),
        ("tried", State.PENDING, pending_name("tried", attempts=1)),
    ):
        Path(spool.get(id).path).rename(spool.layout.job(state, name))
    said = undo(client)
    assert "Undid: retried back. 5 jobs could not be." in said
    for text in ("done since: ran", "running since: runs", "tried since: tried", "no longer in the spool: gone"):
        assert f"1 job left as it is, {text}" in said or f"moved or {text}" in said
    assert "edited was left as it is: it was edited since" in said
    assert [id for id in ids if before[id].exists()] == ["back"]


def test_undo_of_all_that_were_changed_is_no_success(spool: Spool, client: Client) -> None:
    """If nothing can be put back, the operation is not shown as one that succeeded."""
    put_finished(spool.layout, "x")
    act(client, "/dead", "retry", id="x")
    spool.hold("x")
    assert "Nothing was undone." in undo(client)
    assert '<div class="receipt bad"' in client.get("/workers").text


def test_cancel_and_its_undo(spool: Spool, client: Client) -> None:
    """A cancelled job comes back with its time, priority and attempts: one for tomorrow is not due by an undo."""
    before = put(spool.layout, PendingName(7, NOW.replace(year=2100), 2, "x"))
    assert act(client, "/jobs/x", "cancel", id="x") == "Cancelled x. Undo"
    assert str(spool.get("x").result) == "cancelled"
    undo(client)
    assert before.exists()


def test_run_now_and_its_undo(spool: Spool, client: Client) -> None:
    """A scheduled job is due at once, and at its old time again."""
    before = spool.enqueue("true", id="x", run_at="2100-01-01T00:00:00Z")
    assert act(client, "/jobs/x", "run", id="x") == "Made due now x. Undo"
    assert spool.counts().ready == 1
    undo(client)
    assert spool.get("x").run_at == before.run_at


def test_reprioritise_and_its_undo(spool: Spool, client: Client) -> None:
    """The new priority is in the name, and the old one after the undo."""
    spool.enqueue("true", id="x", run_at="2100-01-01T00:00:00Z")
    act(client, "/jobs/x", "reprioritise", id="x", priority="3")
    assert spool.get("x").priority == 3
    undo(client)
    assert spool.get("x").priority == 10


LATER = "2100-01-01T00:00:00Z"


def test_hold_and_its_undo(spool: Spool, client: Client) -> None:
    """A held job keeps its priority; undone, it waits for the time that it waited for."""
    before = spool.enqueue("true", id="x", priority=7, run_at=LATER)
    assert act(client, "/jobs/x", "hold", id="x") == "Held x. Undo"
    assert (spool.get("x").is_held, spool.get("x").priority) == (True, 7)
    undo(client)
    assert spool.get("x").name == before.name


def test_release_and_its_undo(spool: Spool, client: Client) -> None:
    """A released job starts when it was submitted for; undone, it is held again."""
    before = spool.enqueue("true", id="x", run_at=LATER)
    spool.hold("x")
    assert act(client, "/jobs/x", "release", id="x") == "Released x. Undo"
    assert spool.get("x").name == before.name
    undo(client)
    assert spool.get("x").is_held


@pytest.mark.parametrize("is_held", [False, True])
def test_first_in_line_and_its_undo(spool: Spool, client: Client, is_held: bool) -> None:
    """The job is before all others; undone, it is where it was, held if it was."""
    spool.enqueue("true", id="front", priority=3)
    before = spool.enqueue("true", id="x", run_at=LATER)
    if is_held:
        before = spool.hold("x")
    assert act(client, "/jobs/x", "first", id="x") == "Put first in line x. Undo"
    assert [job.id for job in spool.list((State.PENDING,))] == ["x", "front"]
    undo(client)
    assert spool.get("x").name == before.name


@pytest.mark.parametrize("verb", ["cancel", "reprioritise"])
def test_undo_never_releases_a_held_job(spool: Spool, client: Client, verb: str) -> None:
    """A held job is held again after it."""
    spool.enqueue("true", id="x")
    spool.hold("x")
    act(client, "/jobs/x", verb, id="x", priority="3")
    undo(client)
    assert (spool.get("x").is_held, spool.get("x").priority) == (True, 10)


def test_actions_on_a_filter_leave_held_jobs_held(spool: Spool, client: Client) -> None:
    """What is made due now, all of it, is what waits for its time."""
    for id in ("held", "later"):
        spool.enqueue("true", id=id, run_at=LATER)
    spool.hold("held")
    client.open("/jobs?state=pending")
    form = {"all": "1", "state": "pending", "back": "/jobs?state=pending"}
    assert "Run now 1 job?" in client.post("/actions/run", form).text
    client.post("/actions/run", {**form, "confirmed": "1"})
    wait_for(lambda: spool.counts().ready == 1, "the action")
    assert spool.get("held").is_held
    assert "Release 1 job?" in client.post("/actions/release", {**form, "state": "held"}).text


def test_run_now_of_a_due_job_does_not_move_it_back(spool: Spool, client: Client) -> None:
    """It would lose its place: it is not offered, and refused; what is first in line goes before."""
    before = put(spool.layout, PendingName(10, NOW, 0, "x"))
    put(spool.layout, PendingName(10, NOW.replace(hour=5), 0, "y"))
    wait_for(lambda: "/jobs/x" in client.get("/jobs?state=ready").text, "the jobs")
    assert offered(client.open("/jobs?state=ready").text) == ["first", "first"]
    assert "x is due already" in act(client, "/jobs/x", "run", id="x")
    form = {"all": "1", "state": "pending", "back": "/jobs?state=pending"}
    assert "Nothing left to do" in client.post("/actions/run", form).text
    assert before.exists()


def offered(page: str) -> list[str]:
    """The actions that a job's page has buttons for."""
    return re.findall(r'data-verb="([\w ]+)"', page)


def test_page_offers_what_makes_sense(spool: Spool, serve: Serve) -> None:
    """Hold for a waiting job, release for a held one, neither for a finished one, nothing where nobody may act."""
    spool.enqueue("true", id="free", run_at=LATER)
    spool.enqueue("true", id="due")
    spool.enqueue("true", id="held")
    spool.hold("held")
    put_finished(spool.layout, "gone")
    put_finished(spool.layout, "good", "exit0", State.DONE)
    put_finished(spool.layout, "broken", "invalid").write_text("{")
    client = serve()
    assert offered(client.open("/jobs/free").text) == ["run", "first", "hold", "change", "cancel"]
    assert offered(client.open("/jobs/due").text) == ["first", "hold", "change", "cancel"]
    assert offered(client.open("/jobs/held").text) == ["release", "release at", "first", "change", "cancel"]
    assert offered(client.open("/jobs/gone").text) == ["retry", "change", "drop"]
    assert offered(client.open("/jobs/good").text) == ["retry", "change"]
    assert offered(client.open("/jobs/broken").text) == ["change", "drop"]
    reader = serve(Policy(may_act=False))
    assert offered(reader.get("/jobs/free").text) == []


@pytest.mark.parametrize("verb", ["hold", "release", "first", "set", "edit", "pause", "resume", "kill"])
def test_safeguards_hold_for_each(spool: Spool, serve: Serve, verb: str) -> None:
    """No GET, no foreign page, no forged token and no read-only dashboard moves a job, or the queue."""
    before = spool.enqueue("true", id="x", run_at=LATER)
    if verb == "release":
        before = spool.hold("x")
    client = serve()
    client.open("/jobs/x")
    if verb == "resume":
        spool.pause()
    was_paused = spool.is_paused()
    given = {"set": {"priority": "3", "was_priority": "10"}, "edit": {"text": '{"command": "false"}'}}
    path, form = f"/actions/{verb}", {"id": "x", "back": "/", "signal": "HUP", **given.get(verb, {})}
    assert client.get(f"{path}?id=x").status in (404, 405)
    assert client.post(path, form, Origin="http://evil.example").status == 403
    assert client.post(path, form, Host="evil.example").status in (400, 403, 421)
    assert client.post(path, {**form, "csrf": "0" * 32}).status == 403
    policy = Policy(may_act=False)
    reader = serve(policy)
    reader.get("/jobs/x")
    assert reader.post(path, {**form, "csrf": policy.csrf(reader.cookies[SESSION])}).status == 403
    assert (spool.get("x").name, spool.get("x").fields) == (before.name, before.fields)
    assert spool.is_paused() == was_paused


@pytest.mark.parametrize("priority", ["", "-1", "1000", "x", "1.5", "9" * 30])
def test_priority_that_cannot_be_is_refused(spool: Spool, client: Client, priority: str) -> None:
    """With a page that says what a priority is."""
    spool.enqueue("true", id="x", run_at="2100-01-01T00:00:00Z")
    client.open("/jobs/x")
    assert client.post("/actions/reprioritise", {"id": "x", "priority": priority}).status == 400
    assert spool.get("x").priority == 10


def test_drop_asks_first_and_says_which(spool: Spool, client: Client) -> None:
    """Only the second form, which names number and jobs, deletes; there is no undo."""
    for id in ("a", "b", "c"):
        put_finished(spool.layout, id)
    client.open("/dead")
    page = client.post("/actions/drop", {"id": ["a", "b"], "back": "/dead"}).text
    assert "Drop 2 jobs?" in page
    assert spool.counts().dead == 3
    assert client.post("/actions/drop", {"id": ["a", "b"], "back": "/dead", "confirmed": "1"}).status == 303
    assert [job.id for job in spool.list((State.DEAD,))] == ["c"]
    assert receipt(client) == "Dropped 2 jobs."


def test_action_on_all_that_match_reaches_beyond_the_page(spool: Spool, client: Client) -> None:
    """After a confirmation that counts them, an action reaches every job of the filter, and no other."""
    number = table.ROWS + 30
    for index in range(number):
        put_finished(spool.layout, f"timeout-{index}", "timeout")
    put_finished(spool.layout, "other", "exit1")
    wait_for(lambda: f"of {number}" in client.open("/dead?result=timeout").text, "all of them")
    form = {"all": "1", "state": "dead", "result": "timeout", "back": "/dead"}
    page = client.post("/actions/retry", form).text
    assert f"Retry {number} jobs?" in page
    assert spool.counts().pending == 0
    until = re.search(r'name="until" value="([^"]+)"', page)
    assert until is not None
    put_finished(spool.layout, "later", "timeout").rename(
        spool.path / "dead" / "20991124T034300.000Z-010-1-timeout-1.500s-later.json"
    )
    client.post("/actions/retry", {**form, "until": until[1], "confirmed": "1"})
    wait_for(lambda: spool.counts().pending == number, "the retries")
    assert {job.id for job in spool.list((State.DEAD,))} == {"other", "later"}
    assert receipt(client).startswith(f"Retried {number} jobs.")
    undo(client)
    wait_for(lambda: spool.counts().dead == number + 2, "the undo")


def test_action_that_cannot_be_done_is_reported(spool: Spool, client: Client) -> None:
    """A job that has moved on, or is not a job, is named with the reason; the others are still done."""
    put_finished(spool.layout, "good")
    put_finished(spool.layout, "finished", "exit0", State.DONE)
    put_finished(spool.layout, "broken", "invalid").write_text("{")
    said = act(client, "/dead", "retry", id=["broken", "good"])
    assert "Retried good. 1 job could not be." in said
    assert "not a runnable job" in said
    said = act(client, "/jobs/finished", "cancel", id="finished")
    assert "has already ended" in said


def test_button_of_a_row_acts_on_that_row_alone(spool: Spool, client: Client) -> None:
    """A row's own button acts on that row, whatever is ticked."""
    put_finished(spool.layout, "ticked")
    put_finished(spool.layout, "mine")
    act(client, "/dead", "retry", id="ticked", one="mine")
    assert spool.get("ticked").state is State.DEAD
    assert spool.get("mine").state is State.PENDING


def test_cancel_ends_a_running_job(spool: Spool, client: Client) -> None:
    """It asks first, as there is no undo; its processes end with it."""
    spool.enqueue("sleep 60", id="x")
    with workers(spool.path):
        wait_for(lambda: spool.get("x").state is State.RUNNING, "the start")
        client.open("/jobs/x")
        assert "Cancel 1 job?" in client.post("/actions/cancel", {"id": "x", "back": "/"}).text
        assert spool.get("x").state is State.RUNNING
        assert act(client, "/jobs/x", "cancel", id="x", confirmed="1") == "Cancelled x."
        assert str(spool.get("x").result) == "cancelled"


def test_cancel_keeps_to_the_grace_that_is_set(spool: Spool, client: Client) -> None:
    """A job that ignores SIGTERM gets SIGKILL after the spool's grace, not after its default of five seconds."""
    (spool.path / "config.toml").write_text("grace = 0.05\n")
    spool.enqueue("trap '' TERM; echo ready; while :; do sleep 0.05; done", id="x")
    worker = WorkerProcess(spool.path).wait_ready()
    wait_for(lambda: "ready" in read_log(spool.layout, "x"), "the job")
    worker.kill()  # or it would end the job too, by the grace that it knows
    assert act(client, "/jobs/x", "cancel", id="x", confirmed="1").startswith("Cancelled x.")


def test_signal_reaches_a_running_job(spool: Spool, client: Client) -> None:
    """From every page it asks which, and then sends that one; a job that waits has no processes, `15` is no choice."""
    spool.enqueue("trap 'echo caught; exit 3' USR1; echo ready; sleep 60 & wait", id="x", max_retries=0)
    spool.enqueue("true", id="waits", run_at=LATER)
    with workers(spool.path):
        wait_for(lambda: "ready\n" in read_log(spool.layout, "x"), "the trap")
        assert offered(client.open("/jobs/x").text) == ["kill", "cancel"]
        client.open("/jobs?state=running")
        for chosen in ({"id": "x"}, {"one": "x"}, {"all": "1", "state": "running"}):
            for signal in ({}, {"signal": ""}, {"signal": "HUP"}):
                page = client.post("/actions/kill", {**chosen, **signal, "back": "/"}).text
                assert "Send a signal to 1 job?" in page
                assert f"<option{' selected' if signal.get('signal') else ''}>HUP</option>" in page
            assert client.post("/actions/kill", {**chosen, "confirmed": "1"}).status == 200
        for word in ("NOPE", "15", "SIGUSR1"):
            assert client.post("/actions/kill", {"id": "x", "signal": word, "confirmed": "1"}).status == 400
        assert "only a running job" in act(client, "/jobs/waits", "kill", id="waits", signal="USR1")
        said = act(client, "/jobs?state=running", "kill", id="x", signal="USR1", confirmed="1")
        assert said.startswith("Sent SIGUSR1 to x.")
        wait_for(lambda: spool.get("x").state is State.DEAD, "the end")
    assert str(spool.get("x").result) == "exit3"
    assert "caught" in read_log(spool.layout, "x")


def test_operations_belong_to_their_session(spool: Spool, client: Client) -> None:
    """Another session sees no operation, and cannot undo; a dismissed one is gone."""
    put_finished(spool.layout, "x")
    put_finished(spool.layout, "y")
    act(client, "/dead", "retry", id="x")
    page = client.open("/workers").text
    found = re.search(r'name="receipt" value="([0-9a-f]+)"', page)
    assert found is not None
    other = Client(client.port)
    assert receipt(other) == ""
    other.open("/dead")
    assert other.post("/actions/undo", {"receipt": found[1]}).status == 409
    client.post("/actions/dismiss", {"receipt": found[1]})
    assert receipt(client) == ""


def test_forms_lead_back_to_their_page_only(spool: Spool, client: Client) -> None:
    """A crafted way back leads to the overview."""
    put_finished(spool.layout, "x")
    client.open("/dead")
    assert client.post("/actions/retry", {"id": "x", "back": "//evil.example"}).headers["Location"] == "/"


def test_job_that_has_vanished_is_no_success(spool: Spool, client: Client) -> None:
    """Retrying one that was dropped in the meantime is shown as failed, with the reason, and counted beside others."""
    for id in ("x", "y"):
        put_finished(spool.layout, id)
    client.open("/dead")
    spool.drop("x")
    said = act(client, "/dead", "retry", id="x")
    assert said == "Not done: retry. The spool holds no job x: it was dropped, pruned or removed."
    assert '<div class="receipt bad"' in client.get("/workers").text
    assert "Retried y. 1 job could not be. The spool holds no job x" in act(client, "/dead", "retry", id=["x", "y"])


def test_log_that_cannot_be_written_is_the_reason(spool: Spool, client: Client) -> None:
    """A job whose log is a directory is neither retried nor dropped, and the page says why."""
    put_finished(spool.layout, "x")
    spool.log_path("x").mkdir()
    assert "Is a directory" in act(client, "/dead", "retry", id="x")
    assert "Is a directory" in act(client, "/dead", "drop", id="x", confirmed="1")
    assert spool.get("x").state is State.DEAD


@pytest.mark.parametrize(
    ("state", "verb", "asks"),
    [
        (State.DONE, "retry", "Run 1 job again?"), (State.DEAD, "retry", ""), (State.DEAD, "drop", "Drop 1 job?"),
        (State.RUNNING, "cancel", "Cancel 1 job?"), (State.RUNNING, "kill", "Send a signal to 1 job?"),
        (State.PENDING, "cancel", ""), (State.PENDING, "hold", ""), (State.PENDING, "first", ""),
    ],
)  # fmt: skip
def test_action_asks_if_it_cannot_be_undone(spool: Spool, client: Client, state: State, verb: str, asks: str) -> None:
    """Ending, signalling and dropping a job, and running one again that is done, ask first; the rest can be undone."""
    names = {State.PENDING: pending_name("x"), State.RUNNING: running_name("x")}
    if state in names:
        put(spool.layout, names[state], state=state)
    else:
        put_finished(spool.layout, "x", "exit0" if state is State.DONE else "exit1", state)
    client.open("/jobs/x")
    answer = client.post(f"/actions/{verb}", {"id": "x", "back": "/jobs/x"})
    assert (answer.status, spool.get("x").state is state and bool(asks)) == (200 if asks else 303, bool(asks))
    assert asks in answer.text
    if not asks:
        assert receipt(client).endswith("Undo")


@pytest.mark.parametrize(
    "change",
    [
        {"state": "foo"}, {"state": ""}, {"since": "banana"}, {"prio": "x"}, {"result": "bogus"}, {"age": "99d"},
        {"until": "banana"}, {"state": ["dead", "dead"]}, {"q": "\0"}, {"q": "x" * 10_000}, {"start": "-1"},
        {"id": "../x"}, {"confirmed": ["1", "1"]},
    ],
)  # fmt: skip
def test_senseless_form_acts_on_nothing(spool: Spool, client: Client, change: dict[str, object]) -> None:
    """A filter that makes no sense is refused with a message, and never taken for all jobs."""
    put_finished(spool.layout, "x")
    client.open("/dead")
    form = {"all": "1", "state": "dead", "confirmed": "1", "back": "/dead", **change}
    for verb in ("drop", "retry"):
        answer = client.post(f"/actions/{verb}", form if "id" not in change else change)
        assert answer.status == 400
        assert "<h1>" in answer.text
    assert spool.get("x").state is State.DEAD
    assert receipt(client) == ""


@pytest.mark.parametrize("form", [{}, {"id": "../x"}, {"id": ""}])
def test_form_without_a_job_is_reported(client: Client, spool: Spool, form: dict[str, str]) -> None:
    """A form without a job says so; an unknown action is not found."""
    put_finished(spool.layout, "x")
    client.open("/dead")
    assert client.post("/actions/retry", form).status == 400
    assert client.post("/actions/explode", {"id": "x"}).status == 404
