"""`unique` KEY: who may have a job of the key waiting or running, and where that is written down.

    pending/J:ask           a job that asks for the key; :due may be claimed, :wait waits for the running job of an edge
    over/J                  it is in done/ or dead/; a job without any name was removed
    unique/N=J              the N-th job to have the key is J; made by link, which only one process can do
    after/H/J               J waits for H to end
    body/J=S@T              J has the body that S submitted; T is the time of that file
    held/log.J=ACTOR        the lock of J's log

A look at one job is one step, as is each listing; a crash leaves what it leaves, and frees the locks. Beside the
submitters there are a worker (whose jobs may fail once), the slow beat of another, and people: they retry, remove a
name of pending/, or move an ended job's file back there under a name that is due.

Checked: no two jobs of the key run at once; at most one is due, and at most one waits, unless people have moved files;
what was acknowledged has run, was replaced by something later, or was removed by people; and nothing blocks for ever.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.interleavings import (
    Actor,
    Asks,
    Files,
    Model,
    Outcome,
    Program,
    Step,
    create,
    do,
    exists,
    remove,
    rename,
)


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    is_numbered: bool = True  # the n-th job is linked; or one record is replaced when the key looks free
    first: str = "job"  # what is written first: the job, or the "key"
    retry: str = "asks"  # a retried job asks for its key again, or "moves" only
    beat: str = "locked"  # asks for jobs whose log is not locked, or for all: "bare"
    swap: str = "body"  # a holder that waits gets the new body in one exchange, or is "cancelled" first
    swap_after: bool = True  # one's own waiting name is removed before the exchange, or left until after it
    is_dated: bool = True  # the beat swaps only a body that is older than what it has found
    looks_at: str = "all"  # the jobs of all numbers may have the key, or that of the "highest" alone
    looks_again: bool = True  # after the link: no job of a lower number has come back
    lists_again: bool = True  # after the link: only the highest number counts
    edge_first: bool = True  # the edge is there before the job waits, or only after it
    is_checked: bool = True  # a worker looks whether the job that it is about to claim has the key
    checks_others: bool = True  # that look is for running jobs of all numbers


def place_of(files: Files, id: str) -> str:
    waiting: str = next((where for where in ("ask", "due", "wait") if f"pending/{id}:{where}" in files), "")
    return waiting or ("running" if f"running/{id}" in files else "over")


def numbers(files: Files) -> tuple[tuple[int, str], ...]:
    """The numbers and their jobs, the highest first."""
    found = (name[7:].split("=") for name in files if name.startswith("unique/"))
    return tuple(sorted(((int(number), id) for number, id in found), reverse=True))


def link(number: int, id: str) -> Step:
    def change(files: Files) -> tuple[Files, bool]:
        is_taken = any(name.startswith(f"unique/{number}=") for name in files)
        return (files, False) if is_taken else (files | {f"unique/{number}={id}"}, True)

    return do(f"link unique/{number}={id}", change)


def look_at(id: str) -> Step:
    return do(f"look at {id}", lambda files: (files, place_of(files, id)))


def forget(seen: tuple[tuple[int, str], ...]) -> Step:
    gone = {f"unique/{number}={id}" for number, id in seen}
    return do("remove lower ones", lambda files: (files - gone, None))


def look_for(rules: Rules, id: str, seen: tuple[tuple[int, str], ...]) -> Asks[Any]:
    """(the job that has the key, its place), of those that a listing has shown; None if it is free."""
    for number, other in seen if rules.looks_at == "all" else seen[:1]:
        if other != id:
            place = yield look_at(other)
            # One that asks with a lower number has come back since, and sees the higher one.
            if place != "over" and (place != "ask" or number == seen[0][0]):
                return other, place
            place = None
    return None


def take(rules: Rules, id: str, *, waits: bool = False) -> Asks[Any]:
    """(id, "") once the job has the key; else who has it, and where that job was.

    With `waits` it is also had by waiting for a running job: (id, that job).
    """
    while True:
        seen = yield do("list unique/", lambda files: (files, numbers(files)))
        found = yield from look_for(rules, id, seen)
        # One that had the key already was released, or moved, before the other had ended: it waits again.
        if found and not (waits and (found[1] == "running" or seen[0][1] == id)):
            return found
        if not rules.is_numbered:
            yield do("replace unique/", lambda files: (_without(files, "unique/") | {f"unique/1={id}"}, None))
            return id, ""
        next_ = seen[0][0] + 1 if seen else 1
        if found and rules.edge_first:
            yield create(f"after/{found[0]}/{id}")
        is_mine = yield link(next_, id)
        has = (yield from _has(rules, id, next_, found)) if is_mine else False
        if is_mine and not has:
            yield remove(f"unique/{next_}={id}")
        if has:
            if not found:  # else the number of the running job stays
                yield forget(seen)
            return id, found[0] if found else ""
        if found:
            yield remove(f"after/{found[0]}/{id}")
        seen = found = is_mine = next_ = None
        has = False


def _has(rules: Rules, id: str, number: int, waits_for: Any) -> Asks[bool]:
    """Whether the number that was just linked is the highest, and no job of a lower one has come back."""
    seen: Any = (
        (yield do("list again", lambda files: (files, numbers(files)))) if rules.lists_again else ((number, id),)
    )
    if seen[0] != (number, id):
        return False
    found = (yield from look_for(rules, id, seen)) if rules.looks_again else None
    return not found or bool(waits_for and found[0] == waits_for[0])


def _without(files: Files, prefix: str) -> Files:
    return frozenset(name for name in files if not name.startswith(prefix))


def _stamp(files: Files) -> int:
    """The time of the next file that is written."""
    return 1 + max((int(name.split("@")[1]) for name in files if "@" in name), default=0)


def publish(id: str, where: str) -> Step:
    """The job's file, with the body that its submitter wants."""
    return do(
        f"create pending/{id}:{where}",
        lambda files: (
            _without(files, f"body/{id}=") | {f"pending/{id}:{where}", f"body/{id}={id}@{_stamp(files)}"},
            True,
        ),
    )


