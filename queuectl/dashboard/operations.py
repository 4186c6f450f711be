"""What can be done to jobs from a page, to one or to all that a filter selects; each action is an operation.

An action on many jobs runs in a thread of its own; its operation (`Receipt`), which belongs to the session that
asked, shows its progress, what it did, what failed and why, and keeps what is needed to undo it.
"""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from queuectl.core.job import Job
from queuectl.core.names import PendingName
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import QueuectlError
from queuectl.spool.moves.by_hand import together
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now

SHOWN = 60.0
"""Seconds for which a page shows a finished operation."""
_PATIENCE = 1.5
_KEPT = 100
_MAX_UNDO = 10_000


@dataclass(frozen=True, slots=True)
class Verb:
    """`name` as in forms, `label` as on buttons, `past` for operations; `states` to which it applies.

    `held`: whether it applies only to held jobs (True), or only to jobs that are not held (False).
    """

    name: str
    label: str
    past: str
    icon: str
    states: tuple[State, ...]
    undo: str = ""
    is_final: bool = False
    held: bool | None = None

    def suits(self, state: State, *, is_held: bool) -> bool:
        """Whether it applies to a job in that state."""
        return state in self.states and self.held in (None, is_held)


VERBS = {
    verb.name: verb
    for verb in (
        Verb("retry", "Retry", "Retried", "retrying", (State.DEAD, State.DONE), "cancel"),
        Verb("run", "Run now", "Made due now", "ready", (State.PENDING,), "reschedule", held=False),
        Verb("release", "Release", "Released", "ready", (State.PENDING,), "reschedule", held=True),
        Verb("first", "First in line", "Put first in line", "first", (State.PENDING,), "reschedule"),
        Verb("hold", "Hold", "Held", "held", (State.PENDING,), "reschedule", held=False),
        Verb("reprioritise", "Set priority", "Gave another priority to", "sort", (State.PENDING,), "reschedule"),
        Verb("kill", "Send a signal", "Signalled", "signal", (State.RUNNING,)),
        Verb("cancel", "Cancel", "Cancelled", "cancel", (State.PENDING, State.RUNNING), "restore"),
        Verb("drop", "Drop", "Dropped", "trash", (State.DEAD,), is_final=True),
    )
}
SET = Verb("set", "Change", "Changed", "edit", (State.PENDING,), "reschedule")
EDIT = Verb("edit", "Edit", "Changed", "edit", (State.PENDING, State.DEAD, State.DONE))
"""Actions that have a page of their own: see `job_form`."""
SIGNALS = {
    name: signal.Signals[f"SIG{name}"]
    for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT", "KILL")
}
"""The signals that a page offers for `kill`."""


@dataclass(frozen=True, slots=True)
class How:
    """Parameters of some actions: the `priority` to set, the `signal` to send."""

    priority: int | None = None
    signal: signal.Signals = signal.SIGTERM


@dataclass(slots=True)
class Receipt:
    """One operation and its outcome. `undo` holds, for each job, how it was before and how it is now."""

    id: str
    session: str
    verb: Verb
    at: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int | None = None
    failed: int = 0
    problems: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    undo: list[tuple[Job, Job]] = field(default_factory=list)
    is_over: bool = False
    is_undone: bool = False
    is_undo: bool = False
    finished: threading.Event = field(default_factory=threading.Event)

    @property
    def text(self) -> str:
        what = self.ids[0] if self.done == 1 else format_count(self.done, "job")
        past = f"Undid: {self.verb.past.lower()}" if self.is_undo else self.verb.past
        if not self.is_over:
            total = f" of {self.total:,}" if self.total else ""
            return f"{past} {self.done:,}{total} so far…"
        if self.done:
            return f"{past} {what}." + (f" {format_count(self.failed, 'job')} could not be." if self.failed else "")
        return "Nothing was changed." if not self.failed else f"Not done: {self.verb.label.lower()}."

    @property
    def can_undo(self) -> bool:
        return self.is_over and bool(self.undo) and not self.is_undone


