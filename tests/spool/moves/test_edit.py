"""Changing what a job asks for: whole or not at all, whatever else acts and wherever it is interrupted."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from queuectl import InvalidJobError, Spool, State, UsageError, WrongStateError
from queuectl.core.names import HELD_AT, PendingName
from queuectl.errors import NotFoundError, NotJsonError, WaitTimeoutError
from queuectl.spool.moves import claims, edit
from queuectl.spool.system import clock, files, identity, logs, trust
from tests.spool.given import (
    PROCESSES,
    die,
    parsed,
    pending_name,
    put,
    put_finished,
    read_log,
    run_at_once,
    run_to_death,
    running_name,
)
from tests.support import WorkerProcess, names, need_root, wait_for


def body_of(spool: Spool, id: str = "x") -> dict[str, Any]:
    fields = spool.get(id).fields
    assert fields is not None
    return fields


# --- set


def test_set_what_the_name_says(spool: Spool) -> None:
    """Priority and time cost one rename: the bytes stay."""
    path = put(spool.layout, pending_name("x", attempts=2), priority=7)
    data = path.read_bytes()
    job = spool.set_fields("x", priority=1, run_at=datetime(2999, 1, 1, tzinfo=UTC))
    assert job.name == PendingName(1, datetime(2999, 1, 1, tzinfo=UTC), 2, "x")
    assert Path(job.path).read_bytes() == data
    assert spool.set_fields("x", run_at="2998-01-01T00:00:00Z").run_at == datetime(2998, 1, 1, tzinfo=UTC)


def test_set_what_the_body_says(spool: Spool) -> None:
    """Other fields swap the file for another whole one; what was not named stays, and the log reports it."""
    path = put(spool.layout, pending_name("x"), "echo", mine=[1], env={"A": "1"}, timeout=5)
    path.chmod(0o640)
    job = spool.set_fields("x", timeout=None, max_retries=7, env={"B": "2"}, priority=3)
    assert body_of(spool) == {"command": "echo", "mine": [1], "env": {"A": "1", "B": "2"}, "max_retries": 7}
    assert job.priority == 3
    assert Path(job.path).stat().st_mode & 0o777 == 0o640
    assert names(spool.path / "tmp") == []
    assert 'fields="env,max_retries,timeout"' in read_log(spool.layout, "x")
    spool.set_fields("x", env={"A": None, "C": None})
    assert body_of(spool)["env"] == {"B": "2"}
    spool.set_fields("x", env={"B": None})
    assert "env" not in body_of(spool)
    spool.set_fields("x", env={"A": "1"})
    spool.set_fields("x", env=None)
    assert "env" not in body_of(spool)


@pytest.mark.parametrize("changes", [{"timeout": -1}, {"priority": 1000}, {"command": ""}, {"run_at": "soon"}])
def test_set_to_what_cannot_be(spool: Spool, changes: dict[str, Any]) -> None:
    """A value that a job cannot have is refused, and nothing is changed."""
    path = put(spool.layout, pending_name("x"))
    with pytest.raises(InvalidJobError):
        spool.set_fields("x", **changes)
    assert path.exists()
    assert body_of(spool) == {"command": "true"}


def test_set_of_a_job_that_does_not_wait(spool: Spool) -> None:
    """What runs or has ended stays as it is."""
    put(spool.layout, running_name("r"), state=State.RUNNING)
    put_finished(spool.layout, "f")
    for id in "rf":
        with pytest.raises(WrongStateError):
            spool.set_fields(id, timeout=1)


def test_edited_job_runs_as_edited(spool: Spool) -> None:
    """A worker runs the new body."""
    spool.enqueue("echo old", id="x")
    spool.set_fields("x", command="echo new")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert "\nnew\n" in read_log(spool.layout, "x")
    assert spool.get("x").state is State.DONE


# --- edit


def test_edit(spool: Spool) -> None:
    """The text shows priority and time as they are in force, and what comes back is put into force."""
    put(spool.layout, PendingName(3, datetime(2999, 1, 1, tzinfo=UTC), 1, "x"), "echo", priority=9)
    draft = spool.edit("x")
    shown = json.loads(draft.text)
    assert shown == {"command": "echo", "priority": 3, "run_at": "2999-01-01T00:00:00.000Z"}
    job = spool.apply(draft, json.dumps({"command": "ls", "priority": 4, "mine": 1}))
    assert (job.priority, job.attempts) == (4, 1)
    assert job.run_at is not None
    assert job.run_at <= clock.now()
    assert body_of(spool) == {"command": "ls", "priority": 4, "mine": 1}


def test_edit_that_changes_nothing(spool: Spool) -> None:
    """A text that comes back as it was leaves the very file."""
    path = put(spool.layout, pending_name("x"))
    inode = path.stat().st_ino
    draft = spool.edit("x")
    spool.apply(draft, draft.text)
    assert path.stat().st_ino == inode


def test_held_job_stays_held(spool: Spool) -> None:
    """Editing a held job does not let it go."""
    put(spool.layout, PendingName(3, HELD_AT, 0, "x"))
    draft = spool.edit("x")
    assert spool.apply(draft, '{"command": "ls", "run_at": "2999-01-01T00:00:00Z"}').is_held


@pytest.mark.parametrize(
    ("text", "error"),
    [("{", NotJsonError), ('{"command": 7}', InvalidJobError), ('{"command": "ls", "id": "y"}', UsageError)],
)
def test_bad_edit(spool: Spool, text: str, error: type[Exception]) -> None:
    """What is not a runnable job, or another job, is refused, and the job stays as it was."""
    put(spool.layout, pending_name("x"))
    draft = spool.edit("x")
    with pytest.raises(error):
        spool.apply(draft, text)
    assert body_of(spool) == {"command": "true"}


def test_edit_of_a_job_that_has_started(spool: Spool) -> None:
    """What has been claimed in the meantime is not changed."""
    path = put(spool.layout, pending_name("x"))
    draft = spool.edit("x")
    path.rename(spool.layout.job(State.RUNNING, running_name("x")))
    with pytest.raises(WrongStateError, match="has just started"):
        spool.apply(draft, '{"command": "ls"}')
    assert body_of(spool) == {"command": "true"}


def test_edit_follows_the_job(spool: Spool) -> None:
    """A job that was only given another name in the meantime, by a retry for instance, is edited all the same."""
    put(spool.layout, pending_name("x"))
    draft = spool.edit("x")
    spool.reschedule("x", run_at=datetime(2999, 1, 1, tzinfo=UTC))
    spool.apply(draft, '{"command": "ls"}')
    assert body_of(spool) == {"command": "ls"}
    assert len(names(spool.path / "pending")) == 1


def test_edits_at_once(spool: Spool) -> None:
    """The second of two people who edit one job gets an error, and overwrites nothing."""
    put(spool.layout, pending_name("x"))
    first, second = spool.edit("x"), spool.edit("x")
    spool.apply(first, '{"command": "first"}')
    with pytest.raises(WrongStateError, match="just changed"):
        spool.apply(second, '{"command": "second"}')
    assert body_of(spool) == {"command": "first"}
    assert names(spool.path / "tmp") == []


@pytest.mark.parametrize("is_written_in_place", [False, True])
def test_program_without_locks_between_the_look_and_the_swap(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, is_written_in_place: bool
) -> None:
    """The edit is in force, nothing is swapped back, and what the other wrote is kept: the error says where."""
    path = put(spool.layout, pending_name("x"))
    draft = spool.edit("x")
    exchange = files.exchange

    def overtaken(one: str, other: str) -> bool:
        monkeypatch.setattr(files, "exchange", exchange)
        if not is_written_in_place:
            path.unlink()
        put(spool.layout, pending_name("x"), "another's")
        return exchange(one, other)

    monkeypatch.setattr(files, "exchange", overtaken)
    with pytest.raises(WrongStateError, match="at the same instant") as caught:
        spool.apply(draft, '{"command": "mine"}')
    assert body_of(spool) == {"command": "mine"}
    (kept,) = names(spool.path / "dead")
    assert str(spool.path / "dead" / kept) in caught.value.why
    assert json.loads((spool.path / "dead" / kept).read_text()) == {"command": "another's"}
    (job,) = spool.list((State.DEAD,))
    assert "what it was before" in read_log(spool.layout, job.id)
    assert names(spool.path / "tmp") == []


def test_file_that_stays_locked_is_not_waited_for_long(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that keeps the job's file locked delays a change by some seconds; then the error says which file."""
    path = put(spool.layout, pending_name("x"))
    monkeypatch.setattr(edit, "_PATIENCE", 0.1)
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(WaitTimeoutError, match=re.escape(str(path))):
            spool.set_fields("x", timeout=1)
        assert spool.set_fields("x", priority=1).priority == 1
    spool.set_fields("x", timeout=1)
    assert body_of(spool)["timeout"] == 1


