"""An explicit-state model checker: every state that a model can reach, breadth first.

A model is an initial state and a function from a state to the steps that may come next. A step is atomic; whatever
may be interleaved with anything else is a step of its own. States are hashable values and are compared whole, so no
two of them are ever taken for one. Nothing here is random and nothing depends on time: a run can be repeated.

The first trace found to a broken invariant is a shortest one. Nothing is explored behind a state that breaks one.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Generic, NamedTuple, TypeVar

S = TypeVar("S", bound=Hashable)


class Step(NamedTuple, Generic[S]):
    """One atomic step: who does what, and the state after it.

    `is_progress` separates the steps that come by themselves from those that need a fault or somebody's wish.
    """

    label: str
    state: S
    is_progress: bool = True


@dataclass(slots=True)
class Report:
    """What an exploration found; a trace is the labels of the steps from the initial state.

    `traces` has one for each broken invariant. `stuck` leads to a state from which progress alone reaches no goal.
    `is_complete` is False if the limit was hit: then what was not found may still be there.
    """

    states: int = 0
    steps: int = 0
    depth: int = 0
    is_complete: bool = True
    traces: dict[str, list[str]] = field(default_factory=dict)
    stuck: list[str] | None = None

    @property
    def broken(self) -> dict[str, list[str]]:
        """A trace to each broken invariant; `I6` is the one that progress reaches a goal."""
        return self.traces | ({"I6": self.stuck} if self.stuck is not None else {})

    @property
    def is_sound(self) -> bool:
        return self.is_complete and not self.broken


def explore(
    initial: S,
    steps: Callable[[S], Iterable[Step[S]]],
    broken: Callable[[S], str],
    *,
    is_goal: Callable[[S], bool] = lambda _: True,
    may_end: Callable[[S], bool] = lambda _: False,
    limit: int = 4_000_000,
    until: str = "",
) -> Report:
    """Visit every reachable state, `limit` at most; or stop at the first that breaks the invariant `until`.

    `broken` names the invariant that a state breaks, or is empty. From every other state a goal must be reachable
    by progress alone, unless that state `may_end` without one.
    """
    report = Report()
    numbers: dict[S, int] = {initial: 0}  # in the order in which they were found
    states: list[S] = [initial]
    parents, labels, depths = array("l", [0]), [""], array("l", [0])
    sources, targets = array("l"), array("l")  # the edges of progress
    goals = bytearray()

    def trace(number: int) -> list[str]:
        found = []
        while number:
            found.append(labels[number])
            number = parents[number]
        return found[::-1]

    for number, state in enumerate(states):  # which grows while this continues
        name = broken(state)
        goals.append(bool(name) or is_goal(state) or may_end(state))
        if name:
            report.traces.setdefault(name, trace(number))
            if name == until:
                report.is_complete = False
                break
            continue
        for step in steps(state):
            report.steps += 1
            target = numbers.setdefault(step.state, len(states))
            if target == len(states):
                if target >= limit:
                    del numbers[step.state]
                    report.is_complete = False
                    continue
                states.append(step.state)
                parents.append(number)
                labels.append(step.label)
                depths.append(depths[number] + 1)
            if step.is_progress:
                sources.append(number)
                targets.append(target)

    report.states, report.depth = len(states), depths[-1]
    if report.is_complete:
        _spread(goals, sources, targets)
        stuck = goals.find(0)
        report.stuck = None if stuck < 0 else trace(stuck)
    return report


def follow(initial: S, steps: Callable[[S], Iterable[Step[S]]], patterns: Iterable[str]) -> S:
    """The state behind the first steps whose labels match; raises LookupError where none does."""
    state = initial
    for pattern in patterns:
        options = list(steps(state))
        found = next((step.state for step in options if fnmatchcase(step.label, f"*{pattern}*")), None)
        if found is None:
            raise LookupError(f"no {pattern!r} among {[step.label for step in options]}")
        state = found
    return state


def _spread(goals: bytearray, sources: array[int], targets: array[int]) -> None:
    """Mark every state from which a marked one can be reached."""
    has_changed = True
    while has_changed:
        has_changed = False
        for source, target in zip(reversed(sources), reversed(targets), strict=True):
            if goals[target] and not goals[source]:
                goals[source] = has_changed = True
