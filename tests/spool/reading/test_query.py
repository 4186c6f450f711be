"""Looking at a spool: counts, lists and single jobs, from names alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import pytest

from queuectl import AmbiguousIdError, NotFoundError, Spool
from queuectl.core.names import PendingName
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system import listing
from queuectl.spool.system.layout import STATES, Layout
from tests.cli.given import put_foreign
from tests.spool.given import NOW, pending_name, put, put_finished, running_name

FOREIGN = ["x.json", "zzz.json", "README", ".hidden.json", "0.json", "99999999T999999.999Z-010-1-exit0-1.000s-zzz.json"]


@pytest.fixture
def full(layout: Layout) -> Layout:
    """A job of every kind; NOW is the time."""
    put(layout, pending_name("ready"))
    put(layout, PendingName(1, NOW - timedelta(hours=1), 0, "urgent"))
    put(layout, PendingName(10, NOW + timedelta(minutes=5), 0, "scheduled"))
    put(layout, PendingName(10, NOW + timedelta(minutes=1), 2, "retrying"))
    put(layout, PendingName(10, NOW - timedelta(minutes=1), 2, "retry-due"))
    put(layout, running_name("first"), state=State.RUNNING)
    put_finished(layout, "worked", "exit0", State.DONE)
    put_finished(layout, "failed")
    return layout


def add_foreign(layout: Layout) -> None:
    for state in STATES:
        for name in FOREIGN:
            Path(layout.job(state, name)).write_text("{}")
        os.mkdir(layout.job(state, "directory"))
    Path(layout.job(State.PENDING, running_name("y"))).write_text("{}")
    Path(layout.job(State.DONE, pending_name("y"))).write_text("{}")
    Path(layout.job(State.RUNNING, pending_name("y"))).write_text("{}")


def test_find_files_finds_every_file_of_these_ids(full: Layout) -> None:
    """Each id with all the files that hold it, in whatever states; ids that are held by none are left out."""
    put(full, pending_name("worked"))
    add_foreign(full)
    found = query.find_files(full, {"first", "worked", "work", "zzz"})
    assert {id: [state for state, _ in files] for id, files in found.items()} == {
        "first": [State.RUNNING],
        "worked": [State.PENDING, State.DONE],
    }
    assert query.find_files(full, ()) == {}


def test_counts(full: Layout) -> None:
    """Pending jobs are ready, scheduled or retrying, by their time and attempts."""
    counts = query.count(full, NOW)
    assert (counts.ready, counts.scheduled, counts.retrying, counts.pending) == (3, 1, 1, 5)
    assert (counts.running, counts.done, counts.dead, counts.dropped) == (1, 1, 1, 0)
    assert counts.oldest_ready == NOW - timedelta(hours=1)
    assert counts.next_run_at == NOW + timedelta(minutes=1)


def test_counts_of_an_empty_spool(layout: Layout) -> None:
    """Nothing is counted, and there is no oldest and no next."""
    counts = query.count(layout, NOW)
    assert (counts.pending, counts.running, counts.oldest_ready, counts.next_run_at) == (0, 0, None, None)


def test_foreign_names_are_not_counted(full: Layout) -> None:
    """Files that are not ours are not jobs; in pending/ those that may become jobs are counted as dropped."""
    before = query.count(full, NOW)
    add_foreign(full)
    after = query.count(full, NOW)
    assert (after.ready, after.scheduled, after.retrying) == (before.ready, before.scheduled, before.retrying)
    assert (after.running, after.done, after.dead) == (before.running, before.done, before.dead)
    assert after.dropped == len([name for name in FOREIGN if name.endswith(".json") and name[0] != "."]) + 1


def test_foreign_names_are_not_jobs(full: Layout) -> None:
    """No listing and no id leads to a file that is not ours."""
    add_foreign(full)
    listed = {state: list(query.sorted_names(full, state, None)) for state in STATES}
    assert {state: len(found) for state, found in listed.items()} == {
        State.PENDING: 5, State.RUNNING: 1, State.DONE: 1, State.DEAD: 1,
    }  # fmt: skip
    for id in ("x", "y", "zzz", "directory"):
        assert query.locate(full, id) is None
        with pytest.raises(NotFoundError):
            query.resolve(full, id)
    assert query.load(full, State.DONE, "zzz.json") is None


@pytest.mark.parametrize("state", [State.PENDING, State.DONE])
@pytest.mark.parametrize("number", [3, 100])
def test_limit_counts_jobs(spool: Spool, state: State, number: int) -> None:
    """However many foreign files lie about, a limited list is full as long as there are jobs."""
    layout = spool.layout
    for index in range(number):
        if state is State.PENDING:
            put(layout, pending_name(f"j{index}"), state=state)
        else:
            put_finished(layout, f"j{index}", "exit0", state)
    add_foreign(layout)
    assert len(list(spool.list((state,), limit=2))) == 2


def test_lists_are_in_the_order_people_want(spool: Spool) -> None:
    """Waiting and running jobs come as `ls` shows them, finished ones newest first; states in the order asked."""
    layout = spool.layout
    for priority, minutes, id in ((10, 2, "c"), (10, 1, "b"), (1, 5, "a"), (999, 0, "d")):
        put(layout, PendingName(priority, NOW + timedelta(minutes=minutes), 0, id))
    for second, id in ((1, "old"), (3, "new"), (2, "middle")):
        put(layout, f"20261124T03430{second}.000Z-010-1-exit0-1.500s-{id}.json", state=State.DONE)
    assert [job.id for job in spool.list((State.DONE, State.PENDING))] == ["new", "middle", "old", "a", "b", "c", "d"]
    assert [job.id for job in spool.list((State.PENDING,), limit=2)] == ["a", "b"]
    assert [job.id for job in spool.list((State.DONE,), limit=1)] == ["new"]
    assert [job.id for job in spool.list((State.DONE, State.PENDING), limit=4)] == ["new", "middle", "old", "a"]
    assert list(spool.list(limit=0)) == []


def test_limit_of_many_names_takes_the_first(spool: Spool) -> None:
    """A short list of a long directory holds the same jobs as the head of the whole list."""
    for index in range(90):
        put(spool.layout, PendingName(index * 7 % 90, NOW, 0, f"j{index}"))
    everything = [job.id for job in spool.list((State.PENDING,))]
    assert [job.id for job in spool.list((State.PENDING,), limit=3)] == everything[:3]


def test_front_is_the_first_of_the_due_jobs(full: Layout) -> None:
    """Not one that comes later, nor the job that asks, nor a name that only looks like ours."""
    put(full, PendingName(0, NOW + timedelta(hours=1), 0, "later"))
    put(full, "000-20260230T000000.000Z-0-never.json")
    urgent, ready = PendingName(1, NOW - timedelta(hours=1), 0, "urgent"), pending_name("ready")
    assert query.front(full, NOW, excluding=ready) == urgent
    assert query.front(full, NOW, excluding=urgent) == min(
        (ready, PendingName(10, NOW - timedelta(minutes=1), 2, "retry-due")), key=str
    )
    assert query.front(full, NOW - timedelta(hours=2), excluding=ready) is None


def test_long_directory_is_counted_whole(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """In however many pieces its names come."""
    monkeypatch.setattr(listing, "_PIECE", 1 << 12)
    for number in range(300):
        put(layout, PendingName(10, NOW + timedelta(minutes=number - 100), number % 2, f"j{number}"))
        Path(layout.job(State.PENDING, f"dropped{number}.json")).write_text("{}")
    counts = query.count(layout, NOW)
    assert (counts.ready, counts.scheduled, counts.retrying, counts.dropped) == (101, 99, 100, 300)
    assert (counts.oldest_ready, counts.next_run_at) == (NOW - timedelta(minutes=100), NOW + timedelta(minutes=1))
    assert query.locate(layout, "j222") == (
        State.PENDING,
        str(PendingName(10, NOW + timedelta(minutes=122), 0, "j222")),
    )
    assert query.locate(layout, "j2220") is None


def test_match_looks_at_id_and_command(spool: Spool) -> None:
    """A text is looked for in ids and commands, also in those given as words, and the limit counts matches."""
    spool.enqueue("make report", id="a")
    spool.enqueue(["cp", "report one", "two"], id="b")
    spool.enqueue("true", id="report-3")
    spool.enqueue("true", id="other")
    assert {job.id for job in spool.list(match="report")} == {"a", "b", "report-3"}
    assert {job.id for job in spool.list(match="report one")} == {"b"}
    assert len(list(spool.list(match="report", limit=2))) == 2
    assert {job.id for job in spool.list(where=lambda name: name.id == "other")} == {"other"}


@pytest.mark.parametrize("id", ["ready", "retry-due", "first", "worked", "failed"])
def test_locate_finds_exactly_this_id(full: Layout, id: str) -> None:
    """A job is found in any state; a part of its id is not enough, and an excluded file is not found."""
    found = query.locate(full, id)
    assert found is not None
    assert found[1].endswith(f"-{id}.json")
    assert query.locate(full, id[:-1]) is None
    assert query.locate(full, id, excluding=full.job(*found)) is None


def test_id_that_ends_like_another(layout: Layout) -> None:
    """`b` is not found in a job whose id is `a-b`."""
    put(layout, pending_name("a-b"))
    assert query.locate(layout, "b") is None
    with pytest.raises(NotFoundError):
        query.resolve(layout, "b")


def test_resolve_takes_a_unique_prefix(full: Layout) -> None:
    """The start of an id is enough while only one job's id starts so; a whole id always is."""
    assert query.resolve(full, "sch")[1].endswith("-scheduled.json")
    with pytest.raises(AmbiguousIdError, match="3 jobs"):
        query.resolve(full, "re")
    put(full, pending_name("retry"))
    assert query.resolve(full, "retry")[1].endswith("-retry.json")


