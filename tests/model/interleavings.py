"""Search every interleaving of a few programs that share a directory tree, with crashes between any two steps.

A model is a set of names and some actors. Each actor is a generator that reads like the code it stands for and
yields one atomic step at a time (`create`, `rename`, `listing` ...); it is sent what the step returned. A state is
the names that exist plus the place of each actor. The search is breadth first, so the first trace found is a
shortest one.

Two kinds of promise are checked. `never` looks at each state alone. `finally_` must hold in some state that can
still be reached, without a crash, from every state: then nothing is stuck, provided that every actor that can act does.

An actor's place is known by its line and its local variables. For these to say everything: one `yield` in a
statement, loops over a named tuple without duplicates, and dictionaries that never change.
`search(model, merge=False)` trusts none of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

Files = frozenset[str]
Outcome = tuple[Files, Any]


class Step(NamedTuple):
    """One atomic step: what a trace calls it, and every way it can go. No way at all means: wait."""

    text: str
    ways: Callable[[Files], list[Outcome]]


Program = Generator[Step, Any, None]
Answer = TypeVar("Answer")
Asks = Generator[Step, Any, Answer]  # a part of a program that returns something
DONE, CRASHED = -1, -2


@dataclass(frozen=True)
class Actor:
    name: str
    program: Callable[[], Program]
    may_crash: bool = True


@dataclass(frozen=True)
class Model:
    """`never` says what is wrong with a state, or None. A crash drops the names `held/…=ACTOR` of its actor."""

    name: str
    files: Iterable[str]
    actors: tuple[Actor, ...]
    never: Callable[[Files], str | None]
    finally_: Callable[[Files], bool] = lambda _: True
    crashes: int = 1
    must_end: bool = False  # in addition, no actor can loop for ever without reaching `finally_`


class Report(NamedTuple):
    model: str
    states: int
    seconds: float
    fault: str | None
    trace: tuple[str, ...]


# --- the steps that programs are made of


def create(name: str) -> Step:
    """O_EXCL, link or mkdir: True if it was not there."""
    return Step(f"create {name}", lambda files: [(files | {name}, name not in files)])


def remove(name: str) -> Step:
    return Step(f"remove {name}", lambda files: [(files - {name}, name in files)])


def rename(source: str, target: str) -> Step:
    """True if the source was there; replaces the target."""
    return Step(
        f"rename {source} -> {target}",
        lambda files: [(files - {source} | {target}, True)] if source in files else [(files, False)],
    )


def exists(name: str) -> Step:
    return Step(f"look for {name}", lambda files: [(files, name in files)])


def listing(prefix: str) -> Step:
    """The names that begin so, as a sorted tuple, all seen at one moment."""
    return Step(f"list {prefix}*", lambda files: [(files, tuple(sorted(n for n in files if n.startswith(prefix))))])


def choose(*options: Hashable) -> Step:
    """Somebody's free choice, or an outcome that nobody controls."""
    return Step("choose", lambda files: [(files, option) for option in options])


def do(text: str, change: Callable[[Files], Outcome]) -> Step:
    """Any other step that is atomic."""
    return Step(text, lambda files: [change(files)])


def until(text: str, condition: Callable[[Files], bool]) -> Step:
    return Step(f"wait until {text}", lambda files: [(files, None)] if condition(files) else [])


# --- the search


class _Space:
    """Numbers for states of programs and sets of names, and what follows from what, each worked out once."""

    def __init__(self, model: Model, merge: bool) -> None:
        self.actors, self._merge = model.actors, merge
        self.files: list[Files] = []
        self._file_ids: dict[Files, int] = {}
        self._histories: list[list[tuple[Any, ...]]] = [[] for _ in model.actors]
        self._steps: list[list[Step]] = [[] for _ in model.actors]
        self._ids: list[dict[Hashable, int]] = [{} for _ in model.actors]
        self._known: dict[tuple[int, int, int], list[tuple[str, int, int]]] = {}

    def number(self, files: Files) -> int:
        if files not in self._file_ids:
            self._file_ids[files] = len(self.files)
            self.files.append(files)
        return self._file_ids[files]

    def place(self, actor: int, history: tuple[Any, ...]) -> int:
        """The place of an actor after it was sent these results; DONE at its end."""
        program = self.actors[actor].program()
        try:
            step = next(program)
            for result in history:
                step = program.send(result)
        except StopIteration:
            return DONE
        key: Hashable = _fingerprint(program) if self._merge else history
        ids = self._ids[actor]
        if key not in ids:
            ids[key] = len(ids)
            self._histories[actor].append(history)
            self._steps[actor].append(step)
        return ids[key]

    def follow(self, actor: int, place: int, files: int) -> list[tuple[str, int, int]]:
        """The steps of one actor from here: (text, files, place)."""
        key = actor, place, files
        if key not in self._known:
            step, history = self._steps[actor][place], self._histories[actor][place]
            ways = step.ways(self.files[files])
            self._known[key] = [
                (_text(step, result, len(ways)), self.number(after), self.place(actor, (*history, result)))
                for after, result in ways
            ]
        return self._known[key]


