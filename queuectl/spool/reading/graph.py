"""What waits for what: the chain above a job, and those below it. Reads names, edges, and the bodies of those that
wait.

Changes nothing; what it shows may be a moment old.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from queuectl.core import body, groups
from queuectl.core.admission import Reason
from queuectl.core.after import Condition, End, Rule, condition_of, end_of, is_impossible
from queuectl.core.names import FinishedName, PendingName
from queuectl.core.text import format_seconds
from queuectl.errors import QueuectlError
from queuectl.spool.reading import batch, query
from queuectl.spool.reading.whereabouts import Place, find
from queuectl.spool.system import edges, files
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout

_NAMED = 10  # of the jobs that one waits for
_DEEP = 20  # jobs above those
_MEMBERS = 5  # of a group, because of which a job was skipped
_WAYS = {
    Rule.AFTER: "waits for", Rule.AFTER_END: "waits for the end of", Rule.AFTER_FAILED: "waits for a failure of",
}  # fmt: skip


class Link(NamedTuple):
    """That a job waits, or has waited, for another, or for a group (`lr.`), of which `ended` of `total` have ended: 0
    of 0 if it waits no longer, as what the group was then is not recorded."""

    dep: str
    child: str
    rule: Rule
    is_fulfilled: bool = False
    ended: int = 0
    total: int = 0

    @property
    def is_group(self) -> bool:
        return self.dep.endswith(".")

    def to_json(self) -> dict[str, Any]:
        """The documented shape of `--json`."""
        of_group = {"ended": self.ended, "total": self.total} if self.is_group else {}
        return {"from": self.dep, "to": self.child, "rule": str(self.rule), "fulfilled": self.is_fulfilled, **of_group}


class Graph(NamedTuple):
    """Jobs, by id, where they are (None: gone), and how they are linked."""

    places: dict[str, Place | None]
    links: list[Link]
    edges: Mapping[str, Mapping[str, bool]] = MappingProxyType({})
    """Of each child the jobs to which it has edges, members of groups too, and whether they are fulfilled."""

    def above(self, id: str) -> list[Link]:
        return [link for link in self.links if link.child == id]

    def below(self, id: str) -> list[Link]:
        return [link for link in self.links if link.dep == id]

    def causes(self, id: str) -> list[str]:
        """Those because of which a job was skipped, and which were not skipped themselves, however far above it."""
        found: set[str] = set()
        todo, seen = deque([id]), {id}
        while todo:
            child = todo.popleft()
            rule = next((link.rule for link in self.links if link.child == child), Rule.AFTER)
            for dep in (dep for dep, is_marked in self.edges.get(child, {}).items() if not is_marked):
                end = end_of(self.places.get(dep))
                if end in (End.SKIPPED_DONE, End.SKIPPED_DEAD):
                    todo.extend([dep] if dep not in seen else ())
                    seen.add(dep)
                elif is_impossible(rule, end) or (rule is Rule.AFTER_FAILED and end is End.ENDED):
                    found.add(dep)
        return sorted(found)

    def state_of(self, id: str) -> str:
        """Where a job is, in a word for a person."""
        return "gone" if id not in self.places else state_of(self.places[id])

    def to_json(self) -> dict[str, Any]:
        """The documented shape of `--json`."""
        jobs = []
        for id, place in sorted(self.places.items()):
            result = place[1].result if place is not None and isinstance(place[1], FinishedName) else None
            state = None if place is None else str(place[0])
            jobs.append({"id": id, "state": state, "result": str(result) if result else None, "text": state_of(place)})
        return {"jobs": jobs, "links": [link.to_json() for link in self.links]}


def state_of(place: Place | None) -> str:
    """Where a job is, in a word or two."""
    if place is None:
        return "gone"
    state, name = place
    if isinstance(name, FinishedName):
        return "done" if name.result.is_success else "skipped" if name.result.is_skipped else f"{state} ({name.result})"
    if isinstance(name, PendingName):
        return "waiting" if name.is_waiting else "held" if name.is_held else "pending"
    return str(state)


def look(layout: Layout, ids: Collection[str] | None = None) -> Graph:
    """All that waits, and for what; with `ids` only what is above and below those, what has started too."""
    deps_of: dict[str, dict[str, bool]] = {}
    for dep in edges.dependencies(layout):
        for name in edges.names(layout, dep):
            child = name.removesuffix(edges.MARK)
            deps_of.setdefault(child, {})[dep] = child != name
    wanted = _around(deps_of, ids) if ids is not None else None
    involved = {*deps_of, *(dep for deps in deps_of.values() for dep in deps)} if wanted is None else {*wanted}
    links: list[Link] = []
    places: dict[str, Place | None] = {}
    todo = {*involved}
    while todo:  # bodies name jobs to which there are no edges any more
        found = _find(layout, todo)
        places.update({id: found.get(id) for id in todo})
        fresh: set[str] = set()
        for id in todo:
            condition = condition_of(_fields(layout, places[id]))
            deps = deps_of.get(id, {})
            if condition is None and not deps:
                continue
            for link in _links(id, condition or Condition(Rule.AFTER, tuple(deps)), deps):
                links.append(link)
                if not link.is_group:
                    fresh.add(link.dep)
        todo = fresh - places.keys()
    return Graph(places, _counted(layout, links, deps_of), deps_of)


def _around(deps_of: dict[str, dict[str, bool]], ids: Collection[str]) -> set[str]:
    """These ids and all that is linked to them, in one direction or the other."""
    below: dict[str, list[str]] = {}
    for child, deps in deps_of.items():
        for dep in deps:
            below.setdefault(dep, []).append(child)
    found = {*ids}
    for ways in ({child: [*deps] for child, deps in deps_of.items()}, below):
        todo = deque(ids)
        seen = {*ids}
        while todo:
            for other in ways.get(todo.popleft(), ()):
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        found |= seen
    return found


def _links(child: str, condition: Condition, deps: dict[str, bool]) -> Iterator[Link]:
    """What a job waits for, a group as one."""
    for id in condition.ids:
        yield Link(id, child, condition.rule, deps.get(id, not deps))
    for group in condition.groups:
        members = [is_marked for dep, is_marked in deps.items() if groups.is_in(dep, group)]
        yield Link(f"{group}.", child, condition.rule, all(members), 0, len(members))


def _counted(layout: Layout, links: list[Link], deps_of: dict[str, dict[str, bool]]) -> list[Link]:
    """The same, with how many of each group have ended."""
    wanted: set[str] = set()
    for link in links:
        if link.is_group:
            wanted.update(dep for dep in deps_of.get(link.child, {}) if groups.is_in(dep, link.dep[:-1]))
    found = _find(layout, wanted)
    counted = []
    for link in links:
        if link.is_group:
            members = [dep for dep in deps_of.get(link.child, {}) if groups.is_in(dep, link.dep[:-1])]
            ended = sum(end_of(found.get(dep)) is not End.OPEN for dep in members)
            counted.append(link._replace(ended=ended))
        else:
            counted.append(link)
    return counted


def _find(layout: Layout, ids: Collection[str]) -> dict[str, Place]:
    found = find(layout, ids) if ids else {}
    left = {*ids} - found.keys()
    return {**found, **(find(layout, left) if left else {})}  # a job that moved backwards was missed


def _fields(layout: Layout, place: Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    try:
        return body.decode(files.read(layout.job(*place)).data)
    except (OSError, QueuectlError):
        return None


# --- in words


def reasons_of(layout: Layout, id: str) -> list[Reason]:
    """What a waiting job waits for, or why it was skipped, and the chain above that."""
    seen = look(layout, [id])
    links = seen.above(id)
    if not links:
        return [Reason("waiting", "it waits for other jobs; a worker looks for what")]
    is_skipped = (place := seen.places.get(id)) is not None and isinstance(place[1], FinishedName)
    left = [link for link in links if not link.is_fulfilled]
    if is_skipped and links[0].rule is not Rule.AFTER_FAILED:
        left = _causes(seen, left)
    what = [f"{link.dep}{_said_of(layout, seen, link)}" for link in left[:_NAMED]]
    more = f", and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    begins = "it was skipped: it" if is_skipped else "it"
    reasons = [Reason("skipped" if is_skipped else "waiting", f"{begins} {_WAYS[links[0].rule]} {_listed(what)}{more}")]
    reasons += [Reason("chain", text) for text in _chain(layout, seen, left)]
    if is_skipped:
        causes = seen.causes(id)
        named = {word for link in seen.links for word in (link.dep, link.child)}
        within = [f"{cause} is {seen.state_of(cause)}" for cause in causes if cause not in named]
        more = f", and {len(within) - _MEMBERS} more" if len(within) > _MEMBERS else ""
        reasons += [Reason("cause", ", ".join(within[:_MEMBERS]) + more)] if within else []
        is_there = bool(causes) and all(seen.places.get(cause) for cause in causes)
        back = f"to bring it back: {retry_of(causes)}; " if is_there else ""
        reasons.append(Reason("hint", f"{back}to run it anyway: queuectl release {id}"))
    return reasons


def retry_of(causes: list[str], child: str = "") -> str:
    """The line that retries these, and what was skipped because of them."""
    if len(causes) <= _MEMBERS:
        return " ".join(["queuectl retry", *causes, *([child] if child else [])])
    shared = [group for group in groups.of(causes[0]) if all(groups.is_in(id, group) for id in causes)]
    return f"queuectl retry --group {shared[-1]}" if shared else "queuectl dlq retry --all"


def _causes(seen: Graph, links: list[Link]) -> list[Link]:
    """Those of what a skipped job waits for that cannot come about."""
    found = [link for link in links if link.is_group or is_impossible(link.rule, end_of(seen.places.get(link.dep)))]
    return found or links


def _said_of(layout: Layout, seen: Graph, link: Link) -> str:
    """How far it is: `, which is dead (exit1)`, ` (412 of 500 ended, about 6 min)`."""
    if not link.is_group:
        return f", which is {seen.state_of(link.dep)}"
    ahead = batch.look(layout, link.dep[:-1], now())
    rest = f", about {format_seconds(ahead.left)}" if ahead.left is not None and link.ended < link.total else ""
    failed = f", {ahead.failed} failed" if ahead.failed else ""
    return f" ({link.ended} of {link.total} ended{failed}{rest})"


def _chain(layout: Layout, seen: Graph, links: Iterable[Link]) -> Iterator[str]:
    """What those wait for in their turn."""
    todo = deque(link.dep for link in links if not link.is_group)
    known = {*todo}
    number = 0
    while todo and number < _DEEP:
        id = todo.popleft()
        if end_of(seen.places.get(id)) is End.DONE:
            continue
        above = [link for link in seen.above(id) if not link.is_fulfilled]
        if not above:
            continue
        number += 1
        yield f"{id} waits for " + _listed([f"{link.dep}{_said_of(layout, seen, link)}" for link in above[:_NAMED]])
        for link in above:
            if not link.is_group and link.dep not in known:
                known.add(link.dep)
                todo.append(link.dep)


def _listed(parts: list[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    comma = "," if any("," in part for part in parts) else ""
    return f"{', '.join(parts[:-1])}{comma} and {'for ' if comma else ''}{parts[-1]}"


def links_of(layout: Layout, id: str, fields: dict[str, Any] | None) -> Graph:
    """The links of one job; without a look at the disk if it has none and `after/` is not there."""
    if condition_of(fields) is None and not edges.has_any(layout, id):
        return Graph({}, [])
    return look(layout, [id])


def describe_link(link: Link, seen: Graph) -> str:
    """`extract (dead (exit1))`, `lr. (412 of 500 ended)`."""
    if link.is_group:
        return f"{link.dep} ({of_group(link)})"
    return f"{link.dep} ({seen.state_of(link.dep)})"


def of_group(link: Link) -> str:
    """How many of a group have ended, in words."""
    return f"{link.ended} of {link.total} ended" if link.total else "ended"


def ids_in(layout: Layout, group: str) -> list[str]:
    """The jobs of a group."""
    return sorted(query.match_ids(layout, f"{group}."))
