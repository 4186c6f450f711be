"""A group of submitted jobs of which some wait for others: what they name is found, their edges are made durable, and
they come behind those among them that they wait for. Called by `submit` alone, between its own steps.

CRASH: before the publishing there are edges without a child, whose id is not reserved any more: the slow beat removes
them. After it the child waits, and the beat runs the routine (tests/torture/syscalls.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from queuectl.core import lifecycle
from queuectl.core.after import Condition, condition_of
from queuectl.core.fields import Body
from queuectl.core.job import Job
from queuectl.core.names import PendingName
from queuectl.errors import QueuectlError
from queuectl.spool.moves import dependents, entry
from queuectl.spool.system import edges
from queuectl.spool.system.layout import Layout


class Item(Protocol):
    """A job of the group, ready to be published."""

    @property
    def fields(self) -> dict[str, Any]: ...

    @property
    def move(self) -> lifecycle.Move: ...

    @property
    def content(self) -> Body: ...


Each = TypeVar("Each", bound=Item)


def join(layout: Layout, items: dict[int, Each], waiting: Collection[int]) -> dict[int, QueuectlError]:
    """Make the edges of those that wait, and put the items in order; the errors of those that cannot be submitted."""
    where = dependents.whereabouts(layout)
    index_of = {item.move.name.id: index for index, item in items.items()}
    wanted = {items[index].move.name.id: _condition_of(items[index]) for index in waiting}
    errors: dict[int, QueuectlError] = {}
    found: dict[str, list[str]] = {}
    while True:  # what is refused is not there for those that name it
        fresh = {id for id in index_of if index_of[id] not in errors}
        left = {child: condition for child, condition in wanted.items() if child in fresh}
        refused = len(errors)
        found = {}
        for child, deps in entry.resolve(layout, left, fresh, absent={*index_of} - fresh, where=where).items():
            if isinstance(deps, QueuectlError):
                errors[index_of[child]] = deps
            else:
                found[child] = deps
        ordered, circle = entry.in_order(found)
        errors.update({index_of[child]: entry.CircleError(entry.around(child, found, circle)) for child in circle})
        if len(errors) == refused:
            break
    made: list[str] = []
    for child, deps in found.items():
        name = items[index_of[child]].move.name
        assert isinstance(name, PendingName)
        made += entry.write_edges(layout, child, wanted[child], deps, name, where, known=fresh)
    edges.sync(layout, made)
    if found:
        order = [index for index in items if index not in waiting] + [index_of[child] for child in ordered]
        reordered = {index: items[index] for index in order}
        for index in errors:
            reordered[index] = items[index]
        items.clear()
        items.update(reordered)
    return errors


def give_up(layout: Layout, item: Item) -> None:
    """Remove the edges of a job that was not published."""
    if item.content.references:
        with suppress(OSError):
            entry.leave(layout, item.move.name.id, item.fields)


def settle(layout: Layout, items: Mapping[int, Item], outcomes: list[Job | QueuectlError | None]) -> None:
    """Run the routine for those that were published, and say where it has put them."""
    published = [index for index, item in items.items() if item.content.references and isinstance(outcomes[index], Job)]
    where = dependents.whereabouts(layout)
    for item in items.values():
        where.note(item.move.name.id, (item.move.state, item.move.name))
    ids = [items[index].move.name.id for index in published if not _is_held(items[index])]
    moved = {}
    with suppress(OSError):  # the slow beat looks again
        moved = entry.settle(layout, ids)
    for index in published:
        job = outcomes[index]
        assert isinstance(job, Job)
        if job.id in moved:
            state, name = moved[job.id]
            outcomes[index] = Job(state, name, layout.job(state, name), job.body, job.fields)


def _is_held(item: Item) -> bool:
    return isinstance(item.move.name, PendingName) and item.move.name.is_held


def _condition_of(item: Item) -> Condition:
    condition = condition_of(item.fields)
    assert condition is not None
    return condition
