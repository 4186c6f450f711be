"""What can be asked of a job by name: in columns, by `--sort`, `--format` and `--where`, all with the same words.

The names are the keys of a job's `--json`, the fields of its body (`timeout` is short for `body.timeout`), `when`,
`took` (which is `duration`), and `body.PATH` for anything in the body, however deep: `body.sweep`, `body.grid.x`.
`params.lr` is a parameter, and a number where it reads as one. Hyphens in a name are underscores.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from datetime import datetime
from math import isnan
from typing import Any, NamedTuple

from queuectl.core.fields import FIELDS
from queuectl.core.job import Job
from queuectl.core.names import PendingName, format_rfc3339
from queuectl.core.result import State
from queuectl.errors import UsageError

Value = Any
"""What JSON can hold; None if the job has no such value."""

IN_NAME: dict[str, Callable[[Job], Value]] = {
    "id": lambda job: job.id,
    "state": lambda job: str(job.state),
    "priority": lambda job: job.priority,
    "attempts": lambda job: job.attempts,
    "held": lambda job: job.is_held,
    "waiting": lambda job: job.is_waiting,
    "when": lambda job: format_rfc3339(when(job)),
    "run_at": lambda job: format_rfc3339(job.run_at),
    "started_at": lambda job: format_rfc3339(job.started_at),
    "finished_at": lambda job: format_rfc3339(job.finished_at),
    "worker": lambda job: job.worker,
    "result": lambda job: str(job.result) if job.result else None,
    "duration": lambda job: job.duration,
    "took": lambda job: job.duration,
}
"""The values that the name of a job's file tells, so that its body need not be read."""

_BODY = "body"
_OPERATORS = r"!=|<=|>=|==|=|<|>"
_ANY = Job(State.PENDING, PendingName(0, datetime.min, 0, "any"), "")


def names() -> list[str]:
    """Every name but those of a job's own fields, in the order of `--json`."""
    keys = [key for key in _ANY.to_json() if key != _BODY]
    return list(dict.fromkeys([*keys, "when", "took", "waits_for", *FIELDS, _BODY]))


def name_of(text: str) -> str:
    """The name that was typed, in its one spelling; raises UsageError for an unknown one."""
    first, dot, path = text.strip().partition(".")
    name = first.lower().replace("-", "_")
    is_path = path and (name == _BODY or (name in FIELDS and name not in _ANY.to_json()))
    if name not in names() or (dot and not is_path):
        from difflib import get_close_matches

        known = names()
        close = get_close_matches(name, known, n=1)
        more = "; also body.NAME for a field of your own"
        hint = f"did you mean {close[0]}?" if close else f"fields: {' '.join(known)}{more}"
        raise UsageError(f"unknown field {text.strip()!r}", hint=hint)
    return f"{name}{dot}{path}"


def when(job: Job) -> datetime | None:
    """When the job may start, started or ended, depending on its state; None for a held one."""
    return job.finished_at or job.started_at or job.run_at


def waits_for(job: Job) -> str | None:
    """What a job that waits for others, or was skipped, names in its body; None for any other."""
    is_skipped = job.result is not None and job.result.is_skipped
    return " ".join(job.body.references) or None if job.body and (job.is_waiting or is_skipped) else None


def command_text(job: Job) -> str:
    """The command in one line, as a shell would read it; for a file that is not a valid job, what is wrong with it."""
    if job.command is None:
        return f"({job.problem})"
    return job.command if isinstance(job.command, str) else shlex.join(job.command)


def value_of(job: Job, name: str) -> Value:
    """The value of that name (as `name_of` spells it), as `--json` has it."""
    if name in IN_NAME:
        return IN_NAME[name](job)
    if name == "command":
        return command_text(job)
    if name == "waits_for":
        return waits_for(job)
    first, _, path = name.partition(".")
    if first == _BODY:
        return _find(job.fields, path)
    values = job.to_json()
    return values[name] if name in values else _find(_in_memory(job), name)


def typed_value_of(job: Job, name: str) -> Value:
    """The same, to be compared: a parameter is a text, but one that reads as a number is that."""
    value = value_of(job, name)
    if isinstance(value, str) and name.startswith("params."):
        number = _number(value)
        return value if number is None or isnan(number) else number
    return value


def _in_memory(job: Job) -> Value:
    """The fields of a job's body, with its texts as they are in any charset."""
    if job.body is None or job.body.charset is None or job.fields is None:
        return job.fields
    return {**job.fields, "cwd": job.body.cwd, "env": dict(job.body.env), "params": dict(job.body.params)}


def _find(value: Value, path: str) -> Value:
    """What is at a path of keys with dots between them; a key may hold dots itself, and a number counts in an array."""
    if not path:
        return value
    if isinstance(value, dict):
        if path in value:
            return value[path]
        heads = [path[: match.start()] for match in re.finditer(r"\.", path)]
        found = (_find(value[head], path[len(head) + 1 :]) for head in heads if head in value)
        return next((each for each in found if each is not None), None)
    key, _, rest = path.partition(".")
    if isinstance(value, list) and re.fullmatch(r"\d{1,9}", key, re.ASCII) and int(key) < len(value):
        return _find(value[int(key)], rest)
    return None


def as_text(value: Value) -> str:
    """A value as `--format` prints it: a string as it is, nothing for None, anything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def sort_key(value: Value) -> tuple[int, Value]:
    """Orders numbers before texts before the rest; None cannot be ordered."""
    if isinstance(value, int | float):
        return (0, value)
    return (1, value) if isinstance(value, str) else (2, as_text(value))


class Condition(NamedTuple):
    """What `--where` asks for: NAME, an operator and a text.

    A number is compared as a number, anything else as text; an array is equal if one of its elements is; what is
    missing or null is equal to nothing but an empty text or `null`, and neither less nor greater than any.
    """

    name: str
    operator: str
    text: str

    @classmethod
    def parse(cls, typed: str) -> Condition:
        """The condition of `body.sweep=3`; raises UsageError."""
        match = re.fullmatch(rf"([^=<>!]+?)\s*({_OPERATORS})\s*(.*)", typed, re.DOTALL)
        if match is None:
            raise UsageError(f"not a condition: {typed!r}", hint="try body.sweep=3, 'priority<5' or 'result!=exit1'")
        return cls(name_of(match[1]), match[2].replace("==", "="), match[3])

    def takes(self, job: Job) -> bool:
        """Whether the job meets it."""
        value = typed_value_of(job, self.name)
        if self.operator in ("=", "!="):
            return _is_equal(value, self.text) == (self.operator == "=")
        pair = _ordered(value, self.text)
        if pair is None:
            return False
        left, right = pair
        is_less, is_greater = bool(left < right), bool(left > right)
        return {"<": is_less, ">": is_greater, "<=": not is_greater, ">=": not is_less}[self.operator]


def _is_equal(value: Value, text: str) -> bool:
    if value is None:
        return text in ("", "null")
    if isinstance(value, str):
        return value == text
    if isinstance(value, bool):
        return text.lower() == ("true" if value else "false")
    if isinstance(value, int | float):
        return bool(value == _number(text))
    if isinstance(value, list) and any(_is_equal(each, text) for each in value):
        return True
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False


def _ordered(value: Value, text: str) -> tuple[Value, Value] | None:
    """The two as values that can be compared; None if they cannot."""
    if isinstance(value, str):
        return value, text
    number = _number(text)
    if isinstance(value, bool) or not isinstance(value, int | float) or number is None:
        return None
    return value, number


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None
