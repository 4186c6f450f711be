"""`queuectl set` and `edit`: what a waiting job asks for"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from queuectl.cli.context import confirm, json_option, note, open_spool, show_error
from queuectl.cli.targets import Action, Target, Verb, act, ids_argument, load, read_ids, run
from queuectl.core.fields import CAN_BE_SET, parse, parse_variable
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.errors import InvalidJobError, NotJsonError, QueuectlError, UsageError, WrongStateError
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
    """Open waiting jobs in your editor, several of them in one file.

    The editor ($VISUAL, $EDITOR) gets a copy. When you leave it, a text that is a runnable job replaces
    the job in one step; if the job has started in the meantime, nothing is changed and your text
    is kept. To take your time, `hold` the job first. Of several, those whose text you delete are left as they are.

    \b
    Example:
      queuectl edit report
    """
    spool = open_spool()
    wanted = read_ids(ids)
    use_terminal(ids)
    if len(wanted) > 1:
        targets, action = edit_together(spool, wanted)
        run(spool, targets, action, "up to date", as_json)
    else:
        run(spool, wanted, lambda id: edit_job(spool, id), "up to date", as_json)


def use_terminal(ids: tuple[str, ...]) -> None:
    """Give the editor the terminal as its stdin, if ids were read from stdin; do nothing without a terminal."""
    if "-" in ids and not sys.stdin.isatty():
        with suppress(OSError):
            os.dup2(os.open("/dev/tty", os.O_RDWR), 0)


def edit_job(spool: Spool, id: str | Job) -> Job:
    """Open a job in the editor until it is runnable or the user gives up; the job as it is then."""
    require_editor()
    draft = spool.edit(id)
    text = draft.text
    while True:
        text = edit_text(text, ".json")
        try:
            return _apply(spool, draft, text)
        except (NotJsonError, InvalidJobError) as error:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise _kept(draft, text, error) from None
            show_error(error)
            if not confirm("edit it again?", default=True):
                raise _kept(draft, text, error) from None


def edit_together(spool: Spool, targets: Sequence[Target]) -> tuple[list[Target], Action]:
    """Open jobs in the editor, all in one file; those that are still in it, and what swaps each for its new text.

    A job that is not there, or is running, is among them: what is done to it then raises the error.
    """
    require_editor()
    drafts: dict[str, Draft] = {}
    left: list[Target] = []
    for target in targets:
        try:
            draft = spool.edit(load(spool, target))
            drafts[draft.job.id] = draft
        except QueuectlError:
            left.append(target)
    texts = _split(edit_text(_join(drafts), ".txt"), drafts) if drafts else {}

    def apply(id: str | Job) -> Job:
        name = id.id if isinstance(id, Job) else id
        if name not in texts:
            spool.edit(id)  # which raises why it was not in the file, unless that has passed
            raise WrongStateError(f"job {name} has just changed state", "it was not in the file", "look again")
        try:
            return _apply(spool, drafts[name], texts[name])
        except (NotJsonError, InvalidJobError) as error:
            raise _kept(drafts[name], texts[name], error) from None

    return [*left, *texts], apply


_HEAD = "#### "
_HELP = "# Each job follows a line with its id. What you delete here is left as it is.\n"


def _join(drafts: Mapping[str, Draft]) -> str:
    return _HELP + "".join(f"{_HEAD}{id}\n{draft.text.rstrip()}\n" for id, draft in drafts.items())


def _split(text: str, drafts: Mapping[str, Draft]) -> dict[str, str]:
    """The text below each head, without those that are empty; as it was, where only blanks at its end have changed."""
    parts: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines(keepends=True):
        id = line.removeprefix(_HEAD).strip()
        if line.startswith(_HEAD) and id in drafts:
            current = parts.setdefault(id, [])
        else:
            current.append(line)
    found = {id: "".join(lines) for id, lines in parts.items()}
    kept = {id: drafts[id].text if each.rstrip() == drafts[id].text.rstrip() else each for id, each in found.items()}
    return {id: each for id, each in kept.items() if found[id].strip()}


def require_editor() -> None:
    """Raise UsageError if there is neither an editor nor a terminal for one."""
    if not (os.environ.get("VISUAL") or os.environ.get("EDITOR") or sys.stdin.isatty()):
        raise UsageError("no terminal to edit on", hint="set $EDITOR to a program that needs none")


def edit_text(text: str, extension: str) -> str:
    """What the editor makes of a text."""
    try:
        return click.edit(text, extension=extension, require_save=False) or ""
    except click.ClickException as error:
        raise QueuectlError("the editor failed", error.format_message(), "set $EDITOR to one that works") from None
    except OSError as error:
        raise QueuectlError("the editor left no text", f"{error.filename}: {error.strerror}") from None


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
    error.hint = f"your text is in {keep_text(draft.job.id, text)}"
    return error


def keep_text(name: str, text: str) -> str:
    """Write a text that could not be saved to a file of its own; its path."""
    import tempfile

    with tempfile.NamedTemporaryFile(
        "w", prefix=f"queuectl-{name}-", suffix=".json", delete=False, encoding="utf-8", errors="replace"
    ) as file:
        file.write(text)
    return file.name
