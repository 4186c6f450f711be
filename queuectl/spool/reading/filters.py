"""Selecting jobs: by their names, and by their bodies only when searching for a text or a field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from queuectl.core import groups
from queuectl.core.job import Job
from queuectl.core.names import FinishedName, Name, PendingName, RunningName
from queuectl.core.result import State
from queuectl.core.values import Condition
from queuectl.spool.reading import query
from queuectl.spool.system.layout import Layout

RESULT_KINDS = ("exit", "signal", "timeout", "lost", "cancelled", "invalid", "skipped")


@dataclass(frozen=True, slots=True)
class Filter:
    """What a job must match. `where` is called with its parsed name.

    `since` and `until` are compared with when it finished, started or may start; `results` are results, kinds of
    results (`exit`, `signal`) or `failed` for all but success; it must be in one of `groups`, if there are any; `match`
    is searched for in the id and the command; all `conditions` must be met.
    """

    states: tuple[State, ...]
    where: Callable[[Name], bool] | None = None
    since: datetime | None = None
    until: datetime | None = None
    results: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    match: re.Pattern[str] | None = None
    conditions: tuple[Condition, ...] = ()

    def takes(self, name: Name) -> bool:
        """Whether a job of that name may match, whatever its body says."""
        at = time_of(name)
        return (
            (self.where is None or self.where(name))
            and (self.since is None or at >= self.since)
            and (self.until is None or at <= self.until)
            and (not self.results or _has_result(name, self.results))
            and (not self.groups or any(groups.is_in(name.id, group) for group in self.groups))
        )

    def matches(self, job: Job) -> bool:
        """Whether the job's id or command contains the text, and its fields meet the conditions."""
        has_text = self.match is None or any(self.match.search(text) for text in (job.id, command_line(job)))
        return has_text and all(condition.takes(job) for condition in self.conditions)


def time_of(name: Name) -> datetime:
    """When the job finished, started or may start, depending on its state."""
    if isinstance(name, PendingName):
        return name.run_at
    return name.started_at if isinstance(name, RunningName) else name.finished_at


def command_line(job: Job) -> str:
    """The command as one text, words with spaces between them."""
    command = job.command or ""
    return command if isinstance(command, str) else " ".join(command)


def _has_result(name: Name, wanted: tuple[str, ...]) -> bool:
    if not isinstance(name, FinishedName):
        return False
    result = name.result
    words = {str(result), result.kind}
    if result.is_success or not result.is_skipped:
        words.add("succeeded" if result.is_success else "failed")
    return not words.isdisjoint(wanted)


def select(layout: Layout, wanted: Filter, limit: int | None = None) -> Iterator[Job]:
    """The matching jobs: pending and running in the order of `ls`, finished ones newest first.

    Bodies are read as the iterator advances.
    """
    found = 0
    is_plain = wanted == Filter(wanted.states)
    for state in wanted.states:
        for text in query.sorted_names(layout, state, limit if is_plain else None):
            if limit is not None and found >= limit:
                return
            name = query.parse_name(state, text)
            if name is None or not wanted.takes(name):
                continue
            job = query.load(layout, state, text)
            if job is not None and wanted.matches(job):
                found += 1
                yield job


def select_names(layout: Layout, wanted: Filter) -> Iterator[tuple[State, str]]:
    """Where the files of the same jobs are, in the same order. Bodies are read only when searching in them."""
    if wanted.match is not None or wanted.conditions:
        yield from ((job.state, str(job.name)) for job in select(layout, wanted))
        return
    for state in wanted.states:
        for text in query.sorted_names(layout, state, None):
            name = query.parse_name(state, text)
            if name is not None and wanted.takes(name):
                yield state, text
