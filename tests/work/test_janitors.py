"""What a worker looks after: at every beat, and sooner where something asks for it."""

from __future__ import annotations

import time

import pytest

from queuectl.work.janitors import Janitor, Janitors


@pytest.fixture
def ran() -> list[str]:
    """What has run."""
    return []


def test_janitors_all_run_at_a_beat(ran: list[str]) -> None:
    """In their order, those too that had asked for a later time; then nothing is due but the next beat."""
    both = [Janitor(lambda: ran.append("a")), Janitor(lambda: ran.append("b"))]
    all_ = Janitors(both)
    assert all_.next_beat(10.0) == float("-inf")
    both[1].hurry(1000)
    all_.beat()
    assert ran == ["a", "b"]
    assert all_.next_at == float("inf")


def test_janitor_that_hurries_runs_alone_and_once(ran: list[str]) -> None:
    """What is due by now runs without the others; what is due later waits."""
    now, later, idle = (Janitor(lambda name=name: ran.append(name)) for name in ("now", "later", "idle"))  # type: ignore[misc]
    all_ = Janitors([later, now, idle])
    later.hurry(1000)
    now.hurry()
    for _ in range(2):
        all_.run_due()
    assert ran == ["now"]
    assert all_.next_at == later.next_at


def test_janitor_keeps_the_sooner_of_two_times() -> None:
    """Asking for a later time puts nothing off; and a janitor may ask for another run while it runs."""
    again: list[Janitor] = []
    janitor = Janitor(lambda: again[0].hurry(5) if again else None)
    janitor.hurry(1)
    first = janitor.next_at
    janitor.hurry(1000)
    assert janitor.next_at == first
    again.append(janitor)
    janitor.run()
    assert first < janitor.next_at < float("inf")


def test_janitors_take_a_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a beat of two seconds the next comes after forty, however short the interval."""
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def work() -> None:
        clock[0] += 2.0

    slow = Janitors([Janitor(work)])
    slow.beat()
    assert slow.next_beat(1.0) == 102.0 + 40.0
    assert slow.next_beat(60.0) == 102.0 + 60.0
