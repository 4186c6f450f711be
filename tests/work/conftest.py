"""A worker in this process, whose clock and bell a test can hold."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest

from queuectl import Spool
from queuectl.spool.system import clock, settings
from queuectl.work.context import Context
from queuectl.work.report import Report
from queuectl.work.worker import Worker


class SteppedClock:
    """The real time plus an offset that a test sets."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        return clock.now() + self.offset


class InProcess:
    """A Worker in a thread of the test's process, and what it reports."""

    def __init__(self, spool: Spool, *, slots: int, drain: bool, now: Callable[[], datetime], rescan: float) -> None:
        self.stream = StringIO()
        context = Context(spool, Report("json", self.stream), settings.load(spool.layout), now=now)
        self.worker = Worker(context, slots=slots, drain=drain, flags={"rescan": rescan})
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:  # handed to the test's own thread
            self.failure = error

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def has(self, event: str, job: str | None = None) -> bool:
        return any(e["event"] == event and (job is None or e["job"] == job) for e in self.events())


StartWorker = Callable[..., Any]


@pytest.fixture
def in_process(spool: Spool) -> StartWorker:
    """`with in_process(slots=1, rescan=10.0) as running:`; stops the worker, and raises what it raised."""

    @contextmanager
    def start(
        slots: int = 1, drain: bool = False, now: Callable[[], datetime] = clock.now, rescan: float = 10.0
    ) -> Iterator[InProcess]:
        running = InProcess(spool, slots=slots, drain=drain, now=now, rescan=rescan)
        running.thread.start()
        try:
            yield running
        finally:
            if not drain:
                running.worker.stop(now=True)
            running.thread.join(30)
            assert not running.thread.is_alive(), "the worker did not stop"
            if running.failure is not None:
                raise running.failure

    return start
