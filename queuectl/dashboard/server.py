"""An HTTP/1.1 server for one WSGI application.

Connections live in an event loop, where a slow or silent one costs nothing but its few bytes; a request
runs in one of a few threads only once it is complete, and its answer is written by the loop again. So
neither slow writers nor slow readers can use up the threads. Everything has a deadline and a limit.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import re
import socket
import stat
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from queuectl.errors import UsageError

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

THREADS = 8
MAX_CONNECTIONS = 512
MAX_HEAD = 64 << 10
MAX_BODY = 1 << 20
_HEAD_TIME = 15.0  # seconds for a whole request head, and again for its body
_IDLE_TIME = 60.0  # seconds that a connection may wait for its next request
_WORTH_PACKING = 400  # bytes
_LEVEL = 4
_PACKED = re.compile(r"text/|application/(json|javascript)|image/svg")
_WRITE_TIME = 30.0  # seconds for a client to receive what was sent

_REQUEST_LINE = re.compile(rb"([A-Z]{3,10}) (/[!-~]*) HTTP/1\.([01])")
_HEADER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\0\r\n]*?)[ \t]*")
_REASONS = {
    400: "Bad Request",
    413: "Content Too Large",
    500: "Internal Server Error",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
}


class RefusedRequestError(Exception):
    """A request that is answered with this status and nothing else."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def parse_head(head: bytes) -> dict[str, Any]:
    """The WSGI environment of a request head; raises RefusedRequestError for what is not plain HTTP/1.1."""
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    start = _REQUEST_LINE.fullmatch(lines[0])
    if start is None:
        raise RefusedRequestError(400)
    path, _, query_string = start[2].partition(b"?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": start[1].decode(),
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query_string.decode(),
        "SERVER_PROTOCOL": f"HTTP/1.{start[3].decode()}",
    }
    for line in lines[1:]:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise RefusedRequestError(400)
        _add_header(environ, header[1].decode().upper(), header[2].decode("latin-1"))
    if "HTTP_TRANSFER_ENCODING" in environ:
        raise RefusedRequestError(501)
    if "HTTP_HOST" not in environ or not re.fullmatch(r"\d{0,9}", environ.get("CONTENT_LENGTH", ""), re.ASCII):
        raise RefusedRequestError(400)
    return environ


def _add_header(environ: dict[str, Any], name: str, value: str) -> None:
    if "_" in name:
        return  # could be mistaken for another header
    key = name.replace("-", "_")
    if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        key = f"HTTP_{key}"
    if key not in environ:
        environ[key] = value
    elif name in ("HOST", "CONTENT-LENGTH", "CONTENT-TYPE", "ORIGIN", "AUTHORIZATION"):
        raise RefusedRequestError(400)  # two of these mean an attempt to deceive
    else:
        environ[key] += ("; " if name == "COOKIE" else ", ") + value


