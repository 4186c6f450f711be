from __future__ import annotations

import pytest

from queuectl import Spool, State
from queuectl.dashboard.app import POST
from queuectl.dashboard.operations import VERBS
from queuectl.dashboard.security import LOOPBACK, SESSION, Policy, host_name, is_local_path
from tests.dashboard.client import Client
from tests.dashboard.conftest import Serve
from tests.spool.given import put_finished

TOKEN = "a-long-and-random-token"
PUBLIC = Policy(is_public=True, may_act=True, token=TOKEN)
READ_ONLY = "This dashboard is read-only.\n"
PATHS = (
    "/", "/jobs", "/dead", "/groups", "/groups/g/set", "/schedules", "/pause", "/workers", "/refused", "/jobs/x",
    "/jobs/x/log", "/api/status", "/api/groups", "/api/schedules", "/metrics", "/nowhere",
)  # fmt: skip


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:5000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "[::2]",
        "@localhost",
        "",
    ],
)
def test_other_host_names_are_refused(client: Client, host: str) -> None:
    """A page that was rebound to this address learns nothing."""
    for path in ("/", "/api/status", "/static/app.css"):
        assert client.get(path, Host=host).status in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:5000", "queue.example"])
def test_own_and_allowed_names_are_served(serve: Serve, host: str) -> None:
    """Loopback has three names; --allow-host adds others."""
    assert serve(Policy(hosts=LOOPBACK | {"queue.example"})).get("/", Host=host).status == 200


def test_public_bind_answers_to_addresses_but_not_to_any_name(serve: Serve) -> None:
    """An address cannot be rebound; a name could be."""
    client = serve(PUBLIC)
    assert client.get("/healthz", Host="192.0.2.7:5000").status == 200
    assert client.get("/healthz", Host="evil.example").status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "https://"},
        {"Origin": "", "Referer": "http://evil.example/"},
        {"Origin": ""},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Content_Type": "application/json"},
        {"Content_Type": "text/plain"},
        {"Cookie": "queuectl_session=0123456789abcdef0123456789abcdef"},
        {"Cookie": ""},
    ],
)
def test_forged_posts_do_nothing(spool: Spool, client: Client, headers: dict[str, str]) -> None:
    """A POST from elsewhere, of another kind, or of another session is refused although its token is right."""
    put_finished(spool.layout, "x")
    client.open("/dead")
    assert client.post("/actions/retry", {"id": "x"}, **headers).status in (403, 415)
    assert spool.get("x").state is State.DEAD


