"""The wall clock, in the resolution of file names."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache


def now() -> datetime:
    """The time in UTC, cut to whole milliseconds."""
    second, rest = divmod(time.time_ns() // 1_000_000, 1000)
    return _whole(second) + _milliseconds(rest)


@lru_cache(maxsize=1)
def _whole(second: int) -> datetime:
    """Of seconds since 1970: with it and the next, `now` takes a third of the time."""
    return datetime.fromtimestamp(second, UTC)


@lru_cache(maxsize=1000)
def _milliseconds(number: int) -> timedelta:
    return timedelta(milliseconds=number)


def booted_at() -> datetime:
    """When this machine started, by today's clock; long ago if the system does not say."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return datetime.min.replace(tzinfo=UTC) if clock is None else now() - timedelta(seconds=time.clock_gettime(clock))


def from_file_time(seconds: float) -> datetime:
    """A time from a file system, such as st_mtime."""
    return datetime.fromtimestamp(seconds, UTC)
