"""A body with places for the values of a sweep: `{}` for a line, `{lr}` for a parameter, `{n}` for the job's number.

A value never becomes part of a shell's syntax: in a command for the shell it is quoted, whatever it holds, and where
that cannot be done the place is refused. Only without a command a line is one itself. Other braces stay as they are,
and `${lr}` is the shell's.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from queuectl.core.after import RULES, Rule, parse
from queuectl.core.fields import FIELDS
from queuectl.errors import UsageError
from queuectl.spool.system.clock import now

Values = Mapping[str, str]
"""What stands for each place, by its name: the empty one for a line, `n` for the number."""
Fill = Callable[[Values], Any]

_BRACES = re.compile(r"(?<!\$)\{([\w-]+)\}")


class Template:
    """The body that all jobs of a sweep have in common, with places in its command, id, key, cwd, env, timeout and what
    it waits for."""

    def __init__(self, command: str | list[str] | None, given: Mapping[str, Any], names: Collection[str]) -> None:
        """`command` is as typed, `given` the fields of the options, `names` those of the places. Without a command each
        line is a command for the shell.

        Raises UsageError for a place that cannot be quoted for the shell.
        """
        among = "|".join(re.escape(name) for name in sorted({*names, "n"}, key=len, reverse=True))
        self._place = re.compile(rf"(?<!\$)\{{({among})\}}")
        self._names = [name for name in names if name]
        self._words = [command] if isinstance(command, str) else command or []
        self._fixed = dict(given)
        self._fills: dict[str, Fill] = {"command": self._fill_of_command(command)}
        for name in ("id", "unique", "cwd", "timeout"):
            text = given.get(name)
            if isinstance(text, str) and self._place.search(text):
                self._fills[name] = self._fill_of(text)
        variables = {name: self._fill_of(text) for name, text in given.get("env", {}).items()}
        if any(map(self._place.search, given.get("env", {}).values())):
            self._fills["env"] = lambda values: {name: fill(values) for name, fill in variables.items()}
        for rule in RULES:
            named = given.get(rule)
            if isinstance(named, list) and any(map(self._place.search, named)):
                self._fills[rule] = self._fill_of_condition(rule, named)
        self.has_places = len(self._fills) > 1 or any(map(self._place.search, self._words))
        """Whether any value is used."""

    def fill(self, values: Values) -> dict[str, Any]:
        """The body of the job with these values; raises UsageError for what is no timeout."""
        fields = dict(self._fixed)
        for name, fill in self._fills.items():
            fields[name] = fill(values)
        if "timeout" in self._fills:
            parse = FIELDS["timeout"].parse
            assert parse is not None
            fields["timeout"] = parse(fields["timeout"], now())
        return fields

    def is_filled(self, name: str) -> bool:
        """Whether that field, other than the command, has a place in it."""
        return name in self._fills

    def find_strays(self) -> dict[str, str]:
        """Names in braces of the command that are no places, and which place each looks like."""
        found = {match[1] for word in self._words for match in _BRACES.finditer(word)} - {*self._names, "n"}
        if not found or not self._names:
            return {}
        from difflib import get_close_matches

        names = {name.lower(): name for name in self._names}
        close = {word: get_close_matches(word.lower(), names, n=1, cutoff=0.7) for word in sorted(found)}
        return {word: names[matches[0]] for word, matches in close.items() if matches}

    def _fill_of(self, text: str) -> Fill:
        """Puts values into a text as they are."""
        parts = self._place.split(text)
        if len(parts) == 1:
            return lambda _: text
        return lambda values: "".join(values[part] if at % 2 else part for at, part in enumerate(parts))

    def _fill_of_condition(self, rule: Rule, named: list[str]) -> Fill:
        """Puts values into what a job waits for."""
        fills = [self._fill_of(text) for text in named]

        def fill(values: Values) -> list[str]:
            try:
                found = [parse(rule, each(values)) for each in fills]
            except ValueError as error:
                raise UsageError(f"--{rule.replace('_', '-')}: {error}") from None
            if any(meant is not rule for meant, _ in found):
                raise UsageError(f"--{rule.replace('_', '-')} with another rule of Slurm", hint="use the option for it")
            return list(dict.fromkeys(name for _, names in found for name in names))

        return fill

    def _fill_of_command(self, command: str | list[str] | None) -> Fill:
        if command is None:
            return lambda values: values[""]
        if isinstance(command, str):
            return self._fill_of_shell(command)
        fills = [self._fill_of(word) for word in command]
        return lambda values: [fill(values) for fill in fills]

    def _fill_of_shell(self, command: str) -> Fill:
        """Puts quoted values into a command. Quotes around a place are closed before the value, and opened after."""
        places = list(_quoted_places(command, self._place))
        if places and _BEYOND.search(command):
            place = places[0][0][0]
            raise UsageError(
                f"{place} cannot be quoted in this command for the shell",
                "it has backquotes, <<, $(( )), $' ', a comment, or more than a name in ${ }",
                f"try: -- sh -c 'COMMAND \"$1\"' sh {place}",
            )
        starts, ends = (
            [0, *(match.end() for match, _ in places)],
            [*(match.start() for match, _ in places), len(command)],
        )
        texts = [command[start:end] for start, end in zip(starts, ends, strict=True)]
        holes = [(match[1], quote) for match, quote in places]

        def fill(values: Values) -> str:
            parts = [texts[0]]
            for (name, quote), text in zip(holes, texts[1:], strict=True):
                parts += [quote, shlex.quote(values[name]), quote, text]
            return "".join(parts)

        return fill


_BEYOND = re.compile(
    r"`|<<|\$\(\(|\$'|(?:^|[\s;&|(])\#|\$\{(?!\w*\})|\$\((?=.*\besac\b)|\besac\b.*\$\(", re.DOTALL | re.ASCII
)
"""Syntax of the shell in which it takes more than `_quoted_places` to know what quotes a place is in."""


def _quoted_places(command: str, pattern: re.Pattern[str]) -> Iterator[tuple[re.Match[str], str]]:
    """Each place of a shell's command, and the quotes that it is in (none, if empty)."""
    quotes = [""]  # in each ( ) or $( ), from the outside in
    position = 0
    while position < len(command):
        here, quote = command[position], quotes[-1]
        place = pattern.match(command, position)
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
