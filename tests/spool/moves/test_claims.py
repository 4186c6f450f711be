"""Claiming and settling: one rename each, exactly one winner, and what runs is what lies there."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from queuectl import Spool, SpoolError
from queuectl.core import lifecycle
from queuectl.core.names import PendingName, RunningName
from queuectl.core.result import SUCCESS, State
from queuectl.errors import NotJsonError, WaitTimeoutError
from queuectl.spool.moves import claims
from queuectl.spool.reading import admission
from queuectl.spool.system import clock, files, lease, logs
from queuectl.spool.system.layout import Layout
from tests.spool.given import NOW, WORKER, locked_log, parsed, pending_name, put, read_log, run_at_once, running_name
from tests.support import names, wait_for


def claim(layout: Layout, path: Path | PendingName, worker: str = WORKER, now: datetime = NOW) -> claims.Claim | None:
    return claims.claim(layout, parsed(path.name) if isinstance(path, Path) else path, worker, lambda: now)


def taken(layout: Layout, path: Path | PendingName, worker: str = WORKER) -> claims.Claim:
    held = claim(layout, path, worker)
    assert held is not None
    return held


def test_claim_takes_the_job(layout: Layout) -> None:
    """A claimed job lies in running/ under its worker's name, and its log is open and locked."""
    held = taken(layout, put(layout, pending_name("x", attempts=2, priority=5), "echo hi"))
    assert names(Path(layout.running)) == ["20261124T034300.000Z-005-3-web1.4242.k7f3-x.json"]
    assert names(Path(layout.pending)) == []
    assert (held.body.command, held.name.attempt) == ("echo hi", 3)
    assert lease.is_in_use(layout.log("x"))
    os.close(held.log)
    assert not lease.is_in_use(layout.log("x"))


def test_claim_of_a_job_that_is_gone_is_none(layout: Layout) -> None:
    """A job that is gone is a normal None."""
    assert claim(layout, pending_name("x")) is None


def _claim_everything(root: str, worker: str) -> list[str]:
    layout = Layout(root)
    won = []
    for text in sorted(os.listdir(layout.pending)):
        held = claims.claim(layout, parsed(text), f"{worker}.{os.getpid()}.aaaa", clock.now)
        if held is not None:
            won.append(held.name.id)
            os.close(held.log)
    return won


def test_jobs_are_each_claimed_once(layout: Layout) -> None:
    """When 8 processes claim 2,000 jobs at once, every job is claimed by exactly one."""
    ids = [f"j{index:04d}" for index in range(2000)]
    for id in ids:
        put(layout, pending_name(id))
    won = run_at_once(8, _claim_everything, layout.root, "web1")
    assert sorted(id for some in won for id in some) == ids
    assert sorted(RunningName.parse(text).id for text in names(Path(layout.running))) == ids  # type: ignore[union-attr]
    assert sum(bool(some) for some in won) > 1, "there was no race"


