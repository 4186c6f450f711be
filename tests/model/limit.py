"""`groups/G/limit`: claim, list running/ twice, and who gives back. Each worker starts one job of the group.

    running/TIME-WORKER-JOB    a claim; TIME is what the worker's clock said before the rename, which may be anything
    was/JOB                    its command has been started

A listing takes two steps, and may or may not show what came or went between them. So an adoption, which renames a
job in running/, can hide it from one listing. A crash leaves what it leaves; a rescuer gives back what was not
started and adopts what was. Not modelled: clocks, so "a second" is any time at all, and cancelled jobs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.interleavings import Actor, Asks, Files, Model, Program, Step, choose, create, do, rename, until


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    looks_first: bool = True  # who sees the group full does not claim
    counts_again: bool = True  # listed again after the claim, or only before it
    agrees: bool = True  # two listings that show the same, or one
    all_must_fit: bool = True  # a job starts once no more than the limit are there, or if it is among the first
    first_waits: bool = True  # those among the first list again, or give back as the others do
    gives_up: bool = False  # after a second the first give back too


def _running(files: Files) -> tuple[str, ...]:
    return tuple(sorted(name for name in files if name.startswith("running/")))


def listing() -> Asks[Any]:
    """What a readdir of running/ shows, which is not one moment."""
    before = yield do("begin to list running/", lambda files: (files, _running(files)))
    return (yield Step("end of the listing", lambda files: [(files, seen) for seen in _shown(before, _running(files))]))


def _shown(before: tuple[str, ...], after: tuple[str, ...]) -> list[tuple[str, ...]]:
    kept = set(before) & set(after)
    shown = [kept]
    for name in sorted(set(before) ^ set(after)):
        shown += [names | {name} for names in shown]
    return [tuple(sorted(names)) for names in shown]


def _jobs(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({name.rsplit("-", 1)[1] for name in names}))


def worker(rules: Rules, me: str, limit: int) -> Program:
    """One job, as soon as the limit allows it."""
    while True:
        seen: Any = yield from listing()
        if len(seen) >= limit and rules.looks_first:
            yield until("running/ changes", lambda files: _running(files) != seen)  # noqa: B023 - asked at once
            seen = None
            continue
        time = yield choose(1, 2)
        name: Any = f"running/{time}-{me}-{me}"
        yield create(name)
        may_start: Any = (yield from _may_start(rules, name, limit)) if rules.counts_again else True
        if may_start is True:
            break
        yield rename(name, f"pending/{me}")
        yield until("one of the first has gone", lambda files: not set(may_start) <= files)  # noqa: B023
        seen = time = name = may_start = None
    yield create(f"was/{me}")
    yield Step("end", lambda files: [(_end(files, me), None)])


def _may_start(rules: Rules, name: str, limit: int) -> Asks[Any]:
    """True, or the names for one of which to wait until it has gone."""
    first: Any = yield from listing()
    while True:
        second: Any = (yield from listing()) if rules.agrees else first
        is_first: Any = name in second[:limit]
        if _jobs(first) != _jobs(second):
            first, second, is_first = second, None, None
            continue
        if len(second) <= limit or (is_first and not rules.all_must_fit):
            return True
        gives_up = rules.gives_up and (yield choose("list again", "give up")) == "give up"
        if not is_first or not rules.first_waits or gives_up:
            return tuple(n for n in (second if is_first else second[:limit]) if n != name)
        yield until("running/ changes", lambda files: _running(files) != second)  # noqa: B023 - asked at once
        first = second = is_first = gives_up = None
        first = yield from listing()


def _end(files: Files, job: str) -> Files:
    """The job ends, whoever runs it by now."""
    return frozenset(n for n in files if not (n.startswith("running/") and n.endswith(f"-{job}"))) | {f"done/{job}"}


def rescuer(me: str) -> Program:
    """A worker that finds others dead: it adopts what they had started and gives back what they had not."""
    while True:
        yield Step("rescue", lambda files: _rescue(files, me))


def _rescue(files: Files, me: str) -> list[tuple[Files, None]]:
    ways = []
    for name in _running(files):
        time, by, job = name[8:].split("-")
        if by != me and f"dead/{by}" in files:
            after = {f"running/{time}-{me}-{job}"} if f"was/{job}" in files else {f"pending/{job}"}
            ways.append((files - {name} | after, None))
    return ways


def killer(*workers: str) -> Program:
    """SIGKILL of a worker at any moment; its job runs on."""
    for victim in workers:
        yield create(f"dead/{victim}")


def mortal(program: Program, me: str) -> Program:
    """A program that takes no step once it is dead, but for the end of its job, which nobody's death prevents."""
    answer = None
    while True:
        try:
            step = program.send(answer)
        except StopIteration:
            return

        def ways(files: Files, step: Step = step) -> list[tuple[Files, Any]]:
            return [] if f"dead/{me}" in files and step.text != "end" else step.ways(files)

        answer = yield Step(step.text, ways)


def over(limit: int, workers: str) -> Any:
    def never(files: Files) -> str | None:
        under_way = [job for job in workers if f"was/{job}" in files and f"done/{job}" not in files]
        return "more jobs of the group run than its limit" if len(under_way) > limit else None

    return never


def model(
    name: str, rules: Rules, workers: str = "VW", limit: int = 1, *, dies: str = "", must_end: bool = True
) -> Model:
    def begin(me: str) -> Program:
        program = worker(rules, me, limit)
        return mortal(program, me) if me in dies else program

    actors = [Actor(me, lambda me=me: begin(me)) for me in workers]  # type: ignore[misc]
    if dies:
        actors += [Actor("rescuer", lambda: rescuer("R")), Actor("killer", lambda: killer(*dies))]
    living = [job for job in workers if job not in dies]

    def is_over(files: Files) -> bool:
        return all(f"done/{job}" in files for job in living)

    return Model(name, (), tuple(actors), over(limit, workers), is_over, 0, must_end=must_end and not dies)


BROKEN = (
    model("only a look before the claim", Rules(counts_again=False)),
    model("the first by name starts, whoever else is there", Rules(all_must_fit=False)),
    model("all that count too many give back, and claim again at once", Rules(first_waits=False, looks_first=False)),
    model("one listing after the claim", Rules(agrees=False), dies="V"),
)
SOUND = (
    model("two workers", Rules()),
    model("two workers, no look before the claim", Rules(looks_first=False)),
    model("two workers, the first give up after a second", Rules(gives_up=True), must_end=False),
    model("two workers, one is killed and its job adopted", Rules(), dies="V"),
)
LARGE = (model("three workers, two at once", Rules(), "VWX", limit=2),)
"""700,000 states: for `python -m tests.model` alone."""
