"""Taking charge of jobs that outlived their worker."""

from __future__ import annotations

import selectors
import subprocess
from io import StringIO

import pytest

from queuectl import Spool, config
from queuectl.core.names import RunningName
from queuectl.core.result import State
from queuectl.spool import clock, logs, processes
from queuectl.work.adopted import Adopted
from queuectl.work.report import Report
from queuectl.work.settle import Context
from tests.spool.given import put, running_name
from tests.support import names


@pytest.fixture
def adopted(spool: Spool) -> Adopted:
    context = Context(spool, Report("json", StringIO()), config.load(spool.layout))
    return Adopted(context, "host.1.mine", selectors.DefaultSelector())


def test_a_number_that_goes_to_another_process_meanwhile_is_not_awaited(
    spool: Spool, adopted: Adopted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell that ends between the verdict and the pidfd, its pid being used again, is not taken for alive."""
    name: RunningName = running_name("x")._replace(started_at=clock.now())
    put(spool.layout, name, state=State.RUNNING)
    answers = [True]
    real = processes.carries_token
    monkeypatch.setattr(processes, "carries_token", lambda *words: answers.pop() if answers else real(*words))
    with subprocess.Popen(["sleep", "600"]) as stranger:
        log = logs.open_log(spool.layout.log("x"))
        logs.append_start(log, name, stranger.pid)
        try:
            assert not adopted.rescue(name)
            assert not len(adopted)
            assert names(spool.path / "running") == [str(name)]
        finally:
            stranger.kill()
