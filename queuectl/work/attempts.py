"""The attempts that a worker has under way, whatever awaits their end.

One class says what holds for each of them: its deadline, the limit of its output, and why it is being ended. The ways
to await the end are built on it, in engines/: for a `Run` (engine.py) a slot's thread waits; an `Orphan` (adopted.py)
was started by a worker that has died, and the main thread watches a descriptor.

One table holds them all. The main thread ends from there what is out of time, has written too much, was taken out of
running/, or is to be given back because the worker stops at once. How an attempt is ended is in spool/moves/ending.py.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import ClassVar

from queuectl.core.fields import Body, OnMaxLog
from queuectl.core.names import RunningName
from queuectl.core.result import State
from queuectl.core.settings import Settings
from queuectl.core.text import format_size
from queuectl.spool.moves import ending
from queuectl.spool.system import files
from queuectl.work.context import Context
from queuectl.work.log_limit import LogLimit, Step


class ActiveAttempt(ABC):
    """An attempt under way. `stop` and `check_log` are thread-safe.

    `deadline` is in monotonic seconds. `log` is a descriptor of its log, open for as long as there is a `limit`.
    `reason` is why it is being ended: `timeout`, `max-log`, `cancelled`, `release`, or another of the way that its
    end is awaited.
    """

    __slots__ = ("_is_over", "_lock", "deadline", "limit", "log", "name", "reason", "was_ended")

    takes_slot: ClassVar[bool] = False
    """Whether it takes up a slot although no slot's thread runs it."""
    slots = 1
    """How many, then."""

    def __init__(self, name: RunningName, log: int) -> None:
        self.name = name
        self.log = log
        self.deadline: float | None = None
        self.limit: LogLimit | None = None
        self.reason: str | None = None
        self.was_ended = False  # and did not end by itself before that, which makes its result its own
        self._is_over = False
        self._lock = threading.Lock()

    @abstractmethod
    def _has_ended(self) -> bool:
        """Whether its shell has."""

    @abstractmethod
    def _in_thread(self, work: Callable[[], None]) -> None:
        """Do this in a thread. The end that is awaited comes no sooner than its return."""

    @abstractmethod
    def _end(self, reason: str, grace: float) -> bool:
        """End every process of it; False if it had ended by itself."""

    @property
    def next_look(self) -> float:
        """When its time is up or its log is to be looked at, in monotonic seconds."""
        if self.limit is None:
            return float("inf") if self.deadline is None else self.deadline
        return self.limit.check_at if self.deadline is None else min(self.deadline, self.limit.check_at)

    def stop(self, reason: str, grace: float) -> None:
        """Begin to end every process of it. Nothing if that has begun, or if its shell has ended: its result counts."""
        with self._lock:
            if self._is_over or self.reason is not None or self._has_ended():
                return
            self._in_thread(partial(self._carry_out, reason, grace))
            self.reason = reason

    def _carry_out(self, reason: str, grace: float) -> None:
        self.was_ended = self._end(reason, grace)

    def check_log(self, now: float) -> Step:
        """Enforce the limit of its output, if it has one and is still under way."""
        with self._lock:  # so that the log is not closed in the meantime
            if self.limit is None or self._is_over:
                return Step.NOTHING
            return self.limit.check(self.log, now, is_ending=self.reason is not None)

    def mark_over(self) -> None:
        """Its shell has ended: from now on nothing ends it, and its log may be closed."""
        with self._lock:
            self._is_over = True

    def trim_log(self, *, is_on_record: bool = False) -> None:
        """Keep what it has written within its limit, for the last time; from the note of its ending on only once its
        end is on record."""
        if self.limit is not None:
            self.limit.drop(self.log, keeps_note=not is_on_record)

    @property
    def remark(self) -> str:
        """What its end line says in addition to the result, once it is over."""
        return _passed(self.limit) if self.limit is not None and self.reason == "max-log" else ""


