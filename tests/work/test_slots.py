"""The slots alone, without a main thread that looks: what they take, and what they leave."""

from __future__ import annotations

import errno
import os
import select
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from queuectl import Spool
from queuectl.core.result import State
from queuectl.spool.moves import claims
from queuectl.spool.system import files, logs
from queuectl.work import course, slots, turn
from queuectl.work.attempts import Attempts
from queuectl.work.engines.adopted import Orphan
from queuectl.work.engines.executor import Execution, Executor
from queuectl.work.schedule import Schedule
from queuectl.work.slots import Slots
from queuectl.work.waker import Waker
from tests.spool.given import parsed, put, running_name
from tests.support import names, wait_for
from tests.work.given import OWN, Reported


class Given:
    """Slots of the worker OWN, whose threads have not started."""

    def __init__(self, spool: Spool, number: int) -> None:
        self.reported = Reported(spool)
        self.waker = Waker()
        self.attempts = Attempts(self.reported.context, self.waker.wake_before)
        self.engine = Executor(spool.layout.root, OWN)
        self.slots = Slots(self.reported.context, OWN, number, self.attempts, self.waker, self.engine)

    def claim(self, spool: Spool, id: str) -> claims.Claim:
        """Claim a pending job as a slot does."""
        (text,) = [name for name in names(spool.path / "pending") if name.endswith(f"-{id}.json")]
        claim = self.slots._claim(parsed(text))
        assert claim is not None
        return claim


@pytest.fixture
def given(spool: Spool) -> Iterator[Given]:
    """One slot; it has ended after the test."""
    given = Given(spool, 1)
    yield given
    given.slots.stop()
    if given.slots._threads[0].is_alive():
        given.slots.join()


def offer_all(given: Given, spool: Spool) -> None:
    """Make known what is in pending/, as the main thread does."""
    given.slots.offer(names(spool.path / "pending"))
    given.slots.advance()


def test_slots_run_what_is_offered_in_order(given: Given, spool: Spool) -> None:
    """The most urgent first, however they were offered; then they are idle, and have worked."""
    for id, priority in (("later", 20), ("first", 1), ("middle", 10)):
        spool.enqueue("true", id=id, priority=priority)
    offer_all(given, spool)
    assert given.slots.has_ready
    given.slots.start()
    wait_for(lambda: spool.counts().done == 3 and given.slots.busy == 0)
    assert [event["job"] for event in given.reported.events("start")] == ["first", "middle", "later"]
    assert (given.slots.has_ready, given.attempts.has_worked, given.slots.in_between) == (False, True, 0)


