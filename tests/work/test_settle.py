"""Settling an attempt: where its file goes, and what is reported of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from queuectl import Spool
from queuectl.core.result import LOST, SUCCESS, Result, State
from queuectl.errors import SpoolError
from queuectl.spool.moves import claims
from queuectl.work import settle
from queuectl.work.settle import finish, release
from tests.support import names
from tests.work.given import Reported, claim_of


@pytest.fixture
def reported(spool: Spool) -> Reported:
    return Reported(spool)


@pytest.mark.parametrize(
    ("result", "fields", "state", "event", "says"),
    [
        (SUCCESS, {}, State.DONE, "done", "exit0 in 1.5 s"),
        (Result.exit(3), {}, State.PENDING, "retry", "exit3 in 1.5 s; attempt 2 of 4 in"),
        (LOST, {}, State.PENDING, "lost", "lost in 1.5 s; attempt 2 of 4 in"),
        (Result.exit(3), {"max_retries": 0}, State.DEAD, "dead", "gave up after 1 attempt; see: queuectl logs x"),
        (Result.exit(3), {"no_retry_on": [3]}, State.DEAD, "dead", "not retried, gave up after 1 attempt"),
    ],
)
def test_finish_settles_by_the_result(
    spool: Spool, reported: Reported, result: Result, fields: dict[str, Any], state: State, event: str, says: str
) -> None:
    """done/, back to pending/, or dead/; and the event says which, with the result and the time that it took."""
    claim = claim_of(spool, "exit 3", **fields)
    os.close(claim.log)
    body = spool.get("x").body
    assert finish(reported.context, claim.name, body, result, 1.5)
    assert spool.get("x").state == state
    (line,) = reported.events()
    assert (line["event"], line["job"], line["result"], line["duration"]) == (event, "x", str(result), 1.5)
    assert says in line["message"]


def test_finish_leaves_alone_what_others_have_settled(spool: Spool, reported: Reported) -> None:
    """A job whose file someone has moved stays where that one put it: it is False, and no hook is called."""
    claim = claim_of(spool)
    os.close(claim.log)
    os.rename(spool.layout.job(State.RUNNING, claim.name), spool.path / "elsewhere")
    assert not finish(reported.context, claim.name, claim.body, SUCCESS, 1.5)
    assert [(line["event"], line["message"]) for line in reported.events()] == [
        ("gone", "exit0 in 1.5 s; its file was moved or removed, which counts")
    ]
    assert (spool.path / "elsewhere").exists()
    assert not names(spool.path / "done")


def test_finish_of_a_cancelled_job(spool: Spool, reported: Reported) -> None:
    """A job that was cancelled is reported as that, however its command has ended."""
    claim = claim_of(spool)
    os.close(claim.log)
    spool.cancel("x", grace=0.0)
    assert not finish(reported.context, claim.name, claim.body, Result.signal(15), 1.5)
    assert [(line["event"], line["result"], line["message"]) for line in reported.events()] == [
        ("cancelled", "cancelled", "cancelled after 1.5 s")
    ]


def refusing(times: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Makes so many settling renames fail; what it returns grows with each."""
    refused: list[int] = []
    real = claims.settle

    def refuse(*arguments: Any) -> bool:
        if len(refused) < times:
            refused.append(1)
            raise SpoolError("no space is left in the spool")
        return real(*arguments)

    monkeypatch.setattr(claims, "settle", refuse)
    monkeypatch.setattr(settle, "_TRY_AGAIN", 0)
    return refused


def test_finish_tries_for_as_long_as_the_disk_is_full(
    spool: Spool, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure is reported once, and its end once; then the job is settled."""
    claim = claim_of(spool)
    os.close(claim.log)
    refused = refusing(3, monkeypatch)
    assert finish(reported.context, claim.name, claim.body, SUCCESS, 1.5)
    assert len(refused) == 3
    assert [line["event"] for line in reported.events()] == ["error", "info", "done"]
    assert spool.get("x").state == State.DONE


def test_finish_leaves_the_job_to_the_next_worker_when_it_is_to_stop(
    spool: Spool, reported: Reported, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that stays full keeps no worker from stopping; the job stays in running/, with its end on record."""
    claim = claim_of(spool)
    os.close(claim.log)
    reported.context.stopping = 1
    refused = refusing(1_000_000, monkeypatch)
    assert finish(reported.context, claim.name, claim.body, SUCCESS, 1.5)
    assert len(refused) == 1
    assert names(spool.path / "running") == [str(claim.name)]
    assert [line["event"] for line in reported.events()] == ["error"]


def test_release_puts_the_job_back_where_it_was(spool: Spool, reported: Reported) -> None:
    """The attempt does not count; a job that someone has moved is not reported as released."""
    claim = claim_of(spool)
    os.close(claim.log)
    release(reported.context, claim.name, "its worker was stopped", claim.run_at)
    job = spool.get("x")
    assert (job.state, job.attempts, job.run_at) == (State.PENDING, 0, claim.run_at)
    (line,) = reported.events("released")
    assert line["message"] == "its worker was stopped; returned to pending, the attempt does not count"
    release(reported.context, claim.name, "its worker was stopped", claim.run_at)
    assert len(reported.events("released")) == 1


@pytest.mark.parametrize(("result", "hook"), [(SUCCESS, "done"), (LOST, "retry")])
def test_finish_calls_the_hook_of_its_event(
    spool: Spool, reported: Reported, tmp_path: Path, result: Result, hook: str
) -> None:
    """Once the job is settled; an attempt that was lost is one that is tried again."""
    spool.layout.hook(hook)
    path = Path(spool.layout.hook(hook))
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\nls {spool.path}/running >{tmp_path}/seen\n")
    path.chmod(0o755)
    reported.context.hooks.refresh()
    claim = claim_of(spool)
    os.close(claim.log)
    finish(reported.context, claim.name, claim.body, result, 1.5)
    reported.context.hooks.finish()
    assert (tmp_path / "seen").read_text() == ""
