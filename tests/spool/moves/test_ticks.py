"""Submitting ticks: once, whoever tries and whatever is deleted; and the mark that prune moves on."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.core.schedules import Schedule
from queuectl.core.settings import Rule
from queuectl.errors import UsageError
from queuectl.spool.moves import prune, submit, ticks
from queuectl.spool.moves.ticks import Outcome, submit_tick
from queuectl.spool.system import clock, lease, schedules
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.schedules import Found
from tests.spool.given import die, run_to_death

TICK = datetime(2026, 10, 1, 2, 30, tzinfo=UTC)
LATER, NOW = TICK + timedelta(days=1), TICK + timedelta(seconds=5)
ID, LATER_ID = "nightly.20261001T0230Z", "nightly.20261002T0230Z"


def add(layout: Layout, name: str = "nightly", **fields: object) -> tuple[Found, Schedule]:
    body = {"command": "true", "cron": "30 2 * * *", **fields}
    schedules.write(layout, name, json.dumps(body).encode())
    os.utime(layout.schedule(name), (0, 0))
    found = schedules.find(layout, name)
    assert found.schedule is not None, found.problem
    return found, found.schedule


def end(spool: Spool, id: str, at: datetime = TICK, state: State = State.DONE) -> None:
    """Its job has run and ended."""
    job = spool.get(id)
    name = f"{at:%Y%m%dT%H%M%S}.000Z-010-1-{'exit0' if state is State.DONE else 'exit1'}-0.100s-{id}.json"
    os.rename(job.path, spool.path / state / name)
    spool.log_path(id).write_text("it ran\n")


def test_tick_is_submitted_once(spool: Spool, layout: Layout) -> None:
    """The second who tries finds the id taken, in whatever state the job is."""
    found, schedule = add(layout)
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.SUBMITTED
    assert spool.get(ID).state is State.PENDING
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.TAKEN
    end(spool, ID)
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.TAKEN
    assert len([*spool.list()]) == 1


def test_tick_is_submitted_once_by_many_at_once(spool: Spool, layout: Layout) -> None:
    """Of eight that try at one moment one submits it."""
    found, schedule = add(layout)
    with ThreadPoolExecutor(8) as pool:
        outcomes = [*pool.map(lambda _: submit_tick(layout, found, schedule, TICK, NOW), range(8))]
    assert outcomes.count(Outcome.SUBMITTED) == 1
    assert set(outcomes) <= {Outcome.SUBMITTED, Outcome.TAKEN, Outcome.IN_FLIGHT}
    assert len([*spool.list()]) == 1


def test_tick_that_another_is_submitting_is_in_flight(layout: Layout) -> None:
    """It is neither taken over nor believed to be there, until the other is done or dead."""
    found, schedule = add(layout)
    reservation = submit.reserve(layout, ID)
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.IN_FLIGHT
    os.close(reservation.fd)  # as its death would
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.SUBMITTED


def _try_and_die(root: str, call: str, marker: bytes) -> None:
    """Try to submit the tick, and die in the first such call that has the marker in its argument."""
    layout = Layout(root)
    found = schedules.find(layout, "nightly")
    real = getattr(os, call)

    def strike(*arguments: object, **options: object) -> object:
        has_marker = any(marker in (each if isinstance(each, bytes) else str(each).encode()) for each in arguments)
        return die() if has_marker else real(*arguments, **options)

    setattr(os, call, strike)
    submit_tick(layout, found, ticks.require_valid(found), TICK, NOW)


@pytest.mark.parametrize("call", ["link", "fsync", "unlink"])
def test_death_of_a_submitter_leaves_the_tick_to_the_next(spool: Spool, layout: Layout, call: str) -> None:
    """Whichever call it dies in, the tick has one job in the end."""
    found, schedule = add(layout)
    run_to_death(_try_and_die, layout.root, call, b"")
    assert submit_tick(layout, found, schedule, TICK, NOW) in (Outcome.SUBMITTED, Outcome.TAKEN)
    assert [job.id for job in spool.list()] == [ID]


def test_tick_that_is_past_is_given_up(spool: Spool, layout: Layout) -> None:
    """A slow submitter, whose tick has run and been deleted in the meantime, finds the mark, and frees the id."""
    found, schedule = add(layout)
    schedules.move_past(layout, "nightly", TICK)
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.PAST
    assert not spool.log_path(ID).exists()
    assert submit_tick(layout, found, schedule, LATER, LATER) is Outcome.SUBMITTED


def test_schedule_that_was_changed_or_removed_submits_nothing(spool: Spool, layout: Layout) -> None:
    """A tick of what the file said before is given up: the next look starts from what it says now."""
    found, schedule = add(layout)
    add(layout, command="false")
    os.utime(layout.schedule("nightly"), (1, 1))
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.CHANGED
    schedules.remove(layout, "nightly")
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.CHANGED
    assert not [*spool.list()]


def test_missed_tick_gives_up_if_a_later_one_is_there(layout: Layout) -> None:
    """Of what was missed `last` makes up for the newest: one who is slow comes too late."""
    found, schedule = add(layout)
    much_later = LATER + timedelta(hours=1)
    assert submit_tick(layout, found, schedule, LATER, LATER) is Outcome.SUBMITTED
    assert submit_tick(layout, found, schedule, TICK, much_later) is Outcome.PAST
    found, schedule = add(layout, "all", catch_up="all", overlap="queue")
    assert submit_tick(layout, found, schedule, LATER, much_later) is Outcome.SUBMITTED
    assert submit_tick(layout, found, schedule, TICK, much_later) is Outcome.SUBMITTED


@pytest.mark.parametrize("state", ["pending", "running", "retrying", "run by hand"])
def test_tick_is_skipped_while_a_job_of_its_schedule_has_not_ended(spool: Spool, layout: Layout, state: str) -> None:
    """The skip is a job in done/ with the result `skipped`, under the id of the tick; with `queue` it is submitted."""
    found, schedule = add(layout)
    if state == "run by hand":
        ticks.run_now(layout, found, NOW)
    else:
        submit_tick(layout, found, schedule, TICK, NOW)
        job = spool.get(ID)
        if state == "running":
            os.rename(job.path, spool.path / "running" / f"20261001T023005.000Z-010-1-web.12.aaaa-{ID}.json")
        elif state == "retrying":
            os.rename(job.path, spool.path / "pending" / f"010-20301001T023005.000Z-2-{ID}.json")
    assert submit_tick(layout, found, schedule, LATER, LATER) is Outcome.SKIPPED
    skipped = spool.get(LATER_ID)
    assert (skipped.state, str(skipped.result), skipped.attempts) == (State.DONE, "skipped", 0)
    assert skipped.body is not None
    assert skipped.body.env["QUEUECTL_TICK"] == "2026-10-02T02:30:00Z"
    assert submit_tick(layout, found, schedule, LATER, LATER) is Outcome.TAKEN
    found, schedule = add(layout, overlap="queue")
    assert submit_tick(layout, found, schedule, LATER + timedelta(days=1), LATER) is Outcome.SUBMITTED


def test_job_of_another_schedule_skips_nothing(spool: Spool, layout: Layout) -> None:
    """Neither what else is in the group, nor a schedule whose name begins so, counts."""
    found, schedule = add(layout)
    for id in ("nightly.cleanup", "nightly.db.20261001T0230Z", "nightly2.20261001T0230Z"):
        spool.enqueue("true", id=id)
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.SUBMITTED


@pytest.mark.parametrize(("call", "marker"), [("link", b""), ("unlink", b"tmp/"), ("write", b"#queuectl")])
def test_death_of_one_that_skips_leaves_one_job(spool: Spool, layout: Layout, call: str, marker: bytes) -> None:
    """Dying before the skip is published leaves the tick to the next; after that the skip stays, on record or not."""
    found, schedule = add(layout)
    ticks.run_now(layout, found, NOW)
    run_to_death(_try_and_die, layout.root, call, marker)
    assert submit_tick(layout, found, schedule, TICK, NOW) in (Outcome.SKIPPED, Outcome.TAKEN)
    assert [str(job.result) for job in spool.list() if job.id == ID] == ["skipped"]


def test_prune_moves_the_mark_on_before_it_deletes_a_tick(spool: Spool, layout: Layout) -> None:
    """What was deleted is past, is not submitted again, and the newest tick stays."""
    found, schedule = add(layout)
    for day in range(4):
        tick = TICK + timedelta(days=day)
        submit_tick(layout, found, schedule, tick, tick)
        end(spool, schedule.id_of(tick), tick)
    assert prune.prune(layout, State.DONE, Rule(count=0), dry_run=True).jobs == 3
    assert schedules.past(layout, "nightly") is None
    assert prune.prune(layout, State.DONE, Rule(count=0)).jobs == 3
    assert schedules.past(layout, "nightly") == TICK + timedelta(days=2)
    assert [job.id for job in spool.list()] == ["nightly.20261004T0230Z"]
    for day in range(4):
        assert submit_tick(layout, found, schedule, TICK + timedelta(days=day), NOW) in (Outcome.PAST, Outcome.TAKEN)


def test_prune_leaves_ticks_that_are_ahead_of_the_clock(spool: Spool, layout: Layout) -> None:
    """They are of a time when the clock was ahead: their mark would keep the schedule from running until then."""
    found, schedule = add(layout)
    ahead = [clock.now().replace(microsecond=0) + timedelta(days=days) for days in (-2, 10, 20)]
    for tick in ahead:
        submit_tick(layout, found, schedule, tick, tick)
        end(spool, schedule.id_of(tick), TICK)
    assert prune.prune(layout, State.DONE, Rule(count=0)).jobs == 1
    assert schedules.past(layout, "nightly") == ahead[0]


def test_prune_of_what_no_schedule_has_leaves_no_mark(spool: Spool, layout: Layout) -> None:
    """An id that looks like a tick's is one only if there is such a schedule."""
    add(layout)
    for id in ("other.20261001T0230Z", "20261001T0230Z", "other.x"):
        spool.enqueue("true", id=id)
        end(spool, id)
    assert prune.prune(layout, State.DONE, Rule(count=0)).jobs == 3
    assert os.listdir(layout.schedules) == ["nightly.json"]


def test_rm_of_a_tick_moves_the_mark_on(spool: Spool, layout: Layout) -> None:
    """Whoever deletes the job of a tick, the newest too, does not have it back."""
    found, schedule = add(layout)
    submit_tick(layout, found, schedule, TICK, NOW)
    end(spool, ID)
    spool.drop(ID)
    assert schedules.past(layout, "nightly") == TICK
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.PAST


def _drop_and_die(root: str) -> None:
    real = os.unlink
    os.unlink = lambda path: die() if path.endswith(f"-{ID}.json") else real(path)  # type: ignore[assignment, misc]
    Spool(root).drop(ID)


def test_death_of_prune_between_mark_and_job_loses_nothing(spool: Spool, layout: Layout) -> None:
    """The mark is on the disk first: then the job is deleted, or still there for the next prune."""
    found, schedule = add(layout)
    submit_tick(layout, found, schedule, TICK, NOW)
    end(spool, ID)
    run_to_death(_drop_and_die, layout.root)
    assert schedules.past(layout, "nightly") == TICK
    assert spool.get(ID).state is State.DONE


def test_mark_only_moves_on(layout: Layout) -> None:
    """An earlier tick that is deleted later leaves it where it is."""
    add(layout)
    schedules.move_past(layout, "nightly", LATER)
    schedules.move_past(layout, "nightly", TICK)
    assert schedules.past(layout, "nightly") == LATER
    assert Path(layout.past("nightly")).read_text() == "2026-10-02T02:30:00.000Z\n"


