"""Submits to a spool that several hosts share: whoever finds one that was begun finishes it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from queuectl import Spool
from queuectl.core.result import State
from queuectl.errors import AlreadyExistsError
from queuectl.spool.moves import adopt, tokens
from queuectl.spool.reading import query
from queuectl.spool.system import files, host
from tests.spool.given import NOW, die
from tests.support import names


def run_to_death(function: Callable[[], object]) -> None:
    """Call it in a child, which must end by SIGKILL."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def places(spool: Spool, id: str) -> list[State]:
    return [
        state for state in State for name in query.list_names(spool.layout, state) if query.id_in(state, name) == id
    ]


def test_submit_leaves_a_job_and_a_log_that_names_it(shared: Spool) -> None:
    """A job is one file, its log says who has submitted it, and nothing is left in tmp/."""
    shared.enqueue("true", id="report")
    assert names(Path(shared.layout.pending))[0].endswith("-0-report.json")
    assert shared.log_path("report").read_text().startswith(f"#queuectl submit by={host.here(shared.layout).name}.")
    assert names(Path(shared.layout.tmp)) == []
    with pytest.raises(AlreadyExistsError):
        shared.enqueue("true", id="report")
    assert places(shared, "report") == [State.PENDING]


@pytest.mark.parametrize("at", ["write_new", "publish", "publish_reserved", "sync_directory"])
def test_submit_that_died_is_finished_by_the_next_of_its_id(
    shared: Spool, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Whenever a submitter dies, one job of the id is there once another has submitted it."""
    monkeypatch.setattr(files, at, die)
    run_to_death(lambda: shared.enqueue("echo first", id="report"))
    monkeypatch.undo()
    again = Spool(shared.path)
    try:
        again.enqueue("echo second", id="report")
    except AlreadyExistsError:
        assert again.get("report").command == "echo first"
    assert places(again, "report") == [State.PENDING]


def test_submit_that_another_finishes_is_acknowledged(shared: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A submitter whose job another host has published answers with that job."""
    publish: Callable[[str, str], bool] = files.publish_reserved

    def overtaken(source: str, target: str) -> bool:
        monkeypatch.setattr(files, "publish_reserved", publish)
        with pytest.raises(AlreadyExistsError, match="taken"):
            Spool(shared.path).enqueue("echo second", id="report", priority=3)
        return publish(source, target)

    monkeypatch.setattr(files, "publish_reserved", overtaken)
    job = shared.enqueue("echo first", id="report")
    assert (job.command, os.path.exists(job.path)) == ("echo first", True)
    assert places(shared, "report") == [State.PENDING]


def test_held_submit_that_is_finished_stays_held(shared: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finishes the submit of a held job does not let it start."""
    monkeypatch.setattr(files, "publish_reserved", die)
    run_to_death(lambda: [*shared.enqueue_many([{"command": "true", "id": "report"}], is_held=True)])
    monkeypatch.undo()
    with pytest.raises(AlreadyExistsError):
        Spool(shared.path).enqueue("true", id="report")
    assert names(Path(shared.layout.pending))[0].startswith("010-9999")


def test_id_without_a_job_is_freed_by_hand(shared: Spool) -> None:
    """An id is taken as long as it has a log, and `rm` frees it."""
    job = shared.enqueue("true", id="report")
    os.remove(job.path)
    with pytest.raises(AlreadyExistsError) as caught:
        shared.enqueue("true", id="report")
    assert caught.value.hint == "to free it: queuectl rm report"
    assert tokens.free(shared.layout, "report")
    shared.enqueue("true", id="report")


def test_token_that_a_log_names_is_kept(shared: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of tmp/ stays, however old, as long as a log says that it is a job's; one that no log names goes."""
    monkeypatch.setattr(files, "publish_reserved", die)
    run_to_death(lambda: shared.enqueue("true", id="report"))
    token = f"{shared.layout.tmp}/{names(Path(shared.layout.tmp))[0]}"
    assert tokens.is_named(shared.layout, token)
    os.remove(shared.log_path("report"))
    assert not tokens.is_named(shared.layout, token)


def test_dropped_file_with_an_id_is_adopted_by_whoever_comes_next(shared: Spool) -> None:
    """A worker that dies after it has reserved the id of a dropped file does not keep the next from adopting it."""
    (Path(shared.layout.pending) / "drop.json").write_text('{"command": "true", "id": "report"}')
    adopt._reserve_named(shared.layout, "report", "drop.json").keep()
    adopt.adopt(shared.layout, "drop.json", NOW)
    assert places(shared, "report") == [State.PENDING]
