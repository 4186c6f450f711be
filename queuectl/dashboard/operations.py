"""What can be done to jobs from a page, to one or to all that a filter selects; each action is an operation.

An action on many jobs runs in a thread of its own; its operation (`Receipt`), which belongs to the session that
asked, shows its progress, what it did, what failed and why, and keeps what is needed to undo it.
"""

from __future__ import annotations

import functools
import secrets
import signal
import threading
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, NamedTuple

from queuectl.core import body
from queuectl.core.job import Job
from queuectl.core.names import HELD_AT
from queuectl.core.result import State
from queuectl.core.text import format_count
from queuectl.errors import NotFoundError, QueuectlError, WrongStateError
from queuectl.spool.moves.by_hand import together
from queuectl.spool.moves.undo import MovedError
from queuectl.spool.reading import query
from queuectl.spool.store import Spool
from queuectl.spool.system import asked
from queuectl.spool.system.clock import now

SHOWN = 60.0
"""Seconds for which a page shows a finished operation."""
_PATIENCE = 1.5
_KEPT = 100
_PROBLEMS = 5
_NAMED = 5
_MAX_UNDO = 10_000


@dataclass(frozen=True, slots=True)
class Verb:
    """`name` as in forms, `label` as on buttons, `past` for operations; `states` to which it applies.

    `asks` are the states in which it asks first, with `warning`: it ends, deletes or repeats what nothing brings back.
    `question` is what it asks, with a place for the jobs. `held`: whether it applies only to held jobs (True), or only
    to jobs that are not held (False); `due` the same of jobs that could start now.
    """

    name: str
    label: str
    past: str
    icon: str
    states: tuple[State, ...]
    asks: tuple[State, ...] = ()
    warning: str = ""
    question: str = ""
    held: bool | None = None
    due: bool | None = None
    deletes: bool = False

    def suits(self, state: State, *, is_held: bool, is_due: bool) -> bool:
        """Whether it applies to a job in that state."""
        return state in self.states and self.held in (None, is_held) and self.due in (None, is_due)

    def suits_job(self, job: Job, at: datetime) -> bool:
        """Whether it applies to that job at that time; to a file that is not a job, little does."""
        is_due = job.run_at is not None and job.run_at <= at
        is_possible = job.problem is None or self.name in ("drop", "cancel")
        return is_possible and self.suits(job.state, is_held=job.is_held, is_due=is_due)

    def ask(self, count: int) -> str:
        """`Drop 2 jobs?`"""
        return f"{(self.question or f'{self.label} {{}}').format(format_count(count, 'job'))}?"


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "retry", "Retry", "Retried", "retrying", (State.DEAD, State.DONE), (State.DONE,),
            "What has succeeded is run once more. Once a worker has started it, that cannot be undone.",
        ),
        Verb("run", "Run now", "Made due now", "ready", (State.PENDING,), held=False, due=False),
        Verb("release", "Release", "Released", "ready", (State.PENDING,), held=True),
        Verb("first", "First in line", "Put first in line", "first", (State.PENDING,), question="Put {} first in line"),
        Verb("hold", "Hold", "Held", "held", (State.PENDING,), held=False),
        Verb(
            "reprioritise", "Set priority", "Gave another priority to", "sort", (State.PENDING,),
            question="Set the priority of {}",
        ),
        Verb(
            "kill", "Send a signal", "Signalled", "signal", (State.RUNNING,), (State.RUNNING,),
            "It goes to all processes of a job. A job that is ended by it has failed, and is retried.",
            "Send a signal to {}",
        ),
        Verb(
            "cancel", "Cancel", "Cancelled", "cancel", (State.PENDING, State.RUNNING), (State.RUNNING,),
            "A running job is ended with all its processes. That cannot be undone.",
        ),
        Verb(
            "drop", "Drop", "Dropped", "trash", (State.DEAD,), (State.DEAD,),
            "The files and logs are deleted for good. That cannot be undone.", deletes=True,
        ),
    )
}  # fmt: skip
SET = Verb("set", "Change", "Changed", "edit", (State.PENDING,))
EDIT = Verb("edit", "Edit", "Changed", "edit", (State.PENDING, State.DEAD, State.DONE))
CHANGE = {
    "only": replace(SET, states=EDIT.states),
    "retry": Verb("change", "Change and retry", "Changed and retried", "retrying", (State.DEAD, State.DONE)),
    "hold": Verb("change", "Change, retry and hold", "Changed, retried and held", "held", (State.DEAD, State.DONE)),
}
"""Actions that have a page of their own: see `job_form`, and `change_many` for those on many jobs."""
SIGNALS = {
    name: signal.Signals[f"SIG{name}"]
    for name in ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT", "KILL")
}
"""The signals that a page offers for `kill`."""


