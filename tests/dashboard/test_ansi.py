from __future__ import annotations

import pytest

from queuectl.core.terminal import PLAIN
from queuectl.dashboard.ansi import format_style, parse_style, render_line


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("plain <b>&", "plain &lt;b&gt;&amp;"),
        ("\x1b[31mred\x1b[0m plain", "<i class=f1>red</i> plain"),
        ("\x1b[1;4;92;44mx", "<i class='f10 g4 ab au'>x</i>"),
        ("\x1b[1mb\x1b[22mx\x1b[39m", "<i class=ab>b</i>x"),
        ("\x1b[38;5;196mx\x1b[38;2;0;200;0my", "<i class=f9>x</i><i class=f2>y</i>"),
        ("\x1b[38;5mx", "x"),
        ("\x1b[2Ka\x1b[10;3Hb\x1b(Bc", "abc"),
        ("\x1b]8;;https://evil.example\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;title\x1b\\x", "x"),
        ("10%\r50%\r100%", "100%"),
        ("dos line\r", "dos line"),
        ("bell\a null\0 \u202eevil", "bell\\x07 null\\x00 \\u202eevil"),
        ("\x1b[99999999999999999999999999mx", "x"),
    ],
)
def test_line_is_shown_as_a_terminal_would_but_obeyed_in_nothing_else(text: str, markup: str) -> None:
    """Colours become classes; cursor moves, titles and links go; what is left is escaped."""
    assert render_line(text, PLAIN)[0] == markup


def test_colour_continues_in_the_next_line() -> None:
    """The style that one line ends with is what the next one begins with, also through its text form."""
    _, style = render_line("\x1b[1;33mwarning", PLAIN)
    assert parse_style(format_style(style)) == style
    assert render_line("more", style)[0] == "<i class='f3 ab'>more</i>"


@pytest.mark.parametrize("text", ["", 'x" onload="', "f999..", "..zz", "f1"])
def test_forged_style_is_none(text: str) -> None:
    """What comes back from the browser cannot carry anything but a style."""
    assert parse_style(text) == PLAIN
