"""Accepting jobs: what is written, whose an id is, and what a failure leaves."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from queuectl import AlreadyExistsError, DurabilityError, InvalidJobError, Job, Spool, SpoolError, State
from queuectl.core.names import PendingName
from queuectl.spool.moves import submit
from queuectl.spool.moves.reserved import IdInFlightError
from queuectl.spool.system import files, lease, logs
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, die, locked_log, put_finished, run_at_once, run_to_death
from tests.support import names


def one(layout: Layout, **fields: Any) -> Job:
    (outcome,) = submit.submit(layout, [{"command": "true", **fields}], NOW)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def test_file_of_a_job(layout: Layout) -> None:
    """A job is one line of JSON with its id, in a private file whose name holds priority and time."""
    job = one(layout, id="report", priority=7, command="echo ä")
    path = Path(layout.pending, "007-20261124T034300.000Z-0-report.json")
    assert path.read_text(encoding="utf-8") == '{"command": "echo ä", "id": "report", "priority": 7}\n'
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (job.path, job.name, job.command) == (str(path), PendingName(7, NOW, 0, "report"), "echo ä")
    assert names(Path(layout.tmp)) == []
    assert (os.path.getsize(layout.log("report")), lease.is_in_use(layout.log("report"))) == (0, False)


@pytest.mark.parametrize("value", ["text", 1.5, None, [1, {"a": []}], {"b": True}, "half \ud800 of one", "\x00"])
def test_unknown_fields_are_kept(layout: Layout, value: object) -> None:
    """Fields of the user's own stand in the file as they were given."""
    job = one(layout, mine=value)
    assert json.loads(Path(job.path).read_bytes())["mine"] == value


def test_generated_ids(layout: Layout) -> None:
    """Without an id a job gets 12 random base32 characters."""
    ids = {one(layout).id for _ in range(20)}
    assert len(ids) == 20
    assert all(len(id) == 12 and set(id) <= set("abcdefghijklmnopqrstuvwxyz234567") for id in ids)


IDS = ["z", "a", "job-2", "job-10", "job", "job-1", "b.c", "b", "b-c", "Z"]


@pytest.mark.parametrize("is_together", [True, False])
def test_order_of_jobs_with_their_own_ids(spool: Spool, is_together: bool) -> None:
    """Jobs start in the order in which they were submitted, in one call or in several, and none waits for its time."""
    many = [f"{900 - number:04d}" for number in range(450)]
    ids = [*IDS, *many] if is_together else IDS
    if is_together:
        assert [job.id for job in spool.enqueue_many({"command": "true", "id": id} for id in ids)
                if isinstance(job, Job)] == ids  # fmt: skip
        assert spool.counts().ready == len(ids)
    for id in () if is_together else ids:
        spool.enqueue("true", id=id)
        assert spool.counts().scheduled == 0
    spool.enqueue("true", id="0")
    assert [job.id for job in spool.list((State.PENDING,))] == [*ids, "0"]


@pytest.mark.parametrize("group", [None, "g"])
def test_jobs_of_one_millisecond_need_not_wait_for_the_next(layout: Layout, group: str | None) -> None:
    """Their ids come one behind the other, as long as most of each can be random."""
    ids = []
    for _ in range(60):
        (job,) = submit.submit(layout, [{"command": "true", "group": group}], NOW)
        assert isinstance(job, Job)
        ids.append(job.id)
    found = names(Path(layout.pending))
    assert [name.split("-", 3)[3].removesuffix(".json") for name in found] == ids
    assert len({name.split("-")[1] for name in found}) < 20


def test_order_of_priorities_and_times(layout: Layout) -> None:
    """A job of another priority, or with a time of its own, gets exactly its time."""
    requests = [{"command": "true", "id": id, **fields} for id, fields in (
        ("d", {}), ("c", {}), ("b", {"priority": 5}), ("a", {"run_at": "2999-01-01T00:00:00Z"}), ("e", {}),
    )]  # fmt: skip
    submit.submit(layout, requests, NOW)
    assert names(Path(layout.pending)) == [
        "005-20261124T034300.000Z-0-b.json", "010-20261124T034300.000Z-0-d.json", "010-20261124T034300.001Z-0-c.json",
        "010-20261124T034300.001Z-0-e.json", "010-29990101T000000.000Z-0-a.json",
    ]  # fmt: skip


def test_order_after_a_jump_of_the_clock(layout: Layout) -> None:
    """If the clock is set back, jobs get the new time at once."""
    submit.submit(layout, [{"command": "true", "id": "b"}], NOW + timedelta(hours=1))
    submit.submit(layout, [{"command": "true", "id": "a"}], NOW)
    assert names(Path(layout.pending))[0] == "010-20261124T034300.000Z-0-a.json"


