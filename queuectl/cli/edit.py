"""`queuectl set` and `edit`: what a waiting job asks for"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import click

from queuectl.cli.context import json_option, note, open_spool, show_error
from queuectl.cli.targets import Verb, act, ids_argument, read_ids, run
from queuectl.core.fields import CAN_BE_SET, parse, parse_variable
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError
from queuectl.spool.moves.edit import Draft
from queuectl.spool.store import Spool
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import working_directory

_SET = Verb("set", "changed", (State.PENDING,), "pending")


_SET_HELP = f"""Change fields of waiting jobs, as KEY=VALUE.

Keys: {", ".join(CAN_BE_SET)} and env.NAME; KEY=none removes a field or a
variable. A command may be a JSON array of strings, which runs without a shell.
A job that has started in the meantime is not changed.

\b
Example:
  queuectl set report priority=1 timeout=10m
  queuectl set --match rsync run_at="tomorrow 02:00" env.RATE=slow
"""


@click.command("set", help=_SET_HELP)
@_SET.options("[ID... | -] KEY=VALUE...")
def set_(ids: tuple[str, ...], **given: Any) -> None:
    fields = _parse_assignments([word for word in ids if "=" in word])
    if not fields:
        raise UsageError("nothing to set", "give KEY=VALUE, such as priority=1", "see: queuectl set --help")
    spool = open_spool()
    given["ids"] = tuple(word for word in ids if "=" not in word)
    act(spool, _SET, given, lambda id: spool.set_fields(id, **fields))


def _parse_assignments(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        if key.startswith("env."):
            variable = key.removeprefix("env.")
            parsed = parse_variable(variable, text)
            found.setdefault("env", {})[os.fsencode(variable)] = None if parsed is None else os.fsencode(parsed)
            continue
        name = key.replace("-", "_")
        value = parse(name, text, now())
        if name == "cwd" and value is not None:
            value = os.path.join(working_directory(), os.fsencode(value))
        found[name] = os.path.normpath(value) if name == "cwd" and value is not None else value
    return found


@click.command()
@ids_argument("pending")
@json_option
def edit(ids: tuple[str, ...], as_json: bool) -> None:
    """Open waiting jobs in your editor, one after the other.

    The editor ($VISUAL, $EDITOR) gets a copy. When you leave it, a text that is a runnable job replaces
    the job in one step; if the job has started in the meantime, nothing is changed and your text
    is kept. To take your time, `hold` the job first.

    \b
    Example:
      queuectl edit report
    """
    spool = open_spool()
    wanted = read_ids(ids)
    use_terminal(ids)
    run(spool, wanted, lambda id: edit_job(spool, id), "up to date", as_json)


def use_terminal(ids: tuple[str, ...]) -> None:
    """Give the editor the terminal as its stdin, if ids were read from stdin; do nothing without a terminal."""
    if "-" in ids and not sys.stdin.isatty():
        with suppress(OSError):
            os.dup2(os.open("/dev/tty", os.O_RDWR), 0)


def edit_job(spool: Spool, id: str | Job) -> Job:
    """Open a job in the editor until it is runnable or the user gives up; the job as it is then."""
    if not (os.environ.get("VISUAL") or os.environ.get("EDITOR") or sys.stdin.isatty()):
        raise UsageError("no terminal to edit on", hint="set $EDITOR to a program that needs none")
    draft = spool.edit(id)
    text = draft.text
    while True:
        try:
            text = click.edit(text, extension=".json", require_save=False) or ""
        except click.ClickException as error:
            raise QueuectlError("the editor failed", error.format_message(), "set $EDITOR to one that works") from None
        except OSError as error:
            raise QueuectlError("the editor left no text", f"{error.filename}: {error.strerror}") from None
        try:
            return _apply(spool, draft, text)
        except (NotJsonError, InvalidJobError) as error:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise _kept(draft, text, error) from None
            show_error(error)
            if not click.confirm("edit it again?", default=True, err=True):
                raise _kept(draft, text, error) from None


def _apply(spool: Spool, draft: Draft, text: str) -> Job:
    try:
        job = spool.apply(draft, text)
    except (NotJsonError, InvalidJobError):
        raise
    except QueuectlError as error:
        raise _kept(draft, text, error) from None
    if text == draft.text:
        note(f"{job.id}: nothing changed")
    for warning in job.body.warnings if job.body else ():
        note(f"warning: {warning}")
    return job


def _kept(draft: Draft, text: str, error: QueuectlError) -> QueuectlError:
    """The same error, with the path at which the text is kept."""
    import tempfile

    with tempfile.NamedTemporaryFile(
        "w", prefix=f"queuectl-{draft.job.id}-", suffix=".json", delete=False, encoding="utf-8", errors="replace"
    ) as file:
        file.write(text)
    error.hint = f"your text is in {file.name}"
    return error
