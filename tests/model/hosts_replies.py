"""Several hosts that share a spool: replies that are lost, locks that prove nothing, listings that come late, and what
is asked of another host.

A rename or link that was done may answer ENOENT or EEXIST (the client sent it twice), and one that failed with an error
may still be done later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tests.model.interleavings import Actor, Files, Model, Program, Step, create, do, exists, remove, rename, until


def lossy(source: str, target: str) -> Step:
    """A rename whose reply may be lost, or that is done after it has failed (`late/…`)."""

    def ways(files: Files) -> list[tuple[Files, object]]:
        if source not in files:
            return [(files, False)]
        after = files - {source} | {target}
        return [
            (after, True),
            (after, False),
            (files | {f"late/{source}>{target}".replace("/", ":").replace("late:", "late/")}, False),
        ]

    return Step(f"rename {source} -> {target}", ways)


def network() -> Program:
    while True:
        name = yield Step(
            "what was sent arrives", lambda files: [(files - {n}, n) for n in sorted(files) if n.startswith("late/")]
        )
        source, target = name[5:].replace(":", "/").split(">")
        yield rename(source, target)
        name = source = target = None


def one_file(files: Files) -> str | None:
    if sum(n.startswith(("pending/", "running/", "done/", "dead/")) for n in files) > 1:
        return "the job has two files"
    return "two attempts run at once" if sum(n.startswith("alive/") for n in files) > 1 else None


# --- a claim


def next_of(me: str, rule: str, files: Files) -> list[tuple[Files, object]]:
    is_open = {"claim": "pending/J" in files, "own": rule == "at each rescan" and f"running/J.{me}" in files}
    return [(files, way) for way, is_so in is_open.items() if is_so]


def claims(me: str, rule: str) -> Program:
    while "forever":
        what = yield Step("next", partial(next_of, me, rule))
        had = (yield lossy("pending/J", f"running/J.{me}")) if what == "claim" else True
        if not had and rule != "ENOENT is lost":
            had = yield exists(f"running/J.{me}")
        if had:
            yield create(f"alive/{me}")
            yield remove(f"alive/{me}")
            yield rename(f"running/J.{me}", "done/J")
        what = had = None


def claim(name: str, rule: str) -> Model:
    actors = (Actor("V", lambda: claims("V", rule)), Actor("W", lambda: claims("W", rule)), Actor("network", network))
    return Model(f"replies: {name}", ("pending/J",), actors, one_file, lambda files: "done/J" in files, 0)


# --- a submit


def link_again(source: str, target: str) -> Program:
    """link(2) sent twice, the second time at any later moment: the server has forgotten the first."""
    yield do(f"link {source} {target}", lambda files: (files | {target}, None) if source in files else (files, None))
    yield do("the client sends it again", lambda files: (files | {target}, None) if source in files else (files, None))


def submits(rule: str) -> Program:
    yield create("tmp/J")
    yield create("log/J")
    if rule == "link":
        yield from link_again("tmp/J", "pending/J")
        yield remove("tmp/J")
    else:
        yield lossy("tmp/J", "pending/J")
        is_left = yield exists("tmp/J")
        if is_left:
            yield rename("tmp/J", "pending/J")
    yield create("said/submitted")


def runs(me: str) -> Program:
    while True:
        yield until("pending/J", lambda files: "pending/J" in files)
        had = yield rename("pending/J", f"running/J.{me}")
        if had:
            yield rename(f"running/J.{me}", "done/J")
        del had


def submit(name: str, rule: str) -> Model:
    def wrong(files: Files) -> str | None:
        is_lost = "said/submitted" in files and not any(
            n.endswith(("/J", "/J.V")) and n[:3] in ("pen", "run", "don") for n in files
        )
        return "acknowledged and nowhere" if is_lost else one_file(files)

    actors = (Actor("S", lambda: submits(rule)), Actor("V", lambda: runs("V")), Actor("network", network))
    return Model(
        f"replies: {name}", (), actors, wrong, lambda files: "done/J" in files or "said/submitted" not in files, 0
    )


# --- a reservation whose submitter is silent, and another submit of that id on another host


def reserves(me: str, rule: str) -> Program:
    yield create(f"tmp/J.{me}")
    is_mine = yield do(
        "reserve log/J",
        lambda files: (files, False) if any(n.startswith("log/J=") for n in files) else (files | {f"log/J={me}"}, True),
    )
    if is_mine:
        yield rename(f"tmp/J.{me}", "pending/J")  # ENOENT: another has done it
        yield create(f"said/submitted.{me}")
        return
    holder = yield do(
        "read the log's first line", lambda files: (files, next(n[-1] for n in files if n.startswith("log/J=")))
    )
    if rule == "finish it":
        yield rename(f"tmp/J.{holder}", "pending/J")
    elif rule == "its lock is free here":
        yield do("take it over", lambda files: (files - {f"log/J={holder}"} | {f"log/J={me}"}, None))
        yield rename(f"tmp/J.{me}", "pending/J")
        yield create(f"said/submitted.{me}")
        return
    yield remove(f"tmp/J.{me}")
    yield create(f"said/exists.{me}")


def reservation(name: str, rule: str) -> Model:
    def wrong(files: Files) -> str | None:
        if sum(n.startswith("said/submitted") for n in files) > 1:
            return "one id was acknowledged twice"
        return one_file(files)

    def goal(files: Files) -> bool:
        return "done/J" in files or not any(n.startswith(("log/", "said/")) for n in files)

    actors = (
        Actor("S", lambda: reserves("S", rule)),
        Actor("T", lambda: reserves("T", rule)),
        Actor("V", lambda: runs("V"), may_crash=False),
    )
    return Model(f"replies: {name}", (), actors, wrong, goal, 1)


# --- a key (section 7)


def asks(me: str, rule: str, what: str = "submit") -> Program:
    """`what` else: a worker of another host, which finishes what it takes for left behind."""
    if what == "submit":
        yield create(f"pending/{me}:asks")
    else:
        yield until("a job that asks", lambda files: f"pending/{me}:asks" in files)
    had, holder = False, ""
    while not had and holder in ("", "over"):
        at, holder = yield do("look at the highest", look_at_key)
        if holder == me and rule == "own is had":
            had = True
        elif holder == "over":
            had = yield Step(f"link unique/{at + 1}", partial(link_number, f"unique/{at + 1}=", me))
            holder = "over"
    if had:
        yield rename(f"pending/{me}:asks", f"pending/{me}")
        is_there = yield exists(f"pending/{me}")
    else:
        removed = yield remove(f"pending/{me}:asks")
        is_there = not removed and (yield exists(f"pending/{me}"))
    if what == "submit":
        yield create(f"said/{me}" if is_there else f"said/{holder}" if not had else "refused")


def link_number(number: str, me: str, files: Files) -> list[tuple[Files, object]]:
    """The reply to a link that was done may be lost."""
    if any(name.startswith(number) for name in files):
        return [(files, False)]
    return [(files | {number + me}, reply) for reply in (True, False)]


def look_at_key(files: Files) -> tuple[Files, tuple[int, str]]:
    at, who = max(((int(n[7]), n[9:]) for n in files if n.startswith("unique/")), default=(0, "over"))
    return files, (at, who if any(n.startswith(f"pending/{who}") for n in files) else "over")


def key(name: str, rule: str, *, helped: bool = False) -> Model:
    def wrong(files: Files) -> str | None:
        waiting = [n for n in files if n.startswith("pending/") and not n.endswith(":asks")]
        lost = [n for n in files if n.startswith("said/") and not any(w.startswith(f"pending/{n[5:]}") for w in files)]
        return "acknowledged and nowhere" if lost else "two jobs of one key" if len(waiting) > 1 else None

    actors = [Actor(w, partial(asks, w, rule)) for w in "ST"]
    if helped:
        actors.append(Actor("worker", lambda: asks("S", rule, "finish")))
    return Model(
        f"replies: {name}", (), tuple(actors), wrong, lambda files: any(n.startswith("said/") for n in files), 0
    )


# --- a limit of 1 (section 5), by listings


def limited(me: str, other: str, is_late: bool) -> Program:
    """`is_late`: a listing may miss a change of the other host, even right after one's own."""
    yield create(f"running/{me}")
    seen = yield Step(
        "list running/",
        lambda files: [
            (files, n)
            for n in (
                {1, sum(f.startswith("running/") for f in files)}
                if is_late
                else {sum(f.startswith("running/") for f in files)}
            )
        ],
    )
    if seen == 1:
        yield create(f"alive/{me}")
        yield remove(f"alive/{me}")
    yield remove(f"running/{me}")


