"""What `queuectl fsck` finds, and what it repairs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.core.names import FinishedName
from queuectl.core.result import State
from queuectl.spool.moves import dropbox
from queuectl.spool.system import clock, groups, identity, lease, pause
from queuectl.spool.system.layout import Layout
from queuectl.spool.upkeep.findings import Finding, Weight
from queuectl.spool.upkeep.fsck import check
from tests.spool.given import locked_log, pending_name, put, put_finished, running_name
from tests.support import CommandLine, WorkerProcess, names

HOST = "web1"


def findings(layout: Layout) -> list[Finding]:
    return list(check(layout, HOST))


def test_spool_that_has_worked_is_sound(spool: Spool, cli: CommandLine) -> None:
    """After jobs of every fate nothing is off, and the exit code says so."""
    for id, command in (("good", "true"), ("bad", "false")):
        spool.enqueue(command, id=id, max_retries=0)
    (spool.path / "pending" / "broken.json").write_text("[]")
    (spool.path / "config.toml").write_text("settle = 0.1\n")
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    spool.enqueue("true", id="waiting")
    assert cli.json("fsck") == {"spool": str(spool.path), "sound": True, "format": 1, "findings": []}
    assert cli.run("fsck").returncode == 0


def test_job_without_the_key_it_names_asks_for_it(spool: Spool, cli: CommandLine) -> None:
    """A file that was put into pending/ by hand is named; after a repair a worker leaves it out, as the key is had."""
    spool.enqueue("true", id="had", unique="k")
    assert findings(spool.layout) == []
    spool.enqueue("true", id="copy")
    path = Path(spool.get("copy").path)
    path.write_text('{"command": "true", "id": "copy", "unique": "k"}')
    (found,) = findings(spool.layout)
    assert (found.path, found.weight, "its key 'k'" in found.what) == (str(path), Weight.NOTE, True)
    cli.run("fsck", "--repair")
    assert not path.exists()
    assert WorkerProcess(spool.path, "--drain").wait_exit() == 0
    assert [f"{spool.get(id).result}" for id in ("had", "copy")] == ["exit0", "skipped"]


def twins(layout: Layout) -> None:
    put_finished(layout, "x")
    put(layout, pending_name("x"))


def empty(layout: Layout) -> None:
    put(layout, running_name("x", worker="db2.1.aaaa"), state=State.RUNNING).write_bytes(b"")


def torn(layout: Layout) -> None:
    put_finished(layout, "x").write_text('{"command": ')


def link(layout: Layout) -> None:
    path = put_finished(layout, "x")
    path.rename(f"{layout.tmp}/x")
    path.symlink_to(f"{layout.tmp}/x")


def wrong_directory(layout: Layout) -> None:
    put_finished(layout, "x", result="exit0", state=State.DEAD)


def foreign(layout: Layout) -> None:
    Path(layout.running, "notes.json").write_text("{}")


def no_number(layout: Layout) -> None:
    os.makedirs(layout.group("gpu"))
    Path(layout.group("gpu"), "limit").write_text("two\n")


def no_directory(layout: Layout) -> None:
    Path(layout.groups).touch()


@pytest.mark.parametrize("spoil", [twins, empty, torn, link, wrong_directory, foreign, no_number, no_directory])
def test_broken_invariant_is_found(layout: Layout, cli: CommandLine, spoil: Callable[[Layout], None]) -> None:
    """Whatever makes a file no single whole job in its right place is a problem, and exit code 1."""
    spoil(layout)
    problems = [finding for finding in findings(layout) if finding.weight is Weight.PROBLEM]
    assert len(problems) == 1
    assert os.path.lexists(problems[0].path)
    done = cli.run("fsck", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["sound"] is False


def test_twin_goes_to_the_dead_letters(layout: Layout, cli: CommandLine) -> None:
    """`--repair` refuses the file that has not begun; both files are kept, and the spool is sound again."""
    twins(layout)
    rows = json.loads(cli.ok("fsck", "--repair", "--json"))["findings"]
    assert [(row["repairable"], row["repaired"]) for row in rows] == [(True, True)]
    dead = [FinishedName.parse(name) for name in names(Path(layout.directory(State.DEAD)))]
    assert sorted(str(name.result) for name in dead if name) == ["exit1", "invalid"]
    assert cli.json("fsck")["sound"] is True


def test_half_a_move_is_the_next_workers(layout: Layout, cli: CommandLine) -> None:
    """One file with a name in running/ and in pending/ is one job, which a repair leaves as it is."""
    running = put(layout, running_name("x", worker="db2.1.aaaa"), state=State.RUNNING)
    os.link(running, layout.job(State.PENDING, pending_name("x")))
    assert {finding.weight for finding in findings(layout)} == {Weight.NOTE}
    cli.ok("fsck", "--repair")
    assert names(Path(layout.directory(State.DEAD))) == []


def test_leftovers_of_broken_submits_go(layout: Layout, cli: CommandLine) -> None:
    """Old files in tmp/, empty unlocked logs without a job and files of dead workers are swept up; all else stays."""
    stale = Path(layout.tmp, "x.abc.json")
    stale.write_text("{")
    os.utime(stale, (0, 0))
    fresh = Path(layout.tmp, "y.abc.json")
    fresh.write_text("{")
    Path(layout.log("nobodys")).touch()
    Path(layout.log("kept")).write_text("output")
    with locked_log(layout, "being-submitted"):
        Path(layout.worker("web1.1.dead")).write_text("{}")
        assert {finding.weight for finding in findings(layout)} == {Weight.NOTE}
        for finding in findings(layout):
            if finding.repair:
                finding.repair()
        assert names(Path(layout.tmp)) == ["y.abc.json"]
        assert names(Path(layout.logs)) == ["being-submitted.log", "kept.log"]
        assert names(Path(layout.workers)) == []
    assert cli.run("fsck").returncode == 0


def test_what_says_nothing_of_a_group_is_noted(layout: Layout) -> None:
    """Names that no group can have, files that are no settings, and a brake's pause from before the last resume; what
    is in use is not."""
    groups.write(layout, "gpu", "limit", "2")
    groups.write(layout, "gpu", "max-failed", "5%")
    pause.write(layout, "too many", None, "gpu", pause.counted_from(layout, clock.now, "gpu"))
    pause.write(layout, "new driver", clock.now(), "net")
    assert findings(layout) == []
    for path in ("a..b/limit", "gpu/limits", "x/resumed"):
        Path(layout.groups, path).parent.mkdir(exist_ok=True)
        Path(layout.groups, path).touch()
    Path(layout.groups, "file").touch()
    Path(layout.group("gpu"), "resumed").touch()
    assert {finding.weight for finding in findings(layout)} == {Weight.NOTE}
    found = {os.path.relpath(finding.path, layout.groups): finding for finding in findings(layout)}
    assert set(found) == {"a..b", "gpu/limits", "file", "gpu/paused"}
    assert "limit, max-failed" in found["gpu/limits"].remedy
    assert not any(finding.repair for finding in found.values())


def test_orphans_are_notes(layout: Layout) -> None:
    """A running job whose worker is gone is reported with what will become of it; that is not a broken invariant."""
    put(layout, running_name("x"), state=State.RUNNING)
    (finding,) = findings(layout)
    assert finding.weight is Weight.NOTE
    assert "next worker" in finding.remedy


@pytest.mark.parametrize(
    ("on", "line"),
    [("tcp://web2:8786", "--on tcp://web2:8786"), ("slurm:cpu", "--on slurm --name cpu")],
)
def test_orphans_on_an_engine_are_notes(layout: Layout, on: str, line: str) -> None:
    """They are reported with the line that starts the worker which takes them over."""
    with lease.WorkerLease(layout, "web1", {"on": on, "boot_id": identity.boot_id()}) as own:
        own.is_kept = True
        put(layout, running_name("x", worker=own.name), state=State.RUNNING)
    (finding,) = findings(layout)
    assert finding.weight is Weight.NOTE
    assert finding.remedy.endswith(f"queuectl worker start {line}")


def test_job_that_moves_in_the_meantime_is_not_a_twin(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job seen in two directories because it moved between two listings is not reported."""
    path = put(layout, pending_name("x"))
    real = os.listdir

    def move_after_first(directory: str) -> list[str]:
        found = real(directory)
        if directory == layout.pending and path.exists():
            path.rename(layout.job(State.DONE, f"{'20261124T034300.000Z'}-010-1-exit0-0.100s-x.json"))
        return found

    monkeypatch.setattr(os, "listdir", move_after_first)
    assert findings(layout) == []


