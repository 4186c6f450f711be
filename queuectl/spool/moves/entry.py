"""How a job comes to wait for others: what it names is found, its edges are made durable, it is published under the
waiting time, and then the routine looks whether there is anything left to wait for (`dependents`).

All edges are durable before the child is there. Until it is, nobody acts on them; who submits it holds its log's lock,
so that the slow beat does not take them for what a crash has left.

A circle can only be made by jobs that are there already (`set after=`, a retry): who makes edges for one looks for a
circle *after* that, so of two that close one together at least one sees it (tests/spool/moves/test_dependents.py).
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Collection, Iterable, Mapping

from queuectl.core import body, groups, lifecycle
from queuectl.core.after import Condition, condition_of, end_of, is_fulfilled, verdict_of
from queuectl.core.names import WAITING_AT, PendingName
from queuectl.core.result import State
from queuectl.errors import NotFoundError, QueuectlError, UsageError, WrongStateError
from queuectl.spool.moves import dependents
from queuectl.spool.moves.dependents import Dependents
from queuectl.spool.reading import graph, query
from queuectl.spool.reading.whereabouts import Place, Whereabouts
from queuectl.spool.system import edges, files, logs
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import STATES, Layout


class CircleError(UsageError):
    """A job would wait for itself."""

    def __init__(self, ids: Collection[str]) -> None:
        first, *rest = ids
        chain = "".join(f", which waits for {id}" for id in rest[:5]) + (", …" if len(rest) > 5 else "")
        super().__init__(f"{first} would wait for itself", f"it waits for {first}{chain}" if rest else "")


# --- what a job names


def resolve(
    layout: Layout,
    wanted: Mapping[str, Condition],
    fresh: Collection[str] = (),
    *,
    absent: Collection[str] = (),
    where: Whereabouts | None = None,
    may_be_gone: bool = False,
) -> dict[str, list[str] | QueuectlError]:
    """For each of these children the ids of all that it waits for, or why it cannot be submitted.

    One moment for all: jobs are looked up together. `fresh` are ids that are being submitted with them, `absent` those
    that are not. With `may_be_gone` what the spool does not hold is no error.
    """
    where = where or Whereabouts(layout)
    named = {id for condition in wanted.values() for id in condition.ids} - {*fresh}
    where.expect(named)
    gone = set() if may_be_gone else {id for id in named if id in absent or where.look(id) is None}
    members = _members(layout, {group for condition in wanted.values() for group in condition.groups}, where, fresh)
    found: dict[str, list[str] | QueuectlError] = {}
    for child, condition in wanted.items():
        deps = dict.fromkeys(condition.ids)
        for group in condition.groups:
            deps.update(dict.fromkeys(id for id in members[group] if id != child))
        missing = next((id for id in condition.ids if id in gone), None)
        empty = next((group for group in condition.groups if not any(groups.is_in(id, group) for id in deps)), None)
        if child in deps:
            found[child] = CircleError([child])
        elif missing is not None:
            found[child] = _not_there(layout, missing)
        elif empty is not None and not may_be_gone:
            found[child] = NotFoundError(f"no job of the group {empty!r} to wait for", hint="see: queuectl list")
        else:
            found[child] = [*deps]
    return found


def _not_there(layout: Layout, id: str) -> NotFoundError:
    is_group = any(groups.is_in(each, id) for each in query.match_ids(layout, f"{id}."))
    why = f"for the jobs of the group {id}, name it with its dot: {id}." if is_group else ""
    return NotFoundError(f"no job {id!r} to wait for", why, hint="" if is_group else "see: queuectl list")


def _members(
    layout: Layout, wanted: Collection[str], where: Whereabouts, fresh: Collection[str]
) -> dict[str, list[str]]:
    """The jobs of these groups, ended ones too.

    RACE: a job that moves backwards can be missed by any number of listings, its log cannot: what only the log shows
    is looked for under its lock (tests/model/looks.py).
    """
    if not wanted:
        return {}

    def is_wanted(id: str) -> bool:
        return any(group in wanted for group in groups.of(id))

    found: dict[str, None] = dict.fromkeys(filter(is_wanted, fresh))
    for state in STATES:
        for names in query.iterate_names(layout, state):
            for text in names:
                id = query.id_in(state, text)
                if id is not None and is_wanted(id) and query.parse_name(state, text) is not None:
                    found[id] = None
    for text in os.listdir(layout.logs):
        id = text.removesuffix(".log")
        if id not in found and is_wanted(id) and where.look(id) is not None:
            found[id] = None
    return {group: sorted(id for id in found if groups.is_in(id, group)) for group in wanted}


def require_no_circle(layout: Layout, child: str) -> None:
    """Raise CircleError if what the child has edges to waits for the child, however many others are between."""
    if not edges.waiting_for(layout, child):
        return
    above: dict[str, list[str]] = {}
    for dep in edges.dependencies(layout):
        for name in edges.waiting_for(layout, dep):
            above.setdefault(name, []).append(dep)
    came_from: dict[str, str] = {}
    todo = deque([child])
    while todo:
        id = todo.popleft()
        for dep in above.get(id, ()):
            if dep == child:
                chain = [id]
                while chain[-1] != child:
                    chain.append(came_from[chain[-1]])
                raise CircleError([child, *reversed(chain[:-1])])
            if dep not in came_from:
                came_from[dep] = id
                todo.append(dep)


def in_order(wanted: Mapping[str, Collection[str]]) -> tuple[list[str], list[str]]:
    """These children so that each comes behind those among them that it waits for; and those that are in a circle, or
    wait for one."""
    left = {child: {dep for dep in deps if dep in wanted} for child, deps in wanted.items()}
    below: dict[str, list[str]] = {}
    for child, deps in left.items():
        for dep in deps:
            below.setdefault(dep, []).append(child)
    ready = deque(child for child, deps in left.items() if not deps)
    ordered: list[str] = []
    while ready:
        child = ready.popleft()
        ordered.append(child)
        for other in below.get(child, ()):
            left[other].discard(child)
            if not left[other]:
                ready.append(other)
    done = {*ordered}
    return ordered, [child for child in wanted if child not in done]


def around(child: str, found: Mapping[str, Collection[str]], circle: Collection[str]) -> list[str]:
    """The circle that the child is in, or waits for: each waits for the next."""
    chain = [child]
    while True:
        chain.append(next(dep for dep in found[chain[-1]] if dep in circle))
        if chain[-1] in chain[:-1]:
            return chain[chain.index(chain[-1]) : -1]


# --- edges


def fulfilled_of(condition: Condition, deps: Iterable[str], where: Whereabouts, *, gone_too: bool = False) -> set[str]:
    """Which of these are fulfilled now; with `gone_too` also what the spool no longer holds."""
    deps = [*deps]
    where.expect(deps)
    found = set()
    for dep in deps:
        place = where.look(dep)
        if (place is None and gone_too) or is_fulfilled(condition.rule, end_of(place)):
            found.add(dep)
    return found


def write_edges(
    layout: Layout, child: str, condition: Condition, deps: Collection[str], name: PendingName, where: Whereabouts,
    *, known: Collection[str] = (), gone_too: bool = False,
) -> list[str]:  # fmt: skip
    """Make the edges of a child, for `edges.sync`. `name` is what it will wait under, `known` have not ended."""
    marked = fulfilled_of(condition, [dep for dep in deps if dep not in known], where, gone_too=gone_too)
    return edges.write_some(layout, child, deps, edges.Hint(str(name), len(deps)), fulfilled=marked)


def leave(layout: Layout, id: str, fields: Mapping[str, object] | None) -> None:
    """Remove the edges of a child that has left: it has its own time, was released, cancelled or deleted."""
    if condition_of(fields) is not None and edges.has_any(layout):
        _, deps = dependents.dependencies(layout, id, dict(fields or {}))
        edges.forget(layout, id, deps)


def has_edges(layout: Layout, id: str, fields: Mapping[str, object] | None) -> bool:
    """Whether a job of that body has edges: it has waited, and has not got its own time yet."""
    return edges.has_any(layout) and bool(names_of(layout, id, fields or {}))


def names_of(layout: Layout, id: str, fields: Mapping[str, object]) -> list[str]:
    """What a job of that body has edges to."""
    if condition_of(fields) is None:
        return []
    return [*edges.edges_of(layout, id, dependents.dependencies(layout, id, dict(fields))[1])]


def forget_others(layout: Layout, id: str, fields: Mapping[str, object], kept: Collection[str]) -> None:
    """Remove the edges of a job of that body, but for these."""
    edges.forget(layout, id, [dep for dep in names_of(layout, id, fields) if dep not in kept])


def was_started(layout: Layout, id: str) -> bool:
    """Whether an attempt of the job has ever started, as its log says."""
    try:
        log = logs.open_existing(layout.log(id))
    except OSError:
        return False
    try:
        return logs.has_start(log)
    finally:
        os.close(log)


def again(layout: Layout, id: str, fields: Mapping[str, object], priority: int, attempts: int = 0) -> lifecycle.Move:
    """Make the edges of a job that is to wait again; the move to its waiting name, after which the caller runs
    `settle`.

    What the spool no longer holds counts as fulfilled; if that is all, the job gets its own time at once. Raises
    CircleError, and leaves no new edge then.
    """
    condition = condition_of(fields)
    assert condition is not None
    name = PendingName(priority, WAITING_AT, attempts, id)
    where = Whereabouts(layout)
    resolved = resolve(layout, {id: condition}, where=where, may_be_gone=True)[id]
    if isinstance(resolved, QueuectlError):
        raise resolved
    if not resolved:  # groups alone, of which nothing is left
        return lifecycle.due(name, dependents.run_at_of(fields), now())
    before = {*edges.edges_of(layout, id, resolved)}
    edges.sync(layout, write_edges(layout, id, condition, resolved, name, where, gone_too=True))
    if before and condition.groups:
        edges.renumber(layout, id, resolved, str(name))
    try:
        require_no_circle(layout, id)
    except CircleError:
        edges.forget(layout, id, [dep for dep in resolved if dep not in before])
        raise
    return lifecycle.Move(State.PENDING, name)


def require_there(layout: Layout, id: str, fields: Mapping[str, object]) -> None:
    """Raise NotFoundError unless all that the body of a new job names is there, CircleError if it names itself."""
    condition = condition_of(fields)
    found = resolve(layout, {id: condition})[id] if condition is not None else []
    if isinstance(found, QueuectlError):
        raise found


def make_wait(layout: Layout, name: PendingName, data: bytes) -> None:
    """Let a pending job that lacks its edges, and was never started, wait for what its body names.

    Does nothing if it has moved. Raises CircleError.
    """
    fields = body.decode(data)
    if condition_of(fields) is None:
        return
    log = logs.open_log(layout.log(name.id))
    os.close(log)
    target = again(layout, name.id, fields, name.priority, name.attempts)
    if files.move(layout.job(State.PENDING, name), layout.job(*target)):
        settle(layout, [name.id])


def settle(layout: Layout, ids: Collection[str]) -> dict[str, Place]:
    """Run the routine for these children, which were just published; where those are that it has moved."""
    moved = Dependents(layout).decide(ids)
    return {each.id: each.place for each in moved}


def require_possible(layout: Layout, id: str, fields: Mapping[str, object] | None) -> None:
    """Raise WrongStateError if a skipped job waits for something that cannot come about as things are."""
    condition, deps = dependents.dependencies(layout, id, dict(fields or {}))
    if condition is None:
        return
    where = Whereabouts(layout)
    opened = [dep for dep, is_marked in edges.edges_of(layout, id, deps).items() if not is_marked]
    where.expect(opened)
    places = {dep: where.look(dep) for dep in opened}
    verdict = verdict_of(condition.rule, map(end_of, places.values()))
    if verdict.skips_to is None:
        return
    seen = graph.look(layout, [id])
    causes = seen.causes(id) or [dependents.cause_of(condition.rule, {dep: end_of(at) for dep, at in places.items()})]
    cause = causes[0]
    how = "waits for" if cause in places else "was skipped because of"
    hint = f"to let it go without: queuectl release {id}"
    if all(seen.places.get(each) for each in causes):
        both = "both" if len(causes) == 1 else "all of them"
        hint = f"retry {both}: {graph.retry_of(causes, id)}; or {hint.removeprefix('to ')}"
    raise WrongStateError(f"job {id} {how} {cause}, which is {seen.state_of(cause)}", hint=hint)
