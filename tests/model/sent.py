"""An attempt on an engine whose bridge dies (work/engines/dask_bridge.py, dask_orphans.py): note, send, take over.

    pending/x, running/BRIDGE, done/WORD    the job's file
    held/BRIDGE=BRIDGE, held/host=host      the bridge and the Dask worker process live: a crash drops it
    note                                    in the job's log: from now on the attempt may run on that process
    task                                    has been sent, and may arrive at any time, or never
    known, refused                          what the Dask worker remembers of the attempt
    held/proc=host, ran                     the command runs there, and dies with it; it has begun
    end                                     the Dask worker says how it ended

Whatever dies and in which order: an attempt that is given back has not begun and never does, one that has ended is
settled so, and what is settled as lost is so only if its process is gone. Each bridge is started once the one before
has died, or at once: it must know by the locks. Not modelled: output, which has no part in this.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.interleavings import Actor, Asks, Files, Model, Program, create, do, exists, listing, rename, until

BRIDGES = ("b1", "b2", "b3")


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    notes_first: bool = True  # the note is written before the task is sent
    refuses: bool = True  # who is asked for what it does not know will not start it
    believes_gone: bool = True  # of a process that is gone nothing is known: not that the attempt has not begun
    asks_locks: bool = True  # a bridge that lives keeps its jobs


def bridge(rules: Rules, me: str) -> Program:
    """Claim the job if it is there, else what another has left; see it to its end."""
    yield until("there is a job", lambda files: any(map(_is_open, files)))
    claimed: Any = yield rename("pending/x", f"running/{me}")
    if claimed:
        if rules.notes_first:
            yield create("note")
            yield create("task")
        else:
            yield create("task")
            yield create("note")
        yield from _settle(rules, f"running/{me}")
        return
    while True:
        left: Any = yield listing("running/")
        if not left:
            return
        other: Any = left[0].removeprefix("running/")
        if rules.asks_locks:
            yield until("the other has gone or settled it", lambda files: _is_free(files, other))  # noqa: B023
        taken: Any = yield from _rescue(rules, me, other)
        if taken:
            return
        left = other = taken = None


def _is_open(name: str) -> bool:
    return name == "pending/x" or name.startswith(("running/", "done/", "given-back"))


def _is_free(files: Files, other: str) -> bool:
    return f"held/{other}={other}" not in files or f"running/{other}" not in files


def _rescue(rules: Rules, me: str, other: str) -> Asks[bool]:
    """What the next one does with an attempt; False if another was first."""
    noted: Any = yield exists("note")
    if not noted:
        released: bool = yield rename(f"running/{other}", "given-back/x")
        return released
    adopted: Any = yield rename(f"running/{other}", f"running/{me}")
    if not adopted:
        return False
    yield from _settle(rules, f"running/{me}", asks=True)
    return True


def _settle(rules: Rules, mine: str, *, asks: bool = False) -> Asks[None]:
    """Hear of the attempt, or ask, and settle it by that."""
    if asks:
        answer: Any = yield do("ask the process", lambda files: _ask(rules, files))
        if answer == "unknown":
            yield rename(mine, "given-back/x")
            return
    yield until("it has ended, or the process is gone", _is_decided)
    ended: Any = yield exists("end")
    if ended:
        yield rename(mine, "done/exit")
    elif rules.believes_gone:
        yield rename(mine, "done/lost")
    else:
        yield rename(mine, "given-back/x")


def _is_decided(files: Files) -> bool:
    return "end" in files or "held/host=host" not in files


def _ask(rules: Rules, files: Files) -> tuple[Files, str]:
    if "held/host=host" not in files:
        return files, "gone"
    if "known" in files:
        return files, "known"
    return (files | {"refused"} if rules.refuses else files), "unknown"


def host() -> Program:
    """The Dask worker: start what arrives, unless it was refused."""
    yield until("a task arrives", lambda files: "task" in files)
    yield do("start it, or not", _start)
    yield until("it runs", lambda files: "held/proc=host" in files)
    yield do("its end", lambda files: (files - {"held/proc=host"} | {"end"}, None))


def _start(files: Files) -> tuple[Files, Any]:
    if "refused" in files:
        return files, None
    return files | {"known", "ran", "held/proc=host"}, None


def never(files: Files) -> str | None:
    """What must not be."""
    if "given-back/x" in files and "ran" in files:
        return "an attempt that has begun was given back for nothing"
    if "done/lost" in files and "held/proc=host" in files:
        return "lost, although it runs"
    if sum(_is_open(name) for name in files) != 1:
        return "the job is not one file"
    return None


def _is_settled(files: Files) -> bool:
    return any(name.startswith(("done/", "given-back/")) for name in files)


def _model(name: str, rules: Rules) -> Model:
    actors = [Actor(me, lambda me=me: bridge(rules, me), may_crash=me != "b3") for me in BRIDGES]  # type: ignore[misc]
    files = ("pending/x", "held/host=host", *(f"held/{me}={me}" for me in BRIDGES))
    return Model(name, files, (*actors, Actor("host", host)), never, _is_settled, crashes=3)


SOUND = (_model("an attempt on an engine", Rules()),)
BROKEN = tuple(_model(f"an attempt on an engine, without {field}", Rules(**{field: False})) for field in Rules._fields)
