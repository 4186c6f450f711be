"""Backups of a live spool, made in any order of directories: what waits in them means what it did."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from queuectl import Spool
from queuectl.core.names import PendingName
from queuectl.core.result import SUCCESS, State
from queuectl.spool.moves import claims, dependents
from queuectl.spool.system import clock
from queuectl.spool.upkeep.edges import Upkeep
from tests.spool.moves.test_dependents import WORKER, all_edges, end, finish

PARTS = ("pending", "done", "after", "logs")


def _finish_rest(spool: Spool) -> None:
    for id in ("a", "g.2"):
        finish(spool, id)


HISTORY: tuple[Callable[[Spool], object], ...] = (
    lambda spool: [spool.enqueue("true", id=id) for id in ("a", "g.1", "g.2")],
    lambda spool: spool.enqueue("true", id="c", after=["a", "g."]),
    lambda spool: finish(spool, "g.1"),
    _finish_rest,
    lambda spool: spool.enqueue("true", id="d", after_end=["c"]),
    lambda spool: finish(spool, "c"),
)
NEEDS = {"c": ("a", "g.1", "g.2"), "d": ("c",)}


def restored(moments: list[Path], times: tuple[int, ...], at: Path) -> Spool:
    """A spool of which each part was copied at another moment; of a job that was caught twice, its end counts."""
    shutil.copytree(moments[times[0]], at, ignore=lambda path, _: PARTS if Path(path) == moments[times[0]] else ())
    for part, time in zip(PARTS, times, strict=True):
        if (moments[time] / part).exists():
            shutil.copytree(moments[time] / part, at / part)
    dependents._memories.clear()
    spool = Spool(at)
    ended = {job.id for job in spool.list(State.DONE)}
    for job in spool.list(State.PENDING):
        if job.id in ended:
            Path(job.path).unlink()
    return spool


def run_all(spool: Spool) -> Iterator[str]:
    """Run all that is due, with a beat in between, as workers do, until there is nothing; the ids in that order."""
    for _ in range(20):
        Upkeep(spool.layout).run()
        due = [job for job in spool.list(State.PENDING) if isinstance(job.name, PendingName) and not job.is_waiting]
        if not due:
            return
        for job in due:
            assert isinstance(job.name, PendingName)
            claim = claims.claim(spool.layout, job.name, WORKER, clock.now)
            if claim is not None:  # else it has no log in the copy, and waits again as a dropped file does
                os.close(claim.log)
                end(spool, claim.name, SUCCESS)
                yield job.id
    raise AssertionError(f"{due} never start")


def test_parts_of_different_moments_make_a_spool_in_which_nothing_is_stuck(tmp_path: Path) -> None:
    """Each job that waits starts once all that it names has ended; only if the copy lacks one of these may it be
    skipped. No edge is left."""
    spool = Spool(tmp_path / "live", create=True)
    moments = []
    for number, act in enumerate(HISTORY):
        act(spool)
        moments.append(tmp_path / f"moment{number}")
        shutil.copytree(spool.path, moments[-1])
    wrong = []
    for times in itertools.product(range(len(moments)), repeat=len(PARTS)):
        if sum(weight * time for weight, time in zip((1, 2, 3, 5), times, strict=True)) % 7:
            continue  # a seventh of them, which has nearly every pair
        at = tmp_path / "restored"
        copy = restored(moments, times, at)
        before = {job.id: job for job in copy.list()}
        ran = [*run_all(copy)]
        after = {job.id: job for job in copy.list()}
        for id in NEEDS.keys() & before.keys():
            has_all = all(dep in before for dep in NEEDS[id])
            fate = f"{after[id].state} {after[id].result}"
            if fate != "done exit0" and (has_all or fate != "dead skipped"):
                wrong.append(f"{times}: {id} is {fate}")
            late = [dep for dep in NEEDS[id] if id in ran and dep in ran and ran.index(dep) > ran.index(id)]
            wrong += [f"{times}: {id} ran before {late}"] if late else []
        skipped = {job.id for job in after.values() if job.result is not None and job.result.is_skipped}
        left = [path for path in (all_edges(copy)) if path.split("/")[1].rstrip("+") not in skipped]
        wrong += [f"{times}: {left} are left"] if left else []
        shutil.rmtree(at)
    assert not wrong, "\n".join(wrong)
