"""Jobs with keys: one of a key waits or runs, however they are submitted, retried, dropped, moved or killed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.core import body, lifecycle
from queuectl.core.job import ExistingJob, Job
from queuectl.core.names import RunningName
from queuectl.core.result import SUCCESS, Result, State
from queuectl.errors import AlreadyExistsError, QueuectlError, UsageError
from queuectl.spool.moves import adopt, claims, dropbox, holders, replace, take, unique
from queuectl.spool.reading import query
from queuectl.spool.system import clock, files, keys, lease, listing, logs
from tests.spool.given import WORKER, die, parsed, run_at_once, run_to_death
from tests.support import names


def submit(spool: Spool, key: str = "k", command: str = "true", **fields: Any) -> Job:
    (outcome,) = spool.enqueue_many([{"command": command, "unique": key, **fields}])
    if isinstance(outcome, QueuectlError):
        raise outcome
    return outcome


def start(spool: Spool, job: Job) -> RunningName:
    claim = claims.claim(spool.layout, parsed(str(job.name)), WORKER, clock.now)
    assert claim is not None
    os.close(claim.log)
    return claim.name


def end(spool: Spool, name: RunningName, result: Result = SUCCESS) -> None:
    move = lifecycle.succeed(name, result, 1.0, clock.now())
    assert claims.settle(spool.layout, name, move if result == SUCCESS else move._replace(state=State.DEAD))


def pending(spool: Spool) -> list[str]:
    return names(spool.path / "pending")


def leave_asking(spool: Spool, id: str = "left", **fields: Any) -> Path:
    """What a submitter that was killed leaves: a job that asks for its key, and its empty log."""
    Path(spool.layout.log(id)).touch()
    path = spool.path / f"pending/010-99990102T000000.000Z-0-{id}.json"
    path.write_text(json.dumps({"command": "true", "unique": "k", "id": id, **fields}))
    return path


def finish_all(spool: Spool) -> None:
    for name in unique.find_asking(spool.layout):
        unique.finish(spool.layout, name, replace.swap)


# --- submitting


def test_key_is_taken_until_the_job_has_ended(spool: Spool) -> None:
    """While it waits, runs and waits for a retry, its id is returned, and nothing of the new one is left."""
    first = submit(spool)
    again = submit(spool)
    assert isinstance(again, ExistingJob)
    assert (again.id, again.is_replaced) == (first.id, False)
    running = start(spool, first)
    assert submit(spool).id == first.id
    claims.release(spool.layout, running)
    assert submit(spool).id == first.id
    assert names(spool.path / "logs") == [f"{first.id}.log"]
    end(spool, start(spool, spool.get(first.id)))
    other = submit(spool)
    assert other.id != first.id
    assert not isinstance(other, ExistingJob)


def test_key_of_another_is_free(spool: Spool) -> None:
    """Keys are compared as they are."""
    assert len({submit(spool, key).id for key in ("a", "A", "a ", "ä", "../a", "x" * 1000)}) == 6


def test_fail_refuses_and_names_the_holder(spool: Spool) -> None:
    """The error has the exit code 4, and nothing of the new job is left."""
    first = submit(spool)
    with pytest.raises(AlreadyExistsError, match=first.id) as caught:
        submit(spool, if_exists="fail")
    assert caught.value.exit_code == 4
    assert names(spool.path / "logs") == [f"{first.id}.log"]
    assert len(pending(spool)) == 1


def test_replace_keeps_id_and_place(spool: Spool) -> None:
    """The waiting job gets the new body, and keeps its id, its log, its name in the line and its own priority."""
    first = submit(spool, command="one", priority=3)
    again = submit(spool, command="two", if_exists="replace", timeout=5)
    assert isinstance(again, ExistingJob)
    assert again.is_replaced
    assert (again.id, again.name, again.command) == (first.id, first.name, "two")
    assert again.body is not None
    assert again.body.timeout == 5
    assert body.decode(Path(again.path).read_bytes())["id"] == first.id
    end(spool, start(spool, again))
    assert spool.get(first.id).command == "two"


def test_replace_gives_its_time(spool: Spool) -> None:
    """A new time or priority is the job's from then on; without one a job for later is due; a held one stays held."""
    first = submit(spool, run_at="2030-01-01T00:00:00Z")
    assert submit(spool, if_exists="replace", run_at="2031-01-01T00:00:00Z", priority=1).run_at != first.run_at
    assert pending(spool)[0].startswith("001-20310101T000000")
    submit(spool, if_exists="replace")
    assert not pending(spool)[0].startswith("001-2031")
    spool.hold(first.id)
    assert submit(spool, if_exists="replace", run_at="2032-01-01T00:00:00Z").is_held