def limit(name: str, *, is_late: bool) -> Model:
    actors = (Actor("V", lambda: limited("V", "W", is_late)), Actor("W", lambda: limited("W", "V", is_late)))
    return Model(
        f"replies: {name}",
        (),
        actors,
        lambda files: "over the limit" if {"alive/V", "alive/W"} <= files else None,
        lambda _: True,
        0,
    )


# --- cancel on another host, and retry at once


def cancels(rule: str) -> Program:
    if rule == "renames":
        yield rename("running/J.A", "dead/J")
    else:
        yield create("asked/J.A")
        yield until("the job is in dead/", lambda files: "dead/J" in files)
    yield create("said/cancelled")
    yield rename("dead/J", "pending/J")


def polls() -> Program:
    """A's worker: the request, or that its file has gone."""
    yield until(
        "asked, or the file has gone",
        lambda files: "up/A" in files and ("asked/J.A" in files or "running/J.A" not in files),
    )
    yield do("end the job", lambda files: (files - {"alive/A"}, None))
    yield do(
        "settle: cancelled",
        lambda files: (
            (files - {"running/J.A", "asked/J.A"} | ({"dead/J"} if "running/J.A" in files else set()), None)
            if "up/A" in files
            else (files, None)
        ),
    )


def dies_and_is_gone() -> Program:
    yield do("host A DIES", lambda files: (files - {"alive/A", "up/A"}, None))
    yield do("OPERATOR: gone A", lambda files: (files | {"gone/A"}, None))


