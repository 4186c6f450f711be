"""The settings of a spool: their values, their names, and how each is read from text.

A setting is a row of `Settings`: its name, type and default, how its text is read, and its help. `KEYS` is made from
the rows. Where settings are stored and what overrides them is in queuectl/spool/system/settings.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from queuectl.core.fields import MAX_LOG, MAX_SECONDS, MIN_LOG, OnMaxLog
from queuectl.core.groups import MaxFailed, parse_max_failed
from queuectl.core.names import MAX_ATTEMPTS
from queuectl.core.result import State
from queuectl.core.retry import JITTER, PERMANENT, TEMPORARY, OnLost, RetryPolicy
from queuectl.core.typed import parse_exit_codes, parse_size, require_unit
from queuectl.core.when import parse_duration
from queuectl.errors import ConfigError, UsageError
from queuectl.tuples import NamedTuple

T = TypeVar("T")
Word = TypeVar("Word", bound=StrEnum)


class Rule(NamedTuple):
    """What is kept of a state's jobs: those that ended from `since` on, the `count` newest, `size` bytes of them.

    None is no limit. A job is deleted if it is beyond any of the three.
    """

    since: datetime | None = None
    count: int | None = None  # type: ignore[assignment] # hides a method of tuples
    size: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == Rule()


class Key(NamedTuple):
    """One setting as the command line names it: what it means, and how its text becomes a value."""

    help: str
    parse: Callable[[str], Any]

    @staticmethod
    def field(name: str) -> str:
        return name.replace("-", "_")


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or int(text) >= MAX_ATTEMPTS:
        raise ConfigError(f"not a whole number from 0 to {MAX_ATTEMPTS - 1}: {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"not a number: {text!r}") from None
    if not 0 <= value <= MAX_SECONDS:
        raise ConfigError(f"not a number from 0 to {MAX_SECONDS}: {text!r}")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if value > 1:
        raise ConfigError(f"not a number from 0 to 1: {text!r}")
    return value


def _optional_codes(text: str) -> tuple[int, ...] | None:
    return None if text.lower() in ("none", "off", "") else parse_exit_codes(text)


def _convention(qmail: frozenset[int]) -> Callable[[str], tuple[int, ...] | None]:
    return lambda text: tuple(sorted(qmail)) if text.lower() == "qmail" else _optional_codes(text)


def _one_of(words: type[Word]) -> Callable[[str], Word]:
    def parse(text: str) -> Word:
        try:
            return words(text.lower())
        except ValueError:
            raise ConfigError(f"neither {' nor '.join(words)}: {text!r}") from None

    return parse


def _log_size(text: str) -> int | None:
    size = _optional_size(text)
    if size is not None and not MIN_LOG <= size <= MAX_LOG:
        raise ConfigError(f"less than {MIN_LOG} bytes: {text!r}")
    return size


def _seconds(text: str) -> float:
    try:
        value = parse_duration(text)
    except UsageError as error:
        raise ConfigError(error.what, error.why, error.hint) from None
    return _number(repr(value))


def _positive_seconds(text: str) -> float:
    value = _seconds(text)
    if value == 0:
        raise ConfigError(f"must be above 0: {text!r}")
    return value


def _optional_seconds(text: str) -> float | None:
    return None if text.lower() in ("none", "off", "") else _positive_seconds(text)


def kept_seconds(text: str) -> float | None:
    """How long something is kept: a duration with its unit, as what is older is deleted."""
    require_unit(text)
    return _optional_seconds(text)


def _optional_count(text: str) -> int | None:
    if text.lower() in ("none", "off", ""):
        return None
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ConfigError(f"not a whole number from 0 to 999999999: {text!r}")
    return int(text)


def _max_failed(text: str) -> MaxFailed | None:
    if text.lower() in ("none", "off", ""):
        return None
    try:
        return parse_max_failed(text)
    except ValueError as error:
        raise ConfigError(f"max-failed {error}") from None


def _optional_size(text: str) -> int | None:
    return None if text.lower() in ("none", "off", "") else parse_size(text)


def _url(text: str) -> str | None:
    if text.lower() in ("none", "off", ""):
        return None
    if not re.fullmatch(r"https?://[^\s\x00-\x1f]+", text, re.ASCII):
        raise ConfigError(f"not an address: {text!r}", hint="try http://localhost:8080/jobs")
    return text


def _events(text: str) -> tuple[str, ...]:
    events = tuple(part.strip() for part in text.lower().split(","))
    if unknown := [event for event in events if event not in HOOK_EVENTS]:
        raise ConfigError(f"no such event: {unknown[0]!r}", hint=f"events: {','.join(HOOK_EVENTS)}")
    return events


HOOK_EVENTS = ("done", "retry", "dead", "idle", "group-paused")
"""The events that hooks and the webhook can receive."""


def _users(text: str) -> str | None:
    """Names and numbers in one spelling; a user who has been removed since it was set is not an error."""
    return None if text.lower() in ("none", "") else " ".join(text.replace(",", " ").split())


_rows: list[Key] = []
"""The keys of the fields of Settings, in their order."""


def _setting(default: T, parse: Callable[[str], T], help: str) -> T:
    """The default of a field of Settings, whose key is noted."""
    _rows.append(Key(help, parse))
    return default


class Settings(NamedTuple):
    """What can be set for a spool. Times are seconds, sizes bytes; None means no limit."""

    max_retries: int = _setting(3, _count, "retries after the first attempt, unless a job sets its own")
    backoff_base: float = _setting(2.0, _number, "after n failed attempts, wait backoff-base ** n seconds")
    backoff_max: float = _setting(3600.0, _seconds, "the longest such wait")
    backoff_jitter: float = _setting(JITTER, _share, "the share of such a wait that may be added at random, 0 to 1")
    retry_on: tuple[int, ...] | None = _setting(
        None, _optional_codes, "the only exit codes that are retried, unless a job sets its own; none means all"
    )
    no_retry_on: tuple[int, ...] | None = _setting(
        None, _optional_codes, "exit codes that are not retried, unless a job sets its own"
    )
    permanent_codes: tuple[int, ...] | None = _setting(
        None, _convention(PERMANENT), "exit codes that mean a permanent failure of any job; qmail for 100"
    )
    temporary_codes: tuple[int, ...] | None = _setting(
        None, _convention(TEMPORARY), "exit codes that mean a temporary failure of any job; qmail for 75,111"
    )
    on_lost: OnLost = _setting(
        OnLost.RETRY, _one_of(OnLost), "retry or dead: what to do if the outcome of an attempt is unknown"
    )
    timeout: float | None = _setting(
        None, _optional_seconds, "the longest time an attempt may take, unless a job sets its own; none means no limit"
    )
    max_failed: MaxFailed | None = _setting(
        None,
        _max_failed,
        "how many jobs may fail before the queue pauses itself: 20, or 5% of those that end; none for any",
    )
    grace: float = _setting(5.0, _seconds, "time between SIGTERM and SIGKILL")
    max_log: int | None = _setting(
        None, _log_size, "the largest output of an attempt, unless a job sets its own; none means no limit"
    )
    on_max_log: OnMaxLog = _setting(
        OnMaxLog.DROP, _one_of(OnMaxLog), "drop or kill: beyond max-log, drop the middle of the output, or end the job"
    )
    min_free: int = _setting(16 << 20, parse_size, "free disk space below which no job is started")
    settle: float = _setting(
        60.0,
        _positive_seconds,
        "how long an unreadable file in pending/ or inbox/ must be unchanged before it is refused",
    )
    keep_done: float | None = _setting(
        None, kept_seconds, "how long done jobs and their logs are kept; none means forever"
    )
    keep_done_count: int | None = _setting(
        None, _optional_count, "how many done jobs are kept, newest first; none means all"
    )
    keep_done_size: int | None = _setting(
        None, _optional_size, "the disk space that done jobs and their logs may take; none means no limit"
    )
    keep_dead: float | None = _setting(
        None, kept_seconds, "how long dead jobs and their logs are kept; none means forever"
    )
    allow_users: str | None = _setting(None, _users, "other users whose files in inbox/ become jobs; * for all")
    rescan: float = _setting(10.0, _positive_seconds, "the longest time between a worker's scans of the whole spool")
    notify_url: str | None = _setting(
        None, _url, "an http or https address to which events are posted as JSON; none means nowhere"
    )
    notify_on: tuple[str, ...] = _setting(
        ("dead",), _events, "the events that are posted: done, retry, dead, idle, separated by commas"
    )
    hook_timeout: float = _setting(30.0, _positive_seconds, "the longest time a hook or a post to notify-url may take")

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(
            self.max_retries,
            self.backoff_base,
            self.backoff_max,
            self.backoff_jitter,
            self.retry_on,
            self.no_retry_on or (),
            self.permanent_codes or (),
            self.temporary_codes or (),
            self.on_lost,
        )

    def keep_rules(self, now: datetime) -> dict[State, Rule]:
        """What is kept of each state; states that are kept entirely are left out."""

        def since(seconds: float | None) -> datetime | None:
            return None if seconds is None else now - timedelta(seconds=seconds)

        rules = {
            State.DONE: Rule(since(self.keep_done), self.keep_done_count, self.keep_done_size),
            State.DEAD: Rule(since(self.keep_dead)),
        }
        return {state: rule for state, rule in rules.items() if not rule.is_empty}


KEYS = dict(zip((name.replace("_", "-") for name in Settings._fields), _rows, strict=True))
"""The settings by the names that people type."""


def as_text(value: Any) -> str:
    """A value as a user would type it."""
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def nearest(name: str) -> str | None:
    """The key that is closest to an unknown name."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(name[:40].lower().replace("_", "-"), KEYS, n=1)), None)


def key_of(name: str) -> Key:
    """The key of that name; raises ConfigError with the nearest one."""
    known = KEYS.get(name.replace("_", "-"))
    if known is None:
        close = nearest(name)
        hint = f"did you mean {close}?" if close else f"keys: {' '.join(KEYS)}"
        raise ConfigError(f"unknown setting {name!r}", hint=hint)
    return known
