"""Slots that take turns in running Python: a courtesy, on which nothing depends."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from queuectl.work import turn


@pytest.fixture(autouse=True)
def _is_nobodys() -> Iterator[None]:
    yield
    turn.give()
    assert not turn._lock.locked()


def in_thread(*, joins: bool) -> threading.Thread:
    """A thread that takes its turn and gives it."""

    def run() -> None:
        if joins:
            turn.join_in()
        turn.take()
        turn.give()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_slot_waits_until_another_has_given_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often that one asks for it."""
    monkeypatch.setattr(turn, "_PATIENCE", 60.0)
    monkeypatch.setattr(turn._mine, "waits", True)
    turn.take()
    turn.take()
    other = in_thread(joins=True)
    other.join(0.1)
    assert other.is_alive()
    turn.give()
    other.join(60)
    assert not other.is_alive()


def test_slot_that_keeps_its_turn_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go on without theirs, and have nothing to give; who has not joined in never waits."""
    monkeypatch.setattr(turn._mine, "waits", True)
    turn.take()
    for joins in (True, False):
        other = in_thread(joins=joins)
        other.join(60)
        assert not other.is_alive()
        assert turn._lock.locked()


def test_threads_that_never_join_take_none() -> None:
    """Such as those that await attempts that were taken over."""
    turn.take()
    assert not turn._lock.locked()
