from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from queuectl import Spool, State
from queuectl.core.settings import Settings
from queuectl.dashboard.snapshot import Snapshot
from queuectl.dashboard.why import Seen
from queuectl.spool.reading import query
from queuectl.spool.reading.explain import explain_job
from queuectl.spool.system import groups as group_files
from queuectl.spool.system.clock import now
from queuectl.spool.system.layout import Layout
from tests.spool.given import put_finished
from tests.support import wait_for


@pytest.fixture
def snapshot(spool: Spool) -> Iterator[Snapshot]:
    taken = Snapshot(spool)
    yield taken
    taken.close()


def test_snapshot_counts_as_status_does(spool: Spool, snapshot: Snapshot) -> None:
    """The counts of a view are those of `queuectl status`."""
    spool.enqueue("true")
    spool.enqueue("true", run_at="2100-01-01T00:00:00Z")
    spool.hold(spool.enqueue("true").id)
    put_finished(spool.layout, "gone")
    spool.enqueue("true", id="a")
    spool.enqueue("true", after=["a"])
    spool.enqueue("true", after_failed=["a"])
    spool.cancel("a")
    (spool.path / "pending" / "dropped.json").write_text("{}")
    at = now()
    wait_for(lambda: snapshot.view(is_fresh=True, patience=5).counts(at) == spool.counts(), "the same counts")


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.DONE, State.DEAD])
def test_changes_show_by_themselves(spool: Spool, snapshot: Snapshot, state: State, tmp_path: Path) -> None:
    """Anyone who keeps asking sees a file come into any directory, and go."""
    spool.enqueue("true", id="x")
    source = next(iter((spool.path / "pending").iterdir()))
    names = {
        State.PENDING: source.name,
        State.RUNNING: "20261124T034300.120Z-010-1-web1.4242.k7f3-x.json",
        State.DONE: "20261124T034312.420Z-010-1-exit0-12.300s-x.json",
        State.DEAD: "20261124T034312.420Z-010-1-exit1-12.300s-x.json",
    }
    target = spool.path / state / names[state]
    os.rename(source, target)
    wait_for(lambda: snapshot.view().shelves[state].count == 1, "the file")
    os.rename(target, tmp_path / "elsewhere")
    wait_for(lambda: snapshot.view().shelves[state].count == 0, "its leaving")


def test_new_look_shows_what_was_just_done(spool: Spool, snapshot: Snapshot) -> None:
    """A view asked for again was begun after the question."""
    for number in range(5):
        spool.enqueue("true", id=f"job-{number}")
        assert snapshot.view(is_fresh=True, patience=20).find(f"job-{number}") is not None


def test_generation_changes_only_with_the_spool(spool: Spool, snapshot: Snapshot) -> None:
    """Looking again at an unchanged spool is not news; a pause is."""
    first = snapshot.view(is_fresh=True, patience=20)
    assert snapshot.view(is_fresh=True, patience=20).generation == first.generation
    (spool.path / "paused").touch()
    wait_for(lambda: snapshot.view().paused, "the pause")
    assert snapshot.view().generation > first.generation


def test_snapshot_of_an_unchanged_directory_is_shared(
    spool: Spool, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ask, an unchanged directory is not listed again."""
    wait_for(lambda: snapshot.view(is_fresh=True, patience=5) and all(snapshot._seen.values()), "a settled spool")
    listed: list[State] = []
    original = query.list_names

    def record(layout: Layout, state: State) -> list[str]:
        listed.append(state)
        return original(layout, state)

    monkeypatch.setattr(query, "list_names", record)
    for _ in range(200):
        snapshot.view()
    snapshot.view(is_fresh=True, patience=20)
    assert State.DONE not in listed


def test_spool_that_goes_away_is_a_problem_and_comes_back(spool: Spool, snapshot: Snapshot, tmp_path: Path) -> None:
    """Without its spool the last view stays, with the reason; once it is back, so is the view."""
    spool.enqueue("true", id="x")
    assert snapshot.view(is_fresh=True, patience=20).find("x")
    shutil.move(spool.path, tmp_path / "away")
    wait_for(lambda: snapshot.view(is_fresh=True, patience=5).problem, "a problem")
    assert snapshot.view().find("x") is not None
    shutil.move(tmp_path / "away", spool.path)
    wait_for(lambda: snapshot.view(is_fresh=True, patience=5).problem is None, "the spool's return")


def test_reasons_wait_for_no_value_that_is_wrong(
    spool: Spool, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot knows all groups, and has looked twice at what is wrong: no page does that again for a second."""
    folder = Path(spool.layout.group("gpu"))
    folder.mkdir(parents=True)
    (folder / "limit").write_text("many")
    job = spool.enqueue("true", id="gpu.x", seats={"gpu": 1})
    wait_for(lambda: (view := snapshot.view()).find("gpu.x") and view.groups["gpu"].problem, "the group")
    monkeypatch.setattr(group_files, "examine", None)
    reasons = [reason.text for reason in explain_job(spool.layout, job, Seen(snapshot.view(), now())).reasons]
    assert any("many" in text for text in reasons), reasons


def test_close_ends_its_threads(spool: Spool) -> None:
    """Nothing of it is left running."""
    taken = Snapshot(spool)
    taken.close()
    assert not taken._thread.is_alive()


def test_disk_is_full_below_min_free(snapshot: Snapshot) -> None:
    """It is called full when no job is started, below the setting min-free, and not below a limit of the page's own."""
    nearly = replace(snapshot.view(), room=(20 << 20, None))
    assert not nearly.is_full
    assert replace(nearly, settings=Settings(min_free=21 << 20)).is_full
