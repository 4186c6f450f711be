"""`max-failed`: so many failures after which a group pauses itself, here 2. What counts, and what a resume does to it.

    dead/N      the N-th failure of the group
    since/N     failures up to the N-th do not count any more, which a resume writes
    paused/N    the pause, which says from where was counted: it is in force only while that is still so
    end/SLOT    a slot is through

A slot settles jobs that fail: rename, read since when failures count, count, pause. Since somebody may have resumed
the group after that, it then looks whether they still count from there, and if not does it all again. It removes
nothing, so it never ends a pause that somebody else has made. Not modelled: the time for which nobody counts again,
which only lets more jobs fail.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.model.interleavings import Actor, Files, Model, Program, Step, create, do

MOST = 2


class Rules(NamedTuple):
    """The protocol; each other value of a field is a mistake that somebody could make."""

    since: bool = True  # only failures after the last resume count, or all that lie in dead/
    marks: bool = True  # a pause that was due before a resume is not in force
    again: bool = True  # whoever has paused looks whether the group was resumed in the meantime


def _failures(files: Files) -> int:
    return sum(name.startswith("dead/") for name in files)


def _last(files: Files, head: str) -> int | None:
    return max((int(name[len(head) :]) for name in files if name.startswith(head)), default=None)


def _since(files: Files) -> int:
    return _last(files, "since/") or 0


def _is_paused(rules: Rules, files: Files) -> bool:
    marked = _last(files, "paused/")
    return marked is not None and (marked == _since(files) or not rules.marks)


def slot(rules: Rules, me: str, jobs: int) -> Program:
    """Its jobs fail, one after the other."""
    for _job in tuple(range(jobs)):
        yield do("rename a job to dead/", lambda files: (files | {f"dead/{_failures(files) + 1}"}, None))
        while True:
            since: Any = yield do("read since when", lambda files: (files, _since(files)))
            number: Any = yield do("count", lambda files: (files, _failures(files) - (since if rules.since else 0)))  # noqa: B023
            is_paused: Any = yield do("look whether it is paused", lambda files: (files, _is_paused(rules, files)))
            if number < MOST or is_paused:
                break
            yield do("pause", lambda files: (_put(files, "paused/", since), None))  # noqa: B023
            now: Any = yield do("read since when", lambda files: (files, _since(files)))
            if now == since or not rules.again:
                break
            since = number = is_paused = now = None
        since = number = is_paused = now = None
    yield create(f"end/{me}")


def _put(files: Files, head: str, number: int) -> Files:
    return frozenset(name for name in files if not name.startswith(head)) | {f"{head}{number}"}


def resume(rules: Rules, times: int) -> Program:
    """Somebody resumes the group whenever it is paused."""
    for _time in tuple(range(times)):
        yield Step("resume", lambda files: [(_resumed(files), None)] if _is_paused(rules, files) else [])


def _resumed(files: Files) -> Files:
    without = frozenset(name for name in files if not name.startswith("paused/"))
    return _put(without, "since/", _failures(files))


def is_over(files: Files) -> bool:
    return {"end/V", "end/W"} <= files


def model(name: str, rules: Rules, v: int, w: int, resumes: int) -> Model:
    def never(files: Files) -> str | None:
        is_failing = _failures(files) - _since(files) >= MOST
        if is_over(files) and is_failing != _is_paused(rules, files):
            return "not paused although it fails" if is_failing else "paused although it has not failed again"
        return None

    actors = (
        Actor("V", lambda: slot(rules, "V", v)),
        Actor("W", lambda: slot(rules, "W", w)),
        Actor("user", lambda: resume(rules, resumes)),
    )
    return Model(name, (), actors, never, is_over, 0)


BROKEN = (
    model("all that lie in dead/ count, also after a resume", Rules(since=False), 2, 1, 1),
    model("a slow count pauses what was resumed", Rules(marks=False), 2, 1, 1),
    model("a slow pause takes the place of one in force", Rules(again=False), 3, 3, 2),
)
SOUND = (
    model("failures since the resume count, and whoever pauses looks again", Rules(), 3, 2, 2),
    model("two slots, as many failures each", Rules(), 3, 3, 2),
    model("nobody resumes", Rules(), 3, 3, 0),
)
