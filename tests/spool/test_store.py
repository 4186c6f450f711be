"""`Spool`, the door for Python programs: submit, look, act, wait."""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import queuectl
from queuectl import (
    AlreadyExistsError,
    AmbiguousIdError,
    InvalidJobError,
    NotFoundError,
    Result,
    Spool,
    SpoolError,
    State,
    WaitTimeoutError,
    WrongStateError,
)
from queuectl.core.names import PendingName
from queuectl.spool.system import files, lease
from tests.spool.given import NOW, locked_log, pending_name, put, put_finished, read_log, running_name
from tests.support import WorkerProcess, names, wait_for


@pytest.fixture
def worker(spool: Spool) -> WorkerProcess:
    """A worker with two slots."""
    return WorkerProcess(spool.path, "--count", "2").wait_ready()


# --- the door itself


def test_public_names() -> None:
    """Everything that `__all__` promises is there."""
    assert all(hasattr(queuectl, name) for name in queuectl.__all__)


def test_opening_what_is_not_a_spool(tmp_path: Path) -> None:
    """A path that is not a spool is refused, and says whether it is missing or something else."""
    with pytest.raises(SpoolError, match="there is no spool"):
        Spool(tmp_path / "nothing")
    with pytest.raises(SpoolError, match="is not a spool"):
        Spool(tmp_path)
    assert Spool(tmp_path / "new", create=True).created
    assert not Spool(tmp_path / "new", create=True).created
    assert Spool(str(tmp_path / "new")).path == tmp_path / "new"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (queuectl.QueuectlError, 1), (WrongStateError, 1), (queuectl.UsageError, 2), (InvalidJobError, 2),
        (AmbiguousIdError, 2),
        (queuectl.ConfigError, 2), (NotFoundError, 3), (AlreadyExistsError, 4), (WaitTimeoutError, 5), (SpoolError, 6),
        (queuectl.DurabilityError, 6),
    ],
)  # fmt: skip
def test_errors_have_their_exit_codes(error: type[queuectl.QueuectlError], code: int) -> None:
    """The class of an error says in Python what the exit code says to other programs."""
    assert error.exit_code == code


# --- submitting and looking