def submit(rules: Rules, id: str, if_exists: str = "skip") -> Program:
    yield do(
        "begin",
        lambda files: (files | {f"held/log.{id}={id}"} | (frozenset() if _is_running(files) else {f"owed/{id}"}), None),
    )
    while True:
        if rules.first == "job":
            yield publish(id, "ask")
        answer = yield from ask(rules, id, if_exists)
        if answer:
            yield create(f"told/{id}={answer}")
            return
        answer = None  # the job that waited has started, or ended: again


def _is_running(files: Files) -> bool:
    return any(name.startswith("running/") for name in files)


def ask(rules: Rules, id: str, if_exists: str) -> Asks[Any]:
    """What is answered; None if the job that was to be replaced has started, and its own is not there any more."""
    has, at = yield from take(rules, id, waits=if_exists == "replace")
    if has == id:
        return (yield from _go(rules, id, at))
    if if_exists == "skip" or rules.swap_after:
        is_out = yield remove(f"pending/{id}:ask")
        if not is_out:
            return id  # somebody has moved or removed it, which counts
    if if_exists == "skip":
        return has
    is_done = yield from _swap(rules, id, has)
    if not rules.swap_after:
        yield remove(f"pending/{id}:ask")
    return has if is_done else None


def _go(rules: Rules, id: str, behind: str) -> Asks[Any]:
    if rules.first == "key":
        yield publish(id, "due")
    else:
        yield rename(f"pending/{id}:ask", f"pending/{id}:{'wait' if behind else 'due'}")
    if behind and not rules.edge_first:
        yield create(f"after/{behind}/{id}")
    return id


def _swap(rules: Rules, id: str, old: str, *, by_beat: bool = False) -> Asks[Any]:
    """Whether the job that waits got the body of `id`, or one that is later."""
    if rules.swap == "body":
        return (
            yield do(
                f"exchange the bytes of pending/{old}", lambda files: _exchange(rules, files, id, old, by_beat=by_beat)
            )
        )
    is_out = yield do(
        f"cancel pending/{old}",
        lambda files: (
            files - {f"pending/{old}:due"} | {f"over/{old}", f"replaced/{old}"},
            f"pending/{old}:due" in files,
        ),
    )
    if is_out:
        yield publish(id, "due")
    return is_out


