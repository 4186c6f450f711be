"""The drop box: a stranger's file becomes one job, or one dead letter, in spite of crashes, other workers and prune.

    inbox/F     a file; its owner may have put something else in its place, another file `:new`, or a `:dir`
    taken/ID    what a worker took away, the id of its job already in the name
    log/ID      reserves the id while held/ID=WORKER is there, which is gone when that worker dies
    job/ID, dead/ID=WORKER    what it became; the name of a dead letter holds a time, so two do not meet
    was/F       notes that it has become something, twice/F that it has again

The steps are those of `take` and `finish` in queuectl/spool/moves/take.py and of `delete` in
queuectl/spool/moves/prune.py; one `yield` is one system call that others can see. Not modelled: power cuts (what is
published is durable before the taken file goes), and several files at once, which share nothing but the listing.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.model.interleavings import Actor, Asks, Files, Model, Program, Step, do, exists, remove, rename

BAD = "B"
"""The file that is not a job."""


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    id: str = "taken"  # the job's id is chosen when the file is "taken", or when it is "submitted"
    looks_again: bool = True  # having reserved the id, look whether the taken file is still there
    prune_looks: bool = True  # prune leaves jobs whose taken file is still there
    place: str = "taken"  # or "tmp", which is cleared of what is a day old
    publishes_first: bool = True  # and then removes the taken file
    leaves_reserved: bool = True  # to the process at work on it; else the taken file of a reserved id is removed
    refuses_reserved: bool = True  # a dead letter is made under a reservation as a job is
    compares: bool = True  # what was renamed with what was looked at
    judges: bool = True  # a finisher also looks at what it is
    gives_back_reserved: bool = True  # what is put back into inbox/ is under a reservation, so nobody makes a job of it


def worker(rules: Rules, me: str) -> Program:
    """Takes files, and finishes what it or another has begun; nobody asks who that was."""
    while True:
        found = yield Step("look into inbox/ and taken/", _see)
        if found.startswith("taken/"):
            yield from finish(rules, found, me)
        else:
            yield from take(rules, found, me)
        found = None


def _see(files: Files) -> list[tuple[Files, str]]:
    names = [name for name in sorted(files) if name.startswith(("inbox/", "taken/"))]
    return [(files, name) for name in names if not (name.startswith("inbox/") and name.endswith(":dir"))]


def take(rules: Rules, found: str, me: str) -> Asks[None]:
    """Look at the file, rename whatever has its name by then, and see whether that is the same."""
    name = f"taken/{_file_of(found)}.{me}"
    moved = yield do(f"rename {found} -> {name}", lambda files: _move(files, found, name))
    if moved and moved != found and rules.compares:
        yield from give_back(rules, name + _kind_of(moved), me)
    elif moved:
        yield from finish(rules, name + _kind_of(moved), me)


def _move(files: Files, found: str, name: str) -> tuple[Files, str]:
    place = found.partition(":")[0]
    there = next((other for other in (place, f"{place}:new", f"{place}:dir") if other in files), "")
    return (files - {there} | {name + _kind_of(there)} if there else files), there


def give_back(rules: Rules, name: str, me: str) -> Asks[None]:
    id, back = name[6:], f"inbox/{_file_of(name)}{_kind_of(name)}"
    if not rules.gives_back_reserved:
        yield rename(name, back)
        return
    answer = yield do(f"reserve log/{id}", lambda files: _reserve(files, id, me))
    if answer == "ours":
        yield rename(name, back)
        yield do(f"give up log/{id}", lambda files: (files - {f"log/{id}", f"held/{id}={me}"}, None))


def finish(rules: Rules, name: str, me: str) -> Asks[None]:
    data = yield exists(name)  # its bytes, read once
    if not data:
        return
    if name.endswith(":dir") and rules.judges:
        yield from give_back(rules, name, me)
        return
    id = name[6:] if rules.id == "taken" else f"{_file_of(name)}.{me}2"
    if _file_of(name) == BAD and not rules.refuses_reserved:
        yield do(f"publish dead/{id}={me}", lambda files: _publish(files, id, me))
        yield remove(name)
        return
    if not rules.publishes_first:
        yield remove(name)
    answer = yield do(f"reserve log/{id}", lambda files: _reserve(files, id, me))
    if answer == "ours":
        is_there = (yield exists(name)) if rules.looks_again and rules.publishes_first else True
        if is_there:
            yield do(f"publish {id}", lambda files: _publish(files, id, me))
        else:
            yield do(f"give up log/{id}", lambda files: (files - {f"log/{id}", f"held/{id}={me}"}, None))
            return
    if answer != "reserved" or not rules.leaves_reserved:
        yield remove(name)


def _file_of(name: str) -> str:
    return name.partition("/")[2].partition(".")[0].partition(":")[0]


def _kind_of(name: str) -> str:
    return "".join(name.partition(":")[1:])


def _reserve(files: Files, id: str, me: str) -> tuple[Files, str]:
    """`ours`; `reserved` while a living worker is at it; `held` by its job."""
    if f"job/{id}" in files or any(name.startswith(f"dead/{id}=") for name in files):
        return files, "held"
    if any(name.startswith(f"held/{id}=") for name in files):
        return files, "reserved"
    return files | {f"log/{id}", f"held/{id}={me}"}, "ours"


def _publish(files: Files, id: str, me: str) -> tuple[Files, None]:
    file = id.partition(".")[0]
    made = f"dead/{id}={me}" if file == BAD else f"job/{id}"
    twice = {f"twice/{file}"} if f"was/{file}" in files else set()
    return files - {f"held/{id}={me}"} | {made, f"was/{file}"} | twice, None


def prune(rules: Rules) -> Program:
    """The job ends and is pruned as soon as the settings allow. Its log stays locked, so nobody reserves."""
    while True:
        name = yield Step("pick one to prune", _pick)
        id = name.partition("/")[2].split("=")[0]
        is_taken = (yield exists(f"taken/{id}")) if rules.prune_looks else False
        if not is_taken:
            yield do(f"delete {id}", lambda files: (files - {name, f"log/{id}"}, None))  # noqa: B023 - done at once
        name = id = is_taken = None


def _pick(files: Files) -> list[tuple[Files, str]]:
    return [(files, name) for name in sorted(files) if name.startswith(("job/", "dead/"))]


def clear_tmp() -> Program:
    yield Step("clear what is a day old", lambda files: [(files - {n}, None) for n in files if n.startswith("taken/")])


def stranger(file: str, kind: str) -> Program:
    """Puts something else in the place of the file that he has handed in, if it is still there."""
    yield rename(f"inbox/{file}", f"inbox/{file}:{kind}")


def never(files: Files) -> str | None:
    for name in sorted(files):
        if name.startswith("twice/"):
            return "a file has become two"
        if name.startswith(("job/", "dead/")) and ":dir" in name:
            return "what nobody has looked at has become a job"
    places = ("inbox/", "taken/", "was/")
    return None if any(name.startswith(places) for name in files) else "a file is lost"


def is_over(files: Files) -> bool:
    """It has become something, or is again where its owner has put it; nothing is left half way."""
    return any(n.startswith(("was/", "inbox/")) for n in files) and not any(n.startswith("taken/") for n in files)


def model(name: str, rules: Rules, workers: str = "V", *, file: str = "F", crashes: int = 1, swap: str = "") -> Model:
    actors = [Actor(w, lambda w=w: worker(rules, w)) for w in workers]  # type: ignore[misc]
    actors += [Actor("R", lambda: worker(rules, "R"), may_crash=False), Actor("prune", lambda: prune(rules))]
    if rules.place == "tmp":
        actors.append(Actor("tidy", clear_tmp))
    if swap:
        actors.append(Actor("stranger", lambda: stranger(file, swap)))
    return Model(name, (f"inbox/{file}",), tuple(actors), never, is_over, crashes)


BROKEN = (
    model("the id is chosen when the bytes are submitted", Rules(id="submitted")),
    model("prune looks at no taken file", Rules(prune_looks=False)),
    model("a slow worker does not look again", Rules(looks_again=False), crashes=0),
    model("taken to tmp/, which is cleared", Rules(place="tmp")),
    model("the taken file goes before the job is there", Rules(publishes_first=False)),
    model("the taken file of an id that another has reserved goes", Rules(leaves_reserved=False)),
    model("prune looks at no taken file of a dead letter", Rules(prune_looks=False), file=BAD),
    model("a dead letter without a reservation", Rules(refuses_reserved=False), file=BAD, crashes=0),
    model("nobody compares or judges what was renamed", Rules(compares=False, judges=False), swap="dir", crashes=0),
    model("only the worker that takes looks at what it is", Rules(judges=False), swap="dir"),
    model("a file is given back without a reservation", Rules(gives_back_reserved=False), swap="new", crashes=0),
)
SOUND = (
    model("two workers, a crash", Rules()),
    model("three workers, two crashes", Rules(), "VW", crashes=2),
    model("a file that is not a job, three workers, two crashes", Rules(), "VW", file=BAD, crashes=2),
    model("a file that is swapped, two workers, a crash", Rules(), swap="dir"),
    model("a file that is swapped, three workers, two crashes", Rules(), "VW", swap="dir", crashes=2),
    model("another file in its place, three workers, two crashes", Rules(), "VW", swap="new", crashes=2),
    model("only the finisher judges what was renamed", Rules(compares=False), swap="dir"),
)