@pytest.mark.parametrize("text", ["nothing", "", "../x", "*", "a" * 101, "rea dy", "ready\n"])
def test_resolve_finds_nothing(full: Layout, text: str) -> None:
    """What is not an id, or no job's, is NotFoundError."""
    with pytest.raises(NotFoundError):
        query.resolve(full, text)


def test_resolve_in_some_states(full: Layout) -> None:
    """A job in another state does not count, and does not make a prefix ambiguous."""
    with pytest.raises(NotFoundError, match="in dead"):
        query.resolve(full, "ready", (State.DEAD,))
    assert query.resolve(full, "f", (State.DEAD,))[1].endswith("-failed.json")


def test_ambiguous_id_names_a_few(layout: Layout) -> None:
    """Of many jobs that a prefix fits, four are named."""
    for index in range(6):
        put(layout, pending_name(f"j{index}"))
    with pytest.raises(AmbiguousIdError, match="j0, j1, j2, j3, …"):
        query.resolve(layout, "j")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.write_bytes(b'{"command": "a'), "not valid JSON"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"\xff"), "UTF-8"),
        (lambda path: path.write_bytes(b"[]"), "object"),
        (lambda path: path.write_bytes(b'{"command": 5}'), "command"),
        (Path.mkdir, "regular file"),
        (os.mkfifo, "regular file"),
        (lambda path: path.symlink_to("nothing"), "regular file"),
    ],
)
def test_body_that_is_not_a_job_shows_its_problem(layout: Layout, make: Callable[[Path], object], problem: str) -> None:
    """A job can be shown whatever its file holds: the name gives its state, and `problem` what is wrong."""
    path = Path(layout.job(State.DEAD, "20261124T034300.000Z-010-0-invalid-0.000s-x.json"))
    make(path)
    job = query.load(layout, State.DEAD, path.name)
    assert job is not None
    assert job.problem is not None
    assert problem in job.problem
    assert (job.id, job.body, job.command) == ("x", None, None)