@dataclass(frozen=True, slots=True)
class How:
    """Parameters of some actions: the `priority` to set, the `signal` to send."""

    priority: int | None = None
    signal: signal.Signals | None = None


class Changed(NamedTuple):
    """How a change of a job's body, before it was moved, is undone: the job as it was then, and its former text."""

    job: Job
    text: str


@dataclass(slots=True)
class Receipt:
    """One operation and its outcome. `undo` holds, for each job, how it was before and how it is now, and `changed`, by
    id, what was done to its body in between.

    `left` are jobs that an undo found to have started or moved, and left as they are.
    """

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
    changed: dict[str, Changed] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
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
        if self.failed:
            return "Nothing was undone." if self.is_undo else f"Not done: {self.verb.label.lower()}."
        return "Nothing was changed: no job was left to change."

    @property
    def is_bad(self) -> bool:
        """Whether it is over and has changed nothing."""
        return self.is_over and not self.done

    @property
    def icon(self) -> str:
        if not self.is_over:
            return "running"
        return "dead" if self.is_bad else "warning" if self.failed else "done"

    @property
    def can_undo(self) -> bool:
        return self.is_over and not self.is_undone and any(before.id == after.id for before, after in self.undo)

    def fail(self, text: str) -> None:
        """Note that a job could not be acted on, and why."""
        self.failed += 1
        if len(self.problems) < _PROBLEMS:
            self.problems.append(text)


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
        self,
        session: str,
        verb: Verb,
        jobs: Iterable[Job | str],
        *,
        total: int | None = None,
        how: How | None = None,
        by: str = "",
    ) -> Receipt:
        """Act on each job, in a thread of its own; returns when that is done, or soon after it began.

        An id instead of a job is that of one that was not found: it counts as failed. `by` is who asks, for its log.
        """
        given = how or How()
        shown = replace(verb, past=f"Sent {given.signal.name} to") if given.signal else verb
        receipt = Receipt(secrets.token_hex(8), session, shown, total=total)
        at = now()

        def act(job: Job) -> Job:
            if not verb.deletes:
                self.record(job, verb.name, by)
            return _act(self._spool, verb, job, at, given)

        self._start(receipt, jobs, act)
        return receipt

    def record(self, job: Job, action: str, by: str) -> None:
        """Write into the job's log who is about to do what to it."""
        asked.append(self._spool.layout, job, action, by)

    def change(
        self,
        session: str,
        how: str,
        jobs: Iterable[Job],
        change: Callable[[dict[str, Any]], dict[str, Any] | None],
        *,
        by: str = "",
    ) -> Receipt:
        """Change the body of each job, and then retry it, or retry and hold it; `how` is one of `CHANGE`.

        `change` makes the new body of the old one; jobs of which it makes None are left as they are.
        """
        receipt = Receipt(secrets.token_hex(8), session, CHANGE[how])

        def act(job: Job) -> Job:
            self.record(job, "change" if how == "only" else f"change,{how}", by)
            draft = self._spool.edit(job)
            fields = change(body.decode(draft.text.encode("utf-8", "surrogateescape")))
            changed = draft.job if fields is None else self._spool.apply(draft, body.show(fields))
            receipt.changed[changed.id] = Changed(changed, draft.text)
            if how == "only" or changed.state is State.PENDING:
                return changed
            try:
                return self._spool.retry(changed, run_at=HELD_AT if how == "hold" else None)
            except QueuectlError:
                _restore(self._spool, changed, receipt.changed.pop(changed.id))
                raise

        self._start(receipt, jobs, act)
        return receipt

    def note(self, session: str, verb: Verb, before: Job, after: Job, *, can_undo: bool = False) -> None:
        """Record an operation for what was already done to one job."""
        receipt = Receipt(secrets.token_hex(8), session, verb, done=1, total=1, ids=[after.id], is_over=True)
        receipt.undo = [(before, after)] if can_undo else []
        self._keep(receipt)

    def undo(self, session: str, id: str, *, by: str = "") -> Receipt | None:
        """Undo an operation, job by job, unless a job has moved or changed since; None if it cannot be undone."""
        with self._lock:
            old = self._receipts.get(id)
            if old is None or old.session != session or not old.can_undo:
                return None
            old.is_undone = True
        receipt = Receipt(secrets.token_hex(8), session, old.verb, total=len(old.undo), is_undo=True)
        before = {after.id: before for before, after in old.undo}

        def act(job: Job) -> Job:
            self.record(job, "undo", by)
            changed = old.changed.get(job.id)
            if changed is None:
                return self._spool.undo(before[job.id], job)
            back = job if job.name == changed.job.name else self._spool.undo(changed.job, job)
            return _restore(self._spool, back, changed)

        self.dismiss(session, id)
        self._start(receipt, [after for _, after in old.undo], act)
        return receipt

    def _keep(self, receipt: Receipt) -> None:
        with self._lock:
            self._receipts[receipt.id] = receipt
            while len(self._receipts) > _KEPT:
                self._receipts.popitem(last=False)

    def _start(self, receipt: Receipt, jobs: Iterable[Job | str], act: Callable[[Job], Job]) -> None:
        self._keep(receipt)
        work = functools.partial(_work, self._spool, receipt, jobs, act)
        threading.Thread(target=work, name="action", daemon=True).start()
        receipt.finished.wait(_PATIENCE)


