"""Output of a job -> HTML lines: what a terminal would show of it, with its colours as classes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from queuectl.core.terminal import PLAIN, Row, Screen, Style
from queuectl.dashboard.markup import Html, escape


def parse_style(text: str) -> Style:
    """Inverse of `format_style`; PLAIN for anything else."""
    match = re.fullmatch(r"(f\d{1,2})?\.(g\d{1,2})?\.([bdiuvs]{0,6})", text, re.ASCII)
    if match is None:
        return PLAIN
    colours = [int(part[1:]) % 16 if part else None for part in match.group(1, 2)]
    foreground, background = ("" if one is None else str(one + (30 if one < 8 else 82)) for one in colours)
    return Style(foreground, background and str(int(background) + 10), match[3])


def format_style(style: Style) -> str:
    """As text for a link: `f` and a foreground of 0 to 15, `g` and a background, and a letter for each attribute."""
    return ".".join(_classes_of(style))


def render_line(text: str, style: Style, needle: str = "") -> tuple[Html, Style]:
    """One line (without its newline) as markup, and the style that the next one starts with."""
    screen = Screen(style=style)
    rows = [*screen.feed(text.encode("utf-8", "replace")), *screen.flush()]
    return Html("".join(render_row(row, needle) for row in rows)), screen.style


def render_row(row: Row, needle: str = "") -> Html:
    """The markup of a line, without an element around it; each place with the needle, in any case, is marked."""
    if not needle:
        return Html("".join(_span(text, style) for text, style in row.runs))
    whole = "".join(text for text, _ in row.runs)
    marked = [found.span() for found in re.finditer(re.escape(needle), whole, re.IGNORECASE)]
    return Html("".join(_mark(row, marked) if marked else (_span(text, style) for text, style in row.runs)))


def _mark(row: Row, marked: list[tuple[int, int]]) -> Iterator[str]:
    """The runs of a row, cut where a marked part begins or ends."""
    at = 0
    for text, style in row.runs:
        end, done = at + len(text), at
        for start, stop in marked:
            if stop <= at or start >= end:
                continue
            first, last = max(start, at), min(stop, end)
            yield _span(text[done - at : first - at], style)
            yield f"<mark>{_span(text[first - at : last - at], style)}</mark>"
            done = last
        yield _span(text[done - at :], style)
        at = end


def _span(text: str, style: Style) -> str:
    if not text or style == PLAIN:
        return escape(text)
    foreground, background, attributes = _classes_of(style)
    classes = " ".join(part for part in (foreground, background, *(f"a{letter}" for letter in attributes)) if part)
    return f"<i class={classes if ' ' not in classes else repr(classes)}>{escape(text)}</i>"  # short: logs are long


def _classes_of(style: Style) -> tuple[str, str, str]:
    foreground, background, attributes = style
    return foreground and f"f{_colour(foreground, 30)}", background and f"g{_colour(background, 40)}", attributes


def _colour(parameters: str, first: int) -> int:
    """One of 16 colours, of which `first` is the code of the first one; the nearest to any other."""
    code, *extended = map(int, parameters.split(";"))
    if not extended:
        return code - first if code < 90 else code - first - 52
    kind, *numbers = extended
    if kind == 2:
        red, green, blue = numbers
        return _nearest(red, green, blue)
    index = numbers[0]
    if index < 16:
        return index
    if index < 232:
        cube = index - 16
        return _nearest(cube // 36 * 51, cube // 6 % 6 * 51, cube % 6 * 51)
    return _nearest(*(((index - 232) * 10 + 8),) * 3)


def _nearest(red: int, green: int, blue: int) -> int:
    top, low = max(red, green, blue), min(red, green, blue)
    if top - low < 40:
        return 0 if top < 50 else 8 if top < 140 else 7 if top < 220 else 15
    bits = sum(bit for bit, part in ((1, red), (2, green), (4, blue)) if part > (top + low) / 2)
    return bits + (8 if top > 200 else 0)
