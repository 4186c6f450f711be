"""How many edges a job was given that waits for a group, once a copy of the spool has lost some of them.

    after/DEP/C=N, after/DEP/C+=N    an edge, and what its file says: that C was given N of them

What a group stood for is known by the edges alone. So each says how many there were; if there are fewer, those to the
jobs of the group that are there are written again, and then every edge is given the new number. Here C waits for A and
B of a group; an edge to L is lost, with its job, and one to D is fulfilled, though D is gone since. Workers end A and
B, two beats look at C, and somebody may retry A after its end.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.model.interleavings import Actor, Asks, Files, Model, Program, Step, do

_GROUP = ("D", "A", "B", "L")
"""In the order in which they are listed: the number is read from the first of the edges."""
_GIVEN = 4


class Rules(NamedTuple):
    """The protocol. The defaults are the one that holds; each other value is a mistake that somebody could make."""

    number: str = "of all"  # the edges that are there, or only "of those written", or the old number is "kept"
    write: str = "in place"  # into the file, or a new one is "renamed" over it
    order: str = "edges first"  # the missing edges are written before the number, or "number first"


def edge_of(files: Files, dep: str) -> str:
    return next((name for name in files if name.startswith((f"after/{dep}/C=", f"after/{dep}/C+="))), "")


def _is_marked(edge: str) -> bool:
    return "C+=" in edge


def _edges(files: Files) -> dict[str, str]:
    return {dep: edge for dep in _GROUP if (edge := edge_of(files, dep))}


def mark(dep: str) -> Step:
    """A rename, whatever the file says."""

    def change(files: Files) -> tuple[Files, bool]:
        edge = next((name for name in files if name.startswith(f"after/{dep}/C=")), "")
        marked = {name for name in files if name.startswith(f"after/{dep}/C+=")} if edge else set()
        return (files - {edge} - marked | {edge.replace("C=", "C+=")}, True) if edge else (files, False)

    return do(f"mark after/{dep}/C", change)


def _numbered(edge: str, number: object) -> str:
    return f"{edge.partition('=')[0]}={number}"


def write_number(rules: Rules, dep: str, number: int, seen: str) -> Step:
    """In place: into the file that has either name, if there is one. Else under the name that was seen."""

    def change(files: Files) -> tuple[Files, None]:
        if rules.write == "in place":
            edge = edge_of(files, dep)
            return (files - {edge} | {_numbered(edge, number)} if edge else files), None
        stem = _numbered(seen, "")
        return files - {name for name in files if name.startswith(stem)} | {f"{stem}{number}"}, None

    return do(f"write {number} into after/{dep}/C", change)


def run(dep: str) -> Program:
    """A worker ends it, and marks the edge that it finds then."""
    yield do(f"run {dep}", lambda files: (files - {f"pending/{dep}"} | {f"done/{dep}", f"was/done.{dep}"}, None))
    yield mark(dep)


def retry() -> Program:
    yield Step("retry A", lambda files: [(files - {"done/A"} | {"pending/A"}, None)] if "done/A" in files else [])
    yield do("run A", lambda files: (files - {"pending/A"} | {"dead/A"}, None))


def beat(rules: Rules) -> Program:
    while True:
        found = yield Step("look at C", lambda files: [(files, _seen(files))] if "pending/C:wait" in files else [])
        if not found:
            yield from complete(rules)
        else:
            yield from decide(rules)
        found = None


def _seen(files: Files) -> bool:
    """Whether C has as many edges as the first of them says."""
    edges = _edges(files)
    return not edges or int(next(iter(edges.values())).split("=")[1]) <= len(edges)


def complete(rules: Rules) -> Program:
    if rules.order == "number first":
        yield from renumber(rules, ("A", "B"))
    for dep in ("A", "B"):
        yield do(f"write after/{dep}/C", lambda files: (_write(files, dep), None))  # noqa: B023 - done at once
    if rules.order == "edges first":
        yield from renumber(rules, ("A", "B"))


def _write(files: Files, dep: str) -> Files:
    mark_ = "+" if f"done/{dep}" in files else ""
    return files if edge_of(files, dep) else files | {f"after/{dep}/C{mark_}={_GIVEN}"}


def renumber(rules: Rules, written: tuple[str, ...]) -> Asks[None]:
    if rules.number == "kept":
        return
    edges = yield do("list the edges of C", lambda files: (files, tuple(sorted(_edges(files).items()))))
    if rules.number == "of those written":
        edges = tuple(each for each in edges if each[0] in written)
    for dep, seen in edges:
        yield write_number(rules, dep, len(edges), seen)


def decide(rules: Rules) -> Program:
    for dep in ("A", "B"):
        yield do(f"mark after/{dep}/C if it is done", lambda files: (_mark_done(files, dep), None))  # noqa: B023
    yield do("rename pending/C:wait -> pending/C:due", lambda files: (_start(files), None))


def _mark_done(files: Files, dep: str) -> Files:
    edge = edge_of(files, dep)
    is_fulfilled = edge and not _is_marked(edge) and f"done/{dep}" in files
    return files - {edge} | {edge.replace("C=", "C+=")} if is_fulfilled else files


def _start(files: Files) -> Files:
    """If it has as many edges as they say, and all are fulfilled."""
    edges = _edges(files)
    is_due = "pending/C:wait" in files and edges and _seen(files) and all(map(_is_marked, edges.values()))
    return files - {"pending/C:wait"} | {"pending/C:due"} if is_due else files


def never(files: Files) -> str | None:
    if "pending/C:due" in files and not {"was/done.A", "was/done.B"} <= files:
        return "C starts before all that it waits for has ended"
    for dep in _GROUP:
        if sum(name.startswith(f"after/{dep}/C") for name in files) > 1:
            return f"the edge to {dep} is there twice, open and fulfilled"
    return None


def case(name: str, rules: Rules, *lost: str, beats: int = 1) -> Model:
    """`lost`: edges to jobs that are there, which the copy lacks too."""
    edges = {"after/A/C=4", "after/B/C=4", "after/D/C+=4"} - {f"after/{dep}/C=4" for dep in lost}
    actors = (
        Actor("worker A", lambda: run("A"), may_crash=False),
        Actor("worker B", lambda: run("B"), may_crash=False),
        Actor("user", retry, may_crash=False),
        *(Actor(f"beat {n}", lambda: beat(rules), may_crash=n > 1) for n in range(1, beats + 1)),
    )
    files = {"pending/A", "pending/B", "pending/C:wait", *edges}
    return Model(name, files, actors, never, _is_over, crashes=1)


def _is_over(files: Files) -> bool:
    """C is due, or waits for a job that has failed since."""
    return "pending/C:due" in files or ("dead/A" in files and not _is_marked(edge_of(files, "A")))


BROKEN = (
    case("renumber: the old number stays", Rules(number="kept")),
    case("renumber: edges to what is gone do not count", Rules(number="of those written")),
    case("renumber: a new file is renamed over an edge", Rules(write="renamed")),
    case("renumber: the number is written before the edges", Rules(order="number first"), "B", beats=2),
)
SOUND = (
    case("renumber: the edges that are there count", Rules()),
    case("renumber: an edge to a job that is there was lost too", Rules(), "A"),
    case("renumber: two beats, and one edge lost", Rules(), "B", beats=2),
)
