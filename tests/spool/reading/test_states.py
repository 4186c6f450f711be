"""The states of many jobs: one listing for all, and an answer for every id."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.spool.reading import query
from queuectl.spool.system.layout import Layout
from tests.spool.given import pending_name, put, put_finished, running_name


def test_states_answer_for_every_id(spool: Spool, layout: Layout) -> None:
    """Each id has its answer, in the order given: None if the spool does not hold it, also for a prefix of another."""
    put(layout, pending_name("waits"))
    put(layout, running_name("runs"), state=State.RUNNING)
    put_finished(layout, "ended", result="exit7", state=State.DEAD)
    found = spool.states(["ended", "nosuch", "wait", "no id!", "runs", "waits", "ended"])
    assert list(found) == ["ended", "nosuch", "wait", "no id!", "runs", "waits"]
    assert {id: str(job.state) for id, job in found.items() if job} == {
        "ended": "dead", "runs": "running", "waits": "pending",
    }  # fmt: skip
    assert str(found["ended"] and found["ended"].result) == "exit7"


def test_states_list_each_directory_once(spool: Spool, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ids there are, and also if some are unknown."""
    for number in range(50):
        put(layout, pending_name(f"job-{number}"))
    looks: list[State] = []
    listed = query.list_names

    def counted(layout: Layout, state: State) -> list[str]:
        looks.append(state)
        return listed(layout, state)

    monkeypatch.setattr(query, "list_names", counted)
    found = spool.states([*(f"job-{number}" for number in range(50)), "pruned"])
    assert sum(job is not None for job in found.values()) == 50
    assert sorted(looks) == sorted(State)


def test_job_that_moves_backwards_is_not_unknown(spool: Spool, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that a worker gives back between two listings is looked for again, because it has a log."""
    path = put(layout, running_name("x"), state=State.RUNNING)
    Path(layout.log("x")).touch()
    listed = query.list_names
    back = Path(layout.job(State.PENDING, pending_name("x")))

    def moving(layout: Layout, state: State) -> list[str]:
        if state is State.RUNNING and path.exists():
            path.rename(back)
        return listed(layout, state)

    monkeypatch.setattr(query, "list_names", moving)
    job = spool.states(["x"])["x"]
    assert job is not None
    assert job.state is State.PENDING
