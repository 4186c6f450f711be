"""Finding and replacing text in a field of a job: what its body is then."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from queuectl.core import fields
from queuectl.errors import UsageError

CAN_BE_CHANGED = (*fields.CAN_BE_SET, "env")
"""The fields in which text can be replaced: in `env`, in the values of all variables."""


def replaced(body: Mapping[str, Any], name: str, find: str, text: str, now: datetime) -> dict[str, Any] | None:
    """The body with each `find` in that field replaced by `text`; None if that changes nothing.

    Without `find` the whole field becomes `text`, read as where people type it; empty, it is taken away. A command
    that is an array stays one, and the text is replaced in each of its words. Raises UsageError for a field that cannot
    be changed so, and for a text that is not a value of it.
    """
    if name not in CAN_BE_CHANGED:
        raise UsageError(f"no such field: {name[:60]!r}", f"there are {', '.join(CAN_BE_CHANGED)}")
    old = body.get(name)
    new = _whole(name, text, now) if not find else _part(name, old, find, text, now)
    if new == old:
        return None
    changed = {**body, name: new}
    return {key: value for key, value in changed.items() if value is not None or key != name}


def _whole(name: str, text: str, now: datetime) -> Any:
    if name == "env":
        raise UsageError("what is to be replaced in the variables?", "type the text to find")
    return fields.parse(name, text, now)


def _part(name: str, old: Any, find: str, text: str, now: datetime) -> Any:
    if isinstance(old, str):
        return old.replace(find, text)
    if name == "env" and isinstance(old, dict):
        return {key: value.replace(find, text) if isinstance(value, str) else value for key, value in old.items()}
    if name == "command" and isinstance(old, list):
        return [word.replace(find, text) if isinstance(word, str) else word for word in old]
    typed = fields.as_typed(old)
    return fields.parse(name, typed.replace(find, text), now) if find in typed else old
