"""Several hosts that share a spool: which of them lives, and what the others may do with the jobs of one that does not.

    running/K.W   attempt K under worker W: A and a are on host A, B and C on hosts of their own
    pending/K     the job after K attempts, done/K and dead/K likewise
    alive/KA      the processes of attempt K on host A; line/KA its end line, which its shell writes; lost/K a verdict
    beat/N        what workers of host A rename again and again, gone/A what it is renamed to by others
    left/A        what the last worker of host A renames its beat to; it may be removed
    up/A          host A runs; stop/W, stop/job, ended/W: that worker, or what runs there, is stopped, has ended
    held/life=B   host B lives; when it dies, that it is gone is known at once

One `yield` is one system call that others can see. The steps are those of queuectl/spool/system/beats.py, of `take` in
queuectl/spool/upkeep/rescue.py, and of queuectl/work/hosts.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tests.model.interleavings import Actor, Asks, Files, Model, Program, Step, do, rename

RENEWALS, ATTEMPTS = 2, 3
JOINED = 10  # stands for a number and a name that no beat had before
Ways = list[tuple[Files, object]]


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    beat: str = "name"  # renewing and `gone` rename one file, so one of them fails; or a counter in a file's "content"
    gone: str = "seen"  # what is renamed is the beat that was seen twice; or "any" that is there, by then
    take: str = "own name"  # what is taken goes to one's own name in running/ first; or "directly" to where it ends
    stays: bool = True  # whatever is under the name of a host that is gone is taken; or what was there when it was said
    ends: bool = True  # who finds the own host gone ends what runs there and says so in the log, before anything else
    clears: str = "left"  # a mark that says `left` is removed after a time; or one that says `gone` is, "too"
    joins: str = "own name"  # who finds no mark makes one with its own name in it; or one that was there "before"


def counter(files: Files) -> int:
    return next((int(n[5:]) for n in files if n.startswith("beat/")), -1)


def place(files: Files, head: str, tail: str = "") -> str | None:
    return next((n for n in sorted(files) if n.startswith(head) and n.endswith(tail)), None)


def of_a(files: Files) -> str | None:
    """An attempt under a worker of host A."""
    return place(files, "running/", ".A") or place(files, "running/", ".a")


def to_take(files: Files) -> str | None:
    """An attempt under a worker of a host that is gone."""
    dead = (place(files, "running/", f".{host}") for host in "BC" if f"held/life={host}" not in files)
    mine = of_a(files) if "gone/A" in files else None
    return mine if mine and f"late/{mine}" not in files else next((name for name in dead if name), None)


def is_up(files: Files, who: str) -> bool:
    return "up/A" in files and not {f"stop/{who}", f"ended/{who}"} & files


def a(me: str, text: str, change: Callable[[Files], Ways]) -> Step:
    """A step on host A: none while that process is stopped or has ended, or the host is dead."""
    return Step(text, lambda files: change(files) if is_up(files, me) else [])


def move_a(me: str, source: str, target: str) -> Step:
    return a(me, f"rename {source} -> {target}", lambda files: [moved(files, source, target)])


def moved(files: Files, source: str, target: str) -> tuple[Files, bool]:
    return (files - {source} | {target}, True) if source in files else (files, False)


def over(attempt: int, result: str) -> str:
    """Where an attempt goes that ended so."""
    return (
        f"done/{attempt}" if result == "exit0" else f"dead/{attempt}" if attempt == ATTEMPTS else f"pending/{attempt}"
    )


def started(files: Files, attempt: int, host: str) -> tuple[Files, None]:
    return with_overlap(files | {f"alive/{attempt}{host}"}), None


def with_overlap(files: Files) -> Files:
    """Note that two attempts run at once."""
    frozen = {host for host in "BC" if f"held/life={host}" not in files} | ({"A"} if "stop/job" in files else set())
    running = [name for name in files if name.startswith("alive/") and name[-1] not in frozen]
    return files | {"was/twice"} if len(running) > 1 else files


# --- host A


def later_worker_a(me: str, rules: Rules) -> Program:
    """One that begins when all others of the host have left."""
    yield a(me, "begin", lambda files: [(files, None)] if "ended/A" in files else [])
    yield from worker_a(me, rules)


def join(files: Files, me: str, rules: Rules) -> Ways:
    """A mark for a host that has none, or has left: the numbers begin again."""
    number = JOINED if rules.joins == "own name" else 0
    back = {"was/back"} if "was/gone" in files else set()
    return [(files - {"left/A"} | {f"beat/{number}", "was/renewed"} | back, None)]


def worker_a(me: str, rules: Rules) -> Program:
    while True:
        what = yield a(me, "next", lambda files: next_of_a(files, me, rules))
        if what == "gone":
            break
        if what == "renew":
            yield from renew(me, rules)
        elif what == "settle":
            yield a(me, "settle", lambda files: settle_a(files, me))
        elif what == "adopt":
            name = yield a(me, "list running/", lambda files: [(files, place(files, "running/", ".A"))])
            if name is not None:
                yield move_a(me, name, name.replace(".A", f".{me}"))
            name = None
        elif what == "claim":
            yield from claim_a(me, rules)
        elif what == "join":
            yield a(
                me, "join: make a beat", lambda files: join(files, me, rules) if is_bare(files) else [(files, None)]
            )
        elif what == "leave":
            has_left = yield a(me, "leave: rename the beat", leave)
            if has_left:
                break
            has_left = None
        what = None
    if what == "gone" and rules.ends:
        yield a(me, "end what runs on a host that is gone, and say so", end_and_say)
    yield a(me, "end", lambda files: [(files | {f"ended/{me}"}, None)])


def next_of_a(files: Files, me: str, rules: Rules) -> Ways:
    if "gone/A" in files:
        return [(files, "gone")]
    if is_bare(files):
        return [(files, "join")]
    mine, alive = place(files, "running/", f".{me}"), place(files, "alive/", "A")
    ways = []
    if counter(files) < RENEWALS:
        ways.append("renew")
    elif me == "A" and "may/leave" in files and not (of_a(files) or alive):
        ways.append("leave")
    if mine and not alive:
        ways.append("settle")
    if me == "a" and "ended/A" in files and place(files, "running/", ".A"):
        ways.append("adopt")
    if not of_a(files) and not alive and place(files, "pending/"):
        ways.append("claim")
    return [(files, way) for way in ways]


def is_bare(files: Files) -> bool:
    """Whether host A has no mark but one that says that it has left."""
    return place(files, "beat/") is None and "gone/A" not in files


def leave(files: Files) -> Ways:
    """The last worker of the host, under the lock of the host's memory."""
    name = place(files, "beat/")
    return [(files, False)] if name is None or of_a(files) else [moved(files, name, "left/A")]


