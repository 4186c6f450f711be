"""What a worker does when its clock jumps, or nobody rings."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from watchdog.observers import inotify_c

from queuectl import Spool
from queuectl.spool.reading import query
from queuectl.spool.system import clock, files
from queuectl.work.intake import Intake
from tests.support import CommandLine, WorkerProcess, names, wait_for, workers
from tests.work.conftest import StartWorker, SteppedClock


def drop(spool: Spool, name: str, **fields: object) -> None:
    """Put a job into pending/ by a rename, as other tools do."""
    file = spool.path / "tmp" / name
    file.write_text(json.dumps({"command": "true", "id": name.removesuffix(".json"), **fields}))
    file.rename(spool.path / "pending" / name)


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(days=1)])
def test_clock_set_back_starts_nothing_early_and_forgets_nothing(
    spool: Spool, in_process: StartWorker, step: timedelta
) -> None:
    """Jobs that were due wait again until the clock says so; it going forward again lets them start."""
    stepped = SteppedClock()
    (spool.path / "paused").touch()
    with in_process(now=stepped, rescan=0.1) as running:
        spool.enqueue("true", id="x")
        wait_for(lambda: running.has("paused"))
        stepped.offset = -step
        (spool.path / "paused").unlink()
        spool.enqueue("true", id="y", run_at=clock.now() - 2 * step)
        wait_for(lambda: running.has("done", "y"))
        assert not running.has("start", "x")
        stepped.offset = timedelta()
        wait_for(lambda: running.has("done", "x"))


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(days=1)])
def test_clock_set_forward_makes_later_jobs_due(spool: Spool, in_process: StartWorker, step: timedelta) -> None:
    """A job for later starts by the new time, and a running one is not timed out by the step."""
    stepped = SteppedClock()
    with in_process(now=stepped, rescan=0.1, slots=2) as running:
        spool.enqueue("sleep 0.5", id="running", timeout=60)
        spool.enqueue("true", id="later", run_at=clock.now() + step)
        wait_for(lambda: running.has("start", "running"))
        assert not running.has("start", "later")
        stepped.offset = step
        wait_for(lambda: running.has("done", "later"))
        wait_for(lambda: running.has("done", "running"))


def test_worker_without_inotify_looks_often_and_says_so_once(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every inotify instance of the user taken, jobs still start."""

    def no_instance() -> int:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(inotify_c.InotifyFD, "_create_inotify_fd", staticmethod(no_instance))
    with in_process() as running:
        wait_for(lambda: running.has("warning"))
        for name in ("a.json", "b.json"):
            drop(spool, name)
            wait_for(lambda name=name: running.has("done", name.removesuffix(".json")))  # type: ignore[misc]
    assert sum(event["event"] == "warning" for event in running.events()) == 1


def test_dead_watch_is_noticed_and_started_anew(spool: Spool, in_process: StartWorker) -> None:
    """When the watch is lost a job starts by the next slow beat, which says so once and brings the events back."""
    with in_process(rescan=0.5) as running:
        wait_for(lambda: running.has("worker"))
        wait_for(lambda: running.worker._intake.trigger.is_alive)
        running.worker._intake.trigger._reader.close()
        drop(spool, "x.json")  # which nobody hears
        wait_for(lambda: running.has("done", "x"))
        wait_for(lambda: running.worker._intake.trigger.is_alive)
    warnings = [event["message"] for event in running.events() if event["event"] == "warning"]
    assert warnings == ["the watch on the spool has died; starting it again"]


