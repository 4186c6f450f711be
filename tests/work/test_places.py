"""Seats and slots of jobs: each has its own, all or none, and the first in line is served first."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.names import format_time
from queuectl.core.result import State
from queuectl.core.seats import Seats, parse_own
from queuectl.errors import UsageError
from queuectl.spool.system import clock, groups, seats
from queuectl.work import line
from queuectl.work.line import Line, Wait
from queuectl.work.places import Places
from tests.support import CommandLine, WorkerProcess, wait_for, workers
from tests.work.conftest import StartWorker


@pytest.fixture
def cards(spool: Spool) -> Spool:
    """A spool with two cards."""
    groups.write(spool.layout, "gpu", "seats", "2")
    groups.write(spool.layout, "gpu", "seat-env", "CUDA_VISIBLE_DEVICES")
    return spool


def _log(spool: Spool, id: str) -> list[str]:
    """What a job has written."""
    text = (spool.path / f"logs/{id}.log").read_text()
    return [each for each in text.splitlines() if each and not each.startswith("#queuectl")]


def _all_done(spool: Spool, ids: Iterable[str]) -> None:
    failed = [job for job in spool.ends([*ids], timeout=60) if str(job.result) != "exit0"]  # type: ignore[union-attr]
    assert failed == []


def test_job_of_a_group_has_a_seat_of_its_own(cards: Spool, tmp_path: Path) -> None:
    """Under two workers of four slots no two jobs use one card at a time, by their own ledger."""
    use = f'set -C; for c in $(echo $CUDA_VISIBLE_DEVICES | tr , " "); do : >{tmp_path}/$c || exit 1; done; sleep 0.02;'
    use += f' for c in $(echo $QUEUECTL_SEAT_GPU | tr , " "); do rm {tmp_path}/$c; done'
    ids = [cards.enqueue(use, id=f"gpu.{number}", max_retries=0).id for number in range(20)]
    ids += [cards.enqueue(use, id=f"pair{number}", seats={"gpu": 2}, max_retries=0).id for number in range(5)]
    ids += [cards.enqueue(use, id=f"gpu.t.{number}", max_retries=0).id for number in range(5)]
    with workers(cards.path, 2, "--count", "4"):
        _all_done(cards, ids)
    assert seats.find_held(cards.layout, "gpu") == {}


def test_seats_are_named_to_the_job_and_over_its_own_variables(
    cards: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the worker's environment never reach a job."""
    monkeypatch.setenv("QUEUECTL_SEAT_MEM", "7")
    show = 'echo "$QUEUECTL_SEAT_GPU/$CUDA_VISIBLE_DEVICES/$QUEUECTL_SEAT_MEM"'
    cards.enqueue(show, id="gpu.1", env={"CUDA_VISIBLE_DEVICES": "9", "QUEUECTL_SEAT_MEM": "8"})
    cards.enqueue(show, id="none", seats={"gpu": 0}, env={"CUDA_VISIBLE_DEVICES": "9"})
    cards.enqueue(show, id="gpu.none", seats={"gpu": 0})
    cards.enqueue(show, id="pair", seats="gpu=2")
    with in_process(drain=True) as running:
        wait_for(lambda: not running.thread.is_alive(), "the worker's end")
    assert [_log(cards, id) for id in ("gpu.1", "none", "gpu.none", "pair")] == [
        ["0/0/"], ["/9/"], ["//"], ["0,1/0,1/"],
    ]  # fmt: skip


def test_first_in_line_gets_what_becomes_free(cards: Spool, in_process: StartWorker) -> None:
    """A job that needs both cards is not passed by those behind it that need one; others pass."""
    go = cards.path.parent / "go"
    os.mkfifo(go)
    cards.enqueue(f"cat {go}", id="gpu.0", priority=1)
    with in_process(slots=4) as running:
        wait_for(lambda: running.has("start", "gpu.0"), "the first")
        cards.enqueue("true", id="pair", priority=2, seats={"gpu": 2})
        wait_for(lambda: running.worker._slots.places.are_awaited, "the second")  # what has looked before may go first
        for number in range(1, 4):
            cards.enqueue("true", id=f"gpu.{number}", priority=3)
        cards.enqueue("true", id="own", priority=3, seats={"gpu": 1})
        other = cards.enqueue("true", id="other", priority=4)
        cards.wait(other.id, timeout=20)
        assert {e["job"] for e in running.events() if e["event"] == "start"} == {"gpu.0", "other"}
        go.write_text("")
        _all_done(cards, ["gpu.0", "pair", "gpu.1", "gpu.2", "gpu.3", "own"])
    first, second, *_ = sorted((job for job in cards.list([State.DONE]) if job.id != "other"), key=lambda job: job.path)
    assert (first.id, second.id) == ("gpu.0", "pair")


