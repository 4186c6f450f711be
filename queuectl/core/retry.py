"""Whether a failed attempt is tried again, and when: exponential backoff with a cap and jitter."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import TYPE_CHECKING

from queuectl.core.result import LOST, Result
from queuectl.tuples import NamedTuple

if TYPE_CHECKING:
    from random import Random

JITTER = 0.1
PERMANENT = frozenset({100})
"""qmail's exit code (qmail-command(8)) for a failure that a retry does not fix."""
TEMPORARY = frozenset({75, 111})
"""Those for a failure that a retry may fix: EX_TEMPFAIL of sysexits.h, and qmail's own."""


class OnLost(StrEnum):
    """What to do if the outcome of an attempt is unknown."""

    RETRY = "retry"
    DEAD = "dead"


class RetryPolicy(NamedTuple):
    """`max_retries` after the first attempt; then `backoff_base ** attempts` seconds, at most `backoff_max`.

    Exit codes can say that a retry is pointless. `retry_on` and `no_retry_on` are the job's own: only exit codes
    of the first (None: all), and none of the second, are retried. `permanent_codes` and `temporary_codes` are
    what codes mean for every job of a spool that does not list them itself.
    """

    max_retries: int = 3
    backoff_base: float = 2.0
    backoff_max: float = 3600.0
    backoff_jitter: float = JITTER
    retry_on: Collection[int] | None = None
    no_retry_on: Collection[int] = ()
    permanent_codes: Collection[int] = ()
    temporary_codes: Collection[int] = ()
    on_lost: OnLost = OnLost.RETRY

    def is_exhausted(self, attempts: int) -> bool:
        """Whether no retry is left after `attempts` failed attempts (from 1)."""
        return attempts > self.max_retries

    def is_over(self, attempts: int, result: Result) -> bool:
        """Whether a job is not retried after its attempt of that number failed with that result."""
        return self.is_exhausted(attempts) or self.is_permanent(result)

    def is_permanent(self, result: Result) -> bool:
        """Whether a failure is final however many retries are left."""
        if result == LOST:
            return self.on_lost is OnLost.DEAD
        if result.kind != "exit" or result.code is None:
            return False
        if result.code in self.no_retry_on:
            return True
        if self.retry_on is not None and result.code in self.retry_on:
            return False
        if result.code in self.permanent_codes:
            return True
        return self.retry_on is not None and result.code not in self.temporary_codes

    def backoff(self, attempts: int, rng: Random) -> float:
        """Seconds to wait after `attempts` failed attempts, with up to `backoff_jitter` of that added."""
        try:
            seconds = min(self.backoff_max, self.backoff_base**attempts)
        except OverflowError:
            seconds = self.backoff_max
        return seconds * (1 + self.backoff_jitter * rng.random())