@pytest.mark.parametrize("logs", [1, 30])
def test_logs_without_jobs_cost_two_listings_however_many(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, logs: int
) -> None:
    """Each such log is reported, and the spool is not listed once more for each of them."""
    for number in range(logs):
        Path(layout.log(f"lost{number}")).write_text("output")
    put_finished(layout, "x")
    Path(layout.log("x")).write_text("output")
    scanned = []
    real = os.scandir

    def scandir(directory: str) -> Any:
        scanned.append(directory)
        return real(directory)

    monkeypatch.setattr(os, "scandir", scandir)
    assert [finding.what for finding in findings(layout)] == ["a log without its job"] * logs
    assert scanned.count(layout.directory(State.DEAD)) == 2


def test_log_whose_job_comes_in_the_meantime_is_not_reported(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that was submitted while the spool was listed has its log, and is found when that is looked at again."""
    Path(layout.log("x")).write_text("output")
    real = os.listdir

    def submit_before_logs(directory: str) -> list[str]:
        if directory == layout.logs:
            put(layout, pending_name("x"))
        return real(directory)

    monkeypatch.setattr(os, "listdir", submit_before_logs)
    assert findings(layout) == []


def test_fsck_reports_what_lies_in_a_drop_box(layout: Layout) -> None:
    """Files to be taken or finished are notes; what nobody has put there by the rules of taken/ is a problem."""
    dropbox.make(layout, os.getegid())
    assert findings(layout) == []
    Path(layout.inbox, "new.json").touch()
    Path(layout.inbox, "x.json").mkdir()
    Path(layout.taken_file("ann.aaaaaaaaaaaa")).touch()
    put_finished(layout, "ann.bbbbbbbbbbbb")
    Path(layout.log("ann.bbbbbbbbbbbb")).touch()
    Path(layout.taken_file("ann.bbbbbbbbbbbb")).touch()
    Path(layout.taken_file("-odd")).touch()
    found = {Path(finding.path).name: finding for finding in findings(layout)}
    whats = {name: finding.what for name, finding in found.items()}
    assert "not taken yet" in whats["new.json"]
    assert "never taken" in whats["x.json"]
    assert "not a job yet" in whats["ann.aaaaaaaaaaaa"]
    assert "already exists" in whats["ann.bbbbbbbbbbbb"]
    assert [name for name, finding in found.items() if finding.weight is Weight.PROBLEM] == ["-odd"]


def test_drop_box_that_others_fill_is_not_reported_file_by_file(layout: Layout) -> None:
    """A hundred files are enough."""
    dropbox.make(layout, os.getegid())
    for number in range(150):
        Path(layout.inbox, f"{number}.json").touch()
    assert len(findings(layout)) == 101


def test_half_a_drop_box_is_a_problem(layout: Layout) -> None:
    """Without taken/ nothing can be taken."""
    dropbox.make(layout, os.getegid())
    os.rmdir(layout.taken)
    (found,) = findings(layout)
    assert (found.weight, found.path) == (Weight.PROBLEM, layout.taken)


def test_outbox_holds_entries_alone(layout: Layout) -> None:
    """Anything else is a note, and so is that there is none."""
    dropbox.make(layout, os.getegid())
    for name in ("ann.aaaaaaaaaaaa-done-exit0", "notes.txt"):
        Path(layout.outbox, name).touch()
    (found,) = findings(layout)
    assert (found.weight, Path(found.path).name) == (Weight.NOTE, "notes.txt")
    for name in os.listdir(layout.outbox):
        os.unlink(f"{layout.outbox}/{name}")
    os.rmdir(layout.outbox)
    (found,) = findings(layout)
    assert (found.weight, found.path) == (Weight.NOTE, layout.outbox)