def _exchange(rules: Rules, files: Files, id: str, old: str, *, by_beat: bool) -> tuple[Files, bool]:
    if place_of(files, old) not in ("ask", "due", "wait"):
        return files, False
    (body,) = (name for name in files if name.startswith(f"body/{old}="))
    own = next((name for name in files if name.startswith(f"body/{id}={id}@")), "@0")
    whose, is_older = body[5:].split("=")[1].split("@")[0], int(body.split("@")[1]) > int(own.split("@")[1])
    if by_beat and is_older and rules.is_dated:
        return files | {f"replaced/{id}"}, True
    by_later = () if is_older and by_beat and whose != id else (f"replaced/{whose}",)
    return files - {body} | {f"body/{old}={id}@{_stamp(files)}", *by_later}, True


def lock(id: str, me: str) -> Step:
    def change(files: Files) -> tuple[Files, bool]:
        is_held = any(name.startswith(f"held/log.{id}=") for name in files)
        return (files, False) if is_held else (files | {f"held/log.{id}={me}"}, True)

    return do(f"lock the log of {id}", change)


def beat(rules: Rules, replacers: str) -> Program:
    """A worker's slow beat finishes what a submitter has begun that is gone."""
    while True:
        id = yield Step(
            "find pending/*:ask",
            lambda files: [(files, n[8:-4]) for n in sorted(files) if n.startswith("pending/") and n.endswith(":ask")],
        )
        is_mine = (yield lock(id, "beat")) if rules.beat == "locked" else True
        is_there = (yield exists(f"pending/{id}:ask")) if is_mine else False
        if is_there:
            yield from _finish(rules, id, is_replacing=id in replacers)
        yield remove(f"held/log.{id}=beat")
        id = is_mine = is_there = ""


def _finish(rules: Rules, id: str, *, is_replacing: bool) -> Asks[None]:
    has, at = yield from take(rules, id, waits=is_replacing)
    if has == id:
        yield from _go(rules, id, at)
        return
    is_done = (yield from _swap(rules, id, has, by_beat=True)) if is_replacing else True
    if is_done:
        yield rename(f"pending/{id}:ask", f"over/{id}")


def routine() -> Program:
    """What waits for a job that is over starts; an edge whose job does not wait is removed, unless it asks."""
    while True:
        yield Step("act on an edge", _act)


def _act(files: Files) -> list[tuple[Files, None]]:
    ways = []
    for name in sorted(files):
        if name.startswith("after/"):
            _, old, id = name.split("/")
            place = place_of(files, id)
            if place == "wait" and place_of(files, old) == "over":
                ways.append((files - {name, f"pending/{id}:wait"} | {f"pending/{id}:due"}, None))
            elif place not in ("wait", "ask"):
                ways.append((files - {name}, None))
    return ways


def worker(rules: Rules) -> Program:
    """A job may fail once, and is then due again."""
    while True:
        id = yield Step(
            "find pending/*:due",
            lambda files: [(files, n[8:-4]) for n in sorted(files) if n.startswith("pending/") and n.endswith(":due")],
        )
        is_claimed = yield rename(f"pending/{id}:due", f"running/{id}")
        may_start = (yield check(rules, id)) if is_claimed and rules.is_checked else is_claimed
        if may_start:
            yield do(f"start {id}", lambda files: _start(files, id))  # noqa: B023
        elif is_claimed:
            yield rename(f"running/{id}", f"pending/{id}:ask")
        id = is_claimed = may_start = ""


def check(rules: Rules, id: str) -> Step:
    return do(f"may {id} start", lambda files: (files, _may_start(rules, files, id)))


def _may_start(rules: Rules, files: Files, id: str) -> bool:
    """Whether the job has the highest number, or the one that has it waits for this one; and no other one runs."""
    seen = numbers(files)
    if rules.checks_others and any(f"running/{other}" in files for _, other in seen if other != id):
        return False
    return any(other == id for _, other in seen) and (
        seen[0][1] == id or f"after/{id}/{seen[0][1]}" in files or place_of(files, seen[0][1]) == "over"
    )


def _start(files: Files, id: str) -> tuple[Files, None]:
    (body,) = (name for name in files if name.startswith(f"body/{id}="))
    ran = {f"ran/{body[5:].split('=')[1].split('@')[0]}", f"ran/{id}"}
    return _without(files, "owed/") | {f"started/{id}", *ran}, None


def ends() -> Program:
    while True:
        yield Step("end", _end)


