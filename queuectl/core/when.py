"""Times and durations as people type them: `5m`, `+1h30m`, `tomorrow 09:00`, ISO 8601 -> UTC."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta, tzinfo

from queuectl.core.names import parse_instant, to_utc
from queuectl.errors import UsageError

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WORDS = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "week": "w", "weeks": "w",
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_HOURS = re.compile(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)")
_CLOCK = re.compile(r"(\d{1,2})(?::(\d{2}))?(?::(\d{2}))?\s*(am|pm)?")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LONGEST = 100 * 366 * 86400.0


def parse_duration(text: str) -> float:
    """Seconds of `90`, `5m`, `1h30m`, `2 days`, `500ms`, `1:00:00`, `1-12:00:00`; a bare number is seconds."""
    rest = text.strip().lower().removeprefix("+").strip()
    if match := _HOURS.fullmatch(rest):
        rest = "{}d{}h{}m{}s".format(*match.groups("0"))
    total, position = 0.0, 0
    for match in _PART.finditer(rest):
        unit = _WORDS.get(match[2], match[2]) or ("s" if match[0] == rest else "")
        if match.start() != position or unit not in _UNITS:
            break
        total += float(match[1]) * _UNITS[unit]
        position = match.end() + len(rest[match.end() :]) - len(rest[match.end() :].lstrip())
    if not rest or position != len(rest) or total > _LONGEST:
        raise UsageError(f"not a duration: {text!r}", hint="try 90, 5m, 1h30m or 2d")
    return total


def parse_when(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The instant, in UTC, that `text` means at `now`.

    Takes ISO 8601, `now`, `5m`, `+5m` or `in 5m`, a time of day (`18:30`, `at 9pm`: the next one), and a day
    (`today`, `tomorrow`, `monday`, `2026-11-25`) with or without a time of day. A bare number is refused: it could
    be seconds or an hour. What has no zone is in `zone`, by default the local one.
    """
    typed = text.strip()
    typed = typed[3:].lstrip() if typed[:3].lower() == "at " else typed
    words = typed.lower()
    try:
        if words == "now":
            return now
        if words.startswith(("+", "in ")) or _is_duration(words):
            return now + timedelta(seconds=parse_duration(words.removeprefix("in ")))
        here = now.astimezone(zone).replace(tzinfo=None)
        local = _parse_calendar(words, here)
        if local is None:
            return parse_instant(typed)
        first, second = (to_utc(local.replace(tzinfo=zone, fold=fold)) for fold in (0, 1))
        return first if first > now else max(first, second)  # when clocks go back, a time occurs twice
    except (ValueError, OverflowError, UsageError):
        raise UsageError(
            f"not a time: {text!r}", hint='try 5m, "18:30", "tomorrow 09:00" or "2026-11-25T09:00:00Z"'
        ) from None


def parse_fixed(text: str, zone: tzinfo | None = None) -> datetime:
    """The instant, in UTC, of what `parse_when` takes whenever it is read: ISO 8601, `2026-11-25`, `2026-11-25 9pm`.

    A day is its midnight. What has no zone is in `zone`, by default the local one. Raises ValueError or OverflowError.
    """
    if zone is None:
        with suppress(ValueError):
            return parse_instant(text)
    words = text.strip().lower()
    local = _parse_calendar(words, datetime.min) if words[4:5] == "-" else None
    if local is None or not 1970 <= local.year <= 9998:
        raise ValueError(f"not a day: {text!r}")
    return to_utc(local.replace(tzinfo=zone))


def _is_duration(words: str) -> bool:
    """Whether it is a duration with a unit."""
    try:
        return words[-1:].isalpha() and parse_duration(words) >= 0
    except UsageError:
        return False


def parse_past(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """The instant, in UTC, that `text` means when looking back from `now`.

    A bare duration is that long ago, a time of day or a weekday is the last one; `yesterday` is its beginning. The
    rest is as in `parse_when`.
    """
    words = text.strip().lower()
    if not _HOURS.fullmatch(words.removeprefix("+")):  # 9:30:00 is a time of day here
        with suppress(UsageError, OverflowError):
            ago = parse_duration(words)
            return parse_when(words, now) if words.startswith("+") else now - timedelta(seconds=ago)
    if words.startswith("yesterday"):
        return parse_when(words.replace("yesterday", "today", 1), now, zone) - timedelta(days=1)
    at = parse_when(text, now, zone)
    if at > now and _parse_clock(words) is not None:
        return at - timedelta(days=1)
    if at > now and any(words[:3] == day[:3] for day in _WEEKDAYS):
        return at - timedelta(days=7)
    return at


def _parse_calendar(words: str, here: datetime) -> datetime | None:
    """A day, a time of day, or both, counted from `here`, in the same local time; None if it is neither."""
    first, _, rest = words.partition(" ")
    midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
    if first in ("today", "tomorrow"):
        day = midnight + timedelta(days=first == "tomorrow")
    elif len(first) >= 3 and (found := [i for i, name in enumerate(_WEEKDAYS) if name.startswith(first)]):
        day = midnight + timedelta(days=(found[0] - here.weekday() - 1) % 7 + 1)
    elif re.fullmatch(r"\d{4}-\d{2}-\d{2}", first):
        day = datetime.fromisoformat(first)
    else:
        clock = _parse_clock(words)
        if clock is None:
            return None
        at = midnight + clock
        return at if at > here else at + timedelta(days=1)
    rest = rest.strip().removeprefix("at ").strip()
    clock = _parse_clock(rest) if rest else timedelta()
    return None if clock is None else day + clock


def _parse_clock(text: str) -> timedelta | None:
    """The time since midnight of `18:30`, `9pm`, `noon`; None if it is not a time of day."""
    if text in ("noon", "midnight"):
        return timedelta(hours=12 if text == "noon" else 0)
    match = _CLOCK.fullmatch(text)
    if match is None or not (match[2] or match[4]):
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    if match[4]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if match[4] == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:
        return None
    return timedelta(hours=hour, minutes=minute, seconds=second)
