"""Text -> HTML. Everything is hostile unless it is `Html`, which only this package's own markup may be.

Templates escape everything they show through `escape`; control characters, bidi marks and halves of
characters come out as visible escapes, as on a terminal.
"""

from __future__ import annotations

import os
from datetime import datetime
from html import escape as escape_html
from typing import Any

import bottle

from queuectl.core.names import format_rfc3339
from queuectl.core.text import format_seconds, printable_output

TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


def escape(value: object) -> str:
    """Markup that shows a value as it is."""
    if isinstance(value, Html):
        return value
    return escape_html("" if value is None else printable_output(str(value)))


class Template(bottle.SimpleTemplate):  # type: ignore[misc]
    """A template whose `{{ }}` always escape, parts and frames included."""

    def prepare(self, **options: Any) -> None:
        super().prepare(**options)
        self._escape = escape


_templates: dict[str, Template] = {}


def render(name: str, **values: Any) -> str:
    """The page that a template makes of these values."""
    template = _templates.get(name)
    if template is None:
        template = _templates[name] = Template(name=f"{name}.html", lookup=[TEMPLATES])
    text: str = template.render(values)
    return text


def icon(name: str) -> Html:
    return Html(f'<svg class="icon" aria-hidden="true"><use href="#i-{name}"/></svg>')


def badge(state: str, text: str = "") -> Html:
    """A state by icon, word and colour."""
    picture = icon("scheduled" if state == "waiting" else escape(state))
    return Html(f'<span class="badge {escape(state)}">{picture}{escape(text or state)}</span>')


def when(at: datetime | None, now: datetime) -> Html:
    """A relative time, with the absolute one on hover; the page's script keeps it up to date."""
    if at is None:
        return Html('<span class="none">–</span>')
    text = format_rfc3339(at)
    local = _local(at).strftime("%a %Y-%m-%d %H:%M:%S %Z")
    return Html(f'<time datetime="{text}" title="{local}">{relative(at, now)}</time>')


def _local(at: datetime) -> datetime:
    """A time in this machine's zone; unchanged if that would be after the year 9999."""
    try:
        return at.astimezone()
    except (OverflowError, ValueError):
        return at


def clock(at: datetime | None, now: datetime) -> Html:
    """A time of day, with its date on hover, and before it if it is not today."""
    if at is None:
        return Html('<span class="none">?</span>')
    local, here = _local(at), now.astimezone()
    shown = f"{local:%H:%M:%S}" if local.date() == here.date() else f"{local:%Y-%m-%d %H:%M:%S}"
    return Html(
        f'<time class="clock" datetime="{format_rfc3339(at)}" title="{local:%a %Y-%m-%d %H:%M:%S %Z}">{shown}</time>'
    )


def tick(at: datetime, span: str) -> Html:
    """A time below a chart of that range."""
    local, show = _local(at), "day" if span == "7d" else "minute"
    text = f"{local:%m-%d}" if show == "day" else f"{local:%H:%M}"
    return Html(f'<time class="clock" data-show="{show}" datetime="{format_rfc3339(at)}">{text}</time>')


def elapsed(at: datetime | None, now: datetime) -> Html:
    """How long ago that was, to the second; the page's script lets it tick."""
    if at is None:
        return Html('<span class="none">–</span>')
    seconds = max(0, int((now - at).total_seconds()))
    local = _local(at).strftime("%a %Y-%m-%d %H:%M:%S %Z")
    return Html(
        f'<time class="elapsed" datetime="{format_rfc3339(at)}" title="since {local}">{stopwatch(seconds)}</time>'
    )


def stopwatch(seconds: int) -> str:
    """`0:07`, `12:30`, `1:02:03`, `3 d 01:02:03`, as live.js does it too."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02d}:{minutes:02d}:{rest:02d}"
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def relative(at: datetime, now: datetime) -> str:
    """`just now`, `5 s ago`, `in 3 min`, `2 h ago`, `4 d ago`"""
    seconds = (at - now).total_seconds()
    span = brief(abs(seconds))
    if abs(seconds) < 1:
        return "just now"
    return f"in {span}" if seconds > 0 else f"{span} ago"


def brief(seconds: float) -> str:
    """`5 s`, `3 min`, `2 h`, `4 d`: one unit, rounded down, as live.js does it too."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def duration(seconds: float | None) -> str:
    return "–" if seconds is None else format_seconds(seconds)


def short(seconds: float) -> str:
    """`16.4 s`, `1:03`, `2:00:00`: short enough for a table."""
    return duration(seconds) if seconds < 60 else stopwatch(int(seconds))


def number(value: int) -> str:
    """`1,234,567`"""
    return f"{value:,}"
