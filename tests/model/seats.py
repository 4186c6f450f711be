"""`groups/G/seats` on one host: locks that running jobs hold, lists that change, nested groups, jobs that need several
seats, who hears that one is free, and who gets it.

    held/GROUP.K=W      the lock of a seat, of a worker that has not started its job
    seat/GROUP.K=JOB    the same lock once the job has inherited it, which outlives the worker
    run/JOB             a job under way
    rung/W              a worker has heard of a change and has not looked yet

Not modelled: the names of seats, of which a job gets any that are free, and time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.model.interleavings import Actor, Asks, Files, Model, Program, Step, do, until

_FREE = 9  # for nested groups, where the number of seats does not change


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    counts: str = "all"  # the seats that count: "all" that are held, or those "below" the limit
    turn: bool = True  # all are counted, and then as many as are needed are taken, under the lock `turn`
    order: str = "inner first"  # of nested groups, or "outer first"
    probes: bool = True  # look at all groups, opened for reading, before any seat is taken
    bell: bool = True  # closing a seat that was taken rings, whoever closes it
    unlocks: bool = True  # the worker unlocks the seat when it has settled the job: what is left behind has none
    all_or_nothing: bool = True  # seats that do not suffice are not kept
    reserves: bool = True  # what the first in line needs is not given to those behind it


def _taken(files: Files, group: str) -> set[int]:
    heads = (f"held/{group}.", f"seat/{group}.")
    return {int(name.split("=")[0].rsplit(".", 1)[1]) for name in files if name.startswith(heads)}


def _limit(files: Files, group: str) -> int:
    return next(int(name.rsplit("=", 1)[1]) for name in files if name.startswith(f"limit/{group}="))


def _mine(files: Files, me: str) -> set[str]:
    return {name for name in files if name.startswith("held/") and name.endswith(f"={me}")}


def _rung(workers: str, me: str = "") -> set[str]:
    return {f"rung/{worker}" for worker in workers if worker != me}


def _try_lock(group: str, seat: int, me: str) -> Step:
    def change(files: Files) -> tuple[Files, bool]:
        return (files, False) if seat in _taken(files, group) else (files | {f"held/{group}.{seat}={me}"}, True)

    return do(f"lock {group}/held/{seat}", change)


def _give_back(me: str, workers: str, *, rings: bool) -> Step:
    def change(files: Files) -> tuple[Files, bool]:
        mine = _mine(files, me)
        return files - mine | (_rung(workers, me) if rings and mine else set()), bool(mine)

    return do("give back", change)


def _lock_turn(me: str) -> Step:
    def ways(files: Files) -> list[tuple[Files, None]]:
        return [] if any("held/turn=" in name for name in files) else [(files | {f"held/turn={me}"}, None)]

    return Step("lock turn", ways)


def _take(rules: Rules, group: str, me: str, need: int = 1) -> Asks[int]:
    """The limit that was read, if as many seats of the group were had."""
    if rules.turn:
        yield _lock_turn(me)
    limit: Any = yield do(f"read {group}/seats", lambda files: (files, _limit(files, group)))
    got: Any = 0
    number: Any = 0
    if not rules.all_or_nothing:
        got = yield do("those kept", lambda files: (files, len(_mine(files, me) - {f"held/turn={me}"})))
    if rules.turn:
        number = yield do(f"count {group}/held", lambda files: (files, len(_taken(files, group))))
    for seat in tuple(range(limit)):
        if got < need and number + (need if rules.all_or_nothing else 1) <= limit:
            had: Any = yield _try_lock(group, seat, me)
            got, had = got + had, None
    if got and rules.counts == "all" and not rules.turn:
        number = yield do(f"count {group}/held", lambda files: (files, len(_taken(files, group))))
        got = got * (number <= limit)
    if rules.turn:
        yield do("unlock turn", lambda files: (files - {f"held/turn={me}"}, None))
    return int(limit) if got == need else 0


def _start(me: str, allowed: int) -> Step:
    def change(files: Files) -> tuple[Files, None]:
        mine = _mine(files, me)
        inherited = {name.replace("held/", "seat/").replace(f"={me}", f"=job {me}") for name in mine}
        after = files - mine | inherited | {f"run/job {me}"}
        over = sum(name.startswith("run/") for name in after) > max(allowed, _limit(files, "g"))
        return after | ({"was/over"} if over else set()), None

    return do(f"start job {me}", change)


def worker(rules: Rules, me: str, groups: tuple[str, ...], workers: str, need: int = 1) -> Program:
    """Starts one job of these groups (outermost first), as soon as all allow it. It needs so many seats of each."""
    order = groups if rules.order == "outer first" else groups[::-1]
    while True:
        yield do("clear bell", lambda files: (files - {f"rung/{me}"}, None))
        is_worth: Any = True
        if rules.probes:
            for group in groups:
                is_free: Any = yield do(
                    f"look at {group}",
                    lambda files: (files, len(_taken(files, group)) + need <= _limit(files, group)),  # noqa: B023
                )
                is_worth, is_free = is_worth and is_free, None
        got: Any = _FREE * is_worth
        for group in order:
            if got:
                got = yield from _take(rules, group, me, need)
        if got:
            break
        if rules.all_or_nothing:
            yield _give_back(me, workers, rings=rules.bell)
        yield until("the bell rings", lambda files: f"rung/{me}" in files)
    yield _start(me, got if len(groups) == 1 and need == 1 else _FREE)


def in_line(rules: Rules, me: str, workers: str) -> Program:
    """Goes along a line: first a job that needs both seats of g, then others, without end, that need one each."""
    while True:
        yield do("clear bell", lambda files: (files - {f"rung/{me}"}, None))
        is_there: Any = yield do("is the first pending?", lambda files: (files, "pending/first" in files))
        got: Any = (yield from _take(rules, "g", me, 2)) if is_there else 0
        if got:
            yield do("start the first", lambda files: (files - {"pending/first"} | {"was/first"}, None))
        elif not is_there or not rules.reserves:
            got = yield from _take(rules, "g", me, 1)
        if got:
            yield _give_back(me, workers, rings=True)  # the job ends
        else:
            yield until("the bell rings", lambda files: f"rung/{me}" in files)
        is_there = got = None


def job(rules: Rules, name: str, workers: str, ways: tuple[bool, ...] = (False,)) -> Program:
    """Its end, at any time, settled by its worker; where True is among the ways it may leave a daemon behind, which
    keeps the descriptors open."""

    def end(files: Files, leaves: bool) -> tuple[Files, None]:
        all_of_it = {seat for seat in files if seat.startswith("seat/") and seat.endswith(f"={name}")}
        seats = set() if leaves and not rules.unlocks else all_of_it
        return files - seats - {f"run/{name}"} | {f"was/{name} ended"} | _rung(workers), None

    yield Step(f"{name} ends", lambda files: [end(files, leaves) for leaves in ways] if f"run/{name}" in files else [])


def set_seats(group: str, *values: int) -> Program:
    for value in values:
        yield do(f"echo {value} > {group}/seats", lambda files: (_with_limit(files, group, value), None))  # noqa: B023


def _with_limit(files: Files, group: str, value: int) -> Files:
    others = frozenset(name for name in files if not name.startswith(f"limit/{group}="))
    return others | {f"limit/{group}={value}"} | _rung("VWX")


def never(files: Files) -> str | None:
    return "a job was started without a seat" if "was/over" in files else None


def all_ran(*jobs: str) -> Callable[[Files], bool]:
    return lambda files: all(f"was/job {job} ended" in files for job in jobs)


def changing(name: str, rules: Rules, limit: int, *values: int, crashes: int = 0, end: bool = False) -> Model:
    """Jobs P and Q hold seats 1 and 2 from when there were three; it may change more while V and W want to start."""
    names = (f"limit/g={limit}", "seat/g.1=P", "run/P", "seat/g.2=Q", "run/Q")
    rules = rules._replace(probes=False)
    actors = [Actor(w, lambda w=w: worker(rules, w, ("g",), "VW")) for w in "VW"]  # type: ignore[misc]
    ending = ("P", "Q", "job V", "job W")
    actors += [Actor(j, lambda j=j: job(rules, j, "VW"), may_crash=False) for j in ending]  # type: ignore[misc]
    if values:
        actors += [Actor("user", lambda: set_seats("g", *values), may_crash=False)]
    goal = (lambda _: True) if crashes else all_ran("V", "W")
    return Model(name, names, tuple(actors), never, goal, crashes, must_end=end)


def nested(name: str, rules: Rules, *, full: str, end: bool = False) -> Model:
    """`g` and `g.t` within it. V and W want `g.t`, X wants `g`; a job that keeps running holds the seats `full`."""
    of_t = ("limit/g=2", "limit/t=1", "run/Z", "seat/g.0=Z", "seat/t.0=Z")
    names = of_t if full == "t" else ("limit/g=1", "limit/t=1", "run/Z", "seat/g.0=Z")
    kinds = {"V": ("g", "t"), "X": ("g",)} if full == "t" else {"V": ("g", "t"), "W": ("g", "t")}
    workers = "".join(kinds)
    actors = [Actor(w, lambda w=w: worker(rules, w, kinds[w], workers)) for w in workers]  # type: ignore[misc]

    def is_quiet(files: Files) -> bool:
        return not any(name.startswith(("held/", "rung/")) for name in files)

    goal = (lambda files: "run/job X" in files) if full == "t" else is_quiet
    return Model(name, names, tuple(actors), never, goal, 0, must_end=end)


def leaking(name: str, rules: Rules) -> Model:
    actors = [Actor(w, lambda w=w: worker(rules, w, ("g",), "VW")) for w in "VW"]  # type: ignore[misc]
    ways = (False, True)
    actors += [
        Actor(f"job {w}", lambda w=w: job(rules, f"job {w}", "VW", ways), may_crash=False)  # type: ignore[misc]
        for w in "VW"
    ]
    return Model(name, ("limit/g=1",), tuple(actors), never, all_ran("V", "W"), 0)


def several(name: str, rules: Rules, seats: int, *, crashes: int = 0) -> Model:
    """V and W start a job each that needs two seats, of which P has one."""
    actors = [Actor(w, lambda w=w: worker(rules, w, ("g",), "VW", 2)) for w in "VW"]  # type: ignore[misc]
    ending = ("P", "job V", "job W")
    actors += [Actor(j, lambda j=j: job(rules, j, "VW"), may_crash=False) for j in ending]  # type: ignore[misc]

    def has_too_few(files: Files) -> str | None:
        short = [j for j in ending[1:] if f"run/{j}" in files and sum(name.endswith(f"={j}") for name in files) != 2]
        return "a job runs without all of its seats" if short else never(files)

    goal = (lambda _: True) if crashes else all_ran("V", "W")
    return Model(name, (f"limit/g={seats}", "seat/g.0=P", "run/P"), tuple(actors), has_too_few, goal, crashes)


def line(name: str, rules: Rules) -> Model:
    """V and W run small jobs without end, behind one that needs all seats; two that have begun hold them."""
    names = ("limit/g=2", "pending/first", "seat/g.0=P", "run/P", "seat/g.1=Q", "run/Q")
    actors = [Actor(w, lambda w=w: in_line(rules, w, "VW")) for w in "VW"]  # type: ignore[misc]
    actors += [Actor(j, lambda j=j: job(rules, j, "VW")) for j in "PQ"]  # type: ignore[misc]
    return Model(name, names, tuple(actors), never, lambda files: "was/first" in files, 0, must_end=True)


BROKEN = (
    changing("only those below a lowered number count", Rules(counts="below", turn=False), 2),
    changing("take, count, give back, each for itself", Rules(turn=False), 2, end=True),
    nested(
        "outer first, and giving back is silent", Rules(order="outer first", bell=False, probes=False, turn=False),
        full="t",
    ),
    nested("inner first, giving back rings, nobody looks first", Rules(probes=False, turn=False), full="g", end=True),
    leaking("a daemon left behind keeps the seat", Rules(unlocks=False)),
    several("each keeps the seats that it has had", Rules(all_or_nothing=False, probes=False), 2),
    line("those behind the first take what becomes free", Rules(reserves=False)),
)  # fmt: skip
SOUND = (
    changing("all that are held count, in turn", Rules(), 2, end=True),
    changing("two seats, then one, then three, crash", Rules(), 2, 1, 3, crashes=1),
    changing("two seats, then one, then three", Rules(), 2, 1, 3),
    nested("nested, looked at first, giving back rings", Rules(), full="t"),
    nested("nested, outer full: nobody goes round", Rules(), full="g", end=True),
    leaking("what a job leaves behind has no seat", Rules()),
    several("two seats for each, of three", Rules(), 3),
    several("two seats for each, of three, crash", Rules(), 3, crashes=1),
    line("the first in line reserves", Rules()),
)
