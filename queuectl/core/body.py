"""The job body: what the user asked for, as bytes -> one JSON object -> a validated `Body` (queuectl/core/fields.py).

No strict prefix of a JSON object parses, so bytes that parse as exactly one object are complete.
`decode` checks that; `validate` then reports everything that is wrong with the object at once.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from functools import cache
from math import isinf
from typing import Any

from queuectl.core import after, charset, groups
from queuectl.core.fields import FIELDS, Body, Check
from queuectl.core.names import is_valid_id
from queuectl.errors import InvalidJobError, NotJsonError

MAX_BODY = 1 << 20
"""Size of the largest job file, in bytes."""
MAX_DEPTH = 256
"""How deep a job's values may be nested: what reads it later may have less room on its stack."""
_MAX_DIGITS = 4300  # of a number that int() reads (CPython 3.11)
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
    value, problems = _decode(data)
    if not isinstance(value, dict):
        raise NotJsonError("not a JSON object", 'a job is one object: {"command": …}')
    if problems:
        raise InvalidJobError(problems)
    return value


def decode_array(data: bytes) -> list[Any]:
    """The one JSON array that `data` holds, of anything; raises as `decode` does. There is no limit of its size."""
    value, problems = _decode(data)
    if not isinstance(value, list):
        raise NotJsonError("not a JSON array", "")
    if problems:
        raise InvalidJobError(problems)
    return value


def _decode(data: bytes) -> tuple[Any, list[str]]:
    """One JSON value, and what makes it ambiguous."""
    problems: list[str] = []
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
        try:
            value = _decode_strictly(text)
        except _AmbiguousError:
            value = _tolerant(problems).decode(text)
    except UnicodeDecodeError as error:
        require_utf8(data, "not valid UTF-8")
        why = f"{error.reason} at byte {error.start}"
        raise NotJsonError("not valid UTF-8", why, 'a job of such bytes needs "charset": "latin-1"') from None
    except json.JSONDecodeError as error:
        require_utf8(data, "not valid JSON")
        raise NotJsonError("not valid JSON", _place(data, error)) from None
    except RecursionError:
        raise NotJsonError("not valid JSON for a job", "nested too deep") from None
    if len(data) > MAX_DEPTH and data.count(b"[") + data.count(b"{") > MAX_DEPTH and _is_deep(value):
        problems.append(f"it is nested more than {MAX_DEPTH} deep")
    return value, problems


def _place(data: bytes, error: json.JSONDecodeError) -> str:
    """Why that is not JSON, and where."""
    if not data.strip():
        return "it is empty"
    if b"\0" in data:
        return f"there is a NUL byte at byte {data.index(0)}"
    return f"{error.msg.removesuffix(' at')} at line {error.lineno} column {error.colno}"


def require_utf8(data: bytes, what: str) -> None:
    """Raise a NotJsonError if these bytes are UTF-16 or UTF-32: that `what`, and how to convert them."""
    name = json.detect_encoding(data).upper() if len(data) >= 4 else "UTF-8"
    if not name.startswith("UTF-8"):
        name = name[:6] + name[7:]
        raise NotJsonError(what, f"it is {name}", f"convert it: iconv -f {name} -t UTF-8")


