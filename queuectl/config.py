"""Settings: flags, then the environment, then config.toml, then defaults, folded into one `Settings`."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from queuectl.core.body import MAX_SECONDS
from queuectl.core.names import MAX_ATTEMPTS
from queuectl.core.retry import RetryPolicy
from queuectl.core.when import parse_duration
from queuectl.errors import ConfigError, UsageError
from queuectl.spool import files, trust
from queuectl.spool.layout import Layout
from queuectl.spool.lease import locked_settings


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set for a spool. Times are seconds, sizes bytes; None means no limit."""

    max_retries: int = 3
    backoff_base: float = 2.0
    backoff_max: float = 3600.0
    timeout: float | None = None
    grace: float = 5.0
    min_free: int = 16 << 20
    settle: float = 60.0
    rescan: float = 10.0
    keep_done: float | None = None
    allow_users: str | None = None

    @property
    def policy(self) -> RetryPolicy:
        return RetryPolicy(self.max_retries, self.backoff_base, self.backoff_max)


@dataclass(frozen=True, slots=True)
class Key:
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


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,18})\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None:
        raise ConfigError(f"not a size: {text!r}", hint="try 1048576, 64M or 2G")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}[match[2]]


def _users(text: str) -> str | None:
    if text.lower() in ("none", ""):
        return None
    try:
        trust.parse_users(text)
    except UsageError as error:
        raise ConfigError(error.what, error.why, error.hint) from None
    return " ".join(text.replace(",", " ").split())


KEYS = {
    "max-retries": Key("retries after the first attempt, for jobs that do not say", _count),
    "backoff-base": Key("seconds to wait after n failed attempts: base ** n", _number),
    "backoff-max": Key("the longest such wait", _seconds),
    "timeout": Key("the longest an attempt may take, for jobs that do not say; none for no limit", _optional_seconds),
    "grace": Key("time between SIGTERM and SIGKILL", _seconds),
    "min-free": Key("free disk space below which no job is started", _size),
    "settle": Key("how long an unreadable file in pending/ must lie unchanged before it is refused", _positive_seconds),
    "keep-done": Key("how long done jobs and their logs are kept; none for ever", _optional_seconds),
    "allow-users": Key("other users whose files in pending/ are run; * for all", _users),
    "rescan": Key("the longest a worker goes without looking at the whole spool", _positive_seconds),
}


def _as_text(value: Any) -> str:
    return "none" if value is None else str(value)


def load(layout: Layout, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force; `flags` are fields that were given on the command line.

    Raises ConfigError for a value that cannot be, naming where it stands.
    """
    values: dict[str, Any] = {}
    for name, (value, _) in explain(layout).items():
        values[Key.field(name)] = value
    return Settings(**{**values, **{key: value for key, value in (flags or {}).items() if value is not None}})


def explain(layout: Layout) -> dict[str, tuple[Any, str]]:
    """Every key with its value and where that comes from: `default`, `config.toml` or a variable."""
    stored = read_file(layout)
    defaults = {field.name: field.default for field in fields(Settings)}
    found: dict[str, tuple[Any, str]] = {}
    for name in KEYS:
        variable = "QUEUECTL_" + Key.field(name).upper()
        if variable in os.environ:
            found[name] = _parse(name, os.environ[variable], variable), variable
        elif name in stored:
            found[name] = _parse(name, _as_text(stored[name]), layout.config), "config.toml"
        else:
            found[name] = defaults[Key.field(name)], "default"
    return found


def _parse(name: str, text: str, where: str) -> Any:
    try:
        return key_of(name).parse(text)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.what}", f"in {where}", error.hint) from None


def key_of(name: str) -> Key:
    """The key of that name; raises ConfigError with the nearest one."""
    known = KEYS.get(name.replace("_", "-"))
    if known is None:
        from difflib import get_close_matches

        close = get_close_matches(name, KEYS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"keys: {' '.join(KEYS)}"
        raise ConfigError(f"no setting {name!r}", hint=hint)
    return known


def read_file(layout: Layout) -> dict[str, Any]:
    """What config.toml sets; keys that this version does not know are left alone."""
    try:
        return tomllib.loads(files.read(layout.config).data.decode())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "config.toml cannot be read", f"{layout.config}: {error}", "mend or remove that line"
        ) from None
    except OSError as error:
        raise ConfigError("config.toml cannot be read", f"{layout.config}: {error.strerror}") from None


def store(layout: Layout, name: str, text: str | None) -> Any:
    """Set a key (or unset it, with None) in config.toml, leaving every other line as it is; the new value."""
    name = name.replace("_", "-")
    value = key_of(name).parse(text) if text is not None else None
    with locked_settings(layout):
        read_file(layout)
        try:
            old = files.read(layout.config).data.decode()
        except FileNotFoundError:
            old = ""
        kept = [line for line in old.splitlines() if not re.match(rf'\s*"?{re.escape(name)}"?\s*=', line)]
        if text is not None:
            kept.insert(_end_of_top_level(kept), f"{name} = {_to_toml(value)}")
        files.replace(layout.config, ("\n".join(kept) + "\n").encode())
    return value


def _end_of_top_level(lines: list[str]) -> int:
    """Where a key of the top level can stand: before the first [table]."""
    return next((index for index, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))


def _to_toml(value: Any) -> str:
    return '"none"' if value is None else repr(value)