@pytest.mark.parametrize("change", ["replaced", "written in place"])
def test_file_changed_under_the_claim_is_not_run(layout: Layout, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Between the read and the rename another file may take the name: it goes back, and is claimed for what it is."""
    path = put(layout, pending_name("x"), "old")
    real = files.move

    def move(source: str, target: str) -> bool:
        if source == str(path):
            if change == "replaced":
                os.replace(put(layout, "other", "the new one"), path)
            else:
                put(layout, path.name, "the new one")
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "move", move)
        assert claim(layout, path) is None
    assert names(Path(layout.running)) == []
    (name,) = names(Path(layout.pending))
    held = taken(layout, Path(layout.pending, name))
    assert (held.body.command, held.name.attempt) == ("the new one", 1)


@pytest.mark.parametrize("data", [b"", b'{"command": "tr', b"not json", b'{"command": "a"} x'])
def test_incomplete_file_is_not_moved(layout: Layout, data: bytes) -> None:
    """A canonical file that does not parse may still be being written: it stays where it is."""
    path = put(layout, pending_name("x"))
    path.write_bytes(data)
    with pytest.raises(NotJsonError):
        claim(layout, path)
    assert (names(Path(layout.pending)), path.read_bytes()) == ([path.name], data)


def make_invalid(path: Path) -> None:
    path.write_text('{"command": 1, "priority": -1}')


def make_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("make", [make_invalid, make_link, make_directory, make_pipe])
def test_job_that_can_never_run_is_refused(layout: Layout, make: Callable[[Path], None]) -> None:
    """A canonical file that is not a job is refused, untouched, with the reason in its log."""
    path = put(layout, pending_name("x", priority=3))
    make(path)
    before = os.lstat(path)
    with pytest.raises(claims.RefusedError) as caught:
        claim(layout, path)
    (dead,) = names(Path(layout.directory(State.DEAD)))
    assert dead == f"20261124T034300.000Z-003-0-invalid-0.000s-{caught.value.id}.json"
    assert os.path.samestat(before, os.lstat(layout.job(State.DEAD, dead)))
    assert caught.value.why in read_log(layout, caught.value.id).replace("\\", "")
    assert names(Path(layout.pending)) == []


@pytest.mark.parametrize("make_twin", [shutil.copy, os.link], ids=["cp", "ln"])
@pytest.mark.parametrize(
    ("has_ended", "workers"),
    [(True, (WORKER, WORKER)), (True, (WORKER, "web1.7.zzzz")), (False, (WORKER, "web1.7.zzzz"))],
    ids=["one after the other, one worker", "one after the other, two workers", "at the same time"],
)
def test_files_of_one_id_run_once(
    layout: Layout, make_twin: Callable[[Path, Path], object], workers: tuple[str, str], has_ended: bool
) -> None:
    """A job under two canonical names runs once, however close the claims are; the other file is a duplicate."""
    first = put(layout, pending_name("x"))
    second = Path(layout.pending, str(PendingName(10, NOW + timedelta(milliseconds=1), 0, "x")))
    make_twin(first, second)
    held = taken(layout, first, workers[0])
    logs.append_start(held.log, held.name, 1)
    if has_ended:
        logs.append_end(held.log, held.name, "exit=0")
        assert claims.settle(layout, held.name, lifecycle.succeed(held.name, SUCCESS, 0.5, NOW))
        os.close(held.log)
    with pytest.raises(claims.RefusedError, match="duplicate"):
        claim(layout, second, workers[1])
    assert len(names(Path(layout.directory(State.DEAD)))) == 1
    assert names(Path(layout.pending)) == []
    survivors = names(Path(layout.directory(State.DONE if has_ended else State.RUNNING)))
    assert len(survivors) == 1
    if not has_ended:
        assert claims.settle(layout, held.name, lifecycle.succeed(held.name, SUCCESS, 0.5, NOW))
        os.close(held.log)


def _claim_twins(root: str, number: int) -> tuple[int, int]:
    layout = Layout(root)
    ran = refused = 0
    for text in sorted(os.listdir(layout.pending)):
        try:
            held = claims.claim(layout, parsed(text), f"web1.{os.getpid()}.aaaa", clock.now)
        except claims.RefusedError:
            refused += 1
            continue
        if held is not None:
            ran += 1
            logs.append_start(held.log, held.name, os.getpid())
            logs.append_end(held.log, held.name, "exit=0")
            claims.settle(layout, held.name, lifecycle.succeed(held.name, SUCCESS, 0.0, clock.now()))
            os.close(held.log)
    return ran, refused


def test_twins_under_a_race(layout: Layout) -> None:
    """When 4 processes claim 100 jobs that each lie there twice, each runs once and each twin is refused."""
    for index in range(100):
        path = put(layout, pending_name(f"j{index}", priority=10))
        shutil.copy(path, path.with_name(str(pending_name(f"j{index}", priority=11))))
    outcomes = run_at_once(4, _claim_twins, layout.root, 100)
    assert (sum(ran for ran, _ in outcomes), sum(refused for _, refused in outcomes)) == (100, 100)
    assert (len(names(Path(layout.root, "done"))), len(names(Path(layout.root, "dead")))) == (100, 100)


def test_leftover_of_an_earlier_attempt_is_not_an_obstacle(layout: Layout) -> None:
    """A daemon that the last attempt left behind holds the log's lock, and the next attempt starts all the same."""
    with locked_log(layout, "x") as log:
        logs.append_start(log, running_name("x"), 1)
        logs.append_end(log, running_name("x"), "exit=1")
        daemon = subprocess.Popen(["sleep", "300"], pass_fds=[log])
    try:
        assert lease.is_in_use(layout.log("x"))
        held = claim(layout, put(layout, pending_name("x", attempts=1)), now=NOW + timedelta(seconds=1))
        assert held is not None
        assert held.name.attempt == 2
        assert lease.is_attempt_held(layout.log("x"), held.name.started_at)
        os.close(held.log)
    finally:
        daemon.kill()
        daemon.wait()


def test_job_that_still_runs_is_not_started_again(layout: Layout) -> None:
    """A running job's file moved back to pending by hand has to wait until that attempt is over."""
    later = NOW + timedelta(seconds=1)
    with locked_log(layout, "x") as log:
        assert claim(layout, put(layout, pending_name("x")), now=later) is None  # about to begin, and named by nothing
        logs.append_start(log, running_name("x"), 1)
        with pytest.raises(claims.StillRunningError) as caught:
            claim(layout, Path(layout.pending, *names(Path(layout.pending))), now=later)
    assert caught.value.attempts == [running_name("x")]
    assert names(Path(layout.running)) == []
    assert names(Path(layout.pending)) == ["010-20261124T034303.000Z-0-x.json"]


def test_attempt_never_starts_without_its_lock(layout: Layout) -> None:
    """A claim of the very time of another (the clock was set back), or of a log that is being deleted, goes back."""
    path = put(layout, pending_name("x"))
    with locked_log(layout, "x"):
        assert claim(layout, path) is None
    log = logs.open_log(layout.log("x"))
    assert lease.lock_whole(log)
    path = Path(layout.pending, *names(Path(layout.pending)))
    assert claim(layout, path) is None
    os.close(log)
    assert (names(Path(layout.running)), len(names(Path(layout.pending)))) == ([], 1)


def test_attempt_of_the_same_time_is_not_taken_for_this_one(layout: Layout) -> None:
    """When the clock was set back to the millisecond of an attempt that has ended, its end is not that of the next."""
    with locked_log(layout, "x") as log:
        logs.append_start(log, running_name("x"), 1)
        logs.append_end(log, running_name("x"), "exit=0")
    assert claim(layout, put(layout, pending_name("x"))) is None
    (name,) = names(Path(layout.pending))
    held = claim(layout, Path(layout.pending, name), now=NOW + timedelta(milliseconds=1))
    assert held is not None
    os.close(held.log)


def test_log_that_goes_under_the_claim_is_not_used(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock on a log that was deleted after it was opened would be seen by nobody: the job goes back."""
    real = lease.lock_attempt

    def delete_first(log: int, at: datetime) -> bool:
        os.unlink(layout.log("x"))
        return real(log, at)

    with monkeypatch.context() as patch:
        patch.setattr(lease, "lock_attempt", delete_first)
        assert claim(layout, put(layout, pending_name("x"))) is None
    assert (names(Path(layout.running)), len(names(Path(layout.pending)))) == ([], 1)


def fail_once(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let the next os.rename fail."""
    real = os.rename
    failures = [OSError(code, os.strerror(code))]

    def rename(source: str, target: str) -> None:
        if failures:
            raise failures.pop()
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_ballast_is_given_up_to_settle(layout: Layout, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """On a disk so full that a rename fails, the ballast makes room for it."""
    claims.keep_ballast(layout)
    assert os.path.getsize(layout.ballast) == 1 << 20
    held = taken(layout, put(layout, pending_name("x")))
    fail_once(monkeypatch, code)
    assert claims.settle(layout, held.name, lifecycle.succeed(held.name, SUCCESS, 0.5, NOW))
    assert not os.path.exists(layout.ballast)
    assert len(names(Path(layout.root, "done"))) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_settle_that_fails_may_be_tried_again(layout: Layout, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Without ballast, or for another reason, the job stays in running/ and can be settled later."""
    held = taken(layout, put(layout, pending_name("x")))
    if code == errno.EROFS:
        claims.keep_ballast(layout)
    fail_once(monkeypatch, code)
    move = lifecycle.succeed(held.name, SUCCESS, 0.5, NOW)
    with pytest.raises(SpoolError):
        claims.settle(layout, held.name, move)
    assert names(Path(layout.running)) == [str(held.name)]
    assert os.path.exists(layout.ballast) == (code == errno.EROFS)
    assert claims.settle(layout, held.name, move)


def test_process_that_moves_the_file_has_settled_it(spool: Spool, layout: Layout) -> None:
    """A worker whose job was cancelled from elsewhere learns that it is settled, and puts nothing back."""
    held = taken(layout, put(layout, pending_name("x")))
    with pytest.raises(WaitTimeoutError, match="not known yet"):  # as that worker holds the lock of its attempt
        spool.cancel("x", grace=0)
    assert not claims.settle(layout, held.name, lifecycle.succeed(held.name, SUCCESS, 0.5, NOW))
    assert not claims.release(layout, held.name, held.run_at)
    assert (names(Path(layout.pending)), names(Path(layout.root, "done"))) == ([], [])


def test_released_job_keeps_its_place(layout: Layout) -> None:
    """A claim that is given back does not count as an attempt and waits no longer than before."""
    held = taken(layout, put(layout, pending_name("x", attempts=2)))
    assert claims.release(layout, held.name, held.run_at)
    assert names(Path(layout.pending)) == [str(pending_name("x", attempts=2))]


def test_released_job_replaces_nothing(layout: Layout) -> None:
    """A file that some tool has put under the job's old name in the meantime is left alone."""
    path = put(layout, PendingName(10, NOW - timedelta(hours=1), 0, "x"))
    held = taken(layout, path)
    path.write_text("another")
    assert claims.release(layout, held.name, held.run_at)
    assert (path.read_text(), len(names(path.parent))) == ("another", 2)


def test_log_that_cannot_be_opened_gives_the_job_back(layout: Layout) -> None:
    """Where no log can be had nothing is run: the job is pending again, and the reason is reported."""
    os.mkdir(layout.log("x"))
    with pytest.raises(SpoolError, match=r"x\.log"):
        claim(layout, put(layout, pending_name("x")))
    assert names(Path(layout.pending)) == [str(pending_name("x"))]


def test_room_reports_free_space_and_inodes(layout: Layout) -> None:
    """The free space is that of the spool's file system."""
    free, inodes = admission.room(layout)
    assert 0 < free <= shutil.disk_usage(layout.root).total
    assert inodes is None or inodes > 0


@pytest.mark.parametrize("id", ["o", None])
@pytest.mark.parametrize("added", [".sync-conflict-20260101-120000-ABCDEFG", ".sync-conflict-20260101-120000"])
def test_copy_under_a_canonical_name_is_a_duplicate(layout: Layout, id: str | None, added: str) -> None:
    """Syncthing's conflict copy is refused, whether the body has the job's id or none; the original runs."""
    put(layout, pending_name("o"), id=id)
    copy = put(layout, pending_name(f"o{added}"), id=id)
    with pytest.raises(claims.RefusedError, match="duplicate"):
        claim(layout, copy)
    os.close(taken(layout, pending_name("o")).log)


@pytest.mark.parametrize("id", ["o.json.old", "o.old", "o-2", "o.1"])
def test_copy_with_another_id_in_its_name_is_a_duplicate(layout: Layout, id: str) -> None:
    """Such as a backup of rsync with a suffix of the user's own."""
    copy = put(layout, pending_name(id), id="o")
    with pytest.raises(claims.RefusedError, match="duplicate"):
        claim(layout, copy)


def test_id_in_a_group_is_its_own(layout: Layout) -> None:
    """A body whose `group` and `id` make the id of its name is that job."""
    os.close(taken(layout, put(layout, pending_name("night.x"), id="x", group="night")).log)


def test_claim_leaves_a_file_alone_that_another_tool_has_just_written(layout: Layout) -> None:
    """Under a canonical name too, its writer may return to it; what a move of ours has put there has a log."""
    path = put(layout, pending_name("x"))
    name = parsed(path.name)
    with pytest.raises(claims.TooNewError):
        claims.claim(layout, name, WORKER, clock.now, quiet=60.0)
    assert names(Path(layout.pending)) == [path.name]
    changed = path.stat().st_ctime
    wait_for(lambda: time.time() > changed + 0.02, "the end of the pause")
    held = claims.claim(layout, name, WORKER, clock.now, quiet=0.02)
    assert held is not None
    os.close(held.log)


def test_claim_does_not_wait_for_what_enqueue_has_published(spool: Spool, layout: Layout) -> None:
    """Nor for a file of the future, after the clock was set back."""
    job = spool.enqueue("true")
    held = claims.claim(layout, parsed(Path(job.path).name), WORKER, clock.now, quiet=60.0)
    assert held is not None
    os.close(held.log)
