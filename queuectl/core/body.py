"""The job body: what the user asked for, as bytes -> one JSON object -> a validated `Body`.

No strict prefix of a JSON object parses, so bytes that parse as exactly one object are complete.
`decode` checks that; `validate` then reports everything that is wrong with the object at once.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

from queuectl.core.names import DEFAULT_PRIORITY, MAX_ATTEMPTS, MAX_PRIORITY, is_valid_id, to_utc
from queuectl.core.retry import OnLost, RetryPolicy
from queuectl.errors import InvalidJobError, NotJsonError

MAX_BODY = 1 << 20
"""Size of the largest job file, in bytes."""
MAX_ARGUMENT = 120_000
"""Size of the longest command, or word of a command: Linux refuses an argument over 131,072 bytes with E2BIG."""
MAX_SECONDS = 10 * 366 * 86400
"""The longest timeout or backoff, in seconds."""

MAX_SUBMITTER = 256
"""Length of the longest `submitted_by`, which is written by the worker that takes a file from inbox/."""

POLICY_FIELDS = (
    "max_retries", "backoff_base", "backoff_max", "backoff_jitter", "retry_on", "no_retry_on", "on_lost",
)  # fmt: skip
MIN_LOG, MAX_LOG = 4096, 1 << 60
"""The smallest and the largest limit of a job's output, in bytes."""


class OnMaxLog(StrEnum):
    """What happens when an attempt's output exceeds its limit: the middle is dropped, or the attempt is ended."""

    DROP = "drop"
    KILL = "kill"


_Check = Callable[[list[str], str, Any], Any]
"""Reads a field that was given: (problems found so far, which it may add to, key, value) -> its value in the Body."""


class Body(NamedTuple):
    """A validated job body. None means that a field was not given (or was null).

    `warnings` names unknown fields that look like misspelt ones; all unknown fields are kept in
    the file and ignored.
    """

    command: str | tuple[str, ...]
    id: str | None = None
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
    cwd: str | None = None
    env: Mapping[str, str] = MappingProxyType({})
    submitted_by: str | None = None
    warnings: tuple[str, ...] = ()

    def policy(self, default: RetryPolicy) -> RetryPolicy:
        """The retry policy: the job's own fields, else `default`. Exit codes of its own replace both lists."""
        own: dict[str, Any] = {name: value for name in POLICY_FIELDS if (value := getattr(self, name)) is not None}
        if "retry_on" in own or "no_retry_on" in own:
            own = {"retry_on": None, "no_retry_on": (), **own}
        return default._replace(**own) if own else default


def parse(data: bytes) -> Body:
    """Decode and validate; raises NotJsonError or InvalidJobError."""
    return validate(decode(data))


def decode(data: bytes) -> dict[str, Any]:
    """The one JSON object that `data` holds.

    Raises NotJsonError when it is not exactly one object (it may still be being written), and
    InvalidJobError when it is complete but ambiguous: duplicate keys, NaN or Infinity.
    """
    if len(data) > MAX_BODY:
        raise NotJsonError("too large for a job", f"over {MAX_BODY} bytes")
    problems: list[str] = []
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
        try:
            value = _decode_strictly(text)
        except _AmbiguousError:
            value = _tolerant(problems).decode(text)
    except UnicodeDecodeError as error:
        raise NotJsonError("not valid UTF-8", f"{error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        place = f"at line {error.lineno} column {error.colno}"
        why = f"{error.msg.removesuffix(' at')} {place}" if data.strip() else "it is empty"
        raise NotJsonError("not valid JSON", why) from None
    except RecursionError:
        raise NotJsonError("not valid JSON for a job", "nested too deep") from None
    except ValueError as error:  # int() refuses over 4300 digits (CPython 3.11)
        raise NotJsonError("not valid JSON for a job", str(error)) from None
    if not isinstance(value, dict):
        raise NotJsonError("not a JSON object", 'a job is one object: {"command": …}')
    if problems:
        raise InvalidJobError(problems)
    return value


class _AmbiguousError(Exception):
    """A key occurs twice, or a number is not valid in JSON."""


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(items)
    if len(result) < len(items):
        raise _AmbiguousError
    return result


def _constant(_: str) -> None:
    raise _AmbiguousError


_STRICT = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)


def _decode_strictly(text: str) -> Any:
    """As `_STRICT.decode`, which spends half of its time on the white space around the object."""
    try:
        value, end = _STRICT.raw_decode(text)
    except json.JSONDecodeError:
        return _STRICT.decode(text)  # there is white space before it, or this raises what is wrong
    return _STRICT.decode(text) if text[end:].strip(" \t\n\r") else value


