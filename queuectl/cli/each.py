"""`queuectl enqueue --each`: a job for each line of a file, with the line in the place of `{}`.

A value never becomes part of a shell's syntax: in a command for the shell it is quoted, whatever it holds, and where
that cannot be done `{}` is refused.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from queuectl.errors import UsageError
from queuectl.spool.system.lease import random_text

_PLACE = re.compile(r"(?<!\$)\{(n?)\}")
"""`{}` is the line, `{n}` the number of the job; `${n}` is the shell's."""
_REPLACED = ("id", "cwd")
"""Fields of the options in which they are replaced, and in the variables of `env`."""


class Each:
    """The jobs of `--each`: a body with places for a line and for the number of its job."""

    def __init__(
        self, command: str | list[str], given: Mapping[str, Any], *, is_null: bool = False, makes_ids: bool = True
    ) -> None:
        """`command` is as typed, `given` the fields of the options. Lines end with NUL if `is_null`.

        With `makes_ids` a job without an `id` of its own gets one: a random word for all of them, and its number.
        Raises UsageError if no line would be used.
        """
        self._fixed = dict(given)
        self._is_null = is_null
        words = [command] if isinstance(command, str) else command
        texts = [*words, *(f"{given.get(name, '')}" for name in _REPLACED), *given.get("env", {}).values()]
        if not any(_PLACE.search(text) for text in texts):
            line = shlex.join([*(words if len(words) > 1 else words[0].split()), "{}"])
            raise UsageError(
                "there is no {} for the line in the command", hint=f"put it where the line goes: -- {line}"
            )
        if "id" in given and not _PLACE.search(given["id"]):
            raise UsageError("one --id for many jobs", hint=f"give each its number: --id '{given['id']}.{{n}}'")
        if "id" not in given and makes_ids:
            self._fixed["id"] = f"{random_text(12)}.{{n}}"
        self._makes_directory = _PLACE.search(f"{given.get('cwd', '')}") is not None
        self._fill_command = _filler_for_shell(command) if isinstance(command, str) else _filler_for_words(command)

    def read(self, pieces: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | UsageError]]:
        """For each line with a value its number in the file and its body, or why there is none."""
        count = 0
        for number, line in enumerate(_between_nulls(pieces) if self._is_null else pieces, 1):
            value = line.decode("utf-8", "surrogateescape") if self._is_null else _text_of(line, is_first=number == 1)
            if value is None:
                continue
            count += 1
            try:
                yield number, self._fill(value, count)
            except UsageError as error:
                yield number, error

    def _fill(self, value: str, count: int) -> dict[str, Any]:
        values = {"": value, "n": f"{count:04}"}
        fields = {"command": self._fill_command(values), **self._fixed}
        for name in _REPLACED:
            if name in fields:
                fields[name] = _replace(fields[name], values)
        if "env" in fields:
            fields["env"] = {name: _replace(text, values) for name, text in fields["env"].items()}
        if self._makes_directory:
            try:
                os.makedirs(fields["cwd"], exist_ok=True)
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else None
                raise UsageError(f"cannot make the directory {fields['cwd']!r}", why or f"{error}") from None
        return fields


def _replace(text: str, values: Mapping[str, str]) -> str:
    return _PLACE.sub(lambda match: values[match[1]], text)


def _filler_for_words(words: list[str]) -> Callable[[Mapping[str, str]], list[str]]:
    return lambda values: [_replace(word, values) for word in words]


def _filler_for_shell(command: str) -> Callable[[Mapping[str, str]], str]:
    """Puts quoted values into a command. Quotes around a place are closed before the value, and opened again after."""
    places = list(_quoted_places(command))
    if places and _BEYOND.search(command):
        raise UsageError(
            "{} cannot be quoted in this command for the shell",
            "it has backquotes, <<, $(( )), $' ', a comment, or more than a name in ${ }",
            "try: -- sh -c 'COMMAND \"$1\"' sh {}",
        )
    starts, ends = [0, *(match.end() for match, _ in places)], [*(match.start() for match, _ in places), len(command)]
    texts = [command[start:end] for start, end in zip(starts, ends, strict=True)]

    def fill(values: Mapping[str, str]) -> str:
        parts = [texts[0]]
        for (match, quote), text in zip(places, texts[1:], strict=True):
            parts += [quote, shlex.quote(values[match[1]]), quote, text]
        return "".join(parts)

    return fill


_BEYOND = re.compile(
    r"`|<<|\$\(\(|\$'|(?:^|[\s;&|(])\#|\$\{(?!\w*\})|\$\((?=.*\besac\b)|\besac\b.*\$\(", re.DOTALL | re.ASCII
)
"""Syntax of the shell in which it takes more than `_quoted_places` to know what quotes a place is in."""


def _quoted_places(command: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each place of a shell's command, and the quotes that it is in (none, if empty)."""
    quotes = [""]  # in each ( ) or $( ), from the outside in
    position = 0
    while position < len(command):
        here, quote = command[position], quotes[-1]
        place = _PLACE.match(command, position)
        if place is not None:
            yield place, quote
            position = place.end()
            continue
        if quote == "'":
            quotes[-1] = "" if here == "'" else "'"
        elif here == "\\":
            position += 1
        elif here == '"':
            quotes[-1] = "" if quote else '"'
        elif command.startswith("$(", position):
            quotes.append("")
            position += 1
        elif not quote and here == "'":
            quotes[-1] = "'"
        elif not quote and here == "(":
            quotes.append("")
        elif not quote and here == ")" and len(quotes) > 1:
            quotes.pop()
        position += 1


def _between_nulls(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *items, rest = (rest + piece).split(b"\0")
        yield from items
    if rest:
        yield rest


def _text_of(line: bytes, *, is_first: bool) -> str | None:
    """A line without its end; None if it is empty. Bytes that are not UTF-8 are kept as os.fsdecode does: what a
    command may hold is for the check of the body to say."""
    if is_first:
        line = line.removeprefix(codecs.BOM_UTF8)
    text = line.removesuffix(b"\n").removesuffix(b"\r")
    return text.decode("utf-8", "surrogateescape") or None
