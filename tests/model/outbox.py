"""The outbox: for each job of another user one entry, whose name says what has become of it, in spite of crashes.

    inbox/F          a file that is handed in
    taken/ID         the same, once a worker has taken it
    log/ID           is there as long as the job; held/ID=WORKER reserves the id, and is gone when that worker dies
    job/ID=STATE     the job, pending or done
    out/ID=STATE     its entry: taken, pending, done or gone

The steps are those of `take` and `finish` in queuectl/spool/moves/take.py, as far as they touch the outbox, and of
`look` in queuectl/spool/moves/outbox.py, which makes the entries say what is so. Not modelled: results, running/
(a state as any other), and entries of files that are not taken, which are written again and again.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.model.interleavings import (
    Actor,
    Asks,
    Files,
    Model,
    Program,
    Step,
    create,
    do,
    exists,
    listing,
    remove,
    rename,
)


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    begins: str = "before"  # the entry is made before the job is published, or "after"
    ensures: bool = True  # who finishes a taken file makes its entry if that is gone
    locks: bool = True  # one process at a time makes entries true
    asks_log: bool = True  # an entry is removed only when the job's log is gone; else when the job was not found
    keeps_taken: bool = True  # an entry is not removed under the name that who finishes looks for
    corrects: bool = True  # every look compares all entries with what is so; else only those that are not done


def worker(rules: Rules, me: str) -> Program:
    """Takes the file, and finishes what it or another has taken."""
    while True:
        found = yield Step("look into inbox/ and taken/", _see)
        if found.startswith("inbox/"):
            id = f"F.{me}"
            if rules.begins == "before":
                yield create(f"out/{id}=taken")
            moved = yield rename(found, f"taken/{id}")
            if not moved:
                yield remove(f"out/{id}=taken")
            id, moved = "", None
        else:
            yield from finish(rules, found[6:], me)
        found = None


def _see(files: Files) -> list[tuple[Files, str]]:
    return [(files, name) for name in sorted(files) if name.startswith(("inbox/", "taken/"))]


def finish(rules: Rules, id: str, me: str) -> Asks[None]:
    answer = yield do(f"reserve log/{id}", lambda files: _reserve(files, id, me))
    if answer == "reserved":
        return
    if answer == "ours":
        is_there = yield exists(f"taken/{id}")
        if not is_there:
            yield do(f"give up log/{id}", lambda files: (files - {f"log/{id}", f"held/{id}={me}"}, None))
            return
        if rules.ensures and rules.begins == "before":
            yield create(f"out/{id}=taken")
        yield do(f"publish {id}", lambda files: (files - {f"held/{id}={me}"} | {f"job/{id}=pending"}, None))
        if rules.begins == "after":
            yield create(f"out/{id}=taken")
    yield remove(f"taken/{id}")


def _reserve(files: Files, id: str, me: str) -> tuple[Files, str]:
    if any(name.startswith(f"job/{id}=") for name in files):
        return files, "held"
    if any(name.startswith(f"held/{id}=") for name in files):
        return files, "reserved"
    return files | {f"log/{id}", f"held/{id}={me}"}, "ours"


def mirror(rules: Rules, me: str) -> Program:
    """A look at one entry: first at the taken file, then at the job in each directory, then at its log."""
    while True:
        if rules.locks:
            yield Step("lock", lambda files: [] if _is_locked(files) else [(files | {f"held/look={me}"}, None)])
        id = yield Step("pick an entry", _pick)
        names = yield listing(f"out/{id}=")
        is_taken = yield exists(f"taken/{id}")
        is_pending = yield exists(f"job/{id}=pending")
        is_done = yield exists(f"job/{id}=done")
        has_log = yield exists(f"log/{id}")
        state = "done" if is_done else "pending" if is_pending else "taken" if is_taken else "gone"
        if names and (rules.corrects or not names[0].endswith("=done")):
            yield from _make_true(rules, id, names, state, may_remove=not is_taken and not (rules.asks_log and has_log))
        id = state = ""
        names = is_taken = is_pending = is_done = has_log = None
        if rules.locks:
            yield remove(f"held/look={me}")


def _is_locked(files: Files) -> bool:
    return any(name.startswith("held/look=") for name in files)


def _make_true(rules: Rules, id: str, names: tuple[str, ...], state: str, *, may_remove: bool) -> Asks[None]:
    if (
        state == "gone"
        and may_remove
        and (names[0].endswith(("=gone", "=done")) or not rules.keeps_taken)
        and len(names) == 1
    ):
        yield remove(names[0])  # a day later
        return
    if state == "gone" and names[0].endswith("=done") and len(names) == 1:
        return  # what has become of it
    last = names[-1]  # `taken` comes last, and has what any other had
    if len(names) > 1:
        yield rename(names[0], last)
    if last != f"out/{id}={state}":
        yield rename(last, f"out/{id}={state}")


def _pick(files: Files) -> list[tuple[Files, str]]:
    return [(files, id) for id in sorted({n[4:].partition("=")[0] for n in files if n.startswith("out/")})]


def life(retries: int) -> Program:
    """The job ends, is retried so often, and is pruned in the end."""
    for _ in range(retries + 1):
        yield Step("the job ends", lambda files: _become(files, "pending", "done"))
        if _ < retries:
            yield Step("the job is retried", lambda files: _become(files, "done", "pending"))
    yield Step("prune deletes the job", _delete)
    yield Step("prune deletes its log", lambda files: [(files - {n}, None) for n in files if n.startswith("log/")])


def _become(files: Files, old: str, new: str) -> list[tuple[Files, None]]:
    return [
        (files - {name} | {name.replace(f"={old}", f"={new}")}, None) for name in sorted(files)
        if name.startswith("job/") and name.endswith(f"={old}")
    ]  # fmt: skip


def _delete(files: Files) -> list[tuple[Files, None]]:
    """It leaves a job whose taken file is there."""
    return [
        (files - {name}, None) for name in sorted(files)
        if name.startswith("job/") and f"taken/{name[4:].partition('=')[0]}" not in files
    ]  # fmt: skip


def never(files: Files) -> str | None:
    for name in sorted(files):
        id = name[4:].partition("=")[0]
        if name.startswith("job/") and f"taken/{id}" not in files and not _entries(files, id):
            return "a job has no entry"
    return None


def _entries(files: Files, id: str) -> list[str]:
    return [name for name in files if name.startswith(f"out/{id}=")]


def is_over(files: Files) -> bool:
    """No file is half way, and each entry says what is so. Of a job that is gone it says that, or how the job ended."""
    if any(name.startswith(("inbox/", "taken/")) for name in files):
        return False
    jobs = {f"out/{name[4:]}" for name in files if name.startswith("job/")}
    others = {name for name in files if name.startswith("out/")} - jobs
    ids = {name.partition("=")[0] for name in jobs}
    return all(n.endswith(("=gone", "=done")) and n.partition("=")[0] not in ids for n in others)


_TWO = ("job/F.V=pending", "log/F.V", "out/F.V=gone", "out/F.V=taken")
"""After a crash in `take`, a look, and another worker that has finished."""


def model(
    name: str,
    rules: Rules,
    *,
    workers: str = "V",
    mirrors: int = 1,
    crashes: int = 1,
    retries: int = 0,
    files: tuple[str, ...] = ("inbox/F",),
) -> Model:
    actors = [Actor(w, lambda w=w: worker(rules, w), may_crash=w != "R") for w in workers]  # type: ignore[misc]
    actors += [Actor(f"mirror {n}", lambda n=n: mirror(rules, f"mirror {n}"), may_crash=n > 0) for n in range(mirrors)]  # type: ignore[misc]
    actors.append(Actor("life", lambda: life(retries), may_crash=False))
    return Model(name, files, tuple(actors), never, is_over, crashes)


BROKEN = (
    model("the entry is made once the job is there", Rules(begins="after"), workers="VR"),
    model("who finishes makes no entry", Rules(ensures=False), crashes=0),
    model("two look at once", Rules(locks=False), workers="R", mirrors=2, crashes=0),
    model("an entry goes when its job was not found", Rules(asks_log=False), retries=1, crashes=0),
    model("an entry is removed under the name that it is made by", Rules(keeps_taken=False), crashes=0),
    model("what is done is not looked at again", Rules(corrects=False), retries=1, crashes=0),
)
SOUND = (
    model("two workers, a crash", Rules(), workers="VR"),
    model("a worker, a job that is retried", Rules(), workers="R", retries=1),
    model("two entries, two mirrors, a crash", Rules(), workers="", mirrors=2, files=_TWO),
    model("a worker, two mirrors, a crash", Rules(), workers="R", mirrors=2),
)