def _is_deep(value: Any) -> bool:
    """Whether there is a value within more than MAX_DEPTH others."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


class _AmbiguousError(Exception):
    """A key occurs twice, or a number is not valid in JSON or could not be written again."""


def _pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(items)
    if len(result) < len(items):
        raise _AmbiguousError
    return result


def _constant(_: str) -> None:
    raise _AmbiguousError


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):  # it would be written as Infinity
        raise _AmbiguousError
    return number


_STRICT = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float)


def _decode_strictly(text: str) -> Any:
    """As `_STRICT.decode`, which spends half of its time on the white space around the object."""
    try:
        try:
            value, end = _STRICT.raw_decode(text)
        except json.JSONDecodeError:
            return _STRICT.decode(text)  # there is white space before it, or this raises what is wrong
    except json.JSONDecodeError:
        raise
    except ValueError:  # int() refuses over 4300 digits (CPython 3.11)
        raise _AmbiguousError from None
    return _STRICT.decode(text) if text[end:].strip(" \t\n\r") else value


def _tolerant(problems: list[str]) -> json.JSONDecoder:
    """A decoder that continues, and collects everything that makes the text ambiguous."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        repeated = sorted({key for key in keys if keys.count(key) > 1})[:5]
        if repeated:
            problems.append(f"repeated key {', '.join(json.dumps(key)[:60] for key in repeated)}")
        return dict(items)

    def integer(text: str) -> int:
        if len(text) <= _MAX_DIGITS:
            return int(text)
        problems.append(f"a number has {len(text.lstrip('-'))} digits: put it in quotes")
        return 0

    def decimal(text: str) -> float:
        if isinf(float(text)):
            problems.append(f"the number {text[:20]} is too large: put it in quotes")
        return float(text)

    return json.JSONDecoder(
        object_pairs_hook=pairs,
        parse_constant=lambda text: problems.append(f"{text} is not a JSON number"),
        parse_int=integer,
        parse_float=decimal,
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
    values = _UNSET.copy()
    is_known = True
    checks = _CHECKS if obj.get("charset") != charset.LATIN_1 else _checks_in_latin_1()
    for key, value in obj.items():
        check = checks.get(key)
        if check is None:
            is_known = False
        elif value is not None:
            values[key] = check(problems, key, value)
    if not _RELATED.isdisjoint(obj):
        _check_related(problems, values)
    warnings = values["warnings"] = () if is_known else _unheeded(obj)
    if problems:
        raise InvalidJobError(problems, "; ".join(warnings))
    return Body._make(values.values())  # in half the time of `Body(**values)`


_UNSET: dict[str, Any] = {**dict.fromkeys(Body._fields), **Body._field_defaults}
_RELATED = frozenset((*after.RULES, "group", "if_exists"))
"""Fields whose value depends on that of others."""


def _check_related(problems: list[str], values: Mapping[str, Any]) -> None:
    lists = [rule for rule in after.RULES if values[rule]]
    if len(lists) > 1:
        problems.append(f"it has {' and '.join(json.dumps(rule) for rule in lists)}: a job waits in one of these ways")
    group, id = values["group"], values["id"]
    if group and not problems and id is not None and not is_valid_id(groups.join(group, id)):
        problems.append('"group" and "id" together make an id of over 100 characters')
    if values["if_exists"] and id is None and not values["unique"]:
        problems.append('"if_exists" needs a key, "unique", or an "id"')


@cache
def _checks_in_latin_1() -> Mapping[str, Check]:
    return {**_CHECKS, **{name: _in_latin_1(_CHECKS[name]) for name in charset.TEXTS}}


def _in_latin_1(check: Callable[..., Any]) -> Check:
    """The check of a text's field in a body whose charset is Latin-1."""

    def check_decoded(problems: list[str], key: str, value: Any) -> Any:
        try:
            value = charset.decode(value)
        except UnicodeEncodeError:
            problems.append(f'"{key}" has a character beyond U+00FF, which is not a byte of "latin-1"')
        return check(problems, key, value, "surrogateescape")

    return check_decoded


def merge(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A job body with other fields on top; their variables are added to those of the body (None removes all)."""
    is_plain = fields.get("charset") == given.get("charset") or not given.keys() & {*charset.TEXTS, "charset"}
    return (charset.join if is_plain else charset.merge)(fields, given)


def _unheeded(obj: Mapping[str, Any]) -> tuple[str, ...]:
    """A warning for each unknown field that looks like a known one, or that other tools obey."""
    unknown = [key for key in obj if key not in FIELDS]
    if not unknown:
        return ()
    from difflib import get_close_matches  # only for bodies with fields of their own

    from queuectl.core.foreign import FIELDS_HERE

    warnings = []
    for key in unknown[:20]:
        word = key[:40].lower().replace("-", "_")
        close = get_close_matches(word, FIELDS, n=1, cutoff=0.8)
        here = FIELDS_HERE.get(word) or (f'did you mean "{close[0]}"?' if close else None)
        if here:
            warnings.append(f"unknown field {json.dumps(key)[:60]} is ignored; {here}")
    return tuple(warnings)
