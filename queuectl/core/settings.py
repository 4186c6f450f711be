"""The settings of a spool: their values, their names, and how each is read from text.

A setting is a field of `Settings`, with its default, and a row of `KEYS`. Where they lie and what sets them is in
queuectl/spool/system/settings.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from queuectl.core.fields import MAX_LOG, MAX_SECONDS, MIN_LOG, OnMaxLog
from queuectl.core.groups import MaxFailed, parse_max_failed
from queuectl.core.names import MAX_ATTEMPTS
from queuectl.core.result import State
from queuectl.core.retry import JITTER, PERMANENT, TEMPORARY, OnLost, RetryPolicy
from queuectl.core.typed import parse_exit_codes, parse_size
from queuectl.core.when import parse_duration
from queuectl.errors import ConfigError, UsageError


@dataclass(frozen=True, slots=True)
class Rule:
    """What is kept of a state's jobs: those that ended from `since` on, the `count` newest, `size` bytes of them.

    None is no limit. A job is deleted if it is beyond any of the three.
    """

    since: datetime | None = None
    count: int | None = None
    size: int | None = None

    @property
    def is_empty(self) -> bool:
        return self == Rule()


class Settings(NamedTuple):
    """What can be set for a spool. Times are seconds, sizes bytes; None means no limit."""

    max_retries: int = 3
    backoff_base: float = 2.0
    backoff_max: float = 3600.0
    backoff_jitter: float = JITTER
    retry_on: tuple[int, ...] | None = None
    no_retry_on: tuple[int, ...] | None = None
    permanent_codes: tuple[int, ...] | None = None
    temporary_codes: tuple[int, ...] | None = None
    on_lost: OnLost = OnLost.RETRY
    timeout: float | None = None
    max_failed: MaxFailed | None = None
    grace: float = 5.0
    max_log: int | None = None
    on_max_log: OnMaxLog = OnMaxLog.DROP
    min_free: int = 16 << 20
    settle: float = 60.0
    rescan: float = 10.0
    notify_url: str | None = None
    notify_on: tuple[str, ...] = ("dead",)
    hook_timeout: float = 30.0
    keep_done: float | None = None
    keep_done_count: int | None = None
    keep_done_size: int | None = None
    keep_dead: float | None = None
    allow_users: str | None = None

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
        """What is kept of each state; states of which everything is kept are left out."""

        def since(seconds: float | None) -> datetime | None:
            return None if seconds is None else now - timedelta(seconds=seconds)

        rules = {
            State.DONE: Rule(since(self.keep_done), self.keep_done_count, self.keep_done_size),
            State.DEAD: Rule(since(self.keep_dead)),
        }
        return {state: rule for state, rule in rules.items() if not rule.is_empty}


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


def _one_of(words: type[StrEnum]) -> Callable[[str], StrEnum]:
    def parse(text: str) -> StrEnum:
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


KEYS = {
    "max-retries": Key("retries after the first attempt, for jobs that do not say", _count),
    "backoff-base": Key("seconds to wait after n failed attempts: base ** n", _number),
    "backoff-max": Key("the longest such wait", _seconds),
    "backoff-jitter": Key("the share of such a wait that may be added at random, 0 to 1", _share),
    "retry-on": Key("the only exit codes that are retried, for jobs that do not say; none for all", _optional_codes),
    "no-retry-on": Key("exit codes that are not retried, for jobs that do not say", _optional_codes),
    "permanent-codes": Key(
        "exit codes that mean a permanent failure of any job; qmail for 100", _convention(PERMANENT)
    ),
    "temporary-codes": Key(
        "exit codes that mean a temporary failure of any job; qmail for 75,111", _convention(TEMPORARY)
    ),
    "on-lost": Key("retry or dead: what to do if the outcome of an attempt is unknown", _one_of(OnLost)),
    "timeout": Key(
        "the longest time an attempt may take, for jobs that do not say; none for no limit", _optional_seconds
    ),
    "max-failed": Key(
        "how many jobs may fail before the queue pauses itself: 20, or 5% of those that end; none for any", _max_failed
    ),
    "grace": Key("time between SIGTERM and SIGKILL", _seconds),
    "max-log": Key("the largest output of an attempt, for jobs that do not say; none for any", _log_size),
    "on-max-log": Key("drop or kill: beyond that, drop the middle of the output, or end the job", _one_of(OnMaxLog)),
    "min-free": Key("free disk space below which no job is started", parse_size),
    "settle": Key(
        "how long an unreadable file in pending/ or inbox/ must be unchanged before it is refused", _positive_seconds
    ),
    "keep-done": Key("how long done jobs and their logs are kept; none for ever", _optional_seconds),
    "keep-done-count": Key("how many done jobs are kept, newest first; none for all", _optional_count),
    "keep-done-size": Key("the disk space that done jobs and their logs may take; none for any", _optional_size),
    "keep-dead": Key("how long dead jobs and their logs are kept; none for ever", _optional_seconds),
    "allow-users": Key("other users whose files in inbox/ become jobs; * for all", _users),
    "rescan": Key("the longest time between a worker's scans of the whole spool", _positive_seconds),
    "notify-url": Key("an http or https address to which events are posted as JSON; none for none", _url),
    "notify-on": Key("of which events: done, retry, dead, idle, separated by commas", _events),
    "hook-timeout": Key("the longest time a hook or such a post may take", _positive_seconds),
}


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