class Operations:
    """Carries out actions and keeps their operations. Thread-safe."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._receipts: OrderedDict[str, Receipt] = OrderedDict()

    def of(self, session: str) -> list[Receipt]:
        """The operations to show, newest first."""
        at = time.monotonic()
        with self._lock:
            mine = [receipt for receipt in self._receipts.values() if receipt.session == session]
        return [receipt for receipt in reversed(mine) if not receipt.is_over or at - receipt.at < SHOWN][:2]

    def dismiss(self, session: str, id: str) -> None:
        with self._lock:
            receipt = self._receipts.get(id)
            if receipt is not None and receipt.session == session and receipt.is_over:
                del self._receipts[id]

    def carry_out(
        self, session: str, verb: Verb, jobs: Iterable[Job], *, total: int | None = None, how: How | None = None
    ) -> Receipt:
        """Act on each job, in a thread of its own; returns when that is done, or soon after it began."""
        given = how or How()
        shown = replace(verb, past=f"Sent {given.signal.name} to") if verb.name == "kill" else verb
        receipt = Receipt(secrets.token_hex(8), session, shown, total=total)
        at = now()

        def act(job: Job) -> Job:
            return _act(self._spool, verb, job, at, given)

        self._start(receipt, jobs, act)
        return receipt

    def note(self, session: str, verb: Verb, before: Job, after: Job, *, can_undo: bool = False) -> None:
        """Record an operation for what was already done to one job."""
        receipt = Receipt(secrets.token_hex(8), session, verb, done=1, total=1, ids=[after.id], is_over=True)
        receipt.undo = [(before, after)] if can_undo else []
        self._keep(receipt)

    def undo(self, session: str, id: str) -> Receipt | None:
        """Undo an operation, job by job, unless a job has changed state since; None if it cannot be undone."""
        with self._lock:
            old = self._receipts.get(id)
            if old is None or old.session != session or not old.can_undo:
                return None
            old.is_undone = True
        receipt = Receipt(secrets.token_hex(8), session, old.verb, total=len(old.undo), is_undo=True)
        before = {after.id: before for before, after in old.undo}

        def act(job: Job) -> Job:
            return _take_back(self._spool, old.verb, before[job.id], job)

        self.dismiss(session, id)
        self._start(receipt, [after for _, after in old.undo], act)
        return receipt

    def _keep(self, receipt: Receipt) -> None:
        with self._lock:
            self._receipts[receipt.id] = receipt
            while len(self._receipts) > _KEPT:
                self._receipts.popitem(last=False)

    def _start(self, receipt: Receipt, jobs: Iterable[Job], act: Callable[[Job], Job]) -> None:
        self._keep(receipt)
        threading.Thread(target=_work, args=(receipt, jobs, act), name="action", daemon=True).start()
        receipt.finished.wait(_PATIENCE)


def _work(receipt: Receipt, jobs: Iterable[Job], act: Callable[[Job], Job]) -> None:
    try:
        for job, after in _outcomes(jobs, act):
            if isinstance(after, QueuectlError):
                receipt.failed += 1
                if len(receipt.problems) < 5:
                    receipt.problems.append(": ".join(part for part in (after.what, after.why) if part))
                continue
            receipt.done += 1
            if len(receipt.ids) < 20:
                receipt.ids.append(job.id)
            can_undo = receipt.verb.undo and not receipt.is_undo and job.state is not State.RUNNING
            if can_undo and len(receipt.undo) < _MAX_UNDO:
                receipt.undo.append((job, after))
        if receipt.done > len(receipt.undo):
            receipt.undo.clear()  # half an undo would be worse than none
    finally:
        receipt.at = time.monotonic()
        receipt.is_over = True
        receipt.finished.set()


def _outcomes(jobs: Iterable[Job], act: Callable[[Job], Job]) -> Iterator[tuple[Job, Job | QueuectlError]]:
    """The outcome of each: first of those that do not run; then of those that do, all at once."""
    running: list[Job] = []
    for job in jobs:
        if job.state is State.RUNNING:
            running.append(job)
            continue
        try:
            yield job, act(job)
        except QueuectlError as error:
            yield job, error
    yield from together(running, act)


def _act(spool: Spool, verb: Verb, job: Job, at: datetime, how: How) -> Job:
    if verb.name == "retry":
        return spool.retry(job)
    if verb.name == "run":
        return spool.reschedule(job, run_at=at)
    if verb.name == "release":
        return spool.release(job)
    if verb.name == "first":
        return spool.first(job)
    if verb.name == "hold":
        return spool.hold(job)
    if verb.name == "reprioritise":
        return spool.reschedule(job, priority=how.priority)
    if verb.name == "kill":
        return spool.kill(job, how.signal)
    if verb.name == "cancel":
        return spool.cancel(job)
    return spool.drop(job)


def _take_back(spool: Spool, verb: Verb, before: Job, after: Job) -> Job:
    """Undo one; raises WrongStateError if the job has changed state since. A job that was held is held again."""
    run_at = before.name.run_at if isinstance(before.name, PendingName) else None
    if verb.undo == "cancel":
        return spool.cancel(after)
    if verb.undo == "restore":
        return spool.retry(after, run_at=run_at)
    return spool.reschedule(after, priority=before.priority, run_at=run_at)
