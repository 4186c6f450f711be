from __future__ import annotations

import os
from typing import Any

from queuectl import Job, Spool
from queuectl.dashboard.joblog import LogReader
from queuectl.dashboard.timeline import Attempt, Event, build
from queuectl.spool.system.logs import Usage
from tests.support import CommandLine, workers


def history(spool: Spool, id: str) -> list[Attempt | Event]:
    job = spool.get(id)
    return build(job, _marks(spool, job))


def _marks(spool: Spool, job: Job) -> list[Any]:
    reader = LogReader(spool.layout)
    fd = reader.open(job.id)
    assert fd is not None
    try:
        return reader.marks(job.id, fd).found
    finally:
        os.close(fd)


def test_attempts_are_all_reported_from_start_to_end(spool: Spool, cli: CommandLine) -> None:
    """Of failed, retried and repeated attempts each has its worker, result, and when it began and ended."""
    spool.enqueue("exit 3", id="x", max_retries=1, backoff_base=0)
    with workers(spool.path):
        spool.wait("x", timeout=30)
        spool.retry("x")
        spool.wait("x", timeout=30)
    found = history(spool, "x")
    assert [str(entry.result) if isinstance(entry, Attempt) else entry.text for entry in found] == [
        "exit3", "exit3", "Retried by hand", "exit3", "exit3",
    ]  # fmt: skip
    attempts = [entry for entry in found if isinstance(entry, Attempt)]
    assert [attempt.number for attempt in attempts] == [1, 2, 1, 2]
    for attempt in attempts:
        assert attempt.started_at is not None
        assert attempt.ended_at is not None
        assert attempt.started_at <= attempt.ended_at
        assert attempt.duration is not None
        assert attempt.worker


def test_attempt_has_what_it_used_and_when_it_ended(spool: Spool) -> None:
    """In whatever order the two notes are."""
    notes = (
        "#queuectl note used attempt=1 max_rss=4096 cpu_user=0.500 cpu_system=0.250 waited=3.250\n",
        "#queuectl note attempt=1 ended_at=20261124T034312.420Z duration=0.532\n",
    )
    spool.enqueue("true", id="x")
    for first, second in (notes, notes[::-1]):
        spool.log_path("x").write_text(
            f"#queuectl start attempt=1 started_at=20261124T034311.888Z worker=w pid=1\n{first}{second}"
            "#queuectl start attempt=2 started_at=20261124T034411.888Z worker=w pid=1\n"
        )
        one, two = history(spool, "x")
        assert isinstance(one, Attempt)
        assert (one.used, one.waited) == (Usage(4096, 0.5, 0.25), 3.25)
        assert (one.duration, one.ended_at is not None) == (0.532, True)
        assert isinstance(two, Attempt)
        assert (two.used, two.waited) == (None, None)


def test_forged_lines_cannot_break_the_timeline(spool: Spool) -> None:
    """Lines of queuectl's own look, with nonsense in them, are shown or left out."""
    spool.enqueue("true", id="x")
    spool.log_path("x").write_text(
        "#queuectl start\n#queuectl start attempt=x\n#queuectl end attempt=9 exit=999\n"
        "#queuectl start attempt=99999999999 started_at=99999999T999999.999Z worker=<b>\n"
        '#queuectl note attempt=99999999999 ended_at=never duration=1e999\n#queuectl retry at="\n'
        "#queuectl refused\n"
    )
    found = history(spool, "x")
    assert [type(entry).__name__ for entry in found] == ["Attempt", "Event", "Event"]
