"""The jobs of a sweep: `enqueue --param` and `--each`, one for each combination of values, numbered in their group."""

from __future__ import annotations

import codecs
import itertools
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from queuectl.cli.bodies import Place
from queuectl.cli.places import Template, Values
from queuectl.core import body, charset, groups, params
from queuectl.core.text import format_count
from queuectl.errors import AlreadyExistsError, QueuectlError, UsageError
from queuectl.spool.reading import query
from queuectl.spool.system.identity import random_text
from queuectl.spool.system.layout import Layout

_WIDTH = 4
"""Digits of a job's number, at least, so that ids are in the order of their numbers."""
_DELIMITERS = {".csv": ",", ".tsv": "\t"}

Found = tuple[Place, Mapping[str, Any] | QueuectlError]


class Numbering(NamedTuple):
    """The group that a sweep's jobs are in (empty: none that all of them are in), and the number of the first.

    `is_new` is whether the group was made for it, `there` are the jobs that are not submitted again.
    """

    group: str
    is_new: bool = False
    first: int = 1
    width: int = _WIDTH
    there: Mapping[str, tuple[Any, str]] = {}


def number(spool: Layout | None, given: Mapping[str, Any], *, is_append: bool, is_skip: bool) -> Numbering:
    """How to number a sweep whose options gave these fields.

    Raises AlreadyExistsError for a group that has jobs, unless an option says what to do then.
    """
    if "group" in given:
        return _number_into(spool, groups.require_name(given["group"]), is_append=is_append, is_skip=is_skip)
    if is_append or is_skip:
        option = "--append" if is_append else "--if-exists"
        raise UsageError(f"{option} without a group", hint="say to which one: --group NAME")
    if "id" not in given:
        return Numbering(random_text(12), is_new=True)
    group = given["id"].partition("{")[0].rpartition(".")[0]
    return Numbering(group if groups.is_name(group) else "")


def _number_into(spool: Layout | None, group: str, *, is_append: bool, is_skip: bool) -> Numbering:
    there = query.match_ids(spool, f"{group}.") if spool is not None else {}
    if there and not (is_append or is_skip):
        raise AlreadyExistsError(
            f"the group {group} has {format_count(len(there), 'job')} already",
            "for other jobs: another --group, or --append to add them to this one",
            f"for the same again: --if-exists skip submits what is missing, queuectl retry {group}. what has failed",
        )
    matches = (re.fullmatch(r"\d{1,18}", id[len(group) + 1 :], re.ASCII) for id in there)
    digits = [match[0] for match in matches if match]
    width = max(map(len, digits), default=_WIDTH)
    if is_append:
        return Numbering(group, first=max(map(int, digits), default=0) + 1, width=width)
    return Numbering(group, width=width, there=there)


class Rows:
    """The values of `--each`: of each line of a file, or of each row below the first of a `.csv` or `.tsv`."""

    def __init__(self, stream: BinaryIO, pieces: Iterable[bytes], path: str, *, is_null: bool) -> None:
        """`pieces` are those of the stream, its lines unless `is_null`.

        Raises UsageError if the first line of a table does not name its columns.
        """
        delimiter = _DELIMITERS.get(os.path.splitext(path)[1].lower())
        if delimiter and is_null:
            raise UsageError("-0 is for lines, not for a table", hint=f"leave out -0, or rename {path}")
        self.most = _count(stream, b"\0" if is_null else b"\n")
        if delimiter is None:
            self.columns: tuple[str, ...] = ("",)
            self._rows = _lines(pieces, is_null=is_null)
        else:
            self.columns, self._rows = _table(pieces, path, delimiter)

    def __iter__(self) -> Iterator[tuple[Place, Values | UsageError]]:
        return self._rows


