"""The states of many jobs at once: from names alone, and one listing of each directory for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from queuectl.core.job import Job
from queuectl.core.names import is_valid_id
from queuectl.core.result import State
from queuectl.spool.reading import query
from queuectl.spool.system import files
from queuectl.spool.system.layout import Layout

UNKNOWN = "unknown"
"""What stands for the state of an id that the spool does not hold, or holds no longer."""


def states_of(layout: Layout, ids: Iterable[str]) -> dict[str, Job | None]:
    """The job of each of these whole ids, without its body, in their order; None if the spool does not hold it.

    RACE: a job that a worker gives back between two listings is in neither. Its log does not move, so it is only
    without a log that an id is unknown after one look (tests/spool/reading/test_states.py).
    """
    wanted = dict.fromkeys(ids)
    found = query.locate_all(layout, wanted.keys(), patience=1)
    missed = {id for id in wanted.keys() - found.keys() if _has_log(layout, id)}
    found |= query.locate_all(layout, missed) if missed else {}
    return {id: _job(layout, *found[id]) if id in found else None for id in wanted}


def _has_log(layout: Layout, id: str) -> bool:
    return is_valid_id(id) and not files.is_gone(layout.log(id))


def _job(layout: Layout, state: State, text: str) -> Job | None:
    name = query.parse_name(state, text)
    return None if name is None else Job(state, name, layout.job(state, text))


def to_json(id: str, job: Job | None) -> dict[str, Any]:
    """One of `queuectl states --json`"""
    result = job.result if job else None
    return {
        "id": id,
        "state": str(job.state) if job else UNKNOWN,
        "result": str(result) if result else None,
        "exit_code": result.code if result and result.kind == "exit" else None,
        "attempts": job.attempts if job else None,
        "held": job.is_held if job else None,
    }
