"""Jobs that wait for others: when they start, when they are skipped, and what each command makes of them."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.core import lifecycle
from queuectl.core.job import Job
from queuectl.core.names import HELD_AT, PendingName, RunningName
from queuectl.core.result import SUCCESS, Result, State
from queuectl.errors import (
    AlreadyExistsError,
    InvalidJobError,
    NotFoundError,
    QueuectlError,
    UsageError,
    WrongStateError,
)
from queuectl.spool.moves import claims, dependents
from queuectl.spool.moves.entry import CircleError
from queuectl.spool.reading import query
from queuectl.spool.system import clock, edges, files
from queuectl.spool.upkeep.edges import Upkeep

WORKER = "web1.4242.k7f3"


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    dependents._memories.clear()
    return Spool(tmp_path / "spool", create=True)


def finish(spool: Spool, id: str, result: Result = SUCCESS) -> None:
    """Run a job that is due, as a worker does, but for its command."""
    end(spool, take(spool, id).name, result)


def take(spool: Spool, id: str) -> claims.Claim:
    """Claim a job that is due, as a worker does."""
    job = spool.get(id)
    assert isinstance(job.name, PendingName)
    claim = claims.claim(spool.layout, job.name, WORKER, clock.now)
    assert claim is not None
    os.close(claim.log)
    return claim


def end(spool: Spool, name: RunningName, result: Result) -> None:
    act = lifecycle.succeed if result == SUCCESS else lifecycle.give_up
    assert claims.settle(spool.layout, name, act(name, result, 0.1, clock.now()))


def where(spool: Spool, id: str) -> str:
    """A job's place in a word: waiting, held, due, or its directory and result."""
    job = spool.get(id)
    if job.state is State.PENDING:
        return "waiting" if job.is_waiting else "held" if job.is_held else "due"
    return f"{job.state} {job.result}"


def all_edges(spool: Spool) -> list[str]:
    after = Path(spool.layout.after)
    return sorted(str(path.relative_to(after)) for path in after.rglob("*") if path.is_file())


FAIL = Result.exit(1)

RULES = [
    ("after", SUCCESS, SUCCESS, "due"),
    ("after", SUCCESS, FAIL, "dead skipped"),
    ("after_end", SUCCESS, FAIL, "due"),
    ("after_end", FAIL, FAIL, "due"),
    ("after_failed", SUCCESS, SUCCESS, "done skipped"),
    ("after_failed", SUCCESS, FAIL, "due"),
    ("after_failed", FAIL, SUCCESS, "due"),
]


@pytest.mark.parametrize(("rule", "first", "second", "place"), RULES)
def test_rule_says_when_a_job_starts(spool: Spool, rule: str, first: Result, second: Result, place: str) -> None:
    """A job waits until all that it names have ended, then starts or is skipped as its rule says."""
    for id in ("a", "b"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="c", **{rule: ["a", "b"]})  # type: ignore[arg-type]
    assert where(spool, "c") == "waiting"
    finish(spool, "a", first)
    if (rule, first) != ("after", FAIL):
        assert where(spool, "c") == "waiting"
    finish(spool, "b", second)
    assert where(spool, "c") == place
    if place == "due":
        assert all_edges(spool) == []


@pytest.mark.parametrize(("rule", "first", "second", "place"), RULES)
def test_job_submitted_after_the_end_is_decided_at_once(
    spool: Spool, rule: str, first: Result, second: Result, place: str
) -> None:
    """What has ended before the submit counts as what ends after it; `enqueue` says where the job went."""
    for id, result in (("a", first), ("b", second)):
        spool.enqueue("true", id=id)
        finish(spool, id, result)
    job = spool.enqueue("true", id="c", **{rule: ["a", "b"]})  # type: ignore[arg-type]
    assert where(spool, "c") == place
    assert job.state == spool.get("c").state