def other_host() -> Program:
    """Takes what is gone, `cancelled` if that was asked; and runs what is pending."""
    while True:
        what = yield Step(
            "next",
            lambda files: [
                (files, w)
                for w, is_so in (("take", {"gone/A", "running/J.A"} <= files), ("run", "pending/J" in files))
                if is_so
            ],
        )
        if what == "take":
            had = yield rename("running/J.A", "running/J.B")
            if had:
                is_asked = yield exists("asked/J.A")
                yield rename("running/J.B", "dead/J" if is_asked else "pending/J")
                yield remove("asked/J.A")
        else:
            had = yield rename("pending/J", "running/J.B")
            if had:
                yield create("alive/B")
                yield remove("alive/B")
                yield rename("running/J.B", "done/J")
        what = had = is_asked = None


def cancel(name: str, rule: str) -> Model:
    def wrong(files: Files) -> str | None:
        return one_file(files) or (
            "cancelled was said while it runs" if {"said/cancelled", "alive/A"} <= files else None
        )

    actors = (
        Actor("user", lambda: cancels(rule)),
        Actor("A", polls),
        Actor("power", dies_and_is_gone),
        Actor("B", other_host),
    )
    return Model(
        f"replies: {name}",
        ("up/A", "running/J.A", "alive/A"),
        actors,
        wrong,
        lambda files: bool({"done/J", "dead/J", "pending/J"} & files),
        0,
    )


# --- locks that prove life


