"""What a terminal would show of a job's output: lines of text with colours, and nothing else that it asks for.

A carriage return, a backspace and the sequences that move in or erase what a terminal shows are obeyed; colours are
kept; every other sequence (titles, links, queries, …) is dropped. What is left that cannot be printed is escaped.
"""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from queuectl.core.text import printable

HEIGHT = 50
"""Lines that the cursor can move up through; those above do not change any more."""
_WIDEST = 4096  # columns of a line that can still be changed
_FARTHEST = 500  # column that a movement of the cursor can reach, beyond the end of the line
_TAB = 8
_COMBINING = "\u0300"  # below it, each character takes one column
_PLAIN_LINE = re.compile(rb"[\t -~]*\n")
_COLOUR = re.compile(r"\x1b\[([\d;:]*)m", re.ASCII)
_CONTROL = re.compile(
    r"(?:\x1b\[|\x9b)([0-?]*)([ -/]*)([@-~])?"  # 1 parameters, 2 intermediate bytes, 3 final byte (ECMA-48, 5.4)
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x18\x1a\x1b\x9c\r\n]*(\x07|\x1b\\|\x9c)?"  # 4 end of a string
    r"|\x1b[ -/]*([0-~])?"  # 5 final byte
    r"|[\b\t\n\r]"
)
_ATTRIBUTES = {1: "b", 2: "d", 3: "i", 4: "u", 7: "v", 9: "s"}
_OFF = {22: "bd", 23: "i", 24: "u", 27: "v", 29: "s"}
_CODES = {letter: f"{code}" for code, letter in _ATTRIBUTES.items()}


class Style(NamedTuple):
    """Colours as parameters of Select Graphic Rendition (`31`, `48;5;20`), and a letter for each attribute."""

    foreground: str = ""
    background: str = ""
    attributes: str = ""

    def after(self, code: int, rest: deque[int]) -> Style:
        """The style after one code of a sequence; a colour's numbers are taken from the `rest`."""
        foreground, background, attributes = self
        if code == 0:
            return PLAIN
        if code in _ATTRIBUTES:
            attributes = attributes.replace(_ATTRIBUTES[code], "") + _ATTRIBUTES[code]
        elif code in _OFF:
            attributes = "".join(letter for letter in attributes if letter not in _OFF[code])
        elif code in (38, 48, 58):  # 58 is the colour of underlines
            colour = _extended(rest)
            if colour and code == 38:
                foreground = f"38;{colour}"
            elif colour and code == 48:
                background = f"48;{colour}"
        elif 30 <= code <= 37 or 90 <= code <= 97:
            foreground = f"{code}"
        elif 40 <= code <= 47 or 100 <= code <= 107:
            background = f"{code}"
        elif code == 39:
            foreground = ""
        elif code == 49:
            background = ""
        return Style(foreground, background, attributes)


PLAIN = Style()
Run = tuple[str, Style]
"""Text of one style: it can be printed, apart from tabs."""


@lru_cache(maxsize=256)
def _apply(style: Style, parameters: str) -> Style:
    """The style after a Select Graphic Rendition sequence (ECMA-48, 8.3.117)."""
    # a colon joins what belongs to one parameter: 4:3 is a kind of 4, and 38:2::1:2:3 is 38;2;1;2;3
    codes: deque[int] = deque()
    for part in parameters[:200].split(";"):
        numbers = [int(number or 0) for number in part.split(":") if number.isdecimal() or not number]
        if len(numbers) > 1 and numbers[0] in (38, 48, 58):
            codes += [*numbers[:2], *numbers[-3:]] if numbers[1] == 2 else numbers
        else:
            codes += numbers[:1]
    while codes:
        style = style.after(codes.popleft(), codes)
    return PLAIN if style == PLAIN else style


def _extended(codes: deque[int]) -> str:
    """The parameters of a 256-colour or true-colour sequence, which are taken from `codes`; "" if they are none."""
    wanted = {5: 1, 2: 3}.get(codes.popleft(), 0) if codes else 0
    if not 0 < wanted <= len(codes):
        return ""
    numbers = [codes.popleft() for _ in range(wanted)]
    return ";".join(map(str, (5 if wanted == 1 else 2, *numbers))) if max(numbers) < 256 else ""