@pytest.mark.parametrize("pair", [None, {"gpu": 2}], ids=["of a group", "with a field of its own"])
def test_first_in_line_gets_what_becomes_free_of_nested_groups(
    cards: Spool, in_process: StartWorker, pair: dict[str, int] | None
) -> None:
    """While it waits for a seat of the inner group it reserves one of the outer group, whose jobs must not keep it from
    starting."""
    groups.write(cards.layout, "gpu.t", "seats", "1")
    go = cards.path.parent / "go"
    os.mkfifo(go)
    cards.enqueue(f"cat {go}", id="gpu.t.0", priority=1)
    cards.enqueue("true", id="gpu.t.1", priority=2, seats=pair)
    for number in range(2, 5):
        cards.enqueue("true", id=f"gpu.t.{number}", priority=number % 2 + 3)
        cards.enqueue("true", id=f"gpu.{number}", priority=3)
    with in_process(slots=4) as running:
        wait_for(lambda: running.has("start", "gpu.t.0"), "the first job")
        wait_for(lambda: "gpu" in running.worker._slots._gate.seatless, "the line")
        go.write_text("")
        _all_done(cards, ["gpu.t.0", "gpu.t.1", *(f"gpu.{inner}{n}" for n in range(2, 5) for inner in ("t.", ""))])