def test_bodies_of_a_job_never_look_alike(spool: Spool) -> None:
    """Each is later than the one before, by its file's own time, or a claim could take the third for the first."""
    path = put(spool.layout, pending_name("x"), timeout=1)
    ahead = clock.now().timestamp() + 3600
    os.utime(path, (ahead, ahead))
    times = [path.stat().st_mtime_ns]
    for timeout in (2, 3):
        spool.set_fields("x", timeout=timeout)
        times.append(path.stat().st_mtime_ns)
    assert times == sorted(set(times))


def test_dead_file_that_is_not_a_job_can_be_fixed(spool: Spool) -> None:
    """It is shown as it is, swapped where it lies, and can then be retried."""
    put_finished(spool.layout, "x", "invalid").write_text('{"command": ')
    draft = spool.edit("x")
    assert draft.text == '{"command": '
    spool.apply(draft, '{"command": "true"}')
    assert spool.retry("x").state is State.PENDING


# --- races and crashes


def _set_or_claim(root: str) -> tuple[str, Any]:
    """Some set, some claim; who claims says what it got."""
    spool = Spool(root)
    if os.getpid() % 2:
        for number in range(20):
            try:
                spool.set_fields("x", extra={"mine": [os.getpid(), number]}, timeout=number + 1)
            except WrongStateError:
                continue
        return "set", None
    worker = f"web1.{os.getpid()}.{identity.random_text(4)}"
    for _ in range(2000):
        for text in names(spool.path / "pending"):
            claim = claims.claim(spool.layout, parsed(text), worker, clock.now)
            if claim is not None:
                return "claim", claim.body.timeout
    return "lost", None


