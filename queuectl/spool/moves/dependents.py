"""Moving jobs that wait for others: one routine, which anybody may run at any time.

`decide` looks whether a child waits or is skipped, and touches nothing if it is neither; then at what each of its open
edges leads to. If its condition can no longer be met, it is renamed to `skipped`, and its edges stay. Otherwise a
skipped child is renamed back to the waiting time, fulfilled edges are marked, and if none is open it is renamed to its
own time, and its edges are removed. **Whoever has renamed or marked anything looks once more.**

Who has moved a dependency knows where it is, and calls `inform`: it acts for that dependency alone where that is
enough, so that 10,000 jobs for which one child waits do not cost 10,000 looks each. It relies on nothing that it
remembers: that some other edge was open, or some other job the cause, is looked up each time; if it is no longer so,
`decide` is run.

It is run by the submitter once it has published (`entry`), by whoever settles, cancels, drops, retries or
releases a job, after that rename, and by the slow beat of workers (queuectl/spool/upkeep/edges.py).

CRASH: between any two of its steps a child waits, or is skipped, with all of its edges, and the slow beat continues
(tests/torture/syscalls.py). tests/model/edges.py searches every interleaving of these steps.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from queuectl.core import body, groups, lifecycle
from queuectl.core.after import (
    Condition,
    End,
    Rule,
    Verdict,
    condition_of,
    end_of,
    is_fulfilled,
    is_impossible,
    verdict_of,
)
from queuectl.core.names import FinishedName, Name, PendingName, format_rfc3339, parse_instant
from queuectl.core.result import State
from queuectl.errors import QueuectlError
from queuectl.spool.reading.whereabouts import Place, Whereabouts
from queuectl.spool.system import edges, files, logs
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout

_MOST = 1_000  # children of which this process remembers what they wait for


class Moved(NamedTuple):
    """A child that was moved: where to, and because of which job, if it was skipped."""

    id: str
    place: Place
    cause: str = ""


class _Memory:
    """What a process has seen of one spool; all of it is looked up again before it counts."""

    def __init__(self, layout: Layout) -> None:
        self.where = Whereabouts(layout)
        self.waits: dict[str, list[str]] = {}  # of a child, what had not ended; what is last in line is last
        self.causes: dict[str, str] = {}  # of a skipped child


_memories: dict[str, _Memory] = {}


def _memory_of(layout: Layout) -> _Memory:
    found = _memories.get(layout.root)
    if found is None:
        found = _memories[layout.root] = _Memory(layout)
    if len(found.waits) + len(found.causes) > _MOST:
        found.waits.clear()
        found.causes.clear()
    return found


def whereabouts(layout: Layout) -> Whereabouts:
    """What this process remembers of where jobs are."""
    return _memory_of(layout).where


def inform(layout: Layout, id: str, place: tuple[State, Name] | None) -> list[Moved]:
    """Act for a job that was just moved there, or deleted: move what waits for it. Never fails: the beat looks again.

    Without anything that waits for it this costs one failed lookup.
    """
    with suppress(OSError):
        if edges.names(layout, id):
            return Dependents(layout).inform(id, place)
    return []


class Dependents:
    """The routine, for one thread. `where` may know already where some jobs are."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._memory = _memory_of(layout)
        self.where = self._memory.where
        self._todo: deque[tuple[str, Place | None]] = deque()
        self._moved: list[Moved] = []

    def inform(self, id: str, place: Place | None) -> list[Moved]:
        """Act for a job that was moved there, or deleted (None), and then for all that moves because of it."""
        self._todo.append((id, place))
        return self._run()

    def decide(self, children: Iterable[str]) -> list[Moved]:
        """Run the routine for these jobs, and then for all that moves because of them."""
        children = [*children]
        self.where.expect(children)
        for child in children:
            self._decide(child)
        return self._run()

    def judge(self, child: str, fields: dict[str, Any]) -> tuple[Verdict | None, list[str]]:
        """What the routine would make of a child with that body, None if it waits for nothing; and what it lacks an
        edge to. Changes nothing."""
        condition, deps = dependencies(self._layout, child, fields)
        if condition is None:
            return None, []
        ends = self._ends(child, deps)
        return verdict_of(condition.rule, ends.values()), [dep for dep, end in ends.items() if end is End.LOST]

    def _run(self) -> list[Moved]:
        while self._todo:
            dep, place = self._todo.popleft()
            children = edges.waiting_for(self._layout, dep)
            if place is not None and children:
                self.where.note(dep, place)
            for child in children:
                self._suggest(dep, child)
            self.where.expect(children)
            for child in children:
                if place is None:
                    self._decide(child)
                else:
                    self._act_alone(dep, child, place)
        self.where.expect_nothing()
        return self._moved

    def _suggest(self, dep: str, child: str) -> None:
        """Save a listing by what the edge says of its child."""
        if not self.where.is_known(child):
            name = PendingName.parse(edges.hint(self._layout, dep, child).name)
            if name is not None and name.id == child:
                self.where.note(child, (State.PENDING, name))

    # --- acting for one dependency

    def _act_alone(self, dep: str, child: str, place: Place) -> None:
        at = self.where.look(child)
        if at is None or not _is_movable(at):
            return
        found = self._read(at)
        condition = condition_of(found)
        end = end_of(place)
        if condition is None or (end is End.OPEN and at[0] is State.PENDING):
            if condition is None:
                self._decide(child)
            return
        if is_impossible(condition.rule, end) and end is not End.SKIPPED_DONE and at[0] is State.PENDING:
            self._skip_alone(dep, child, at, place)
            return
        is_settled = self._still_waits if at[0] is State.PENDING else self._is_still_skipped
        if is_fulfilled(condition.rule, end):
            # RACE: it may have been retried before the edge was made (tests/model/edges_cases.py).
            if not self.where.is_there(dep, place):
                self._decide(child)
                return
            edges.mark(self._layout, dep, child)
        elif condition.rule is not Rule.AFTER_FAILED and at[0] is State.PENDING:
            self._decide(child)
            return
        if not is_settled(dep, child, condition.rule, at, end):
            self._decide(child)

    def _skip_alone(self, dep: str, child: str, at: Place, place: Place) -> None:
        if not self.where.is_there(dep, place):
            self._decide(child)
            return
        is_skipped = self._skip(child, at, State.DEAD, dep) is not None
        # RACE: it may have been retried, or its edge marked by who saw it done (tests/model/edges_cases.py).
        if not is_skipped or not self.where.is_there(dep, place) or not edges.is_open(self._layout, dep, child):
            self._decide(child)

    def _still_waits(self, dep: str, child: str, rule: Rule, _: Place, __: End) -> bool:
        """Whether something else for which the child was seen to wait has not ended: one lookup, as a rule."""
        waits = self._memory.waits.get(child)
        while waits:
            other = waits[-1]
            if other != dep and edges.is_open(self._layout, other, child):
                if rule is not Rule.AFTER_FAILED:
                    return True
                self.where.expect(waits)
                if end_of(self.where.look(other)) is End.OPEN:
                    return True
            with suppress(IndexError):  # another thread
                waits.pop()
        return False

    def _is_still_skipped(self, dep: str, child: str, rule: Rule, at: Place, end: End) -> bool:
        """Whether something else that has caused the skip is as it was, and this dependency makes no difference."""
        cause = self._memory.causes.get(child)
        if cause is None or cause == dep or rule is not Rule.AFTER or not edges.is_open(self._layout, cause, child):
            return False
        what = end_of(self.where.look(cause))
        if what is End.SKIPPED_DONE:
            return at[0] is State.DONE and (end in (End.DONE, End.OPEN, End.SKIPPED_DONE))
        return at[0] is State.DEAD and is_impossible(rule, what)

    # --- the whole routine

    def _decide(self, child: str) -> None:  # noqa: C901, PLR0912 - one loop over one state, as in the model
        moved: Place | None = None
        while (at := self.where.look(child)) is not None and _is_movable(at):
            fields = self._read(at)
            if fields is None:
                continue  # it has moved since
            condition, deps = self._dependencies(child, fields)
            if condition is None:
                break
            ends = self._ends(child, deps)
            verdict = verdict_of(condition.rule, ends.values())
            target = verdict.skips_to
            if target is not None:
                cause = cause_of(condition.rule, ends)
                self._memory.causes[child] = cause
                if target is at[0]:
                    break
                skipped = self._skip(child, at, target, cause)
                if skipped is not None:
                    moved = None
                continue  # RACE: a new priority may have renamed it (tests/model/edges_cases.py)
            has_written = False
            if isinstance(at[1], FinishedName):
                back = self._bring_back(child, at, at[1], fields)
                if back is at:
                    break
                if back is None:
                    continue
                has_written = True
                moved = at = back
                if not is_waiting(back[1]):
                    break  # it asks for its key first
            for dep, end in ends.items():
                if is_fulfilled(condition.rule, end):
                    has_written |= edges.mark(self._layout, dep, child)
            if verdict is Verdict.DUE and isinstance(at[1], PendingName):
                require_log(self._layout, child)
                due = self._move(child, at, lifecycle.due(at[1], run_at_of(fields), now()))
                if due is None:
                    continue
                self._moved.append(Moved(child, due))
                edges.forget(self._layout, child, deps)
                self._forget(child)
                moved = moved and due
                break
            if not has_written:
                self._remember(child, ends)
                break
        if moved is not None:
            self._moved.append(Moved(child, moved))
            self._todo.append((child, moved))

    def _dependencies(self, child: str, fields: dict[str, Any]) -> tuple[Condition | None, list[str]]:
        return dependencies(self._layout, child, fields)

    def _ends(self, child: str, deps: list[str]) -> dict[str, End]:
        found = edges.edges_of(self._layout, child, deps)
        self.where.expect(dep for dep, is_marked in found.items() if not is_marked)
        ends = {}
        for dep in deps:
            if dep not in found:
                ends[dep] = End.LOST
            else:
                ends[dep] = End.FULFILLED if found[dep] else end_of(self.where.look(dep))
        return ends

    def _remember(self, child: str, ends: dict[str, End]) -> None:
        """What it waits for, that which will end last at the end."""
        waits = [dep for dep, end in ends.items() if end is End.OPEN]
        self._memory.waits[child] = sorted(waits, key=self.where.order)

    def _forget(self, child: str) -> None:
        self._memory.waits.pop(child, None)
        self._memory.causes.pop(child, None)

    # --- steps

    def _read(self, at: Place) -> dict[str, Any] | None:
        """The body's fields; none of a body that is invalid. None if the job has moved."""
        try:
            return body.decode(files.read(self._layout.job(*at)).data)
        except FileNotFoundError:
            return None
        except (OSError, QueuectlError):
            return {}

    def _move(self, child: str, at: Place, move: lifecycle.Move) -> Place | None:
        """Rename it; None if another was first."""
        if not files.move(self._layout.job(*at), self._layout.job(*move)):
            return None
        place = move.state, move.name
        self.where.note(child, place)
        return place

    def _bring_back(self, child: str, at: Place, name: FinishedName, fields: dict[str, Any]) -> Place | None:
        """Let a skipped job wait again; one with a key asks for that first, which a worker's beat does on its behalf,
        and stays where it is if another job has the key."""
        move = lifecycle.bring_back(name)
        content = None
        if fields.get("unique"):
            with suppress(QueuectlError):
                content = body.validate(fields)
        if content is not None and content.unique is not None:
            from queuectl.spool.moves import holders  # only jobs with a key need it

            if holders.find_holder(self._layout, content, child):
                return at
            assert isinstance(move.name, PendingName)
            move = lifecycle.ask(move.name)
        return self._move(child, at, move)

    def _skip(self, child: str, at: Place, target: State, cause: str) -> Place | None:
        assert isinstance(at[1], PendingName | FinishedName)
        place = self._move(child, at, lifecycle.skip(at[1], target, now()))
        if place is None:
            return None
        self._memory.causes[child] = cause
        self._moved.append(Moved(child, place, cause))
        self._todo.append((child, place))
        with suppress(OSError):
            log = logs.open_existing(self._layout.log(child))
            try:
                logs.append_note(log, "note", f"skipped_at={format_rfc3339(now())} because={cause or '-'}")
            finally:
                os.close(log)
        return place


