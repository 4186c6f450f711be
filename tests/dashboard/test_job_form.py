"""Changing a job, and pausing the queue, by forms with pages of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from html import unescape

import pytest

from queuectl import Spool, State
from queuectl.dashboard.security import Policy
from queuectl.spool.system.clock import now
from tests.dashboard.client import Answer, Client
from tests.dashboard.conftest import Serve
from tests.dashboard.test_operations import receipt, undo
from tests.spool.given import put, put_finished, running_name
from tests.support import names, wait_for

LATER = "2100-01-01T09:00:00Z"


def form_of(page: str) -> dict[str, str]:
    """What a browser would send of the page's form, untouched."""
    found = re.search(r'<form class="panel form.*?</form>', page, re.DOTALL)
    assert found is not None
    inputs = re.findall(r'<input (?:type="hidden" )?(?:id="[^"]*" )?name="(\w+)" value="([^"]*)"', found[0])
    areas = re.findall(r'<textarea [^>]*name="(\w+)"[^>]*>\n?(.*?)</textarea>', found[0], re.DOTALL)
    return {name: unescape(value).replace("\n", "\r\n") for name, value in [*inputs, *areas]}


def send(client: Client, id: str, way: str, typed: Mapping[str, str]) -> Answer:
    """Open the job's form, type that, and send it."""
    form = form_of(client.open(f"/jobs/{id}/{way}").text)
    assert typed.keys() <= form.keys() | {"retry"}
    return client.post(f"/actions/{way}", {**form, **typed})