@pytest.mark.parametrize(
    ("given", "recorded"), [(None, "."), ("sub", "sub"), ("a/../b", "b"), ("/srv/app", "/srv/app")]
)
def test_current_directory_is_recorded(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, recorded: str
) -> None:
    """A job runs in the directory it was submitted from, or in its `cwd` as seen from there."""
    monkeypatch.chdir(tmp_path)
    fields = json.loads(Path(spool.enqueue("true", cwd=given).path).read_bytes())
    assert fields["cwd"] == str((tmp_path / recorded).resolve())


def test_run_at_is_never_early(layout: Layout) -> None:
    """A time finer than the name can hold is rounded up; a time in the past is kept."""
    name = one(layout, run_at="2026-11-25T10:00:00.0001+01:00").name
    assert isinstance(name, PendingName)
    assert name.run_at == datetime(2026, 11, 25, 9, 0, 0, 1000, tzinfo=UTC)
    past = one(layout, run_at="2020-01-01T00:00:00Z").run_at
    assert past == datetime(2020, 1, 1, tzinfo=UTC)


def test_items_of_a_group_have_their_own_outcomes(layout: Layout) -> None:
    """In a group, jobs that cannot be taken are reported one by one and keep nobody else out."""
    put_finished(layout, "held")
    Path(layout.log("held")).touch()
    outcomes = submit.submit(
        layout,
        [{"command": "a", "id": "new"}, {"command": ""}, {"command": "c", "id": "held"},
         {"command": "d", "id": "new"}, {"command": "e"}],
        NOW,
    )  # fmt: skip
    assert [type(outcome) for outcome in outcomes] == [
        Job, InvalidJobError, AlreadyExistsError, IdInFlightError, Job,
    ]  # fmt: skip
    assert len(names(Path(layout.pending))) == 2
    assert names(Path(layout.tmp)) == []


def test_job_that_is_too_large_is_refused(layout: Layout) -> None:
    """A body over the limit is the job's fault and leaves no reservation."""
    with pytest.raises(InvalidJobError, match="larger"):
        one(layout, id="big", mine="x" * (1 << 20))
    assert names(Path(layout.logs)) == []


@pytest.mark.parametrize("number", [3, 60])
def test_equals_start_in_the_order_given(layout: Layout, number: int) -> None:
    """Jobs of one group with the same priority and time lie in pending/ in the order of the request."""
    outcomes = submit.submit(layout, [{"command": f"echo {index}"} for index in range(number)], NOW)
    given = [os.path.basename(outcome.path) for outcome in outcomes if isinstance(outcome, Job)]
    assert names(Path(layout.pending)) == given
    assert len(given) == number


def test_stream_longer_than_a_group_is_queued_whole(spool: Spool) -> None:
    """A stream longer than a group is queued whole, one outcome for each."""
    number = submit.GROUP + 5
    outcomes = list(spool.enqueue_many({"command": "true", "id": f"j{index}"} for index in range(number)))
    assert [outcome.id for outcome in outcomes if isinstance(outcome, Job)] == [f"j{index}" for index in range(number)]
    assert spool.counts().ready == number


def _enqueue_all(root: str, number: int) -> list[str]:
    won = []
    for index in range(number):
        try:
            won.append(Spool(root).enqueue("true", id=f"id{index}").id)
        except AlreadyExistsError:
            continue
    return won


def test_id_goes_to_one_of_eight_processes(spool: Spool) -> None:
    """When 8 processes submit the same ids at once, each id is taken exactly once."""
    won = run_at_once(8, _enqueue_all, str(spool.path), 25)
    assert sorted(id for some in won for id in some) == sorted(f"id{index}" for index in range(25))
    assert len(names(spool.path / "pending")) == 25


def test_stale_reservation_is_taken_over(layout: Layout) -> None:
    """An unlocked log of no job was left by a crash and holds no id."""
    Path(layout.log("x")).touch()
    assert one(layout, id="x").id == "x"