class Attempts:
    """The attempts under way. Thread-safe; what ends them is for the main thread only.

    `wake_before` is called with the monotonic second of an attempt's first look, so that the main thread is awake then.
    """

    def __init__(self, context: Context, wake_before: Callable[[float], None]) -> None:
        self.context = context
        self.layout = context.spool.layout
        self.without_slot = 0
        """How many take up a slot although no slot's thread runs them."""
        self.slots_without = 0
        """How many slots these take up."""
        self.active_at = time.monotonic()
        """When the last one ended, in monotonic seconds."""
        self.has_worked = False
        """Whether one has ended since the hook for idleness was called."""
        self._wake_before = wake_before
        self._lock = threading.Lock()
        self._under_way: set[ActiveAttempt] = set()
        self._ending: set[RunningName] = set()  # attempts of others, whose files have left them

    def add(self, attempt: ActiveAttempt) -> None:
        """Watch over an attempt that has begun."""
        with self._lock:
            self._under_way.add(attempt)
            if attempt.takes_slot:
                self.without_slot += 1
                self.slots_without += attempt.slots
        # RACE: the worker may be asked to stop at once just now: the second of the two sees the first (this table, or
        # `stopping`), and a second stop does nothing (tests/work/test_attempts.py).
        if self.context.stopping == 2:
            attempt.stop("release", self.context.settings.grace)
        elif attempt.deadline is not None or attempt.limit is not None:
            self._wake_before(attempt.next_look)

    def discard(self, attempt: ActiveAttempt) -> None:
        """Forget an attempt that is over."""
        with self._lock:
            self._under_way.discard(attempt)
            if attempt.takes_slot:
                self.without_slot -= 1
                self.slots_without -= attempt.slots

    def note_end(self) -> None:
        """Something was settled, or given back."""
        self.active_at, self.has_worked = time.monotonic(), True

    def under_way(self) -> list[ActiveAttempt]:
        """Those that have begun and have not been settled."""
        with self._lock:
            return list(self._under_way)

    def __contains__(self, name: RunningName) -> bool:
        return any(attempt.name == name for attempt in self.under_way())

    @property
    def undisturbed(self) -> int:
        """How many are not being ended."""
        return sum(attempt.reason is None for attempt in self.under_way())

    @property
    def next_look(self) -> float:
        """When the next is out of time, or its output is to be looked at, in monotonic seconds."""
        return min((attempt.next_look for attempt in self.under_way()), default=float("inf"))

    # --- ending them

    def enforce(self) -> None:
        """End attempts that are out of time or have written too much, and all if the worker is to stop at once."""
        now, grace = time.monotonic(), self.context.settings.grace
        for attempt in self.under_way():
            if attempt.deadline is not None and attempt.deadline <= now:
                attempt.deadline = None
                attempt.stop("timeout", grace)
            if self.context.stopping == 2:
                attempt.stop("release", grace)
            if attempt.limit is not None and attempt.limit.check_at <= now:
                self._check_log(attempt, attempt.limit, now, grace)

    def _check_log(self, attempt: ActiveAttempt, limit: LogLimit, now: float, grace: float) -> None:
        """Enforce the limit of an attempt's output, and report once that it was passed."""
        had_passed, step = limit.has_passed, attempt.check_log(now)
        if step is Step.MUST_END:
            attempt.stop("max-log", grace)
        if step is not Step.NOTHING and not had_passed:
            what = "the job is ended" if step is Step.MUST_END else "its middle is dropped"
            self.context.report.event("warning", attempt.name.id, f"{_passed(limit)}; {what}")

    def end_disowned(self) -> None:
        """End those whose files someone has moved out of running/, which has settled them."""
        for attempt in self.under_way():
            if attempt.reason is None and self.is_disowned(attempt):
                attempt.stop("cancelled", self.context.settings.grace)

    def is_disowned(self, attempt: ActiveAttempt) -> bool:
        """Whether its file has left running/."""
        return files.is_gone(self.layout.job(State.RUNNING, attempt.name))

    def end_left(self, names: Iterable[RunningName]) -> None:
        """End attempts, of any worker, whose file has left them and which keep their job from starting.

        In threads: no slot waits for that.
        """
        for name in names:
            text = f"waits for attempt {name.attempt}, started by {name.worker}, to end"
            self.context.report.once(f"waits {name}", "waits", f"{name.id} {text}")
            with self._lock:
                is_ending = name in self._ending
                self._ending.add(name)
            if not is_ending:
                threading.Thread(target=self._end_left, args=(name,), name="end", daemon=True).start()

    def _end_left(self, name: RunningName) -> None:
        try:
            with suppress(OSError):  # out of descriptors, say: it is looked at again when the job is claimed again
                ending.end_disowned(self.layout, name, self.context.settings.grace)
        finally:
            with self._lock:
                self._ending.discard(name)


def timeout_of(body: Body | None, settings: Settings) -> float | None:
    """After how many seconds a job is ended; None for never. Without a body the settings hold."""
    return body.timeout if body is not None and body.timeout is not None else settings.timeout


def output_limit_of(body: Body | None, settings: Settings) -> tuple[int, bool] | None:
    """How many bytes an attempt of a job may write, and whether it is ended if it writes more; None for no limit."""
    limit = body.max_log if body is not None and body.max_log is not None else settings.max_log
    if limit is None:
        return None
    return limit, ((body and body.on_max_log) or settings.on_max_log) is OnMaxLog.KILL


def _passed(limit: LogLimit) -> str:
    return f"its output passed max-log, {format_size(limit.limit)}"