class Row(NamedTuple):
    """A line as it is shown; `is_whole` unless what follows continues it."""

    runs: list[Run]
    is_whole: bool = True

    @property
    def width(self) -> int:
        """How many columns it takes."""
        column = 0
        for text, _ in self.runs:
            column += _width(text, column)
        return column

    def encode(self, *, has_colours: bool) -> str:
        """The text for a terminal, without a newline; it begins and ends in the terminal's own style."""
        if not has_colours:
            return "".join(text for text, _ in self.runs)
        return "".join(
            text if style is PLAIN else f"\x1b[{_parameters(style)}m{text}\x1b[0m" for text, style in self.runs
        )


_EMPTY = Row([])


@lru_cache(maxsize=256)
def _parameters(style: Style) -> str:
    """What makes a plain terminal write in that style."""
    codes = (*(_CODES[letter] for letter in style.attributes), style.foreground, style.background)
    return ";".join(code for code in codes if code)


class Screen:
    """Follows what is written to a terminal, in any pieces. Memory stays flat, however long a line is.

    A line of thousands of columns comes in several rows, of which the last alone is whole.
    """

    def __init__(self, height: int = HEIGHT, style: Style = PLAIN) -> None:
        self._height = height
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: deque[Row | _Line] = deque([_EMPTY])
        self._row = self._column = 0
        self._saved = 0
        self._rest = ""  # the beginning of a sequence
        self.style = PLAIN if style == PLAIN else style

    def feed(self, data: bytes) -> list[Row]:
        """Go on writing; the rows that do not change any more."""
        row = self._read_line(data)
        if row is not None:
            self._lines[-1] = row
            self._lines.append(_EMPTY)
            self._row += 1
            return self._scroll()
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        rows: list[Row] = []
        at = 0
        for control in _CONTROL.finditer(text):
            if control.start() > at:
                rows += self._put(text[at : control.start()])
            at = control.end()
            if at == len(text) and (rest := _beginning(control)):
                self._rest = rest
                return rows
            rows += self._obey(control)
        if at < len(text):
            rows += self._put(text[at:])
        return rows

    def _read_line(self, data: bytes) -> Row | None:
        """What most lines are, many times faster: a whole one, in which nothing moves the cursor; else None."""
        if self._column or self._rest or self._lines[-1] is not _EMPTY or data[-1:] != b"\n" or len(data) > _WIDEST:
            return None
        if self._row != len(self._lines) - 1 or self._decoder.getstate()[0]:
            return None
        if self.style is PLAIN and _PLAIN_LINE.fullmatch(data):
            return Row([(data[:-1].decode("ascii"), PLAIN)])
        text, *parts = _COLOUR.split(data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace"))
        visible = "".join((text, *parts[1::2]))
        if not visible.replace("\t", "").isprintable() or _without_marks(visible) != visible:
            return None
        runs = [(text, self.style)]
        for index in range(0, len(parts), 2):
            self.style = _apply(self.style, parts[index])
            runs.append((parts[index + 1], self.style))
        return Row([run for run in runs if run[0]])

    @property
    def above(self) -> int:
        """How many of the lines that have not come out yet are above the cursor."""
        return self._row

    @property
    def open(self) -> Row:
        """The line that the cursor is in."""
        return _row(self._line)._replace(is_whole=False)

    def flush(self) -> list[Row]:
        """Everything that has not come out yet, and start again below it, in the same style; no row if there is none.

        Where it stops amid a line, the last row is not whole.
        """
        text = self._decoder.decode(b"", final=True)
        rows = self._put(text) if text else []
        self._rest = ""
        return rows + self._break_off()

    def _break_off(self) -> list[Row]:
        *rows, last = map(_row, self._lines)
        if last.runs:
            rows.append(last._replace(is_whole=False))
        self._lines = deque([_EMPTY])
        self._row = self._column = 0
        return rows

    @property
    def _line(self) -> _Line:
        line = self._lines[self._row]
        if isinstance(line, Row):
            line = self._lines[self._row] = _Line(line.runs)
        return line

    def _put(self, text: str) -> list[Row]:
        rows: list[Row] = []
        text = printable(text)
        for start in range(0, len(text), _WIDEST):
            self._column = self._line.write(self._column, text[start : start + _WIDEST], self.style)
            if self._column >= _WIDEST:
                rows += self._break_off()
        return rows

    def _obey(self, control: re.Match[str]) -> list[Row]:
        match control[0]:
            case "\n":
                return self._down()
            case "\r":
                self._column = 0
            case "\b":
                self._column = max(0, self._column - 1)
            case "\t":
                self._column = self._line.tab(self._column, self.style)
                if self._column >= _WIDEST:
                    return self._break_off()
            case "\x1bM":
                self._row = max(0, self._row - 1)
            case "\x1b7":
                self._saved = self._column
            case "\x1b8":
                self._column = self._saved
            case "\x1bc":
                self.style = PLAIN
        parameters, intermediate, final = control.group(1, 2, 3)
        if final and not intermediate and parameters[:1] not in ("<", "=", ">", "?"):
            self._obey_sequence(final, parameters)
        return []

    def _obey_sequence(self, final: str, parameters: str) -> None:  # noqa: C901, PLR0912 - a table
        digits = re.match(r"\d{0,9}", parameters, re.ASCII)
        number = int(digits[0]) if digits and digits[0] else 0
        match final:
            case "m":
                self.style = _apply(self.style, parameters)
            case "A" | "F":
                self._row = max(0, self._row - (number or 1))
            case "B" | "E":
                self._row = min(len(self._lines) - 1, self._row + (number or 1))
            case "C" | "a":
                self._move(self._column + (number or 1))
            case "D":
                self._move(self._column - (number or 1))
            case "G" | "`":
                self._move((number or 1) - 1)
            case "s":
                self._saved = self._column
            case "u":
                self._column = self._saved
            case "K" | "J" if number in (1, 2) and final == "K":
                self._line.erase(0, self._line.width if number == 2 else self._column + 1)
            case "K" | "J" if number == 0:
                self._line.erase(self._column, self._line.width)
                if final == "J":
                    self._erase_below()
            case "X":
                self._line.erase(self._column, self._column + (number or 1))
            case "P":
                self._line.delete(self._column, number or 1)
            case "@":
                self._line.insert(self._column, min(number or 1, _FARTHEST))
        if final in "EF":
            self._column = 0

    def _move(self, column: int) -> None:
        self._column = max(0, min(column, max(self._line.width, _FARTHEST)))

    def _erase_below(self) -> None:
        while len(self._lines) > self._row + 1:
            self._lines.pop()

    def _down(self) -> list[Row]:
        self._row += 1
        self._column = 0
        if self._row < len(self._lines):
            return []
        self._lines.append(_EMPTY)
        return self._scroll()

    def _scroll(self) -> list[Row]:
        rows: list[Row] = []
        while len(self._lines) > self._height:
            rows.append(_row(self._lines.popleft()))
            self._row -= 1
        return rows


def _beginning(control: re.Match[str]) -> str:
    """What to keep of a sequence at the end of the text that is not complete yet; "" if it is."""
    _, _, final, end, escape = control.groups()
    text = control[0]
    if final or end or escape or text[0] not in "\x1b\x90\x98\x9b\x9d\x9e\x9f":
        return ""
    if text[0] == "\x9b" or text[:2] == "\x1b[" or (text[0] == "\x1b" and text[1:2] not in "]PX^_"):
        return text if len(text) < 200 else text[:2]
    return text[: 2 if text[0] == "\x1b" else 1]  # what a title says is not wanted


def _row(line: Row | _Line) -> Row:
    return line if isinstance(line, Row) else line.row()


class _Line:
    """A line that can still be changed: runs of text, of which none has a control character but tabs."""

    __slots__ = ("_is_edited", "_runs", "width")

    def __init__(self, runs: Sequence[Run] = ()) -> None:
        self._runs = [*runs]
        self.width = Row(self._runs).width
        self._is_edited = False

    def __bool__(self) -> bool:
        return bool(self._runs)

    def row(self) -> Row:
        """The line so far. What was written over with spaces, as many programs clear a line, leaves none at its end."""
        runs = self._runs
        if self._is_edited:
            while runs and runs[-1][1] == PLAIN and runs[-1][0].isspace():
                runs = runs[:-1]
            if runs and runs[-1][1] == PLAIN:
                runs = [*runs[:-1], (runs[-1][0].rstrip(" "), PLAIN)]
        return Row(runs)

    def write(self, column: int, text: str, style: Style) -> int:
        """Put text without a control character there; the column behind it. A mark of column 0 has nothing to be on."""
        if column == 0:
            text = _without_marks(text)
        if not text:
            return column
        self._pad(column)
        end = column + _width(text, column)
        if column < self.width:
            self._is_edited = True
            self._runs = [*self._take(0, column), (text, style), *self._take(end, self.width)]
        else:
            self._append(text, style)
        self.width = max(self.width, end)
        return end

    def tab(self, column: int, style: Style) -> int:
        """The next tab stop, which the line is made to reach."""
        end = column - column % _TAB + _TAB
        if column == self.width:
            self._append("\t", style)
            self.width = end
        else:
            self._pad(end)
        return end

    def erase(self, start: int, stop: int) -> None:
        """Clear columns; those at the end of the line go."""
        if start >= self.width:
            return
        self._is_edited = True
        if stop >= self.width:
            self._runs, self.width = self._take(0, start), start
        else:
            self._runs = [*self._take(0, start), (" " * (stop - start), PLAIN), *self._take(stop, self.width)]

    def delete(self, column: int, number: int) -> None:
        """Remove columns; what is behind them moves up."""
        if column < self.width:
            self._runs = [*self._take(0, column), *self._take(column + number, self.width)]
            self.width = max(column, self.width - number)

    def insert(self, column: int, number: int) -> None:
        """Put blanks there; what is behind them moves on."""
        if column < self.width:
            self._runs = [*self._take(0, column), (" " * number, PLAIN), *self._take(column, self.width)]
            self.width += number

    def _pad(self, column: int) -> None:
        if column > self.width:
            self._append(" " * (column - self.width), PLAIN)
            self.width = column

    def _append(self, text: str, style: Style) -> None:
        if self._runs and self._runs[-1][1] == style:
            text = self._runs.pop()[0] + text
        self._runs.append((text, style))

    def _take(self, start: int, stop: int) -> list[Run]:
        """What is in those columns, with the marks on it. Of a character that only half is, a blank."""
        taken: list[Run] = []
        at = 0
        for text, style in self._runs:
            if at > stop:
                break
            end = at + _width(text, at)
            is_within = start <= at and end <= stop and (start < at or text[0] < _COMBINING)
            if is_within or (end > start and (text := _cut(text, at, start, stop))):
                taken.append((text, style))
            at = end
        return taken


def _width(text: str, column: int = 0) -> int:
    """How many columns a text takes that begins in that one."""
    if "\t" not in text and (text.isascii() or max(text) < _COMBINING):
        return len(text)
    end = column
    for char in text:
        end += _width_of(char, end)
    return end - column


def _width_of(char: str, column: int) -> int:
    if char == "\t":
        return _TAB - column % _TAB
    from unicodedata import category, east_asian_width  # seldom needed, and large

    return 0 if category(char) in ("Mn", "Me", "Cf") else 2 if east_asian_width(char) in "WF" else 1


def _without_marks(text: str) -> str:
    """The text without what has no width at its beginning."""
    start = 0
    while text[start : start + 1] >= _COMBINING and not _width_of(text[start], 0):
        start += 1
    return text[start:]


def _cut(text: str, column: int, start: int, stop: int) -> str:
    """Those columns of a text that begins in `column`."""
    if "\t" not in text and text.isascii():
        return text[max(0, start - column) : stop - column]
    return "".join(_cells(text, column, start, stop))


def _cells(text: str, column: int, start: int, stop: int) -> Iterator[str]:
    for char in text:
        end = column + _width_of(char, column)
        if column >= start and end <= stop and (column < end or start < column):
            yield char
        elif column < end:
            yield " " * max(0, min(end, stop) - max(column, start))
        column = end
