"""Deleting finished jobs: they and their logs, nothing else."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import integers, lists

from queuectl import QueuectlError, Spool
from queuectl.core.names import FinishedName
from queuectl.core.result import SUCCESS, State
from queuectl.core.settings import Rule
from queuectl.spool.moves import prune
from queuectl.spool.system import clock, files, lease, logs
from tests.spool.given import NOW, die, locked_log, run_at_once, run_to_death
from tests.support import names


def finished(spool: Spool, id: str, age: timedelta, state: State = State.DONE) -> FinishedName:
    """A job that ended `age` ago, with its log."""
    name = FinishedName(clock.now() - age, 10, 1, SUCCESS, 5, id)
    (spool.path / state / str(name)).write_text('{"command": "true"}')
    spool.log_path(id).write_text("output\n")
    return name


def ids(spool: Spool, state: State = State.DONE) -> set[str]:
    """The jobs of a state that are left."""
    return {job.id for job in spool.list((state,))}


def test_prune_deletes_only_old_jobs_of_that_state(spool: Spool) -> None:
    """Younger ones, dead ones and foreign files stay, and logs go along with their jobs."""
    finished(spool, "old", timedelta(days=2))
    young = finished(spool, "young", timedelta(hours=1))
    dead = finished(spool, "dead", timedelta(days=2), State.DEAD)
    (spool.path / "done" / "0-foreign.json").write_text("{}")
    pruned = prune.prune(spool.layout, State.DONE, Rule(since=clock.now() - timedelta(days=1)))
    assert pruned.jobs == 1
    assert pruned.size > 0
    assert names(spool.path / "done") == ["0-foreign.json", str(young)]
    assert names(spool.path / "dead") == [str(dead)]
    assert names(spool.path / "logs") == ["dead.log", "young.log"]


def test_dry_run_deletes_nothing(spool: Spool) -> None:
    """It finds what the real one then deletes."""
    for age in range(1, 5):
        finished(spool, f"d{age}", timedelta(days=age))
    rule = Rule(since=clock.now() - timedelta(days=2, hours=1))
    would = prune.prune(spool.layout, State.DONE, rule, dry_run=True)
    assert ids(spool) == {"d1", "d2", "d3", "d4"}
    assert prune.prune(spool.layout, State.DONE, rule) == would
    assert ids(spool) == {"d1", "d2"}


@pytest.mark.parametrize("kept", range(8))
def test_newest_are_kept(spool: Spool, kept: int) -> None:
    """`count` keeps exactly that many, whether jobs ended on one day, in one minute or in one millisecond."""
    ages = [timedelta(days=400), timedelta(days=1), timedelta(hours=1), timedelta(seconds=1), *[timedelta(0)] * 3]
    at = clock.now()
    ended = [FinishedName(at - age, 10, 1, SUCCESS, 5, f"j{number}") for number, age in enumerate(ages)]
    for name in ended:
        (spool.path / "done" / str(name)).write_text("{}")
    prune.prune(spool.layout, State.DONE, Rule(count=kept))
    assert names(spool.path / "done") == sorted(map(str, ended))[len(ages) - kept :]


def test_space_goes_to_the_newest(spool: Spool) -> None:
    """`size` keeps the newest jobs that fit into it with their logs; a large one takes older ones along."""
    for age, blocks in enumerate([1, 1, 100, 1]):
        finished(spool, f"j{age}", timedelta(hours=age))
        spool.log_path(f"j{age}").write_bytes(b"x" * 4096 * blocks)
    assert prune.find_cut(spool.layout, State.DONE, Rule(size=1 << 30)) is None
    assert prune.prune(spool.layout, State.DONE, Rule(size=50 * 4096)).jobs == 2
    assert ids(spool) == {"j0", "j1"}


def test_job_goes_when_any_limit_says_so(spool: Spool) -> None:
    """Limits are given together, and each holds."""
    for age in range(6):
        finished(spool, f"d{age}", timedelta(days=age, minutes=1))
    prune.prune(spool.layout, State.DONE, Rule(since=clock.now() - timedelta(days=4), count=5))
    assert ids(spool) == {"d0", "d1", "d2", "d3"}
    prune.prune(spool.layout, State.DONE, Rule(since=clock.now() - timedelta(days=4), count=2))
    assert ids(spool) == {"d0", "d1"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    ages=lists(integers(0, 3 * 86_400_000) | integers(0, 3), max_size=30),
    count=integers(0, 31),
)
def test_cut_is_what_sorting_would_find(ages: list[int], count: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Summing up by day, minute and millisecond finds the same name as sorting them all."""
    spool = Spool(tmp_path_factory.mktemp("cut") / "spool", create=True)
    texts = []
    for number, age in enumerate(ages):
        name = FinishedName(NOW - timedelta(milliseconds=age), 10, 1, SUCCESS, 5, f"j{number}")
        texts.append(str(name))
        (spool.path / "done" / str(name)).write_text("{}")
    cut = prune.find_cut(spool.layout, State.DONE, Rule(count=count)) or ""
    assert [text for text in sorted(texts) if text > cut] == sorted(texts)[max(0, len(texts) - count) :]


