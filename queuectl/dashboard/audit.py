"""A line on standard error for each thing that was done from a page: when, what, to which jobs, by whom."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from queuectl.core.names import format_rfc3339
from queuectl.core.text import printable
from queuectl.dashboard.security import CSRF_FIELD
from queuectl.spool.system.clock import now

_LONGEST = 200
_IDS = 20
_SILENT = ("/login", "/actions/dismiss")
_LEFT_OUT = (CSRF_FIELD, "back", "token", "version", "confirmed", "until", "receipt")


def note(answer: Any, environ: Mapping[str, Any]) -> None:
    """Write the line, if the request was a form that was obeyed; what only showed a page is not noted."""
    path = environ["PATH_INFO"]
    if environ["REQUEST_METHOD"] == "POST" and getattr(answer, "status_code", 0) == 303 and path not in _SILENT:
        sys.stderr.write(line(path, environ.get("queuectl.form", {}), environ))


def line(path: str, form: Mapping[str, list[str]], environ: Mapping[str, Any]) -> str:
    """`2026-11-24T03:43:00.120Z dashboard: retry by=ops from=127.0.0.1 id=a,b`"""
    given = " ".join(f"{name}={_value(values)}" for name, values in form.items() if _is_shown(name, values))
    by, address = environ.get("queuectl.user") or "-", environ.get("REMOTE_ADDR", "-")
    action = path.rpartition("/")[2]
    return f"{format_rfc3339(now())} dashboard: {printable(f'{action} by={by} from={address} {given}'.rstrip())}\n"


def _is_shown(name: str, values: list[str]) -> bool:
    return name not in _LEFT_OUT and not name.startswith("was_") and any(values)


def _value(values: list[str]) -> str:
    text = ",".join(values[:_IDS]) + (f",… ({len(values)})" if len(values) > _IDS else "")
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f'"{text}"' if " " in text or not text.isprintable() else text
