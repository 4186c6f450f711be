"""For the tests of programs that use a queue: a spool for each test, and workers inside the test's own process.

    from queuectl.testing import run_jobs, spool  # `spool` is a fixture of pytest

    def test_report_is_queued(spool):
        my_program.order_report("march")
        (job,) = run_jobs(spool)
        assert job.result.is_success

The jobs are real processes, run by a real worker; only what starts it differs from `queuectl worker start`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from queuectl.core.job import Job
from queuectl.core.names import PendingName
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.store import Spool
from queuectl.spool.system import clock, settings
from queuectl.work.context import Context
from queuectl.work.report import Report
from queuectl.work.worker import Worker

_ENDED = (State.DONE, State.DEAD)


@pytest.fixture
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Spool:
    """A new spool, which `Spool()` and the command `queuectl` find as well; no other setting is in the environment."""
    for name in [name for name in os.environ if name.startswith("QUEUECTL_")]:
        monkeypatch.delenv(name)
    found = Spool(tmp_path / "spool", create=True)
    monkeypatch.setenv("QUEUECTL_SPOOL", str(found.path))
    return found


def run_jobs(spool: Spool, *, slots: int = 1, ahead: bool = False) -> list[Job]:
    """Run what is due, and what that queues, until nothing is left; the jobs that have ended by that, in that order.

    With `ahead` those of a later time and retries are run as well, without waiting for it; held jobs are not.
    """
    before = _ended(spool)
    while True:
        _make_worker(spool, slots, idle_exit=0.0).run()
        if not (ahead and _bring_forward(spool)):
            break
    names = sorted(_ended(spool) - before, key=lambda place: place[1])
    return [job for place in names if (job := query.load(spool.layout, *place)) is not None]


@contextmanager
def working(spool: Spool, *, slots: int = 1) -> Iterator[None]:
    """A worker in a thread, for a test that waits for its jobs; at the end what still runs is ended and given back."""
    worker = _make_worker(spool, slots)
    thread = threading.Thread(target=worker.run, name="queuectl-worker")
    thread.start()
    try:
        yield
    finally:
        worker.stop(now=True)
        thread.join()


def _make_worker(spool: Spool, slots: int, idle_exit: float | None = None) -> Worker:
    context = Context(spool, Report("quiet"), settings.load(spool.layout))
    return Worker(context, slots=slots, idle_exit=idle_exit, trusts_anyone=True)


def _ended(spool: Spool) -> set[tuple[State, str]]:
    return {(state, name) for state in _ENDED for name in query.list_names(spool.layout, state)}


def _bring_forward(spool: Spool) -> bool:
    """Make due all that waits for a later time; whether there was any."""
    moment = clock.now()
    later = [
        job
        for job in spool.list(State.PENDING)
        if isinstance(job.name, PendingName) and not job.is_held and job.name.run_at > moment
    ]
    for job in later:
        spool.reschedule(job, run_at=moment)
    return bool(later)
