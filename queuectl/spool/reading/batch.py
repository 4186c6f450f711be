"""How far a group of jobs is: how many have ended, how fast, and when the rest will have. From names alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from queuectl.core import groups
from queuectl.core.admission import Workers, of_group, of_pause
from queuectl.core.names import FinishedName, Name, RunningName
from queuectl.core.result import State
from queuectl.spool.reading import query
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
        rounded = {name: None if value is None else round(value, 3) for name, value in self._rates()}
        return {**self._asdict(), **rounded}

    def _rates(self) -> tuple[tuple[str, float | None], ...]:
        return ("per_minute", self.per_minute), ("left", self.left)


def look(layout: Layout, group: str, now: datetime) -> Batch:
    """From listings of the directories; no job is left out or counted twice because it moves during them."""
    counts = Counter[str]()
    ended: list[FinishedName] = []
    last_start = now
    for state, name in _names(layout, group):
        if isinstance(name, FinishedName):
            result = name.result
            if result.is_skipped:
                counts[f"skipped_{state}"] += 1
            else:
                counts["done" if result.is_success else "failed" if result.is_failure else "cancelled"] += 1
            if result.is_success or result.is_failure:
                ended.append(name)
        elif isinstance(name, RunningName):
            counts["running"] += 1
        else:
            counts["held" if name.is_held else "waiting"] += 1
            is_timed = not name.is_held and not name.is_waiting
            last_start = max(last_start, name.run_at) if is_timed else last_start
    numbers: dict[str, Any] = dict(counts)
    batch = Batch(group, counts.total(), **numbers)
    if not (batch.running or batch.waiting):
        return batch
    ended.sort(key=lambda name: name.finished_at)
    recent = ended[-_RECENT:]
    reason, places = _places(layout, group, now)
    left = None
    if recent and reason is None:
        # What runs has run for some time: for half of it, lacking a better estimate.
        mean = sum(name.duration for name in recent) / len(recent)
        left = max(mean * max(1.0, (batch.waiting + batch.running / 2) / places), (last_start - now).total_seconds())
    return batch._replace(per_minute=_rate(recent, now), left=left, reason=reason)


def _names(layout: Layout, group: str) -> Iterator[tuple[State, Name]]:
    """Each job once. Jobs move on during the listings, which go the same way, and from running/ back to pending/, so
    running/ is listed on both sides of it."""
    mark = f"-{group}."
    seen: set[str] = set()
    for state in (State.RUNNING, State.PENDING, State.RUNNING, State.DONE, State.DEAD):
        for names in query.iterate_names(layout, state):
            for text in names:
                name = query.parse_name(state, text) if mark in text else None
                if name is not None and groups.is_in(name.id, group) and name.id not in seen:
                    seen.add(name.id)
                    yield state, name


def _places(layout: Layout, group: str, now: datetime) -> tuple[str | None, int]:
    """Why none of the group is started, if that is so; and how many of it may run at once."""
    workers = Workers.of(list_workers(layout), f"{group}.x")
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
    return (None if workers.number else "no living worker takes them"), max(1, places)


def _rate(recent: Sequence[FinishedName], now: datetime) -> float | None:
    """How many end in a minute, since the first of these began."""
    if not recent:
        return None
    seconds = (now - recent[0].finished_at).total_seconds() + recent[0].duration
    return 60 * len(recent) / max(1.0, seconds)