def renew(me: str, rules: Rules) -> Asks[None]:
    n = yield a(me, "list the beat", lambda files: [(files, counter(files))])
    if rules.beat == "name":
        yield a(me, f"rename beat/{n} -> beat/{n + 1}", lambda files: [renewed(files, n)])
    else:
        yield a(me, f"write {n + 1} into the beat", lambda files: [(renewed(files, counter(files))[0], True)])


def renewed(files: Files, n: int) -> tuple[Files, bool]:
    after, is_done = moved(files, f"beat/{n}", f"beat/{n + 1}")
    return (after | {"was/renewed"} if is_done else after), is_done


def settle_a(files: Files, me: str) -> Ways:
    mine = place(files, "running/", f".{me}")
    if mine is None or place(files, "alive/", "A"):
        return [(files, False)]
    attempt = int(mine[8])
    return [settled(files, mine, over(attempt, "exit0" if f"line/{attempt}A" in files else "lost"), attempt)]


def claimed(files: Files, source: str, attempt: int, me: str, rules: Rules) -> tuple[Files, bool]:
    target = f"running/{attempt}.{me}"
    after, is_mine = moved(files, source, target)
    return (after | {f"late/{target}"} if is_mine and "gone/A" in files and not rules.stays else after), is_mine


def claim_a(me: str, rules: Rules) -> Asks[None]:
    name = yield a(me, "list pending/", lambda files: [(files, place(files, "pending/"))])
    if name is None:
        return
    attempt = int(name[8]) + 1
    is_mine = yield a(me, f"claim attempt {attempt}", lambda files: [claimed(files, name, attempt, me, rules)])
    if is_mine:
        yield a(me, f"start attempt {attempt}", lambda files: [started(files, attempt, "A")])


