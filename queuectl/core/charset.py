"""Texts of a job that are not UTF-8: `"charset": "latin-1"`.

On Linux a command line, a directory and a variable are bytes; JSON has only Unicode. A body says `"charset": "latin-1"`
if one of its texts is not UTF-8: then each character of `command`, `cwd`, `env` and `params`, U+0001 to U+00FF, is one
byte. In memory they are str as `os.fsdecode` makes them in a UTF-8 locale: UTF-8, and a lone surrogate for each other
byte (PEP 383).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

LATIN_1 = "latin-1"
TEXTS = ("command", "cwd", "env", "params")
"""The fields that a charset is about."""


def decode(value: Any) -> Any:
    """A field of a body in Latin-1, as it is in memory. Raises UnicodeEncodeError for a character beyond U+00FF."""
    return _each(value, lambda text: text.encode(LATIN_1).decode("utf-8", "surrogateescape"))


def encode(text: str, charset: str | None) -> bytes:
    """What a text of a body of that charset stands for. Raises UnicodeEncodeError if it stands for no bytes."""
    return text.encode(LATIN_1) if charset == LATIN_1 else text.encode("utf-8", "surrogateescape")


def to_body(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A job body of fields whose texts may be bytes, paths, or str as `os.fsdecode` makes them; in UTF-8 if possible.

    The str of a body that is in Latin-1 already are left as they are.
    """
    if fields.get("charset") == LATIN_1:
        return _changed(fields, str, lambda data: data.decode(LATIN_1))
    try:
        return _changed(fields, _require_utf8, bytes.decode)
    except UnicodeError:
        return _to_latin_1(fields)


def merge(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A body with others' fields on top, of which one is in Latin-1; in UTF-8 if possible."""
    below, above = (fields if fields.get("charset") == LATIN_1 else _to_latin_1(fields) for fields in (fields, given))
    merged = join(below, above)
    try:
        merged = _changed(merged, lambda text: text.encode(LATIN_1).decode(), bytes.decode)
    except UnicodeError:
        return merged
    del merged["charset"]
    return merged


def join(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The same of two in one charset. Variables are added to those of the body (None removes all)."""
    merged = {**fields, **given}
    if given.get("env") is not None and isinstance(fields.get("env"), dict):
        merged["env"] = {**fields["env"], **given["env"]}
    return merged


def _to_latin_1(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same with each byte of their texts as a character. What stands for no bytes is left for the check."""
    try:
        texts = _changed(
            fields,
            lambda text: text.encode("utf-8", "surrogateescape").decode(LATIN_1),
            lambda data: data.decode(LATIN_1),
        )
    except UnicodeEncodeError:  # half a character that stands for no byte
        return dict(fields)
    return {**texts, "charset": LATIN_1}


def _require_utf8(text: str) -> str:
    if not text.isascii():
        text.encode()
    return text


def _changed(
    fields: Mapping[str, Any], change: Callable[[str], str], change_bytes: Callable[[bytes], str]
) -> dict[str, Any]:
    changed = dict(fields)
    for name in TEXTS:
        if changed.get(name) is not None:
            changed[name] = _each(changed[name], change, change_bytes)
    return changed


def _each(value: Any, change: Callable[[str], str], change_bytes: Callable[[bytes], str] | None = None) -> Any:
    """The same with each text in it changed; what is neither a text nor holds any is left as it is."""
    if hasattr(value, "__fspath__"):
        value = value.__fspath__()
    if isinstance(value, str):
        return change(value)
    if isinstance(value, bytes) and change_bytes is not None:
        return change_bytes(value)
    if isinstance(value, list | tuple):
        return [_each(item, change, change_bytes) for item in value]
    if isinstance(value, Mapping):
        return {_each(key, change, change_bytes): _each(item, change, change_bytes) for key, item in value.items()}
    return value
