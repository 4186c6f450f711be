"""The cost of a job, split by system call, for the worker's threads and for the job's own processes.

Needs strace. A drain is traced whole (`strace -f -T`), and the calls of a drain of few jobs are taken off one of
many, which removes the worker's start and exit. How often a call is made is exact; the times have the cost of
tracing in them (about 30 us a call) and are good for comparing calls with each other only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.program import ENVIRONMENT, FailedError
from benchmarks.rows import Row
from benchmarks.session import Session
from benchmarks.stock import fill_pending

_LINE = re.compile(r"(\d+) +(?:<\.\.\. )?(\w+)(?:\(| resumed>)(.*?)(?: <([\d.]+)>)?$")
_THREAD = re.compile(r"= (\d+)$")
_LEAST = 0.01
_WAITS = ("futex", "waitid", "wait4", "epoll_wait", "poll", "ppoll", "select", "pselect6")
"""Calls that sleep: their time is nobody's cost."""

Tally = dict[tuple[str, str], tuple[float, float]]
"""(worker or job, call) -> calls, microseconds."""


def syscalls(session: Session) -> Iterator[Row]:
    """One row for each call that is made at least once in a hundred jobs."""
    if shutil.which("strace") is None:
        yield Row(name="syscalls", what="a job by system call", place=session.place.kind, skipped="no strace here")
        return
    few, many = 10, 10 + min(session.sizes.jobs, 500)
    before, after = _trace(session, few), _trace(session, many)
    per_job: dict[tuple[str, str], tuple[float, float]] = {}
    for key, (calls, us) in after.items():
        calls_few, us_few = before.get(key, (0, 0))
        per_job[key] = (calls - calls_few) / (many - few), (us - us_few) / (many - few)
    for who, total in (("worker", "all calls of the worker"), ("job", "all calls of the job's processes")):
        mine = {call: found for (one, call), found in per_job.items() if one == who}
        busy = {call: us for call, (_, us) in mine.items() if call not in _WAITS}
        everything = sum(calls for calls, _ in mine.values()), sum(busy.values())
        yield _row(session, f"syscall-{who}-total", total, *everything, many - few)
        for call, (calls, us) in sorted(mine.items(), key=lambda item: -item[1][1]):
            if calls >= _LEAST:
                yield _row(session, f"syscall-{who}-{call}", f"{call} of the {who}", calls, us, many - few)


def _row(session: Session, name: str, what: str, calls: float, us: float, jobs: int) -> Row:
    return Row(
        name=name, what=what, place=session.place.kind, value=calls, unit="a job", n=jobs, details={"us": us}
    )  # fmt: skip


def _trace(session: Session, jobs: int) -> Tally:
    with session.queue() as queue:
        fill_pending(queue, jobs)
        trace = queue.path.parent / "trace"
        argv = ["strace", "-f", "-T", "-qq", "-s", "0", "-o", str(trace)]
        done = subprocess.run(
            [*argv, *queue.argv("worker", "start", "--count", "2", "--drain")],
            check=False,
            cwd=queue.path.parent,
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if done.returncode:
            raise FailedError(f"strace ended with {done.returncode}: {done.stderr.decode(errors='replace')[-200:]}")
        return tally(_lines(trace))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from file


def tally(lines: Iterable[str]) -> Tally:
    """Count the calls of a trace, by who made them: a thread of the first process, or any other process."""
    calls: Counter[tuple[str, str]] = Counter()
    times: Counter[tuple[str, str]] = Counter()
    workers: set[str] = set()
    becoming: set[str] = set()  # processes in an unfinished clone that makes a thread
    for line in lines:
        match = _LINE.match(line.rstrip("\n"))
        if match is None:
            continue
        pid, call, rest, took = match.groups()
        workers = workers or {pid}
        if call in ("clone", "clone3"):
            if "CLONE_THREAD" in rest:
                becoming.add(pid)
            made = _THREAD.search(rest)
            if made and pid in becoming:
                workers.add(made[1])
            if took:
                becoming.discard(pid)
        if took is not None:
            key = "worker" if pid in workers else "job", call
            calls[key] += 1
            times[key] += round(float(took) * 1e6)
    return {key: (count, times[key]) for key, count in calls.items()}