def dependencies(layout: Layout, child: str, fields: dict[str, Any]) -> tuple[Condition | None, list[str]]:
    """The condition of a child, and all that it waits for, also what it lacks an edge to.

    What a group stood for is known by the edges alone: if there are fewer than were made, the group itself is among
    what it lacks. A job without a condition in its body may have edges that were made by hand. None: it has neither.
    """
    condition = condition_of(fields)
    if condition is None:
        found = [*edges.edges_of(layout, child)]
        return (Condition(Rule.AFTER, tuple(found)), found) if found else (None, [])
    if not condition.groups:
        return condition, [*condition.ids]
    deps = [*condition.ids]
    lacking: list[str] = []
    known = {*deps}
    for group in condition.groups:
        within = [dep for dep in edges.dependencies(layout) if groups.is_in(dep, group) and dep not in known]
        there = [*edges.edges_of(layout, child, within)]
        known.update(there)
        deps += there
        if not there and not any(groups.is_in(dep, group) for dep in deps):
            lacking.append(f"{group}.")
    if deps:
        number = max(edges.hint(layout, deps[0], child).number, edges.hint(layout, f"{deps[0]}", f"{child}+").number)
        if number > len(deps):
            lacking = [f"{group}." for group in condition.groups]
        elif number == len(deps):
            lacking = []  # of a group that was gone when they were made there are none
    return condition, deps + lacking