def test_enqueue_returns_the_job(spool: Spool) -> None:
    """The job that is returned is the one that is found."""
    at = datetime(2030, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    job = spool.enqueue(["echo", "a b"], id="x", priority=3, run_at=at, extra={"mine": [1]})
    assert (job.id, job.state, job.priority, job.attempts) == ("x", State.PENDING, 3, 0)
    assert job.command == ("echo", "a b")
    assert job.run_at == datetime(2030, 1, 2, 3, 4, 5, 679000, tzinfo=UTC)
    assert spool.get("x") == job
    assert json.loads(Path(job.path).read_bytes())["mine"] == [1]
    assert spool.log_path("x").exists()


def test_time_of_any_zone(spool: Spool) -> None:
    """An aware time is the same instant whatever its zone."""
    at = datetime.fromisoformat("2030-01-02T03:00:00+05:30")
    assert spool.enqueue("true", run_at=at).run_at == at


@pytest.mark.parametrize(
    ("command", "fields"),
    [("", {}), ([], {}), ("true", {"id": "a b"}), ("true", {"priority": 1000}), ("true", {"timeout": 0}), ("a\0b", {})],
)
def test_enqueue_refuses_what_cannot_run(spool: Spool, command: str, fields: dict[str, object]) -> None:
    """A job that can never run is InvalidJobError, and nothing of it is left."""
    with pytest.raises(InvalidJobError):
        spool.enqueue(command, **fields)  # type: ignore[arg-type]
    assert (names(spool.path / "pending"), names(spool.path / "logs")) == ([], [])


def test_id_is_taken_in_every_state(spool: Spool) -> None:
    """An id is taken for as long as the spool holds its job, in whatever state."""
    layout = spool.layout
    spool.enqueue("true", id="a")
    put(layout, running_name("b"), state=State.RUNNING)
    put_finished(layout, "c", "exit0", State.DONE)
    put_finished(layout, "d")
    for id in "abcd":
        Path(layout.log(id)).touch()
        with pytest.raises(AlreadyExistsError):
            spool.enqueue("true", id=id)


def test_get(spool: Spool) -> None:
    """A job is found by its id or a unique start of it."""
    spool.enqueue("true", id="report-1")
    spool.enqueue("true", id="report-2")
    assert spool.get("report-2").id == "report-2"
    with pytest.raises(AmbiguousIdError):
        spool.get("rep")
    with pytest.raises(NotFoundError):
        spool.get("nothing")


def test_counts_and_list(spool: Spool) -> None:
    """What was submitted is counted and listed."""
    spool.enqueue("true", id="now")
    spool.enqueue("true", id="later", run_at=datetime.now(UTC) + timedelta(hours=1))
    assert (spool.counts().ready, spool.counts().scheduled) == (1, 1)
    assert [job.id for job in spool.list()] == ["now", "later"]
    assert spool.metrics().finished == 0


def test_pausing_is_a_file(spool: Spool) -> None:
    """A spool is paused while a file of that name lies in it, of whatever kind."""
    assert not spool.is_paused()
    os.symlink("nothing", spool.path / "paused")
    assert spool.is_paused()


def test_workers_are_listed(spool: Spool) -> None:
    """Living and dead workers are reported with what they run, also those that have no file any more."""
    put(spool.layout, running_name("c", worker="web1.1.gone"), state=State.RUNNING)
    with lease.WorkerLease(spool.layout, "web1", {"slots": 2}) as living:
        put(spool.layout, running_name("b", worker=living.name), state=State.RUNNING)
        put(spool.layout, running_name("a", worker=living.name), state=State.RUNNING)
        seen = {info["worker"]: info for info in spool.workers()}
    assert (seen[living.name]["alive"], seen[living.name]["runs"], seen[living.name]["slots"]) == (True, ["a", "b"], 2)
    gone = {"worker": "web1.1.gone", "alive": False, "state": "gone", "contact": None, "runs": ["c"]}
    assert seen["web1.1.gone"] == gone


# --- acting


@pytest.mark.parametrize(("state", "result"), [(State.DEAD, "exit1"), (State.DONE, "exit0"), (State.DEAD, "cancelled")])
def test_retry(spool: Spool, state: State, result: str) -> None:
    """A finished job starts again from attempt 0, with its bytes, its priority and its old log."""
    path = put_finished(spool.layout, "x", result, state, mine=1)
    Path(spool.log_path("x")).write_text("old\n")
    data = path.read_bytes()
    job = spool.retry("x")
    assert isinstance(job.name, PendingName)
    assert (job.attempts, job.priority, job.name.id) == (0, 10, "x")
    assert Path(job.path).read_bytes() == data
    assert not path.exists()
    assert read_log(spool.layout, "x").startswith("old\n#queuectl retry at=20")
    assert spool.get("x").state is State.PENDING


def test_retry_of_what_cannot_be_retried(spool: Spool) -> None:
    """A job that has not ended is in the wrong state; one that can never run has to be fixed first."""
    put(spool.layout, pending_name("p"))
    put(spool.layout, running_name("r"), state=State.RUNNING)
    for id in "pr":
        with pytest.raises(WrongStateError):
            spool.retry(id)
    put_finished(spool.layout, "bad", "invalid").write_text("{}")
    with pytest.raises(InvalidJobError, match="fix it with"):
        spool.retry("bad")
    assert spool.get("bad").state is State.DEAD


def test_reschedule(spool: Spool) -> None:
    """A waiting job can be given another priority, another time, or both; a job that has ended cannot."""
    put(spool.layout, pending_name("x", attempts=2))
    later = NOW + timedelta(hours=1)
    assert spool.reschedule("x", priority=1).name == PendingName(1, NOW, 2, "x")
    assert spool.reschedule("x", run_at=later).name == PendingName(1, later, 2, "x")
    assert spool.reschedule("x", priority=0, run_at=NOW).name == PendingName(0, NOW, 2, "x")
    assert names(spool.path / "pending") == ["000-20261124T034300.000Z-2-x.json"]
    put_finished(spool.layout, "y")
    with pytest.raises(WrongStateError):
        spool.reschedule("y", priority=1)


def test_job_that_moves_on_in_the_meantime(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anyone who is second to act on a job gets an error, and changes nothing."""
    path = put(spool.layout, pending_name("x"))
    monkeypatch.setattr(files, "move", lambda *_: False)
    with pytest.raises(WrongStateError, match="just changed state"):
        spool.reschedule("x", priority=1)
    assert path.exists()


def test_cancel_a_waiting_job(spool: Spool) -> None:
    """A waiting job goes to the dead letters as `cancelled`, and cannot be cancelled again."""
    spool.enqueue("true", id="x", priority=4)
    job = spool.cancel("x")
    assert (job.state, job.result, job.priority, job.attempts) == (State.DEAD, Result.parse("cancelled"), 4, 0)
    assert names(spool.path / "pending") == []
    with pytest.raises(WrongStateError):
        spool.cancel("x")


TREE = """
sleep 301 &
setsid sleep 302 &
(trap '' TERM; setsid sh -c 'trap "" TERM; while :; do sleep 0.1; done' & wait) &
(sleep 303 & echo ready; wait)
"""


def processes_of(spool: Spool) -> list[int]:
    """Every process that was started for a job of this spool."""
    mark = b"QUEUECTL_SPOOL=" + os.fsencode(spool.path)
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdecimal() and mark in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                found.append(int(entry))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("is_worker_alive", [True, False], ids=["worker alive", "worker killed"])
def test_cancel_a_running_job(spool: Spool, is_worker_alive: bool) -> None:
    """A running job is settled as `cancelled`; its whole process tree is gone, whatever left its group or session."""
    worker = WorkerProcess(spool.path).wait_ready()
    spool.enqueue(TREE, id="x", max_retries=5)
    wait_for(lambda: "ready" in read_log(spool.layout, "x"), "the job's start")
    wait_for(lambda: len(processes_of(spool)) >= 7, "the whole tree")
    if not is_worker_alive:
        worker.kill()
    job = spool.cancel("x", grace=0.2)
    assert (job.state, str(job.result), job.attempts) == (State.DEAD, "cancelled", 1)
    wait_for(lambda: not processes_of(spool), "the end of every process")
    assert [len(names(spool.path / state)) for state in State] == [0, 0, 0, 1]
    if is_worker_alive:
        wait_for(lambda: worker.has("cancelled", "x"), "the worker's notice")


def test_cancel_a_running_job_without_a_log(spool: Spool, worker: WorkerProcess) -> None:
    """A job whose log somebody has deleted can be cancelled like any other."""
    spool.enqueue("echo ready; sleep 300", id="x")
    wait_for(lambda: "ready" in read_log(spool.layout, "x"), "the job's start")
    spool.log_path("x").unlink()
    assert spool.cancel("x", grace=0).state is State.DEAD
    wait_for(lambda: not processes_of(spool), "the end of every process")
    assert worker.process.poll() is None


def test_drop(spool: Spool) -> None:
    """A dropped job is gone with its log, and its id is free; only a finished job can be dropped."""
    put_finished(spool.layout, "x")
    spool.log_path("x").write_text("out\n")
    assert spool.drop("x").id == "x"
    assert not spool.log_path("x").exists()
    assert spool.enqueue("true", id="x").id == "x"
    with pytest.raises(WrongStateError, match="job x is pending"):
        spool.drop("x")
    put_finished(spool.layout, "y", "exit0", State.DONE)
    assert spool.drop("y").state is State.DONE


# --- waiting


def test_wait(spool: Spool, worker: WorkerProcess) -> None:
    """Waiting ends with the job, over its retries, and says how it ended."""
    ended = spool.wait(spool.enqueue("echo hi", id="good").id, timeout=20)
    assert (ended.state, ended.result, ended.attempts) == (State.DONE, Result.exit(0), 1)
    job = spool.enqueue('test "$QUEUECTL_ATTEMPT" = 3', max_retries=5, backoff_base=0)
    ended = spool.wait(job.id, timeout=20)
    assert (ended.result, ended.attempts) == (Result.exit(0), 3)
    failed = spool.wait(spool.enqueue("kill -9 $$", max_retries=0).id, timeout=20)
    assert (failed.state, failed.result) == (State.DEAD, Result.signal(9))
    assert worker.process.poll() is None


def test_wait_times_out(spool: Spool) -> None:
    """A job that does not end in the time given is WaitTimeoutError, and stays as it is."""
    spool.enqueue("true", id="x")
    for timeout in (0, 0.02):
        with pytest.raises(WaitTimeoutError, match="still pending"):
            spool.wait("x", timeout=timeout)
    assert spool.get("x").state is State.PENDING


def test_wait_for_a_job_that_is_removed(spool: Spool) -> None:
    """When the job is deleted while it is waited for, the wait ends with NotFoundError."""
    job = spool.enqueue("true", id="x")
    raised: list[Exception] = []

    def wait() -> None:
        try:
            spool.wait("x", timeout=20)
        except queuectl.QueuectlError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    os.unlink(job.path)
    waiting.join()
    assert [type(error) for error in raised] == [NotFoundError]


def test_wait_for_a_finished_job(spool: Spool) -> None:
    """Waiting for what has ended returns at once, even with no time given."""
    put_finished(spool.layout, "x")
    assert spool.wait("x", timeout=0).state is State.DEAD


def test_running_job_keeps_its_id(spool: Spool) -> None:
    """While processes of a job live its id stays taken, even after its file was removed."""
    with locked_log(spool.layout, "x"), pytest.raises(AlreadyExistsError) as caught:
        spool.enqueue("true", id="x")
    assert caught.value.exit_code == 4