def _work(spool: Spool, receipt: Receipt, jobs: Iterable[Job | str], act: Callable[[Job], Job]) -> None:
    try:
        for job, outcome in _outcomes(jobs, act):
            _note(receipt, job, outcome)
        if receipt.done > len(receipt.undo):
            receipt.undo.clear()  # half an undo would be worse than none
        if receipt.left:
            receipt.problems = [*_describe_left(spool, receipt.left), *receipt.problems][:_PROBLEMS]
    except Exception as error:  # whatever it is, the operation ends, and does not look as if it had succeeded
        receipt.fail(f"It broke off: {error}")
        traceback.print_exc()
    finally:
        receipt.at = time.monotonic()
        receipt.is_over = True
        receipt.finished.set()


def _restore(spool: Spool, job: Job, changed: Changed) -> Job:
    """Give a job that is where it was when its body was changed its former body back.

    Raises WrongStateError if it has moved or was changed since.
    """
    try:
        draft = spool.edit(job)
    except NotFoundError:
        raise MovedError(job.id) from None
    if (draft.job.state, draft.job.name) != (changed.job.state, changed.job.name):
        raise MovedError(job.id)
    if draft.job.fields != changed.job.fields:
        raise WrongStateError(f"{job.id} was left as it is", "it was edited since")
    return spool.apply(draft, changed.text)


def _outcomes(jobs: Iterable[Job | str], act: Callable[[Job], Job]) -> Iterator[tuple[Job | str, Job | QueuectlError]]:
    """The outcome of each: first of those that do not run; then of those that do, all at once."""

    def attempt(job: Job) -> Job:
        try:
            return act(job)
        except OSError as error:
            raise QueuectlError(f"{job.id}: {error.strerror or error}") from error

    running: list[Job] = []
    for job in jobs:
        if isinstance(job, str):
            yield job, NotFoundError(f"The spool holds no job {job}: it was dropped, pruned or removed.")
        elif job.state is State.RUNNING:
            running.append(job)
        else:
            yield next(together([job], attempt))
    yield from together(running, attempt)


def _note(receipt: Receipt, job: Job | str, outcome: Job | QueuectlError) -> None:
    if isinstance(outcome, MovedError) and isinstance(job, Job):
        receipt.failed += 1
        receipt.left.append(job.id)
    elif isinstance(outcome, QueuectlError) or isinstance(job, str):
        assert isinstance(outcome, QueuectlError)
        receipt.fail(": ".join(part for part in (outcome.what, outcome.why) if part))
    else:
        receipt.done += 1
        if len(receipt.ids) < 20:
            receipt.ids.append(job.id)
        can_undo = not receipt.is_undo and not receipt.verb.deletes and job.state is not State.RUNNING
        if can_undo and len(receipt.undo) < _MAX_UNDO:
            receipt.undo.append((job, outcome))


def _describe_left(spool: Spool, ids: list[str]) -> list[str]:
    """Where the jobs are that an undo has left as they are: `2 jobs have started since: a, b`."""
    found = query.find_files(spool.layout, set(ids))
    groups: dict[str, list[str]] = {}
    for id in ids:
        places = found.get(id)
        state = places[0][0] if places else None
        groups.setdefault(_SINCE[state], []).append(id)
    return [
        f"{format_count(len(ids), 'job')} left as {'it is' if len(ids) == 1 else 'they are'}, {text}: "
        f"{', '.join(ids[:_NAMED])}{', …' if len(ids) > _NAMED else ''}"
        for text, ids in groups.items()
    ]


_SINCE = {
    State.PENDING: "moved or tried since",
    State.RUNNING: "running since",
    State.DONE: "done since",
    State.DEAD: "dead since",
    None: "no longer in the spool",
}


def _act(spool: Spool, verb: Verb, job: Job, at: datetime, how: How) -> Job:
    if job.state in verb.states and job.problem is None and not verb.suits_job(job, at):
        if verb.held is not None and verb.held is not job.is_held:
            said = f"{job.id} is {'' if job.is_held else 'not '}held", "release it instead" if job.is_held else ""
        else:
            said = f"{job.id} is due already", "it would lose its place; to start it before the others: First in line"
        raise WrongStateError(*said)
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
        return spool.kill(job, how.signal or signal.SIGTERM)
    if verb.name == "cancel":
        return spool.cancel(job)
    return spool.drop(job)
