"""The hosts that share a spool: which of them live, as far as is known here, and what runs on each."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from queuectl.core.names import is_worker, parse_time
from queuectl.core.text import format_count, format_seconds
from queuectl.spool.reading import query
from queuectl.spool.system import beats, clock, host, lease
from queuectl.spool.system.beats import BEAT, LOST, Mark
from queuectl.spool.system.layout import Layout

HERE, ALIVE, LOST_CONTACT, LEFT, GONE = "here", "alive", "lost", "left", "gone"
"""What is known of a host. `alive` is also one that has not been watched for a minute yet."""
SKEW = 30.0
"""Seconds by which clocks may differ before that is worth a word: a beat can be that old when it is seen."""


@dataclass(frozen=True, slots=True)
class HostState:
    """A host as `web1.k7f3q2`, with what its name is in full, if a worker's file says; and what is known of it.

    `silent` is for how many seconds its beat is known not to have moved; `ahead` by how many its clock is ahead of this
    one's, to about ten seconds, None if that is not known.
    """

    host: str
    name: str
    contact: str
    silent: float
    ahead: float | None
    mark: Mark | None
    workers: tuple[str, ...]
    runs: tuple[str, ...]

    @property
    def advice(self) -> str:
        """What to say of one that has lost contact, with the line to type; empty for any other."""
        if self.contact != LOST_CONTACT:
            return ""
        jobs = f", {format_count(len(self.runs), 'job')} may still run there" if self.runs else ""
        silent = f"no beat for {format_seconds(max(self.silent, LOST))} or more"
        return f"{self.host} has lost contact: {silent}{jobs}; if it is down for good: queuectl worker gone {self.host}"

    @property
    def clock_problem(self) -> str:
        """What to say of a clock that differs; empty if it does not."""
        if self.ahead is None or abs(self.ahead) < SKEW:
            return ""
        word = "ahead" if self.ahead > 0 else "behind"
        return f"the clock of {self.host} is about {format_seconds(abs(self.ahead))} {word}"

    @property
    def problems(self) -> list[str]:
        """What to say of it, if anything."""
        return [text for text in (self.advice, self.clock_problem) if text]

    def to_json(self) -> dict[str, Any]:
        """The shape of one in `--json`."""
        return {
            "host": self.host,
            "name": self.name,
            "contact": self.contact,
            "silent": round(self.silent, 1),
            "clock_ahead": None if self.ahead is None else round(self.ahead, 1),
            "workers": list(self.workers),
            "runs": list(self.runs),
        }


def list_hosts(layout: Layout, infos: Mapping[str, Mapping[str, Any]] | None = None) -> list[HostState]:
    """Those of a shared spool that work, or of which something is left. `infos` is what its workers' files say."""
    if not layout.shared:
        return []
    own = host.here(layout)
    seen = beats.Watch(own).look(layout)
    infos = _read_infos(layout) if infos is None else infos
    lost = {str(beat) for info in infos.values() for beat in _list(info.get("lost"))}
    workers: dict[str, set[str]] = {}
    runs: dict[str, list[str]] = {}
    for worker in infos:
        workers.setdefault(lease.host_of(worker), set()).add(worker)
    for name in query.running(layout):
        workers.setdefault(lease.host_of(name.worker), set()).add(name.worker)
        runs.setdefault(lease.host_of(name.worker), []).append(name.id)
    found = []
    for each in sorted(
        workers.keys() | {name for name, (mark, _) in seen.items() if not mark.is_gone and not mark.has_left}
    ):
        mark, silent = seen.get(each, (None, 0.0))
        known = [infos[worker] for worker in sorted(workers.get(each, ())) if worker in infos]
        found.append(
            HostState(
                each,
                next((str(info["host"]) for info in known if info.get("host")), each.rpartition(".")[0]),
                _contact(each == own.name, mark, silent, lost),
                silent,
                None if each == own.name or mark is None else _ahead(known, mark, silent),
                mark,
                tuple(sorted(workers.get(each, ()))),
                tuple(sorted(runs.get(each, ()))),
            )
        )
    return found


def _contact(is_here: bool, mark: Mark | None, silent: float, lost: set[str]) -> str:
    if mark is not None and mark.is_gone:
        return GONE
    if is_here:
        return HERE
    if mark is not None and mark.has_left:
        return LEFT
    return LOST_CONTACT if silent >= LOST or str(mark) in lost else ALIVE


def _ahead(infos: list[Mapping[str, Any]], mark: Mark, silent: float) -> float | None:
    """From when the host says that its last beat was, and when it was first seen here."""
    for info in infos:
        if mark.number is not None and info.get("beat") == mark.number and silent < LOST:
            try:
                beat_at = parse_time(str(info.get("beat_at")))
            except ValueError:
                return None
            ahead = (beat_at - clock.now()).total_seconds() + silent
            return ahead + BEAT / 2 if ahead < 0 else ahead
    return None


def _read_infos(layout: Layout) -> dict[str, Mapping[str, Any]]:
    names = (entry.removesuffix(".json") for entry in os.listdir(layout.workers) if entry.endswith(".json"))
    return {worker: lease.read_worker(layout, worker) for worker in names if is_worker(worker)}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
