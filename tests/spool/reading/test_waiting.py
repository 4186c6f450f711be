"""Waiting: it ends with the job, on the spool's own events, and misses none."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from queuectl import Job, NotFoundError, Spool, State, WaitTimeoutError
from queuectl.spool.reading import waiting
from queuectl.spool.reading.waiting import Ended, Watch
from queuectl.spool.system.layout import Layout
from tests.spool.given import pending_name, put, put_finished, running_name
from tests.support import names, wait_for, workers


class Waiting:
    """A wait in a thread, and what came of it."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.ended: list[Ended] | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.ended = self.watch.wait(60)

    def result(self) -> list[Ended]:
        self.thread.join(20)
        assert self.ended is not None, "the wait did not end"
        return self.ended


@pytest.fixture
def _no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an event, or the time given, can end a wait."""
    monkeypatch.setattr(waiting, "_FIRST_INTERVAL", 3600.0)
    monkeypatch.setattr(waiting, "_INTERVAL", 3600.0)


@pytest.mark.usefixtures("_no_beat")
@pytest.mark.parametrize("state", [State.DONE, State.DEAD])
def test_event_ends_the_wait(spool: Spool, layout: Layout, state: State) -> None:
    """A job's name in done or dead ends the wait, without any look at the clock."""
    path = put(layout, running_name("x"), state=State.RUNNING)
    put(layout, running_name("other"), state=State.RUNNING)
    with spool.watch([spool.get("x")]) as watch:
        started = Waiting(watch)
        wait_for(lambda: watch._trigger is not None and watch._trigger.is_alive, "the watch")
        _probe(layout, watch)
        result = "exit0" if state is State.DONE else "exit1"
        path.rename(layout.job(state, f"20261124T034300.000Z-010-1-{result}-1.500s-x.json"))
        (job,) = started.result()
    assert isinstance(job, Job)
    assert (job.id, job.state) == ("x", state)
    assert watch.open == {}


def _probe(layout: Layout, watch: Watch) -> None:
    """Until the watch is set: until a name of the job, which vanishes again, has been heard."""
    looks: list[int] = []
    look = watch._look_at_jobs

    def counted(jobs: Sequence[Job]) -> list[Ended]:
        looks.append(1)
        return look(jobs)

    watch._look_at_jobs = counted  # type: ignore[method-assign]
    probe = Path(layout.job(State.PENDING, pending_name("x")))

    def ask() -> bool:
        probe.touch()
        probe.unlink()
        return bool(looks)

    wait_for(ask, "the watch")


@pytest.mark.usefixtures("_no_beat")
def test_growth_of_a_log_ends_the_wait(spool: Spool, layout: Layout) -> None:
    """Anyone who follows a log is woken when it grows."""
    put(layout, running_name("x"), state=State.RUNNING)
    log = Path(layout.log("x"))
    log.touch()
    with spool.watch([spool.get("x")], logs=[str(log)]) as watch:
        started = Waiting(watch)

        def write() -> bool:
            with log.open("a") as file:
                file.write("more\n")
            return started.ended is not None

        wait_for(write, "the end of the wait")
        assert started.result() == []
        assert list(watch.open) == ["x"]


def test_jobs_are_reported_as_they_end(spool: Spool) -> None:
    """Each is reported once it has ended, while the others continue, whatever the order in which they were named."""
    with workers(spool.path):
        spool.enqueue("true", id="three", run_at="2999-01-01T00:00:00Z")
        for id in ("one", "two"):
            spool.enqueue(f"test {id} != two", id=id, max_retries=0)
        ends = spool.ends(["three", "one", "two"], timeout=30)
        first = [next(ends), next(ends)]
        spool.first("three")
        last = next(ends)
    results = {job.id: str(job.result) for job in first if isinstance(job, Job)}
    assert results == {"one": "exit0", "two": "exit1"}
    assert isinstance(last, Job)
    assert (last.id, list(ends)) == ("three", [])


def test_wait_over_retries(spool: Spool) -> None:
    """A job that goes back to pending has not ended."""
    with workers(spool.path):
        job = spool.enqueue("exit 1", id="x", max_retries=2, backoff_base=0)
        assert spool.wait(job, timeout=30).attempts == 3


def test_deleted_job_is_reported_among_others(spool: Spool, layout: Layout) -> None:
    """The others are waited for all the same."""
    put(layout, pending_name("gone")).unlink()
    path = put(layout, pending_name("gone"))
    put_finished(layout, "x")
    jobs = [spool.get("gone"), spool.get("x")]
    path.unlink()
    ended = list(spool.ends(jobs, timeout=30))
    assert {type(item) for item in ended} == {Job, NotFoundError}


def test_wait_without_events(spool: Spool, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no events can be had the job is looked at instead."""
    import queuectl.spool.system.trigger as trigger

    def refuse(*_: object) -> None:
        raise OSError("no inotify")

    monkeypatch.setattr(trigger, "_make_reader", refuse)
    path = put(layout, running_name("x"), state=State.RUNNING)
    with spool.watch([spool.get("x")]) as watch:
        started = Waiting(watch)
        wait_for(lambda: watch._trigger is not None, "the attempt")
        path.rename(layout.job(State.DEAD, "20261124T034300.000Z-010-1-exit1-1.500s-x.json"))
        assert len(started.result()) == 1


def test_log_is_checked_if_there_are_no_events(spool: Spool, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait ends now and then, for anyone who follows the log to look."""
    import queuectl.spool.system.trigger as trigger

    def refuse(*_: object) -> None:
        raise OSError("no inotify")

    monkeypatch.setattr(trigger, "_make_reader", refuse)
    put(layout, running_name("x"), state=State.RUNNING)
    with spool.watch([spool.get("x")], logs=[layout.log("x")]) as watch:
        assert Waiting(watch).result() == []


def test_wait_for_several_times_out(spool: Spool, layout: Layout) -> None:
    """What had ended is reported first, then how many continue."""
    for id in ("a", "b"):
        put(layout, pending_name(id))
    put_finished(layout, "x")
    ended: list[Ended] = []
    with pytest.raises(WaitTimeoutError, match="2 jobs have not ended"):
        ended.extend(spool.ends(["a", "x", "b"], timeout=0))
    ends = spool.ends(["a", "x", "b"], timeout=0)
    assert isinstance(next(ends), Job)


def test_waiting_until_nothing_runs(spool: Spool, layout: Layout) -> None:
    """It ends when the last file has left running/, and not before."""
    path = put(layout, running_name("x"), state=State.RUNNING)
    with pytest.raises(WaitTimeoutError, match="1 job still running"):
        spool.wait_until_idle(0)
    thread = threading.Thread(target=spool.wait_until_idle)
    thread.start()
    path.rename(layout.job(State.PENDING, pending_name("x")))
    thread.join(20)
    assert not thread.is_alive()
    assert names(spool.path / "running") == []