def rescues(rule: str, host: str) -> Program:
    """A second worker, on A's host or on one that takes itself for it (its name, a cloned boot id)."""
    while True:
        if rule == "memory":
            is_here = yield do(
                "is there a life file of A on this host", lambda files: (files, f"memory.{host}/A" in files)
            )
            is_free = is_here and (yield do("is its lock free", lambda files: (files, f"lock.{host}/A" not in files)))
        else:
            is_free = yield do(
                "is the lock of A's file in the spool free", lambda files: (files, f"spool.{host}/A" not in files)
            )
        if is_free:
            had = yield rename("running/J.A", "running/J.a")
            if had:
                yield create("alive/a")
                yield remove("alive/a")
                yield rename("running/J.a", "done/J")
            return
        yield until("another beat", lambda files: "lock.A/A" not in files)
        is_free = is_here = None


def server() -> Program:
    yield do(
        "the file server restarts: its locks are gone",
        lambda files: (frozenset(n for n in files if not n.startswith("spool.")), None),
    )


def worker_dies() -> Program:
    yield do("worker A and its job die", lambda files: (files - {"alive/A", "lock.A/A", "spool.A/A"}, None))


def lock(name: str, rule: str, host: str) -> Model:
    actors = (Actor("a", lambda: rescues(rule, host)), Actor("server", server), Actor("end", worker_dies))
    files = ("running/J.A", "alive/A", "memory.A/A", "lock.A/A", "spool.A/A")
    goal: Callable[[Files], bool] = (lambda files: "done/J" in files) if host == "A" else (lambda _: True)
    return Model(f"replies: {name}", files, actors, one_file, goal, 0)


# --- one log, two hosts: where O_APPEND is the client's look at the size and then a write (NFS)


def writes(log: str, line: str) -> Program:
    at = yield do(f"{line}: how long is {log}", lambda files: (files, sum(n.startswith(f"{log}/") for n in files)))
    yield do(
        f"{line}: write it there",
        lambda files: (
            frozenset(n for n in files if not n.startswith(f"{log}/{at}=")) | {f"{log}/{at}={line}", f"was/{line}"},
            None,
        ),
    )


def log(name: str, second: str) -> Model:
    def wrong(files: Files) -> str | None:
        lost = [
            n
            for n in files
            if n.startswith("was/") and not any(f.startswith("log") and f.endswith("=" + n[4:]) for f in files)
        ]
        return f"overwritten: {lost[0][4:]}" if lost else None

    actors = (
        Actor("A", lambda: writes("log", "end of attempt 1")),
        Actor("B", lambda: writes(second, "end of attempt 2")),
    )
    return Model(f"replies: {name}", (), actors, wrong, lambda _: True, 0)


BROKEN = (
    claim("a claim that answers ENOENT is a lost race", "ENOENT is lost"),
    claim("a claim looks once for its own name", "once"),
    submit("publish by link: sent again when a worker has taken the first", "link"),
    reservation("a reservation whose lock is free here is taken over", "its lock is free here"),
    reservation("a reservation of another host waits for its submitter", "wait"),
    key("EEXIST of one's own link, and the holder is oneself", "as written"),
    limit("a limit of 1 where a listing after one's own claim is late", is_late=True),
    cancel("cancel renames a job of another host, then retry", "renames"),
    lock("locks in the spool and a restart of the file server", "spool", "A"),
    lock("a host of the same name or boot id asks its own flock", "spool", "B"),
    log("attempts of two hosts append to one log", "log"),
)
SOUND = (
    claim("a claim's own name is looked for at each rescan", "at each rescan"),
    submit("publish by rename", "rename"),
    reservation("whoever finds a reservation finishes it", "finish it"),
    key("a key whose holder is oneself is had", "own is had"),
    key("a worker of another host asks for the same job meanwhile", "own is had", helped=True),
    limit("a limit of 1 where one's own claim makes the next listing fresh", is_late=False),
    cancel("cancel asks the worker of another host", "asks"),
    lock("life files in the host's memory, and a restart of the file server", "memory", "A"),
    lock("life files in the host's memory: the other host has none", "memory", "B"),
    log("the attempt after a loss has a file of its own", "log2"),
)
