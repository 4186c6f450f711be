"""The fields of a job: `Body` has one attribute for each, and `FIELDS` one row.

The row says all that is common to them: how the value in a job's file is checked, how its text is read where people
type it, and how it is named and shown to them. The check of a body, `queuectl enqueue`, `set` and `show`, and the
dashboard's form work from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from queuectl.core import after, groups, unique
from queuectl.core.names import DEFAULT_PRIORITY, MAX_ATTEMPTS, MAX_PRIORITY, is_valid_id, parse_instant
from queuectl.core.retry import OnLost, RetryPolicy
from queuectl.core.seats import check_numbers, parse_numbers, show_numbers
from queuectl.core.text import format_codes, format_seconds, format_size, format_variables
from queuectl.core.unique import IfExists
from queuectl.errors import UsageError
from queuectl.tuples import NamedTuple

MAX_ARGUMENT = 120_000
"""Size of the longest command, or word of a command: Linux refuses an argument over 131,072 bytes with E2BIG."""
MAX_SECONDS = 10 * 366 * 86400
"""The longest timeout or backoff, in seconds."""

MAX_SUBMITTER = 256
"""Length of the longest `submitted_by`, which is written by the worker that takes a file from inbox/."""

MIN_LOG, MAX_LOG = 4096, 1 << 60
"""The smallest and the largest limit of a job's output, in bytes."""


class OnMaxLog(StrEnum):
    """What happens when an attempt's output exceeds its limit: the middle is dropped, or the attempt is ended."""

    DROP = "drop"
    KILL = "kill"


class Charset(StrEnum):
    """What the characters of a job's command, directory and variables stand for."""

    UTF_8 = "utf-8"
    LATIN_1 = "latin-1"


_NO_VARIABLES: Mapping[str, str] = {}


class Body(NamedTuple):
    """A validated job body. None means that a field was not given (or was null).

    Bytes of `command`, `cwd` and `env` that are not UTF-8 are lone surrogates, as `os.fsdecode` makes them.

    `warnings` names unknown fields that look like misspelt ones; all unknown fields are kept in
    the file and ignored.
    """

    command: str | tuple[str, ...]
    id: str | None = None
    group: str | None = None
    priority: int = DEFAULT_PRIORITY
    run_at: datetime | None = None
    timeout: float | None = None
    max_retries: int | None = None
    backoff_base: float | None = None
    backoff_max: float | None = None
    backoff_jitter: float | None = None
    retry_on: frozenset[int] | None = None
    no_retry_on: frozenset[int] | None = None
    on_lost: OnLost | None = None
    max_log: int | None = None
    on_max_log: OnMaxLog | None = None
    seats: Mapping[str, int] | None = None
    slots: int | None = None
    unique: str | None = None
    if_exists: IfExists | None = None
    cwd: str | None = None
    env: Mapping[str, str] = _NO_VARIABLES
    after: tuple[str, ...] | None = None
    after_end: tuple[str, ...] | None = None
    after_failed: tuple[str, ...] | None = None
    params: Mapping[str, Any] = _NO_VARIABLES
    charset: Charset | None = None
    submitted_by: str | None = None
    warnings: tuple[str, ...] = ()

    def id_with(self, random: str) -> str:
        """The id that the job is to have, its group in front: its own, or this random one if it has none."""
        id = self.id or random
        return groups.join(self.group, id) if self.group else id

    @property
    def references(self) -> tuple[str, ...]:
        """What it waits for: ids, and groups with a dot, as they were typed."""
        return self.after or self.after_end or self.after_failed or ()

    def policy(self, default: RetryPolicy) -> RetryPolicy:
        """The retry policy: the job's own fields, else `default`. Exit codes of its own replace both lists."""
        own: dict[str, Any] = {name: value for name in _POLICY if (value := getattr(self, name)) is not None}
        if "retry_on" in own or "no_retry_on" in own:
            own = {"retry_on": None, "no_retry_on": (), **own}
        return default._replace(**own) if own else default


_POLICY = tuple(name for name in RetryPolicy._fields if name in Body._fields)

Check = Callable[[list[str], str, Any], Any]
"""Reads a field that was given: (problems found so far, which it may add to, key, value) -> its value in the Body."""