def _end(files: Files) -> list[tuple[Files, None]]:
    ways = []
    for name in sorted(files):
        if name.startswith("started/"):
            id = name[8:]
            ways.append((files - {name, f"running/{id}"} | {f"over/{id}"}, None))
            if f"failed/{id}" not in files:
                ways.append((files - {name, f"running/{id}"} | {f"pending/{id}:due", f"failed/{id}"}, None))
    return ways


def retry(rules: Rules, id: str) -> Program:
    is_mine = yield lock(id, "retry")
    to = "ask" if rules.retry == "asks" else "due"
    is_moved = (yield rename(f"over/{id}", f"pending/{id}:{to}")) if is_mine else False
    if is_moved and rules.retry == "asks":
        has = yield from take(rules, id)
        yield rename(f"pending/{id}:ask", f"pending/{id}:due" if has[0] == id else f"over/{id}")
    yield remove(f"held/log.{id}=retry")


def remover() -> Program:
    """Somebody cancels a job that waits, or removes its file."""
    yield Step(
        "rm", lambda files: [(files, None), *(_removed(files, n) for n in sorted(files) if n.startswith("pending/"))]
    )


def _removed(files: Files, name: str) -> Outcome:
    id = name[8:].partition(":")[0]
    whose = next((n.split("=")[1].split("@")[0] for n in files if n.startswith(f"body/{id}=")), id)
    return files - {name} | {"moved", f"replaced/{id}", f"replaced/{whose}"}, None


def releaser(id: str) -> Program:
    """Somebody releases the job that waits for the running one."""
    yield do(
        "release",
        lambda files: (
            (files - {f"pending/{id}:wait"} | {f"pending/{id}:due", "moved"}, None)
            if f"pending/{id}:wait" in files
            else (files, None)
        ),
    )


def mover(id: str) -> Program:
    """Somebody moves an ended job's file into pending/, under a name that is due."""
    yield do(
        "mv",
        lambda files: (
            (files - {f"over/{id}"} | {f"pending/{id}:due", "moved"}, None) if f"over/{id}" in files else (files, None)
        ),
    )


def never(files: Files) -> str | None:
    running = [name for name in files if name.startswith("started/")]
    if len(running) > 1:
        return "two jobs of one key run"
    due = [name for name in files if name.startswith("pending/") and name.endswith(":due")]
    if "moved" not in files and len(due) + len(running) > 1:
        return "two jobs of one key"
    if "moved" not in files and sum(name.endswith(":wait") for name in files) > 1:
        return "two jobs wait for one of their key"
    if not at_rest(files):
        return None
    for told in (name[5:].split("=") for name in files if name.startswith("told/")):
        if told[0] == told[1] and f"ran/{told[0]}" not in files and f"replaced/{told[0]}" not in files:
            return "a job that was acknowledged has not run, and does not wait"
        if told[0] != told[1] and f"owed/{told[0]}" in files and "moved" not in files:
            return "a job was skipped, and none of its key has been running since it was submitted"
        if f"wants/{told[0]}" in files and f"ran/{told[0]}" not in files and f"replaced/{told[0]}" not in files:
            return "a replacement that was acknowledged is gone"
    dropped = next((name[8:] for name in files if name.startswith("dropped/")), "")
    if dropped and f"ran/{dropped}" not in files and f"replaced/{dropped}" not in files:
        return "a dropped replacement is gone"
    return None


def at_rest(files: Files) -> bool:
    return not any(name.startswith(("pending/", "running/")) for name in files)


def model(
    name: str,
    rules: Rules,
    submitters: str,
    *names: str,
    retries: str = "",
    replaces: str = "",
    dropped: str = "",
    people: bool = False,
    moves: str = "",
    releases: str = "",
    crashes: int = 1,
) -> Model:
    actors = [Actor(s, lambda s=s: submit(rules, s)) for s in submitters]  # type: ignore[misc]
    actors += [Actor(s, lambda s=s: submit(rules, s, "replace")) for s in replaces]  # type: ignore[misc]
    actors += [Actor("retry", lambda s=s: retry(rules, s)) for s in retries]  # type: ignore[misc]
    actors += [Actor("people", remover, may_crash=False)] if people else []
    actors += [Actor("mover", lambda s=s: mover(s), may_crash=False) for s in moves]  # type: ignore[misc]
    actors += [Actor("releaser", lambda s=s: releaser(s), may_crash=False) for s in releases]  # type: ignore[misc]
    actors += [Actor("beat", lambda: beat(rules, replaces + dropped + releases), may_crash=False)]
    actors += [Actor("worker", lambda: worker(rules), may_crash=False), Actor("end", ends, may_crash=False)]
    actors += [Actor("routine", routine, may_crash=False)] if replaces or dropped or "after/H/R" in names else []
    there = [f"wants/{s}" for s in replaces]
    there += [item for s in dropped for item in (f"dropped/{s}", f"pending/{s}:ask", f"body/{s}={s}@2")]
    return Model(name, (*names, *there), tuple(actors), never, at_rest, crashes)