def test_job_that_still_has_a_process_stays(spool: Spool) -> None:
    """A daemon that a job left behind holds the log, and keeps job and log from going."""
    finished(spool, "x", timedelta(days=2))
    with locked_log(spool.layout, "x"):
        assert prune.prune(spool.layout, State.DONE, Rule(count=0)).jobs == 0
    assert prune.prune(spool.layout, State.DONE, Rule(count=0)).jobs == 1


def prune_all(spool: Spool) -> int:
    return prune.prune(spool.layout, State.DONE, Rule(count=0)).jobs


def test_prune_in_two_processes_at_once(spool: Spool) -> None:
    """Each job is deleted, and counted, once."""
    for number in range(200):
        finished(spool, f"j{number}", timedelta(days=2))
    assert sum(run_at_once(3, prune_all, spool)) == 200
    assert names(spool.path / "done") == names(spool.path / "logs") == []


def test_log_that_another_pruner_has_created_is_removed(spool: Spool) -> None:
    """It did not come to lock it; but that of a job which has been submitted since stays."""
    name = finished(spool, "a", timedelta(days=2))
    Path(spool.get("a").path).unlink()
    spool.log_path("a").write_bytes(b"")
    assert not prune.delete(spool.layout, State.DONE, name)
    assert names(spool.path / "logs") == []
    spool.enqueue("true", id="a")
    assert not prune.delete(spool.layout, State.DONE, name)
    assert names(spool.path / "logs") == ["a.log"]


def retry_all(spool: Spool) -> int:
    retried = 0
    for number in range(100):
        with suppress(QueuectlError):
            spool.retry(f"j{number}")
            retried += 1
    return retried


def retry_or_prune(spool: Spool, turn: str) -> int:
    """The process that makes the file retries, the other one prunes."""
    try:
        os.close(os.open(turn, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return prune_all(spool)
    return retry_all(spool)


def test_retrying_while_pruning(spool: Spool, tmp_path: Path) -> None:
    """Each job is either gone with its log or pending with it."""
    for number in range(100):
        finished(spool, f"j{number}", timedelta(days=2))
    assert sum(run_at_once(2, retry_or_prune, spool, str(tmp_path / "turn"))) == 100
    pending = ids(spool, State.PENDING)
    assert names(spool.path / "done") == []
    assert pending <= {name.removesuffix(".log") for name in names(spool.path / "logs")}


def die_between_job_and_log(spool: Spool) -> None:
    remove = files.remove
    files.remove = lambda path: die() if path.endswith(".log") else remove(path)
    prune_all(spool)


def test_crash_between_job_and_log(spool: Spool) -> None:
    """It leaves a log without a job, whose id can be used again, and the other jobs for the next prune."""
    for number in range(3):
        finished(spool, f"j{number}", timedelta(days=2))
    run_to_death(die_between_job_and_log, spool)
    left = ids(spool)
    assert len(left) == 2
    (lone,) = {"j0", "j1", "j2"} - left
    assert spool.enqueue("true", id=lone).id == lone
    assert prune_all(spool) == 2


def test_prune_by_workers_is_done_by_one(spool: Spool) -> None:
    """While one worker prunes, another does not."""
    with lease.sole_pruner(spool.layout) as first, lease.sole_pruner(spool.layout) as second:
        assert (first, second) == (True, False)
    with lease.sole_pruner(spool.layout) as third:
        assert third


def test_leftovers_in_tmp_go_after_a_day(spool: Spool) -> None:
    """Files that nobody has touched for a day go; the ballast, locks and directories stay."""
    for name in ("x.abc.json", "ballast", "config.lock", "worker-w"):
        (spool.path / "tmp" / name).write_text("")
    (spool.path / "tmp" / "directory").mkdir()
    assert prune.clear_tmp(spool.layout, clock.now()) == 0
    assert prune.clear_tmp(spool.layout, clock.now() + timedelta(days=1, seconds=1)) == 2
    assert names(spool.path / "tmp") == ["ballast", "config.lock", "directory"]


def test_job_that_has_just_been_retried_keeps_its_log(spool: Spool) -> None:
    """Anyone who moved the file first has decided."""
    name = finished(spool, "x", timedelta(days=2))
    spool.retry("x")
    assert not prune.delete(spool.layout, State.DONE, name)
    assert names(spool.path / "logs") == ["x.log"]


def test_id_cannot_be_taken_while_its_log_goes(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job enqueued between the two deletions would lose its log, so the id is held until both are done."""
    name = finished(spool, "x", timedelta(days=2))
    seen = []
    remove = files.remove

    def watched(path: str) -> bool:
        removed = remove(path)
        if path.endswith(".json"):
            log = logs.open_log(spool.layout.log("x"))
            seen.append(lease.lock_id(log))
            os.close(log)
        return removed

    monkeypatch.setattr(files, "remove", watched)
    assert prune.delete(spool.layout, State.DONE, name)
    assert seen == [False]
    monkeypatch.undo()
    assert spool.enqueue("true", id="x").id == "x"