class Field(NamedTuple):
    """All that is common to the fields of a job; what is left out is not offered for this field.

    `check` judges the value in a job's file. `parse` makes that value of a text that was typed at a moment; it raises
    UsageError, or ValueError for what should be a number. `kind` is what a value is made of: str, int, or some words.
    `option` is the help of the option of `queuectl enqueue`, `metavar` what that takes. `label` and `hint` are for the
    dashboard's form. `show` is how `queuectl show` prints the value in a Body, under `title` (the name if empty).
    """

    check: Check
    parse: Callable[[str, datetime], Any] | None = None
    kind: type[str | int] = str
    option: str = ""
    metavar: str = ""
    label: str = ""
    hint: str = ""
    show: Callable[[Any], str] | None = None
    title: str = ""


# --- checks


def _command(problems: list[str], key: str, value: Any, errors: str = "strict") -> str | tuple[str, ...]:
    if isinstance(value, str):
        if not value.strip():
            problems.append('"command" is empty')
        _check_text(problems, key, value, errors)
        return value
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        if not value[0]:
            problems.append('"command" does not name a program: its first string is empty')
        for word in value:
            _check_text(problems, key, word, errors)
        return tuple(value)
    problems.append('"command" must be a string, or an array of strings that is not empty')
    return ""


def _id(problems: list[str], key: str, value: Any) -> str:
    if not (isinstance(value, str) and is_valid_id(value)):
        problems.append('"id" must be 1 to 100 characters of A-Z a-z 0-9 . _ - and begin with a letter or digit')
    return str(value)


def _group(problems: list[str], key: str, value: Any) -> str:
    if not (isinstance(value, str) and groups.is_name(value)):
        problems.append(
            f'"group" must be a name as an id is one, of up to {groups.MAX_LENGTH} characters, without a dot at its end'
        )
    return str(value)