PENDING = ("unique/1=H", "pending/H:due", "body/H=H@1", "told/H=H")
RUNNING = ("unique/1=H", "running/H", "started/H", "body/H=H@1", "told/H=H", "ran/H")
WAITING = (*RUNNING, "unique/2=R", "pending/R:wait", "after/H/R", "body/R=R@2", "told/R=R")
DONE = ("unique/1=H", "over/H", "body/H=H@1", "told/H=H", "ran/H")
BROKEN = (
    model("one record, replaced when it looks free", Rules(is_numbered=False), "ST", crashes=0),
    model("the key before the job", Rules(first="key", is_checked=False), "ST", crashes=0),
    model("a retry does not ask", Rules(retry="moves", is_checked=False), "S", *DONE, retries="H", crashes=0),
    model("two ask for one job", Rules(beat="bare", is_checked=False), "ST", crashes=0),
    model("the holder is cancelled before the new one is there", Rules(swap="cancelled"), "", *PENDING, replaces="R"),
    model("a replacement waits, and is removed", Rules(looks_at="highest"), "S", *WAITING, people=True, crashes=0),
    model(
        "the number of the running job is removed", Rules(), "S", *set(WAITING) - {"unique/1=H"}, people=True, crashes=0
    ),
    model("the edge comes after the job that waits", Rules(edge_first=False), "", *RUNNING, replaces="R"),
    model(
        "a dropped replacement is applied again",
        Rules(is_dated=False),
        "",
        *PENDING,
        dropped="D",
        replaces="R",
        crashes=0,
    ),
    model("a file moved back is claimed unseen", Rules(is_checked=False), "S", *DONE, moves="H", crashes=0),
    model(
        "a replacement is released, and no running job is looked for",
        Rules(checks_others=False),
        "",
        *set(WAITING) - {"told/R=R"},
        dropped="R",
        releases="R",
        crashes=0,
    ),
    model("a file moved back, and no look after the link", Rules(looks_again=False), "S", *DONE, moves="H", crashes=0),
)
SOUND = (
    model("two submitters, crash", Rules(), "ST"),
    model("a submitter and a retry of the last holder, crash", Rules(), "S", *DONE, retries="H"),
    model("replace while the holder waits, crash", Rules(), "", *PENDING, replaces="R"),
    model("a replacement waits, skip, and people remove one", Rules(), "S", *WAITING, people=True, crashes=0),
    model("replace while the holder runs, crash", Rules(), "", *RUNNING, replaces="R"),
    model("replace while the holder runs, and people remove one", Rules(), "", *RUNNING, replaces="R", people=True),
    model("a replacement that waits is released", Rules(), "S", *WAITING, releases="R", crashes=0),
    model("a submitter, and people move an ended job back", Rules(), "S", *DONE, moves="H"),
)
LARGE = (
    model("a dropped and a submitted replacement", Rules(), "", *PENDING, dropped="D", replaces="R", crashes=0),
    model("replace and skip while the holder waits", Rules(), "S", *PENDING, replaces="R", crashes=0),
    model("three submitters", Rules(), "STU", crashes=0),
    model("two replace while the holder runs", Rules(), "", *RUNNING, replaces="RQ", crashes=0),
    model("replace and skip while the holder runs", Rules(), "S", *RUNNING, replaces="R"),
    model(
        "replace while the holder runs, skip, and people remove one",
        Rules(),
        "S",
        *RUNNING,
        replaces="R",
        people=True,
        crashes=0,
    ),
)
"""Up to a few million states."""
