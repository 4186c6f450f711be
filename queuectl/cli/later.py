"""Lines of `enqueue -` that wait for jobs of other lines, in whatever order they stand.

A line that names a job which is not there yet, or a group, is kept until the end of the input; then those that are kept
come behind what they name. All others go at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from queuectl.cli.bodies import Place
from queuectl.core import groups
from queuectl.core.after import Condition, condition_of
from queuectl.errors import QueuectlError
from queuectl.spool.system.layout import Layout

Found = tuple[Place, Mapping[str, Any] | QueuectlError]


class _Kept(NamedTuple):
    place: Place
    fields: Mapping[str, Any]
    condition: Condition


def in_order(found: Iterator[Found], layout: Layout | None) -> Iterator[Found]:
    """The same jobs, so that each comes behind what it waits for; those in a circle as errors."""
    seen: set[str] = set()
    kept: dict[str, _Kept] = {}
    for place, fields in found:
        condition = None if isinstance(fields, QueuectlError) else condition_of(fields)
        id = "" if isinstance(fields, QueuectlError) else _id_of(fields)
        if condition is None or (not condition.groups and all(_is_there(dep, seen, layout) for dep in condition.ids)):
            if id:
                seen.add(id)
            yield place, fields
        else:
            assert not isinstance(fields, QueuectlError)
            key = id if id and id not in kept else f" {place.number}"
            kept[key] = _Kept(place, fields, condition)
    if kept:
        yield from _kept_in_order(kept)


def _kept_in_order(kept: dict[str, _Kept]) -> Iterator[Found]:
    from queuectl.spool.moves import entry

    members: dict[str, list[str]] = {}
    for id in kept:
        for group in groups.of(id):
            members.setdefault(group, []).append(id)
    wanted: dict[str, list[str]] = {}
    for id, each in kept.items():
        within = (member for group in each.condition.groups for member in members.get(group, ()) if member != id)
        wanted[id] = [*each.condition.ids, *within]
    ordered, circle = entry.in_order(wanted)
    for id in ordered:
        yield kept[id].place, kept[id].fields
    for id in circle:
        yield kept[id].place, entry.CircleError(entry.around(id, wanted, circle))


def _id_of(fields: Mapping[str, Any]) -> str:
    id, group = fields.get("id"), fields.get("group")
    return "" if not isinstance(id, str) else groups.join(group, id) if isinstance(group, str) else id


def _is_there(id: str, seen: set[str], layout: Layout | None) -> bool:
    return id in seen or (layout is not None and os.path.lexists(layout.log(id)))
