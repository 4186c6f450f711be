"""kill -9: at each step of a job, and again and again while two workers run many jobs."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from queuectl.conform import worker as rules
from queuectl.conform.spec import LOOK, Spool, await_that
from queuectl.conform.verdict import Problems, Rule, Session
from queuectl.conform.worker import Judge, Kit, describe, end_jobs, locked_workers, pause_briefly

_JOBS, _KILLS = 24, 6
_LEDGER = (
    'echo "S $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT" >>{out}/ledger; mkdir {out}/$QUEUECTL_JOB_ID || '
    'echo "O $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT" >>{out}/ledger; {work}; rmdir {out}/$QUEUECTL_JOB_ID; '
    'echo "E $QUEUECTL_JOB_ID $QUEUECTL_ATTEMPT" >>{out}/ledger; exit {code}'
)
"""A job that writes down when it begins and ends, and whether it meets another attempt of its own."""


def sessions(kit: Kit) -> list[Session]:
    return [
        Session((rules.KILLED,), lambda directory: _steps(kit, directory)),
        Session((rules.TOGETHER,), lambda directory: _together(kit, directory)),
    ]


def _steps(kit: Kit, directory: Path) -> Problems:
    """Kill it as soon as a step of a job can be seen from outside; another finishes."""
    judge = Judge(rules.KILLED)
    out = directory / "out"
    out.mkdir()
    for step in ("claimed", "started", "runs", "ended", "settled"):
        spool = Spool(directory / step / "spool", **rules.SETTINGS)
        job = f"{step}-job"
        work = f"while [ ! -e {out}/{step}.go ]; do sleep 0.01; done"
        spool.put(job, _LEDGER.format(out=out, work=work, code=3), max_retries=0)
        process = kit.start(spool)
        signs: dict[str, Callable[[], object]] = {
            "claimed": partial(spool.entries, "running"),
            "started": partial(spool.lines, job, "start"),
            "runs": (out / job).exists,
            "ended": partial(spool.lines, job, "end"),
            "settled": partial(spool.entries, "dead"),
        }
        if step in ("ended", "settled"):
            (out / f"{step}.go").touch()
        is_there = kit.wait(signs[step])
        kit.kill(process)
        judge.expect(rules.KILLED, is_there, f"it was never {step}")
        if step == "runs":
            entry = spool.find(job, "running")
            is_locked = entry is not None and spool.is_locked(job, entry.fields["at"])
            judge.expect(
                rules.KILLED, is_locked, "its worker was killed, and a running job's byte of the log is not locked"
            )
        (out / f"{step}.go").touch()
        with kit.started(spool):
            kit.has_ended(spool, job)
            entry = spool.find(job)
            is_right = entry is not None and (entry.state, entry.result, entry.attempts) == ("dead", "exit3", 1)
            judge.expect(rules.KILLED, is_right, f"killed when it was {step}: the job is {describe(entry)}")

            def is_tidy(spool: Spool = spool) -> bool:
                left = [path.stem for path in (spool.root / "workers").iterdir()]
                return len(left) == 1 and left == locked_workers(spool)

            judge.expect(rules.KILLED, kit.wait(is_tidy), f"killed when it was {step}: its file is still in workers/")
        _check_ledger(judge, rules.KILLED, out, spool, [job], 1)
    return judge.problems


def _together(kit: Kit, directory: Path) -> Problems:
    """Two workers, one of which is killed and started again at random moments."""
    judge, rng = Judge(rules.TOGETHER), random.Random()
    out = directory / "out"
    out.mkdir()
    spool = Spool(directory / "spool", **rules.SETTINGS)
    ids = [f"job-{number:02}" for number in range(_JOBS)]
    for number, id in enumerate(ids):
        work = f"sleep {0.02 + 0.02 * (number % 6):.2f}"
        spool.put(id, _LEDGER.format(out=out, work=work, code=number % 3), max_retries=1, backoff_base=0)
    workers = [kit.start(spool), kit.start(spool)]
    try:
        kit.wait(lambda: len(locked_workers(spool)) >= 2)
        for number in range(_KILLS):
            await_that(partial(_has_more, spool, len(spool.entries("done", "dead"))), 1.0)
            pause_briefly(rng.random() * 0.1)
            kit.kill(workers[number % 2])
            workers[number % 2] = kit.start(spool)
        is_over = kit.has_ended(spool, *ids)
        left = {*ids} - {entry.id for entry in spool.entries("done", "dead")}
        judge.expect(rules.TOGETHER, is_over, f"these have not ended: {', '.join(sorted(left))}")
        for number, id in enumerate(ids):
            entry = spool.find(id)
            code = number % 3
            expected = ("done", "exit0", 1) if not code else ("dead", f"exit{code}", 2)
            found = entry and (entry.state, entry.result, entry.attempts)
            judge.expect(
                rules.TOGETHER, found == expected, f"{id} is {describe(entry)}, not {expected[1]} after {expected[2]}"
            )
        _check_ledger(judge, rules.TOGETHER, out, spool, ids, 2)
    finally:
        for process in workers:
            kit.kill(process)
        end_jobs(spool)
        time.sleep(LOOK)
    return judge.problems


def _has_more(spool: Spool, before: int) -> bool:
    return len(spool.entries("done", "dead")) > before


def _check_ledger(judge: Judge, rule: Rule, out: Path, spool: Spool, ids: list[str], most: int) -> None:
    """What the jobs have written down themselves."""
    ledger = out / "ledger"
    lines = [line.split() for line in ledger.read_text().splitlines()] if ledger.exists() else []
    starts = Counter((id, attempt) for kind, id, attempt in lines if kind == "S")
    ends = Counter((id, attempt) for kind, id, attempt in lines if kind == "E")
    overlaps = [id for kind, id, _ in lines if kind == "O" and id in ids]
    judge.expect(rule, not overlaps, f"two attempts ran at once: {', '.join(overlaps)}")
    for id in ids:
        found = [(int(attempt), count) for (job, attempt), count in starts.items() if job == id]
        judge.expect(
            rule, all(count == 1 for _, count in found), f"{id}: an attempt ran more than once: {sorted(found)}"
        )
        judge.expect(rule, len(found) <= most, f"{id}: {len(found)} attempts ran, at most {most} may")
        entry = spool.find(id)
        if entry is not None and entry.state in ("done", "dead"):
            judge.expect(
                rule, ends[id, str(entry.attempts)] == 1, f"{id}: {entry.name} has ended, the job itself never did"
            )
