"""Jobs that wait for others: a child C (and D behind it) on edges `after/DEP/CHILD`, `after/DEP/CHILD+` once fulfilled.

    pending/C:due, :wait, :hold     its own time, 99990101T…, any other time in 9999
    done/C, dead/C:exit1, dead/C:cancelled, done/C:skipped, dead/C:skipped
    was/…                           notes of the observer

The steps are those of queuectl/spool/moves/waiting.py. Running a job is one step, for what happens around it is what
is looked at, and so is a look at where one job is: what listings miss is in `looks`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.interleavings import Asks, Files, Program, Step, create, do, exists, listing, remove, rename

WAITS, SKIPPED = "wait", ("skipped:done", "skipped:dead")
_OPEN = ("wait", "hold", "due")


class Rules(NamedTuple):
    """The protocol. The defaults are the one that holds; each other value is a mistake that somebody could make."""

    look: str = "both"  # when the submitter looks at what it waits for: before or after it publishes
    skip: str = "child first"  # or "edge first": what is done first to a child that cannot start any more
    keep: bool = True  # a skipped child keeps its edges
    fulfilled: str = "marked"  # a fulfilled edge stays, marked, until the child has left; or it is "removed"
    again: str = (
        "always"  # whoever has moved a child or marked an edge looks once more; only who "moves" a child; "never"
    )
    clean: str = "locked"  # edges of a child that is not there go only while its log's lock is had, or "bare"
    release: str = "looks"  # a held child that waits waits again, or goes "at once"
    failed: str = "kept"  # edges of after_failed to what is dead stay until the child is decided, or are "removed"
    touch: str = "if there"  # the edges of a child that is not there (yet) are left alone, or "always" acted on
    fine: bool = True  # a child's dependencies are looked at one by one; False to search further
    lost: str = "again"  # an edge that a waiting child lacks is written again, or it counts as "fulfilled"
    alone: bool = True  # who has moved a dependency acts for it alone where that is enough; False: the whole routine
    verify: bool = True  # and looks, with the edge seen, whether it is still where he has put it
    recheck: bool = True  # and, having skipped a child, looks whether its edge is still open; no case needs it, as
    # whoever has marked the edge looks once more, but the child would be skipped until then
    persists: bool = True  # who finds a child renamed in the meantime, as a new priority does, looks again
    finish: str = "routine"  # who marks and finds no other edge open runs the routine, or lets the child go "at once"


class Child(NamedTuple):
    rule: str  # after, after_end, after_failed
    deps: tuple[str, ...]


Plan = dict[str, Child]


def place_of(files: Files, id: str) -> str:
    """wait, hold, due, done, skipped:done, skipped:dead, another result in dead/, or gone."""
    if f"done/{id}" in files:
        return "done"
    heads = (f"pending/{id}:", f"dead/{id}:", f"done/{id}:")
    name = next((name for name in files if name.startswith(heads)), None)
    if name is None:
        return "gone"
    what = name.split(":")[1]
    return f"skipped:{name[:4]}" if what == "skipped" else what


def name_of(id: str, place: str) -> str:
    """The name of a job that is in that place."""
    if place == "done":
        return f"done/{id}"
    if place in SKIPPED:
        return f"{place[8:]}/{id}:skipped"
    return f"{'pending' if place in _OPEN else 'dead'}/{id}:{place}"


def look(id: str) -> Step:
    return do(f"look at {id}", lambda files: (files, place_of(files, id)))


def end_of(files: Files, edge: str) -> str:
    """Where what it leads to is, while it is there; fulfilled, or lost."""
    return place_of(files, edge.split("/")[1]) if edge in files else "fulfilled" if f"{edge}+" in files else "lost"


def verdict_of(rules: Rules, rule: str, ends: tuple[str, ...]) -> str:
    """wait, due, skipped:done or skipped:dead."""
    waits = any(end in _OPEN or (end == "lost" and rules.lost == "again") for end in ends)
    bad = [end for end in ends if end not in (*_OPEN, "done", "fulfilled", "lost")]
    if rule == "after_failed" and rules.failed == "kept":
        if waits:
            return WAITS
        return "due" if "exit1" in bad else "skipped:done"
    if rule == "after" and bad:
        return "skipped:done" if set(bad) == {"skipped:done"} else "skipped:dead"
    return WAITS if waits else "due"


def is_fulfilled(rules: Rules, rule: str, end: str) -> bool:
    """Whether an edge whose dependency has ended so is marked."""
    if end in (*_OPEN, "fulfilled", "lost"):
        return False
    if rule == "after_failed" and rules.failed == "kept":
        return end in ("done", "gone")
    return end == "done" or rule != "after"


def judge(rules: Rules, child: str, plan: Plan) -> Asks[Any]:
    """(where it belongs; the dependencies whose edges are fulfilled)."""
    rule, deps = plan[child]
    ends: tuple[str, ...] = ()
    if not rules.fine:
        edges = tuple(f"after/{dep}/{child}" for dep in deps)
        ends = yield do(f"look at after/*/{child}", lambda files: (files, tuple(end_of(files, e) for e in edges)))
    else:
        for dep in deps:
            edge = f"after/{dep}/{child}"
            end = yield do(f"look at {edge}", lambda files: (files, end_of(files, edge)))  # noqa: B023 - done at once
            ends += (end,)
    fulfilled = tuple(dep for dep, end in zip(deps, ends, strict=True) if is_fulfilled(rules, rule, end))
    return verdict_of(rules, rule, ends), fulfilled


def fulfil(rules: Rules, edge: str) -> Step:
    return rename(edge, f"{edge}+") if rules.fulfilled == "marked" else remove(edge)


def skip(child: str, place: str, target: str) -> Step:
    return _move(child, name_of(child, place), name_of(child, target), f"was/ended.{child}")


def _move(child: str, old: str, new: str, *notes: str) -> Step:
    """Rename a child. `set/CHILD`: a new priority may have given it another name just before, once."""

    def ways(files: Files) -> list[tuple[Files, bool]]:
        moved = [(files - {old} | {new, *notes}, True)] if old in files else [(files, False)]
        return [*moved, (files - {f"set/{child}"}, False)] if f"set/{child}" in files else moved

    return Step(f"rename {old} -> {new}", ways)


def decide(rules: Rules, child: str, plan: Plan, place: str | None = None) -> Program:  # noqa: C901 - reads like the code that it is for
    """The routine: move a waiting or skipped child to where its edges say it belongs. Anybody may, at any time."""
    has_moved, has_written = False, True
    while has_written:  # and so looks once more
        place = place or (yield look(child))
        if rules.touch == "if there" and place not in (WAITS, *SKIPPED):
            break  # not there yet, or not any more: whoever puts it there looks
        verdict, fulfilled = yield from judge(rules, child, plan)
        moved = is_due = has_lost = False
        if verdict in SKIPPED:
            if rules.skip == "edge first":
                yield from forget(child, plan)
            if place != verdict:
                moved = yield skip(child, place, verdict)
                has_lost = not moved
            if moved and not rules.keep:
                yield from forget(child, plan)
        else:
            if place in SKIPPED:
                moved = yield _move(child, name_of(child, place), f"pending/{child}:wait")
                has_lost = not moved
            for dep in fulfilled:
                yield fulfil(rules, f"after/{dep}/{child}")
            if verdict == "due":
                is_due = yield _move(child, f"pending/{child}:wait", f"pending/{child}:due")
                has_lost = not is_due
                if is_due:
                    yield from forget(child, plan)
        has_moved, place = has_moved or moved, None
        has_marked = bool(fulfilled) and verdict not in SKIPPED and not is_due
        again = {"always": moved or has_marked, "moves": moved, "never": False}[rules.again]
        has_written = (has_lost and rules.persists) or (again and not is_due)
    if has_moved:
        place = yield look(child)
        if place in (WAITS, *SKIPPED):
            yield from inform(rules, child, plan, place)
        else:
            yield from inform(rules, child, plan)


def inform(rules: Rules, dep: str, plan: Plan, place: str | None = None) -> Program:
    """Whoever has ended a job, or brought one back, looks at those that wait for it; `place` is where he has put it."""
    edges = yield listing(f"after/{dep}/")
    for edge in edges:
        if not edge.endswith("+"):
            if place is not None and rules.alone:
                yield from act_alone(rules, edge, plan, place)
            else:
                yield from decide(rules, edge.split("/")[2], plan)


def act_alone(rules: Rules, edge: str, plan: Plan, end: str) -> Program:
    """What `decide` would do, as far as one dependency decides it: whoever moves the others acts for them."""
    dep, child = edge.split("/")[1:]
    rule, deps = plan[child]
    place = yield look(child)
    if place not in (WAITS, *SKIPPED) or (end in _OPEN and place == WAITS):
        return
    is_bad = rule == "after" and end not in (*_OPEN, "done")
    if is_bad and end != "skipped:done" and place == WAITS:
        yield from _skip_alone(rules, edge, plan, end)
        return
    if is_fulfilled(rules, rule, end):
        is_there = (yield exists(name_of(dep, end))) if rules.verify else True
        if not is_there:
            yield from decide(rules, child, plan)
            return
        yield fulfil(rules, edge)
    elif rule != "after_failed" and place == WAITS:
        yield from decide(rules, child, plan)
        return
    for other in deps:
        if other != dep:
            its_edge = f"after/{other}/{child}"
            its_end = yield do(f"look at {its_edge}", lambda files: (files, end_of(files, its_edge)))  # noqa: B023
            if _is_settled(rules, rule, place, end, its_end):
                return
            its_end = None
    if rules.finish == "routine":
        yield from decide(rules, child, plan)
    else:
        is_due = yield rename(f"pending/{child}:wait", f"pending/{child}:due")
        if is_due:
            yield from forget(child, plan)


def _skip_alone(rules: Rules, edge: str, plan: Plan, end: str) -> Program:
    dep, child = edge.split("/")[1:]
    is_there = (yield exists(name_of(dep, end))) if rules.verify else True
    if not is_there:
        yield from decide(rules, child, plan)
        return
    moved = yield skip(child, WAITS, "skipped:dead")
    is_there = (yield exists(name_of(dep, end))) if rules.again != "never" else True
    is_open = (yield exists(edge)) if rules.recheck else True  # somebody may have marked it
    if not (is_there and is_open) or (not moved and rules.persists):
        yield from decide(rules, child, plan)
    if moved:
        yield from inform(rules, child, plan, "skipped:dead")


def _is_settled(rules: Rules, rule: str, place: str, end: str, its_end: str) -> bool:
    """Whether another dependency, that has ended so, keeps the child where it is, whatever this one does."""
    if place == WAITS:
        return its_end in _OPEN or (rule != "after_failed" and its_end not in ("fulfilled", "lost"))
    if rule != "after" or its_end in (*_OPEN, "done", "fulfilled", "lost"):
        return False
    if its_end == "skipped:done":
        return place == "skipped:done" and end in (*_OPEN, "done", "skipped:done")
    return place == "skipped:dead"


def forget(child: str, plan: Plan) -> Program:
    for dep in plan[child].deps:
        edges = frozenset({f"after/{dep}/{child}", f"after/{dep}/{child}+"})
        yield do(f"remove after/{dep}/{child}", lambda files: (files - edges, None))  # noqa: B023 - done at once


def submit(rules: Rules, child: str, plan: Plan) -> Program:
    yield create(f"held/log.{child}=submit")
    for dep in plan[child].deps:
        yield do(f"create after/{dep}/{child}", lambda files: (_create(files, dep, child), None))  # noqa: B023
    if rules.look in ("before", "both"):
        for dep in plan[child].deps:
            end = yield look(dep)
            if end == "gone":
                yield from forget(child, plan)
                return  # refused: the spool holds no such job
            if end == "done":
                yield fulfil(rules, f"after/{dep}/{child}")
    yield create(f"pending/{child}:wait")
    yield remove(f"held/log.{child}=submit")
    if rules.look != "before":
        yield from decide(rules, child, plan)


def _create(files: Files, dep: str, child: str) -> Files:
    """The edge; that what has been retried was done before does not count."""
    before = set() if place_of(files, dep) == "done" else {f"was/done.{dep}"}
    return (files | {f"after/{dep}/{child}"}) - before


def run(rules: Rules, id: str, plan: Plan, *ends: str) -> Program:
    """A worker runs the job whenever it is due, to one of these ends, and informs."""
    while True:
        end = yield Step(
            f"run {id}",
            lambda files: [(_run(files, id, end), end) for end in ends] if f"pending/{id}:due" in files else [],
        )
        yield from inform(rules, id, plan, end)
        end = None


def _run(files: Files, id: str, end: str) -> Files:
    notes = {"done": {f"was/done.{id}"}, "exit1": {f"was/ended.{id}", f"was/failed.{id}"}}
    return files - {f"pending/{id}:due"} | {name_of(id, end), *notes[end]}


def repair(rules: Rules, plan: Plan) -> Program:
    """The slow beat: all edges, and all children that wait and lack one, in any order."""
    while True:
        name = yield Step("pick one of after/*, pending/*", lambda files: [
            (files, n) for n in sorted(files) if n.startswith("after/") or (n.endswith(":wait") and _lacks_edge(files, n, plan))])  # fmt: skip # noqa: E501
        if name.startswith("after/"):
            yield from repair_edge(rules, name, plan)
        else:
            yield from repair_lost(rules, name[len("pending/") : -len(":wait")], plan)
        name = None


def _lacks_edge(files: Files, name: str, plan: Plan) -> bool:
    child = name[len("pending/") : -len(":wait")]
    return child in plan and any(end_of(files, f"after/{dep}/{child}") == "lost" for dep in plan[child].deps)


def repair_edge(rules: Rules, edge: str, plan: Plan) -> Program:
    child = edge.split("/")[2].removesuffix("+")
    place = yield look(child)
    if place in (WAITS, *SKIPPED):
        yield from decide(rules, child, plan, place)
    elif place == "gone" and rules.clean == "locked":
        is_ours = yield do(f"lock the log of {child}", lambda files: _lock(files, child))
        if is_ours:
            place = yield look(child)
            if place == "gone":
                yield remove(edge)
            yield remove(f"held/log.{child}=repair")
    elif place != "hold":
        yield remove(edge)


def repair_lost(rules: Rules, child: str, plan: Plan) -> Program:
    if rules.lost == "again":
        for dep in plan[child].deps:
            edge = f"after/{dep}/{child}"
            yield do(f"write {edge} if it is lost", lambda files: (_write_lost(files, edge), None))  # noqa: B023
    yield from decide(rules, child, plan)


def _write_lost(files: Files, edge: str) -> Files:
    if end_of(files, edge) != "lost":
        return files
    return files | {edge + "+" * (place_of(files, edge.split("/")[1]) == "gone")}


def _lock(files: Files, child: str) -> tuple[Files, bool]:
    is_free = not any(n.startswith(f"held/log.{child}=") for n in files)
    return (files | {f"held/log.{child}=repair"}, True) if is_free else (files, False)