def test_replace_of_a_job_with_another_id(spool: Spool) -> None:
    """A waiting job keeps its id, so a replacement that has one is refused; its own id is accepted."""
    submit(spool, id="a")
    with pytest.raises(UsageError, match="keeps its id"):
        submit(spool, id="b", if_exists="replace")
    assert submit(spool, id="a", if_exists="replace", command="new").command == "new"
    assert len(pending(spool)) == 1


def test_batch_is_one_moment(spool: Spool) -> None:
    """Of the jobs of one key in one batch the first is queued, and the others get its id."""
    jobs = [{"command": "true", "unique": key} for key in "aabab"]
    ids = [outcome.id for outcome in spool.enqueue_many(jobs) if isinstance(outcome, Job)]
    assert Counter(ids) == {ids[0]: 3, ids[2]: 2}
    assert len(pending(spool)) == 2


def _submit_once(path: str, how: str) -> tuple[str, bool]:
    try:
        job = submit(Spool(path), if_exists=how)
    except AlreadyExistsError:
        return "", False
    return job.id, not isinstance(job, ExistingJob)


@pytest.mark.parametrize(("how", "number"), [("skip", 50), ("replace", 16), ("fail", 16)])
def test_many_at_once_leave_one_job(spool: Spool, how: str, number: int) -> None:
    """Of processes that submit one key at once one queues a job, and the others get its id or are refused."""
    outcomes = run_at_once(number, _submit_once, str(spool.path), how)
    (name,) = pending(spool)
    assert sum(is_new for _, is_new in outcomes) == 1
    assert {id for id, _ in outcomes} - {""} == {parsed(name).id}
    assert names(spool.path / "logs") == [f"{parsed(name).id}.log"]


# --- an id and no key


def test_id_that_is_taken(spool: Spool) -> None:
    """`skip` returns its job, also when that has ended; `replace` swaps one that waits and is refused for others."""
    first = spool.enqueue("one", id="a")
    assert isinstance(spool.enqueue("two", id="a", if_exists="skip"), ExistingJob)
    assert spool.enqueue("three", id="a", if_exists="replace").command == "three"
    with pytest.raises(AlreadyExistsError):
        spool.enqueue("four", id="a", if_exists="fail")
    end(spool, start(spool, spool.get(first.id)))
    assert spool.enqueue("two", id="a", if_exists="skip").state is State.DONE
    with pytest.raises(AlreadyExistsError):
        spool.enqueue("two", id="a", if_exists="replace")


def test_id_twice_in_a_batch(spool: Spool) -> None:
    """The second of them is skipped, as in two submits."""
    jobs = [{"command": "true", "id": "a", "if_exists": "skip"}] * 2
    assert [outcome.id for outcome in spool.enqueue_many(jobs) if isinstance(outcome, Job)] == ["a", "a"]


# --- what a dead submitter leaves


def _submit_and_die(path: str, step: str, how: str) -> None:
    place = keys if step == "link" else files
    setattr(place, step, die)
    submit(Spool(path), if_exists=how)
    os._exit(0)


@pytest.mark.parametrize("step", ["link", "move"])
def test_killed_submit_is_finished(spool: Spool, step: str) -> None:
    """The job that a killed submitter left asking gets its key, and does not block others until then."""
    run_to_death(_submit_and_die, str(spool.path), step, "skip")
    assert "99990102T" in pending(spool)[0]
    job = submit(spool, command="later")
    finish_all(spool)
    (name,) = pending(spool)
    assert parsed(name).id == job.id
    assert not parsed(name).is_held


def test_asking_job_without_its_key_is_skipped(spool: Spool) -> None:
    """It goes to done/, the holder in its log; with `fail` to the dead letters."""
    first = submit(spool)
    leave_asking(spool)
    leave_asking(spool, "refused", if_exists="fail")
    finish_all(spool)
    skipped = spool.get("left")
    assert (skipped.state, str(skipped.result)) == (State.DONE, "skipped")
    assert first.id in Path(spool.layout.log("left")).read_text()
    assert str(spool.get("refused").result) == "invalid"
    assert len(pending(spool)) == 1


