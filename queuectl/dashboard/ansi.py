"""Output of a job -> HTML lines: colours as classes, everything else that a terminal would interpret left out."""

from __future__ import annotations

import re

from queuectl.dashboard.markup import Html, escape

_SEQUENCE = re.compile(r"\x1b\[([0-9;:]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_()][0-9A-B]?|\x1b")
_ATTRIBUTES = {1: "b", 2: "d", 3: "i", 4: "u", 7: "v", 9: "s"}
_OFF = {22: "bd", 23: "i", 24: "u", 27: "v", 29: "s"}

Style = tuple[str, str, str]
"""Foreground (`f` and 0 to 15), background (`g` and 0 to 15), and a letter for each attribute."""
PLAIN: Style = ("", "", "")


def parse_style(text: str) -> Style:
    """Inverse of `format_style`; PLAIN for anything else."""
    match = re.fullmatch(r"(f\d{1,2})?\.(g\d{1,2})?\.([bdiuvs]{0,6})", text, re.ASCII)
    return (match[1] or "", match[2] or "", match[3]) if match else PLAIN


def format_style(style: Style) -> str:
    return ".".join(style)


def render_line(text: str, style: Style) -> tuple[Html, Style]:
    """One line (without its newline) as markup, and the style that the next one starts with."""
    text = text.removesuffix("\r")
    if "\r" in text and "\x1b" not in text:
        text = text[text.rindex("\r") + 1 :]  # what a progress bar shows in the end
    parts: list[str] = []
    position = 0
    for match in _SEQUENCE.finditer(text):
        parts.append(_span(text[position : match.start()], style))
        position = match.end()
        if match[2] == "m":
            style = _apply(style, match[1])
    parts.append(_span(text[position:], style))
    return Html("".join(parts)), style


def _span(text: str, style: Style) -> str:
    if not text or style == PLAIN:
        return escape(text)
    foreground, background, attributes = style
    classes = " ".join(part for part in (foreground, background, *(f"a{letter}" for letter in attributes)) if part)
    return f'<span class="{classes}">{escape(text)}</span>'


def _apply(style: Style, parameters: str) -> Style:
    """The style after a Select Graphic Rendition sequence (ECMA-48, 8.3.117)."""
    codes = [int(code) if code else 0 for code in re.split("[;:]", parameters[:200])]
    foreground, background, attributes = style
    while codes:
        code = codes.pop(0)
        if code == 0:
            foreground, background, attributes = PLAIN
        elif code in _ATTRIBUTES:
            attributes = attributes.replace(_ATTRIBUTES[code], "") + _ATTRIBUTES[code]
        elif code in _OFF:
            attributes = "".join(letter for letter in attributes if letter not in _OFF[code])
        elif code in (38, 48):
            colour = _extended(codes)
            if colour is not None and code == 38:
                foreground = f"f{colour}"
            elif colour is not None:
                background = f"g{colour}"
        elif 30 <= code <= 37 or 90 <= code <= 97:
            foreground = f"f{code - 30 if code < 90 else code - 82}"
        elif 40 <= code <= 47 or 100 <= code <= 107:
            background = f"g{code - 40 if code < 100 else code - 92}"
        elif code == 39:
            foreground = ""
        elif code == 49:
            background = ""
    return foreground, background, attributes


def _extended(codes: list[int]) -> int | None:
    """The nearest of the 16 colours to that of a 256-colour or true-colour sequence."""
    mode = codes.pop(0) if codes else None
    if mode == 5 and codes:
        index = codes.pop(0)
        if index < 16:
            return index
        if index < 232:
            cube = index - 16
            return _nearest(cube // 36 * 51, cube // 6 % 6 * 51, cube % 6 * 51)
        return _nearest(*(((index - 232) * 10 + 8),) * 3) if index < 256 else None
    if mode == 2 and len(codes) >= 3:
        red, green, blue = codes[:3]
        del codes[:3]
        return _nearest(red, green, blue)
    return None


def _nearest(red: int, green: int, blue: int) -> int:
    top, low = max(red, green, blue), min(red, green, blue)
    if top - low < 40:
        return 0 if top < 50 else 8 if top < 140 else 7 if top < 220 else 15
    bits = sum(bit for bit, part in ((1, red), (2, green), (4, blue)) if part > (top + low) / 2)
    return bits + (8 if top > 200 else 0)