def _tolerant(problems: list[str]) -> json.JSONDecoder:
    """A decoder that continues, and collects everything that makes the text ambiguous."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        repeated = sorted({key for key in keys if keys.count(key) > 1})[:5]
        if repeated:
            problems.append(f"repeated key {', '.join(json.dumps(key)[:60] for key in repeated)}")
        return dict(items)

    return json.JSONDecoder(
        object_pairs_hook=pairs, parse_constant=lambda text: problems.append(f"{text} is not a JSON number")
    )


def validate(obj: Mapping[str, Any]) -> Body:
    """A Body of the object's known fields; raises InvalidJobError with every problem found."""
    problems: list[str] = []
    if obj.get("command") is None:
        problems.append('"command" is missing')
    checked: dict[str, Any] = {}
    is_known = True
    for key, value in obj.items():
        if key not in _CHECKS:
            is_known = False
        elif value is not None:
            checked[key] = _CHECKS[key](problems, key, value)
    warnings = () if is_known else _misspelt(obj)
    if problems:
        raise InvalidJobError(problems, "; ".join(warnings))
    return Body(**checked, warnings=warnings)


def merge(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A job body with other fields on top; their variables are added to those of the body (None removes all)."""
    merged = {**fields, **given}
    if given.get("env") is not None and isinstance(fields.get("env"), dict):
        merged["env"] = {**fields["env"], **given["env"]}
    return merged


def parse_instant(text: str) -> datetime:
    """ISO 8601 -> UTC. A time without a zone is local time. Raises ValueError or OverflowError."""
    if not isinstance(text, str) or len(text) < len("2026-11-25T09:00"):
        raise ValueError(f"not a date and time: {text!r}")
    at = to_utc(datetime.fromisoformat(text.upper()))
    if not 1970 <= at.year <= 9998:
        raise ValueError(f"out of range: {text!r}")
    return at


def _misspelt(obj: Mapping[str, Any]) -> tuple[str, ...]:
    unknown = [key for key in obj if key not in FIELDS]
    if not unknown:
        return ()
    from difflib import get_close_matches  # only for bodies with fields of their own

    warnings = []
    for key in unknown[:20]:
        close = get_close_matches(key[:40].lower().replace("-", "_"), FIELDS, n=1, cutoff=0.8)
        if close:
            warnings.append(f'unknown field {json.dumps(key)[:60]} is ignored; did you mean "{close[0]}"?')
    return tuple(warnings)


def _command(problems: list[str], key: str, value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        if not value.strip():
            problems.append('"command" is empty')
        _check_text(problems, key, value)
        return value
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        if not value[0]:
            problems.append('"command" does not name a program: its first string is empty')
        for word in value:
            _check_text(problems, key, word)
        return tuple(value)
    problems.append('"command" must be a string, or an array of strings that is not empty')
    return ""


def _id(problems: list[str], key: str, value: Any) -> str:
    if not (isinstance(value, str) and is_valid_id(value)):
        problems.append('"id" must be 1 to 100 characters of A-Z a-z 0-9 . _ - and begin with a letter or digit')
    return str(value)


def _integer(most: int, least: int = 0) -> _Check:
    def check(problems: list[str], key: str, value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            problems.append(f'"{key}" must be a whole number from {least} to {most}')
            return least
        return value

    return check


def _number(*, above_zero: bool = False, most: int = MAX_SECONDS) -> _Check:
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


def _word(words: type[StrEnum]) -> _Check:
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
        problems.append(f'"{key}" must be a time such as "2026-11-25T09:00:00Z"')
        return None


def _cwd(problems: list[str], key: str, value: Any) -> str:
    if not (isinstance(value, str) and value.startswith("/")):
        problems.append('"cwd" must be an absolute path')
        return "/"
    _check_text(problems, key, value)
    return value


def _env(problems: list[str], key: str, value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        problems.append('"env" must be an object of strings')
        return {}
    for name, text in value.items():
        if not name or "=" in name:
            problems.append(f'"env" has a bad variable name {json.dumps(name)[:60]}')
        _check_text(problems, key, name)
        _check_text(problems, key, text)
    return value


def _submitter(problems: list[str], key: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBMITTER:
        problems.append(f'"submitted_by" must be a name of up to {MAX_SUBMITTER} characters')
        return ""
    _check_text(problems, key, value)
    return value


def _check_text(problems: list[str], key: str, text: str) -> None:
    """Refuse text that cannot be an argument or variable of a process."""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        problems.append(f'"{key}" contains half a character (a lone surrogate)')
        return
    if "\0" in text:
        problems.append(f'"{key}" contains a NUL character')
    if size > MAX_ARGUMENT:
        problems.append(f'"{key}" is longer than {MAX_ARGUMENT} bytes; put it into a file')


_CHECKS: dict[str, _Check] = {
    "command": _command,
    "id": _id,
    "priority": _integer(MAX_PRIORITY),
    "run_at": _instant,
    "timeout": _number(above_zero=True),
    "max_retries": _integer(MAX_ATTEMPTS - 1),
    "backoff_base": _number(),
    "backoff_max": _number(),
    "backoff_jitter": _number(most=1),
    "retry_on": _exit_codes,
    "no_retry_on": _exit_codes,
    "on_lost": _word(OnLost),
    "max_log": _integer(MAX_LOG, MIN_LOG),
    "on_max_log": _word(OnMaxLog),
    "cwd": _cwd,
    "env": _env,
    "submitted_by": _submitter,
}
FIELDS = tuple(_CHECKS)
"""The known fields of a body."""
