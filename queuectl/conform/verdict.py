"""Verdicts: what was found of each rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

Problems = dict[str, list[str]]
"""For each rule that was tried what was found wrong."""


@dataclass(frozen=True)
class Rule:
    """A rule, and what it promises."""

    name: str
    promise: str


@dataclass(frozen=True)
class Verdict:
    """`problems` says what is wrong; `skipped`, if there are none, why it could not be tried."""

    rule: Rule
    problems: tuple[str, ...] = ()
    skipped: str = ""

    @property
    def word(self) -> str:
        return "failed" if self.problems else "skipped" if self.skipped else "ok"

    def to_json(self) -> dict[str, object]:
        return {
            "rule": self.rule.name,
            "verdict": self.word,
            "promise": self.rule.promise,
            "problems": list(self.problems),
            "skipped": "" if self.problems else self.skipped,
        }


class SkipError(Exception):
    """The rules of a session cannot be tried here."""


@dataclass(frozen=True)
class Session:
    """One run of what is judged, in a directory of its own, and the rules that it decides."""

    rules: tuple[Rule, ...]
    run: Callable[[Path], Problems]


def judge(
    sessions: Iterable[Session], wanted: Iterable[str], explain: Callable[[], str] = lambda: ""
) -> Iterator[Verdict]:
    """The verdicts of all rules, or of the wanted ones, as they are found.

    `explain` says after each session whether what is judged has ended in the middle of it. Then it was not seen whether
    it keeps the rules for which nothing wrong was found.
    """
    only = {*wanted}
    for session in sessions:
        rules = [rule for rule in session.rules if not only or rule.name in only]
        if not rules:
            continue
        found: Problems = {}
        skipped = ""
        with TemporaryDirectory(prefix="conform-", ignore_cleanup_errors=True) as directory:
            try:
                found = session.run(Path(directory))
            except SkipError as error:
                skipped = str(error)
        why = explain()
        for rule in rules:
            problems = tuple(found.get(rule.name, ()))
            yield Verdict(rule, (*problems[:1], why) if why and problems else problems, skipped or why)
