"""Explanations in one sentence: results, waiting, and refusals."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from signal import Signals

from queuectl.core.admission import Reason
from queuectl.core.job import Job
from queuectl.core.result import State
from queuectl.core.text import printable
from queuectl.dashboard.markup import Html, clock, escape
from queuectl.spool.system.layout import Layout

_EXITS = {
    126: "the command could not be executed, or its directory could not be entered",
    127: "a command was not found",
}
_KINDS = {
    "timeout": "ran longer than its timeout",
    "lost": "its worker or the machine went away; the outcome is unknown",
    "cancelled": "cancelled by hand",
    "invalid": "the file is not a runnable job",
    "skipped": "not started: what it waited for did not come about, the last job of its schedule had not ended, or "
    "another job had its key",
    "exit0": "succeeded",
}
_SPECIAL = re.compile(r"(?P<at>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})|(?<=: )queuectl(?P<rest> [^;]+)", re.ASCII)
"""A time as `format_instant` shows it, or what to type."""


def result(text: str) -> str:
    """What a result such as `exit127` means."""
    if text in _KINDS:
        return _KINDS[text]
    match = re.fullmatch(r"(exit|signal)(\d{1,3})", text, re.ASCII)
    if match is None:
        return ""
    code = int(match[2])
    if match[1] == "exit":
        return _EXITS.get(code, f"the command exited with {code}")
    try:
        name = Signals(code).name
    except ValueError:
        return f"ended by signal {code}"
    return f"ended by {name}" + (", possibly out of memory" if name == "SIGKILL" else "")


def sentences(
    reasons: Iterable[Reason], spool: str | os.PathLike[str], now: datetime, without: Collection[str] = ()
) -> list[Html]:
    """Reasons why a job does not run, but for those of these words, each as a sentence: times as everywhere on the
    pages, commands as they can be typed anywhere."""
    return [_sentence(reason.text, cli(spool), now) for reason in reasons if reason.reason not in without]


def _sentence(text: str, start: str, now: datetime) -> Html:
    shown, end = "", 0
    for match in _SPECIAL.finditer(text := f"{text[0].upper()}{text[1:]}"):
        shown += escape(text[end : match.start()])
        if match["at"]:
            shown += clock(_parse_instant(match["at"]), now)
        else:
            shown += f"<code>{escape(start + match['rest'])}</code>"
        end = match.end()
    return Html(f"{shown}{escape(text[end:])}.")


def _parse_instant(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z")
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not a job, and the line where it fails: (its number, the text before the place, the text after)."""

    reason: str
    line: int | None = None
    column: int | None = None
    before: str = ""
    behind: str = ""


def refusal(problem: str | None, data: bytes) -> Refusal:
    """What is wrong with the file of a job that cannot run, shown at its line and column if that is known."""
    reason = problem or "It can be read now; it may have been a duplicate, or was still being written."
    place = re.search(r"at line (\d+) column (\d+)$", reason)
    broken = re.search(r"at byte (\d+)$", reason)
    if place:
        line, column = int(place[1]), int(place[2])
    elif broken:
        head = data[: int(broken[1])]
        line = head.count(b"\n") + 1
        column = len(head.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
    else:
        return Refusal(reason)
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    text = lines[line - 1].decode("utf-8", "replace") if line <= len(lines) else ""
    return Refusal(
        reason,
        line,
        column,
        printable(text[max(0, column - 61) : column - 1]),
        printable(text[column - 1 : column + 60]),
    )


def cli(path: str | os.PathLike[str]) -> str:
    """How a command for that spool begins, wherever it is typed."""
    return f"queuectl --spool {shlex.quote(printable(os.fspath(path)))}"


def commands(job: Job, layout: Layout, now: datetime) -> list[tuple[str, str]]:
    """(what it does, what to type anywhere) for what can be done about a job."""
    start = cli(layout.root)
    return [(what, re.sub(r"^queuectl\b", lambda _: start, text)) for what, text in _commands(job)]


def _commands(job: Job) -> list[tuple[str, str]]:
    found = [("Look", f"queuectl show {job.id}"), ("Log", f"queuectl logs {job.id}")]
    if job.state in (State.PENDING, State.RUNNING):
        found[1] = ("Follow the log", f"queuectl logs -f {job.id}")
        found.append(("Why it waits" if job.state is State.PENDING else "Explain", f"queuectl explain {job.id}"))
    if job.state is State.RUNNING:
        found.append(("Signal", f"queuectl kill -s HUP {job.id}"))
    if job.state is State.PENDING:
        found.append(
            ("Release", f"queuectl release {job.id}")
            if job.is_held or job.is_waiting
            else ("Hold", f"queuectl hold {job.id}")
        )
        found.append(("First in line", f"queuectl first {job.id}"))
        found.append(("Change", f"queuectl set {job.id} priority=1"))
        found.append(("Cancel", f"rm {shlex.quote(job.path)}"))
    if job.state is State.DEAD:
        found += [("Retry", f"queuectl dlq retry {job.id}"), ("Drop", f"queuectl dlq drop {job.id}")]
    elif job.state is State.DONE:
        found.append(("Run again", f"queuectl retry {job.id}"))
    return found