def said(answer: Answer) -> str:
    """The page without its markup."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", answer.text.partition("<main")[2])).split())


# --- field by field


def test_fields_can_all_be_changed(spool: Spool, client: Client) -> None:
    """What was typed is in force, what was not touched is as it was; the operation says which job."""
    spool.enqueue("echo a\necho b", id="x", run_at=LATER, env={"A": "1"}, extra={"note": "kept"})
    answer = send(
        client,
        "x",
        "set",
        {
            "command": "echo c\r\necho d", "priority": "3", "timeout": "1h30m", "max_retries": "7", "cwd": "/",
            "set_env": "B=2=3\r\n\r\nC= x", "backoff_base": "1.5", "backoff_max": "5m", "backoff_jitter": "0.5",
            "retry_on": "75,110-111", "on_lost": "dead", "max_log": "64K", "on_max_log": "kill",
        },
    )  # fmt: skip
    assert (answer.status, answer.headers["Location"]) == (303, "/jobs/x")
    job = spool.get("x")
    assert job.priority == 3
    assert (job.fields or {}).items() >= {
        "command": "echo c\necho d", "timeout": 5400, "max_retries": 7, "cwd": "/", "note": "kept", "backoff_base": 1.5,
        "env": {"A": "1", "B": "2=3", "C": " x"}, "backoff_max": 300, "backoff_jitter": 0.5, "max_log": 65536,
        "retry_on": [75, 110, 111], "on_lost": "dead", "on_max_log": "kill",
    }.items()  # fmt: skip
    assert job.run_at is not None
    assert job.run_at.year == 2100
    assert receipt(client) == "Changed x."
    send(client, "x", "set", {"set_env": "B=none\nC=", "command": '["echo", "a b"]'})
    assert (spool.get("x").fields or {})["env"] == {"A": "1", "C": ""}
    assert spool.get("x").command == ("echo", "a b")
    job = spool.get("x")
    untouched = send(client, "x", "set", {})
    assert untouched.status == 303
    assert (spool.get("x").name, spool.get("x").fields) == (job.name, job.fields)


def test_bytes_are_shown_and_kept(spool: Spool, client: Client) -> None:
    """Texts that are not UTF-8 are shown escaped; the form leaves out those that it could not return."""
    odd = b"/caf\xe9"
    spool.enqueue(["cat", odd], id="x", cwd=odd, env={"A": odd, "B": "é"})
    spool.enqueue("echo é", id="y", cwd="/srv/é", env={"A": odd})
    assert said(client.get("/jobs/x")).count("caf\\xe9") >= 3
    assert not {"command", "cwd"} & form_of(client.open("/jobs/x/set").text).keys()
    form = form_of(client.open("/jobs/y/set").text)
    assert (form["command"], form["cwd"]) == ("echo é", "/srv/é")
    for id in "xy":
        send(client, id, "set", {"timeout": "5m"})
    assert spool.get("x").command == ("cat", "/caf\udce9")
    assert spool.get("y").command == "echo é"
    bodies = [spool.get(id).body for id in "xy"]
    assert [body and (body.timeout, body.cwd) for body in bodies] == [(300.0, "/caf\udce9"), (300.0, "/srv/é")]


def test_fields_can_be_taken_away(spool: Spool, client: Client) -> None:
    """An empty field is none; without a time the job is due."""
    spool.enqueue("true", id="x", run_at=LATER, timeout=60, max_retries=1)
    assert send(client, "x", "set", {"timeout": "", "max_retries": "none", "run_at": ""}).status == 303
    job = spool.get("x")
    assert not {"timeout", "max_retries"} & (job.fields or {}).keys()
    assert job.run_at is not None
    assert job.run_at <= now()


def test_time_lets_a_held_job_go(spool: Spool, client: Client) -> None:
    """It starts then; any other field leaves it held. Priority and time have an undo, a body has none."""
    spool.enqueue("true", id="x")
    held = spool.hold("x")
    assert send(client, "x", "set", {"timeout": "5"}).status == 303
    assert spool.get("x").is_held
    assert receipt(client) == "Changed x."
    assert send(client, "x", "set", {"run_at": "2h", "priority": "1"}).status == 303
    at = spool.get("x").run_at
    assert at is not None
    assert timedelta(minutes=119) < at - now() <= timedelta(hours=2)
    undo(client)
    assert spool.get("x").name == held.name


@pytest.mark.parametrize(
    ("field", "typed", "why"),
    [
        ("run_at", "soon", "not a time: 'soon'; try 5m"),
        ("timeout", "long", "not a duration: 'long'"),
        ("timeout", "0", "must be a number above 0"),
        ("priority", "1000", "must be a whole number from 0 to 999"),
        ("priority", "high", "not a number: priority=high"),
        ("cwd", "here", "must be an absolute path"),
        ("on_lost", "maybe", 'must be "retry" or "dead"'),
        ("retry_on", "0", "not exit codes from 1 to 255: '0'"),
        ("set_env", "A=1\nnonsense", "not NAME=VALUE: 'nonsense'"),
        ("command", "", "is empty"),
    ],
)
def test_form_keeps_what_was_typed_beside_what_is_refused(
    spool: Spool, client: Client, field: str, typed: str, why: str
) -> None:
    """Nothing is changed, and everything that was typed comes back, the good parts too."""
    before = spool.enqueue("true", id="x", run_at=LATER)
    answer = send(client, "x", "set", {"max_retries": "9", "max_log": "1M", field: typed})
    assert answer.status == 400
    assert why in said(answer)
    assert re.search(rf'id="f-{field}"[^>]*aria-invalid="true" aria-describedby="wrong-{field}"', answer.text)
    form = form_of(answer.text)
    assert {name: form[name].replace("\r", "") for name in (field, "max_retries", "max_log")} == {
        "max_retries": "9", "max_log": "1M", field: typed,
    }  # fmt: skip
    assert (spool.get("x").name, spool.get("x").fields) == (before.name, before.fields)
    corrected = client.post("/actions/set", {**form, field: form[f"was_{field}"]})
    assert corrected.status == 303
    assert (spool.get("x").fields or {})["max_retries"] == 9


def test_form_keeps_what_others_change_in_the_meantime(spool: Spool, client: Client) -> None:
    """A field that was not touched is not put back to what the page showed."""
    spool.enqueue("true", id="x", run_at=LATER)
    form = form_of(client.open("/jobs/x/set").text)
    spool.set_fields("x", priority=1, timeout=5)
    assert client.post("/actions/set", {**form, "max_retries": "2"}).status == 303
    job = spool.get("x")
    assert job.priority == 1
    assert (job.fields or {}).items() >= {"timeout": 5, "max_retries": 2}.items()


@pytest.mark.parametrize("way", ["set", "edit"])
def test_job_that_is_gone_or_has_started(spool: Spool, client: Client, way: str) -> None:
    """The answer says so, what was typed is still there, and no other job is taken for it."""
    job = spool.enqueue("true", id="x", run_at=LATER)
    other = spool.enqueue("true", id="xy", run_at=LATER)
    form = form_of(client.open(f"/jobs/x/{way}").text)
    form |= {"timeout": "77"} if way == "set" else {"text": '{"command": "echo 77"}'}
    (spool.path / "pending" / str(job.name)).rename(spool.path / "running" / str(running_name("x")))
    answer = client.post(f"/actions/{way}", form)
    assert answer.status == 409
    assert "Nothing was changed: job x is running" in said(answer)
    assert "77" in form_of(answer.text)["timeout" if way == "set" else "text"]
    assert client.get(f"/jobs/x/{way}").status == 409
    (spool.path / "running" / str(running_name("x"))).unlink()
    answer = client.post(f"/actions/{way}", form)
    assert answer.status == 409
    assert "the spool no longer holds a job x" in said(answer)
    assert "77" in form_of(answer.text)["timeout" if way == "set" else "text"]
    assert spool.get("xy").fields == other.fields
    assert client.get(f"/jobs/x/{way}").status == 404


def test_command_that_a_form_would_spoil_is_left_to_the_text(spool: Spool, client: Client) -> None:
    """Words, and characters that nobody sees, are not offered as a line; the text has them escaped, and keeps them."""
    spool.enqueue(["echo", "a b"], id="words", run_at=LATER)
    spool.enqueue("printf '\x1b[1m\u202e\U000e0001'", id="odd", run_at=LATER)
    for id in ("words", "odd"):
        before = spool.get(id).command
        assert "command" not in form_of(client.open(f"/jobs/{id}/set").text)
        assert send(client, id, "set", {"timeout": "5"}).status == 303
        text = form_of(client.open(f"/jobs/{id}/edit").text)["text"]
        assert send(client, id, "edit", {"text": text.replace(": 5", ": 6")}).status == 303
        assert (spool.get(id).command, (spool.get(id).fields or {})["timeout"]) == (before, 6)


# --- as a text


def test_whole_body_can_be_edited(spool: Spool, client: Client) -> None:
    """The text is what the job asks for, with priority and time in force; saved, it is what the job asks for."""
    spool.enqueue("true", id="x", run_at=LATER)
    spool.reschedule("x", priority=4)
    text = form_of(client.open("/jobs/x/edit").text)["text"]
    assert '"priority": 4' in text
    assert send(client, "x", "edit", {"text": text.replace("true", "false").replace("4", "5")}).status == 303
    assert (spool.get("x").command, spool.get("x").priority) == ("false", 5)
    assert receipt(client) == "Changed x."
    before = names(spool.path / "pending")
    assert send(client, "x", "edit", {}).status == 303
    assert names(spool.path / "pending") == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"command": "x",\r\n}', "not valid JSON: Illegal trailing comma|not valid JSON: Expecting"),
        ('{"command": ""}', '"command" is empty'),
        ('{"command": "x", "id": "y"}', "the id 'x' cannot be changed"),
        ("</textarea><b>", "not valid JSON"),
    ],
)
def test_text_that_is_not_a_job_comes_back(spool: Spool, client: Client, text: str, why: str) -> None:
    """With the reason, and the place where that is known; the job is what it was."""
    before = spool.enqueue("true", id="x", run_at=LATER)
    answer = send(client, "x", "edit", {"text": text})
    assert answer.status == 400
    assert re.search(why, said(answer))
    assert form_of(answer.text)["text"] == text
    assert spool.get("x").fields == before.fields
    assert client.post("/actions/edit", {**form_of(answer.text), "text": '{"command": "y"}'}).status == 303


def test_edits_of_two_people_do_not_undo_each_other(spool: Spool, client: Client) -> None:
    """The second one gets an error, sees both texts, and may save again."""
    spool.enqueue("true", id="x", run_at=LATER)
    form = form_of(client.open("/jobs/x/edit").text)
    spool.set_fields("x", command="theirs", priority=1)
    answer = client.post("/actions/edit", {**form, "text": '{"command": "mine"}'})
    assert answer.status == 409
    assert "the job was changed in the meantime" in said(answer)
    assert "theirs" in said(answer)
    assert (spool.get("x").command, form_of(answer.text)["text"]) == ("theirs", '{"command": "mine"}')
    assert client.post("/actions/edit", form_of(answer.text)).status == 303
    assert spool.get("x").command == "mine"


def test_refused_file_is_fixed_and_retried(spool: Spool, client: Client) -> None:
    """What is wrong is shown above the text; saved and retried, it is a job that waits."""
    put_finished(spool.layout, "torn", "invalid").write_text('{"command": "echo",\n}')
    page = client.open("/jobs/torn/edit")
    assert "not valid JSON" in said(page)
    assert send(client, "torn", "edit", {"text": '{"command": "echo"}', "retry": "1"}).status == 303
    assert (spool.get("torn").state, spool.get("torn").command) == (State.PENDING, "echo")
    assert receipt(client) == "Retried torn."


def test_forms_are_for_those_who_may(spool: Spool, serve: Serve) -> None:
    """A dashboard that only shows has none of them, and no link to one; nor has a running job."""
    spool.enqueue("true", id="x", run_at=LATER)
    put(spool.layout, running_name("busy"), state=State.RUNNING)
    spool.pause()
    reader = serve(Policy(may_act=False))
    for path in ("/jobs/x/set", "/jobs/x/edit", "/pause"):
        assert reader.get(path).status == 403
    pages = [reader.get(path).text for path in ("/", "/jobs/x")]
    assert not any(word in page for page in pages for word in ("/pause", "/resume", "/set", "/edit"))
    assert f"To continue: queuectl --spool {spool.path} resume" in said(reader.get("/"))
    client = serve()
    assert client.open("/jobs/busy/set").status == client.open("/jobs/busy/edit").status == 409
    assert client.get("/jobs/none/set").status == client.get("/jobs/none/edit").status == 404


@pytest.mark.parametrize("id", ["", "../x", "x\r\nSet-Cookie: a=b", "//evil.example"])
@pytest.mark.parametrize("way", ["set", "edit"])
def test_form_without_a_job(spool: Spool, client: Client, way: str, id: str) -> None:
    """It leads nowhere."""
    spool.enqueue("true", id="x", run_at=LATER)
    form = form_of(client.open(f"/jobs/x/{way}").text)
    assert client.post(f"/actions/{way}", {**form, "id": id}).status == 404


# --- pausing


def test_pause_and_resume(spool: Spool, client: Client) -> None:
    """With a reason and a time; every page says so and lets you resume it. The form shows a pause in force."""
    form = form_of(client.open("/pause").text)
    assert client.post("/actions/pause", {**form, "reason": " new  disks", "until": "30m"}).headers["Location"] == "/"
    paused = spool.paused()
    assert paused is not None
    assert (paused.reason, paused.until is not None) == ("new disks", True)
    assert "Paused: new disks" in said(client.open("/jobs"))
    assert "Nothing is running, and nothing is started." in said(client.open("/jobs"))
    form = form_of(client.open("/pause").text)
    assert (form["reason"], form["until"][:4]) == ("new disks", f"{now():%Y}")
    assert client.post("/actions/resume", {"back": "/jobs"}).headers["Location"] == "/jobs"
    assert not spool.is_paused()
    assert client.post("/actions/resume", {"back": "/jobs"}).status == 303


def test_pause_says_what_still_runs(spool: Spool, client: Client) -> None:
    """So one sees when the queue is drained."""
    path = put(spool.layout, running_name("busy"), state=State.RUNNING)
    spool.pause()
    wait_for(lambda: "1 running job finishes; no others are started" in said(client.open("/")), "the job")
    path.unlink()
    wait_for(lambda: "Nothing is running, and nothing is started" in said(client.open("/")), "the end")


@pytest.mark.parametrize(
    ("until", "why"), [("soon", "not a time: 'soon'"), ("2020-01-01T00:00:00Z", "that time has passed")]
)
def test_invalid_time(spool: Spool, client: Client, until: str, why: str) -> None:
    """It is refused beside the field, with all that was typed; nothing is paused."""
    client.open("/pause")
    answer = client.post("/actions/pause", {"reason": "new disks", "until": until})
    assert answer.status == 400
    assert why in said(answer)
    assert form_of(answer.text).items() >= {"reason": "new disks", "until": until}.items()
    assert not spool.is_paused()
