"""What queuectl writes into the log of a job, as people read it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from queuectl.core.names import parse_instant, parse_time
from queuectl.core.text import format_seconds, format_size, printable
from queuectl.spool.system.logs import Mark, Usage, parse_outcome

FormatTime = Callable[[datetime], str]


def describe(mark: Mark, format_time: FormatTime) -> str:
    """One line that can be printed. A job can write such lines itself, so anything may be missing or nonsense."""
    fields = mark.fields
    attempt = f"attempt {fields.get('attempt', '?')}"
    match mark.event:
        case "start":
            text = f"{attempt} started{_at(fields, 'started_at', format_time)} by {fields.get('worker', '?')}"
        case "end":
            text = f"{attempt} ended: {parse_outcome(fields) or fields.get('result', '?')}"
            text += f"; {fields['reason']}" if "reason" in fields else ""
        case "retry":
            text = _describe_retry(mark, format_time)
        case "refused":
            file = f" (the file {fields['file']})" if fields.get("file", "inbox") != "inbox" else ""
            text = f"refused: {fields['reason']}{file}" if "reason" in fields else f"refused {mark.text}"
        case "note":
            text = _describe_note(mark, attempt, format_time)
        case _:
            text = f"{mark.event} {mark.text}"
    return printable(text)


def describe_usage(used: Usage) -> str:
    """Memory and CPU time of an attempt."""
    return f"{format_size(used.max_rss)} of memory, {format_seconds(min(used.cpu, 1e9))} of CPU time"


def _describe_retry(mark: Mark, format_time: FormatTime) -> str:
    fields = mark.fields
    if "at" not in fields:
        return f"retried {mark.text}"
    text = f"retried{_at(fields, 'at', format_time)}, after {fields.get('after', '?')}"
    return text + (f"; it was {fields['was']}" if "was" in fields else "")


def _describe_note(mark: Mark, attempt: str, format_time: FormatTime) -> str:
    fields = mark.fields
    if mark.usage is not None:
        waited = "" if mark.waited is None else f"; its job had waited {format_seconds(min(mark.waited, 1e9))} for it"
        return f"{attempt} used {describe_usage(mark.usage)}{waited}"
    if mark.text.startswith("ending "):
        return f"ending {attempt}: {fields.get('reason', '?')}"
    if "ended_at" in fields:
        until = _at(fields, "ended_at", format_time)
        return f"{attempt} took {_duration(fields.get('duration', ''))}, and ended{until}"
    if mark.text.startswith("sent "):
        return f"{attempt} was sent to {fields.get('to', '?')}"
    if mark.text.startswith("asked "):
        by = f" by {fields['by']}" if fields.get("by") else ""
        return f"{fields.get('action', '?')} asked for in the dashboard{by}{_at(fields, 'at', format_time)}"
    if mark.text.startswith("edited "):
        names = fields.get("fields", "?").replace(",", ", ")
        return f"changed{_at(fields, 'at', format_time)}: {names}"
    return f"note {mark.text}"


def _at(fields: dict[str, str], name: str, format_time: FormatTime) -> str:
    """` at` a time; nothing if that is nonsense."""
    text = fields.get(name, "")
    for parse in (parse_time, parse_instant):
        try:
            return f" at {format_time(parse(text))}"
        except (ValueError, OverflowError):
            pass
    return ""


def _duration(text: str) -> str:
    try:
        return format_seconds(min(max(0.0, float(text)), 1e9))
    except ValueError:
        return "?"