def test_left_replacement_is_applied_once(spool: Spool) -> None:
    """A replacement that a killed submitter left replaces an older body, and never one that was written later."""
    left = leave_asking(spool, if_exists="replace", command="left")
    first = submit(spool, "other")
    os.utime(first.path, (1, 1))
    assert submit(spool, "other", "newer", if_exists="replace").command == "newer"
    os.utime(left, (2, 2))
    left.write_text(left.read_text().replace('"k"', '"other"'))
    os.utime(left, (2, 2))
    finish_all(spool)
    assert spool.get(first.id).command == "newer"
    os.utime(spool.get(first.id).path, (1, 1))
    leave_asking(spool, "second", if_exists="replace", command="second", unique="other")
    finish_all(spool)
    assert spool.get(first.id).command == "second"


def test_job_of_a_living_submitter_is_left_alone(spool: Spool) -> None:
    """Only who holds the lock of a job's log asks for it."""
    leave_asking(spool)
    log = logs.open_log(spool.layout.log("left"))
    assert lease.lock_id(log)
    finish_all(spool)
    assert "99990102T" in pending(spool)[0]
    os.close(log)
    finish_all(spool)
    assert "99990102T" not in pending(spool)[0]


def test_held_by_that_time_without_a_key_stays_held(spool: Spool) -> None:
    """People hold jobs by any time in the year 9999."""
    job = spool.enqueue("true", id="a")
    held = spool.path / "pending/010-99990102T000000.000Z-0-a.json"
    Path(job.path).rename(held)
    finish_all(spool)
    assert held.exists()


# --- by hand


def test_removed_job_frees_its_key(spool: Spool) -> None:
    """`rm`, a cancel, or the end by another's hand: the next submit has the key."""
    first = submit(spool)
    Path(first.path).unlink()
    second = submit(spool)
    assert second.id != first.id
    spool.cancel(second)
    third = submit(spool)
    assert third.id != second.id
    running = start(spool, third)
    Path(spool.layout.job(State.RUNNING, running)).rename(spool.path / f"dead/{third.finished_at or 'x'}")
    assert submit(spool).id != third.id


def test_retry_asks_again(spool: Spool) -> None:
    """A job whose key another one has stays where it was; once that has ended, it waits again and has the key."""
    first = submit(spool)
    end(spool, start(spool, first))
    second = submit(spool)
    with pytest.raises(AlreadyExistsError, match=second.id):
        spool.retry(first.id)
    assert spool.get(first.id).state is State.DONE
    spool.cancel(second)
    assert spool.retry(first.id).state is State.PENDING
    assert submit(spool).id == first.id
    start(spool, spool.get(first.id))


def test_undo_of_a_cancel_asks_again(spool: Spool) -> None:
    """A cancelled job whose key another one has by now stays cancelled."""
    first = submit(spool)
    cancelled = spool.cancel(first)
    assert spool.undo(first, cancelled).name == first.name
    cancelled = spool.cancel(first.id)
    submit(spool)
    with pytest.raises(AlreadyExistsError):
        spool.undo(first, cancelled)
    assert spool.get(first.id).state is State.DEAD


def test_file_moved_back_asks_again(spool: Spool) -> None:
    """`mv done/X pending/` of a job whose key another one has puts it back where it was."""
    first = submit(spool)
    end(spool, start(spool, first))
    submit(spool)
    done = Path(spool.get(first.id).path)
    done.rename(spool.path / "pending" / done.name)
    assert adopt.adopt(spool.layout, done.name, clock.now(), swap=replace.swap) is None
    assert done.exists()


def test_file_moved_under_a_due_name_is_not_started(spool: Spool) -> None:
    """Whatever name it got by hand, a job without its key is not claimed."""
    first = submit(spool)
    end(spool, start(spool, first))
    second = submit(spool)
    by_hand = parsed(f"010-20261124T034300.000Z-0-{first.id}.json")
    Path(spool.get(first.id).path).rename(spool.path / f"pending/{by_hand}")
    assert claims.claim(spool.layout, by_hand, WORKER, clock.now) is None
    finish_all(spool)
    assert str(spool.get(first.id).result) == "skipped"
    start(spool, spool.get(second.id))


