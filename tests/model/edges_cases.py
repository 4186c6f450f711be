"""What is asked of the edges: which readings break, by what trace, and that the rules in `Rules()` hold."""

from __future__ import annotations

from collections.abc import Callable

from tests.model.edges import Child, Plan, Rules, end_of, place_of, repair, run, submit, verdict_of
from tests.model.edges_by_hand import by_hand
from tests.model.interleavings import Actor, Files, Model, Program

ONE: Plan = {"C": Child("after", ("A",))}
TWO: Plan = {"C": Child("after", ("A", "B"))}
END: Plan = {"C": Child("after_end", ("A", "B"))}
FAILED: Plan = {"C": Child("after_failed", ("A", "B"))}
ONE_FAILED: Plan = {"C": Child("after_failed", ("A",))}
CHAIN: Plan = {"C": Child("after", ("A",)), "D": Child("after", ("C",))}
UNFAILED: Plan = {"C": Child("after_failed", ("A",)), "D": Child("after", ("C",))}
DIAMOND: Plan = {"C": Child("after", ("A",)), "D": Child("after_end", ("A", "C"))}
WAITING = ("pending/C:wait", "after/A/C")


def never(plan: Plan) -> Callable[[Files], str | None]:
    def wrong(files: Files) -> str | None:
        for id in ("A", "B", *plan):
            heads = (f"pending/{id}:", f"dead/{id}:", f"done/{id}:")
            if sum(name == f"done/{id}" or name.startswith(heads) for name in files) > 1:
                return f"{id} has two files"
        for id, (rule, deps) in plan.items():
            if f"was/done.{id}" in files and f"was/{id}:released" not in files:
                if place_of(files, id).startswith("skipped"):
                    return f"{id} is skipped and has run"
                done = [dep for dep in deps if f"was/done.{dep}" in files]
                ended = {*done, *(dep for dep in deps if f"was/ended.{dep}" in files)}
                failed = any(f"was/failed.{dep}" in files for dep in deps)
                holds = {
                    "after": len(done) == len(deps),
                    "after_end": ended == {*deps},
                    "after_failed": ended == {*deps} and failed,
                }
                if not holds[rule]:
                    return f"{id} has run before its condition held"
        return None

    return wrong


def finally_(plan: Plan) -> Callable[[Files], bool]:
    def is_at_rest(files: Files) -> bool:
        for id, (rule, deps) in plan.items():
            place, ends = place_of(files, id), tuple(end_of(files, f"after/{dep}/{id}") for dep in deps)
            if place == "due":
                return False
            if place in ("wait", "skipped:done", "skipped:dead") and place != verdict_of(Rules(), rule, ends):
                return False
            if place == "wait" and not any(place_of(files, dep) in ("wait", "hold", "due") for dep in deps):
                return False
        children = {name.split("/")[2].removesuffix("+") for name in files if name.startswith("after/")}
        return all(place_of(files, child) in ("wait", "hold", "skipped:done", "skipped:dead") for child in children)

    return is_at_rest


def case(
    name: str, plan: Plan, rules: Rules, *names: str, actors: str = "", verbs: tuple[str, ...] = (),
    times: int = 1, crashes: int = 0, runs: str = "A",
) -> Model:  # fmt: skip
    """`actors`: s submits C, r repairs, u is a user who does `times` of `verbs`. `runs`: dependencies that end some
    way."""
    makers: dict[str, Callable[[], Program]] = {}
    for id in runs:
        makers[f"worker {id}"] = lambda id=id: run(rules, id, plan, "done", "exit1")  # type: ignore[misc]
    if "s" in actors:
        makers["submit"] = lambda: submit(rules, "C", plan)
    if "u" in actors:
        makers["user"] = lambda: by_hand(rules, plan, verbs, times)
    all_actors = [Actor(actor, program) for actor, program in makers.items()]
    for id in plan:
        program = lambda id=id: run(rules, id, plan, "done")  # noqa: E731
        all_actors.append(Actor(f"runs {id}", program, may_crash=False))
    if "r" in actors:
        all_actors.append(Actor("repair", lambda: repair(rules, plan), may_crash=False))
    return Model(name, names, tuple(all_actors), never(plan), finally_(plan), crashes)


A, B = "pending/A:due", "pending/B:due"
VERBS = ("retry A", "cancel A", "cancel C", "hold C", "unhold C", "release C", "rm C", "rm A", "drop A", "prune A")
_REMOVED = Rules(fulfilled="removed", lost="fulfilled")
_OLD = Rules(alone=False)
"""Everybody runs the whole routine: what the readings below leave out is not made up for by `act_alone`."""

