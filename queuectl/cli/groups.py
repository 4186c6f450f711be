"""Groups of commands whose modules are imported only when needed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click


class Group(click.Group):
    """A group that suggests a line to type for a command that it does not have."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            from queuectl.cli.suggest import unknown_command

            raise unknown_command(ctx, args[0], args[1:], dict.fromkeys(names))
        name, command, rest = super().resolve_command(ctx, args)
        if command is not None and not ctx.resilient_parsing:
            _require_values(command, rest, f"{ctx.command_path} {name}")
        return name, command, rest


def _require_values(command: click.Command, args: list[str], path: str) -> None:
    """Raise UsageError if an option is followed by `--` or by another one, which click takes for its value (8.3).

    What follows the first word of a job's command is not looked at.
    """
    options = [param for param in command.params if isinstance(param, click.Option)]
    valued = {name: param for param in options if not (param.is_flag or param.count) for name in param.opts}
    long = {"--help", *(name for param in options for name in param.opts if name.startswith("--"))}
    has_job = getattr(command, "has_job", False)
    before: str | None = None
    for at, word in enumerate(args):
        is_value = before is not None and not (isinstance(valued[before].flag_value, str) and word.startswith("-"))
        if before is not None and is_value and (word == "--" or word in long):
            from queuectl.cli.suggest import missing_value

            raise missing_value(command, before, args, at, path)
        before = word if not is_value and word in valued else None
        if not is_value and (word == "--" or (has_job and word[:1] not in ("-", "{", "["))):
            return


class LazyGroup(Group):
    """A group of commands that are imported when they are used."""

    def __init__(
        self,
        *arguments: Any,
        places: Mapping[str, str],
        headings: Mapping[str, str] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        """`places` gives the module and name of each command, as `package.module:name`, in order.

        `headings` gives the first command under each heading of the help; without any, all are "Commands".
        """
        super().__init__(*arguments, **options)
        self.places = places
        self.headings = headings

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.places:
            return None
        module, _, name = self.places[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def sections(self) -> dict[str, list[str]]:
        """The names of the commands under each heading, in order."""
        found: dict[str, list[str]] = {}
        heading = "Commands"
        for name in self.places:
            heading = self.headings.get(name, heading)
            found.setdefault(heading, []).append(name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their short help under their headings, all in the same columns."""
        width = max(map(len, self.places))
        for heading, names in self.sections().items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                assert command is not None
                rows.append((name.ljust(width), command.get_short_help_str(formatter.width - 4 - width)))
            with formatter.section(heading):
                formatter.write_dl(rows)
