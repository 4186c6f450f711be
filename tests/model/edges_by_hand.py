"""What people do to jobs that wait, and to what these wait for: each begins with one rename (`edges`)."""

from __future__ import annotations

from tests.model.edges import Plan, Rules, decide, forget, inform, name_of, place_of
from tests.model.interleavings import Files, Program, Step, create, do, exists, rename

ENDS = ("exit1", "cancelled", "done")
SKIPPED = ("skipped:done", "skipped:dead")
MOVES = {
    "retry": ("due", ENDS, "was/{}:retried"),
    "cancel": ("cancelled", ("wait", "hold", "due"), "was/ended.{}"),
    "hold": ("hold", ("wait", "due"), ""),
    "unhold": ("wait", ("hold",), ""),
    "release": ("due", ("wait", *SKIPPED), "was/{}:released"),
    "rm": ("", ("wait", "hold", "due", *SKIPPED, *ENDS), "was/ended.{}"),
    "drop": ("", (*SKIPPED, "exit1", "cancelled"), "was/ended.{}"),
    "prune": (None, ENDS, ""),
}


def by_hand(rules: Rules, plan: Plan, verbs: tuple[str, ...], times: int = 1) -> Program:
    """A user who does any of these that can be done, so many times."""
    for left in tuple(range(times)):  # noqa: B007 - part of the place
        verb = yield Step("by hand", lambda files: [w for v in verbs if (w := first_step(rules, files, *v.split()))])
        yield from rest(rules, plan, *verb.split())


def first_step(rules: Rules, files: Files, verb: str, id: str) -> tuple[Files, str] | None:
    """The rename with which a command begins; of prune, the look whether any job waits for this one."""
    target, places, note = MOVES[verb]
    place = place_of(files, id)
    if place not in places:
        return None
    if target is None:
        return (
            (files, f"{verb} {id}") if not any(n.startswith(f"after/{id}/") and n[-1] != "+" for n in files) else None
        )
    if verb == "unhold" and rules.release == "at once":
        target = "due"
    new = ({name_of(id, target)} if target else set()) | ({note.format(id)} if note else set())
    return files - {name_of(id, place)} | new, f"{verb} {id}"


def rest(rules: Rules, plan: Plan, verb: str, id: str) -> Program:
    if verb == "prune":
        names = frozenset(name_of(id, place) for place in (*ENDS, *SKIPPED))
        yield do(f"delete {id}", lambda files: (files - names | {f"was/ended.{id}"}, None))
    if verb == "retry" and not rules.keep:  # found by their logs: which were skipped because of it?
        for child in tuple(plan):
            is_skipped = yield exists(f"dead/{child}:skipped")
            if is_skipped:
                yield create(f"after/{id}/{child}")
                yield rename(f"dead/{child}:skipped", f"pending/{child}:wait")
    if verb in ("cancel", "release") and id in plan:
        yield from forget(id, plan)
    if verb == "unhold" and rules.release == "looks":
        yield from decide(rules, id, plan)
    if verb in ("retry", "release"):
        yield from inform(rules, id, plan, "due")
    if verb == "cancel":
        yield from inform(rules, id, plan, "cancelled")
    if verb == "drop":
        yield from inform(rules, id, plan)
