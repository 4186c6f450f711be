"""What a job waits for, and what becomes of it: the rule of its body, and how each thing that it waits for has ended.

    after          all must end in done/
    after_end      all must end, however
    after_failed   all must end, and at least one must have failed

An edge is *fulfilled* once and for good, so what happens to that dependency later does not matter. Nothing here touches
the disk; the moves are in queuectl/spool/moves/dependents.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any

from queuectl.core import groups
from queuectl.core.names import FinishedName, Name, is_valid_id
from queuectl.core.result import State
from queuectl.errors import UsageError
from queuectl.tuples import NamedTuple

MAX_REFERENCES = 100_000
"""The most ids and groups that a job's list may name."""


class Rule(StrEnum):
    """How a job waits; the name of the field of its body."""

    AFTER = "after"
    AFTER_END = "after_end"
    AFTER_FAILED = "after_failed"


RULES = tuple(Rule)


class Condition(NamedTuple):
    """What a job waits for: ids, and groups with a dot at their end, as they were typed."""

    rule: Rule
    references: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(reference for reference in self.references if not is_group(reference))

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of groups, without the dot."""
        return tuple(reference[:-1] for reference in self.references if is_group(reference))


def is_group(reference: str) -> bool:
    return reference.endswith(".")


def is_reference(text: str) -> bool:
    """Whether that is an id, or the name of a group and a dot."""
    return groups.is_name(text[:-1]) if is_group(text) else is_valid_id(text)


def condition_of(fields: Mapping[str, Any] | None) -> Condition | None:
    """What a body asks for; None if it does not wait, or asks for nothing that can be understood."""
    for rule in RULES:
        named = (fields or {}).get(rule)
        if isinstance(named, str):
            named = [named]
        if named and isinstance(named, list) and all(isinstance(text, str) and is_reference(text) for text in named):
            return Condition(rule, tuple(dict.fromkeys(named)))
    return None


TEXTS = {
    "after": (
        "Start when these have ended well; commas or repeated, GROUP. for a group.",
        "Starts after", "extract,lr. once they are done",
    ),
    "after_end": ("Start when these have ended, however.", "Starts after the end of", "however they end"),
    "after_failed": (
        "Start when these have ended, and at least one of them has failed.",
        "Starts after a failure of", "once all have ended, if one has failed",
    ),
}  # fmt: skip
"""Of each rule the help of its option, and its label and hint on a form."""


def check(problems: list[str], key: str, value: Any) -> tuple[str, ...] | None:
    """Judge the value in a job's file; see `fields.Check`."""
    named = [value] if isinstance(value, str) else value
    if not isinstance(named, list) or not all(isinstance(text, str) and is_reference(text) for text in named):
        problems.append(f'"{key}" must be an array of ids, and of groups with a dot at their end: ["extract", "lr."]')
        return None
    if len(named) > MAX_REFERENCES:
        problems.append(f'"{key}" names more than {MAX_REFERENCES} jobs; put them into a group')
    return tuple(dict.fromkeys(named)) or None


def parse_text(text: str, _: datetime) -> list[str]:
    """Ids and groups that were typed with commas between them. Raises UsageError."""
    try:
        return parse(Rule.AFTER, text)[1]
    except ValueError as error:
        raise UsageError(f"{error}", hint="give ids with commas: extract,lr.") from None


_SLURM = {
    "afterok": Rule.AFTER, "aftercorr": Rule.AFTER, "afterany": Rule.AFTER_END, "after": Rule.AFTER_END,
    "afternotok": Rule.AFTER_FAILED,
}  # fmt: skip


def parse(rule: Rule, text: str) -> tuple[Rule, list[str]]:
    """What was typed for a rule: ids and groups with commas, or as Slurm has it (`afterok:12:13`), which says its rule.

    Raises ValueError with what is wrong.
    """
    match = re.fullmatch(r"(after(?:ok|corr|any|notok)?):(.+)", text.strip(), re.ASCII)
    if match is not None:
        rule, text = _SLURM[match[1]], match[2].replace(":", ",")
    names = [name.strip() for name in text.split(",")]
    wrong = next((name for name in names if not is_reference(name)), None)
    if wrong is not None or not names:
        raise ValueError(f"{wrong!r} is neither an id nor a group with a dot at its end")
    return rule, names


# --- how it ends


class End(Enum):
    """Where a dependency is, as far as those that wait for it are concerned."""

    OPEN = "has not ended"
    DONE = "done"
    FAILED = "dead"  # by exit, signal, timeout or loss
    ENDED = "ended without failing"  # cancelled or invalid
    SKIPPED_DONE = "skipped, in done"
    SKIPPED_DEAD = "skipped, in dead"
    GONE = "gone"
    FULFILLED = "fulfilled"
    LOST = "without an edge"


_ENDED = frozenset({End.DONE, End.FAILED, End.ENDED, End.SKIPPED_DONE, End.SKIPPED_DEAD, End.GONE})


def end_of(place: tuple[State, Name] | None) -> End:
    """The end of a dependency that is there; None for one that is gone."""
    if place is None:
        return End.GONE
    state, name = place
    if not isinstance(name, FinishedName):
        return End.OPEN
    if name.result.is_skipped:
        return End.SKIPPED_DONE if state is State.DONE else End.SKIPPED_DEAD
    if state is State.DONE:
        return End.DONE
    return End.FAILED if name.result.is_failure else End.ENDED


class Verdict(Enum):
    """What becomes of a job that waits, or was skipped."""

    WAIT = "wait"
    DUE = "due"
    SKIP_DONE = "skip, to done"
    SKIP_DEAD = "skip, to dead"

    @property
    def skips_to(self) -> State | None:
        return {Verdict.SKIP_DONE: State.DONE, Verdict.SKIP_DEAD: State.DEAD}.get(self)


def verdict_of(rule: Rule, ends: Iterable[End]) -> Verdict:
    """Of the ends of all its dependencies. A job that lacks an edge waits."""
    found = {*ends}
    bad = found & _ENDED - {End.DONE}
    waits = bool(found & {End.OPEN, End.LOST})
    if rule is Rule.AFTER_FAILED:
        return Verdict.WAIT if waits else Verdict.DUE if End.FAILED in found else Verdict.SKIP_DONE
    if rule is Rule.AFTER and bad:
        return Verdict.SKIP_DONE if bad == {End.SKIPPED_DONE} else Verdict.SKIP_DEAD
    return Verdict.WAIT if waits else Verdict.DUE


def is_fulfilled(rule: Rule, end: End) -> bool:
    """Whether the edge to a dependency that has ended so is marked, for good."""
    if rule is Rule.AFTER_FAILED:
        return end in (End.DONE, End.GONE)
    return end is End.DONE or (rule is Rule.AFTER_END and end in _ENDED)


def is_impossible(rule: Rule, end: End) -> bool:
    """Whether an open edge that leads there keeps the job from ever starting."""
    return rule is Rule.AFTER and end in _ENDED and end is not End.DONE
