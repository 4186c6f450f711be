"""The entries of outbox/: what each look makes of them, whatever crashes and other workers have left."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.names import RunningName
from queuectl.core.outbox import Entry
from queuectl.core.result import State
from queuectl.spool.moves import dropbox, outbox, take
from queuectl.spool.moves.outbox import Looked
from queuectl.spool.system import clock
from tests.support import names

ID = "ann.k7f3x2q4m5n6"


@pytest.fixture
def out(spool: Spool) -> Path:
    """That of a spool with a drop box."""
    dropbox.make(spool.layout, os.getegid())
    return spool.path / "outbox"


def hand_in(spool: Spool, text: str = '{"command": "true"}') -> str:
    """Take a file; the id that it has."""
    path = spool.path / "inbox" / "night.json"
    path.write_text(text)
    path.chmod(0o644)
    id = take.take(spool.layout, "night.json", lambda _: True, is_whole=False)
    assert id is not None
    return id


def look(spool: Spool, times: int = 1, now: float | None = None) -> None:
    looked = Looked()
    for _ in range(times):
        assert outbox.look(spool.layout, looked, now or time.time())


@pytest.mark.parametrize(
    "text",
    ["taken", "gone", "left", "pending", "running", "done-exit0", "dead-exit1", "dead-signal9", "dead-cancelled"],
)
def test_name_of_an_entry(text: str) -> None:
    """It parses to what it was made of, also with dashes in the user's name."""
    entry = Entry("ann-b_c.k7f3x2q4m5n6", text)
    assert Entry.parse(str(entry)) == entry


@pytest.mark.parametrize("text", ["", "x", ID, f"{ID}-", f"{ID}-done", f"{ID}-over", f"a.b.{ID[4:]}-gone", ".x-gone"])
def test_name_that_is_no_entry(text: str) -> None:
    """It is left alone."""
    assert Entry.parse(text) is None


def test_outbox_is_for_its_group_to_read(spool: Spool, out: Path) -> None:
    """It may list the directory and read the files, and write neither."""
    id = hand_in(spool)
    assert stat.S_IMODE(out.stat().st_mode) == 0o2750
    assert stat.S_IMODE((out / f"{id}-taken").stat().st_mode) == 0o640


def test_entry_follows_its_job(spool: Spool, out: Path) -> None:
    """From the file that is taken to the end of the job, and back when it is retried. It names the file."""
    id = hand_in(spool)
    assert names(out) == [f"{id}-taken"]
    assert (out / f"{id}-taken").read_text() == 'file: "night.json"\n'
    take.finish(spool.layout, [id], clock.now())
    look(spool)
    assert names(out) == [f"{id}-pending"]
    spool.cancel(id)
    look(spool)
    assert names(out) == [f"{id}-dead-cancelled"]
    spool.retry(id)
    look(spool)
    assert names(out) == [f"{id}-pending"]


def test_refused_file_has_the_reason(spool: Spool, out: Path) -> None:
    """On one line, without control characters."""
    id = hand_in(spool, '{"command": "true", "cwd": "x\\u001b"}')
    take.finish(spool.layout, [id], clock.now())
    look(spool)
    assert names(out) == [f"{id}-dead-invalid"]
    assert (out / names(out)[0]).read_text() == 'file: "night.json"\nreason: "cwd" must be an absolute path\n'


def test_name_of_a_file_is_escaped(spool: Spool, out: Path) -> None:
    """Whatever a user calls his file, his colleagues can print the entry."""
    name = "a\n\x1b[31mb\udcff.json"
    path = os.fsencode(spool.path / "inbox" / name)
    with open(path, "wb") as file:
        file.write(b'{"command": "true"}')
    os.chmod(path, 0o644)
    id = take.take(spool.layout, name, lambda _: True)
    assert (out / f"{id}-taken").read_text() == 'file: "a\\n\\u001b[31mb\\udcff.json"\n'


def test_finisher_makes_an_entry_that_is_gone(spool: Spool, out: Path) -> None:
    """No job of the drop box is without one, also when the one that was made first was removed after a crash."""
    id = hand_in(spool)
    (out / f"{id}-taken").unlink()
    take.finish(spool.layout, [id], clock.now())
    assert names(out) == [f"{id}-taken"]


