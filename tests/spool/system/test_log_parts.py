"""The log of a job to which several hosts write: a part for each, none of them lost, all of them read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from queuectl import Spool
from queuectl.core.names import FinishedName, RunningName
from queuectl.core.result import SUCCESS, State
from queuectl.core.settings import Rule
from queuectl.spool.moves import prune
from queuectl.spool.reading import output
from queuectl.spool.system import host, lease, log_entries, log_parts, logs
from queuectl.spool.system.host import Host
from queuectl.spool.system.layout import Layout

AT = datetime(2026, 11, 24, 3, 43, tzinfo=UTC)


@contextmanager
def on(layout: Layout, name: str) -> Iterator[None]:
    """What is done in the `with` is done on another host, of that name."""
    own = host.here(layout)
    host._known[layout.root] = Host(f"{name}.aaaaaa", own.directory, own.spool_id)
    host._known[os.path.realpath(layout.root)] = host._known[layout.root]
    try:
        yield
    finally:
        host._known[layout.root] = host._known[os.path.realpath(layout.root)] = own


def named(attempt: int, name: str) -> RunningName:
    return RunningName(AT + timedelta(hours=attempt), 10, attempt, f"{name}.aaaaaa.42.bbbb", "x")


def run(layout: Layout, attempt: int, name: str, *, end: str = "exit=1") -> int:
    """The log of an attempt on that host, with its start and end."""
    with on(layout, name):
        log = log_parts.for_attempt(logs.open_log(layout.log("x")))
    logs.append_start(log, named(attempt, name), 4711)
    os.write(log, f"output {attempt}\n".encode())
    if end:
        logs.append_end(log, named(attempt, name), end)
    return log


def parts(layout: Layout) -> list[str]:
    return sorted(os.listdir(layout.logs))


def test_log_of_one_host_is_one_file(shared: Spool) -> None:
    """The first claim takes a log that is nobody's, and further attempts on its host continue it."""
    for attempt in (1, 2):
        os.close(run(shared.layout, attempt, "web1"))
    assert parts(shared.layout) == ["x.log"]


def test_attempt_on_another_host_has_a_part_of_its_own(shared: Spool) -> None:
    """Nothing is added to the earlier part; all are read in order, for the attempts and for each verdict."""
    layout = shared.layout
    for attempt, name in enumerate(("web1", "web2", "web1"), 1):
        os.close(run(layout, attempt, name))
    assert parts(layout) == ["x.log", "x.log.1", "x.log.2", "x.log.3"]
    assert log_parts.paths(layout.log("x")) == [layout.log("x") + end for end in (".1", ".2", ".3")]
    assert [each.output for each in output.read_all(layout, "x")] == [f"output {n}\n" for n in (1, 2, 3)]
    for attempt, name in enumerate(("web1", "web2", "web1"), 1):
        found, _ = logs.read_attempt(layout.log("x"), named(attempt, name))
        assert found is not None
        assert found.is_over


def test_parts_are_found_by_a_host_to_which_the_last_is_still_the_one_before(shared: Spool) -> None:
    """RACE: another host's part is the log now, and a cache says otherwise: none is missed, none comes twice."""
    layout = shared.layout
    for attempt, name in enumerate(("web1", "web2", "web3"), 1):
        os.close(run(layout, attempt, name))
    os.unlink(layout.log("x"))
    os.link(f"{layout.log('x')}.2", layout.log("x"))
    assert [each.output for each in output.read_all(layout, "x")] == [f"output {n}\n" for n in (1, 2, 3)]
    os.unlink(f"{layout.log('x')}.2")
    assert [each.output for each in output.read_all(layout, "x")] == ["output 1\n", "output 2\n"]  # it has one link now


def test_note_of_another_host_begins_a_part(shared: Spool) -> None:
    """Also while nobody has written but who submitted the job: a claim of another host may come at any moment."""
    layout = shared.layout
    log = logs.open_log(layout.log("x"))
    os.write(log, b"#queuectl submit by=web1.aaaaaa.42.cccc\n")
    with on(layout, "web2"):
        logs.append_note(log, "note", 'edited at=2026-11-24T03:43:00.000Z fields="command"')
    os.close(log)
    with open(layout.log("x")) as part:
        assert part.readline() == "#queuectl submit by=web1.aaaaaa.42.cccc host=web2.aaaaaa\n"
    os.close(run(layout, 1, "web2"))
    assert parts(layout) == ["x.log", "x.log.1", "x.log.2"]


