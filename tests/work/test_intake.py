"""What the main thread takes in, from events, listings and dropped files, without a worker around it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from selectors import DefaultSelector
from typing import Any

import pytest

from queuectl import Spool
from queuectl.spool.reading import query
from queuectl.spool.system.trigger import Trigger
from queuectl.work import incomplete, intake
from queuectl.work.attempts import Attempts
from queuectl.work.engines.executor import Executor
from queuectl.work.intake import Intake
from queuectl.work.slots import Slots
from queuectl.work.waker import Waker
from tests.support import names
from tests.work.given import OWN, Reported


class Given:
    """An intake whose bell is rung by hand, and whose slots take nothing."""

    def __init__(self, spool: Spool) -> None:
        self.reported = Reported(spool)
        self.waker = Waker()
        context = self.reported.context
        attempts, engine = Attempts(context, self.waker.wake_before), Executor(spool.layout.root, OWN)
        self.slots = Slots(context, OWN, 1, attempts, self.waker, engine)
        self.heard: list[str] = []
        others = {path: lambda path=path: self.heard.append(path) for path in (spool.layout.config, spool.layout.bell)}
        self.intake = Intake(context, self.slots, self.waker, others, DefaultSelector())

    def hear(self, *paths: str | None) -> None:
        for path in paths:
            self.intake._ring(path)
        self.intake.hear()

    def ready(self) -> list[str]:
        """The names that a slot would take, in order."""
        return [*reversed(self.slots._schedule._ready.names)]


@pytest.fixture
def given(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Given]:
    """With a watch that hears nothing, and no pause after a file was written."""
    monkeypatch.setattr(incomplete, "QUIET", 0.0)
    monkeypatch.setattr(Trigger, "open", lambda _: None)
    given = Given(spool)
    given.waker.must_list = False
    yield given
    given.intake.close()


def drop(spool: Spool, name: str, text: str = '{"command": "true"}') -> str:
    path = spool.path / "pending" / name
    path.write_text(text)
    return str(path)


def test_intake_offers_what_events_report(given: Given, spool: Spool) -> None:
    """A canonical name at once, a dropped file once it is adopted; a hidden name, or one elsewhere, not at all."""
    spool.enqueue("true", id="x")
    (name,) = names(spool.path / "pending")
    dropped = drop(spool, "y.json")
    given.hear(spool.layout.pending + "/" + name, dropped, drop(spool, ".hidden"), str(spool.path / "elsewhere.json"))
    assert given.ready() == names(spool.path / "pending")
    assert len(given.ready()) == 2
    assert not given.waker.must_list


def test_intake_passes_on_what_is_not_a_job(given: Given, spool: Spool) -> None:
    """An event of config.toml or of the bell is for the part that looks after these, in the order of the events."""
    given.hear(spool.layout.bell, spool.layout.config)
    assert given.heard == [spool.layout.bell, spool.layout.config]
    assert not given.waker.must_list


def test_intake_lists_when_events_were_lost(given: Given) -> None:
    """An event without a path means that anything may have happened."""
    given.hear(None)
    assert given.waker.must_list


def test_intake_looks_closely_at_what_a_slot_suspects(given: Given, spool: Spool) -> None:
    """A canonical name whose file was not whole is waited for, and not offered by an event or a listing."""
    name = "010-20261124T034300.000Z-0-x.json"
    path = drop(spool, name, '{"comm')
    given.waker.suspects.append(name)
    given.intake.hear()
    assert given.intake.next_look() is not None
    given.hear(path)
    given.waker.must_list = True
    given.intake.list_pending()
    assert given.ready() == []
    drop(spool, name)
    given.hear(path)
    assert given.ready() == [name]
    assert given.intake.next_look() is None


def test_intake_lists_only_when_it_must_or_something_has_changed(
    given: Given, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory with an old mtime is not read again until that changes; every tenth time whatever it says."""
    listed: list[bool] = []
    real = query.iterate_pending

    def counted(*arguments: Any) -> Any:
        listed.append(True)
        return real(*arguments)

    monkeypatch.setattr(query, "iterate_pending", counted)
    os.utime(spool.path / "pending", (1, 1))
    given.waker.must_list = True
    given.intake.list_pending()
    assert len(listed) == 1
    for _ in range(intake._LIST_ANYWAY - 1):
        given.intake.list_pending()
    assert len(listed) == 1
    given.intake.list_pending()
    assert len(listed) == 2
    os.utime(spool.path / "pending", (2, 2))
    given.intake.list_pending()
    assert len(listed) == 3


def test_intake_adopts_many_dropped_files_in_batches(
    given: Given, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing adopts the first of them, so that a job may start; the others come right after it."""
    monkeypatch.setattr(intake, "_BATCH", 2)
    for number in range(5):
        drop(spool, f"{number}.json")
    given.waker.must_list = True
    given.intake.list_pending()
    assert len(given.ready()) == 2
    given.intake.adopt_due()
    assert len(given.ready()) == 5


def test_intake_adopts_nothing_while_the_worker_stops(given: Given, spool: Spool) -> None:
    """What is dropped then is left for the next worker."""
    given.reported.context.stopping = 1
    given.hear(drop(spool, "x.json"))
    assert names(spool.path / "pending") == ["x.json"]


def test_intake_starts_a_dead_watch_again(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported, and everything is listed, as events may have been lost; a watch that fails is reported once."""
    given.intake.check_trigger()
    assert given.waker.must_list
    assert [line["message"] for line in given.reported.events()] == [
        "the watch on the spool has died; starting it again"
    ]
    given.intake.trigger.problem = "OSError: inotify instance limit reached"
    for _ in range(2):
        given.intake.check_trigger()
    (line,) = given.reported.events()[1:]
    assert line["message"] == (
        "no file events (OSError: inotify instance limit reached); listing the spool every 1 s instead"
    )