def test_skip_goes_down_the_chain_and_comes_back(spool: Spool) -> None:
    """All behind a failure are skipped, each into the directory of its cause; a retry of the cause brings them back."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="b", after=["a"])
    spool.enqueue("true", id="c", after="b")
    spool.enqueue("true", id="d", after_end=["c"])
    finish(spool, "a", FAIL)
    assert [where(spool, id) for id in "bcd"] == ["dead skipped", "dead skipped", "due"]
    assert "because=a" in spool.log_path("b").read_text()
    spool.retry("a")
    assert [where(spool, id) for id in "bc"] == ["waiting", "waiting"]
    for id in "abc":
        finish(spool, id)
    assert where(spool, "c") == "done exit0"
    assert all_edges(spool) == []


def test_skip_without_a_failure_leaves_no_dead_letter(spool: Spool) -> None:
    """An alarm that is not needed, and what is behind it, is skipped into done/, until something else of it is dead."""
    for id in ("a", "x"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="alarm", after_failed=["a"])
    spool.enqueue("true", id="report", after=["alarm"])
    spool.enqueue("true", id="both", after=["alarm", "x"])
    finish(spool, "a")
    assert [where(spool, id) for id in ("alarm", "report", "both")] == ["done skipped"] * 3
    finish(spool, "x", FAIL)
    assert where(spool, "both") == "dead skipped"
    spool.retry("x")
    assert where(spool, "both") == "done skipped"


def test_cancelled_and_skipped_jobs_have_not_failed(spool: Spool) -> None:
    """For `after_failed` a cancelled job has ended without failing; its retry brings the skipped one back."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="alarm", after_failed=["a"])
    spool.cancel("a")
    assert where(spool, "alarm") == "done skipped"
    spool.retry("a")
    assert where(spool, "alarm") == "waiting"
    finish(spool, "a", FAIL)
    assert where(spool, "alarm") == "due"


def test_fulfilled_edge_stays_fulfilled(spool: Spool) -> None:
    """To retry what has ended well neither stops who waited for it nor makes it wait again."""
    for id in ("a", "b"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="c", after=["a", "b"])
    finish(spool, "a")
    spool.retry("a")
    finish(spool, "b")
    assert where(spool, "c") == "due"


def test_group_is_everything_in_it_at_that_moment(spool: Spool) -> None:
    """`GROUP.` stands for its jobs at the submit, ended ones too, but neither for the child nor for later ones."""
    for id in ("lr.1", "lr.2"):
        spool.enqueue("true", id=id)
    finish(spool, "lr.1")
    spool.enqueue("true", id="lr.sum", after=["lr."])
    spool.enqueue("true", id="lr.3")
    assert all_edges(spool) == ["lr.1/lr.sum+", "lr.2/lr.sum"]
    finish(spool, "lr.2")
    assert where(spool, "lr.sum") == "due"


@pytest.mark.parametrize("named", ["nobody", "nothing."])
def test_unknown_job_or_group_is_refused(spool: Spool, named: str) -> None:
    """What the spool does not hold cannot be waited for, and nothing is left of the attempt."""
    with pytest.raises(NotFoundError):
        spool.enqueue("true", id="c", after=[named])
    assert all_edges(spool) == []
    spool.enqueue("true", id="c")


def test_two_lists_are_refused(spool: Spool) -> None:
    """A job waits in one way."""
    spool.enqueue("true", id="a")
    with pytest.raises(InvalidJobError, match="not a runnable job"):
        spool.enqueue("true", after=["a"], after_end=["a"])


def test_jobs_submitted_together_may_name_each_other(spool: Spool) -> None:
    """In any order; a circle is refused, and so is what names a job that was refused."""
    bodies: list[dict[str, object]] = [
        {"id": "c", "command": "true", "after": ["b"]},
        {"id": "b", "command": "true", "after": ["a"]},
        {"id": "a", "command": "true"},
        {"id": "x", "command": "true", "after": ["y"]},
        {"id": "y", "command": "true", "after": ["x"]},
        {"id": "z", "command": "true", "after": ["y"]},
    ]
    outcomes = [*spool.enqueue_many(bodies)]
    assert [isinstance(outcome, Job) for outcome in outcomes] == [True, True, True, False, False, False]
    assert isinstance(outcomes[3], CircleError)
    assert all_edges(spool) == ["a/b", "b/c"]
    for id in "abc":
        finish(spool, id)


