"""Every benchmark runs, at a size that proves nothing else, and yields rows that are well formed."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import peers, places, suite
from benchmarks.places import Place
from benchmarks.rows import Row
from benchmarks.session import TOY, Session

_EXPECTED = {
    "drain": {"drain", "drain-exit", "bare-threads", "c-program"},
    "backlog": {"backlog-30"},
    "latency": {f"latency-{mode}-{p}" for mode in ("idle", "canonical", "claim", "storm") for p in ("p50", "p99")},
    "full-group": {"latency-full-group", "latency-paused-group", "latency-seats-group"},
    "enqueue-api": {"enqueue-api"},
    "enqueue-key": {"enqueue-key"},
    "enqueue-lines": {"enqueue-lines"},
    "enqueue-process": {"enqueue-process"},
    "look": {f"{command}-{size}" for command in ("status", "metrics", "list") for size in TOY.history},
    "first-job": {"first-job"},
    "memory": {"memory-idle", "memory-backlog"},
    "idle": {"idle-cpu", "idle-cpu-scheduled"},
    "contention": {"contend-1", "contend-2"},
    "steps": {"step-total", "step-names", "step-body", "step-other"},
    "instructions": {"instructions"},
    "syscalls": {"syscall-worker-total", "syscall-job-total", "syscall-worker-rename"},
}


@pytest.fixture
def session() -> Iterator[Session]:
    """A session of toy size in a directory of the test, whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="queuectl-test-") as directory:
        yield Session(TOY, Place("disk", "ext4", Path(directory)))


def _check(row: Row, place: str) -> None:
    assert row.name
    assert row.what
    assert row.place == place
    assert not row.skipped, f"{row.name}: {row.skipped}"
    assert row.value is not None
    assert math.isfinite(row.value)
    assert row.value >= 0 or row.name == "step-other"  # one run less another, of what is done once in a while
    assert row.unit
    assert (row.floor is None) == (row.floor_what == "")
    assert row.n >= 1
    assert row.foreign >= 0
    if row.bar is not None:
        assert row.figure_unit == row.bar.unit
    assert Row.from_json(row.to_json()).to_json() == row.to_json()


def test_benchmarks_all_have_an_expectation() -> None:
    """A benchmark that is added is tested here too."""
    assert {one.name for one in suite.SUITE} == set(_EXPECTED)


@pytest.mark.parametrize("benchmark", suite.SUITE, ids=lambda one: one.name)
def test_benchmark_yields_its_rows_and_leaves_nothing(
    benchmark: suite.Benchmark, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that can be written down and read back; afterwards the place is empty."""
    if benchmark.name == "instructions":  # which would take a minute
        monkeypatch.setattr(shutil, "which", lambda _: None)
        assert [row.skipped for row in benchmark.run(session)] == ["no valgrind here"]
        return
    with session:
        rows = list(benchmark.run(session))
    if benchmark.name == "syscalls" and shutil.which("strace") is None:
        assert [row.skipped for row in rows] == ["no strace here"]
        return
    for row in rows:
        _check(row, "ext4")
    assert _EXPECTED[benchmark.name] <= {row.name for row in rows}
    assert os.listdir(session.place.path) == []


@pytest.mark.parametrize("kind", [kind for kind in peers.PEERS if kind is not peers.At], ids=lambda kind: kind.name)
def test_peer_is_measured_or_says_why_not(kind: type[peers.Peer], session: Session) -> None:
    """No peer is needed; queuectl itself is always measured. `at` is left out: its queue is the machine's."""
    with session:
        rows = list(peers.measure(session, kind))
    if kind.problem():
        assert [row.verdict for row in rows] == ["skip"]
        assert rows[0].skipped
    else:
        assert [row.skipped for row in rows] == ["", ""]
        assert [row.name for row in rows] == [f"peer-{kind.name}", f"peer-{kind.name}-latency"]
    assert os.listdir(session.place.path) == []


def test_place_that_is_missing_gives_rows_that_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured on a file system that would give wrong figures."""
    monkeypatch.delenv("BENCH_DIR", raising=False)
    monkeypatch.setattr(places, "is_journaled", lambda kind, device: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    rows = list(suite.run(suite.SUITE[:2], TOY, ["disk"]))
    assert [(row.name, row.verdict) for row in rows] == [("drain", "skip"), ("latency", "skip")]
    assert all("journal" in row.skipped for row in rows)


def test_report_has_a_row_for_a_benchmark_without_room(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A million files are not begun where they do not fit."""
    monkeypatch.setattr("benchmarks.stock._TMPFS_FILE", 1 << 60)
    with session:
        rows = list(suite.run_one(next(one for one in suite.SUITE if one.name == "look"), session))
    assert [row.verdict for row in rows] == ["skip"]
    assert "do not fit" in rows[0].skipped