def test_end_after_the_verdict_counts_for_nothing(shared: Spool) -> None:
    """It is shown beside it, and where it came from; the history has the verdict."""
    layout = shared.layout
    late = run(layout, 1, "web1", end="")
    with on(layout, "web2"):
        log = logs.open_existing(layout.log("x"))
        with logs.part_of_own(log) as part:
            logs.append_end(part, named(1, "web1"), "result=lost")
        os.close(log)
    logs.append_end(late, named(1, "web1"), "exit=0")
    os.close(late)
    with log_entries.open_reading(layout.log("x"), "x") as file:
        marks = [entry for entry in log_entries.read_entries(file) if isinstance(entry, logs.Mark)]
    assert [mark.event for mark in marks] == ["start", "late", "end"]
    assert marks[1].fields["host"] == "web1.aaaaaa"
    assert [str(each.result) for each in output.read_all(layout, "x")] == ["lost"]


def test_two_hosts_at_once_lose_nothing(shared: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """RACE: one puts its part in the place of the log while another is about to; both are read."""
    layout, real = shared.layout, log_parts._submitter
    os.close(run(layout, 1, "web1"))
    first = logs.open_existing(layout.log("x"))

    def meanwhile(path: str) -> str:
        monkeypatch.setattr(log_parts, "_submitter", real)
        with on(layout, "web3"):
            logs.append_note(first, "note", "of web3")
        return real(path)

    monkeypatch.setattr(log_parts, "_submitter", meanwhile)
    with on(layout, "web2"):
        logs.append_note(first, "note", "of web2")
    os.close(first)
    with log_entries.open_reading(layout.log("x"), "x") as file:
        notes = [e.text for e in log_entries.read_entries(file) if isinstance(e, logs.Mark) and e.event == "note"]
    assert sorted(notes) == ["of web2", "of web3"]


def test_reader_goes_on_to_the_part_that_follows(shared: Spool) -> None:
    """Who follows a log sees what another host writes after it has put its part there."""
    layout = shared.layout
    os.close(run(layout, 1, "web1"))
    looks = iter([True, True, False])

    def wait() -> bool:
        more = next(looks)
        if more and parts(layout) == ["x.log"]:
            os.close(run(layout, 2, "web2"))
        return more

    with log_entries.open_reading(layout.log("x"), "x") as file:
        entries = list(log_entries.read_entries(file, wait))
    assert b"".join(e for e in entries if isinstance(e, bytes)) == b"output 1\noutput 2\n"


def test_deletion_removes_all_parts(shared: Spool) -> None:
    """The id is free when the last one has gone."""
    for attempt, name in enumerate(("web1", "web2"), 1):
        os.close(run(shared.layout, attempt, name))
    logs.remove(shared.layout.log("x"))
    assert parts(shared.layout) == []


def test_lock_of_an_attempt_is_in_memory(shared: Spool) -> None:
    """A shared spool's log is not locked itself; the lock goes to the part of the attempt, and is removed with it."""
    layout = shared.layout
    os.close(run(layout, 1, "web1"))
    log = logs.open_log(layout.log("x"))
    assert lease.lock_attempt(log, AT)
    with on(layout, "web2"):
        log = lease.hand_on(log, log_parts.for_attempt(log))
    assert lease.is_attempt_held(layout.log("x"), AT)
    assert len(lease.inherited(log)) == 1
    place = host.here(layout).lock("x")
    assert os.path.exists(place)
    lease.close(log)
    assert not lease.is_attempt_held(layout.log("x"), AT)
    assert not os.path.exists(place)


def test_parts_count_where_space_is_limited(shared: Spool) -> None:
    """A job takes the space of all parts of its log, for the rule that keeps the newest jobs that fit."""
    for attempt, where in enumerate(("web1", "web2"), 1):
        log = run(shared.layout, attempt, where)
        os.write(log, b"." * (1 << 20 if attempt == 1 else 10))
        os.close(log)
    name = FinishedName(AT, 10, 2, SUCCESS, 5, "x")
    (shared.path / "done" / str(name)).write_text('{"command": "true"}')
    pruned = prune.prune(shared.layout, State.DONE, Rule(size=1 << 20))
    assert (pruned.jobs, pruned.size > 1 << 20) == (1, True)
    assert parts(shared.layout) == []
