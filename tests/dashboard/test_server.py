from __future__ import annotations

import gzip
import socket
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from queuectl.dashboard import server
from queuectl.dashboard.server import RefusedRequestError, parse_head
from queuectl.errors import UsageError
from tests.dashboard.client import Client
from tests.dashboard.conftest import listening
from tests.support import wait_for

HOST = b"Host: x\r\n"


def small(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode(), environ["wsgi.input"].read()]


def large(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [])
    return (b"x" * 65536 for _ in range(400))


def read_to_end(sock: socket.socket) -> bytes:
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


@pytest.fixture
def plain() -> Iterator[Client]:
    with listening(small) as port:
        yield Client(port)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
        (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b" folded: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\nC: d\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: \0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n", 501),
    ],
)
def test_heads_that_are_not_plain_are_refused(head: bytes, status: int) -> None:
    """What a proxy and this server could read differently gets no further."""
    with pytest.raises(RefusedRequestError) as refused:
        parse_head(head)
    assert refused.value.status == status


def test_headers_with_underscores_cannot_pose_as_others() -> None:
    """`X_Forwarded_Proto` is not `X-Forwarded-Proto`."""
    environ = parse_head(b"GET /a%20b?q=1 HTTP/1.1\r\n" + HOST + b"X_Forwarded_Proto: https\r\n\r\n")
    assert "HTTP_X_FORWARDED_PROTO" not in environ
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b", "q=1")


def test_requests_follow_each_other_on_one_connection(plain: Client) -> None:
    """A connection is kept, also for requests that come at once, and HEAD has no body."""
    with plain.connect() as sock:
        sock.sendall(b"HEAD /1 HTTP/1.1\r\n" + HOST + b"\r\n")
        sock.sendall(b"POST /2 HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc")
        sock.sendall(b"GET /3 HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        answers = read_to_end(sock).split(b"HTTP/1.1 200 OK\r\n")
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers[1:]] == [b"", b"POST /2abc", b"GET /3"]


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"x" * 70000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"431"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 2000000\r\n\r\n", b"413"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", b"400"),
    ],
)
def test_requests_too_large_or_malformed_are_answered_and_closed(
    plain: Client, request_bytes: bytes, status: bytes
) -> None:
    """The answer is one line of status, and the connection ends."""
    with plain.connect() as sock:
        sock.sendall(request_bytes)
        assert read_to_end(sock).startswith(b"HTTP/1.1 " + status)


def test_hundred_slow_clients_stall_nobody(plain: Client) -> None:
    """While a hundred connections hold half a request, and more than there are threads, others are answered."""
    with ExitStack() as stack:
        slow = [stack.enter_context(plain.connect()) for _ in range(100)]
        for sock in slow:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        for _ in range(20):
            assert plain.get("/fast").body == b"GET /fast"
        slow[0].sendall(b"1\r\nConnection: close\r\n\r\n")
        assert read_to_end(slow[0]).endswith(b"GET /")


def test_clients_that_do_not_read_stall_nobody() -> None:
    """While more answers than threads cannot be delivered, others are."""
    with listening(large) as port, ExitStack() as stack:
        client = Client(port)
        for _ in range(30):
            sock = stack.enter_context(client.connect())
            sock.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert len(client.get("/").body) == 400 * 65536


def test_longest_waiting_connection_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """When all places are taken, who has said nothing for longest loses its own."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    with listening(small) as port, ExitStack() as stack:
        client = Client(port)
        silent = [stack.enter_context(client.connect()) for _ in range(3)]
        assert wait_for(lambda: client.get("/").body, "an answer") == b"GET /"
        assert silent[0].recv(1) == b""


def test_failing_application_fails_one_request(capsys: pytest.CaptureFixture[str]) -> None:
    """An error that nobody caught is reported on stderr and answered with 500; the server continues."""

    def failing(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/fail":
            raise OSError("broken")
        return small(environ, start)

    with listening(failing) as port:
        client = Client(port)
        with client.connect() as sock:
            sock.sendall(b"GET /fail HTTP/1.1\r\n" + HOST + b"\r\n")
            assert read_to_end(sock).startswith(b"HTTP/1.1 500 ")
        assert client.get("/").status == 200
    assert "broken" in capsys.readouterr().err


def test_unix_socket_replaces_a_dead_one_only(tmp_path: Path) -> None:
    """A socket file that nobody answers is taken over, with the mode asked for; a live one and a plain file are not."""
    path = tmp_path / "s"
    server.listen_unix(str(path), 0o600).close()
    with server.listen_unix(str(path), 0o640):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        with pytest.raises(UsageError, match="cannot listen"):
            server.listen_unix(str(path), 0o600)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError):
        server.listen_unix(str(tmp_path / "file"), 0o600)
    assert (tmp_path / "file").read_text() == "mine"


def test_port_in_use_is_reported() -> None:
    """The error names the port and what to do."""
    with server.listen("127.0.0.1", 0) as sock, pytest.raises(UsageError) as refused:
        server.listen("127.0.0.1", sock.getsockname()[1])
    assert "--port" in refused.value.hint


def test_stop_may_come_from_any_thread() -> None:
    """The server ends although a connection is open."""
    with listening(small) as port:
        sock = Client(port).connect()
    sock.close()
    assert threading.active_count() < 50


def test_gzip_where_the_client_takes_it(client: Client) -> None:
    """Pages are compressed for who accepts that, and for no one else, nor for another site."""
    plain = client.get("/")
    packed = client.get("/", Accept_Encoding="br, gzip;q=0.5")
    assert (packed.headers["Content-Encoding"], packed.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert len(packed.body) < len(plain.body) / 2
    assert b"<!doctype html>" in gzip.decompress(packed.body)
    for header in ("", "gzip;q=0", "identity"):
        assert client.get("/", Accept_Encoding=header).headers["Content-Encoding"] is None
    assert client.get("/", Accept_Encoding="gzip", Sec_Fetch_Site="cross-site").headers["Content-Encoding"] is None
    assert client.get("/static/app.css", Accept_Encoding="gzip").headers["Content-Encoding"] == "gzip"
    assert client.get("/static/..%2fapp.py").status == 404