class Answer:
    """What the application answered: the head as bytes, and the pieces of the body."""

    def __init__(self, app: Application, environ: dict[str, Any]) -> None:
        self.status = "500 Internal Server Error"
        self.headers: list[tuple[str, str]] = []
        pieces = app(environ, self._start)
        self._close = getattr(pieces, "close", None)
        if isinstance(pieces, list | tuple):
            self.whole: bytes | None = self._pack(environ, b"".join(pieces))
            self._set_length(len(self.whole))
        else:
            self.whole = None
            self._pieces: Iterator[bytes] = iter(pieces)
        self.is_measured = any(name.lower() == "content-length" for name, _ in self.headers)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
        self.status, self.headers = status, list(headers)
        return _no_write

    def _pack(self, environ: dict[str, Any], body: bytes) -> bytes:
        """The body, compressed if that is worth it and the client takes it.

        Not for what another site has asked for: from the size of what is compressed it could learn what is in it.
        """
        found = {name.lower(): value for name, value in self.headers}
        if (
            len(body) < _WORTH_PACKING
            or "content-encoding" in found
            or not _PACKED.match(found.get("content-type", ""))
        ):
            return body
        self.headers = [*self.headers, ("Vary", "Accept-Encoding")]
        is_own = environ.get("HTTP_SEC_FETCH_SITE", "same-origin") in ("same-origin", "none")
        if not (is_own and _takes_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))):
            return body
        headers = ((name, value) for name, value in self.headers if name.lower() != "content-length")
        self.headers = [*headers, ("Content-Encoding", "gzip")]
        return gzip.compress(body, _LEVEL, mtime=0)

    def _set_length(self, length: int) -> None:
        if not any(name.lower() == "content-length" for name, _ in self.headers) and self.status[:3] != "304":
            self.headers.append(("Content-Length", str(length)))

    def head(self, *, keep: bool) -> bytes:
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in self.headers)]
        lines.append(f"Connection: {'keep-alive' if keep else 'close'}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def next_piece(self) -> bytes | None:
        return next(self._pieces, None)

    def close(self) -> None:
        if self._close is not None:
            self._close()


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    for part in accepted.lower().split(","):
        name, _, parameter = part.partition(";")
        if name.strip() == "gzip":
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", parameter) is None
    return False


def _no_write(_data: bytes) -> None:
    raise NotImplementedError("write() of WSGI is not for new applications")


class Server:
    """Serves until `stop`, which any thread may call. `sock` is bound and listening."""

    def __init__(self, app: Application, sock: socket.socket, *, threads: int = THREADS) -> None:
        self._app = app
        self._sock = sock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._waiting: dict[asyncio.Task[None], None] = {}
        """Connections without a whole request, the longest-waiting first."""
        self._connections: set[asyncio.Task[None]] = set()

    def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve in this thread; `ready` is called once connections are taken."""
        asyncio.run(self._serve(ready))

    def stop(self) -> None:
        if self._loop is not None and self._stopping is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _serve(self, ready: Callable[[], None]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, sock=self._sock, limit=MAX_HEAD, backlog=1024)
        try:
            ready()
            await self._stopping.wait()
        finally:
            # Accept no more, and let those that were just accepted begin: asyncio 3.11 leaks them otherwise.
            self._loop.remove_reader(self._sock.fileno())
            for _ in range(8):
                await asyncio.sleep(0)
            server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await asyncio.sleep(0)  # the transports close in the loop's next round
            self._pool.shutdown(wait=False, cancel_futures=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._connections) >= MAX_CONNECTIONS:
            if not self._waiting:
                writer.transport.abort()
                return
            next(iter(self._waiting)).cancel()  # the connection that has waited longest makes room
        self._connections.add(task)
        sock = writer.get_extra_info("socket")
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio 3.11 does not, for sockets it is given
        try:
            while await self._exchange(task, reader, writer):
                pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # gone, or too slow
        finally:
            self._connections.discard(task)
            self._waiting.pop(task, None)
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()

    async def _exchange(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """One request and its answer; whether another may follow."""
        self._waiting[task] = None
        try:
            environ = await _read_request(reader)
        except RefusedRequestError as refused:
            _refuse(writer, refused.status)
            await asyncio.wait_for(writer.drain(), _WRITE_TIME)
            return False
        self._waiting.pop(task, None)
        if environ is None:
            return False
        peer = writer.get_extra_info("peername")
        environ["REMOTE_ADDR"] = peer[0] if isinstance(peer, tuple) else "unix"
        return await self._answer(environ, writer)

    def _ask(self, environ: dict[str, Any]) -> Answer | None:
        """What the application answers; None if it fails, which is reported on stderr."""
        try:
            return Answer(self._app, environ)
        except Exception:  # whatever a page fails with, the others continue
            traceback.print_exc()
            return None

    async def _answer(self, environ: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        assert self._loop is not None
        answer = await self._loop.run_in_executor(self._pool, self._ask, environ)
        if answer is None:
            _refuse(writer, 500)
            return False
        try:
            wants_more = environ.get("HTTP_CONNECTION", "").lower() != "close"
            keep = wants_more and environ["SERVER_PROTOCOL"] == "HTTP/1.1"
            has_body = environ["REQUEST_METHOD"] != "HEAD" and answer.status[:3] not in ("204", "304")
            keep = keep and (answer.is_measured or not has_body)
            # In one write: two small ones meet Nagle's algorithm and wait 40 ms for each other.
            writer.write(answer.head(keep=keep) + (answer.whole or b"" if has_body else b""))
            is_stream = has_body and answer.whole is None
            while is_stream and (piece := await self._loop.run_in_executor(self._pool, answer.next_piece)) is not None:
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), _WRITE_TIME)
            await asyncio.wait_for(writer.drain(), _WRITE_TIME)
            return keep
        finally:
            answer.close()


def _refuse(writer: asyncio.StreamWriter, status: int) -> None:
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())


async def _read_request(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The next request as a WSGI environment; None if the client has gone."""
    first = await asyncio.wait_for(reader.read(1), _IDLE_TIME)
    if not first:
        return None
    try:
        head = first + await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _HEAD_TIME)
    except asyncio.LimitOverrunError:
        raise RefusedRequestError(431) from None
    environ = parse_head(head)
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > MAX_BODY:
        raise RefusedRequestError(413)
    body = await asyncio.wait_for(reader.readexactly(length), _HEAD_TIME) if length else b""
    return {
        **environ,
        "SERVER_NAME": "queuectl",
        "SERVER_PORT": "0",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; raises UsageError if that address is not available."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot listen on {host} port {port}", why or str(error), "try another --port") from error


def listen_unix(path: str, mode: int) -> socket.socket:
    """A listening Unix socket, replacing one that nothing listens on any more."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if os.path.lexists(path):
            if not stat.S_ISSOCK(os.lstat(path).st_mode):
                raise FileExistsError(17, "that file is not a socket", path)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(ConnectionRefusedError):
                probe.connect(path)
                raise FileExistsError(17, "another dashboard is listening there", path)
            os.unlink(path)
        old = os.umask(0o777 & ~mode)
        try:
            sock.bind(path)
        finally:
            os.umask(old)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise UsageError(f"cannot listen on {path}", error.strerror or str(error)) from error
    return sock