BROKEN = (
    case("the submitter looks before it publishes", ONE, Rules(look="before"), A, actors="s"),
    case("the edge goes before the child is skipped", TWO,
         _REMOVED._replace(skip="edge first", keep=False, alone=False),
         A, B, *WAITING, "after/B/C", runs="AB"),
    case("a skipped child keeps no edge, and nobody looks again", ONE,
         _REMOVED._replace(keep=False, again="never", alone=False), A, *WAITING, actors="ur", verbs=("retry A",)),
    case("whoever skips does not look again (and no repairer)", ONE, _OLD._replace(again="never"), A, *WAITING,
         actors="u", verbs=("retry A",)),
    case("edges of a child not yet there are cleaned away", ONE, _REMOVED._replace(clean="bare"), A, actors="sr"),
    case("release of a held child that waits lets it go", ONE, Rules(release="at once"), A, *WAITING, actors="u",
         verbs=("hold C", "unhold C"), times=2),
    case("an edge of after_failed goes when its end is known", FAILED, _REMOVED._replace(failed="removed", alone=False),
         A, B, "pending/C:wait", "after/A/C", "after/B/C", runs="AB"),
    case("others act on the edges of a child that is not there yet", TWO,
         _REMOVED._replace(touch="always", alone=False), A, B, actors="s", runs="AB"),
    case("a backup with the child but without its edge", ONE, Rules(lost="fulfilled"), A, "pending/C:wait", actors="r"),
    case("who acts alone does not look whether its dependency is still there", ONE, Rules(verify=False), A, actors="su",
         verbs=("retry A",)),
    case("who acts alone skips, and does not look again (and no repairer)", ONE, Rules(again="never"), A, *WAITING,
         actors="u", verbs=("retry A",)),
    case("who finds a child renamed leaves it to others", ONE, Rules(persists=False), A, *WAITING, "set/C"),
    case("who marks the last open edge lets it go, and one is lost", TWO, Rules(finish="at once"), A, B, *WAITING,
         runs="AB"),
)  # fmt: skip

FINE, COARSE = Rules(), Rules(fine=False)
SOME = ("retry A", "cancel A", "cancel C", "release C", "drop A", "prune A")
BOTH = (A, B, *WAITING, "after/B/C")
TAIL = (A, *WAITING, "pending/D:wait", "after/C/D")
SOUND = (
    case("submit meets settle, without a repairer", ONE, FINE, A, actors="s"),
    case("submit meets settle, by the whole routine", ONE, _OLD, A, actors="s"),
    case("submit meets settle of a failure that is waited for", ONE_FAILED, FINE, A, actors="s"),
    case(
        "a new priority while it is decided", ONE, FINE, A, *WAITING, "set/C", actors="u", verbs=("retry A", "cancel A")
    ),
    case("submit meets settle, 2 crashes", ONE, FINE, A, actors="sr", crashes=2),
    case("two that end, crash", TWO, COARSE, *BOTH, actors="r", runs="AB", crashes=1),
    case("after_end, by hand", END, COARSE, *BOTH, actors="u", verbs=SOME, runs="AB"),
    case("a backup with the child but without its edge", ONE, FINE, A, "pending/C:wait", actors="r"),
)
LARGE = (
    case("by hand while it is submitted", ONE, FINE, A, actors="su", verbs=("retry A", "cancel A", "prune A")),
    case("by hand, crash", ONE, FINE, A, *WAITING, actors="ur", verbs=SOME, crashes=1),
    case("two that end, by hand", TWO, COARSE, *BOTH, actors="u", verbs=SOME, runs="AB"),
    case("after_failed, by hand", FAILED, COARSE, *BOTH, actors="u", verbs=SOME, runs="AB"),
    case("a failure that does not come skips a chain", UNFAILED, COARSE, *TAIL, actors="u", verbs=SOME),
    case("a diamond with clean-up", DIAMOND, COARSE, *TAIL, "after/A/D", actors="u", verbs=SOME),
    case("a chain is skipped and brought back", CHAIN, COARSE, *TAIL, actors="u", verbs=SOME),
    case("a backup with the child and one of its edges", TWO, FINE, A, B, *WAITING, actors="r", runs="AB"),
    case("submit meets two that settle, without a repairer", TWO, FINE, A, B, actors="s", runs="AB"),
    case("by hand, twice", ONE, FINE, A, *WAITING, actors="ur", verbs=VERBS, times=2),
    case("by hand, all of it, crash", ONE, FINE, A, *WAITING, actors="ur", verbs=VERBS, crashes=1),
    case("after_failed, crash", FAILED, COARSE, *BOTH, actors="r", runs="AB", crashes=1),
    case("a chain, crash", CHAIN, COARSE, *TAIL, actors="r", crashes=1),
)
"""Up to 1.6 million states (by hand, twice: more than 3): for `python -m tests.model.edges_cases` alone, an hour."""
MOST = 8_000_000
"""States of a large case."""

LARGE_BROKEN = (
    case("a fulfilled edge is removed, and its child was skipped in the meantime", ONE,
         _REMOVED._replace(again="moves", alone=False), A, *WAITING, actors="ur", verbs=("cancel A", "retry A"),
         times=2),
    case("two mark the last two edges, and do not look again", TWO, _OLD._replace(again="moves"), A, B,
         actors="s", runs="AB"),
)  # fmt: skip


if __name__ == "__main__":
    import sys

    from tests.model.interleavings import search, show

    words = sys.argv[1:]
    for models, expected in ((BROKEN, "BROKEN"), (LARGE_BROKEN, "BROKEN"), (SOUND, "SOUND "), (LARGE, "SOUND ")):
        for model in models:
            if not words or any(word in model.name for word in words):
                print(expected, show(search(model, most=MOST)), flush=True)
