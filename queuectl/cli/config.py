"""`queuectl config`"""

from __future__ import annotations

from typing import Any

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, print_table
from queuectl.cli.groups import Group
from queuectl.core.settings import KEYS, as_text, kept_seconds, key_of
from queuectl.core.text import format_seconds
from queuectl.core.typed import require_unit
from queuectl.spool.system import settings


def _complete_key(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [key for key in KEYS if key.startswith(incomplete)]


@click.group(cls=Group)
def config() -> None:
    """Read and change the settings of the spool.

    They are stored in its config.toml. An environment variable such as QUEUECTL_MAX_RETRIES takes precedence.

    \b
    Example:
      queuectl config list
      queuectl config set max-retries 2
    """


def _text(key: str, value: Any) -> str:
    """A value as it can be typed: how long jobs are kept with its unit."""
    text = as_text(value).removesuffix(".0")
    return f"{text}s" if _is_kept(key) and value is not None else text


def _is_kept(key: str) -> bool:
    """Whether the setting is a time after which jobs are deleted."""
    return key_of(key).parse is kept_seconds


def _say(key: str, value: Any, source: str = "") -> None:
    """Say what is set, and how long that is if it deletes jobs."""
    remarks = [source] if source else []
    if _is_kept(key) and value is not None:
        remarks.append(f"{format_seconds(value)}; older jobs are deleted")
    note(f"{key} = {_text(key, value)}" + (f" ({'; '.join(remarks)})" if remarks else ""))


@config.command("list")
@json_option
def list_(as_json: bool) -> None:
    """Show every setting with its value and source.

    \b
    Example:
      queuectl config list
    """
    read = settings.checked(open_spool().examine_settings())
    for unknown in read.unknown:
        note(f"warning: {unknown.what}; {unknown.hint}")
    found = read.values
    if as_json:
        print_json({name: {"value": value, "source": source} for name, (value, source) in found.items()})
        return
    rows = [(name, _text(name, value), source, KEYS[name].help) for name, (value, source) in found.items()]
    print_table(("KEY", "VALUE", "FROM", "MEANING"), rows, wrap=True)


@config.command("get")
@click.argument("key", shell_complete=_complete_key)
@json_option
def get(key: str, as_json: bool) -> None:
    """Print one setting.

    \b
    Example:
      queuectl config get max-retries
    """
    key_of(key)
    value, source = settings.explain(open_spool().layout)[key.replace("_", "-")]
    if as_json:
        print_json({"value": value, "source": source})
    else:
        click.echo(_text(key, value))


@config.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key", shell_complete=_complete_key)
@click.argument("value")
@json_option
def set_(key: str, value: str, as_json: bool) -> None:
    """Change one setting. Running workers pick it up within seconds.

    `queuectl config list` shows the keys. Times may be 90, 5m or 1h30m, sizes 64M or 2G; a time after which jobs
    are deleted needs its unit.

    \b
    Example:
      queuectl config set max-retries 2
      queuectl config set timeout 1h
    """
    if _is_kept(key):
        require_unit(value, f"queuectl config set {key} {{}}")
    spool = open_spool(create=True)
    stored = settings.store(spool.layout, key, value)
    if as_json:
        print_json({"value": stored, "source": "config.toml"})
    else:
        _say(key, stored)


@config.command("unset")
@click.argument("key", shell_complete=_complete_key)
@json_option
def unset(key: str, as_json: bool) -> None:
    """Reset a setting to its default.

    \b
    Example:
      queuectl config unset timeout
    """
    key_of(key)
    spool = open_spool()
    settings.store(spool.layout, key, None)
    value, source = settings.explain(spool.layout)[key.replace("_", "-")]
    if as_json:
        print_json({"value": value, "source": source})
    else:
        _say(key, value, source)