def test_changes_and_claims_at_once(spool: Spool) -> None:
    """However many change a job while others claim it, one claims it, with a whole body, and there is one file."""
    put(spool.layout, pending_name("x"), mine=0, timeout=99)
    outcomes = run_at_once(6, _set_or_claim, str(spool.path))
    claimed = [timeout for word, timeout in outcomes if word == "claim"]
    files_left = [name for state in State for name in names(spool.path / state)]
    assert len(files_left) == 1
    assert len(claimed) <= 1
    fields = body_of(spool)
    assert fields["mine"] == 0 or fields["timeout"] == fields["mine"][1] + 1
    assert claimed in ([], [fields["timeout"]])
    assert names(spool.path / "tmp") == []


def _set_own(root: str) -> str | None:
    """Set a variable that nobody else sets, and once the priority; the variable, if that was acknowledged."""
    spool, variable = Spool(root), f"V{os.getpid()}"
    spool.set_fields("x", env={variable: "1"}, priority=os.getpid() % 1000)
    spool.set_fields("x", env={variable: "2"})
    return variable


@pytest.mark.parametrize("can_exchange", [True, False])
def test_changes_at_once_all_hold(spool: Spool, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
    """Each of many who set different fields of one job waits for the one before, reads again, and loses nobody's."""
    put(spool.layout, pending_name("x"))
    outcomes = run_at_once(6, _set_own if can_exchange else _set_own_without_exchange, str(spool.path))
    assert body_of(spool)["env"] == dict.fromkeys(outcomes, "2")
    assert len(names(spool.path / "pending")) == 1
    assert names(spool.path / "tmp") == []


def _set_own_without_exchange(root: str) -> str | None:
    files.exchange = _no_exchange
    return _set_own(root)


def _set_after(root: str, word: str, *, then_die: bool) -> None:
    """Set a field, but let another command come in right before the exchange, if it can; and die after it, or let a
    worker claim the job. `word` is the file in tmp/ that says that the other is through."""
    exchange, spool = files.exchange, Path(root)

    def overtaken(one: str, other: str) -> bool:
        (spool / "tmp" / "reached").touch()
        deadline = time.monotonic() + 1
        while not (spool / "tmp" / word).exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        done = exchange(one, other)
        if then_die:
            die()
        (path,) = (spool / "pending").iterdir()
        claim = claims.claim(Spool(root).layout, parsed(path.name), "web1.1.aaaa", clock.now)
        if claim is not None:
            (spool / "tmp" / "ran").write_text(json.dumps(dict(claim.body.env or {})))
        return done

    files.exchange = overtaken
    with suppress(WrongStateError):
        Spool(root).set_fields("x", env={"FIRST": "1"})


@pytest.mark.parametrize("then_die", [True, False], ids=["killed", "claimed"])
def test_acknowledged_edit_is_what_runs(spool: Spool, then_die: bool) -> None:
    """A change that came in between another's look and its exchange is kept, if that is killed or a worker claims."""
    put(spool.layout, pending_name("x"))
    first = PROCESSES.Process(target=_set_after, args=(str(spool.path), "second"), kwargs={"then_die": then_die})
    first.start()
    wait_for((spool.path / "tmp" / "reached").exists)
    acknowledged = True
    try:
        spool.set_fields("x", env={"SECOND": "2"})
    except WrongStateError:
        acknowledged = False  # a worker was first
    (spool.path / "tmp" / "second").touch()
    first.join(30)
    ran = spool.path / "tmp" / "ran"
    variables = json.loads(ran.read_text()) if ran.exists() else body_of(spool).get("env", {})
    assert acknowledged or not then_die
    assert variables.get("SECOND") == ("2" if acknowledged else None)
    assert sum(len(names(spool.path / state)) for state in State) == 1


def _set_for_ever(root: str, said: str, seed: int) -> None:
    """Give jobs variables of one's own, one after the other, slowly, and write down each that was acknowledged."""
    spool, rng, number, exchange = Spool(root), random.Random(seed), 0, files.exchange

    def stretched(one: str, other: str) -> bool:
        time.sleep(rng.random() * 0.003)
        done = exchange(one, other)
        time.sleep(rng.random() * 0.003)
        return done

    files.exchange = stretched
    while jobs := names(spool.path / "pending"):
        id = jobs[0].rsplit("-", 1)[1].removesuffix(".json")
        variable = f"V{seed}_{number}"
        number += 1
        with suppress(WrongStateError, NotFoundError, NotJsonError):
            spool.set_fields(id, env={variable: "1"})
            with open(said, "a") as file:
                file.write(f"{id} {variable}\n")


def test_acknowledged_changes_run_whatever_is_killed(spool: Spool, tmp_path: Path) -> None:
    """While many set variables of many jobs, are killed, and workers take the jobs, each runs with all of its own."""
    jobs = [f"j{number}" for number in range(60)]
    list(spool.enqueue_many({"id": id, "command": "echo ran; sleep 0.01; env | grep ^V || :"} for id in jobs))
    rng, said = random.Random(1), [tmp_path / f"said{number}" for number in range(4)]

    def start(seed: int) -> Any:
        process = PROCESSES.Process(target=_set_for_ever, args=(str(spool.path), str(said[seed % 4]), seed))
        process.start()
        return process

    setters = [start(seed) for seed in range(4)]
    wait_for(lambda: all(path.exists() for path in said), "changes")
    worker = WorkerProcess(spool.path, "--drain", "--count", "2")
    for seed in range(4, 24):
        at = spool.counts().pending - rng.randrange(3)
        wait_for(lambda at=at: spool.counts().pending <= at or not spool.counts().pending)  # type: ignore[misc]
        setters[seed % 4].kill()
        setters[seed % 4].join()
        setters[seed % 4] = start(seed)
    assert worker.wait_exit(60) == 0
    for setter in setters:
        setter.join(30)
    acknowledged = [line.split() for path in said for line in path.read_text().splitlines()]
    for id, variable in acknowledged:
        assert f"\n{variable}=1\n" in read_log(spool.layout, id)
    assert len(acknowledged) >= 10
    assert [read_log(spool.layout, id).count("\nran\n") for id in jobs] == [1] * len(jobs)


def _after(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function after whose work the process dies."""

    def work_and_die(*arguments: Any, **words: Any) -> Any:
        function(*arguments, **words)
        die()

    return work_and_die


def _no_exchange(one: str, other: str) -> bool:
    raise files.CannotExchangeError(errno.EINVAL, "no", one, None, other)


def _die_at(root: str, step: str) -> None:
    can_exchange, _, step = step.rpartition("without exchange: ")
    if can_exchange or step.startswith("move"):
        files.exchange = _no_exchange
    moves = iter(range(1, 4))
    move = files.move

    def counted(source: str, target: str) -> bool:
        number = next(moves)
        if step == f"move {number} is not made":
            die()
        done = move(source, target)
        if step == f"move {number} is made":
            die()
        return done

    steps: dict[str, tuple[Any, str, Any]] = {
        "before the write": (files, "write_new", die),
        "after the write": (files, "write_new", _after(files.write_new)),
        "before the read": (files, "read_descriptor", die),
        "after the read": (files, "read_descriptor", _after(files.read_descriptor)),
        "before the exchange": (files, "exchange", die),
        "after the exchange": (files, "exchange", _after(files.exchange)),
        "before the sync": (files, "sync_directory", die),
        "before the note": (logs, "append_note", die),
    }
    module, name, replacement = steps.get(step, (files, "move", counted))
    setattr(module, name, replacement)
    Spool(root).set_fields("x", command="new", timeout=7)


OLD, NEW = {"command": "old", "mine": 1}, {"command": "new", "mine": 1, "timeout": 7}


@pytest.mark.parametrize(
    ("step", "expected", "is_held"),
    [
        ("before the read", OLD, False),
        ("after the read", OLD, False),
        ("before the write", OLD, False),
        ("after the write", OLD, False),
        ("before the exchange", OLD, False),
        ("after the exchange", NEW, False),
        ("before the sync", NEW, False),
        ("before the note", NEW, False),
        ("move 1 is not made", OLD, False),
        ("move 1 is made", OLD, True),
        ("move 2 is not made", OLD, True),
        ("move 2 is made", NEW, True),
        ("move 3 is not made", NEW, True),
        ("move 3 is made", NEW, False),
    ],
)
def test_crash_at_each_step(spool: Spool, step: str, expected: dict[str, Any], is_held: bool) -> None:
    """Wherever a change breaks off there is exactly one whole file, old or new: it runs, or is held in plain sight."""
    put(spool.layout, pending_name("x"), "old", mine=1)
    run_to_death(_die_at, str(spool.path), step)
    assert len(names(spool.path / "pending")) == 1
    assert (body_of(spool), spool.get("x").is_held) == (expected, is_held)
    spool.set_fields("x", command="true")
    if is_held:
        spool.release("x")
    (text,) = names(spool.path / "pending")
    claim = claims.claim(spool.layout, parsed(text), "web1.1.aaaa", clock.now)
    assert claim is not None
    assert claim.body.command == "true"
    os.close(claim.log)


def test_edit_without_an_exchange_keeps_the_name(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system knows no exchange the outcome is the same, for dead jobs too; the second still loses."""
    monkeypatch.setattr(files, "exchange", _no_exchange)
    path = put(spool.layout, pending_name("x"))
    old = spool.edit("x")
    spool.set_fields("x", command="new")
    assert (path.exists(), body_of(spool)) == (True, {"command": "new"})
    with pytest.raises(WrongStateError):
        spool.apply(old, '{"command": "late"}')
    dead = put_finished(spool.layout, "y")
    spool.apply(spool.edit("y"), '{"command": "fixed"}')
    assert json.loads(dead.read_text()) == {"command": "fixed"}
    assert names(spool.path / "tmp") == []


def test_job_that_starts_between_the_swap_and_the_rename(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs with the new body; that its name came too late is not an error, and makes no second file."""
    path = put(spool.layout, pending_name("x"))
    move = files.move

    def overtaken(source: str, target: str) -> bool:
        move(str(path), spool.layout.job(State.RUNNING, running_name("x")))
        return move(source, target)

    monkeypatch.setattr(files, "move", overtaken)
    job = spool.set_fields("x", timeout=5, priority=1)
    assert (job.state, body_of(spool)) == (State.RUNNING, {"command": "true", "timeout": 5})
    assert sum(len(names(spool.path / state)) for state in State) == 1


@pytest.mark.parametrize("state", [State.PENDING, State.DEAD])
def test_file_of_another_user_is_never_made_ones_own(spool: Spool, state: State) -> None:
    """`set`, `edit` and `retry` refuse it: a body rewritten by the caller would run as the caller's."""
    need_root()
    layout = spool.layout
    path = put_finished(layout, "x") if state is State.DEAD else put(layout, pending_name("x"))
    os.chown(path, 65_534, -1)
    draft = spool.edit("x")
    with pytest.raises(WrongStateError, match="a file of"):
        spool.apply(draft, '{"command": "false"}')
    if state is State.DEAD:
        with pytest.raises(WrongStateError, match="a file of"):
            spool.retry("x")
    else:
        with pytest.raises(WrongStateError, match="a file of"):
            spool.set_fields("x", timeout=10)
    assert (os.stat(path).st_uid, path.read_text()) == (65_534, '{"command": "true"}')
    assert spool.get("x").owner == trust.name_of(65_534)
    os.chown(path, 0, -1)
    assert spool.get("x").owner is None
