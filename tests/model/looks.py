"""What a look at the spool may miss while jobs move: directories are listed one after the other.

`M` is a job that fails and is tried again: pending -> running -> pending -> running -> done. Its log never moves, and
whoever moves it holds the lock of the log, `held/M=WHO`, from before its first move until after its last: the submitter
until it has published, a worker as long as the attempt takes.
"""

from __future__ import annotations

from typing import Any

from tests.model.interleavings import Actor, Files, Model, Program, create, do, listing, remove, rename

STATES = ("pending", "running", "done", "dead")


def moves(times: int, *, locks: bool) -> Program:
    for left in tuple(range(times)):
        if locks:
            locked: Any = False
            while not locked:
                locked = yield do("lock log/M", lambda files: _lock(files, "M"))
        yield rename("pending/M", "running/M")
        yield rename("running/M", "done/M" if left == times - 1 else "pending/M")
        if locks:
            yield remove("held/M=M")
            locked = None


def look(passes: int, *, by_logs: bool = False, locks: bool = False) -> Program:
    """Where the job is: all that any listing showed. With `locks`, what no listing showed is looked for again under the
    lock of its log, and has not ended while that cannot be had."""
    found: tuple[str, ...] = ()
    for turn in tuple(range(passes)):  # noqa: B007 - part of the place
        for state in ("logs",) if by_logs else STATES:
            names = yield listing(f"{state}/")
            found += tuple(name.split("/")[1] for name in names)
    if locks and "M" not in found:
        locked = yield do("lock log/M", lambda files: _lock(files, "look"))
        if not locked:
            return
        for state in STATES:
            names = yield listing(f"{state}/")
            found += tuple(name.split("/")[1] for name in names)
        yield remove("held/M=look")
    if "M" not in found:
        yield create("was/missed")


def _lock(files: Files, me: str) -> tuple[Files, bool]:
    is_free = not any(name.startswith("held/M=") for name in files)
    return (files | {f"held/M={me}"}, True) if is_free else (files, False)


def never(files: Files) -> str | None:
    return "a job that was there all the time was not seen" if "was/missed" in files else None


def model(name: str, passes: int, times: int, *, by_logs: bool = False, locks: bool = False) -> Model:
    actors = (
        Actor("look", lambda: look(passes, by_logs=by_logs, locks=locks)),
        Actor("M", lambda: moves(times, locks=locks)),
    )
    return Model(name, ("pending/M", "logs/M"), actors, never, crashes=0)


BROKEN = (
    model("looks: the four directories, once", 1, 2),
    model("looks: the four directories, twice, and it moves a lot", 2, 4),
)
SOUND = (
    model("looks: the four directories, twice, one step back in all", 2, 2),
    model("looks: the names in logs/", 1, 6, by_logs=True),
    model("looks: twice, then once more under the lock of its log", 2, 4, locks=True),
)
