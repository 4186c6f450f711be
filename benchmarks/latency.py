"""From a file's arrival in pending/ to the start of its job, against spawning the same command directly.

The job writes the time at which it runs, `date +%s%N > FILE`; the clock starts just before the rename into
pending/ (or before the spawn), so both sides pay for a shell and for date. What counts is the difference
between the two, at the median and at the 99th percentile. The file is one that any tool could have dropped:
its name is not queuectl's, so that the worker has to adopt it first (`latency-canonical`: it is).

    idle   a worker that has had nothing to do for 20 to 120 ms
    claim  within 20 ms after another job was claimed
    storm  50 drops a second, whether the last one has started or not
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.measure import Meter, Take, quantile
from benchmarks.program import Queue, end, wait_for
from benchmarks.rows import Bar, Row
from benchmarks.session import Session
from benchmarks.stock import fill_pending

_STORM = 0.02
"""Seconds between two drops."""
_BARS = {0.5: Bar(1.5, 0.7, "ms more"), 0.99: Bar(5.0, 0.7, "ms more")}


class _Side:
    """Starts commands, and says for each how many milliseconds later it ran."""

    def __init__(self, directory: Path) -> None:
        self._stamps = directory
        self._count = 0

    def launch(self, command: str) -> float:
        """Have the command run; returns the time just before."""
        raise NotImplementedError

    def wait_over(self) -> None:
        """Until nothing that was launched is under way."""
        raise NotImplementedError

    def stamped(self) -> tuple[float, Path]:
        """Launch a job that writes when it runs; returns when that was, and where it writes."""
        self._count += 1
        path = self._stamps / f"{type(self).__name__}-{self._count}"
        return self.launch(f"date +%s%N > {path}"), path


class _Drops(_Side):
    def __init__(self, directory: Path, queue: Queue, *, is_canonical: bool, is_behind: bool = False) -> None:
        """It `is_behind` jobs that are there all the time, of which one may run."""
        super().__init__(directory)
        self._is_behind = is_behind
        self._queue = queue
        self._is_canonical = is_canonical

    def launch(self, command: str) -> float:
        name = f"drop-{time.monotonic_ns()}"
        made = self._queue.tmp / name
        made.write_text(f'{{"command": "{command}"}}')
        target = self._queue.pending / (
            f"010-20260101T000000.000Z-0-{name}.json" if self._is_canonical else f"{name}.json"
        )
        begun = time.time()
        os.rename(made, target)
        return begun

    def wait_claimed(self) -> None:
        wait_for(lambda: not os.listdir(self._queue.pending), 0.0005)

    def wait_over(self) -> None:
        if self._is_behind:
            wait_for(lambda: not any("-drop-" in name for name in os.listdir(self._queue.running)), 0.002)
            return
        wait_for(lambda: not os.listdir(self._queue.pending) and not os.listdir(self._queue.running), 0.002)


class _Spawns(_Side):
    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._children: list[subprocess.Popen[bytes]] = []

    def launch(self, command: str) -> float:
        begun = time.time()
        self._children.append(subprocess.Popen(["/bin/sh", "-c", command], stdin=subprocess.DEVNULL))
        return begun

    def wait_over(self) -> None:
        while self._children:
            self._children.pop().wait()


def latency(session: Session) -> Iterator[Row]:
    """A worker of two slots, and the same moments for a direct spawn."""
    for mode, measure, is_canonical in (
        ("idle", _idle, False),
        ("canonical", _idle, True),
        ("claim", _after_claim, False),
        ("storm", _storm, False),
    ):
        yield from _compare(session, mode, measure, is_canonical)


_BLOCKED = {
    "full": ("limit", "1", "a full group"),
    "paused": ("paused", "", "a paused group"),
    "seats": ("seats", "1", "a group whose seat is taken"),
}
"""What keeps a million jobs from starting: a row's name, the setting of their group, and what it is called."""


def full_group(session: Session) -> Iterator[Row]:
    """A job without a group behind as many jobs of a blocked one as there can be, beside an empty queue."""
    with session.queue() as crowded, session.queue() as empty:
        fill_pending(crowded, session.sizes.backlogs[-1], group="full")
        group = crowded.path / "groups/full"
        group.mkdir(parents=True)
        for kind, (setting, value, _) in _BLOCKED.items():
            (group / setting).write_text(f"{value}\n")
            yield _behind(session, crowded, empty, kind)
            (group / setting).unlink()