def test_mark_that_is_no_time_stops_its_schedule(layout: Layout) -> None:
    """Which ticks are past is unknown then, so none is submitted."""
    found, schedule = add(layout)
    Path(layout.past("nightly")).write_text("soon\n")
    with pytest.raises(UsageError):
        submit_tick(layout, found, schedule, TICK, NOW)
    assert not lease.is_id_locked(layout.log(ID))


def test_run_now_is_a_job_of_the_schedule_and_no_tick(spool: Spool, layout: Layout) -> None:
    """It runs at once, keeps no tick from being submitted later, and knows its time."""
    found, schedule = add(layout, jitter="10m", overlap="queue")
    job = ticks.run_now(layout, found, NOW)
    assert job.id.startswith("nightly.run-")
    assert job.run_at is not None
    assert job.run_at <= NOW + timedelta(seconds=1)
    assert job.body is not None
    assert job.body.env["QUEUECTL_TICK"] == "2026-10-01T02:30:05Z"
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.SUBMITTED


@pytest.mark.parametrize(("how", "result"), [("skip", "skipped"), ("replace", "skipped"), ("fail", "invalid")])
def test_tick_whose_key_is_taken_is_on_record(spool: Spool, layout: Layout, how: str, result: str) -> None:
    """It is left out once, whoever looks: its id is taken, though another job has the key of the schedule."""
    holder = spool.enqueue("true", unique="k")
    found, schedule = add(layout, unique="k", if_exists=how, command="echo tick")
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.LEFT_OUT
    assert str(spool.get(schedule.id_of(TICK)).result) == result
    assert spool.get(holder.id).command == ("echo tick" if how == "replace" else "true")
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.TAKEN


def test_tick_that_would_wait_for_what_is_not_there_is_refused(spool: Spool, layout: Layout) -> None:
    """It is a dead letter under its id, with the reason in its log, and the next tick is submitted."""
    found, schedule = add(layout, after="prep")
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.REFUSED
    refused = spool.get(schedule.id_of(TICK))
    assert str(refused.result) == "invalid"
    assert "no job 'prep' to wait for" in Path(layout.log(refused.id)).read_text()
    assert submit_tick(layout, found, schedule, TICK, NOW) is Outcome.TAKEN
    spool.enqueue("true", id="prep")
    assert submit_tick(layout, found, schedule, LATER, LATER) is Outcome.SUBMITTED