def test_id_goes_to_one_of_two_that_meet_between_creation_and_lock(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anyone who created a log, but locked it only after another had queued a job under it, does not get the id."""
    real = lease.lock_id
    turns: list[Callable[[], object]] = [lambda: one(layout, id="x")]

    def be_late(fd: int) -> bool:
        if turns:
            turns.pop()()
        return real(fd)

    monkeypatch.setattr(lease, "lock_id", be_late)
    with pytest.raises(AlreadyExistsError):
        submit.reserve(layout, "x")
    assert len(names(Path(layout.pending))) == 1


def test_reservation_under_way_holds_the_id(layout: Layout) -> None:
    """While its owner lives, a reserved id is taken, and free again once it is given up."""
    reservation = submit.reserve(layout, "x")
    with pytest.raises(IdInFlightError):
        submit.reserve(layout, "x")
    reservation.give_up()
    assert names(Path(layout.logs)) == []
    submit.reserve(layout, "x").give_up()


def test_giving_up_does_not_let_two_hold_an_id(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone who opened the log of a reservation that is given up that instant does not hold a log that is gone."""
    first = submit.reserve(layout, "x")
    real = lease.lock_id
    turns: list[Callable[[], None]] = [first.give_up]

    def give_up_before(fd: int) -> bool:
        if turns:
            turns.pop()()
        return real(fd)

    monkeypatch.setattr(lease, "lock_id", give_up_before)
    try:
        second = submit.reserve(layout, "x")
    except IdInFlightError:
        return
    assert os.path.samestat(os.fstat(second.fd), os.stat(layout.log("x")))
    second.keep()


@pytest.mark.parametrize("step", ["write_new", "publish"])
def test_killed_submit_does_not_block_its_id(spool: Spool, step: str) -> None:
    """kill -9 between the reservation and the publishing leaves an id that the next submit can have."""
    run_to_death(_enqueue_and_die, str(spool.path), step)
    assert os.path.exists(spool.layout.log("x"))
    assert names(spool.path / "pending") == []
    assert spool.enqueue("true", id="x").id == "x"


def _enqueue_and_die(root: str, step: str) -> None:
    setattr(files, step, die)
    Spool(root).enqueue("true", id="x")


def fail_at(monkeypatch: pytest.MonkeyPatch, owner: object, function: str, turn: int) -> None:
    """Let a function raise ENOSPC from its `turn`-th call on."""
    real = getattr(owner, function)
    calls = [0]

    def limited(*arguments: Any, **keywords: Any) -> Any:
        calls[0] += 1
        if calls[0] >= turn:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **keywords)

    monkeypatch.setattr(owner, function, limited)


@pytest.mark.parametrize("number", [4, 12])
@pytest.mark.parametrize(
    ("owner", "function", "turn"),
    [(logs, "open_log", 3), (files, "write_new", 1), (files, "write_new", 3), (os, "fsync", 1),
     (files, "sync_files", 1), (files, "publish", 1)],
)  # fmt: skip
def test_group_that_fails_leaves_nothing(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, owner: object, function: str, turn: int, number: int
) -> None:
    """On a full disk the whole group is refused, nothing of it lies anywhere, and its ids are free again."""
    if function == "sync_files" and number == 4:
        monkeypatch.setattr(submit, "_FSYNC_EACH", 0)
    if function == "fsync" and number == 12:
        monkeypatch.setattr(files, "_syncfs", lambda directory: False)
    requests: list[Mapping[str, Any]] = [{"command": "true", "id": f"j{index}"} for index in range(number)]
    with monkeypatch.context() as patch:
        fail_at(patch, owner, function, turn)
        with pytest.raises(SpoolError, match="cannot use the spool") as caught:
            submit.submit(layout, requests, NOW)
    assert "No space" in str(caught.value)
    left = {directory: names(Path(layout.root, directory)) for directory in ("pending", "tmp", "logs")}
    assert left == {"pending": [], "tmp": [], "logs": []}
    outcomes = submit.submit(layout, requests, NOW + timedelta(seconds=1))
    assert [type(outcome) for outcome in outcomes] == [Job] * number


def test_group_that_is_published_in_part_says_so(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fills up between two files, each job is queued or refused, and the refused can be queued later."""
    requests: list[Mapping[str, Any]] = [{"command": "true", "id": f"j{index}"} for index in range(5)]
    with monkeypatch.context() as patch:
        fail_at(patch, files, "publish", 3)
        outcomes = submit.submit(layout, requests, NOW)
    assert [type(outcome) for outcome in outcomes] == [Job] * 2 + [SpoolError] * 3
    assert len(names(Path(layout.pending))) == 2
    assert names(Path(layout.tmp)) == []
    outcomes = submit.submit(layout, requests, NOW + timedelta(seconds=1))
    assert [type(outcome) for outcome in outcomes] == [AlreadyExistsError] * 2 + [Job] * 3


def test_failed_fsync_of_the_directory_is_unknown(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the directory cannot be synced the submit says `unknown`, and the job may well be there."""
    real = os.fsync

    def fail_for_directories(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fail_for_directories)
    with pytest.raises(DurabilityError, match="unknown"):
        one(layout, id="x")
    assert len(names(Path(layout.pending))) == 1
    assert not lease.is_in_use(layout.log("x"))


def test_id_is_taken_while_its_job_runs(layout: Layout) -> None:
    """The lock that a running job holds keeps its id, no matter who has moved its file away."""
    with locked_log(layout, "x"), pytest.raises(AlreadyExistsError, match="taken"):
        one(layout, id="x")


@pytest.mark.parametrize("call", ["fstat", "fcntl"])
def test_reservation_that_fails_is_not_held(layout: Layout, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """When the system refuses a look at the log, the id does not stay reserved by this process."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr({"fstat": os, "fcntl": fcntl}[call], call, refuse)
        with pytest.raises(OSError, match="Input/output error"):
            submit.reserve(layout, "x")
    assert not lease.is_in_use(layout.log("x"))
    submit.reserve(layout, "x").keep()