def end_and_say(files: Files) -> Ways:
    left = frozenset(name for name in files if not (name.startswith("alive/") and name.endswith("A")))
    return [(left | ({"said/it ran on"} if left != files else set()), None)]


def shell_a() -> Program:
    """The job on A and its shell: it may end at any time, or never."""
    while True:
        alive = yield a("job", "a shell on A writes its end line", write_line)
        yield end_of_shell(alive)
        alive = None


def end_of_shell(alive: str) -> Step:
    return a("job", "and ends", lambda files: [(files - {alive}, None)])


def write_line(files: Files) -> Ways:
    running = (name for name in sorted(files) if name.startswith("alive/") and name.endswith("A"))
    return [(files | {f"line/{name[6:]}"}, name) for name in running if f"line/{name[6:]}" not in files]


# --- the other hosts


def worker_b(me: str, rules: Rules) -> Program:
    while True:
        what = yield Step("next", next_of_b)
        if what == "take":
            yield from take(me, rules)
        else:
            yield from run(me)
        what = None


def next_of_b(files: Files) -> Ways:
    is_free = {"take": to_take(files), "claim": place(files, "pending/")}
    return [(files, way) for way, name in is_free.items() if name]


def take(me: str, rules: Rules) -> Asks[None]:
    """First to a name that only this worker could choose; then judge, then settle."""
    name = yield Step("list running/", lambda files: [(files, to_take(files))])
    if name is None:
        return
    attempt, mine = int(name[8]), f"running/{name[8]}.{me}"
    source, is_mine = name, True
    if rules.take == "own name":
        is_mine, source = (yield rename(name, mine)), mine
    if is_mine:
        has_line = yield do("read the logs", lambda files: (files, any(f"line/{attempt}{h}" in files for h in "ABC")))
        target = over(attempt, "exit0" if has_line else "lost")
        had = yield Step(f"rename {source} -> {target}", lambda files: [settled(files, source, target, attempt)])
        if had:
            yield do("write its end into the log, ring the hooks", lambda files: (ring(files, attempt), None))


def ring(files: Files, attempt: int) -> Files:
    return files | ({"was/rung twice"} if f"rung/{attempt}" in files else {f"rung/{attempt}"})


def settled(files: Files, source: str, target: str, attempt: int) -> tuple[Files, bool]:
    """Two hosts that rename one file to one name have both done it."""
    if source not in files and target in files:
        return files, True
    after, had = moved(files, source, target)
    return (after | {f"lost/{attempt}"} if had and not target.startswith("done/") else after), had


def run(me: str) -> Asks[None]:
    name = yield Step("list pending/", lambda files: [(files, place(files, "pending/"))])
    if name is None:
        return
    attempt = int(name[8]) + 1
    is_mine = yield rename(name, f"running/{attempt}.{me}")
    if is_mine:
        yield Step(f"start attempt {attempt}", lambda files: [started(files, attempt, me)])
        yield do(f"attempt {attempt} ends", lambda f: (f - {f"alive/{attempt}{me}"} | {f"line/{attempt}{me}"}, None))
        yield rename(f"running/{attempt}.{me}", f"done/{attempt}")


# --- what none of them decides


def trouble(what: str, workers: str) -> Program:
    """Workers alone are `stopped`, or all of the host, its jobs too (`suspended`); `kill -9` of the worker A; `power`:
    the host's death."""
    if what == "power":
        yield do("host A DIES", lambda files: (end_and_say(files)[0][0] - {"up/A", "said/it ran on"}, None))
    elif what == "kill -9":
        yield do("worker A is KILLED", lambda files: (files | {"ended/A"}, None))
    else:
        names = frozenset({*(f"stop/{w}" for w in workers), *({"stop/job"} if what == "suspended" else ())})
        yield do(f"host A: {what}", lambda files: (files | names, None))
        yield do("host A continues", lambda files: (with_overlap(files - names), None))


def pruner(rules: Rules) -> Program:
    """Removes marks of which nothing is expected any more."""
    while True:
        yield Step("PRUNE: remove a mark", lambda files: cleared(files, rules))


