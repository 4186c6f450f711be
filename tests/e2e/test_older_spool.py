"""A spool that version 0.1.0 has written is read by every later one: states, names, logs, groups, keys and schedules.

tests/data/spool-0.1.0.tar.xz is never written again. A later version that changes the format adds one of its own.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.support import CommandLine, WorkerProcess, wait_for

ARCHIVE = Path(__file__).parents[1] / "data" / "spool-0.1.0.tar.xz"
STATES = {
    "good": ("done", "exit0", 1),
    "gpu.train": ("done", "exit0", 1),
    "bad": ("dead", "exit3", 1),
    "slow": ("dead", "timeout", 1),
    "cancelled": ("dead", "cancelled", 0),
    "again": ("pending", None, 1),
    "held": ("pending", None, 0),
    "later": ("pending", None, 0),
    "ready": ("pending", None, 0),
    "load": ("pending", None, 0),
    "keyed": ("pending", None, 0),
    "lr.a.1": ("pending", None, 0),
    "running": ("running", None, 1),
}


@pytest.fixture
def old(tmp_path: Path) -> CommandLine:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return CommandLine(tmp_path / "spool", tmp_path)


def test_jobs_and_logs_are_read(old: CommandLine) -> None:
    """Each job is in its state, with its result, its attempts and its output."""
    found = {job["id"]: (job["state"], job["result"], job["attempts"]) for job in old.json("list", "--limit", "0")}
    refused = next(id for id in found if id.startswith("wrong-"))
    assert found.pop(refused) == ("dead", "invalid", 0)
    assert found == STATES
    assert "good\ntail" in old.ok("logs", "good")
    assert old.json("show", "good")["body"]["command"] == "echo good; printf tail"


def test_groups_keys_edges_and_schedules_are_read(old: CommandLine) -> None:
    """Settings, pauses, who has a key, what waits for what, and what recurs are as they were; the spool is sound."""
    groups = {group["group"]: group for group in old.json("group", "list")}
    assert groups["gpu"]["limit"] == 2
    assert groups["lr"]["paused"]["reason"] == "new disks"
    assert old.run("enqueue", "--unique", "report", "--if-exists", "fail", "--", "true").returncode == 4
    assert [schedule["schedule"] for schedule in old.json("schedule", "list")] == ["nightly"]
    assert "later" in old.ok("explain", "load")
    checked = old.json("fsck")
    assert (checked["sound"], checked["format"]) == (True, 2)


def test_worker_continues(old: CommandLine) -> None:
    """What is due runs; what is held, paused, due later, waiting or of another host is left as it is."""
    worker = WorkerProcess(old.spool)
    wait_for(lambda: worker.has("done", "ready"), "the job that is due")
    worker.process.terminate()
    assert worker.wait_exit() == 0
    found = {job["id"]: job["state"] for job in old.json("list", "--limit", "0")}
    kept = {id: state for id, (state, *_) in STATES.items() if id != "ready"}
    assert {id: found[id] for id in kept} == kept
    assert found["ready"] == "done"