def test_forged_posts_do_nothing_on_any_address(spool: Spool, serve: Serve) -> None:
    """From elsewhere, with a wrong token or on a read-only page, every action is refused, whatever it acts on."""
    put_finished(spool.layout, "x")
    spool.enqueue("true", id="gpu.y")
    client, policy = serve(), Policy(may_act=False)
    read_only = serve(policy)
    client.open("/dead")
    read_only.get("/dead")
    before = sorted((path, path.read_bytes()) for path in spool.path.rglob("*") if path.is_file())
    form = {"id": "x", "all": "1", "state": "dead", "group": "gpu", "schedule": "n", "reason": "r", "limit": "1"}
    for path in (each.replace("<name>", verb) for each in POST for verb in VERBS):
        assert client.post(path, form, Origin="http://evil.example").status == 403, path
        assert client.post(path, {**form, "csrf": "0" * 64}).status == 403, path
        if path != "/login":
            assert read_only.post(path, {**form, "csrf": policy.csrf(read_only.cookies[SESSION])}).text == READ_ONLY
    assert sorted((path, path.read_bytes()) for path in spool.path.rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_wrong_csrf_token_does_nothing(spool: Spool, client: Client, token: str) -> None:
    """The session's own token is needed."""
    put_finished(spool.layout, "x")
    client.open("/dead")
    assert client.post("/actions/retry", {"id": "x", "csrf": token}).status == 403
    assert spool.get("x").state is State.DEAD


def test_true_form_is_accepted(spool: Spool, client: Client) -> None:
    """The same POST without a flaw does its action: the tests above refuse for their own reason."""
    put_finished(spool.layout, "x")
    client.open("/dead")
    assert client.post("/actions/retry", {"id": "x"}).status == 303
    assert spool.get("x").state is State.PENDING


def test_read_only_shows_and_changes_nothing(spool: Spool, serve: Serve) -> None:
    """No form for an action is offered, and one that is sent anyway is refused."""
    put_finished(spool.layout, "x")
    policy = Policy(may_act=False)
    client = serve(policy)
    for path in ("/", "/dead", "/jobs/x"):
        page = client.get(path).text
        assert "x</a>" in page or "x</h1>" in page
        assert "formaction" not in page
    assert client.post("/actions/retry", {"id": "x", "csrf": policy.csrf(client.cookies[SESSION])}).text == READ_ONLY
    assert spool.get("x").state is State.DEAD


def test_policy_is_on_every_answer(client: Client) -> None:
    """No script but the dashboard's own files, no framing, no sniffing: also on errors, logs and JSON."""
    for path in (*PATHS, "/static/app.js", "/favicon.svg", "/healthz"):
        headers = client.get(path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_token_is_needed_to_see_anything(spool: Spool, serve: Serve) -> None:
    """Pages lead to the login, everything else is 401; only health, the login and static files are open."""
    put_finished(spool.layout, "secret-id")
    client = serve(PUBLIC)
    for path in PATHS:
        answer = client.get(path)
        assert (answer.status, b"secret" in answer.body) == (401, False)
        assert client.get(path, Authorization="Bearer wrong").status in (401, 429)  # no more of them are looked at
    page = client.get("/dead?q=a", Accept="text/html")
    assert (page.status, page.headers["Location"]) == (303, "/login?next=%2Fdead%3Fq%3Da")
    assert client.get("/healthz").json == {"status": "ok"}
    assert client.post("/actions/retry", {"id": "secret-id", "csrf": ""}).status == 401


def test_token_lets_in(serve: Serve) -> None:
    """As a bearer for programs; once through the form for people, who land where they wanted to go."""
    client = serve(PUBLIC)
    assert client.get("/api/status", Authorization=f"Bearer {TOKEN}").status == 200
    client.get("/login")
    assert client.post("/login", {"token": "wrong", "next": "/dead"}).status == 403
    assert client.get("/", Accept="text/html").status == 303
    answer = client.post("/login", {"token": TOKEN, "next": "/dead"})
    assert (answer.status, answer.headers["Location"]) == (303, "/dead")
    assert client.get("/", Accept="text/html").status == 200
    assert "HttpOnly; SameSite=Lax" in answer.headers["Set-Cookie"]
    assert TOKEN not in answer.headers["Set-Cookie"]


def test_login_leads_nowhere_else(serve: Serve) -> None:
    """A crafted `next` cannot send a person who logged in to another site."""
    client = serve(PUBLIC)
    client.get("/login")
    for target in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y"):
        client.get("/login")
        assert client.post("/login", {"token": TOKEN, "next": target}).headers["Location"] == "/"


@pytest.mark.parametrize("stripped", [True, False])
def test_prefix_holds_whether_or_not_the_proxy_strips_it(serve: Serve, *, stripped: bool) -> None:
    """Links, forms, cookies and redirects carry the prefix."""
    client = serve(Policy(prefix="/a/queue"))
    if stripped:
        client.prefix = ""
    page = client.get("/jobs")
    assert page.status == 200
    assert 'href="/a/queue/dead"' in page.text
    assert 'href="/dead"' not in page.text
    assert "Path=/a/queue" in page.headers["Set-Cookie"]
    assert client.get("/jobs?state=dead").headers["Location"] == "/a/queue/dead"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
def test_other_methods_are_refused(client: Client, method: str) -> None:
    """GET, HEAD and POST are all there is."""
    assert client.ask(method, "/").status == 405


def test_hosts_and_paths_are_read_strictly() -> None:
    """What is not a host name gives none, and only paths of the dashboard are redirected to."""
    assert [host_name(text) for text in ("A.b:1", "[::1]", "a b", "a:b", "", "é")] == ["a.b", "::1", "", "", "", ""]
    assert [is_local_path(text) for text in ("/", "/jobs?q=%20", "//x", "/\\x", "x", "/ x", "")] == [
        True,
        True,
        *[False] * 5,
    ]
