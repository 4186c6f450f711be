"""When a failed attempt is tried again: exponential backoff with a cap and jitter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

JITTER = 0.1


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`max_retries` after the first attempt; then `backoff_base ** attempts` seconds, at most `backoff_max`."""

    max_retries: int = 3
    backoff_base: float = 2.0
    backoff_max: float = 3600.0

    def is_exhausted(self, attempts: int) -> bool:
        """Whether `attempts` failed attempts (from 1) were the last."""
        return attempts > self.max_retries

    def backoff(self, attempts: int, rng: Random) -> float:
        """Seconds to wait after `attempts` failed attempts, with up to 10 % jitter on top."""
        try:
            seconds = min(self.backoff_max, self.backoff_base**attempts)
        except OverflowError:
            seconds = self.backoff_max
        return seconds * (1 + JITTER * rng.random())
