"""The `queuectl` command: finds the spool, loads one command's module, turns errors into exit codes."""

from __future__ import annotations

import importlib
import io
import os
import sys

import click

from queuectl.core.text import printable
from queuectl.errors import QueuectlError, SpoolError, UsageError

_COMMANDS = {
    "config": "queuectl.cli.config:config",
    "dlq": "queuectl.cli.dlq:dlq",
    "enqueue": "queuectl.cli.enqueue:enqueue",
    "init": "queuectl.cli.init:init",
    "list": "queuectl.cli.jobs:list_",
    "logs": "queuectl.cli.logs:logs",
    "metrics": "queuectl.cli.metrics:metrics",
    "retry": "queuectl.cli.jobs:retry",
    "show": "queuectl.cli.jobs:show",
    "status": "queuectl.cli.status:status",
    "worker": "queuectl.cli.worker:worker",
}


class LazyGroup(click.Group):
    """Imports the module of a command only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean: queuectl {close[0]}" if close else "see: queuectl --help"
            raise UsageError(f"no command {args[0]!r}", hint=hint)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--spool", metavar="DIR", help="The spool's directory.")
@click.version_option(package_name="queuectl-spool", prog_name="queuectl")
@click.pass_context
def app(ctx: click.Context, spool: str | None) -> None:
    """Run shell commands from a queue that is a directory.

    A job is one JSON file; the directory it lies in is its state. The spool is --spool, else
    $QUEUECTL_SPOOL, else spool/ in this or the nearest parent directory, else one in your home.

    \b
    Example:
      queuectl enqueue -- echo hello
      queuectl worker start --count 2 --drain
      queuectl status
    """
    ctx.obj = spool


def main() -> None:
    """Run the command line and exit with its code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names and commands may hold what UTF-8 cannot
    try:
        code = app.main(prog_name="queuectl", standalone_mode=False)
    except QueuectlError as error:
        code = show_error(error)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: say no more
        code = 1
    except OSError as error:
        code = show_error(SpoolError("the spool cannot be used", f"{error.filename or ''}: {error.strerror or error}"))
    sys.exit(code if isinstance(code, int) else 0)


def show_error(error: QueuectlError) -> int:
    """Print an error in at most three lines; its exit code."""
    lines = [printable(line) for line in (error.what, error.why, error.hint) if line]
    click.echo("queuectl: " + "\n  ".join(lines), err=True)
    return error.exit_code
