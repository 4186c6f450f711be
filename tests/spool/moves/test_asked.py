"""What is asked of the worker of another host."""

from __future__ import annotations

import os

import pytest

from queuectl import Spool
from queuectl.core.names import RunningName
from queuectl.core.result import State
from queuectl.errors import WaitTimeoutError
from queuectl.spool.moves import asked
from tests.spool.given import put, running_name

ELSEWHERE = "web9.aaaaaa.7.bbbb"


def test_cancel_that_is_not_answered(shared: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The job stays where it is, asked to end, and the answer is that it is not known yet (5)."""
    monkeypatch.setattr(asked, "_ANSWER", 0.0)
    name = running_name("long", worker=ELSEWHERE)
    put(shared.layout, name, state=State.RUNNING)
    with pytest.raises(WaitTimeoutError, match=r"web9\.aaaaaa has not answered") as caught:
        shared.cancel("long", grace=0.0)
    assert caught.value.exit_code == 5
    assert os.listdir(shared.layout.running) == [str(name)]
    assert asked.is_to_cancel(shared.layout, name)
    adopted = name._replace(worker="web9.aaaaaa.8.cccc")
    assert asked.is_to_cancel(shared.layout, adopted)
    assert not asked.is_to_cancel(shared.layout, running_name("other", worker=ELSEWHERE))


def test_signal_that_is_not_answered(shared: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that nobody sends is withdrawn."""
    monkeypatch.setattr(asked, "_ANSWER", 0.0)
    put(shared.layout, running_name("long", worker=ELSEWHERE), state=State.RUNNING)
    with pytest.raises(WaitTimeoutError, match="has not got the signal"):
        shared.kill("long")
    assert os.listdir(shared.layout.asked) == []


@pytest.mark.parametrize("text", ["", ".signal9", ".signal15"])
def test_request_is_read_as_it_was_written(shared: Spool, text: str) -> None:
    """Its name says which attempt is meant, also of an id that looks like a request, and which signal."""
    name = running_name("a.signal9" if not text else "a", worker=ELSEWHERE)
    asked._write(shared.layout, f"{name}{text}")
    request = asked.read(shared.layout)[0]
    assert isinstance(request.name, RunningName)
    assert (request.name, request.signal) == (name, int(text[7:]) if text else None)