def _integer(most: int, least: int = 0) -> Check:
    def check(problems: list[str], key: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            problems.append(f'"{key}" must be a whole number from {least} to {most}')
            return least
        return value

    return check


def _number(*, above_zero: bool = False, most: int = MAX_SECONDS) -> Check:
    def check(problems: list[str], key: str, value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= most or (above_zero and value == 0):
            least = "above 0" if above_zero else "from 0"
            problems.append(f'"{key}" must be a number {least} up to {most}')
            return 0.0
        return float(value)

    return check


def _exit_codes(problems: list[str], key: str, value: Any) -> frozenset[int]:
    if not isinstance(value, list) or not all(type(code) is int and 0 < code < 256 for code in value):
        problems.append(f'"{key}" must be an array of exit codes from 1 to 255')
        return frozenset()
    return frozenset(value)


def _word(words: type[StrEnum]) -> Check:
    def check(problems: list[str], key: str, value: Any) -> StrEnum | None:
        if value not in tuple(words):
            problems.append(f'"{key}" must be {" or ".join(json.dumps(word) for word in words)}')
            return None
        return words(value)

    return check


def _instant(problems: list[str], key: str, value: Any) -> datetime | None:
    try:
        return parse_instant(value)
    except (TypeError, ValueError, OverflowError):
        pass
    remark = ""
    if isinstance(value, str):
        from queuectl.core.when import parse_fixed, parse_when

        with suppress(ValueError, OverflowError):
            return parse_fixed(value)
        with suppress(UsageError):
            parse_when(value, datetime(2000, 1, 1, tzinfo=UTC))
            remark = f"; {json.dumps(value)[:40]} is for --at"  # it depends on when it is read
    problems.append(f'"{key}" must be a time such as "2026-11-25T09:00:00Z" or "2026-11-25"{remark}')
    return None


def _cwd(problems: list[str], key: str, value: Any, errors: str = "strict") -> str:
    if not (isinstance(value, str) and value.startswith("/")):
        problems.append('"cwd" must be an absolute path')
        return "/"
    _check_text(problems, key, value, errors)
    return value


def _env(problems: list[str], key: str, value: Any, errors: str = "strict") -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        problems.append('"env" must be an object of strings')
        return {}
    for name, text in value.items():
        if not name or "=" in name:
            problems.append(f'"env" has a bad variable name {json.dumps(name)[:60]}')
        _check_text(problems, key, name, errors)
        _check_text(problems, key, text, errors)
    return value


def _params(problems: list[str], key: str, value: Any, errors: str = "strict") -> Mapping[str, Any]:
    if not isinstance(value, dict) or "" in value:
        problems.append('"params" must be an object: {"lr": "0.1"}')
        return {}
    for name, item in value.items():
        _check_text(problems, key, name, errors)
        if isinstance(item, str):
            _check_text(problems, key, item, errors)
    return value


def _submitter(problems: list[str], key: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBMITTER:
        problems.append(f'"submitted_by" must be a name of up to {MAX_SUBMITTER} characters')
        return ""
    _check_text(problems, key, value)
    return value


def _check_text(problems: list[str], key: str, text: str, errors: str = "strict") -> None:
    """Refuse text that cannot be an argument or variable of a process."""
    try:
        size = len(text.encode("utf-8", errors))
    except UnicodeEncodeError:
        if errors == "strict":
            problems.append(f'"{key}" contains half a character (a lone surrogate); for bytes: "charset": "latin-1"')
        return
    if "\0" in text:
        problems.append(f'"{key}" contains a NUL character')
    if size > MAX_ARGUMENT:
        problems.append(f'"{key}" is longer than {MAX_ARGUMENT} bytes; put it into a file')


# --- texts. What only some commands need is imported where it is needed: `queuectl enqueue` takes milliseconds.


def _parse_command(text: str, _: datetime) -> Any:
    """The command line, or the array of strings if it is one in JSON."""
    if text.strip().lower() == "none":
        raise UsageError("a job needs a command", hint="to remove the job: queuectl cancel")
    if text.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            return json.loads(text)
    return text


def _parse_when(text: str, now: datetime) -> datetime:
    from queuectl.core.when import parse_when

    return parse_when(text, now)


def _parse_seconds(text: str, _: datetime) -> float:
    from queuectl.core.when import parse_duration

    seconds = parse_duration(text)
    return int(seconds) if seconds.is_integer() else seconds


def _parse_codes(text: str, _: datetime) -> list[int]:
    from queuectl.core.typed import parse_exit_codes

    return list(parse_exit_codes(text))


def _parse_size(text: str, _: datetime) -> int:
    from queuectl.core.typed import parse_size

    return parse_size(text)


def _parse_seats(text: str, _: datetime) -> dict[str, int]:
    return parse_numbers(text)


def _parse_integer(text: str, _: datetime) -> int:
    return int(text)


def _parse_number(text: str, _: datetime) -> float:
    return float(text)


def _parse_word(text: str, _: datetime) -> str:
    return text.strip().lower()


def _parse_text(text: str, _: datetime) -> str:
    return text


def _show_params(params: Mapping[str, Any]) -> str:
    from queuectl.core.params import as_text

    return format_variables({name: as_text(value) for name, value in params.items()})


# --- the table


FIELDS = {
    "command": Field(_command, _parse_command, label="Command", hint="for the shell"),
    "id": Field(_id, option="Id of the job; refused if the spool already holds it.", metavar="ID"),
    "group": Field(_group, option="Group of the job: its id begins with GROUP and a dot.", metavar="GROUP"),
    "priority": Field(
        _integer(MAX_PRIORITY),
        _parse_integer,
        int,
        option="0 to 999; lower runs first. [default: 10]",
        metavar="N",
        label="Priority",
        hint="0 to 999, lower runs first; 10",
    ),
    "run_at": Field(
        _instant, _parse_when, label="Starts at", hint="18:30, tomorrow 09:00, 5m; empty is now"
    ),  # its options are --at and --in
    "timeout": Field(
        _number(above_zero=True),
        _parse_seconds,
        option="Longest time an attempt may take: 90, 5m, 1h30m.",
        metavar="TIME",
        label="Timeout",
        hint="90, 5m, 1h30m; empty is none",
        show=format_seconds,
    ),
    "max_retries": Field(
        _integer(MAX_ATTEMPTS - 1),
        _parse_integer,
        int,
        option="Retries after the first attempt.",
        metavar="N",
        label="Retries",
        hint="after the first attempt",
        show=str,
    ),
    "backoff_base": Field(_number(), _parse_number, label="Backoff base", hint="2", show=str),
    "backoff_max": Field(_number(), _parse_seconds, label="Longest backoff", hint="1h", show=format_seconds),
    "backoff_jitter": Field(
        _number(most=1), _parse_number, label="Backoff jitter", hint="0.1", show=str, title="jitter"
    ),
    "retry_on": Field(
        _exit_codes,
        _parse_codes,
        option="Retry only on these exit codes: 75,111 or 64-78.",
        metavar="CODES",
        label="Retry on exit codes",
        hint="75,111 or 64-78",
        show=format_codes,
    ),
    "no_retry_on": Field(
        _exit_codes,
        _parse_codes,
        option="Never retry on these exit codes.",
        metavar="CODES",
        label="Never on exit codes",
        hint="1,64-78",
        show=format_codes,
    ),
    "on_lost": Field(
        _word(OnLost),
        _parse_word,
        OnLost,
        option="What to do if the outcome of an attempt is unknown.",
        label="If its outcome is unknown",
        hint="retry or dead",
        show=str,
    ),
    "max_log": Field(
        _integer(MAX_LOG, MIN_LOG),
        _parse_size,
        option="Largest output of an attempt: 64K, 10M.",
        metavar="SIZE",
        label="Largest output",
        hint="64K, 10M",
        show=format_size,
    ),
    "on_max_log": Field(
        _word(OnMaxLog),
        _parse_word,
        OnMaxLog,
        option="Beyond that: drop the middle of the output, or end the job.",
        label="Beyond that",
        hint="drop or kill",
        show=str,
    ),
    "seats": Field(
        check_numbers,
        _parse_seats,
        option="Take NUMBER seats of GROUP; repeatable, 0 for none.",
        metavar="GROUP=NUMBER",
        label="Seats",
        hint="gpu=2,mem=16",
        show=show_numbers,
    ),
    "slots": Field(
        _integer(10_000, 1),
        _parse_integer,
        int,
        option="Take so many of the slots of its worker.",
        metavar="N",
        label="Slots",
        hint="of its worker; 1",
        show=str,
    ),
    "unique": Field(unique.check, option=unique.OPTION, metavar="KEY", show=str),
    "if_exists": Field(_word(IfExists), kind=IfExists, option=unique.OPTION_IF_EXISTS, show=str),
    "cwd": Field(
        _cwd,
        _parse_text,
        option="Directory to run in. [default: the current one]",
        metavar="DIR",
        label="Directory",
        hint="/srv/app",
        show=str,
    ),
    "env": Field(
        _env,
        option="Set a variable; without VALUE, to its value here.",
        metavar="NAME[=VALUE]",
        label="Set variables",
        hint="RATE=slow, or RATE=none to remove it; one per line, others are kept",
        show=format_variables,
    ),
    **{
        rule: Field(after.check, after.parse_text, option=option, metavar="ID,…", label=label, hint=hint, show=" ".join)
        for rule, (option, label, hint) in after.TEXTS.items()
    },
    "params": Field(_params, show=_show_params),
    "charset": Field(_word(Charset), show=str),
    "submitted_by": Field(_submitter),
}
"""The known fields of a job, in the order in which they are shown."""
CAN_BE_SET = tuple(name for name, field in FIELDS.items() if field.parse is not None)
"""The fields that `parse` knows. Variables of `env` are set one by one; an id never changes, nor who submitted it."""


def parse(name: str, text: str, now: datetime) -> Any:
    """A field's value for `Spool.set_fields`; None takes it away. Raises UsageError.

    What is out of its range is for the job body's own check to say.
    """
    field = FIELDS.get(name)
    if name in ("id", "group", "unique"):
        raise UsageError(f"a job keeps its {name}", "others may know it by that", "cancel it, and enqueue it again")
    if field is None or field.parse is None:
        keys = " ".join(known.replace("_", "-") for known in CAN_BE_SET)
        raise UsageError(f"{name!r} cannot be set", hint=f"keys: {keys} env.NAME")
    if name != "command" and text.strip().lower() in ("", "none"):
        return None
    try:
        return field.parse(text, now)
    except ValueError:
        raise UsageError(f"not a number: {name}={text}") from None


def parse_variable(name: str, text: str) -> str | None:
    """A variable's value for the `env` of `Spool.set_fields`; None removes it. Raises UsageError."""
    if not name:
        raise UsageError("a variable has no name", hint="give env.NAME=VALUE")
    return None if text.strip().lower() == "none" else text


def as_typed(value: Any) -> str:
    """A field's value as `parse` takes it; empty for none."""
    if isinstance(value, list):
        return ",".join(f"{item}" for item in value)
    if isinstance(value, dict):
        return show_numbers(value)
    return "" if value is None else f"{value}"
