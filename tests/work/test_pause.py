"""Workers and the pause: nothing starts while it lasts, and it ends by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool, State
from queuectl.spool.moves import claims
from tests.spool.given import read_log
from tests.support import names, wait_for, workers
from tests.work.conftest import StartWorker


def test_pause_ends_by_itself(spool: Spool) -> None:
    """A worker that nobody wakes starts jobs once the time of the pause is over, and says why it did not before."""
    spool.pause("lunch", datetime.now(UTC) + timedelta(minutes=5))
    job = spool.enqueue("true")
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("paused"), "the pause")
        spool.pause("lunch", datetime.now(UTC) + timedelta(seconds=0.5))
        assert spool.wait(job.id, timeout=20).state is State.DONE
        wait_for(lambda: worker.has("info"), "the word that it is over")
    (said,) = [event["message"] for event in worker.events() if event["event"] == "paused"]
    assert said.startswith("no job is started: the queue has been paused since ")
    assert said.endswith(": lunch")


def test_resuming_wakes_a_worker(spool: Spool) -> None:
    """A worker continues as soon as the file is gone, without waiting for its next look."""
    spool.pause()
    job = spool.enqueue("true")
    with workers(spool.path) as (worker,):
        wait_for(lambda: worker.has("paused"), "the pause")
        spool.resume()
        assert spool.wait(job.id, timeout=20).state is State.DONE


def test_job_claimed_as_the_queue_is_paused_goes_back(
    spool: Spool, in_process: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause that comes between the look and the claim holds too: the attempt does not count, its place stays."""
    claim = claims.claim

    def paused_after(*arguments: Any) -> Any:
        claimed = claim(*arguments)
        spool.pause()
        return claimed

    monkeypatch.setattr(claims, "claim", paused_after)
    job = spool.enqueue("echo ran", id="x")
    with in_process() as running:
        wait_for(lambda: running.has("released", "x"), "the job's return")
        spool.wait_until_idle(20)
        assert names(spool.path / "pending") == [str(job.name)]
        assert "ran" not in read_log(spool.layout, "x")
        monkeypatch.setattr(claims, "claim", claim)
        spool.resume()
        assert spool.wait("x", timeout=20).attempts == 1


def test_draining(spool: Spool, tmp_path: Path) -> None:
    """Once the pause is there and running/ is empty, every job that was started has ended and no other starts."""
    with workers(spool.path, 2, "--count", "2"):
        go = tmp_path / "go"
        commands = ["sleep 0.05"] * 20 + [f"while [ ! -e {go} ]; do sleep 0.01; done"] * 20
        ids = [spool.enqueue(command, max_retries=0).id for command in commands]
        wait_for(lambda: spool.counts().done > 2, "some work")
        spool.pause()
        go.touch()
        spool.wait_until_idle(20)
        starts = [read_log(spool.layout, id).count("#queuectl start") for id in ids]
        ended = [read_log(spool.layout, id).count("#queuectl end") for id in ids]
        assert starts == ended
        assert sum(starts) == spool.counts().done < 40
        spool.resume()
        for _ in spool.ends(ids, timeout=60):
            pass
    assert spool.counts().done == 40