def test_slot_keeps_its_turn_from_the_end_of_a_job_to_the_next_start(
    given: Given, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while a command runs, nor once there is nothing to do, whatever became of the last job."""
    seen: list[str] = []

    def watch(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def watched(*given: Any) -> Any:
            seen.append(name if turn._lock.locked() else f"{name} without")
            return real(*given)

        monkeypatch.setattr(owner, name, watched)

    watch(course, "settle_run")
    watch(claims, "claim")
    watch(Execution, "wait")
    for id, command in (("a", "true"), ("b", "kill $$"), ("c", "true")):
        spool.enqueue(command, id=id, max_retries=0)
    offer_all(given, spool)
    given.slots.start()
    wait_for(lambda: spool.counts().done + spool.counts().dead == 3 and given.slots.busy == 0)
    wait_for(lambda: not turn._lock.locked(), "the end of the last turn")
    assert seen == [
        *("claim without", "wait without", "settle_run"),
        *("claim", "wait without", "settle_run without"),
        *("claim without", "wait without", "settle_run"),
    ]


def test_slots_are_in_between_until_a_job_just_runs(given: Given, spool: Spool) -> None:
    """From the claim to the start, and while it is ended and settled; not while its command runs."""
    spool.enqueue("sleep 600", id="x")
    offer_all(given, spool)
    name = given.slots._next()
    assert name is not None
    assert (given.slots.busy, given.slots.in_between) == (1, 1)
    claim = given.slots._claim(name)
    assert claim is not None
    run = given.engine.start(claim)
    given.attempts.add(run)
    assert (given.slots.busy, given.slots.in_between) == (1, 0)
    run.stop("release", 5)
    assert given.slots.in_between == 1
    run.wait()
    os.close(claim.log)


def test_slots_take_no_second_file_of_a_job_that_they_run(given: Given) -> None:
    """No two claims of one worker choose the same name; the other file is kept for later, and other jobs come first."""
    given.slots.offer(["001-20261124T034300.000Z-0-x.json", "010-20261124T034300.000Z-0-x.json"])
    first = given.slots._next()
    given.slots.offer(["020-20261124T034300.000Z-0-y.json"])
    second = given.slots._take("20991124T034300.000Z")
    assert first is not None
    assert second is not None
    assert (first.id, second.id) == ("x", "y")
    assert given.slots._take("20991124T034300.000Z") is None
    given.slots._taken.pop("x", None)
    again = given.slots._take("20991124T034300.000Z")
    assert again is not None
    assert (again.id, again.priority) == ("x", 10)


def test_slots_leave_room_for_adopted_jobs(given: Given, spool: Spool) -> None:
    """A job that was adopted takes the place of one; when it has ended, the next begins."""
    spool.enqueue("true", id="x")
    orphan = Orphan(running_name("adopted"), "token", None, "", select)  # type: ignore[arg-type]
    given.attempts.add(orphan)
    offer_all(given, spool)
    given.slots.start()
    wait_for(lambda: select.select([given.waker], [], [], 0)[0], "the slot to say that it waits")
    assert (given.slots.busy, given.slots.has_ready) == (0, True)
    given.attempts.discard(orphan)
    given.slots.advance()
    wait_for(lambda: spool.counts().done == 1)


def test_slots_ask_for_a_listing_when_only_that_can_say_what_is_due(given: Given, spool: Spool) -> None:
    """When the window has run dry and there were more names than it holds."""
    given.waker.must_list = False
    fresh = Schedule(window=1)
    for id in ("x", "y"):
        spool.enqueue("true", id=id)
    fresh.refill([[os.fsencode(name) for name in names(spool.path / "pending")]], "20991124T034300.000Z")
    given.slots.install(fresh)
    given.slots.start()
    wait_for(lambda: given.waker.must_list, "the slot to ask for a listing")
    assert spool.counts().done == 1


def test_slots_hand_what_is_not_a_job_to_the_main_thread(given: Given) -> None:
    """A name that only looks like a job's, and a file that is still being written, are for it to look at."""
    odd = "010-20261324T034300.000Z-0-odd.json"  # there is no thirteenth month
    given.slots.offer([odd])
    assert given.slots._take("20991124T034300.000Z") is None
    put_partly = given.slots.layout.job(State.PENDING, "010-20261124T034300.000Z-0-part.json")
    with open(put_partly, "w", encoding="ascii") as file:
        file.write('{"command": ')
    given.slots.offer([os.path.basename(put_partly)])
    name = given.slots._take("20991124T034300.000Z")
    assert name is not None
    assert given.slots._claim(name) is None
    assert list(given.waker.suspects) == [odd, os.path.basename(put_partly)]
    assert select.select([given.waker], [], [], 0)[0]


def test_slots_know_which_of_their_jobs_nothing_runs(given: Given, spool: Spool) -> None:
    """A job under the worker's name that no slot has taken is forgotten, unless it is in the table or gone."""
    kept, forgotten, adopted, gone = (running_name(id, worker=OWN) for id in ("kept", "forgotten", "adopted", "gone"))
    for name in (kept, forgotten, adopted):
        put(spool.layout, name, state=State.RUNNING)
    given.slots._taken["kept"] = ""
    given.attempts.add(Orphan(adopted, "token", None, "", select))  # type: ignore[arg-type]
    assert given.slots.find_forgotten([kept, forgotten, adopted, gone]) == [forgotten]
    given.slots._taken.clear()


def test_slots_give_back_what_cannot_be_started(given: Given, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the machine has no process left the attempt does not count; a command that is too large is its own fault."""
    monkeypatch.setattr(given.slots, "_hold_on", lambda: None)

    def attempt(id: str, error: int) -> None:
        """One of a job, whose shell the kernel refuses to start."""

        def refuse(*_: object) -> int:
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patched:
            patched.setattr(given.engine._spawner, "spawn", refuse)
            claim = given.claim(spool, id)
            given.slots._attempt(claim)

    spool.enqueue("true", id="x")
    attempt("x", errno.EAGAIN)
    job = spool.get("x")
    assert (job.state, job.attempts) == (State.PENDING, 0)
    attempt("x", errno.E2BIG)
    job = spool.get("x")
    assert (job.state, job.attempts) == (State.PENDING, 1)
    assert "cannot be run: Argument list too long" in spool.log_path("x").read_text()


def test_slots_settle_a_killed_job_whose_file_is_gone_as_cancelled(given: Given, spool: Spool) -> None:
    """Who moved the file has settled it: the end line says so, and the file is left where it is."""
    spool.enqueue("kill -9 $$", id="x")
    claim = given.claim(spool, "x")
    assert files.move(spool.layout.job(State.RUNNING, claim.name), str(spool.path / "elsewhere"))
    given.slots._attempt(claim)
    attempt = logs.read_attempt(spool.layout.log("x"), claim.name)[0]
    assert attempt is not None
    assert str(attempt.result) == "cancelled"
    assert [event["job"] for event in given.reported.events("gone")] == ["x"]
    assert (spool.path / "elsewhere").exists()


def test_slots_report_a_claim_that_fails_once(given: Given, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system refuses is reported once, though some jobs start in between, until it has refused nothing for a
    while; and the jobs are looked for."""
    monkeypatch.setattr(given.slots, "_hold_on", lambda: None)
    for id in ("x", "y", "z"):
        spool.enqueue("true", id=id)
    offer_all(given, spool)

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    def claim(*, is_refused: bool = False) -> None:
        name = given.slots._next()
        assert name is not None
        if is_refused:
            given.waker.must_list = False
            with monkeypatch.context() as patched:
                patched.setattr(claims, "claim", refuse)
                assert given.slots._claim(name) is None
            assert given.waker.must_list
        taken = given.slots._claim(name)
        assert taken is not None
        os.close(taken.log)
        assert str(taken.name) in names(spool.path / "running")
        given.slots._taken.pop(name.id, None)

    claim(is_refused=True)
    claim(is_refused=True)
    (error,) = given.reported.events()
    assert error["event"] == "error"
    assert error["message"].endswith("Too many open files; raise the limit of open files (ulimit -n)")
    monkeypatch.setattr(slots, "_RECOVERED", 0.0)
    claim()
    assert [event["event"] for event in given.reported.events()] == ["error", "info"]


def test_slots_that_are_added_can_be_joined(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the worker stops at the moment at which they are added, as by an engine that has found more of them."""
    given = Given(spool, 1)
    given.slots.start()
    start = threading.Thread.start
    others: list[threading.Thread] = []

    def end() -> None:
        given.slots.stop()
        given.slots.join()

    def stop_first(thread: threading.Thread) -> None:
        other = threading.Thread(target=end)
        start(other)
        others.append(other)
        other.join(0.05)  # it has stopped and joined them if it could
        start(thread)

    caught: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda about: caught.append(about.exc_value))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", stop_first)
        given.slots.resize(2, 2)
    for other in others:
        other.join(20)
        assert not other.is_alive()
    assert caught == []
