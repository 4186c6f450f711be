"""A dashboard that really listens, and a browser that really looks at it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from queuectl import Spool
from queuectl.dashboard import app, server
from queuectl.dashboard.attempts import Attempts
from queuectl.dashboard.security import Policy
from queuectl.dashboard.snapshot import Snapshot
from tests.dashboard import browser as chromium
from tests.dashboard.browser import Browser
from tests.dashboard.client import Client
from tests.support import need


@contextmanager
def listening(application: server.Application) -> Iterator[int]:
    """The port on which a real server serves an application."""
    sock = server.listen("127.0.0.1", 0)
    running = server.Server(application, sock)
    ready = threading.Event()
    thread = threading.Thread(target=running.serve, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(20)
        yield int(sock.getsockname()[1])
    finally:
        running.stop()
        thread.join(20)


Serve = Callable[..., Client]


@pytest.fixture
def serve(spool: Spool) -> Iterator[Serve]:
    """`serve(policy)` starts a dashboard of the spool and returns a client of it."""
    with ExitStack() as stack:

        def start(policy: Policy | None = None) -> Client:
            used = replace(policy or Policy(), attempts=Attempts())
            snapshot = Snapshot(spool)
            stack.callback(snapshot.close)
            return Client(stack.enter_context(listening(app.make(spool, used, snapshot))), used.prefix)

        yield start


@pytest.fixture
def client(serve: Serve) -> Client:
    """A client of a dashboard with the default policy."""
    return serve()


@pytest.fixture(scope="session")
def driver() -> Iterator[int]:
    """The port of a chromedriver for all tests."""
    need("chromium", "chromedriver")
    with chromium.driver() as port:
        yield port


@pytest.fixture(scope="session")
def one_window(driver: int) -> Iterator[Browser]:
    """A browser for all tests: starting one takes as long as a dozen of them."""
    with chromium.browser(driver) as opened:
        yield opened


@pytest.fixture
def window(one_window: Browser) -> Browser:
    """That browser, as new: no cookies, no chosen theme, a wide screen."""
    one_window.go("about:blank")
    one_window.emulate("Network.clearBrowserCookies")
    one_window.resize(1280, 900)
    one_window.prefer("light")
    return one_window
