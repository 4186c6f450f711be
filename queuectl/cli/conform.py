"""`queuectl conform`: judge a producer or a worker that somebody else has written."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from queuectl.cli.context import json_option, note, print_json, shown
from queuectl.core.text import format_count
from queuectl.errors import UsageError

if TYPE_CHECKING:
    from queuectl.conform.verdict import Session


@click.group()
def conform() -> None:
    """Check a producer or a worker of your own.

    Each rule of spool/README.md is tried on spools in temporary directories, and gets a verdict. Needs Linux.

    \b
    Example:
      queuectl conform producer ./submit
      queuectl conform worker ./my-worker --slots 4
    """


_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
_rule = click.option("--rule", "only", multiple=True, metavar="RULE", help="Try this rule alone (repeatable).")
_patience = click.option(
    "--patience",
    type=click.FloatRange(0.1),
    default=20.0,
    show_default=True,
    help="Seconds to wait for something.",
)


@conform.command(context_settings=_PASSED_ON)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_rule
@_patience
@json_option
@click.pass_context
def producer(
    ctx: click.Context, command: tuple[str, ...], only: tuple[str, ...], patience: float, as_json: bool
) -> None:
    """Check a command that queues jobs. Exits with 1 if it breaks a rule.

    It is called with one more argument, a line for /bin/sh, which it queues as a job in the spool that QUEUECTL_SPOOL
    names, and exits with 0 once the job would survive a power cut. The order of syncs is seen by strace, if it is
    installed.

    \b
    Example:
      queuectl conform producer ./submit
      queuectl conform producer --rule killed queuectl enqueue -q --
    """
    from queuectl.conform.producer import sessions

    _judge(ctx, sessions(_found(command), patience), only, as_json)


@conform.command(context_settings=_PASSED_ON)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@_rule
@_patience
@json_option
@click.pass_context
def worker(ctx: click.Context, command: tuple[str, ...], only: tuple[str, ...], patience: float, as_json: bool) -> None:
    """Check a command that runs jobs. Exits with 1 if it breaks a rule.

    It is started with the spool in QUEUECTL_SPOOL, and works until it gets SIGTERM, or kill -9. It must run at least
    two jobs at a time. A run takes less than a minute.

    \b
    Example:
      queuectl conform worker ./my-worker
      queuectl conform worker --rule timeout queuectl worker start --count 2
    """
    from queuectl.conform import life, orphans, sharing, storm
    from queuectl.conform.worker import Kit

    kit = Kit(_found(command), patience)
    found = [session for part in (life, sharing, orphans, storm) for session in part.sessions(kit)]
    _judge(ctx, found, only, as_json, kit.explain)


def _found(command: Sequence[str]) -> list[str]:
    """The command, with the whole path of its program."""
    program = shutil.which(command[0])
    if program is None:
        raise UsageError(f"no such program: {command[0]}", hint="give its path, ./my-worker, or install it")
    import os

    return [os.path.abspath(program), *command[1:]]


def _judge(
    ctx: click.Context,
    sessions: Sequence[Session],
    only: Sequence[str],
    as_json: bool,
    explain: Callable[[], str] = lambda: "",
) -> None:
    from queuectl.conform.verdict import judge

    known = [rule.name for session in sessions for rule in session.rules]
    unknown = next((name for name in only if name not in known), None)
    if unknown is not None:
        raise UsageError(f"no such rule: {unknown!r}", f"rules: {' '.join(known)}")
    found = []
    for verdict in judge(sessions, only, explain):
        found.append(verdict)
        if not as_json:
            click.echo(shown(f"{verdict.word:<8} {verdict.rule.name:<17} {verdict.rule.promise}"))
            for text in verdict.problems or filter(None, [verdict.skipped]):
                click.echo(shown(f"{'':<8} {'':<17} - {text}"))
    if as_json:
        print_json([verdict.to_json() for verdict in found])
    count = {word: sum(verdict.word == word for verdict in found) for word in ("ok", "failed", "skipped")}
    if not as_json:
        left = ", ".join(f"{number} {word}" for word, number in count.items() if number)
        note(f"{format_count(len(found), 'rule')}: {left}")
    if count["failed"]:
        ctx.exit(1)