class Sweep:
    """The bodies of a sweep's jobs: for each row, if there are any, each combination of the parameters' values."""

    def __init__(
        self,
        command: str | list[str] | None,
        given: Mapping[str, Any],
        values: Mapping[str, Sequence[str]],
        rows: Rows | None,
        numbering: Numbering | None,
    ) -> None:
        """`given` are the fields of the options. Without a `numbering` the jobs get no ids. Without a command each line
        of the rows is one.

        Raises UsageError if the jobs would all be the same, or have one id.
        """
        columns = rows.columns if rows is not None else ()
        self._names = [name for name in (*columns, *values) if name]
        params.check_names(self._names, "this sweep")
        most = params.count(values) * (rows.most if rows is not None else 1)
        if command is None and "" not in columns:
            raise UsageError(
                "a table needs a command",
                hint=f"put it behind --: -- COMMAND {' '.join(f'{{{name}}}' for name in columns)}",
            )
        template = Template(command, given, {*columns, *values})
        if command is not None and "" in columns and not template.has_places:
            words = [command] if isinstance(command, str) else command
            line = shlex.join([*(words if len(words) > 1 else words[0].split()), "{}"])
            raise UsageError(
                "there is no {} for the line in the command", hint=f"put it where the line goes: -- {line}"
            )
        if "id" in given and not template.is_filled("id"):
            raise UsageError("one --id for many jobs", hint=f"give each its number: --id '{given['id']}.{{n}}'")
        if "unique" in given and not template.is_filled("unique"):
            raise UsageError(
                "one --unique for many jobs", hint=f"make each its own: --unique '{given['unique']} {{n}}'"
            )
        self.numbering = numbering or Numbering("")
        self.strays = template.find_strays()
        self.makes_directories = template.is_filled("cwd")
        self._template = template
        self._rows: Iterable[tuple[Place, Values | UsageError]] = ((Place(0, ""), {}),) if rows is None else rows
        self._has_rows = rows is not None
        self._values = values
        self._is_numbered = numbering is not None and "id" not in given
        self._joins = given.get("group", "") if numbering is not None else ""
        self._width = max(self.numbering.width, len(str(self.numbering.first + max(most, 1) - 1)))

    def __iter__(self) -> Iterator[Found]:
        """For each job where its values stand, and its body, or what is wrong with it."""
        count = self.numbering.first - 1
        names = [*self._values]
        for place, row in self._rows:
            if isinstance(row, UsageError):
                yield place, row
                continue
            for combination in itertools.product(*self._values.values()):
                count += 1
                number = f"{count:0{self._width}}"
                values = {"n": number, **row, **dict(zip(names, combination, strict=True))}
                at = place if self._has_rows else Place(count, f"job {count}")
                try:
                    yield at, self._body_of(values, number)
                except QueuectlError as error:
                    yield at, error

    def _body_of(self, values: Values, number: str) -> dict[str, Any]:
        fields = self._template.fill(values)
        if self._is_numbered:
            fields["id"] = f"{self.numbering.group}.{number}"
        elif self._joins:
            fields["id"] = groups.join(self._joins, fields["id"])
        if self._names:
            fields["params"] = {name: values[name] for name in self._names}
        return fields


def missing(spool: Layout, found: Iterable[Found], there: Mapping[str, tuple[Any, str]]) -> list[Found]:
    """What is not there yet, once all of it has been looked at.

    Raises AlreadyExistsError if a job that is there was made of other values.
    """
    left = []
    for place, fields in found:
        if isinstance(fields, QueuectlError) or fields["id"] not in there:
            left.append((place, fields))
            continue
        ours = body.validate({**fields, "cwd": None})
        job = query.load(spool, *there[fields["id"]]) or query.find(spool, fields["id"])
        theirs = job.body
        if theirs is None or theirs.params != ours.params or (not ours.params and theirs.command != ours.command):
            what = "other parameters" if ours.params else "another command"
            raise AlreadyExistsError(
                f"the job {job.id} is there, but with {what}",
                "so this is not the sweep that is there, and nothing was submitted",
                "take another --group, or --append to add to this one",
            )
    return left


def make_directory(fields: Mapping[str, Any]) -> None:
    """Make the directory of a job; raises UsageError if that fails."""
    try:
        os.makedirs(charset.encode(fields["cwd"], fields.get("charset")), exist_ok=True)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise UsageError(f"cannot make the directory {fields['cwd']!r}", why or f"{error}") from None


def _count(stream: BinaryIO, end: bytes) -> int:
    """How many lines are left in a file, at most; 0 if it is none, and can be read only once."""
    try:
        is_file = stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:
        is_file = False
    if not is_file:
        return 0
    at = stream.tell()
    number = sum(piece.count(end) for piece in iter(lambda: stream.read(1 << 20), b""))
    stream.seek(at)
    return number + 1


def _lines(pieces: Iterable[bytes], *, is_null: bool) -> Iterator[tuple[Place, Values | UsageError]]:
    for number, line in enumerate(_between_nulls(pieces) if is_null else pieces, 1):
        value = line.decode("utf-8", "surrogateescape") if is_null else _text_of(line, is_first=number == 1)
        if value is not None:
            yield Place.of_line(number), {"": value}


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


def _table(
    pieces: Iterable[bytes], path: str, delimiter: str
) -> tuple[tuple[str, ...], Iterator[tuple[Place, Values | UsageError]]]:
    """The columns of a table, and its rows."""
    import csv

    lines = iter(pieces)
    first = next(lines, b"").removeprefix(codecs.BOM_UTF8)
    body.require_utf8(first, f"{path} is not UTF-8")
    texts = (line.decode("utf-8", "surrogateescape") for line in itertools.chain([first], lines))
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    try:
        columns = tuple(name.strip() for name in next(reader, ()))
    except csv.Error as error:
        raise UsageError(f"{path}: line 1 does not name the columns", f"{error}") from None
    if not columns:
        raise UsageError(f"{path}: line 1 does not name the columns", "it is empty")
    other = next((char for char in ",;\t" if char != delimiter and char in columns[0]), None)
    if len(columns) == 1 and other:
        names = {",": "commas", ";": "semicolons", "\t": "tabs"}
        raise UsageError(f"{path}: line 1 names one column", f"it has {names[other]}, not {names[delimiter]}")
    params.check_names(columns, path)

    def rows() -> Iterator[tuple[Place, Values | UsageError]]:
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield Place.of_line(reader.line_num), UsageError(f"{error}")
                continue
            place = Place.of_line(reader.line_num)
            if row is None:
                return
            if row and len(row) != len(columns):
                what = f"it has {format_count(len(row), 'value')}, and there are {format_count(len(columns), 'column')}"
                yield place, UsageError(what)
            elif row:
                yield place, dict(zip(columns, row, strict=True))

    return columns, rows()
