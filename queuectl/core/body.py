"""The job body: what the user asked for, as bytes -> one JSON object -> a validated `Body` (queuectl/core/fields.py).

No strict prefix of a JSON object parses, so bytes that parse as exactly one object are complete.
`decode` checks that; `validate` then reports everything that is wrong with the object at once.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any

from queuectl.core.fields import FIELDS, Body
from queuectl.errors import InvalidJobError, NotJsonError

MAX_BODY = 1 << 20
"""Size of the largest job file, in bytes."""
_CHECKS = {name: field.check for name, field in FIELDS.items()}


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


def encode(fields: Mapping[str, Any]) -> bytes:
    """A body as one line of JSON, in readable UTF-8 if possible."""
    try:
        return (json.dumps(fields, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # a lone surrogate in one of the user's own fields
        return (json.dumps(fields) + "\n").encode()


def show(fields: Mapping[str, Any]) -> str:
    """A body as text for people, indented unless it is nested too deep for that."""
    try:
        return json.dumps(fields, indent=2, ensure_ascii=False)
    except RecursionError:  # the encoder that indents is written in Python (CPython 3.11)
        return json.dumps(fields, ensure_ascii=False)


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