def test_overflow_of_events_hides_no_job(spool: Spool, cli: CommandLine) -> None:
    """When the kernel drops events because a stopped worker reads none, the whole directory is listed."""
    cli.ok("config", "set", "rescan", "1000")
    limit = max(16_384, int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()))
    with workers(spool.path) as (worker,):
        spool.enqueue("true", id="first")
        spool.wait("first", timeout=20)
        worker.process.send_signal(signal.SIGSTOP)
        for number in range(limit // 3 + 1):  # each is created, closed and deleted
            file = spool.path / "pending" / f".{number}"
            file.touch()
            file.unlink()
        drop(spool, "unheard.json")
        worker.process.send_signal(signal.SIGCONT)
        wait_for(lambda: worker.has("done", "unheard"))


def test_backlog_that_has_not_changed_is_seldom_listed_again(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million jobs for tomorrow cost an idle worker next to nothing; a change is found although nothing rings."""
    list_names, may_change = query.iterate_pending, Intake._may_have_changed
    beats: list[None] = []
    listings: list[None] = []

    def counted(*arguments: Any) -> Any:
        listings.append(None)
        return list_names(*arguments)

    def asked(intake: Intake) -> bool:
        beats.append(None)
        return may_change(intake)

    monkeypatch.setattr(query, "iterate_pending", counted)
    monkeypatch.setattr(Intake, "_may_have_changed", asked)
    monkeypatch.setattr(inotify_c.InotifyFD, "_parse_event_buffer", staticmethod(lambda _: iter([])))
    spool.enqueue("true", run_at=clock.now() + timedelta(days=1))
    os.utime(spool.layout.pending, (1, 1))
    with in_process(rescan=0.02) as running:
        wait_for(lambda: len(beats) >= 45, "many beats")
        assert 2 <= len(listings) <= 2 + len(beats) // 10
        job = spool.enqueue("true")
        wait_for(lambda: running.has("done", job.id), "a job without an event")


def test_lost_event_delays_a_job_by_one_beat_at_most(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bell that never rings, the slow beat finds everything."""
    monkeypatch.setattr(inotify_c.InotifyFD, "_parse_event_buffer", staticmethod(lambda _: iter([])))
    with in_process(rescan=0.3) as running:
        wait_for(lambda: running.has("worker"))
        drop(spool, "x.json")
        wait_for(lambda: running.has("done", "x"))


def test_job_dropped_byte_by_byte_runs_once_and_whole(spool: Spool) -> None:
    """However slowly it is written, in place, a job starts only when it is complete."""
    data = b'{"command": "printf whole; printf %s \\"$QUEUECTL_JOB_ID\\"", "id": "slow"}'
    with workers(spool.path) as (worker,), (spool.path / "pending" / "any name.json").open("wb", buffering=0) as file:
        for position in range(len(data)):
            assert not worker.has("adopted")
            file.write(data[position : position + 1])
        file.close()
        spool.wait("slow", timeout=20) if worker.has("adopted") else wait_for(lambda: worker.has("done", "slow"))
    assert b"wholeslow" in spool.log_path("slow").read_bytes()
    assert sum(event["event"] == "start" for event in worker.events()) == 1


def test_canonical_name_written_in_place_is_not_moved_before_it_is_whole(spool: Spool) -> None:
    """An incomplete file stays where its writer, who may open it again by its path, expects it."""
    path = spool.path / "pending" / "000-20261124T000000.000Z-0-inplace.json"
    with workers(spool.path) as (worker,):
        for piece in ('{"comm', 'and": "tr', "ue"):
            with path.open("a") as file:
                file.write(piece)
            assert path.exists()
        with path.open("a") as file:
            file.write('"}')
        wait_for(lambda: worker.has("done", "inplace"))
    assert names(spool.path / "pending") == []


def test_broken_file_is_refused_after_the_settle_time(spool: Spool, cli: CommandLine) -> None:
    """The bytes go to dead/ untouched, with the reason in the log, and other jobs run in the meantime."""
    cli.ok("config", "set", "settle", "0.5")
    data = b'{"command": "never closed'
    (spool.path / "pending" / "broken.json").write_bytes(data)
    (spool.path / "pending" / "ignored.json.tmp").write_bytes(data)
    (spool.path / "pending" / ".hidden.json").write_bytes(data)
    with workers(spool.path) as (worker,):
        spool.enqueue("true", id="x")
        spool.wait("x", timeout=20)
        wait_for(lambda: worker.has("refused"))
        event = next(event for event in worker.events() if event["event"] == "refused")
    (name,) = names(spool.path / "dead")
    assert "-invalid-" in name
    assert (spool.path / "dead" / name).read_bytes() == data
    assert "unchanged for 0.5 s" in spool.log_path(event["job"]).read_text()
    assert sorted(path.name for path in (spool.path / "pending").iterdir()) == [".hidden.json", "ignored.json.tmp"]


def test_workers_share_what_is_dropped(spool: Spool, tmp_path: Path) -> None:
    """Each of 200 files, dropped while two workers watch, runs exactly once."""
    ledger = tmp_path / "ledger"
    with workers(spool.path, 2, "--count", "2"):
        for number in range(200):
            drop(spool, f"j{number}.json", command=f"echo {number} >> {ledger}")
        wait_for(lambda: spool.counts().done == 200, patience=60)
    assert sorted(map(int, ledger.read_text().split())) == list(range(200))
    assert names(spool.path / "dead") == []


def test_slot_that_fails_unforeseen_ends_the_worker_with_the_reason(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not continue with one slot less and a job that is never settled; the next worker takes the job over."""

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("queuectl.work.course.finish", broken)
    spool.enqueue("true", id="x", max_retries=0)
    with pytest.raises(RuntimeError, match="a bug"), in_process(drain=True):
        pass
    monkeypatch.undo()
    assert spool.get("x").state == "running"
    with in_process(drain=True):
        pass
    assert (f"{spool.get('x').state}", spool.get("x").attempts) == ("done", 1)


def test_look_that_fails_ends_no_job(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A job whose file cannot be looked at for a moment (EIO, ESTALE) is not taken for one that was cancelled."""
    go, looks = tmp_path / "go", []
    real = os.lstat

    def refuse(path: Any, *arguments: Any, **keywords: Any) -> os.stat_result:
        if "/running/" in str(path) and go.parent.joinpath("armed").exists():
            looks.append(path)
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, *arguments, **keywords)

    monkeypatch.setattr(os, "lstat", refuse)
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.01; done", id="x", max_retries=0)
    with in_process(rescan=0.1) as running:
        wait_for(lambda: running.has("start", "x"))
        (tmp_path / "armed").touch()
        wait_for(lambda: len(looks) > 2)
        go.touch()
        wait_for(lambda: running.has("done", "x"))
    assert (f"{spool.get('x').result}", spool.get("x").attempts) == ("exit0", 1)


def test_claim_that_broke_off_half_way_is_taken_up_again(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When neither the look behind a claim's rename succeeds nor its undoing, the job runs nevertheless, and once."""
    real_look, real_rename = os.lstat, os.rename
    refused: list[str] = []

    def refuse_look(path: Any, *arguments: Any, **keywords: Any) -> os.stat_result:
        if "/running/" in str(path) and not refused:
            refused.append("look")
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real_look(path, *arguments, **keywords)

    def refuse_undoing(source: str, target: str) -> None:
        if "/running/" in source and "/pending/" in target and refused == ["look"]:
            refused.append("undoing")
            raise OSError(errno.EIO, "Input/output error", source)
        real_rename(source, target)

    monkeypatch.setattr(os, "lstat", refuse_look)
    monkeypatch.setattr(os, "rename", refuse_undoing)
    spool.enqueue("true", id="x", max_retries=0)
    with in_process(rescan=0.2) as running:
        wait_for(lambda: running.has("done", "x"))
    assert refused == ["look", "undoing"]
    assert (f"{spool.get('x').result}", spool.get("x").attempts) == ("exit0", 1)
    assert spool.log_path("x").read_text().count("#queuectl start") == 1


def test_claims_of_one_worker_never_choose_one_name(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A copy of a job's file, claimed in the same millisecond by another slot, replaces nothing: both are kept."""
    at = clock.now()
    both = threading.Barrier(2)
    real = files.move

    def meet(source: str, target: str) -> bool:
        if "/running/" in target:
            with suppress(threading.BrokenBarrierError):
                both.wait(2)
        return real(source, target)

    monkeypatch.setattr(files, "move", meet)
    for name, command in (("20261124T000000.001Z", "echo one"), ("20261124T000000.002Z", "echo two")):
        file = spool.path / "pending" / f"010-{name}-0-x.json"
        file.write_text(json.dumps({"command": f"{command} >> {tmp_path}/ledger"}))
    with in_process(slots=2, rescan=0.2, now=lambda: at) as running:
        wait_for(lambda: running.has("done", "x"))
        wait_for(lambda: running.has("refused"))
    assert (tmp_path / "ledger").read_text() in ("one\n", "two\n")
    bodies = [
        (spool.path / state / name).read_text() for state in ("done", "dead") for name in names(spool.path / state)
    ]
    assert len(bodies) == 2
    assert len(set(bodies)) == 2


@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(days=-1)], ids=["forward", "back"])
def test_clock_step_changes_no_timeout_of_an_adopted_job(
    spool: Spool, in_process: StartWorker, tmp_path: Path, step: timedelta
) -> None:
    """The time of a job that outlived its worker counts from the start of its shell, not by the clock of the day."""
    go = tmp_path / "go"
    spool.enqueue(f"while [ ! -e {go} ]; do sleep 0.01; done", id="patient", timeout=600, max_retries=0)
    spool.enqueue("sleep 600", id="late", timeout=3, max_retries=0)
    worker = WorkerProcess(spool.path, "--count", "2")
    for id in ("patient", "late"):
        wait_for(lambda id=id: b" pid=" in spool.log_path(id).read_bytes())  # type: ignore[misc]
    worker.kill()
    with in_process(slots=2, rescan=0.2, now=lambda: clock.now() + step) as running:
        wait_for(lambda: running.has("adopted", "patient"))
        wait_for(lambda: running.has("dead", "late"))
        go.touch()
        wait_for(lambda: running.has("done", "patient") or running.has("dead", "patient"))
    assert f"{spool.get('late').result}" == "timeout"
    assert f"{spool.get('patient').result}" == "exit0"


@pytest.mark.parametrize(
    "name",
    ["010-20260230T034300.000Z-0-x.json", "010-20990230T034300.000Z-0-x.json", "010-20200101T034300.000Z-00-x.json"],
)
def test_name_that_only_looks_like_ours_is_a_dropped_file(spool: Spool, in_process: StartWorker, name: str) -> None:
    """A date that does not exist, or a leading zero, found in a listing: the job runs, and the worker continues."""
    (spool.path / "pending" / name).write_text('{"command": "true", "id": "x"}')
    spool.enqueue("true", id="y", priority=20)
    with in_process(rescan=0.2) as running:
        wait_for(lambda: running.has("done", "x"))
        wait_for(lambda: running.has("done", "y"))
    assert names(spool.path / "pending") == names(spool.path / "dead") == []


def test_worker_with_few_descriptors(spool: Spool) -> None:
    """It runs as many jobs at a time as it has descriptors for, says so once, and finishes them all."""
    for number in range(40):
        spool.enqueue("sleep 0.1", id=f"job-{number}")
    program = ("prlimit", "--nofile=20", sys.executable, "-m", "queuectl")
    worker = WorkerProcess(spool.path, "--count", "16", "--drain", prefix=program)
    assert worker.wait_exit(60) == 0
    assert spool.counts().done == 40
    problems = [event["message"] for event in worker.events() if event["event"] in ("error", "info", "warning")]
    assert len(problems) == 1
    assert "Too many open files; raise the limit of open files (ulimit -n)" in problems[0]