def cleared(files: Files, rules: Rules) -> Ways:
    names = {"left/A"} | ({"gone/A"} if rules.clears == "too" and of_a(files) is None else set())
    return [(files - {name}, None) for name in sorted(names & files)]


def operator(rules: Rules, *, wrongly: bool) -> Program:
    """Looks at the beat twice, and says gone if it has not moved. It may have, and the host may live."""
    while True:
        first = yield Step("OPERATOR: look", lambda files: look(files, wrongly=wrongly))
        second = yield do("OPERATOR: look again", lambda files: (files - {"was/renewed"}, counter(files)))
        if first == second >= 0:
            yield say_gone(first, rules)
        first = second = None


def look(files: Files, *, wrongly: bool) -> Ways:
    return [(files, counter(files))] if (wrongly or "up/A" not in files) and place(files, "beat/") else []


def say_gone(seen: int, rules: Rules) -> Step:
    def gone(files: Files) -> tuple[Files, None]:
        beat = place(files, "beat/")
        if beat is None or (rules.beat == "name" and rules.gone == "seen" and beat != f"beat/{seen}"):
            return files, None
        said = {"gone/A", "was/gone"} | ({"said/false gone"} if "up/A" in files else set())
        return files - {beat} | said | ({"was/gone though it moved"} if "was/renewed" in files else set()), None

    return do("OPERATOR: gone A", gone)


# --- what must hold


def wrong(files: Files) -> str | None:
    if sum(name.startswith(("pending/", "running/", "done/", "dead/")) for name in files) != 1:
        return "the job is not one file"
    if "was/twice" in files and "said/false gone" not in files:
        return "two attempts run at once, and nobody said a false gone"
    if "was/back" in files:
        return "a host that was said to be gone works on under its old name"
    if "was/gone though it moved" in files:
        return "gone was said although the beat had moved"
    if any(f"lost/{k}" in files and f"done/{k}" in files for k in range(1, ATTEMPTS + 1)):
        return "a verdict was replaced"
    if "was/rung twice" in files:
        return "two hosts have both settled it"
    return None


def is_over(files: Files) -> bool:
    """Ended, nothing runs, and if two attempts ran at once this is in the log (unless the host that knew has died)."""
    dead = {host for host in "BC" if f"held/life={host}" not in files}
    runs = any(name.startswith("alive/") and name[-1] not in dead for name in files)
    has_ended = any(name.startswith(("done/", "dead/")) for name in files) and not runs
    is_said = "was/twice" not in files or "up/A" not in files or bool({"said/it ran on", "line/1A", "line/2A"} & files)
    return has_ended and is_said and not any(name.startswith("stop/") for name in files)


def model(
    name: str, rules: Rules, *troubles: str, gone: str = "never", here: str = "A", there: str = "B", job: str = "ends",
    may_leave: bool = False, is_pending: bool = False, crashes: int = 0, is_pruned: bool = False, later: str = "",
) -> Model:  # fmt: skip
    """`gone`: whether the operator says it "never", "rightly" (of a host that has died) or "wrongly" too."""
    job_files = {"pending/0"} if is_pending else {"running/1.A", "alive/1A"}
    files = {"up/A", "beat/0", *job_files, *(f"held/life={w}" for w in there)}
    if may_leave:
        files.add("may/leave")
    actors = [Actor(w, partial(worker_a, w, rules), may_crash=False) for w in here]
    actors += [Actor(w, partial(later_worker_a, w, rules), may_crash=False) for w in later]
    if is_pruned:
        actors.append(Actor("pruner", lambda: pruner(rules), may_crash=False))
    actors += [Actor(w, partial(worker_b, w, rules), may_crash=w == "B") for w in there]
    actors += [Actor("trouble", partial(trouble, what, here), may_crash=False) for what in troubles]
    if job == "ends":
        actors.append(Actor("job", shell_a, may_crash=False))
    if gone != "never":
        actors.append(Actor("operator", lambda: operator(rules, wrongly=gone == "wrongly"), may_crash=False))
    return Model(f"hosts: {name}", files, tuple(actors), wrong, is_over, crashes)
