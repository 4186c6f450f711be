"""Schedules: tick T becomes the job `N.T`, once, whoever submits it, whatever prune removes or the clock says.

    log/T     the reserved id          held/T=W   its lock, while W submits it
    job/T     its job, in any state    was/T      it was submitted; twice/T: and again
    mark/T    ticks up to T are past   clock/T    the time
    file      the schedule is there

A job that is left out because another has not ended is published as any other, so it is the same step here. Not
modelled: a worker that remembers which ticks have jobs (it then tries fewer), and one that no longer waits for another
that has been submitting a tick for ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.model.interleavings import Actor, Files, Model, Program, Step, do


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    mark: str = "prune"  # who moves the mark on: "prune", before it removes; the "submit", after it; or "nobody"
    again: bool = True  # having reserved the id, a submitter looks at the mark again
    newest: str = "stays"  # prune leaves the newest tick of a schedule, or it "goes"
    catch_up: str = "all"  # or "last"
    looks_at_file: bool = True  # and then whether the schedule is still there
    removes: str = "file first"  # who removes a schedule removes the file and then the mark, or the "mark first"


def _jobs(files: Files) -> list[int]:
    return sorted(int(name[4:]) for name in files if name.startswith("job/"))


def _value(files: Files, what: str) -> int:
    return max((int(name.split("/")[1]) for name in files if name.startswith(f"{what}/")), default=0)


def _set_mark(tick: int) -> Step:
    def change(files: Files) -> tuple[Files, None]:
        if _value(files, "mark") >= tick:
            return files, None
        return frozenset(name for name in files if not name.startswith("mark/")) | {f"mark/{tick}"}, None

    return do(f"mark {tick}", change)


def _due(files: Files) -> list[int]:
    """Ticks that the clock has reached, later than the mark and than every one with a job that is not ahead of it."""
    now = _value(files, "clock")
    last = max([tick for tick in range(1, now + 1) if f"job/{tick}" in files], default=0)
    return [tick for tick in range(1, now + 1) if tick > max(last, _value(files, "mark"))] if "file" in files else []


def worker(rules: Rules, me: str) -> Program:
    """Submits whatever is due, one tick after the other."""
    while True:
        which = 0 if rules.catch_up == "all" else -1
        tick: Any = yield Step("which is due", lambda files: [(files, _due(files)[which])] if _due(files) else [])  # noqa: B023
        is_mine: Any = yield do(f"reserve log/{tick}", _reserve(tick, me))
        if is_mine:
            mark: Any = (yield do("look at the mark", _look_at_mark)) if rules.again else 0
            is_there: Any = (yield do("look at the file", _look_at_file)) if rules.looks_at_file else True
            if mark >= tick or not is_there:
                yield do(f"give up log/{tick}", lambda files: (files - {f"log/{tick}", f"held/{tick}={me}"}, None))  # noqa: B023
            else:
                yield do(f"publish job/{tick}", _publish(tick, me))
        if rules.mark == "submit":
            yield _set_mark(tick)
        tick = is_mine = mark = is_there = None


def _look_at_mark(files: Files) -> tuple[Files, int]:
    return files, _value(files, "mark")


def _look_at_file(files: Files) -> tuple[Files, bool]:
    return files, "file" in files


def _reserve(tick: int, me: str) -> Callable[[Files], tuple[Files, bool]]:
    """A log that no job has and nobody locks is free."""

    def change(files: Files) -> tuple[Files, bool]:
        is_left = f"job/{tick}" not in files and not any(name.startswith(f"held/{tick}=") for name in files)
        is_free = f"log/{tick}" not in files or is_left
        return (files | {f"log/{tick}", f"held/{tick}={me}"}, True) if is_free else (files, False)

    return change


def _publish(tick: int, me: str) -> Callable[[Files], tuple[Files, None]]:
    def change(files: Files) -> tuple[Files, None]:
        again = {f"twice/{tick}"} if f"was/{tick}" in files else set()
        return files - {f"held/{tick}={me}"} | {f"job/{tick}", f"was/{tick}"} | again, None

    return change


def prune(rules: Rules) -> Program:
    """Jobs end and are pruned at any time, but for the newest tick where the rules say so."""
    while True:
        end = -1 if rules.newest == "stays" else None
        tick: Any = yield Step("pick one to prune", lambda files: [(files, tick) for tick in _jobs(files)[:end]])  # noqa: B023
        if rules.mark == "prune":
            yield _set_mark(tick)
        yield do(f"remove job/{tick}", lambda files: (files - {f"job/{tick}"}, None))  # noqa: B023
        yield do(f"remove log/{tick}", _remove_log(tick))
        tick = None


def _remove_log(tick: int) -> Callable[[Files], tuple[Files, None]]:
    return lambda files: (files - {f"log/{tick}"} if f"job/{tick}" not in files else files, None)


def remover(rules: Rules) -> Program:
    """Somebody removes the schedule, with its mark; its jobs stay."""
    if rules.removes == "file first":
        yield do("remove the file", _remove_file)
    yield do("remove the mark", _remove_mark)
    if rules.removes != "file first":
        yield do("remove the file", _remove_file)


def _remove_file(files: Files) -> tuple[Files, None]:
    return files - {"file"}, None


def _remove_mark(files: Files) -> tuple[Files, None]:
    return frozenset(name for name in files if not name.startswith("mark/")), None


def clock(*values: int) -> Program:
    """What the clock shows, whoever sets it."""
    for time in values:
        yield do(f"the clock shows {time}", _set_clock(time))


def _set_clock(time: int) -> Callable[[Files], tuple[Files, None]]:
    return lambda files: (frozenset(name for name in files if not name.startswith("clock/")) | {f"clock/{time}"}, None)


def never(files: Files) -> str | None:
    """A tick is submitted once."""
    twice = sorted(name for name in files if name.startswith("twice/"))
    return f"tick {twice[0][6:]} was submitted twice" if twice else None


def model(
    name: str,
    rules: Rules,
    times: tuple[int, ...],
    *wanted: int,
    workers: str = "V",
    prunes: bool = True,
    removes: bool = False,
    crashes: int = 1,
) -> Model:
    """`wanted` are the ticks that must be submitted in the end; one worker, R, is always there."""
    actors = [Actor(each, lambda each=each: worker(rules, each)) for each in workers]  # type: ignore[misc]
    actors.append(Actor("R", lambda: worker(rules, "R"), may_crash=False))
    actors.append(Actor("clock", lambda: clock(*times), may_crash=False))
    if prunes:
        actors.append(Actor("prune", lambda: prune(rules)))
    if removes:
        actors.append(Actor("remover", lambda: remover(rules)))
    after = {f"was/{tick}" for tick in wanted}
    return Model(name, ("clock/0", "file"), tuple(actors), never, lambda files: after <= files, crashes)


AHEAD, BACK = (1, 4, 2, 3), (1, 2, 1, 2)  # somebody sets the clock ahead, and right again; back, and it goes on
LAST = Rules(catch_up="last")
BROKEN = (
    model("the id alone, and prune frees it", Rules("nobody", False, "goes"), (1,), workers="", crashes=0),
    model("the submitter marks after it has submitted", Rules("submit", False, "goes"), (1,)),
    model("a slow submitter does not look again", Rules("prune", False, "goes"), (1,), crashes=0),
    model("the last tick is the mark, and the clock was ahead", LAST._replace(mark="submit"), AHEAD, 3, workers="",
          prunes=False, crashes=0),
    model("prune marks the newest, and the clock was ahead", LAST._replace(newest="goes"), AHEAD, 3, workers="",
          crashes=0),
    model("a schedule is removed, and a slow submitter looks at the mark alone",
          Rules(newest="goes", looks_at_file=False), (1,), removes=True, crashes=0),
    model("a schedule is removed, the mark first", Rules(newest="goes", removes="mark first"), (1,), removes=True,
          crashes=0),
)  # fmt: skip
SOUND = (
    model("prune marks, all look again, 2 crashes", Rules(newest="goes"), (1, 2), 1, 2, crashes=2),
    model("three workers, crash", Rules(), (1, 2), 1, 2, workers="VW"),
    model("the clock was set back, crash", Rules(newest="goes"), BACK, 1, 2),
    model("the clock was ahead, crash", LAST, AHEAD, 3),
    model("a schedule is removed while others submit and prune, crash", Rules(newest="goes"), (1, 2), removes=True),
)
