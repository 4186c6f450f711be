"""`SpoolExecutor` and its futures: what concurrent.futures promises, for jobs."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future, as_completed
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path

import pytest

from queuectl import InvalidJobError, Job, JobFailedError, JobFuture, NotFoundError, Spool, SpoolExecutor, State
from queuectl.core.names import RunningName
from queuectl.spool.reading import endings, query
from queuectl.spool.system import processes
from queuectl.spool.system.layout import Layout
from tests.support import wait_for, workers


@pytest.fixture
def executor(spool: Spool) -> SpoolExecutor:
    """An executor on a spool without a worker."""
    return SpoolExecutor(spool, max_retries=0)


@pytest.fixture
def working(executor: SpoolExecutor) -> Iterator[SpoolExecutor]:
    """The same with a worker, which runs two jobs at a time."""
    with workers(executor.spool.path, 1, "--count", "2"):
        yield executor


def test_future_has_the_ended_job(working: SpoolExecutor) -> None:
    """Its result is the job that has ended; it has the exit code and the output."""
    future = working.submit(["echo", "hi"], id="greet")
    assert isinstance(working, Executor)
    job = future.result(timeout=30)
    assert (job.id, job.state, future.exit_code, future.output()) == ("greet", State.DONE, 0, "hi\n")
    assert (future.done(), future.cancelled(), future.running(), future.exception()) == (True, False, False, None)


def test_future_of_a_failed_job_raises(working: SpoolExecutor) -> None:
    """The error has the job, and says its last line of output."""
    future = working.submit("echo no disk >&2; exit 3")
    with pytest.raises(JobFailedError, match="ended with exit3\nno disk") as caught:
        future.result(timeout=30)
    assert caught.value.job == future.job
    assert (future.exit_code, str(future.job.result)) == (3, "exit3")


def test_futures_are_completed_as_jobs_end(working: SpoolExecutor) -> None:
    """as_completed yields each of a growing set once it has ended; a callback may submit more."""
    grown: list[JobFuture] = []

    def submit_another(_: Future[Job]) -> None:
        grown.append(working.submit("true"))

    slow = working.submit("sleep 0.3; true", id="slow")
    quick = working.submit("true", id="quick")
    quick.add_done_callback(submit_another)
    assert [future.result().id for future in as_completed([slow, quick], timeout=30)] == ["quick", "slow"]
    wait_for(lambda: grown, "the callback")
    assert grown[0].result(timeout=30).state is State.DONE


def test_map_yields_the_jobs_in_order(working: SpoolExecutor) -> None:
    """A command is made of each item, or of one item of each iterable; the one that fails raises at its turn."""
    found = working.map(lambda code, word: f"echo {word}; exit {code}", (0, 0, 7), "abc", timeout=30)
    assert [working.spool.output(next(found)) for _ in range(2)] == ["a\n", "b\n"]
    with pytest.raises(JobFailedError):
        next(found)


def test_map_times_out(executor: SpoolExecutor) -> None:
    """Without a worker nothing ends; the jobs stay in the queue."""
    with pytest.raises(FutureTimeoutError):
        next(executor.map(lambda word: ["echo", word], ["a"], timeout=0.01))
    assert executor.spool.counts().pending == 1


def test_future_can_be_cancelled_while_it_waits(executor: SpoolExecutor) -> None:
    """Its job is cancelled, and its result raises CancelledError."""
    future = executor.submit("true")
    called = threading.Event()
    future.add_done_callback(lambda _: called.set())
    assert future.cancel()
    assert future.cancel()
    assert (future.cancelled(), called.is_set(), str(future.job.result)) == (True, True, "cancelled")
    with pytest.raises(CancelledError):
        future.result(timeout=0)


def test_future_can_be_cancelled_while_it_runs(working: SpoolExecutor) -> None:
    """The job's processes have ended when `cancel` returns."""
    future = working.submit("sleep 300")
    wait_for(future.running, "the job's start")
    name = working.spool.get(future.id).name
    assert isinstance(name, RunningName)
    token = processes.token_of(name, name.worker)
    wait_for(lambda: processes.find(token), "the job's processes")
    assert future.cancel()
    assert not processes.find(token)
    wait_for(lambda: not working.spool.is_alive(future.id), "its worker to close the log, which says how it ended")
    assert working.spool.get(future.id).state is State.DEAD