def _fingerprint(program: Any) -> Hashable:
    parts = []
    while program is not None and hasattr(program, "gi_frame"):
        frame = program.gi_frame
        values = ((k, v) for k, v in frame.f_locals.items() if not (hasattr(v, "gi_frame") or isinstance(v, dict)))
        parts.append((frame.f_code.co_name, frame.f_lasti, tuple(sorted(values, key=lambda item: item[0]))))
        program = program.gi_yieldfrom
    return tuple(parts)


def _text(step: Step, result: Any, ways: int) -> str:
    if step.text == "choose":
        return f"choose {result}"
    shown = "" if result is None or result is True else "  (no)" if result is False else f"  = {result}"
    return step.text + shown


State = tuple[int, ...]  # files, the actors' places, crashes left


class _Search:
    """The states found so far, and how each was come to."""

    def __init__(self, model: Model, merge: bool) -> None:
        self.model = model
        self._space = _Space(model, merge)
        places = (self._space.place(number, ()) for number in range(len(model.actors)))
        self.first: State = (self._space.number(frozenset(model.files)), *places, model.crashes)
        self.came_from: dict[State, tuple[State, str] | None] = {self.first: None}
        self.before: dict[State, list[State]] = {}
        self.good: list[State] = []

    def find_wrong(self, most: int) -> tuple[str, State | None] | None:
        """The first state, breadth first, that must not be; None once all are seen."""
        queue = deque([self.first])
        while queue:
            state = queue.popleft()
            files = self._space.files[state[0]]
            if (wrong := self.model.never(files)) is not None:
                return wrong, state
            if self.model.finally_(files):
                self.good.append(state)
            for following, text in (*self._steps(state), *self._crashes(state, files)):
                if following not in self.came_from:
                    self.came_from[following] = state, text
                    queue.append(following)
            if len(self.came_from) > most:
                return f"unfinished: more than {most} states", None
        return None

    def _steps(self, state: State) -> Iterator[tuple[State, str]]:
        for index, actor in enumerate(self.model.actors):
            place = state[1 + index]
            for text, after, there in self._space.follow(index, place, state[0]) if place >= 0 else ():
                following = (after, *state[1 : 1 + index], there, *state[2 + index :])
                if following != state:
                    self.before.setdefault(following, []).append(state)
                yield following, f"{actor.name}: {text}"

    def _crashes(self, state: State, files: Files) -> Iterator[tuple[State, str]]:
        for index, actor in enumerate(self.model.actors):
            if actor.may_crash and state[-1] and state[1 + index] >= 0:
                left = frozenset(n for n in files if not (n.startswith("held/") and n.endswith(f"={actor.name}")))
                places = (*state[1 : 1 + index], CRASHED, *state[2 + index : -1])
                yield (self._space.number(left), *places, state[-1] - 1), f"{actor.name}: CRASH"

    def find_stuck(self) -> State | None:
        """The first state from which nothing that anybody does leads to a good one."""
        reached, todo = set(self.good), list(self.good)
        while todo:
            for state in self.before.get(todo.pop(), ()):
                if state not in reached:
                    reached.add(state)
                    todo.append(state)
        return next((state for state in self.came_from if state not in reached), None)

    def trace(self, state: State | None) -> tuple[str, ...]:
        texts: list[str] = []
        while state is not None and (link := self.came_from[state]) is not None:
            state = link[0]
            texts.append(link[1])
        return tuple(reversed(texts))


def search(model: Model, *, most: int = 3_000_000, merge: bool = True) -> Report:
    """All states within `most`; the first fault with a shortest trace to it."""
    began = time.monotonic()
    found = _Search(model, merge)
    wrong = found.find_wrong(most)
    if wrong is None and (state := found.find_stuck()) is not None:
        wrong = "stuck: from here nothing that anybody does reaches the end", state
    if wrong is None and model.must_end and (state := _endless(found.came_from, found.before, set(found.good))):
        wrong = "livelock: from here the actors can go round for ever", state
    fault, where = wrong or (None, None)
    return Report(model.name, len(found.came_from), time.monotonic() - began, fault, found.trace(where))


def _endless(states: Iterable[State], before: dict[State, list[State]], good: set[State]) -> State | None:
    """A state on a cycle that avoids the good ones: what is left when states without a successor are taken away."""
    bad = [state for state in states if state not in good]
    out = dict.fromkeys(bad, 0)
    for state in bad:
        for earlier in before.get(state, ()):
            if earlier in out:
                out[earlier] += 1
    todo = [state for state in bad if not out[state]]
    while todo:
        for earlier in before.get(todo.pop(), ()):
            if earlier in out:
                out[earlier] -= 1
                if not out[earlier]:
                    todo.append(earlier)
    return next((state for state in bad if out[state]), None)


def show(report: Report) -> str:
    head = f"{report.model}: {report.fault or 'holds'} ({report.states:,} states, {report.seconds:.1f} s)"
    return "\n".join([head, *(f"   {number:2}. {text}" for number, text in enumerate(report.trace, 1))])
