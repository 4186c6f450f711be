"""What a worker does with inbox/: at an event, at its beat, without events, and when there is too much of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.spool.moves import dropbox, take
from queuectl.spool.system import trigger
from queuectl.work import dropbox as work
from tests.support import CommandLine, WorkerProcess, names, wait_for
from tests.work.conftest import InProcess, StartWorker


@pytest.fixture
def inbox(spool: Spool) -> Path:
    """That of a spool with a drop box."""
    dropbox.make(spool.layout, os.getegid())
    return spool.path / "inbox"


def drop(inbox: Path, name: str = "any.json", text: str = '{"command": "true"}') -> None:
    temporary = inbox / f"{name}.part"
    temporary.write_text(text)
    temporary.chmod(0o644)
    temporary.rename(inbox / name)


def warnings(running: InProcess) -> list[str]:
    return [event["message"] for event in running.events() if event["event"] == "warning"]


def test_file_is_taken_at_its_event(inbox: Path, in_process: StartWorker) -> None:
    """Long before the next look at the whole spool."""
    with in_process(rescan=3600) as running:
        wait_for(lambda: running.has("worker"))
        drop(inbox)
        wait_for(lambda: running.has("taken") and running.has("done"))
    assert (names(inbox), names(inbox.parent / "taken")) == ([], [])


def test_file_is_taken_without_events(inbox: Path, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no watch can be had, inbox/ is listed every second."""

    def fail(*_: object) -> None:
        raise OSError(24, "no more watches")

    monkeypatch.setattr(trigger, "_make_reader", fail)
    with in_process(rescan=3600) as running:
        wait_for(lambda: running.has("worker"))
        drop(inbox)
        wait_for(lambda: running.has("done"))


def test_drop_box_that_is_made_later_is_found(spool: Spool, in_process: StartWorker) -> None:
    """A worker need not be started again."""
    with in_process(rescan=0.1) as running:
        wait_for(lambda: running.has("worker"))
        dropbox.make(spool.layout, os.getegid())
        drop(spool.path / "inbox")
        wait_for(lambda: running.has("done"))


def test_files_taken_by_another_worker_are_finished(spool: Spool, inbox: Path) -> None:
    """Files in taken/, and what lies in inbox/, are jobs before a worker that drains goes."""
    drop(inbox, "a.json")
    id = take.take(spool.layout, "a.json", lambda _: True)
    drop(inbox, "b.json")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert spool.counts().done == 2
    assert spool.get(f"{id}").state == "done"


def test_file_in_pieces_is_waited_for(inbox: Path, in_process: StartWorker) -> None:
    """It is taken once it is whole, and not refused before."""
    with in_process() as running:
        path = inbox / "x.json"
        path.touch(0o644)
        path.chmod(0o644)
        with path.open("w") as file:
            for piece in ('{"comm', 'and": "tr', 'ue"}'):
                file.write(piece)
                file.flush()
        wait_for(lambda: running.has("done"))
        assert not running.has("refused")


def test_file_is_left_alone_while_its_writer_may_return(inbox: Path, in_process: StartWorker) -> None:
    """As in pending/: `install -m` writes it, and then sets its mode by its name. A rename is taken at once."""
    source = inbox.parent / "tmp" / "source.json"
    source.write_text('{"command": "true"}')
    with in_process(rescan=3600) as running:
        wait_for(lambda: running.has("worker"))
        for number in range(5):
            subprocess.run(["install", "-m", "644", source, inbox / f"{number}.json"], check=True)
            (inbox / f"{number}.json").chmod(0o644)
        wait_for(lambda: sum(event["event"] == "done" for event in running.events()) == 5)


def test_drain_waits_for_a_file_that_has_just_been_written(spool: Spool, inbox: Path) -> None:
    """What lay there when the worker started is a job before it goes."""
    for number in range(3):
        (inbox / f"{number}.json").write_text('{"command": "true"}')
        (inbox / f"{number}.json").chmod(0o644)
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert spool.counts().done == 3


def test_names_that_are_ignored(inbox: Path, in_process: StartWorker) -> None:
    """A file being written under another ending, or a hidden one, is left alone without a word."""
    for name in ("x.json.part", ".x.json", "x.json~", "README"):
        (inbox / name).write_text('{"command": "true"}')
        (inbox / name).chmod(0o644)
    with in_process(rescan=0.1) as running:
        drop(inbox)
        wait_for(lambda: running.has("done"))
        assert warnings(running) == []
    assert len(names(inbox)) == 3


def test_files_left_there_are_reported_in_moderation(
    inbox: Path, in_process: StartWorker, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some files one by one, the others in one line; and no more of them are remembered than so many."""
    monkeypatch.setattr(work, "_MOST_OF_USER", 30)
    cli.ok("config", "set", "settle", "0.1")
    for number in range(60):
        (inbox / f"{number}.json").mkdir()
    with in_process(rescan=0.1) as running:
        wait_for(lambda: any("more files of" in text for text in warnings(running)))
        drop(inbox)
        wait_for(lambda: running.has("done"))
        box = running.worker._intake.dropbox
        looks = box._listed_at
        wait_for(lambda: box._listed_at > looks + 0.5)
        assert sum("was left in place" in text for text in warnings(running)) <= 10
        assert sum("more files of" in text for text in warnings(running)) == 1
        assert sum(user.number for user in box._users.values()) <= 30
    for number in range(60):
        (inbox / f"{number}.json").rmdir()


def test_flood_of_events_closes_the_watch_for_a_while(
    inbox: Path, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once; what comes is found by listing, and later by events again."""
    monkeypatch.setattr(work, "_MOST_EVENTS", 20)
    monkeypatch.setattr(work, "_FLOOD", 1.0)
    with in_process(rescan=3600) as running:
        wait_for(lambda: running.has("worker") and running.worker._intake.dropbox._trigger is not None)
        for number in range(400):
            (inbox / f"{number}.part").touch()
        wait_for(lambda: any("faster than" in text for text in warnings(running)))
        drop(inbox)
        wait_for(lambda: running.has("done"))
        wait_for(lambda: running.worker._intake.dropbox._trigger is not None)
    assert sum("faster than" in text for text in warnings(running)) == 1


def test_failure_of_the_disk_is_reported_once_and_over_when_it_is(
    inbox: Path, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken stays until it can be finished."""
    with in_process(rescan=0.1) as running, monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr(take, "submit", fail)
        drop(inbox)
        wait_for(lambda: any("cannot take files" in text for text in warnings(running)))
        assert len(names(inbox.parent / "taken")) == 1
        patch.undo()
        wait_for(lambda: running.has("done"))
        assert sum("cannot take files" in text for text in warnings(running)) == 1


def test_inbox_that_cannot_be_emptied_keeps_no_worker_that_drains(
    inbox: Path, spool: Spool, in_process: StartWorker
) -> None:
    """It waits for a first look, and not for what strangers leave there."""
    (inbox / "x.json").mkdir()
    spool.enqueue("true", id="x")
    with in_process(drain=True) as running:
        running.thread.join(10)
        assert not running.thread.is_alive()
    assert spool.get("x").state == "done"


def test_record_of_a_taken_job(spool: Spool, inbox: Path, cli: CommandLine) -> None:
    """`list --json` and `show` have the submitter; a job of the spool's own has none."""
    drop(inbox, text=json.dumps({"command": "true"}))
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    spool.enqueue("true", id="own")
    by = {job["id"]: job["submitted_by"] for job in cli.json("list")}
    assert by.pop("own") is None
    assert list(by.values()) == [take.submitter_of(os.geteuid())]
