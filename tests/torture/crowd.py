"""A crowd: a spool of as many pending as finished jobs, once of a size and once of twice that.

What a command or a worker does may grow with the size of the spool, never faster; what a worker keeps may not grow at
all. That is judged by counting calls and listed names (`counting`), which a busy machine does not change, and by the
most memory that was resident.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from queuectl import Spool
from tests.support import WorkerProcess, environment
from tests.torture import counting

_LOOKS = {
    "status": ("status",),
    "metrics": ("metrics",),
    "list": ("list", "--limit", "50"),
    "list done": ("list", "--state", "done", "--limit", "50"),
    "show": ("show", "d0"),
    "fsck": ("fsck",),
}
_RUN = 200
"""Jobs that the worker runs before it is stopped."""
_RINGS = 20
_LISTINGS = 4
"""How often a command may see each name: twice for an id that is not found at once, and what comes on top."""
_PER_NAME = 400
"""Bytes that a command may take for each job."""
_BASE = 80 << 10
"""KiB that a worker, or a command beside an empty spool, may take."""
_GROWTH = 6 << 10
"""KiB that a worker may grow when the spool doubles: what the allocator does, not what is kept."""
_FEW = 2000
"""Calls and names that do not depend on the size of the spool: modules, /proc."""
_LINKS = 30_000
"""Of one file; ext4 takes 65,000."""


@dataclass
class Crowd:
    """What came of it; the figures are those of the larger spool."""

    pending: int = 0
    done: int = 0
    worker_peak: int = 0
    worker_growth: int = 0
    fsck_peak: int = 0
    fsck_calls_each: float = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """What one run asked for: see `counting`."""

    calls: int
    names: int
    peak: int


def gather(home: Path, number: int, *, window: int = 0) -> Crowd:
    """Judge spools of half the number, and of the whole, pending and done jobs each."""
    found = Crowd(pending=number, done=number)
    costs = [_measure(home / f"{size}", size, window, found.problems) for size in (number // 2, number)]
    small, large = costs
    for name in _LOOKS:
        _judge_command(name, small[name], large[name], 2 * number, found.problems)
    for name in ("worker", "paused worker"):
        _judge_worker(name, small[name], large[name], number, found.problems)
    if large["draining worker"].names > small["draining worker"].names + _LISTINGS * number // 2:
        found.problems.append(f"draining worker: {large['draining worker']}, after {small['draining worker']}")
    found.worker_peak = large["worker"].peak
    found.worker_growth = large["worker"].peak - small["worker"].peak
    found.fsck_peak = large["fsck"].peak
    found.fsck_calls_each = large["fsck"].calls / (2 * number)
    return found


def _judge_command(name: str, small: Cost, large: Cost, jobs: int, problems: list[str]) -> None:
    """Twice the spool may cost twice as much."""
    if large.calls > 2 * small.calls + _FEW or large.names > 2 * small.names + _FEW:
        problems.append(f"{name}: {large}, after {small}, is more than twice as much")
    if large.names > _LISTINGS * 2 * jobs + _FEW:  # a job is a file and a log
        problems.append(f"{name}: lists {large.names} names of {jobs} jobs")
    if large.peak > _BASE + _PER_NAME * jobs // 1024:
        problems.append(f"{name}: takes {large.peak >> 10} MiB for {jobs} jobs")


def _judge_worker(name: str, small: Cost, large: Cost, pending: int, problems: list[str]) -> None:
    """A worker lists pending/ now and then, does as much for each job as ever, and keeps no more."""
    if large.peak > _BASE or large.peak > small.peak + _GROWTH:
        problems.append(f"{name}: takes {large.peak} KiB, after {small.peak}")
    if large.calls > small.calls + _RUN * 10 + _FEW:
        problems.append(f"{name}: {large.calls} calls, after {small.calls}")
    if large.names > _LISTINGS * pending + _FEW:
        problems.append(f"{name}: lists {large.names} names, and {pending} are pending")


def _measure(home: Path, size: int, window: int, problems: list[str]) -> dict[str, Cost]:
    home.mkdir(parents=True)
    spool = Spool(home / "spool", create=True)
    with (spool.path / "config.toml").open("w") as config:
        config.write("rescan = 3600\n")  # what is listed is listed for a reason
    fill(spool, size)
    costs = {name: _look(home, spool, name, words) for name, words in _LOOKS.items()}
    (spool.path / "paused").touch()
    costs["paused worker"] = _work(home, spool, window, until="paused", problems=problems)
    (spool.path / "paused").unlink()
    costs["worker"] = _work(home, spool, window, until="done", problems=problems)
    for name in os.listdir(spool.path / "pending"):
        if not name.startswith(f"010-{_LATER:%Y}"):
            os.unlink(spool.path / "pending" / name)
    costs["draining worker"] = _drain(home, spool, window, problems)
    return costs


_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_LATER = datetime(2999, 1, 1, tzinfo=UTC)


def fill(spool: Spool, number: int) -> None:
    """Pending jobs, half of them for later, and as many done ones with their logs; a tenth have lost the job."""
    body, log = spool.path / "tmp" / "body", spool.path / "tmp" / "log"
    for serial in range(number):
        if serial % _LINKS == 0:
            for path, text in ((body, '{"command": "true"}\n'), (log, "#queuectl note\n")):
                path.unlink(missing_ok=True)
                path.write_text(text)
        at = _time(_LATER if serial % 2 else _EPOCH, serial)
        os.link(body, f"{spool.path}/pending/010-{at}-0-p{serial}.json")
        os.link(
            body, f"{spool.path}/done/{_time(_EPOCH, serial)}-010-1-exit0-{serial % 977 / 1000:.3f}s-d{serial}.json"
        )
        os.link(log, f"{spool.path}/logs/{'lost' if serial % 10 == 9 else 'd'}{serial}.log")
    body.unlink()
    log.unlink()


def _time(epoch: datetime, milliseconds: int) -> str:
    at = epoch + timedelta(milliseconds=milliseconds)
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z"


def _read(report: Path) -> Cost:
    return Cost(**json.loads(report.read_text()))


def _look(home: Path, spool: Spool, name: str, words: tuple[str, ...]) -> Cost:
    report = home / f"{name}.count"
    command = [*counting.command(report), "--spool", str(spool.path), *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment(), timeout=3600)
    if done.returncode:
        raise RuntimeError(f"queuectl {' '.join(words)} ended with {done.returncode}: {done.stderr[-500:]}")
    return _read(report)


def _work(home: Path, spool: Spool, window: int, *, until: str, problems: list[str]) -> Cost:
    """A worker that is stopped when it has said a word for so many jobs, or once."""
    report = home / f"{until}.count"
    before = len(os.listdir(spool.path / "done"))
    worker = WorkerProcess(spool.path, "--count", "2", prefix=counting.command(report, window))
    least = _RUN if until == "done" else 1
    for _ in _while_alive(worker):
        if sum(event["event"] == until for event in worker.events()) >= least:
            break
    worker.process.terminate()
    if worker.process.wait(600):
        problems.append(f"worker: ended with {worker.process.returncode}: {worker.report.read_text()[-500:]}")
    if until == "done" and len(os.listdir(spool.path / "done")) < before + _RUN:
        problems.append("worker: it has not run what it was to run")
    return _read(report)


def _drain(home: Path, spool: Spool, window: int, problems: list[str]) -> Cost:
    """A worker that would end if there were not so many jobs for later, and is rung again and again."""
    report = home / "drain.count"
    worker = WorkerProcess(spool.path, "--drain", prefix=counting.command(report, window))
    for number in range(_RINGS):
        file = spool.path / "tmp" / "ring"
        file.write_text(json.dumps({"command": ["true"], "id": f"ring{number}"}))
        file.rename(spool.path / "pending" / f"ring {number}.json")
        for _ in _while_alive(worker):
            if worker.has("done", f"ring{number}"):
                break
    worker.process.terminate()
    if worker.process.wait(600):
        problems.append(f"draining worker: {worker.process.returncode}: {worker.report.read_text()[-500:]}")
    return _read(report)


def _while_alive(worker: WorkerProcess) -> Iterator[None]:
    """Again and again, with a breath between; raises if the worker ends in the meantime."""
    while True:
        yield
        try:
            worker.process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        raise RuntimeError(f"the worker ended: {worker.report.read_text()[-500:]}")
