"""How the output of a job reaches stdout: as a terminal would show it in the end, elsewhere byte for byte."""

from __future__ import annotations

import sys

from queuectl.cli.context import has_colour
from queuectl.core.terminal import HEIGHT, PLAIN, Row, Screen

_LONG = 4096  # bytes of a line that are kept until they are shown


class Display:
    """Shows what a job writes, in any pieces.

    On a terminal nothing of it can do more than colour its own text. What was written may become visible only with
    `pause` or `finish`.
    """

    def __init__(self, label: str = "", *, is_live: bool = False) -> None:
        """Each line begins with the label; the pieces are whole lines then.

        While it `is_live`, a line that is not finished is shown, and drawn again as it changes.
        """
        self._label = label
        self._is_terminal = sys.stdout.isatty()
        self._has_colours = has_colour()
        self._screen = Screen(1 if is_live else HEIGHT)
        self._is_live = is_live and not label
        self._unfed = b""  # the beginning of a line: whole ones are shown much faster
        self._drawn = ""  # what the terminal shows of the line that is not finished
        self._width = 0
        self._is_amid = False  # a line has begun, and the next one needs a newline before it

    def write(self, data: bytes) -> None:
        if self._is_terminal:
            data = self._unfed + data
            cut = len(data) if len(data) > _LONG else data.rfind(b"\n") + 1
            self._unfed = data[cut:]
            if cut:
                self._print(self._screen.feed(data[:cut]))
        elif self._label:
            sys.stdout.buffer.write(self._label.encode() + data.removesuffix(b"\n") + b"\n")
        else:
            sys.stdout.buffer.write(data)

    def pause(self) -> None:
        """Show all there is: nothing more may come for a while."""
        if self._is_terminal and self._is_live:
            self._feed_rest()
            self._draw(self._screen.open)
        sys.stdout.flush()

    def finish(self) -> None:
        """Show all there is. On a terminal, what is written next begins a new line, without any colour."""
        if self._is_terminal:
            self._feed_rest()
            self._print(self._screen.flush())
            self._screen.style = PLAIN
            if self._is_amid or self._drawn:
                self._say("\n")
            self._is_amid, self._drawn, self._width = False, "", 0
        sys.stdout.flush()

    def _feed_rest(self) -> None:
        self._print(self._screen.feed(self._unfed))
        self._unfed = b""

    def _print(self, rows: list[Row]) -> None:
        for row in rows:
            if self._label:
                self._say(self._label + row.encode(has_colours=self._has_colours) + "\n")
                continue
            if self._drawn:
                self._draw(row)
                self._say("\n" if row.is_whole else "")
                self._drawn, self._width = "", 0
            else:
                self._say(row.encode(has_colours=self._has_colours) + ("\n" if row.is_whole else ""))
            self._is_amid = not row.is_whole

    def _draw(self, row: Row) -> None:
        """Make the last line of the terminal, so far `drawn`, look like that."""
        text = row.encode(has_colours=self._has_colours)
        if text == self._drawn:
            return
        width = row.width
        if text.startswith(self._drawn):
            self._say(text[len(self._drawn) :])
        else:
            # a line that has wrapped cannot be drawn again: it stays
            self._say("\n" if self._width >= _columns() else "\r")
            text += " " * (self._width - width)
            self._say(text)
        self._drawn, self._width = text, max(width, self._width)

    @staticmethod
    def _say(text: str) -> None:
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, "backslashreplace"))


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns
