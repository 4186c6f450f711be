"""The files of `after/`: what the slow beat of workers, `fsck` and `doctor` make of those that should not be there."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.names import WAITING_AT, PendingName
from queuectl.core.result import State
from queuectl.spool.moves import dependents
from queuectl.spool.system import edges, lease, logs
from queuectl.spool.system.layout import STATES, Layout
from queuectl.spool.upkeep import doctor
from queuectl.spool.upkeep.edges import Upkeep
from queuectl.spool.upkeep.findings import Finding, Weight
from queuectl.spool.upkeep.fsck import check
from tests.spool.given import put
from tests.spool.moves.test_dependents import all_edges, finish, where


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """One with a job that waits, `c` for `a`."""
    dependents._memories.clear()
    spool = Spool(tmp_path / "spool", create=True)
    spool.enqueue("true", id="a")
    spool.enqueue("true", id="c", after=["a"])
    return spool


def findings(spool: Spool) -> list[Finding]:
    return list(check(spool.layout, "web1"))


def of_no_job(spool: Spool) -> str:
    edges.write(spool.layout, "nowhere", ["a"], edges.Hint())
    return "a/nowhere"


def of_a_job_that_is_due(spool: Spool) -> str:
    spool.enqueue("true", id="due")
    edges.write(spool.layout, "due", ["x"], edges.Hint(), fulfilled=["x"])
    return "x/due+"


def empty(spool: Spool) -> str:
    directory = Path(spool.layout.edges("x"))
    directory.mkdir()
    os.utime(directory, (0, 0))
    return "x"


@pytest.mark.parametrize("spoil", [of_no_job, of_a_job_that_is_due, empty])
@pytest.mark.parametrize("who", ["beat", "repair"])
def test_what_is_left_in_after_is_noted_and_goes(spool: Spool, spoil: Callable[[Spool], str], who: str) -> None:
    """Edges of jobs that do not wait, and directories without any: a note, which a worker or `--repair` settles."""
    path = f"{spool.layout.after}/{spoil(spool)}"
    found = findings(spool)
    assert [(finding.weight, finding.path) for finding in found] == [(Weight.NOTE, path)]
    if who == "beat":
        Upkeep(spool.layout).run()
    else:
        assert found[0].repair is not None
        assert found[0].repair()
    assert all_edges(spool) == ["a/c"]
    assert not Path(spool.layout.edges("x")).exists()
    assert findings(spool) == []


def test_edges_of_a_job_that_is_being_submitted_stay(spool: Spool) -> None:
    """Who submits it holds its log until it is there; neither the beat nor `fsck` takes its edges for leftovers."""
    log = logs.open_log(spool.layout.log("nowhere"))
    assert lease.lock_id(log)
    of_no_job(spool)
    Upkeep(spool.layout).run()
    assert findings(spool) == []
    assert all_edges(spool) == ["a/c", "a/nowhere"]
    os.close(log)


def lost_edge(layout: Layout) -> None:
    os.unlink(f"{layout.after}/a/c")


def lost_look(layout: Layout) -> None:
    (name,) = os.listdir(layout.running)
    os.rename(f"{layout.running}/{name}", f"{layout.directory(State.DEAD)}/20261001T000000.000Z-010-1-exit1-5-a.json")


@pytest.mark.parametrize(("what", "says"), [(lost_edge, "is missing"), (lost_look, "cannot come about")])
def test_job_that_waits_for_nothing_there_is_noted(spool: Spool, what: Callable[[Layout], None], says: str) -> None:
    """One that lacks an edge, or that nobody has moved although what it waits for has ended: workers see to it."""
    name = spool.get("a").name
    os.rename(
        spool.layout.job(State.PENDING, name), f"{spool.layout.running}/20261001T000000.000Z-010-1-db2.1.aaaa-a.json"
    )
    assert [finding.path for finding in findings(spool) if "/pending/" in finding.path] == []
    what(spool.layout)
    (found,) = [finding for finding in findings(spool) if "/pending/" in finding.path]
    assert found.weight is Weight.NOTE
    assert says in found.what
    Upkeep(spool.layout).run()
    assert [finding for finding in findings(spool) if "/pending/" in finding.path] == []


def test_waiting_time_without_a_condition_is_noted(spool: Spool) -> None:
    """Its body names nothing, and it has no edges: the next worker holds it."""
    put(spool.layout, str(PendingName(10, WAITING_AT, 0, "odd")))
    assert ["names none" in finding.what for finding in findings(spool)] == [True]


def test_foreign_files_in_after_are_noted(spool: Spool) -> None:
    """What no job can be called; only what keeps a job from being waited for is a problem."""
    after = Path(spool.layout.after)
    (after / "a" / "not an id").touch()
    (after / ".swp").touch()
    (after / "file").touch()
    found = {os.path.relpath(finding.path, after): finding.weight for finding in findings(spool)}
    assert found == {"a/not an id": Weight.NOTE, ".swp": Weight.NOTE, "file": Weight.PROBLEM}
    Upkeep(spool.layout).run()
    assert all_edges(spool) == [".swp", "a/c", "a/not an id", "file"]


def test_after_that_is_no_directory_is_a_problem(tmp_path: Path) -> None:
    """No job can wait then; the others are found all the same."""
    spool = Spool(tmp_path / "plain", create=True)
    Path(spool.layout.after).touch()
    spool.enqueue("true", id="a")
    assert [(finding.weight, finding.path) for finding in findings(spool)] == [(Weight.PROBLEM, spool.layout.after)]
    Upkeep(spool.layout).run()
    finish(spool, "a")


def test_edge_with_both_names_is_fulfilled(spool: Spool) -> None:
    """A copy made while it was renamed can hold both; what is fulfilled stays fulfilled."""
    Path(f"{spool.layout.after}/a/c+").touch()
    Upkeep(spool.layout).run()
    assert where(spool, "c") == "due"


def test_doctor_names_workers_of_older_versions(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """They do not move what waits, so it says so as long as anything waits; otherwise it is silent."""

    def checks() -> list[tuple[str, str]]:
        found = doctor.examine(spool.layout, 0, version="0.1.0")
        return [(str(check.health), check.found) for check in found if check.subject == "dependencies"]

    assert [health for health, _ in checks()] == ["ok"]
    old = {"worker": "web1.1.aaaa", "alive": True, "version": "0.0.9"}
    monkeypatch.setattr(doctor, "list_workers", lambda _: [old, {"worker": "web1.2.aaaa", "alive": True}])
    ((health, found),) = checks()
    assert health == "warn"
    assert found == "web1.1.aaaa is of version 0.0.9, web1.2.aaaa is of version unknown"
    spool.cancel("c")
    assert checks() == []
    assert json.dumps(findings(spool)) == "[]"


def test_beat_skips_a_spool_in_which_nothing_has_moved(spool: Spool) -> None:
    """However many jobs wait; it looks again after any move, and at every tenth beat in any case."""
    long_ago = time.time() - 60
    for name in (*STATES, "after"):
        os.utime(spool.path / name, (long_ago, long_ago))
    beat = Upkeep(spool.layout)
    found = [beat.run(may_skip=True) for _ in range(12)]
    assert [each is not None for each in found] == [True, *[False] * 9, True, False]
    assert beat.run() == []
    spool.hold("a")
    assert beat.run(may_skip=True) == []