def test_job_with_its_body(full: Layout) -> None:
    """A loaded job has its fields as given, and its path; one that is gone is None."""
    path = put(full, pending_name("x"), ["echo", "hi"], mine=1)
    job = query.load(full, State.PENDING, path.name)
    assert job is not None
    assert (job.command, job.fields, job.problem) == (("echo", "hi"), {"command": ["echo", "hi"], "mine": 1}, None)
    assert (job.path, job.run_at) == (str(path), datetime(2026, 11, 24, 3, 43, tzinfo=UTC))
    path.unlink()
    assert query.load(full, State.PENDING, path.name) is None


def alike(ids: list[str]) -> int:
    """How many characters they have in common."""
    return sum(1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*ids, strict=False)))


@pytest.mark.parametrize("states", [STATES, (State.PENDING,), (State.DEAD, State.RUNNING)])
@pytest.mark.parametrize("prefix", ["", "a", "a-", "a.b", "x", "nothing", "[", "é", "a" * 300])
def test_some_ids_are_those_that_match(spool: Spool, prefix: str, states: tuple[State, ...]) -> None:
    """They are ids with that prefix, whatever they hold, and no name of anything else is among them.

    If there are more, a shell that completes what they have in common completes no more than all have.
    """
    layout = spool.layout
    for id in ("a", "a-b", "a-1-2-x", "a.b", "a.b-c.json", "x", "b"):
        put(layout, pending_name(id), "true")
        put(layout, running_name(f"{id}.r"), "true", State.RUNNING)
        put_finished(layout, f"{id}.d", "exit0", State.DONE)
        put_finished(layout, f"{id}.f", "exit1")
    put_foreign(layout)
    for name in ("a.json", "1-2-3-a.json", f"{'010-' * 20}a.json", "a-b-c-d-e-f.json", "0100-x-0-a.json"):
        (Path(layout.pending) / name).write_text("{}")
    expected = sorted(query.match_ids(layout, prefix, states))
    assert query.some_ids(layout, prefix, states, 100) == expected
    for most in (1, 2, 3):
        few = query.some_ids(layout, prefix, states, most)
        assert (few, len(few)) == (sorted({*few} & {*expected}), min(most, len(expected)))
        assert most == 1 or alike(few) == alike(expected)