def _behind(session: Session, crowded: Queue, empty: Queue, kind: str) -> Row:
    """The row of one kind of blocked group. One job of it runs all the time, if one may."""
    over = crowded.path.parent / f"over-{kind}"
    command = f"until [ -e {over} ]; do sleep 0.1; done"
    (crowded.pending / f"000-20260101T000000.000Z-0-full.{kind}.json").write_text(f'{{"command": "{command}"}}')
    behind = crowded.start_worker("--count", "2")  # which is never ready in the sense of the others
    kept = contextlib.ExitStack()
    kept.callback(end, behind)
    with kept, empty.worker("--count", "2") as alone:
        sides = {
            queue: (_Drops(queue.path.parent, queue, is_canonical=False, is_behind=queue is crowded), worker)
            for queue, worker in ((crowded, behind), (empty, alone))
        }
        _wait_stamp(*sides[crowded][0].stamped())  # which says that the worker has seen them all

        def block(queue: Queue) -> Take:
            side, worker = sides[queue]
            with Meter(worker.pid) as meter:
                samples = _idle(side, session.sizes.drops)
            return Take(statistics.median(samples), foreign=meter.foreign, samples=tuple(samples))

        try:
            takes = session.interleave({"empty": lambda: block(empty), "full": lambda: block(crowded)})
        finally:
            over.touch()
    mine, floor = takes["full"].samples, takes["empty"].samples
    value, its = quantile(mine, 0.5), quantile(floor, 0.5)
    size, what = session.sizes.backlogs[-1], _BLOCKED[kind][2]
    return Row(
        name=f"latency-{kind}-group", what=f"drop to start, behind {size:,} jobs of {what}, p50",
        place=session.place.kind, value=value, unit="ms", floor=its, floor_what="the same, empty queue",
        figure=value - its, figure_unit="ms more", bar=_BARS[0.5], n=len(mine),
        foreign=max(takes["full"].foreign, takes["empty"].foreign), details={"max": max(mine), "floor_max": max(floor)},
        samples=mine, floor_samples=floor,
    )  # fmt: skip


def _compare(
    session: Session, mode: str, measure: Callable[[_Side, int], list[float]], is_canonical: bool
) -> Iterator[Row]:
    with session.queue() as queue, queue.worker("--count", "2") as worker:
        drops = _Drops(queue.path.parent, queue, is_canonical=is_canonical)
        spawns = _Spawns(queue.path.parent)
        number = session.sizes.drops * (2 if mode == "storm" else 1)

        def block(side: _Side) -> Take:
            with Meter(worker.pid) as meter:
                samples = measure(side, number)
            return Take(statistics.median(samples), foreign=meter.foreign, samples=tuple(samples))

        takes = session.interleave({"spawn": lambda: block(spawns), "drop": lambda: block(drops)})
    mine, floor = takes["drop"].samples, takes["spawn"].samples
    what = {
        "idle": "drop to start, idle worker",
        "canonical": "drop under its final name to start, idle worker",
        "claim": "drop to start, within 20 ms after a claim",
        "storm": "drop to start, 50 drops/s",
    }[mode]
    for share, bar in _BARS.items():
        value, its = quantile(mine, share), quantile(floor, share)
        yield Row(
            name=f"latency-{mode}-p{share * 100:.0f}", what=f"{what}, p{share * 100:.0f}", place=session.place.kind,
            value=value, unit="ms", floor=its, floor_what="spawning it directly", figure=value - its,
            figure_unit="ms more", bar=None if is_canonical else bar, n=len(mine),
            foreign=max(takes["drop"].foreign, takes["spawn"].foreign),
            details={"max": max(mine), "floor_max": max(floor)},
            samples=mine if share == 0.5 else [], floor_samples=floor if share == 0.5 else [],
        )  # fmt: skip


def _idle(side: _Side, number: int) -> list[float]:
    samples = []
    for _ in range(number):
        time.sleep(random.uniform(0.02, 0.12))
        samples.append(_wait_stamp(*side.stamped()))
        side.wait_over()
    return samples


def _after_claim(side: _Side, number: int) -> list[float]:
    samples = []
    for _ in range(number):
        time.sleep(random.uniform(0.02, 0.06))
        side.launch("true")
        if isinstance(side, _Drops):
            side.wait_claimed()
        time.sleep(random.uniform(0.0, 0.018))
        samples.append(_wait_stamp(*side.stamped()))
        side.wait_over()
    return samples


def _storm(side: _Side, number: int) -> list[float]:
    begun = time.monotonic()
    launched = []
    for index in range(number):
        time.sleep(max(0.0, begun + index * _STORM - time.monotonic()))
        launched.append(side.stamped())
    samples = [_wait_stamp(*one) for one in launched]
    side.wait_over()
    return samples


def _wait_stamp(begun: float, path: Path) -> float:
    """Milliseconds from `begun` to the time that the job wrote."""
    wait_for(lambda: path.exists() and path.read_bytes().endswith(b"\n"), 0.002, 60)
    ran = int(path.read_text(encoding="ascii")) / 1e9
    with contextlib.suppress(OSError):
        path.unlink()
    return (ran - begun) * 1e3