def test_job_may_be_given_in_the_place_of_its_id(spool: Spool) -> None:
    """Python programs name jobs, ids and groups."""
    first = spool.enqueue("true", group="lr")
    job = spool.enqueue("true", after=[first, "lr."])
    assert job.body is not None
    assert job.body.references == (first.id, "lr.")


@pytest.mark.parametrize("number", [2, 20])
def test_edges_are_durable_before_the_child_is_there(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Their directories, after/ and the spool are synced, one by one or all at once, before it is published."""
    ids = [spool.enqueue("true", id=f"a{n}").id for n in range(number)]
    synced: dict[str, bool] = {}  # and whether the child was there

    def sync(path: str) -> bool:
        synced.setdefault(path, bool(query.list_names(spool.layout, State.PENDING)[number:]))
        return True

    monkeypatch.setattr(files, "sync_directory", sync)
    monkeypatch.setattr(files, "sync_all", sync)
    spool.enqueue("true", id="c", after=ids)
    layout = spool.layout
    expected = [layout.after] if number > 8 else [*(layout.edges(id) for id in ids), layout.after, layout.root]
    assert dict.fromkeys(expected, False).items() <= synced.items()
    assert synced[layout.pending]


# --- by hand


def test_hold_wins_and_release_makes_it_wait_again(spool: Spool) -> None:
    """A held job that waits is held; released, it waits for what has not ended yet."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    spool.hold("c")
    assert where(spool, "c") == "held"
    assert where(spool, spool.release("c").id) == "waiting"
    spool.hold("c")
    finish(spool, "a")
    assert where(spool, "c") == "held"
    spool.release("c")
    assert where(spool, "c") == "due"


@pytest.mark.parametrize("is_skipped", [False, True])
def test_release_overrides_what_it_waits_for(spool: Spool, is_skipped: bool) -> None:
    """Released, a job that waits or was skipped starts, whatever becomes of the others; those behind it come back."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    spool.enqueue("true", id="d", after=["c"])
    if is_skipped:
        finish(spool, "a", FAIL)
    spool.release("c")
    assert (where(spool, "c"), where(spool, "d")) == ("due", "waiting")
    finish(spool, "c")
    assert where(spool, "d") == "due"


def test_retry_of_a_skipped_job_names_the_ways_out(spool: Spool) -> None:
    """While its cause is dead it stays skipped; retried with it, the last one first, all wait again."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    finish(spool, "a", FAIL)
    with pytest.raises(WrongStateError, match="c waits for a") as caught:
        spool.retry("c")
    assert "queuectl retry a c" in caught.value.hint
    spool.retry("a")
    assert where(spool, "c") == "waiting"


def test_cancelled_job_waits_again_when_it_is_retried(spool: Spool) -> None:
    """It was never started; what the spool no longer holds counts as fulfilled."""
    for id in ("a", "b"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="c", after=["a", "b"])
    spool.cancel("c")
    assert all_edges(spool) == []
    finish(spool, "b")
    spool.drop("b")
    spool.retry("c")
    assert where(spool, "c") == "waiting"
    assert all_edges(spool) == ["a/c", "b/c+"]
    finish(spool, "a")
    assert where(spool, "c") == "due"


def test_circle_that_a_retry_would_close_is_refused(spool: Spool) -> None:
    """A cancelled job that is waited for by what it waits for stays cancelled."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    spool.cancel("c")
    spool.set_fields("a", after_end=["c"])
    spool.hold("a")
    spool.set_fields("a", after=["c"])
    with pytest.raises(CircleError, match="would wait for itself"):
        spool.retry("c")
    assert where(spool, "c") == "dead cancelled"


def test_set_after_changes_what_a_job_waits_for(spool: Spool) -> None:
    """New edges first, then the body; without any it is due, and a circle changes nothing."""
    for id in ("a", "b"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="c", after=["a"])
    spool.set_fields("c", after=["b"])
    assert (where(spool, "c"), all_edges(spool)) == ("waiting", ["b/c"])
    with pytest.raises(CircleError):
        spool.set_fields("b", after=["c"])
    assert (where(spool, "b"), all_edges(spool)) == ("due", ["b/c"])
    with pytest.raises(NotFoundError):
        spool.set_fields("c", after=["nobody"])
    assert (where(spool, "c"), all_edges(spool)) == ("waiting", ["b/c"])
    spool.set_fields("c", after=None)
    assert (where(spool, "c"), all_edges(spool)) == ("due", [])


def _close_a_circle(spool: Spool) -> list[QueuectlError]:
    together = threading.Barrier(2)
    refused: list[QueuectlError] = []

    def change(id: str, other: str) -> None:
        together.wait()
        try:
            Spool(spool.path).set_fields(id, after=[other])
        except QueuectlError as error:
            refused.append(error)

    threads = [threading.Thread(target=change, args=pair) for pair in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused


def test_two_that_close_a_circle_at_once_do_not_both_succeed(spool: Spool) -> None:
    """Of two `set after=` that would make a circle together, at least one is refused, and nothing of it is left."""
    for _ in range(30):
        for id in ("a", "b"):
            spool.enqueue("true", id=id)
        refused = _close_a_circle(spool)
        assert refused
        assert {where(spool, "a"), where(spool, "b")} <= {"due", "waiting"}
        assert where(spool, "a") == "due" or where(spool, "b") == "due"
        for id in ("a", "b"):
            if spool.get(id).state is State.PENDING:
                spool.cancel(id)
            spool.drop(id)


def test_priority_and_time_of_a_waiting_job(spool: Spool) -> None:
    """A new priority goes into its name, a new time into its body, to be its own later; put first, it still waits."""
    spool.enqueue("true", id="a", priority=5)
    spool.enqueue("true", id="c", after=["a"])
    spool.set_fields("c", run_at="2090-01-01T00:00:00Z")
    assert (where(spool, "c"), spool.get("c").fields["run_at"]) == ("waiting", "2090-01-01T00:00:00Z")  # type: ignore[index]
    spool.set_fields("c", priority=7)
    assert (where(spool, "c"), spool.get("c").priority) == ("waiting", 7)
    spool.first("c")
    assert (where(spool, "c"), spool.get("c").priority) == ("waiting", 5)
    finish(spool, "a")
    assert f"{spool.get('c').run_at}".startswith("2090")


def test_undo_of_a_cancel_makes_it_wait_again(spool: Spool) -> None:
    """With its edges, and what has happened in the meantime."""
    spool.enqueue("true", id="a")
    before = spool.enqueue("true", id="c", after=["a"])
    after = spool.cancel("c")
    finish(spool, "a")
    spool.undo(before, after)
    assert where(spool, "c") == "due"


@pytest.mark.parametrize("way", ["drop", "rm"])
def test_deleted_job_is_gone_for_those_that_wait(spool: Spool, way: str) -> None:
    """`drop` moves what waits at once, `rm` by hand with the next beat; its id is not free while it is waited for."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    spool.enqueue("true", id="d", after_end=["a"])
    if way == "drop":
        spool.cancel("a")
        assert where(spool, "c") == "dead skipped"
        spool.drop("a")
    else:
        os.unlink(spool.get("a").path)
        Upkeep(spool.layout).run()
    assert (where(spool, "c"), where(spool, "d")) == ("dead skipped", "due")
    with pytest.raises(AlreadyExistsError, match="taken"):
        spool.enqueue("true", id="a")
    spool.drop("c")
    spool.enqueue("true", id="a")


def test_time_of_a_waiting_job_means_held_without_a_condition(spool: Spool) -> None:
    """Somebody who holds a job by any time in 9999 finds it held."""
    job = spool.enqueue("true", id="a")
    os.rename(job.path, spool.layout.job(State.PENDING, "010-99990101T000000.000Z-0-a.json"))
    Upkeep(spool.layout).run()
    assert where(spool, "a") == "held"
    assert isinstance(spool.get("a").name, PendingName)
    assert spool.get("a").name.run_at == HELD_AT  # type: ignore[union-attr]


@pytest.mark.parametrize("after", [["g."], ["a", "g."]])
def test_cancelled_job_starts_again_when_its_group_is_gone(spool: Spool, after: list[str]) -> None:
    """What the spool no longer holds counts as fulfilled, a group of which nothing is left too."""
    for id in ("a", "g.1", "g.2"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="c", after=after)
    spool.cancel("c")
    for id in ("a", "g.1", "g.2"):
        spool.cancel(id)
        spool.drop(id)
    spool.retry("c")
    assert where(spool, "c") == "due"
    Upkeep(spool.layout).run()
    assert all_edges(spool) == []


def test_lost_edge_to_a_job_that_is_gone_is_not_waited_for(spool: Spool) -> None:
    """A backup may lack one of a group, and the edge to it: what waits for the group waits for the others."""
    for id in ("g.1", "g.2", "g.3"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="c", after=["g."])
    os.unlink(f"{spool.layout.after}/g.3/c")
    os.unlink(spool.get("g.3").path)
    os.unlink(spool.log_path("g.3"))
    dependents._memories.clear()
    for id in ("g.1", "g.2"):
        finish(spool, id)
    Upkeep(spool.layout).run()
    assert where(spool, "c") == "due"


@pytest.mark.parametrize("is_released", [False, True])
def test_job_that_starts_without_a_log_gets_one(spool: Spool, is_released: bool) -> None:
    """A backup may lack it, and a job that is due and has none passes for a dropped one, which would wait again."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    spool.log_path("c").unlink()
    if is_released:
        spool.release("c")
    else:
        finish(spool, "a")
    assert spool.log_path("c").exists()
    finish(spool, "c")
    assert where(spool, "c") == "done exit0"


@pytest.mark.parametrize("rule", ["after", "after_failed"])
def test_edges_to_what_is_gone_count_when_lost_ones_are_replaced(spool: Spool, rule: str) -> None:
    """A copy lacks one job of a group and its edge, and holds a fulfilled edge to another that is gone (pruned): the
    number of edges that are left is what each of them says then, and the job starts."""
    for n in range(1, 5):
        spool.enqueue("true", id=f"g.{n}")
    spool.enqueue("true", id="c", **{rule: ["g."]})  # type: ignore[arg-type]
    finish(spool, "g.1")
    for id in ("g.1", "g.2"):
        os.unlink(spool.get(id).path)
        os.unlink(spool.log_path(id))
    os.unlink(f"{spool.layout.after}/g.2/c")
    dependents._memories.clear()
    Upkeep(spool.layout).run()
    assert all_edges(spool) == ["g.1/c+", "g.3/c", "g.4/c"]
    assert {
        edges.hint(spool.layout, dep, name).number for dep, name in (("g.1", "c+"), ("g.3", "c"), ("g.4", "c"))
    } == {3}
    finish(spool, "g.3", FAIL if rule == "after_failed" else SUCCESS)
    finish(spool, "g.4")
    assert where(spool, "c") == "due"


def test_settle_without_dependents_costs_one_failed_lookup(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else is asked of after/, whether other jobs wait or not."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="b")
    spool.enqueue("true", id="c", after=["b"])
    claim = take(spool, "a")
    asked: list[str] = []

    def asking(real: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: object, *rest: Any, **more: Any) -> Any:
            asked.append(str(path))
            return real(path, *rest, **more)

        return ask

    for name in ("listdir", "scandir", "stat", "lstat", "open", "access", "rename", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, asking(getattr(os, name)))
    end(spool, claim.name, SUCCESS)
    assert [path for path in asked if "/after" in path] == [spool.layout.edges("a")]


# --- the beat, and races


def test_beat_writes_lost_edges_again(spool: Spool) -> None:
    """A backup may hold a child without its edges, or with some of those of a group: it waits for all again."""
    for id in ("lr.1", "lr.2", "x"):
        spool.enqueue("true", id=id)
    spool.enqueue("true", id="c", after=["x", "lr."])
    os.unlink(f"{spool.layout.after}/lr.1/c")
    dependents._memories.clear()
    Upkeep(spool.layout).run()
    assert all_edges(spool) == ["lr.1/c", "lr.2/c", "x/c"]
    for id in ("lr.2", "x"):
        finish(spool, id)
    assert where(spool, "c") == "waiting"


def test_beat_sees_that_edges_were_lost_since(spool: Spool) -> None:
    """Of a job that it has seen whole, and that has the same name again."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    beat = Upkeep(spool.layout)
    beat.run()
    os.unlink(f"{spool.layout.after}/a/c")
    spool.enqueue("true", id="b", after=["a"])
    beat.run()
    assert all_edges(spool) == ["a/b", "a/c"]


def test_beat_removes_edges_that_crashes_have_left(spool: Spool) -> None:
    """Of a job that is nowhere, once its log is free, and of one that has its own time."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="due")
    edges.write(spool.layout, "nowhere", ["a"], edges.Hint())
    edges.write(spool.layout, "due", ["a"], edges.Hint())
    Upkeep(spool.layout).run()
    assert all_edges(spool) == []


def test_beat_finishes_what_a_crash_has_interrupted(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dying between the settle and the look at what waits leaves a job that the next beat moves."""
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    monkeypatch.setattr(dependents, "inform", lambda *_: [])
    finish(spool, "a")
    assert where(spool, "c") == "waiting"
    Upkeep(spool.layout).run()
    assert where(spool, "c") == "due"


def test_submit_and_end_at_the_same_moment_leave_nobody_stuck(spool: Spool) -> None:
    """However the end of a job and the submit of one that waits for it fall together, that one starts or is skipped."""
    for number, result in zip(range(60), itertools.cycle((SUCCESS, FAIL)), strict=False):
        a, c = f"a{number}", f"c{number}"
        spool.enqueue("true", id=a)
        claim = take(spool, a)
        together = threading.Barrier(2)
        submitter = threading.Thread(target=_submit, args=(spool, together, c, a))
        submitter.start()
        together.wait()
        end(spool, claim.name, result)
        submitter.join()
        assert where(spool, c) == ("due" if result == SUCCESS else "dead skipped")


def _submit(spool: Spool, together: threading.Barrier, id: str, dep: str) -> None:
    together.wait()
    spool.enqueue("true", id=id, after=[dep])


ACTS: dict[str, Callable[[Spool], object]] = {
    "hold": lambda spool: spool.hold("c"),
    "release": lambda spool: spool.release("c"),
    "cancel": lambda spool: spool.cancel("c"),
    "set": lambda spool: spool.set_fields("c", priority=3),
    "set after": lambda spool: spool.set_fields("c", after=["b"]),
    "first": lambda spool: spool.first("c"),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("moves", ["done", "dead", "retry", "cancel", "drop"])
def test_move_of_a_dependency_races_every_move_of_its_dependent(spool: Spool, act: str, moves: str) -> None:
    """Whatever falls together, the child ends in the place that its edges say, and no edge is left without it."""
    spool.enqueue("true", id="b")
    for number in range(4):
        move = _prepare(spool, moves)
        together = threading.Barrier(2)
        mover = threading.Thread(target=lambda: (together.wait(), move()))  # noqa: B023 - joined in this round
        mover.start()
        together.wait()
        with suppress(WrongStateError, UsageError, NotFoundError):
            ACTS[act](spool)
        mover.join()
        place = where(spool, "c")
        Upkeep(spool.layout).run()
        assert where(spool, "c") == place, f"round {number}: the beat had something left to do"
        if place in ("due", "dead cancelled"):
            assert not any(edge.endswith(("/c", "/c+")) for edge in all_edges(spool))
        for id, step in itertools.product(("c", "a"), (spool.cancel, spool.drop)):
            with suppress(QueuectlError):
                step(id)


def _prepare(spool: Spool, moves: str) -> Callable[[], object]:
    """A job `c` that waits for `a`, and what is about to happen to `a`."""
    spool.enqueue("true", id="a")
    if moves == "retry":
        finish(spool, "a", FAIL)
    elif moves == "drop":
        spool.cancel("a")
    spool.enqueue("true", id="c", after=["a"])
    if moves in ("done", "dead"):
        claim = take(spool, "a")
        return lambda: end(spool, claim.name, SUCCESS if moves == "done" else FAIL)
    return {"retry": lambda: spool.retry("a"), "cancel": lambda: spool.cancel("a"), "drop": lambda: spool.drop("a")}[
        moves
    ]