def test_two_entries_become_one(spool: Spool, out: Path) -> None:
    """With the text of the one that says more."""
    id = hand_in(spool)
    (out / f"{id}-taken").rename(out / f"{id}-gone")
    take.finish(spool.layout, [id], clock.now())
    assert len(names(out)) == 2
    look(spool)
    assert names(out) == [f"{id}-pending"]
    assert "night.json" in (out / names(out)[0]).read_text()


def test_file_that_was_not_taken_leaves_no_entry(spool: Spool, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was removed, or another worker was first."""
    path = spool.path / "inbox" / "night.json"
    path.write_text('{"command": "true"}')
    path.chmod(0o644)
    begin = outbox.begin

    def begin_and_lose(*arguments: object) -> None:
        begin(*arguments)  # type: ignore[arg-type]
        path.unlink()

    monkeypatch.setattr(outbox, "begin", begin_and_lose)
    assert take.take(spool.layout, "night.json", lambda _: True) is None
    assert names(out) == []


def test_entry_without_a_job_says_so_and_goes_in_a_day(spool: Spool, out: Path) -> None:
    """As after a crash before the file was moved: that file gets another entry."""
    (out / f"{ID}-taken").write_text('file: "x.json"\n')
    look(spool)
    assert names(out) == [f"{ID}-gone"]
    look(spool)
    assert names(out) == [f"{ID}-gone"]
    look(spool, now=time.time() + 90_000)
    assert names(out) == []


def test_entry_of_a_pruned_job_keeps_its_end_for_a_day(spool: Spool, out: Path) -> None:
    """However soon the owner's settings delete the job."""
    id = hand_in(spool)
    take.finish(spool.layout, [id], clock.now())
    spool.cancel(id)
    look(spool)
    spool.drop(id)
    look(spool, times=3)
    assert names(out) == [f"{id}-dead-cancelled"]
    look(spool, now=time.time() + 90_000)
    assert names(out) == []


def test_job_that_is_removed_by_hand_is_gone(spool: Spool, out: Path) -> None:
    """A look that does not find it believes that only the second time, as a job that moves can be missed."""
    id = hand_in(spool)
    take.finish(spool.layout, [id], clock.now())
    look(spool)
    os.unlink(spool.get(id).path)
    look(spool)
    assert names(out) == [f"{id}-pending"]
    look(spool, times=2, now=time.time() + 90_000)
    assert names(out) == [f"{id}-gone"]  # its log is there, so it is not certain


def test_look_leaves_it_to_another_that_is_looking(spool: Spool, out: Path) -> None:
    """One process at a time makes entries true."""
    id = hand_in(spool)
    take.finish(spool.layout, [id], clock.now())
    fd = os.open(spool.layout.taken, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert not outbox.look(spool.layout, Looked(), time.time())
    assert not outbox.note(spool.layout, Looked(), [])
    os.close(fd)
    look(spool)
    assert names(out) == [f"{id}-pending"]


def test_note_says_where_a_job_has_gone_without_a_look(spool: Spool, out: Path) -> None:
    """Of an entry that is known; its time is when the attempt started."""
    id = hand_in(spool)
    take.finish(spool.layout, [id], clock.now())
    looked = Looked()
    outbox.look(spool.layout, looked, time.time())
    name = RunningName(clock.now(), 10, 1, "web1.1.aaaa", id)
    other = name._replace(id=ID)
    assert outbox.note(spool.layout, looked, [(State.RUNNING, name), (State.RUNNING, other)])
    assert names(out) == [f"{id}-running"]
    assert abs((out / f"{id}-running").stat().st_mtime - name.started_at.timestamp()) < 0.01


def test_file_that_stays_in_inbox_has_an_entry_as_long_as_it_is_there(spool: Spool, out: Path) -> None:
    """One for each name, with the reason."""
    path = spool.path / "inbox" / "x.json"
    path.touch()
    for reason in ("first", "it has another name"):
        outbox.leave(spool.layout, "ann", "x.json", reason)
    (entry,) = names(out)
    assert entry.endswith("-left")
    assert (out / entry).read_text() == 'file: "x.json"\nreason: it has another name\n'
    look(spool)
    assert names(out) == [entry]
    path.unlink()
    look(spool)
    assert names(out) == []


def test_drop_box_of_an_older_version_has_no_entries(spool: Spool, out: Path) -> None:
    """Jobs are taken all the same."""
    out.rmdir()
    id = hand_in(spool)
    take.finish(spool.layout, [id], clock.now())
    assert spool.get(id).state == "pending"
    assert not outbox.has(spool.layout)
    assert not out.exists()
