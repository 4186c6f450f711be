"""How far a group of jobs is: how many have ended, how fast, and when the rest will have. From names alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from queuectl.core import groups
from queuectl.core.admission import Workers, of_group, of_pause
from queuectl.core.names import FinishedName, Name, RunningName
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.reading.groups import Tally
from queuectl.spool.reading.workers import list_workers
from queuectl.spool.system import groups as group_files
from queuectl.spool.system import pause
from queuectl.spool.system.layout import Layout

_RECENT = 50


class Batch(NamedTuple):
    """Jobs of a group. `cancelled` are dead ones that were cancelled or invalid, `failed` the other dead ones, but for
    those that were skipped: `skipped_done` and `skipped_dead`, by where they are.

    `per_minute` is how many ended, over the last fifty. `left` is an estimate in seconds of when all but held ones will
    have ended; None if nothing is left, or it cannot be estimated. `reason` is what keeps all of them from starting.
    """

    group: str
    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    running: int = 0
    waiting: int = 0
    held: int = 0
    skipped_done: int = 0
    skipped_dead: int = 0
    per_minute: float | None = None
    left: float | None = None
    reason: str | None = None

    @property
    def ended(self) -> int:
        return self.done + self.failed + self.cancelled + self.skipped

    @property
    def skipped(self) -> int:
        return self.skipped_done + self.skipped_dead

    @property
    def is_bad(self) -> bool:
        """Whether `queuectl wait` would exit with 1."""
        return bool(self.failed or self.cancelled or self.skipped_dead)

    def is_like(self, other: Batch) -> bool:
        """Whether the counts are the same, and what keeps jobs from starting."""
        return self[:10] == other[:10] and self.reason == other.reason

    def to_json(self) -> dict[str, Any]:
        """The documented shape of `--json`."""
        return {**self._asdict(), **self.rates()}

    def rates(self) -> dict[str, float | None]:
        """The part of that which is estimated."""
        both = {"per_minute": self.per_minute, "left": self.left}
        return {name: None if value is None else round(value, 3) for name, value in both.items()}


def look(layout: Layout, group: str, now: datetime) -> Batch:
    """From listings of the directories; no job is left out or counted twice because it moves during them."""
    return look_at(layout, [group], now)[group]


def look_at(layout: Layout, wanted: Collection[str], now: datetime) -> dict[str, Batch]:
    """The same for several groups, from the same listings."""
    seen = {group: _Seen(group, now) for group in wanted}
    for state, name in _names(layout, wanted):
        for group in groups.of(name.id):
            if group in seen:
                seen[group].add(state, name)
    if not any(each.is_going_on for each in seen.values()):
        return {group: each.batch for group, each in seen.items()}
    workers = list_workers(layout)
    return {group: each.estimate(*_places(layout, group, workers, now)) for group, each in seen.items()}


def look_at_active(layout: Layout, tallies: Mapping[str, Tally], now: datetime) -> dict[str, Batch]:
    """Of those that have jobs which are due or run."""
    active = {group for group, tally in tallies.items() if tally.ready or tally.running}
    return look_at(layout, active, now) if active else {}


class _Seen:
    """What the names say of a group."""

    def __init__(self, group: str, now: datetime) -> None:
        self._group, self._now, self._last_start = group, now, now
        self._counts = Counter[str]()
        self._ended: list[FinishedName] = []

    def add(self, state: State, name: Name) -> None:
        if isinstance(name, FinishedName):
            result = name.result
            if result.is_skipped:
                self._counts[f"skipped_{state}"] += 1
            else:
                self._counts["done" if result.is_success else "failed" if result.is_failure else "cancelled"] += 1
            if result.is_success or result.is_failure:
                self._ended.append(name)
        elif isinstance(name, RunningName):
            self._counts["running"] += 1
        else:
            self._counts["held" if name.is_held else "waiting"] += 1
            is_timed = not name.is_held and not name.is_waiting
            self._last_start = max(self._last_start, name.run_at) if is_timed else self._last_start

    @property
    def is_going_on(self) -> bool:
        return bool(self._counts["running"] or self._counts["waiting"])

    @property
    def batch(self) -> Batch:
        """The counts alone."""
        numbers: dict[str, Any] = dict(self._counts)
        return Batch(self._group, self._counts.total(), **numbers)

    def estimate(self, reason: str | None, places: int) -> Batch:
        """With the rate, and when it will have ended, if so many may run at once and there is no `reason` for none."""
        batch = self.batch
        if not self.is_going_on:
            return batch
        recent = sorted(self._ended, key=lambda name: name.finished_at)[-_RECENT:]
        left = None
        if recent and reason is None:
            # What runs has run for some time: for half of it, lacking a better estimate.
            mean = sum(name.duration for name in recent) / len(recent)
            rest = mean * max(1.0, (batch.waiting + batch.running / 2) / places)
            left = max(rest, (self._last_start - self._now).total_seconds())
        return batch._replace(per_minute=_rate(recent, self._now), left=left, reason=reason)


def _names(layout: Layout, wanted: Collection[str]) -> Iterator[tuple[State, Name]]:
    """Each job of these groups once. Jobs move on during the listings, which go the same way, and from running/ back to
    pending/, so running/ is listed on both sides of it."""
    mark = f"-{next(iter(wanted))}." if len(wanted) == 1 else "."
    seen: set[str] = set()
    for state in (State.RUNNING, State.PENDING, State.RUNNING, State.DONE, State.DEAD):
        for names in query.iterate_names(layout, state):
            for text in names:
                id = query.id_in(state, text) if mark in text else None
                if id is None or id in seen or not any(group in wanted for group in groups.of(id)):
                    continue
                name = query.parse_name(state, text)
                if name is not None:
                    seen.add(id)
                    yield state, name


def _places(layout: Layout, group: str, living: Iterable[Mapping[str, Any]], now: datetime) -> tuple[str | None, int]:
    """Why none of the group is started, if that is so; and how many of it may run at once."""
    workers = Workers.of(living, f"{group}.x")
    places = workers.slots
    paused = pause.read(layout, lambda: now)
    if paused is not None:
        return of_pause(paused).text, 1
    for name in groups.chain(group):
        found = group_files.read(layout, name, lambda: now)
        if found is None:
            continue
        why = next(of_group(found), None)
        if why is not None:
            return why.text, 1
        if found.limit is not None:
            places = min(places, found.limit)
        if found.seats is not None:
            places = min(places, len(found.seats))
    return (None if workers.number else "no living worker takes them"), max(1, places)


def _rate(recent: Sequence[FinishedName], now: datetime) -> float | None:
    """How many end in a minute, since the first of these began."""
    if not recent:
        return None
    seconds = (now - recent[0].finished_at).total_seconds() + recent[0].duration
    return 60 * len(recent) / max(1.0, seconds)
