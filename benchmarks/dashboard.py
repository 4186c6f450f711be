"""How quick the dashboard is on a large spool, while jobs come and go: python benchmarks/dashboard.py [JOBS]

Makes a spool of that many jobs (100,000), serves it with the real command, keeps 100 jobs a second moving, and
asks for each page again and again: alone, with 50 open tabs, and with 100 clients that never finish a request.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

from queuectl import Spool, State
from queuectl.core.names import FinishedName, PendingName
from queuectl.core.result import Result
from queuectl.spool.system.layout import Layout

PAGES = {
    "overview's data": "/api/status",
    "overview": "/",
    "100 rows, newest": "/jobs?state=done",
    "100 rows, deep": "/jobs?state=done&start=50000",
    "dead letters": "/dead",
    "search by id": "/jobs?q=job-00099",
    "metrics": "/metrics",
}
REQUESTS = 100


def fill(layout: Layout, number: int) -> None:
    rng = random.Random(1)
    now = datetime.now(UTC)
    for index in range(number):
        id = f"job-{index:07d}"
        at = now - timedelta(seconds=rng.expovariate(1 / 20000))
        kind = rng.random()
        if kind < 0.85:
            path = layout.job(State.DONE, FinishedName(at, 10, 1, Result.exit(0), rng.randrange(9000), id))
        elif kind < 0.9:
            path = layout.job(State.DEAD, FinishedName(at, 10, 4, Result.exit(1), rng.randrange(9000), id))
        else:
            run_at = now + timedelta(days=1) if kind < 0.92 else at
            path = layout.job(State.PENDING, PendingName(10, run_at, 0, id))
        with open(path, "w") as file:
            json.dump({"command": f"python report.py --number {index}", "id": id}, file)


@contextmanager
def churning(layout: Layout) -> Iterator[None]:
    """Pending jobs move to done/, ten every tenth of a second."""
    over = threading.Event()
    waiting = iter(sorted(os.listdir(layout.pending)))

    def move() -> None:
        while not over.wait(0.1):
            for _ in range(10):
                name = PendingName.parse(next(waiting, ""))
                if name is not None:
                    done = FinishedName(datetime.now(UTC), 10, 1, Result.exit(0), 5, name.id)
                    os.rename(layout.job(State.PENDING, name), layout.job(State.DONE, done))

    thread = threading.Thread(target=move)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def serving(spool: Spool) -> Iterator[int]:
    """The real command; the port it listens on."""
    command = [sys.executable, "-m", "queuectl", "--spool", str(spool.path), "dashboard", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        yield int(process.stderr.readline().split("/;")[0].rpartition(":")[2])
    finally:
        process.terminate()
        process.wait()


def ask(connection: http.client.HTTPConnection, path: str, tag: str = "") -> tuple[float, str]:
    """Seconds until the whole answer was there, and its ETag."""
    start = time.perf_counter()
    connection.request("GET", path, headers={"If-None-Match": tag} if tag else {})
    answer = connection.getresponse()
    answer.read()
    assert answer.status in (200, 304), (path, answer.status)
    return time.perf_counter() - start, answer.headers.get("ETag", "")


@contextmanager
def tabs(port: int, number: int) -> Iterator[None]:
    """Open pages that ask for what is new every two seconds, as the page's script does."""
    over = threading.Event()

    def look(index: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        path, tag = list(PAGES.values())[1 + index % 4], ""
        over.wait(index / number * 2)
        while not over.wait(2):
            _, tag = ask(connection, path, tag)

    threads = [threading.Thread(target=look, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@contextmanager
def slow_clients(port: int, number: int) -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(number):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        yield


def measure(port: int, title: str) -> None:
    print(f"\n{title}\n{'':24}{'p50':>9}{'p95':>9}{'max':>9}   ms")
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for name, path in PAGES.items():
        times = []
        for _ in range(REQUESTS):
            times.append(ask(connection, path)[0] * 1000)
            time.sleep(0.01)
        times.sort()
        print(f"{name:24}{times[len(times) // 2]:9.1f}{times[len(times) * 95 // 100]:9.1f}{times[-1]:9.1f}", flush=True)


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as directory:
        spool = Spool(f"{directory}/spool", create=True)
        fill(spool.layout, number)
        start = time.perf_counter()
        with serving(spool) as port, churning(spool.layout):
            print(f"{number:,} jobs; the dashboard was ready after {time.perf_counter() - start:.1f} s")
            measure(port, "one viewer")
            with tabs(port, 50):
                measure(port, "with 50 open tabs")
            with slow_clients(port, 100):
                measure(port, "with 100 clients that never finish a request")


if __name__ == "__main__":
    main()
