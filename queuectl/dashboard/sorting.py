"""The order of a list by a column: what names say, so no job is read for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from queuectl.core.names import SUFFIX
from queuectl.core.result import State


def sort(state: State, names: Iterable[str], by: str) -> list[str]:
    """Names in the order of a column; what has no such column stays as it is, and so do equal ones."""
    found = [*names]
    key = _KEYS[state].get(by.removeprefix("-"))
    return found if key is None else sorted(found, key=key, reverse=by.startswith("-"))


def _part(number: int, make: Callable[[str], Any] = str) -> Callable[[str], Any]:
    """A key that sorts names by one of their parts."""

    def key(name: str) -> Any:
        parts = name.removesuffix(SUFFIX).split("-", _PARTS)
        try:
            return make(parts[number])
        except (IndexError, ValueError):
            return make("0")

    return key


_PARTS = 5  # before the id of a finished job; the others have fewer, and only their ids have a - in them


def _seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def _id(fields: int) -> Callable[[str], str]:
    return lambda name: name.removesuffix(SUFFIX).split("-", fields)[-1]


_FINISHED = {
    "job": _id(5), "when": _part(0), "priority": _part(1, int), "attempts": _part(2, int), "result": _part(3),
    "took": _part(4, _seconds),
}  # fmt: skip
_KEYS: dict[State, dict[str, Callable[[str], Any]]] = {
    State.PENDING: {"job": _id(3), "priority": _part(0, int), "when": _part(1), "attempts": _part(2, int)},
    State.RUNNING: {
        "job": _id(4), "when": _part(0), "priority": _part(1, int), "attempts": _part(2, int), "worker": _part(3),
    },
    State.DONE: _FINISHED,
    State.DEAD: _FINISHED,
}  # fmt: skip
SORTS = ("job", "when", "priority", "attempts", "result", "took", "worker")
"""The columns by which a list can be sorted: what names say."""
