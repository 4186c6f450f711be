"""What a worker says in outbox/ of the jobs that other users have handed in, and when."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.spool.moves import dropbox, outbox
from queuectl.work.outbox import Outbox
from tests.support import CommandLine, WorkerProcess, names, wait_for
from tests.work.conftest import StartWorker
from tests.work.test_dropbox import drop


@pytest.fixture
def inbox(spool: Spool) -> Path:
    """That of a spool with a drop box."""
    dropbox.make(spool.layout, os.getegid())
    return spool.path / "inbox"


def said(inbox: Path) -> list[str]:
    """What the entries say, without their ids."""
    return sorted(name.partition(".")[2].partition("-")[2] for name in names(inbox.parent / "outbox"))


def test_end_of_a_job_is_said_at_once(inbox: Path, in_process: StartWorker) -> None:
    """Long before the next look at all of them; so is its start."""
    with in_process(rescan=3600) as running:
        wait_for(lambda: running.has("worker"))
        go = inbox.parent / "go"
        drop(inbox, text=f'{{"command": "until [ -e {go} ]; do sleep 0.05; done"}}')
        wait_for(lambda: said(inbox) == ["running"])
        go.touch()
        wait_for(lambda: said(inbox) == ["done-exit0"])


def test_what_other_processes_do_is_said_at_the_next_look(spool: Spool, inbox: Path, in_process: StartWorker) -> None:
    """A cancel from a terminal, say, and a retry."""
    with in_process(rescan=0.1) as running:
        spool.pause("")
        wait_for(lambda: running.has("worker"))
        drop(inbox)
        wait_for(lambda: said(inbox) == ["pending"])
        (job,) = spool.list()
        spool.cancel(job)
        wait_for(lambda: said(inbox) == ["dead-cancelled"])


def test_worker_that_drains_says_how_jobs_ended_before_it_goes(spool: Spool, inbox: Path) -> None:
    """Also of a file that is refused."""
    for name, text in (("a.json", '{"command": "true"}'), ("b.json", '{"command": "exit 3", "max_retries": 0}')):
        drop(inbox, name, text)
    drop(inbox, "c.json", '{"comand": "true"}')
    WorkerProcess(spool.path, "--drain").wait_exit()
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert said(inbox) == ["dead-exit3", "dead-invalid", "done-exit0"]


def test_file_that_is_not_taken_is_said_to_its_owner(inbox: Path, in_process: StartWorker, cli: CommandLine) -> None:
    """With the reason, until it is taken or gone."""
    cli.ok("config", "set", "settle", "0.1")
    with in_process(rescan=0.1):
        path = inbox / "open.json"
        path.write_text('{"command": "true"}')
        path.chmod(0o666)
        wait_for(lambda: said(inbox) == ["left"])
        (entry,) = names(inbox.parent / "outbox")
        assert "chmod go-w" in (inbox.parent / "outbox" / entry).read_text()
        path.chmod(0o644)
        wait_for(lambda: said(inbox) == ["done-exit0"])


def test_failure_of_the_disk_is_reported_and_made_up_for(
    inbox: Path, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries are true again once they can be written."""
    with in_process(rescan=0.1) as running, monkeypatch.context() as patch:

        def fail(*_: object, **__: object) -> None:
            raise OSError(5, "Input/output error")

        patch.setattr(outbox, "look", fail)
        patch.setattr(outbox, "note", fail)
        drop(inbox)
        wait_for(lambda: running.has("done"))
        wait_for(lambda: any("outbox" in str(event.get("message")) for event in running.events()))
        assert said(inbox) == ["taken"]
        patch.undo()
        wait_for(lambda: said(inbox) == ["done-exit0"])


def test_job_that_ends_before_its_file_is_finished_is_not_said_to_wait(spool: Spool, inbox: Path) -> None:
    """A slot may start a job before the thread that made it has said so."""
    box = Outbox()
    box.expect("ann.k7f3x2q4m5n6")
    spool.enqueue("true", id="ann.k7f3x2q4m5n6")
    job = spool.get("ann.k7f3x2q4m5n6")
    dead = spool.cancel(job.id)
    del dead
    ended = spool.get(job.id)
    outbox.ensure(spool.layout, job.id)
    box.note(ended.state, ended.name)
    box.made(job.state, job.name)
    box.look(spool.layout)
    assert said(inbox) == ["dead-cancelled"]
