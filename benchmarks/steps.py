"""The cost of a job and of a start in steps that the load of the machine does not change: they are counted, not timed.

`step-NAME`: the bytecodes of Python that a worker executes for a job, by what they are for, and the calls in them of
functions in Python and in C. A drain of few jobs is taken off one of many, which removes the worker's start and exit.
This is exact but for what is done once in a while.

`instructions-NAME`: the processor's instructions in user mode, by valgrind, of `enqueue` and of a worker's start with a
few jobs, of which 0.1 % is chance, and of a further job, of which it is a few percent. Both leave out what the jobs'
own processes do.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from benchmarks.machine import PYTHON
from benchmarks.program import ENVIRONMENT, FailedError, Queue
from benchmarks.rows import Row
from benchmarks.session import Session

_STEPS = {
    "names": ("core/names", "core/lifecycle", "core/result", "spool/system/clock", "spool/system/layout", "tuples"),
    "body": ("core/body", "core/fields", "core/charset", "core/after", "json/"),
    "claim": ("spool/moves/claims", "spool/system/files", "spool/system/lease", "spool/system/pause"),
    "log": ("spool/system/logs", "work/prelude", "spool/system/processes"),
    "spawn": ("work/engines/", "work/spawn", "ctypes/"),
    "settle": ("work/settle", "work/course", "spool/system/progress", "spool/moves/"),
    "report": ("work/report", "work/hooks", "work/outbox", "core/text"),
    "slots": ("work/", "/threading"),
}
"""What code is for, by where it is; the first that fits. All else is `other`."""
_FEW, _MORE = 20, 200

Tally = dict[str, Counter[str]]
"""`bytecodes`, `calls` and `calls in C` by step."""


def steps(session: Session) -> Iterator[Row]:
    """A row for each step, and one for all."""
    more = min(session.sizes.jobs, _MORE)
    before, after = (_count_bytecodes(session, jobs) for jobs in (_FEW, _FEW + more))
    found = {
        what: {step: (after[what][step] - before[what][step]) / more for step in (*_STEPS, "other")} for what in after
    }
    for step in ("total", *_STEPS, "other"):
        values = {what: sum(by.values()) if step == "total" else by[step] for what, by in found.items()}
        yield _row(session, f"step-{step}", f"bytecodes of a job: {step}", values.pop("bytecodes"), more, values)


def instructions(session: Session) -> Iterator[Row]:
    """Three rows, if there is valgrind."""
    if shutil.which("valgrind") is None:
        yield Row(name="instructions", what="instructions", place=session.place.kind, skipped="no valgrind here")
        return
    unit = "million instructions"
    with session.queue() as queue:
        took = _count_instructions(queue, "enqueue", "--", "true")
    yield _row(session, "instructions-enqueue", "`queuectl enqueue`, as a process", took / 1e6, 1, unit=unit)
    more = min(session.sizes.jobs, _MORE)
    start, longer = (_drain_counted(session, jobs) for jobs in (_FEW, _FEW + more))
    yield _row(session, "instructions-start", f"a worker that runs {_FEW} jobs", start / 1e6, 1, unit=unit)
    yield _row(session, "instructions-job", "each further job", (longer - start) / more / 1e6, more, unit=unit)


def _row(
    session: Session,
    name: str,
    what: str,
    value: float,
    n: int,
    details: dict[str, float] | None = None,
    unit: str = "a job",
) -> Row:
    return Row(name=name, what=what, place=session.place.kind, value=value, unit=unit, n=n, details=details or {})


def _count_bytecodes(session: Session, jobs: int) -> Tally:
    with session.queue() as queue:
        _fill(queue, jobs)
        counts = queue.path.parent / "counts.json"
        _run([PYTHON, "-m", "benchmarks.steps", str(counts)], queue, "worker", "start", "--count", "2", "--drain")
        return {what: Counter(by) for what, by in json.loads(counts.read_bytes()).items()}


def _drain_counted(session: Session, jobs: int) -> int:
    with session.queue() as queue:
        _fill(queue, jobs)
        return _count_instructions(queue, "worker", "start", "--count", "2", "--drain")


def _fill(queue: Queue, jobs: int) -> None:
    queue.enqueue(b'{"command": "true"}\n' * jobs)
    with (queue.path / "config.toml").open("a") as file:
        file.write("rescan = 3600\n")  # counting makes a worker slow: what it does at each beat would count for much


def _count_instructions(queue: Queue, *words: str) -> int:
    tool = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]
    said = _run([*tool, PYTHON, "-P", "-m", "queuectl"], queue, *words)
    found = re.search(r"I\s+refs:\s+([\d,]+)", said)
    if found is None:
        raise FailedError(f"valgrind does not say how many: {said[-200:]}")
    return int(found[1].replace(",", ""))


def _run(program: list[str], queue: Queue, *words: str) -> str:
    """What it says on standard error; raises FailedError."""
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [*program, "--spool", str(queue.path), *words], check=False, cwd=root, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**ENVIRONMENT, "PYTHONHASHSEED": "0"}, text=True,
    )  # fmt: skip
    if done.returncode:
        raise FailedError(f"{program[0]} ended with {done.returncode}: {done.stderr[-300:]}")
    return done.stderr


# --- in the process whose bytecodes are counted


def step_of(path: str) -> str:
    """What the code of that file is for."""
    where = path.rpartition("/queuectl/")[2]
    return next((step for step, starts in _STEPS.items() if any(start in where for start in starts)), "other")


class Counting:
    """Counts for all threads that begin from now on, and for this one."""

    def __init__(self) -> None:
        self._bytecodes: Counter[CodeType] = Counter()
        self._calls: Counter[CodeType] = Counter()
        self._calls_in_c: Counter[CodeType] = Counter()
        for each in (threading, sys):
            each.settrace(self._trace)
            each.setprofile(self._profile)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            self._calls[frame.f_code] += 1
        elif event == "opcode":
            self._bytecodes[frame.f_code] += 1
        return self._trace

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "c_call":
            self._calls_in_c[frame.f_code] += 1

    def end(self) -> dict[str, dict[str, int]]:
        """The counts by step."""
        sys.settrace(None)
        sys.setprofile(None)
        kinds = {"bytecodes": self._bytecodes, "calls": self._calls, "calls in C": self._calls_in_c}
        return {what: dict(_by_step(counts)) for what, counts in kinds.items()}


def _by_step(counts: Counter[CodeType]) -> Counter[str]:
    found: Counter[str] = Counter()
    for code, number in counts.items():
        found[step_of(code.co_filename)] += number
    return found


def _main() -> None:
    """`python -m benchmarks.steps FILE COMMAND...`: run a command of queuectl and write down what it took."""
    counts = Path(sys.argv[1])
    sys.argv = ["queuectl", *sys.argv[2:]]
    from queuectl.cli.main import main

    counting = Counting()
    try:
        main()
    finally:
        counts.write_text(json.dumps(counting.end()), encoding="ascii")


if __name__ == "__main__":
    _main()
