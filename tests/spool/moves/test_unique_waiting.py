"""Jobs with keys that wait for others: for the running one of their key, and for what their bodies name."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core import lifecycle
from queuectl.core.job import ExistingJob, Job
from queuectl.core.names import PendingName, RunningName
from queuectl.core.result import SUCCESS, Result, State
from queuectl.errors import AlreadyExistsError, NotFoundError, WrongStateError
from queuectl.spool.moves import adopt, claims, dependents, edit, entry, replace, unique
from queuectl.spool.system import clock, edges, keys
from queuectl.spool.upkeep.edges import Upkeep
from tests.spool.given import WORKER, die, parsed, run_at_once, run_to_death
from tests.spool.moves.test_unique import finish_all, leave_asking, start, submit
from tests.support import names

FAILED = Result.parse("exit1")


def settle(spool: Spool, running: RunningName, result: Result = SUCCESS) -> None:
    """End an attempt, and let those know that wait for it."""
    move = lifecycle.succeed(running, result, 1.0, clock.now())
    move = move if result == SUCCESS else move._replace(state=State.DEAD)
    assert claims.settle(spool.layout, running, move)
    dependents.inform(spool.layout, running.id, move)


def try_again(spool: Spool, running: RunningName) -> None:
    """Fail an attempt that is retried at once."""
    name = PendingName(running.priority, clock.now(), running.attempt, running.id)
    assert claims.settle(spool.layout, running, lifecycle.Move(State.PENDING, name))


def only(spool: Spool) -> Job:
    (name,) = names(spool.path / "pending")
    return spool.get(parsed(name).id)


def is_waiting(job: Job) -> bool:
    return isinstance(job.name, PendingName) and job.name.is_waiting


def beat(spool: Spool) -> None:
    finish_all(spool)
    Upkeep(spool.layout).run()


# --- replacing a job that runs


def test_replacement_waits_for_the_running_job(spool: Spool) -> None:
    """It has the key then, waits for the end of the other however that comes, and later ones replace its body."""
    running = start(spool, submit(spool, command="first"))
    second = submit(spool, command="second", if_exists="replace")
    assert not isinstance(second, ExistingJob)
    assert is_waiting(second)
    assert submit(spool).id == second.id
    with pytest.raises(AlreadyExistsError, match="pending"):
        submit(spool, if_exists="fail")
    third = submit(spool, command="third", if_exists="replace", max_retries=7)
    assert isinstance(third, ExistingJob)
    assert (third.id, third.is_replaced) == (second.id, True)
    assert is_waiting(only(spool))
    settle(spool, running, FAILED)
    assert not is_waiting(only(spool))
    assert only(spool).command == "third"
    assert names(spool.path / "after") == []
    settle(spool, start(spool, only(spool)))
    assert submit(spool).id not in (running.id, second.id)


def test_replacement_waits_while_the_running_job_is_retried(spool: Spool) -> None:
    """A retry of the one that has started comes first, and what waits is replaced, not what is retried."""
    first = submit(spool, command="first")
    running = start(spool, first)
    second = submit(spool, if_exists="replace")
    try_again(spool, running)
    assert submit(spool, command="later", if_exists="replace").id == second.id
    running = start(spool, spool.get(first.id))
    assert is_waiting(spool.get(second.id))
    settle(spool, running)
    assert start(spool, spool.get(second.id)).id == second.id


def test_debounce_starts_at_the_latest_time(spool: Spool) -> None:
    """The time of the last replacement is that of the job that waits, once the running one has ended."""
    running = start(spool, submit(spool))
    submit(spool, if_exists="replace")
    at = clock.now() + timedelta(hours=1)
    submit(spool, if_exists="replace", run_at=at.isoformat())
    settle(spool, running)
    assert abs((only(spool).run_at or at) - at) < timedelta(seconds=1)
    assert not is_waiting(only(spool))


def test_released_replacement_does_not_start_beside_the_running_job(spool: Spool) -> None:
    """Whoever releases it lets it go from other jobs, not from its key: it waits again."""
    first = submit(spool)
    running = start(spool, first)
    second = submit(spool, if_exists="replace")
    released = spool.release(second.id)
    assert isinstance(released.name, PendingName)
    assert claims.claim(spool.layout, released.name, WORKER, clock.now) is None
    finish_all(spool)
    assert is_waiting(spool.get(second.id))
    settle(spool, running)
    start(spool, spool.get(second.id))


def test_held_replacement_waits_again_once_released(spool: Spool) -> None:
    """One that is submitted held, or held later, stays held when the running job ends."""
    running = start(spool, submit(spool))
    (second,) = spool.enqueue_many([{"command": "true", "unique": "k", "if_exists": "replace"}], is_held=True)
    assert isinstance(second, Job)
    assert spool.get(second.id).is_held
    assert is_waiting(spool.release(second.id))
    spool.hold(second.id)
    settle(spool, running)
    beat(spool)
    assert spool.get(second.id).is_held
    assert not is_waiting(spool.release(second.id))


def test_cancelled_replacement_leaves_the_key_to_the_running_job(spool: Spool) -> None:
    """The next job is skipped for the one that runs, and the next replacement waits for it."""
    running = start(spool, submit(spool))
    second = submit(spool, if_exists="replace")
    spool.cancel(second.id)
    assert submit(spool).id == running.id
    third = submit(spool, if_exists="replace")
    assert third.id != second.id
    assert is_waiting(third)
    with pytest.raises(AlreadyExistsError):
        spool.retry(second.id)
    settle(spool, running)
    settle(spool, start(spool, spool.get(third.id)))
    spool.retry(second.id)
    beat(spool)
    assert not is_waiting(spool.get(second.id))


def test_dropped_replacement_waits(spool: Spool) -> None:
    """A dropped file that asks to replace a running job waits for the end of it."""
    running = start(spool, submit(spool))
    (spool.path / "pending/any.json").write_text('{"command": "dropped", "unique": "k", "if_exists": "replace"}')
    adopt.adopt(spool.layout, "any.json", clock.now(), swap=replace.swap)
    assert is_waiting(only(spool))
    settle(spool, running)
    assert not is_waiting(only(spool))


def test_replacement_that_waits_for_more(spool: Spool) -> None:
    """`after_end` is joined by the running job; one that needs others to end well or badly is refused."""
    other = spool.enqueue("true")
    running = start(spool, submit(spool))
    with pytest.raises(AlreadyExistsError, match="has after cannot wait"):
        submit(spool, if_exists="replace", after=[other.id])
    second = submit(spool, if_exists="replace", after_end=[other.id])
    with pytest.raises(AlreadyExistsError, match="has after_failed cannot wait"):
        submit(spool, if_exists="replace", after_failed=[other.id])
    settle(spool, running)
    assert is_waiting(spool.get(second.id))
    settle(spool, start(spool, spool.get(other.id)))
    assert not is_waiting(spool.get(second.id))
    assert names(spool.path / "after") == []
    assert names(spool.path / "logs") == sorted(f"{id}.log" for id in (other.id, running.id, second.id))


def _replace_once(path: str) -> str:
    return submit(Spool(path), command="new", if_exists="replace").id


def test_many_replacements_at_once_leave_one_that_waits(spool: Spool) -> None:
    """One runs, and of all that would replace it at once one waits."""
    running = start(spool, submit(spool))
    ids = run_at_once(8, _replace_once, str(spool.path))
    assert {*ids} == {only(spool).id}
    assert is_waiting(only(spool))
    assert names(spool.path / f"after/{running.id}") == [only(spool).id]


def _replace_and_die(path: str, step: str) -> None:
    spool = Spool(path)
    where, name = {"link": (keys, "link"), "body": (edit, "apply_change"), "move": (unique, "_move")}[step]
    setattr(where, name, die)
    submit(spool, if_exists="replace", id="second")


@pytest.mark.parametrize("step", ["link", "body", "move"])
@pytest.mark.parametrize("ends", ["before the beat", "later"])
def test_killed_replacement_is_finished(spool: Spool, step: str, ends: str) -> None:
    """What a killed submitter left waits for the running job, or starts if that has ended."""
    running = start(spool, submit(spool))
    run_to_death(_replace_and_die, str(spool.path), step)
    if ends == "before the beat":
        settle(spool, running)
    beat(spool)
    if ends == "later":
        assert is_waiting(spool.get("second"))
        settle(spool, running)
    beat(spool)
    assert not is_waiting(spool.get("second"))
    start(spool, spool.get("second"))
    assert names(spool.path / "after") == []


# --- keys of jobs that wait for others


def test_job_that_waits_has_its_key(spool: Spool) -> None:
    """It asks first, then waits; others of its key are left out, without edges, until it has ended."""
    other = spool.enqueue("true")
    first = submit(spool, after=[other.id])
    assert is_waiting(first)
    assert submit(spool, after=[other.id]).id == first.id
    assert submit(spool).id == first.id
    assert names(spool.path / f"after/{other.id}") == [first.id]
    settle(spool, start(spool, spool.get(other.id)))
    assert not is_waiting(spool.get(first.id))
    settle(spool, start(spool, spool.get(first.id)))
    assert not isinstance(submit(spool, after=[other.id]), ExistingJob)
    with pytest.raises(NotFoundError):
        submit(spool, after=["nothing"])


def test_job_that_waits_is_replaced_with_its_edges(spool: Spool) -> None:
    """Another list changes what the holder waits for; none lets it go, and one makes a job that was due wait."""
    one, two = spool.enqueue("true"), spool.enqueue("true")
    first = submit(spool, after=[one.id])
    submit(spool, command="new", after_end=[two.id], if_exists="replace")
    assert is_waiting(spool.get(first.id))
    assert names(spool.path / "after") == [two.id]
    submit(spool, command="newer", if_exists="replace")
    assert (spool.get(first.id).command, is_waiting(spool.get(first.id))) == ("newer", False)
    assert names(spool.path / "after") == []
    submit(spool, command="last", after=[one.id], if_exists="replace")
    assert (spool.get(first.id).command, is_waiting(spool.get(first.id))) == ("last", True)
    assert edges.is_open(spool.layout, one.id, first.id)


def test_replacement_with_another_list_that_is_killed(spool: Spool) -> None:
    """The holder asks for its key while its edges change: a beat lets it wait, and nothing is blocked."""
    one, two = spool.enqueue("true"), spool.enqueue("true")
    first = submit(spool, after=[one.id])
    run_to_death(_change_and_die, str(spool.path), two.id)
    assert isinstance(name := spool.get(first.id).name, PendingName)
    assert name.is_asking
    beat(spool)
    assert is_waiting(spool.get(first.id))
    settle(spool, start(spool, spool.get(one.id)))
    beat(spool)
    assert not is_waiting(spool.get(first.id))


def _change_and_die(path: str, dep: str) -> None:
    entry.again = die
    submit(Spool(path), after=[dep], if_exists="replace")


def test_job_left_asking_waits(spool: Spool) -> None:
    """The beat lets a job wait that a killed submitter left asking, its edges made; the routine leaves it alone."""
    other = spool.enqueue("true")
    (spool.path / f"after/{other.id}").mkdir(parents=True)
    (spool.path / f"after/{other.id}/left").touch()
    unique.prepare(spool.layout)
    path = leave_asking(spool, after=[other.id])
    Upkeep(spool.layout).run()
    assert path.exists()
    finish_all(spool)
    assert is_waiting(spool.get("left"))
    settle(spool, start(spool, spool.get(other.id)))
    assert not is_waiting(spool.get("left"))


def test_dependents_of_a_job_without_its_key_are_informed(spool: Spool) -> None:
    """What waits for a job that is left out, or skipped, for its key does not wait for ever."""
    submit(spool)
    jobs: list[dict[str, object]] = [
        {"command": "true", "id": "a", "unique": "k"},
        {"command": "true", "id": "b", "after": ["a"]},
    ]
    list(spool.enqueue_many(jobs))
    assert str(spool.get("b").result) == "skipped"
    leave_asking(spool)
    child = spool.enqueue("true", after=["left"])
    finish_all(spool)
    assert (spool.get(child.id).state, str(spool.get(child.id).result)) == (State.DONE, "skipped")


def test_skipped_job_is_brought_back_with_its_key_only(spool: Spool) -> None:
    """When its cause is retried it asks again, and stays skipped while another job has the key."""
    cause = spool.enqueue("false")
    first = submit(spool, after=[cause.id])
    settle(spool, start(spool, cause), FAILED)
    assert str(spool.get(first.id).result) == "skipped"
    second = submit(spool)
    with pytest.raises(AlreadyExistsError):
        spool.release(first.id)
    spool.retry(cause.id)
    assert str(spool.get(first.id).result) == "skipped"
    settle(spool, start(spool, second))
    beat(spool)
    beat(spool)
    assert is_waiting(spool.get(first.id))
    assert submit(spool).id == first.id


def test_retry_waits_again_with_its_key(spool: Spool) -> None:
    """A job that was cancelled while it waited waits again when it is retried, if its key is free."""
    other = spool.enqueue("true")
    first = submit(spool, after=[other.id])
    cancelled = spool.cancel(first.id)
    second = submit(spool)
    with pytest.raises((AlreadyExistsError, WrongStateError)):
        spool.retry(first.id)
    assert names(spool.path / "after") == []
    spool.cancel(second.id)
    assert cancelled.id == spool.retry(first.id).id
    assert is_waiting(spool.get(first.id))
    assert submit(spool).id == first.id


def test_dropped_file_waits_with_its_key(spool: Spool) -> None:
    """A dropped file with both asks, and then waits; one whose key is taken is skipped and leaves no edges."""
    other = spool.enqueue("true")
    for _ in range(2):
        drop = {"command": "true", "unique": "k", "after": [other.id]}
        (spool.path / "pending/any.json").write_text(json.dumps(drop))
        adopt.adopt(spool.layout, "any.json", clock.now(), swap=replace.swap)
    waiting, skipped = sorted(
        (job for job in spool.list() if job.id != other.id), key=lambda job: job.state is State.DONE
    )
    assert is_waiting(waiting)
    assert str(skipped.result) == "skipped"
    assert names(spool.path / f"after/{other.id}") == [waiting.id]
    assert Path(spool.layout.log(skipped.id)).exists()
