"""A worker submits the ticks of schedules when they are due, all of them, in order, whatever the clock does."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from queuectl import Spool, State
from queuectl.core.schedules import parse_id
from queuectl.spool.moves import submit
from queuectl.spool.system import clock, files, pause, schedules
from queuectl.work import ticker
from tests.support import wait_for
from tests.work.conftest import StartWorker, SteppedClock


def add(spool: Spool, name: str, *, age: float = 0.0, **fields: object) -> None:
    """A schedule whose file was changed so many seconds ago."""
    body = {"command": "true", "overlap": "queue", **fields}
    schedules.write(spool.layout, name, json.dumps(body).encode())
    at = time.time() - age
    os.utime(spool.layout.schedule(name), (at, at))


def ticks(spool: Spool, name: str) -> list[datetime]:
    """Its ticks that have a job, in order."""
    found = (parse_id(job.id) for job in spool.list())
    return sorted(each[1] for each in found if each and each[0] == name)


def gaps(found: list[datetime]) -> set[float]:
    return {(later - earlier).total_seconds() for earlier, later in pairwise(found)}


def test_ticks_run_as_they_come(spool: Spool, in_process: StartWorker) -> None:
    """Each second's tick becomes a job within its second, and knows its time; the worker sleeps in between."""
    add(spool, "a", every="1s", command="echo $QUEUECTL_TICK")
    with in_process():
        wait_for(lambda: len(ticks(spool, "a")) >= 4, "four ticks")
        wait_for(lambda: all(job.state is State.DONE for job in spool.list()), "their ends")
    found = ticks(spool, "a")
    assert gaps(found) == {1.0}
    for job in spool.list():
        tick = parse_id(job.id)
        assert tick is not None
        assert spool.output(job).strip() == tick[1].strftime("%Y-%m-%dT%H:%M:%SZ")
        assert job.started_at is None or job.started_at >= tick[1]


def test_schedule_that_is_dropped_in_by_a_command_is_seen_at_once(spool: Spool, in_process: StartWorker) -> None:
    """A bell is enough: no listing of a directory is due for long."""
    with in_process(rescan=1000.0) as running:
        wait_for(lambda: running.has("worker"), "its start")
        add(spool, "a", every="1s")
        files.ring(spool.layout.bell)
        wait_for(lambda: ticks(spool, "a"), "a tick")


def test_bad_file_is_reported_and_stops_no_other(spool: Spool, in_process: StartWorker) -> None:
    """Whatever lies in schedules/, the others make their jobs, and each is reported once."""
    add(spool, "good", every="1s")
    texts = {
        "bad": "{",
        "zone": '{"command": "x", "every": "1s", "timezone": "Mars/Base"}',
        "never": '{"command": "x", "cron": "0 0 30 2 *"}',
        "a b": "{}",
        "binary": "\0\ufeff",
    }
    for name, text in texts.items():
        schedules.write(spool.layout, name, text.encode())
        os.utime(spool.layout.schedule(name), (0, 0))
    os.mkdir(spool.layout.schedule("directory"))
    os.symlink("/etc/passwd", spool.layout.schedule("link"))
    add(spool, "mark", every="1s")
    (spool.path / "schedules/mark.past").write_text("soon")
    with in_process(rescan=0.2) as running:
        wait_for(lambda: len(ticks(spool, "good")) >= 3, "the good one's ticks")
        said = [event["message"] for event in running.events() if event["event"] == "warning"]
    assert len(said) == len(set(said))
    for name in ("bad", "zone", "never", "a b", "binary", "directory", "link", "mark"):
        assert any(f"the schedule {name} makes no jobs" in text for text in said), (name, said)
    assert not any("good" in text for text in said)


def test_file_that_is_being_written_is_waited_for(spool: Spool, in_process: StartWorker) -> None:
    """A tool that writes in place is not reported, and its schedule runs once it is whole."""
    os.mkdir(spool.layout.schedules)
    path = spool.path / "schedules/a.json"
    path.write_text('{"command": "true", ')
    with in_process(rescan=0.1) as running:
        wait_for(lambda: running.has("worker") and running.worker._ticker.is_first_look_over, "a look")
        path.write_text('{"command": "true", "every": "1s"}')
        wait_for(lambda: ticks(spool, "a"), "a tick")
        assert not running.has("warning")


def test_paused_group_makes_no_ticks_and_looks_forward_when_it_is_resumed(
    spool: Spool, in_process: StartWorker
) -> None:
    """What came during the pause is neither submitted then nor later; a pause of the whole queue stops no tick."""
    add(spool, "ops.a", age=3600, every="1s", catch_up="all")
    add(spool, "b", every="1s")
    spool.pause(group="ops")
    spool.pause()
    with in_process(rescan=0.2):
        wait_for(lambda: len(ticks(spool, "b")) >= 3, "ticks in a paused queue")
        assert ticks(spool, "ops.a") == []
        resumed = clock.now()
        spool.resume(group="ops")
        wait_for(lambda: len(ticks(spool, "ops.a")) >= 2, "ticks after the pause")
    assert ticks(spool, "ops.a")[0] >= resumed - timedelta(milliseconds=10)
    assert pause.resumed_at(spool.layout, clock.now, "ops")