def test_future_of_an_ended_job_cannot_be_cancelled(working: SpoolExecutor) -> None:
    """`cancel` is False then, and the result stays."""
    future = working.submit("true")
    future.result(timeout=30)
    assert not future.cancel()
    assert future.exit_code == 0


def test_cancelling_never_takes_an_id_for_a_prefix(executor: SpoolExecutor) -> None:
    """A job that is gone is not mistaken for another whose id begins in the same way."""
    future = executor.submit("true", id="a")
    executor.submit("true", id="ab")
    Path(future.job.path).unlink()
    outcome = executor.spool.cancel_all(["a"])["a"]
    assert isinstance(outcome, NotFoundError)
    assert executor.spool.get("ab").state is State.PENDING
    with pytest.raises(NotFoundError):
        future.result(timeout=30)


def test_cancel_from_elsewhere_reaches_the_future(executor: SpoolExecutor) -> None:
    """So does any other end: the future watches the spool and not this program."""
    future = executor.submit("true")
    Spool(executor.spool.path).cancel(future.id)
    with pytest.raises(CancelledError):
        future.result(timeout=30)


def test_shutdown_cancels_what_is_open(working: SpoolExecutor) -> None:
    """With cancel_futures waiting and running jobs are cancelled; nothing is taken after it."""
    futures = [working.submit("sleep 300") for _ in range(5)]
    wait_for(lambda: working.spool.counts().running == 2, "two jobs to run")
    working.shutdown(cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    assert working.spool.counts().dead == 5
    with pytest.raises(RuntimeError):
        working.submit("true")


def test_with_waits_for_what_is_open(working: SpoolExecutor) -> None:
    """As with any executor."""
    with working:
        future = working.submit("sleep 0.1")
    assert future.done()


def test_submit_all_queues_what_is_valid(executor: SpoolExecutor) -> None:
    """Many are queued in groups, with the fields of the executor unless a job has others."""
    futures = executor.submit_all({"command": "true", "id": f"j{number}", "priority": number} for number in range(3))
    assert [future.id for future in futures] == ["j0", "j1", "j2"]
    assert all((job.body and job.body.max_retries) == 0 for job in executor.spool.get_all(["j0", "j1", "j2"]))
    with pytest.raises(InvalidJobError):
        executor.submit_all([{"command": ""}])


def test_follow_takes_a_job_of_an_earlier_program(working: SpoolExecutor) -> None:
    """A future can be had for any job of the spool, one that has ended too."""
    working.spool.enqueue("exit 4", id="before", max_retries=0)
    for _ in range(2):
        future = working.follow("before")
        assert isinstance(future.exception(timeout=30), JobFailedError)
        assert future.exit_code == 4


def test_thread_ends_without_jobs_and_starts_again(working: SpoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that watches stays no longer than it is needed."""
    monkeypatch.setattr(endings, "_LINGER", 0.0)
    before = _watching()
    for _ in range(2):
        assert working.submit("true").result(timeout=30)
        wait_for(lambda: not _watching() - before, "its end")


def test_lost_spool_ends_every_future(executor: SpoolExecutor) -> None:
    """A future whose spool is deleted does not wait for ever."""
    future = executor.submit("true")
    shutil.rmtree(executor.spool.path)
    assert future.exception(timeout=30) is not None


def test_many_futures_are_not_searched_one_by_one(executor: SpoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a thousand waiting jobs no directory is listed."""
    looks: list[State] = []
    listed = query.list_names

    def counted(layout: Layout, state: State) -> list[str]:
        looks.append(state)
        return listed(layout, state)

    monkeypatch.setattr(query, "list_names", counted)
    futures = executor.submit_all({"command": "true"} for _ in range(1000))
    wait_for(lambda: not executor.spool.endings._new, "the thread to have taken them in")
    assert looks == []
    executor.shutdown(cancel_futures=True)
    assert len(looks) <= 8
    assert all(future.cancelled() for future in futures)


def _watching() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "queuectl-endings"}
