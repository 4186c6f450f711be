"""`queuectl cancel` and `kill`"""

from __future__ import annotations

import re
import signal
from typing import Any

import click

from queuectl.cli.context import open_spool
from queuectl.cli.targets import Verb, act
from queuectl.core.result import State
from queuectl.core.when import parse_duration
from queuectl.errors import UsageError

_CANCEL = Verb("cancel", "cancelled", (State.PENDING, State.RUNNING))
_SIGNAL = re.compile(r"-(\d+|[A-Z][A-Z0-9]+)")
_KILL = Verb("kill", "signalled", (State.RUNNING,), "running")


@click.command()
@click.option("--grace", metavar="TIME", help="Time between SIGTERM and SIGKILL. [default: the setting grace]")
@_CANCEL.options()
def cancel(grace: str | None, **given: Any) -> None:
    """Remove waiting jobs from the queue, and end running ones.

    All processes of a running job get SIGTERM, and SIGKILL after the grace period. The jobs move to the
    dead letters as `cancelled`; `retry` brings them back. Exit code 5 means that it is not known yet whether
    a job has ended: its processes are in another container and its worker has not answered.

    \b
    Example:
      queuectl cancel report
      queuectl cancel --state running --match rsync
    """
    from queuectl.cli.settings import warn_of_settings

    spool = open_spool()
    warn_of_settings(spool)
    seconds = None if grace is None else parse_duration(grace)
    act(spool, _CANCEL, given, lambda id: spool.cancel(id, grace=seconds))


class _Kill(click.Command):
    """Takes `-9` and `-HUP` as kill(1) does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f"--signal={arg[1:]}" if _SIGNAL.fullmatch(arg) else arg for arg in args])


@click.command(cls=_Kill)
@click.option("-s", "--signal", "name", default="TERM", show_default=True, metavar="SIG", help="INT, HUP, 9, …")
@_KILL.options()
def kill(name: str, **given: Any) -> None:
    """Send a signal to all processes of running jobs.

    What happens then is up to the job: one that dies of a signal has failed, and is retried like
    any other. To end a job for good, use `cancel`.

    \b
    Example:
      queuectl kill -s HUP report
      queuectl kill -9 report
    """
    spool, number = open_spool(), _number_of(name)
    act(spool, _KILL, given, lambda id: spool.kill(id, number))


def _number_of(text: str) -> int:
    """The signal of that name, with or without SIG, or of that number."""
    word = text.upper().removeprefix("SIG")
    try:
        return signal.Signals(int(word)) if word.isdecimal() else signal.Signals[f"SIG{word}"]
    except (ValueError, KeyError):
        raise UsageError(f"unknown signal {text!r}", hint="signals: TERM INT HUP KILL STOP CONT USR1 …") from None