@pytest.mark.parametrize(("how", "result"), [("skip", "skipped"), ("replace", "skipped"), ("fail", "invalid")])
def test_dropped_file(spool: Spool, how: str, result: str) -> None:
    """A dropped file that finds its key taken is skipped, replaces the waiting job's body, or is refused."""
    first = submit(spool, command="first")
    drop = spool.path / "pending/any.json"
    drop.write_text(json.dumps({"command": "dropped", "unique": "k", "if_exists": how}))
    assert adopt.adopt(spool.layout, "any.json", clock.now(), swap=replace.swap) is None
    (left,) = [job for job in spool.list() if job.id != first.id]
    assert str(left.result) == result
    assert spool.get(first.id).command == ("dropped" if how == "replace" else "first")


def test_dropped_file_has_a_free_key(spool: Spool) -> None:
    """It is adopted as any other, and others of its key are skipped from then on."""
    (spool.path / "pending/any.json").write_text('{"command": "dropped", "unique": "k"}')
    name = adopt.adopt(spool.layout, "any.json", clock.now(), swap=replace.swap)
    assert name is not None
    assert submit(spool).id == name.id


def test_keys_of_the_drop_box_are_the_users_own(spool: Spool) -> None:
    """A key of what was handed in is another one than the owner's of the same text; of one user it is one."""
    layout = spool.layout
    dropbox.make(layout, os.getegid())
    submit(spool)
    for _ in range(2):
        path = Path(layout.inbox, "any.json")
        path.write_text('{"command": "true", "unique": "k"}')
        path.chmod(0o644)
        id = take.take(layout, "any.json", lambda _: True)
        assert id is not None
        take.finish(layout, [id], clock.now(), replace.swap)
    assert len(pending(spool)) == 2
    assert [str(job.result) for job in spool.list(State.DONE)] == ["skipped"]
    assert names(Path(layout.taken)) == []


def test_key_of_a_waiting_job_does_not_change(spool: Spool) -> None:
    """Neither an edit nor `set` can take a key."""
    job = submit(spool)
    draft = spool.edit(job)
    with pytest.raises(UsageError, match="keeps its key"):
        spool.apply(draft, draft.text.replace('"k"', '"other"'))
    with pytest.raises(UsageError, match="keeps its key"):
        spool.set_fields(job, extra={"unique": "other"})


# --- where it is written


def test_hint_saves_the_listing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A submit lists neither pending/ nor done/ to find the holder, wherever that is."""
    first = submit(spool)
    monkeypatch.setattr(query, "locate", die)
    monkeypatch.setattr(query, "iterate_pending", die)
    assert holders.find_holder(spool.layout, body.validate({"command": "x", "unique": "k"})) == first.id
    assert holders.find_holder(spool.layout, body.validate({"command": "x", "unique": "other"})) is None


def test_submit_with_a_key_that_is_taken_lists_no_deep_directory(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is left out, or replaces the body of what waits."""
    listed: list[str] = []
    reals: dict[str, Callable[[str], Any]] = {
        "listdir": os.listdir,
        "scandir": os.scandir,
        "_records": listing._records,
    }

    def noting(name: str) -> Callable[[str], Any]:
        def note(path: str) -> Any:
            listed.append(os.path.basename(path))
            return reals[name](path)

        return note

    first = submit(spool)
    for name in reals:
        monkeypatch.setattr(listing if name == "_records" else os, name, noting(name))
    assert spool.enqueue("echo other", unique="k").id == first.id
    assert spool.enqueue("echo new", unique="k", if_exists="replace").command == "echo new"
    assert not {*listed} & {"pending", "done", "dead"}


def test_lower_numbers_are_removed(spool: Spool) -> None:
    """One small file is left of a key, however many jobs have had it."""
    for _ in range(3):
        end(spool, start(spool, submit(spool)))
    (folder,) = (spool.path / "unique").iterdir()
    assert names(folder) == ["3", "at"]


def test_keys_that_nobody_has_are_cleared(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the last job of a key was pruned, and a day is over, nothing is left of it."""
    job = submit(spool)
    end(spool, start(spool, job))
    monkeypatch.setattr(unique, "_CLEARED_AFTER", -1.0)
    assert unique.clear(spool.layout, clock.now()) == 0
    spool.drop(job.id)
    assert unique.clear(spool.layout, clock.now()) == 1
    assert list((spool.path / "unique").iterdir()) == []
    submit(spool)