def require_log(layout: Layout, child: str) -> None:
    """Give a job that is about to be due a log, if it has none, as in a backup.

    RACE: without one it would pass for a dropped file, which waits, and its edges would be made again while they are
    removed here (tests/spool/moves/test_dependents.py).
    """
    if files.is_gone(layout.log(child)):
        os.close(logs.open_log(layout.log(child)))


def is_waiting(name: Name) -> bool:
    """Whether that is the name of a job that waits for others."""
    return isinstance(name, PendingName) and name.is_waiting


def is_skipped(name: Name) -> bool:
    return isinstance(name, FinishedName) and name.result.is_skipped


def _is_movable(at: Place) -> bool:
    return is_waiting(at[1]) or is_skipped(at[1])


def cause_of(rule: Rule, ends: dict[str, End]) -> str:
    """The job to name as the cause of a skip: one that is dead or gone before one that was skipped."""
    if rule is Rule.AFTER_FAILED:
        return next(iter(ends), "")
    bad = [dep for dep, end in ends.items() if is_impossible(rule, end)]
    return next((dep for dep in bad if ends[dep] is not End.SKIPPED_DONE), bad[0] if bad else "")


def run_at_of(fields: Mapping[str, Any]) -> Any:
    """The time that a body asks for."""
    with suppress(ValueError, TypeError, OverflowError):
        return parse_instant(fields["run_at"]) if fields.get("run_at") else None
    return None
