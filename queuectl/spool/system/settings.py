"""Where settings come from: the environment, then config.toml, then defaults. Only here is config.toml written."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from queuectl.core.settings import KEYS, Key, Settings, as_text, kept_seconds, key_of, nearest
from queuectl.errors import ConfigError, UsageError
from queuectl.spool.system import files, trust
from queuectl.spool.system.layout import Layout
from queuectl.spool.system.lease import locked_settings
from queuectl.tuples import NamedTuple

_SETTLED = 100_000_000  # ns after the last change of a file until its time can be trusted to show the next


class Found(NamedTuple):
    """What is set, and what is wrong with it.

    `values`: every key with its value and where that comes from: `default`, `config.toml` or a variable. `wrong`:
    why a value, or all of config.toml, is invalid; the default is used instead. `unknown`: keys of config.toml that
    this version does not know, with suggestions; they are ignored.
    """

    values: dict[str, tuple[Any, str]]
    wrong: tuple[ConfigError, ...]
    unknown: tuple[ConfigError, ...]

    @property
    def settings(self) -> Settings:
        return Settings(**{Key.field(name): value for name, (value, _) in self.values.items()})

    @property
    def problem(self) -> str:
        """Why no worker can start with these settings, in one line; empty if one can."""
        return "; ".join(map(describe, self.wrong))


class Source:
    """The settings of one spool, which reads config.toml again only if it has changed. Thread-safe.

    The variables of the environment are those of its first reading, until the file changes.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._last: tuple[tuple[int, ...], Found] | None = None

    def examine(self) -> Found:
        """All that is set now, however much of it is wrong."""
        last, stamp = self._last, _stamp(self._layout.config)
        if last is not None and stamp == last[0]:
            return last[1]
        found = examine(self._layout)
        self._last = None if stamp is None else (stamp, found)
        return found


def _stamp(path: str) -> tuple[int, ...] | None:
    """Changes whenever the file does; None for one that has changed just now, and may again within the same instant."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    is_settled = time.time_ns() - status.st_mtime_ns > _SETTLED
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns) if is_settled else None


def load(layout: Layout, flags: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force; `flags` are fields that were given on the command line.

    Raises ConfigError for an invalid value, naming where it is set.
    """
    return checked(examine(layout)).settings._replace(
        **{key: value for key, value in (flags or {}).items() if value is not None}
    )


def explain(layout: Layout) -> dict[str, tuple[Any, str]]:
    """Every key with its value and where that comes from. Raises ConfigError as `load` does."""
    return checked(examine(layout)).values


def checked(found: Found) -> Found:
    """The same, if nothing is wrong with it; raises the first ConfigError."""
    if found.wrong:
        raise found.wrong[0]
    return found


def describe(error: ConfigError) -> str:
    """What is wrong and where, in one line."""
    return " ".join(f"{error.what} ({error.why})".split())


def examine(layout: Layout, variables: Mapping[str, str] | None = None) -> Found:
    """Everything that is set, invalid values included. `variables` defaults to the environment."""
    variables = os.environ if variables is None else variables
    wrong: list[ConfigError] = []
    stored: dict[str, Any] = {}
    try:
        stored = read_file(layout)
    except ConfigError as error:
        wrong.append(error)
    values: dict[str, tuple[Any, str]] = {}
    for name in KEYS:
        values[name] = Settings._field_defaults[Key.field(name)], "default"
        variable = "QUEUECTL_" + Key.field(name).upper()
        try:
            if variable in variables:
                values[name] = _parse(name, variables[variable], variable), variable
            elif name in stored:
                values[name] = _parse(name, as_text(stored[name]), layout.config), "config.toml"
        except ConfigError as error:
            wrong.append(error)
    return Found(values, tuple(wrong), tuple(_unknown(name) for name in stored if name not in KEYS))


def _unknown(name: str) -> ConfigError:
    close = nearest(name)
    hint = f"did you mean {close}?" if close else "remove it, unless a newer version knows it"
    return ConfigError(f"config.toml: unknown setting {name!r} is ignored", hint=hint)


def _parse(name: str, text: str, where: str) -> Any:
    try:
        return key_of(name).parse(text)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error.what}", f"in {where}", error.hint) from None


def read_file(layout: Layout) -> dict[str, Any]:
    """What config.toml sets. Unknown keys are not an error: they may be those of a newer version."""
    try:
        text = files.read(layout.config).data.decode()
        if all(line.startswith("#") or not line for line in text.split("\n")):
            return {}
        import tomllib

        return tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except ValueError as error:  # not UTF-8, or not TOML
        raise ConfigError(
            "config.toml cannot be read", f"{layout.config}: {error}", "fix or remove that line"
        ) from None
    except OSError as error:
        raise ConfigError("config.toml cannot be read", f"{layout.config}: {error.strerror}") from None


def store(layout: Layout, name: str, text: str | None) -> Any:
    """Set a key (or unset it, with None) in config.toml, keeping every other line; the new value."""
    name = name.replace("_", "-")
    key = key_of(name)
    value = key.parse(text) if text is not None else None
    if text is not None and name == "allow-users":
        _require_users(text)
    with locked_settings(layout):
        read_file(layout)
        try:
            old = files.read(layout.config).data.decode()
        except FileNotFoundError:
            old = ""
        kept = [line for line in old.splitlines() if not re.match(rf'\s*"?{re.escape(name)}"?\s*=', line)]
        if text is not None:
            written = text.strip() if key.parse is kept_seconds else value  # with its unit, which it must have
            kept.insert(_end_of_top_level(kept), f"{name} = {_to_toml(written)}")
        files.replace(layout.config, ("\n".join(kept) + "\n").encode())
    return value


def _require_users(text: str) -> None:
    try:
        trust.require_users(text if text.lower() != "none" else "")
    except UsageError as error:
        raise ConfigError(error.what, error.why, error.hint) from None


def _end_of_top_level(lines: list[str]) -> int:
    """Where a top-level key can be inserted: before the first [table]."""
    return next((index for index, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))


def _to_toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_to_toml, value))}]"
    return (
        repr(value) if isinstance(value, int | float) else json.dumps(as_text(value))
    )  # a JSON string is a TOML string