def test_missed_ticks_are_caught_up_at_the_start(spool: Spool, in_process: StartWorker) -> None:
    """After an hour without a worker, `none`, `last`, `all` and a time make up for what they say, once."""
    for name, catch_up in (("none", "none"), ("last", "last"), ("all", "all"), ("short", "1m"), ("long", "2h")):
        add(spool, name, age=3600, cron="*/10 * * * *", catch_up=catch_up)
    begun = clock.now()
    with in_process(drain=True) as running:
        running.thread.join(20)
        assert not running.thread.is_alive()
    with in_process(drain=True) as running:  # and another worker finds them there
        running.thread.join(20)
    due = [begun.replace(minute=begun.minute // 10 * 10, second=0, microsecond=0) - n * timedelta(minutes=10)
           for n in range(6)]  # fmt: skip
    has_late = (begun - due[0]).total_seconds() > 60
    assert ticks(spool, "all") == sorted(due)
    assert ticks(spool, "last") == ticks(spool, "long") == due[:1]
    assert ticks(spool, "none") == ticks(spool, "short") == ([] if has_late else due[:1])
    assert all(job.state is State.DONE for job in spool.list())


def test_clock_that_is_set_back_repeats_nothing_and_one_that_was_ahead_loses_nothing(
    spool: Spool, in_process: StartWorker
) -> None:
    """Of an hour by a clock that goes two hours ahead, back, and half an hour back, no tick runs twice; what is due by
    the right clock runs."""
    stepped = SteppedClock()
    add(spool, "a", age=7200, cron="* * * * *")
    with in_process(now=stepped, rescan=0.1) as running:
        wait_for(lambda: ticks(spool, "a"), "a tick by the right clock")
        first = ticks(spool, "a")
        for hours in (2.0, 0.0, -0.5, 0.0, 1.0, 0.0):
            stepped.offset = timedelta(hours=hours)
            for _ in range(2):  # one look may be under way
                looked = running.worker._ticker._not_before
                wait_for(lambda: running.worker._ticker._not_before > looked, "a look")  # noqa: B023
        now = clock.now()
        wait_for(lambda: any(timedelta(0) <= now - tick < timedelta(minutes=2) for tick in ticks(spool, "a")))
    assert set(first) <= set(ticks(spool, "a"))
    ids = [job.id for job in spool.list()]
    assert len(ids) == len(set(ids))
    assert any(tick > now + timedelta(minutes=100) for tick in ticks(spool, "a"))


def test_mark_ahead_of_the_clock_is_reported(spool: Spool, in_process: StartWorker) -> None:
    """The schedule makes no jobs until then, since they may have run: that is said, and the others continue."""
    add(spool, "a", every="1s")
    add(spool, "b", every="1s")
    schedules.move_past(spool.layout, "a", clock.now() + timedelta(days=1))
    with in_process(rescan=0.2) as running:
        wait_for(lambda: ticks(spool, "b"), "the other's tick")
        wait_for(lambda: running.has("warning"), "the warning")
        said = [event["message"] for event in running.events() if event["event"] == "warning"]
        assert said[0].startswith("the schedule a makes no jobs before ")
        os.unlink(spool.layout.past("a"))
        wait_for(lambda: ticks(spool, "a"), "its ticks")


def test_ticks_wait_in_order_for_one_that_another_process_submits(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None overtakes it, for the newest that is there tells which are to come; nor does it stop them for ever."""
    monkeypatch.setattr(ticker, "_PATIENCE", 3.0)
    add(spool, "a", every="1s")
    ahead = clock.now().replace(microsecond=0) + timedelta(seconds=2)
    reservation = submit.reserve(spool.layout, f"a.{ahead:%Y%m%dT%H%M%S}Z")
    released = threading.Event()
    with in_process():
        wait_for(lambda: clock.now() > ahead + timedelta(seconds=2), "later ticks")
        assert all(tick < ahead for tick in ticks(spool, "a"))
        os.close(reservation.fd)
        released.set()
        wait_for(lambda: ahead in ticks(spool, "a"), "the one that was left")
        wait_for(lambda: max(ticks(spool, "a")) > ahead + timedelta(seconds=2), "the later ones")
    assert gaps(ticks(spool, "a")) == {1.0}


def test_process_that_was_stopped_while_it_submits_stops_the_others_for_a_while_only(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some seconds the ticks behind it are submitted without it."""
    monkeypatch.setattr(ticker, "_PATIENCE", 0.5)
    add(spool, "a", every="1s")
    ahead = clock.now().replace(microsecond=0) + timedelta(seconds=1)
    reservation = submit.reserve(spool.layout, f"a.{ahead:%Y%m%dT%H%M%S}Z")
    try:
        with in_process():
            wait_for(lambda: any(tick > ahead for tick in ticks(spool, "a")), "the tick behind it")
    finally:
        os.close(reservation.fd)


def test_tick_is_skipped_while_the_last_has_not_ended(spool: Spool, in_process: StartWorker) -> None:
    """The worker says so, and later ticks run again."""
    add(spool, "a", every="1s", overlap="skip", command="test -e go || { sleep 2.5; touch go; }", cwd=str(spool.path))
    with in_process() as running:
        wait_for(lambda: [job for job in spool.list() if job.result and job.result.is_skipped], "a skip")
        wait_for(lambda: sum(str(job.result) == "exit0" for job in spool.list()) >= 2, "two that have run")
    assert running.has("skipped")


def test_worker_without_schedules_starts_no_thread_for_them(spool: Spool, in_process: StartWorker) -> None:
    """What is not used costs one failed system call a beat."""
    with in_process(rescan=0.05) as running:
        wait_for(lambda: running.has("worker") and running.worker._ticker._has_looked, "a look")
        assert running.worker._ticker._thread is None


def test_year_of_ticks_is_not_gone_through(spool: Spool, in_process: StartWorker) -> None:
    """A schedule of every second that nobody has run for a year starts at once."""
    add(spool, "a", age=366 * 86400, every="1s", catch_up="last")
    begun = clock.now()
    with in_process(drain=True) as running:
        running.thread.join(20)
        assert not running.thread.is_alive()
    assert min(ticks(spool, "a")) >= begun - timedelta(seconds=61)
    assert datetime.now(UTC) - begun < timedelta(seconds=60)
