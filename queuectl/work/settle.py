"""Settling an attempt: which way the job goes, the rename, and the line that tells."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from queuectl.config import Settings
from queuectl.core import lifecycle
from queuectl.core.body import Body
from queuectl.core.names import FinishedName, PendingName, RunningName
from queuectl.core.result import LOST, Result, State
from queuectl.core.text import format_count, format_seconds
from queuectl.errors import SpoolError
from queuectl.spool import claims, clock, trust
from queuectl.spool.store import Spool
from queuectl.work.report import Report

_TRY_AGAIN = 1.0


@dataclass(slots=True)
class Context:
    """What the parts of one worker share.

    `settings` is replaced when config.toml changes. `stopping` is 0 while it works, 1 when it lets running
    jobs finish, 2 when it ends them.
    """

    spool: Spool
    report: Report
    settings: Settings
    now: Callable[[], datetime] = clock.now
    rng: random.Random = field(default_factory=random.Random)
    stopping: int = 0

    def trusts(self, uid: int) -> bool:
        """Whether that user's files in pending/ are run."""
        return trust.is_allowed(self.spool.layout, uid, self.settings.allow_users or "")


def finish(context: Context, name: RunningName, body: Body | None, result: Result, duration: float) -> None:
    """Settle an attempt that has ended, by its result, and say what comes next."""
    policy = body.policy(context.settings.policy) if body else context.settings.policy
    move = lifecycle.settle(name, result, duration, policy, context.now(), context.rng)
    if isinstance(move.name, PendingName):
        claims.note_end(context.spool.layout, name, context.now(), duration)
    took = f"{result} in {format_seconds(duration)}"
    facts = {"attempt": name.attempt, "result": str(result), "duration": round(duration, 3)}
    settled = _patiently(context, name, lambda: claims.settle(context.spool.layout, name, move))
    if settled is None:
        return
    if not settled:
        context.report.event(
            context.now(), "gone", name.id, f"{took}; its file was moved by someone else, which settles it", **facts
        )
    elif isinstance(move.name, PendingName):
        wait = (move.name.run_at - context.now()).total_seconds()
        context.report.event(
            context.now(),
            "lost" if result == LOST else "retry",
            name.id,
            f"{took}; attempt {name.attempt + 1} of {policy.max_retries + 1} in {format_seconds(max(0.0, wait))}",
            **facts,
        )
    elif move.state is State.DEAD:
        assert isinstance(move.name, FinishedName)
        text = f"{took}; gave up after {format_count(name.attempt, 'attempt')}; see: queuectl logs {name.id}"
        context.report.event(context.now(), "dead", name.id, text, **facts)
    else:
        context.report.event(context.now(), "done", name.id, took, **facts)


def release(context: Context, name: RunningName, why: str, run_at: datetime | None = None) -> None:
    """Give a claim back; the attempt does not count, and with `run_at` it stands where it stood."""
    if _patiently(context, name, lambda: claims.release(context.spool.layout, name, run_at)):
        context.report.event(context.now(), "released", name.id, f"{why}; back to pending, the attempt does not count")


def _patiently(context: Context, name: RunningName, settle: Callable[[], bool]) -> bool | None:
    """Settle, however long the disk stays full; None from a worker that is to stop, which leaves it to the next one."""
    while True:
        try:
            settled = settle()
            context.report.over("settle", context.now(), "jobs can be settled again")
            return settled
        except SpoolError as error:
            context.report.once("settle", context.now(), "error", f"{name.id} has ended and cannot be settled: {error}")
            if context.stopping:
                return None
            time.sleep(_TRY_AGAIN)
