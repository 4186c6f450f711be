"""The job body: what the user asked for, as bytes -> one JSON object -> a validated `Body`.

No strict prefix of a JSON object parses, so bytes that parse as exactly one object are complete.
`decode` finds that out; `validate` then reports everything that is wrong with the object at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from queuectl.core.names import DEFAULT_PRIORITY, MAX_ATTEMPTS, MAX_PRIORITY, is_valid_id
from queuectl.core.retry import OnLost, RetryPolicy
from queuectl.errors import InvalidJobError, NotJsonError

MAX_BODY = 1 << 20
"""Bytes of the largest job file."""
MAX_ARGUMENT = 120_000
"""Bytes of the longest command or word of one: Linux refuses an argument over 131,072 with E2BIG."""
MAX_SECONDS = 10 * 366 * 86400
"""The longest timeout or backoff."""

POLICY_FIELDS = (
    "max_retries", "backoff_base", "backoff_max", "backoff_jitter", "retry_on", "no_retry_on", "on_lost",
)  # fmt: skip
FIELDS = (
    "command", "id", "priority", "run_at", "timeout", *POLICY_FIELDS, "max_log", "on_max_log", "cwd", "env",
)  # fmt: skip
MIN_LOG, MAX_LOG = 4096, 1 << 60
"""Bytes of the smallest and the largest limit of a job's output."""


class OnMaxLog(StrEnum):
    """What happens when the output of an attempt passes its limit: its middle goes, or the attempt is ended."""

    DROP = "drop"
    KILL = "kill"


_Word = TypeVar("_Word", bound=StrEnum)


class Body(NamedTuple):
    """A validated job body. None stands for a field that was not given (or was null).

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

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) < len(items):
            keys = [key for key, _ in items]
            repeated = sorted({key for key in keys if keys.count(key) > 1})[:5]
            problems.append(f"repeated key {', '.join(json.dumps(key)[:60] for key in repeated)}")
        return result

    def constant(text: str) -> None:
        problems.append(f"{text} is not a JSON number")

    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=pairs, parse_constant=constant)
    except UnicodeDecodeError as error:
        raise NotJsonError("not valid UTF-8", f"{error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        why = f"{error.msg} at line {error.lineno} column {error.colno}" if data.strip() else "it is empty"
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


def validate(obj: Mapping[str, Any]) -> Body:
    """A Body of the object's known fields; raises InvalidJobError with every problem found."""
    check = _Check(obj)
    priority = check.integer("priority", MAX_PRIORITY)
    body = Body(
        command=check.command(),
        id=check.id(),
        priority=DEFAULT_PRIORITY if priority is None else priority,
        run_at=check.instant("run_at"),
        timeout=check.number("timeout", above_zero=True),
        max_retries=check.integer("max_retries", MAX_ATTEMPTS - 1),
        backoff_base=check.number("backoff_base"),
        backoff_max=check.number("backoff_max"),
        backoff_jitter=check.number("backoff_jitter", most=1),
        retry_on=check.exit_codes("retry_on"),
        no_retry_on=check.exit_codes("no_retry_on"),
        on_lost=check.word("on_lost", OnLost),
        max_log=check.integer("max_log", MAX_LOG, MIN_LOG),
        on_max_log=check.word("on_max_log", OnMaxLog),
        cwd=check.cwd(),
        env=check.env(),
        warnings=_misspelt(obj),
    )
    if check.problems:
        raise InvalidJobError(check.problems, "; ".join(body.warnings))
    return body


def merge(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A job body with other fields laid over it; their variables join those of the body."""
    merged = {**fields, **given}
    if "env" in given and isinstance(fields.get("env"), dict):
        merged["env"] = {**fields["env"], **given["env"]}
    return merged


def parse_instant(text: str) -> datetime:
    """ISO 8601 -> UTC. A time without a zone is local time. Raises ValueError or OverflowError."""
    if not isinstance(text, str) or len(text) < len("2026-11-25T09:00"):
        raise ValueError(f"not a date and time: {text!r}")
    at = datetime.fromisoformat(text.upper()).astimezone(UTC)
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


class _Check:
    """Reads one field after another and gathers the problems."""

    def __init__(self, obj: Mapping[str, Any]) -> None:
        self.obj = obj
        self.problems: list[str] = []

    def command(self) -> str | tuple[str, ...]:
        value = self.obj.get("command")
        if value is None:
            self.problems.append('"command" is missing')
        elif isinstance(value, str):
            if not value.strip():
                self.problems.append('"command" is empty')
            self._text("command", value)
            return value
        elif isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            if not value[0]:
                self.problems.append('"command" names no program: its first string is empty')
            for word in value:
                self._text("command", word)
            return tuple(value)
        else:
            self.problems.append('"command" must be a string, or an array of strings that is not empty')
        return ""

    def id(self) -> str | None:
        value = self.obj.get("id")
        if value is not None and not (isinstance(value, str) and is_valid_id(value)):
            self.problems.append('"id" must be 1 to 100 of A-Z a-z 0-9 . _ - and begin with a letter or digit')
            return None
        return value

    def integer(self, key: str, most: int, least: int = 0) -> int | None:
        value = self.obj.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.problems.append(f'"{key}" must be a whole number from {least} to {most}')
            return None
        return value

    def number(self, key: str, *, above_zero: bool = False, most: int = MAX_SECONDS) -> float | None:
        value = self.obj.get(key)
        if value is None:
            return None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not 0 <= value <= most or (above_zero and value == 0):
            least = "above 0" if above_zero else "from 0"
            self.problems.append(f'"{key}" must be a number {least} up to {most}')
            return None
        return float(value)

    def exit_codes(self, key: str) -> frozenset[int] | None:
        value = self.obj.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(type(code) is int and 0 < code < 256 for code in value):
            self.problems.append(f'"{key}" must be an array of exit codes from 1 to 255')
            return None
        return frozenset(value)

    def word(self, key: str, words: type[_Word]) -> _Word | None:
        value = self.obj.get(key)
        if value is None:
            return None
        if value not in tuple(words):
            self.problems.append(f'"{key}" must be {" or ".join(json.dumps(word) for word in words)}')
            return None
        return words(value)

    def instant(self, key: str) -> datetime | None:
        value = self.obj.get(key)
        if value is None:
            return None
        try:
            return parse_instant(value)
        except (TypeError, ValueError, OverflowError):
            self.problems.append(f'"{key}" must be a time such as "2026-11-25T09:00:00Z"')
            return None

    def cwd(self) -> str | None:
        value = self.obj.get("cwd")
        if value is None:
            return None
        if not (isinstance(value, str) and value.startswith("/")):
            self.problems.append('"cwd" must be an absolute path')
            return None
        self._text("cwd", value)
        return value

    def env(self) -> Mapping[str, str]:
        value = self.obj.get("env")
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            self.problems.append('"env" must be an object of strings')
            return {}
        for name, text in value.items():
            if not name or "=" in name:
                self.problems.append(f'"env" has a bad variable name {json.dumps(name)[:60]}')
            self._text("env", name)
            self._text("env", text)
        return value

    def _text(self, key: str, text: str) -> None:
        """Refuse what an argument or variable of a process cannot hold."""
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            self.problems.append(f'"{key}" holds half a character (a lone surrogate)')
            return
        if "\0" in text:
            self.problems.append(f'"{key}" holds a NUL character')
        if size > MAX_ARGUMENT:
            self.problems.append(f'"{key}" is longer than {MAX_ARGUMENT} bytes; put it into a file')