def test_job_that_waits_is_not_started_by_another_slot_meanwhile(
    cards: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot that has looked at it would free, when it is done with that, the seat that the other was given."""
    held = [seats.take(cards.layout, "gpu", Seats(("0", "1")), 2, "other")]
    taken_by_others: list[object] = []
    free = Places.free

    def free_meanwhile(self: Places, id: str) -> bool:
        if held:
            taken = held.pop()
            assert taken is not None
            seats.give_back(cards.layout, [taken])
            slots = running.worker._slots
            slots.look_at_places()
            with slots._lock:
                taken_by_others.append(slots._take(format_time(clock.now())))
        return free(self, id)

    monkeypatch.setattr(Places, "free", free_meanwhile)
    cards.enqueue("true", id="gpu.1")
    with in_process(slots=1) as running:
        _all_done(cards, ["gpu.1"])
    assert taken_by_others == [None]


def test_job_that_needs_no_seat_passes_its_group(cards: Spool, in_process: StartWorker) -> None:
    """Although others of the group wait in front of it, whether it was there before or comes later."""
    go = cards.path.parent / "go"
    os.mkfifo(go)
    ids = [cards.enqueue(f"cat {go}", id="gpu.0", priority=1, seats={"gpu": 2}).id]
    ids += [cards.enqueue("true", id=f"gpu.{number}", priority=2).id for number in range(1, 9)]
    early = cards.enqueue("true", id="gpu.early", priority=3, seats={"gpu": 0})
    with in_process(slots=3):
        cards.wait(early.id, timeout=20)
        late = cards.enqueue("true", id="gpu.t.late", priority=3, seats={"gpu": 0})
        cards.wait(late.id, timeout=20)
        wait_for(lambda: len([*cards.list([State.PENDING])]) == 8, "the start of the one with both cards")
        go.write_text("")
        _all_done(cards, ids)


def test_slots_of_a_job_are_kept_for_it(spool: Spool, in_process: StartWorker) -> None:
    """One that asks for all of them starts when they are free, before those behind it, and runs alone."""
    go = spool.path.parent / "go"
    os.mkfifo(go)
    spool.enqueue(f"cat {go}", id="first", priority=1)
    spool.enqueue("test $(ls running | wc -l) = 1", id="wide", priority=2, slots=3, cwd=spool.path, max_retries=0)
    with in_process(slots=3) as running:
        wait_for(lambda: hasattr(running.worker, "_slots") and running.worker._slots.places.are_awaited, "its wait")
        ids = [spool.enqueue("true", priority=3).id for _ in range(5)]
        spool.enqueue("true", id="urgent", priority=0)
        _all_done(spool, ["urgent"])
        assert {job.id for job in spool.list([State.PENDING])} >= {"wide", *ids}
        go.write_text("")
        _all_done(spool, ["first", "wide", *ids])


def test_job_that_asks_for_more_than_there_is_is_passed_and_left(cards: Spool, in_process: StartWorker) -> None:
    """It reserves nothing, a worker that drains names it, and it starts once there are as many seats."""
    cards.enqueue("true", id="cards", priority=1, seats={"gpu": 3})
    cards.enqueue("true", id="nothing", priority=1, seats={"mem": 1})
    cards.enqueue("true", id="slots", priority=1, slots=9)
    cards.enqueue("true", id="gpu.1")
    with in_process(drain=True, slots=2) as running:
        wait_for(lambda: not running.thread.is_alive(), "the worker's end")
    assert [event["message"] for event in running.events() if event["event"] == "warning"] == [
        "1 job (nothing) left, as it asks for 1 seat of mem, which has none",
        "1 job (cards) left, as it asks for 3 seats of gpu, which has 2 of them",
        "1 job (slots) left, as it asks for 9 slots of its worker, and this one has 2",
    ]
    assert cards.get("gpu.1").state is State.DONE
    with in_process(slots=2):
        groups.write(cards.layout, "mem", "seats", "1")
        groups.write(cards.layout, "gpu", "seats", "3")
        _all_done(cards, ["cards", "nothing"])


def test_job_of_a_killed_worker_keeps_its_seats(cards: Spool) -> None:
    """Until its last process is gone, which the next worker hears of."""
    groups.write(cards.layout, "gpu", "seats", "1")
    go = cards.path.parent / "go"
    os.mkfifo(go)
    first = cards.enqueue(f"cat {go}", id="gpu.0", priority=1)
    with workers(cards.path, 1) as (one,):
        wait_for(
            lambda: cards.get(first.id).state is State.RUNNING and seats.find_held(cards.layout, "gpu"), "its start"
        )
        wait_for(lambda: "start" in (cards.path / "logs/gpu.0.log").read_text(), "its shell")
        one.kill()
    cards.enqueue("true", id="gpu.1")
    other = cards.enqueue("true", id="other")
    with workers(cards.path, 1, "--count", "3"):
        cards.wait(other.id, timeout=20)
        assert [holder.id for holder in seats.find_held(cards.layout, "gpu").values()] == ["gpu.0"]
        assert cards.get("gpu.1").state is State.PENDING
        go.write_text("")
        _all_done(cards, ["gpu.0", "gpu.1"])


def test_what_a_job_leaves_behind_has_no_seat(cards: Spool, in_process: StartWorker) -> None:
    """The next job has it, although the daemon still has the descriptor."""
    groups.write(cards.layout, "gpu", "seats", "1")
    stay = cards.path.parent / "stay"
    stay.touch()
    daemon = f"setsid sh -c 'while [ -e {stay} ]; do sleep 0.1; done' >/dev/null 2>&1 &"
    ids = [cards.enqueue(f"{daemon} true", id=f"gpu.{n}").id for n in range(2)]
    try:
        with in_process(slots=2):
            _all_done(cards, ids)
    finally:
        stay.unlink()


def test_worker_hears_of_a_seat_that_somebody_has_taken_by_hand(cards: Spool, in_process: StartWorker) -> None:
    """`flock groups/gpu/held/0+0 COMMAND` takes a card like a job."""
    held = Path(cards.layout.held("gpu"))
    held.mkdir()
    with subprocess.Popen(["flock", held / "0+0", "cat"], stdin=subprocess.PIPE) as by_hand:
        wait_for(lambda: seats.find_held(cards.layout, "gpu"), "the lock")
        pair = cards.enqueue("true", id="pair", seats={"gpu": 2})
        one = cards.enqueue("true", id="one", seats={"gpu": 0})
        with in_process(slots=2):
            cards.wait(one.id, timeout=20)
            assert cards.get(pair.id).state is State.PENDING
            by_hand.communicate(b"")
            _all_done(cards, [pair.id])


def test_line_reserves_for_those_in_front_alone() -> None:
    """A job that can never start reserves nothing, and the last of many that are kept aside is a barrier."""
    waits = Line()
    waits.put("b", Wait({"gpu": 2}))
    waits.put("a", Wait({"gpu": 9}, never="too many"))
    assert not waits.is_reserved("gpu", "b")
    assert waits.is_reserved("gpu", "c")
    assert not waits.is_reserved("mem", "c")
    assert waits.barrier is None
    waits.put("b", Wait({"gpu": 2}, 4, blocks=True))
    assert waits.barrier == "b"
    waits.drop("b")
    assert waits.barrier is None
    assert not waits.is_reserved("gpu", "c")
    for number in range(line.MOST):
        waits.put(f"c{number:04}", Wait({"gpu": 1}))
    assert waits.barrier == f"c{line.MOST - 1:04}"


def test_seats_are_had_by_one_job_each_while_workers_are_killed(cards: Spool, tmp_path: Path) -> None:
    """By the jobs' own ledger: what a dead worker leaves keeps its seats, and every job gets one in the end."""
    (tmp_path / "here").mkdir()
    use = f'cd {tmp_path}/here; set -C; for c in $(echo $CUDA_VISIBLE_DEVICES | tr , " "); do : >$c || exit 9; done;'
    use += ' sleep 0.03; for c in $(echo $CUDA_VISIBLE_DEVICES | tr , " "); do rm $c; done'
    ids = [
        cards.enqueue(use, id=f"gpu.{number}", seats={"gpu": 2} if number % 7 == 3 else None, retry_on=[1]).id
        for number in range(40)
    ]
    for _ in range(6):
        done = cards.counts().done
        with workers(cards.path, 2, "--count", "3") as running:
            wait_for(lambda: cards.counts().done >= min(40, done + 3), "some jobs")  # noqa: B023 - asked at once
            for worker in running:
                worker.kill()
    with workers(cards.path, 2, "--count", "3"):
        _all_done(cards, ids)
    assert seats.find_held(cards.layout, "gpu") == {}


def test_worker_has_seats_of_its_own(cards: Spool, cli: CommandLine) -> None:
    """Two workers of one host have other cards than the group says, and one in common, which goes to one job at a
    time."""
    groups.write(cards.layout, "gpu", "seats", "1")
    use = "echo $QUEUECTL_SEAT_GPU/$CUDA_VISIBLE_DEVICES; seat=ran-$QUEUECTL_SEAT_GPU;"
    use += " mkdir $seat && sleep 0.2 && rmdir $seat"
    ids = [cards.enqueue(use, id=f"gpu.{n}", max_retries=0, cwd=cards.path.parent).id for n in range(8)]
    pair = cards.enqueue("echo $QUEUECTL_SEAT_GPU", id="pair", seats={"gpu": 2}, priority=20)
    more = cards.enqueue("true", id="more", seats={"gpu": 3}, priority=0)
    both = [
        WorkerProcess(cards.path, "--count", "4", "--seats", f"gpu={names}").wait_ready() for names in ("4,5", "5,6")
    ]
    cards.wait(pair.id, timeout=60)
    assert cli.json("worker", "list")[0]["seats"].keys() == {"gpu"}
    assert "needs 3 seats of gpu, which has 2" in cli.ok("explain", more.id)
    for worker in both:
        worker.kill()
    assert {f"{cards.get(id).result}" for id in (*ids, pair.id)} == {"exit0"}
    assert {line for id in ids for line in _log(cards, id)} <= {"4/4", "5/5", "6/6"}
    assert _log(cards, pair.id)[0] in ("4,5", "5,6")


@pytest.mark.parametrize("text", ["gpu", "gpu=", "gpu=0", "gpu=x", "g u=0,1", "gpu=0,1 gpu=2,"])
def test_seats_of_a_worker_that_cannot_be_are_refused(text: str) -> None:
    """By an error that says what is wrong."""
    with pytest.raises(UsageError) as error:
        parse_own(text.rsplit(" ", 1) if text.count("=") > 1 else [text])
    assert "seats" in error.value.what or "group" in error.value.what


def test_seats_of_others_do_not_count_among_a_workers_own() -> None:
    """What another worker of the host holds is another thing, unless both have it."""
    (own,) = parse_own(["gpu=4,5"]).values()
    assert own.count_free({"6+0", "7+0"}) == 2
    assert own.count_free({"5+0", "7+0"}) == 1
