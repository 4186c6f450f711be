"""`queuectl config`"""

from __future__ import annotations

from typing import Any

import click

from queuectl.cli.context import json_option, note, open_spool, print_json, print_table
from queuectl.cli.groups import Group
from queuectl.core.settings import KEYS, as_text, key_of
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


def _text(value: Any) -> str:
    return as_text(value).removesuffix(".0")


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
    rows = [(name, _text(value), source, KEYS[name].help) for name, (value, source) in found.items()]
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
        click.echo(_text(value))


@config.command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key", shell_complete=_complete_key)
@click.argument("value")
def set_(key: str, value: str) -> None:
    """Change one setting. Running workers pick it up within seconds.

    `queuectl config list` shows the keys. Times may be 90, 5m or 1h30m, sizes 64M or 2G.

    \b
    Example:
      queuectl config set max-retries 2
      queuectl config set timeout 1h
    """
    key_of(key)
    spool = open_spool(create=True)
    note(f"{key} = {_text(settings.store(spool.layout, key, value))}")


@config.command("unset")
@click.argument("key", shell_complete=_complete_key)
def unset(key: str) -> None:
    """Reset a setting to its default.

    \b
    Example:
      queuectl config unset timeout
    """
    key_of(key)
    spool = open_spool()
    settings.store(spool.layout, key, None)
    value, source = settings.explain(spool.layout)[key.replace("_", "-")]
    note(f"{key} = {_text(value)} ({source})")
